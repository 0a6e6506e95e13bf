import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from eclip_lib.config import DataConfig, FrameConfig
from eclip_lib.data.loading import load_dataset
from eclip_lib.data.recordings import EventData
from eclip_lib.data.streaming import map_loader
from eclip_lib.events.files import read_events, write_events
from eclip_lib.frames.counting import frame_maps
from eclip_lib.frames.drawing import event_frames, frames_from_maps
from tests.benchmarks.recordings import SENSOR, camera_recording
from tests.benchmarks.timing import ms, side_by_side, table, timed

WORKERS = (0, 1, 2)
N_MNIST, N_CALTECH = 256, 96  # recordings
MAPS, FRAMES = "count maps", "float frames"
PASSES = {MAPS: 8, FRAMES: 1}  # that an epoch passes each recording, so that it takes a while
SHARED = Path("/dev/shm")  # through which workers ship


class FrameDataset(Dataset):
    """Frames made by the workers, as a loader without count maps would ship them."""

    def __init__(self, data: EventData, cfg: FrameConfig) -> None:
        self.data, self.cfg = data, cfg

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple:
        return *event_frames(self.data.recording(row), self.cfg), int(self.data.labels[row])


def files_data(paths: list[Path], sensor_size: tuple[int, int]) -> EventData:
    """Return a data set of files without labels or stills."""
    nothing = np.zeros(len(paths), np.int64)
    return EventData(
        name="files",
        simulated=True,
        class_names=("any",),
        labels=nothing,
        part=np.full(len(paths), "test"),
        group=nothing,
        ids=tuple(path.name for path in paths),
        recording=lambda index: read_events(paths[index], sensor_size),
        still=lambda index: np.zeros((1, 1, 3), np.uint8),
        key="",
        has_still=np.full(len(paths), True),
    )


def n_mnist() -> EventData | None:
    """Return the real recordings of ECLIP_TEST_DATA, if it is there."""
    folder = Path(os.environ.get("ECLIP_TEST_DATA", "")) / "n-mnist"
    if "ECLIP_TEST_DATA" not in os.environ or not folder.is_dir():
        return None
    data = load_dataset(DataConfig(dataset="n-mnist", root=str(folder), fold=0))
    return files_data([folder / name for name in data.ids[:N_MNIST]], (34, 34))


def n_caltech_like(folder: Path) -> EventData:
    """Write simulated recordings of the size of N-Caltech101's."""
    paths = [folder / f"{number:03d}.bin" for number in range(N_CALTECH)]
    recording = camera_recording(115_000)
    for path in paths:
        write_events(path, recording)
    return files_data(paths, SENSOR)


def batch_size() -> int:
    """Return how many recordings a batch may have; float frames of 32 need 96 MB, some containers share 64 MB."""
    return 32 if not SHARED.is_dir() or shutil.disk_usage(SHARED).free > 1e9 else 2


def loaders(data: EventData, cfg: FrameConfig) -> dict[tuple[str, int], DataLoader]:
    """Return a loader for each way and number of workers."""
    every, ways = np.tile(np.arange(len(data)), PASSES[MAPS]), {}
    for workers in WORKERS:
        ways[FRAMES, workers] = DataLoader(
            FrameDataset(data, cfg),
            batch_size(),
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="fork" if workers else None,
        )
        ways[MAPS, workers] = map_loader(data, every, cfg, batch_size=batch_size(), workers=workers)
    return ways


def epoch(loader: DataLoader) -> Callable[[], int]:
    """Return a function that goes through all batches and sums the bytes of maps or frames."""
    return lambda: sum(batch[0].nbytes for batch in loader)


def section(title: str, data: EventData, cfg: FrameConfig, seconds: float) -> str:
    """Compare the ways on one data set."""
    epochs = {name: epoch(loader) for name, loader in loaders(data, cfg).items()}
    shipped = {way: epochs[way, 0]() / len(data) / passes for way, passes in PASSES.items()}
    times = side_by_side(epochs, seconds)
    rate = {(way, workers): len(data) * PASSES[way] / time for (way, workers), time in times.items()}
    maps, valid = frame_maps(data.recording(0), cfg)
    drawing = min(timed(lambda: frames_from_maps(maps, valid, cfg)) for _ in range(20))
    rows = [
        [way, f"{shipped[way] / 1e3:,.1f}", *(f"{rate[way, workers]:,.0f}" for workers in WORKERS)]
        for way in (FRAMES, MAPS)
    ]
    headers = ["shipped", "kB a recording", *(f"recordings/s, {workers} workers" for workers in WORKERS)]
    return (
        f"{title}, {cfg.frames} frames of {cfg.size}x{cfg.size}\n\n"
        + table(headers, rows)
        + f"\n- {shipped[FRAMES] / shipped[MAPS]:.0f} times fewer bytes as count maps, "
        f"{rate[MAPS, 2] / rate[FRAMES, 2]:.1f} times as many recordings/s with 2 workers.\n"
        f"- From 1 worker to 2: {rate[FRAMES, 2] / rate[FRAMES, 1]:.2f}x as frames, "
        f"{rate[MAPS, 2] / rate[MAPS, 1]:.2f}x as count maps.\n"
        f"- Drawing the frames from the maps takes {ms(drawing)} ms a recording on this CPU; "
        "the device can do it instead.\n\n"
    )


def main() -> str:
    text = f"## DataLoader over files\n\nWorkers beside the process that consumes, on {os.cpu_count()} cores.\n\n"
    real = n_mnist()
    if real is None:
        text += "No N-MNIST: set ECLIP_TEST_DATA to the folder of real recordings.\n\n"
    else:
        text += section("N-MNIST, real files", real, FrameConfig(size=224, frames=5, events_per_frame=1000), 10)
    with tempfile.TemporaryDirectory() as folder:
        cfg = FrameConfig(size=224, frames=5, events_per_frame=23_000)
        text += section(
            "Files of 115,000 events, 180x240 (simulated, written for this)", n_caltech_like(Path(folder)), cfg, 10
        )
    return text
