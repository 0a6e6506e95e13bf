import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from eclip_lib.config import FrameConfig
from eclip_lib.events.files import read_events, write_events
from eclip_lib.frames.colors import color_maps
from eclip_lib.frames.counting import frame_maps
from eclip_lib.frames.drawing import event_frames
from eclip_lib.frames.resizing import resize
from tests.benchmarks.recordings import SENSOR, camera_recording
from tests.benchmarks.timing import ms, side_by_side, table, verdict

EVENTS = 115_000  # of a recording of N-Caltech101, on average
CFG = FrameConfig(size=224, frames=5, events_per_frame=EVENTS // 5)
CYAN, YELLOW = np.array([0, 255, 255]), np.array([255, 255, 0])
STAGES = ("read the file", "count maps", "color", "resize (the same in both)")


def naive_unpack(path: Path) -> tuple[np.ndarray, ...]:
    """Return int32 columns x, y, t, p of an ATIS file."""
    raw = np.fromfile(path, np.uint8).astype(np.int32)
    x, y, high, middle, low = (raw[byte::5] for byte in range(5))
    return x, y, (high & 0x7F) << 16 | middle << 8 | low, high >> 7


def naive_read(path: Path) -> np.ndarray:
    """Return events as an (N, 4) array."""
    return np.stack(naive_unpack(path), axis=1)


def naive_maps(events: np.ndarray) -> np.ndarray:
    maps = np.zeros((CFG.frames, 2, *SENSOR))
    for window in range(CFG.frames):
        part = events[window * CFG.events_per_frame : (window + 1) * CFG.events_per_frame]
        np.add.at(maps[window], (1 - part[:, 3], part[:, 1], part[:, 0]), 1)
    return maps


def naive_color(maps: np.ndarray) -> torch.Tensor:
    """Color one window after the other by the formula of the official code."""
    frames = []
    for on, off in maps:
        image = np.clip(1 - (on[..., None] * CYAN + off[..., None] * YELLOW) / 255, 0, 255)
        frames.append(image.transpose(2, 0, 1).astype(np.float32))
    return torch.from_numpy(np.stack(frames))


def naive_frames(path: Path) -> torch.Tensor:
    return resize(naive_color(naive_maps(naive_read(path))), CFG.size)


def our_frames(path: Path) -> torch.Tensor:
    return event_frames(read_events(path, SENSOR), CFG)[0]


def torch_resize(colored: torch.Tensor) -> torch.Tensor:
    """Resize as PyTorch does."""
    return torch.nn.functional.interpolate(colored, (CFG.size, CFG.size), mode="bilinear", antialias=True)


def write_sample(folder: Path) -> Path:
    """Write a simulated recording of the size of N-Caltech101's."""
    path = folder / "sample.bin"
    write_events(path, camera_recording(EVENTS))
    return path


def contenders(path: Path) -> dict[tuple[str, str], Callable]:
    """Return each stage, and the whole way, done naively and by the library."""
    naive, ours = naive_read(path), read_events(path, SENSOR)
    maps, counts = naive_maps(naive), torch.from_numpy(frame_maps(ours, CFG)[0])
    colored = color_maps(counts, CFG.color)
    stages = [
        (lambda: naive_read(path), lambda: read_events(path, SENSOR)),
        (lambda: naive_maps(naive), lambda: frame_maps(ours, CFG)),
        (lambda: naive_color(maps), lambda: color_maps(counts, CFG.color)),
        (lambda: resize(colored, CFG.size), lambda: resize(colored, CFG.size)),
    ]
    ways = {}
    for name, (numpy_way, our_way) in zip(STAGES, stages, strict=True):
        ways |= {(name, "numpy"): numpy_way, (name, "ours"): our_way}
    return ways | {
        ("total", "numpy"): lambda: naive_frames(path),
        ("total", "ours"): lambda: our_frames(path),
        ("resize", "torch"): lambda: torch_resize(colored),
    }


def main() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = write_sample(Path(folder))
        times = side_by_side(contenders(path), seconds=15)
    ratios = {stage: times[stage, "numpy"] / times[stage, "ours"] for stage in (*STAGES, "total")}
    rows = [[stage, ms(times[stage, "numpy"]), ms(times[stage, "ours"]), f"{x:.1f}"] for stage, x in ratios.items()]
    torch_time, own_time = times["resize", "torch"], times[STAGES[-1], "ours"]
    return (
        f"## From a file to frames: .bin of {EVENTS:,} events, 180x240, {CFG.frames} windows, {CFG.size}x{CFG.size}\n\n"
        + table(["", "numpy, ms", "eclip_lib, ms", "ratio"], rows)
        + "\n"
        + verdict("in total", ratios["total"], 5)
        + f"\n- PyTorch's own anti-aliased resize takes {ms(torch_time)} ms, {torch_time / own_time:.1f} times ours.\n"
    )
