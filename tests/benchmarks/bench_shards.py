import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eclip_lib.config import DataConfig, FrameConfig
from eclip_lib.data.loading import list_files, load_dataset
from eclip_lib.data.recordings import EventData, tracked_classes
from eclip_lib.data.shards import pack
from eclip_lib.data.streaming import map_loader
from eclip_lib.events.files import write_events
from eclip_lib.events.recording import Recording
from tests.benchmarks.recordings import camera_recording
from tests.benchmarks.timing import side_by_side, table, timed

N_MNIST, N_IMAGENET = 2000, 100  # recordings
MANY = 20_000  # empty files, for the time that opening a data set takes
FILES, SHARDS = "files", "shards"


def n_mnist_like(root: Path) -> DataConfig:
    """Write simulated recordings of the size and format of N-MNIST's, 4,200 events of 5 bytes."""
    recording = camera_recording(4200, (34, 34))
    for number in range(N_MNIST):
        path = root / f"{number % 10}" / f"{number:05d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_events(path, recording)
    (root / "sensor.txt").write_text("34 34")
    return DataConfig("folder", root=str(root), protocol="fine-tune", shots=None)


def n_imagenet_like(root: Path) -> DataConfig:
    """Write simulated recordings of the size and format of N-ImageNet's, 105,000 events."""
    rows = camera_recording(105_000, (480, 640)).events
    rows = rows.astype([("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "?")])
    for number, synset in zip(range(N_IMAGENET), tracked_classes("n-imagenet"), strict=False):
        path = root / "extracted_val" / synset / f"ILSVRC2012_val_{number:08d}.npz"
        path.parent.mkdir(parents=True)
        np.savez_compressed(path, event_data=rows)
    return DataConfig("n-imagenet", root=str(root), protocol="fine-tune", shots=None)


def forget(root: Path) -> None:
    """Ask the system to drop the content of files from its memory; their names stay in it."""
    os.sync()
    for path in root.rglob("*.*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def read_all(data: EventData, order: Sequence[int]) -> Callable[[], list[Recording]]:
    """Return a function that reads and decodes all recordings in an order."""
    return lambda: [len(data.recording(index)) for index in order]


def epoch(data: EventData, order: np.ndarray, size: tuple[int, int]) -> Callable[[], int]:
    """Return a function that goes through the count maps of all recordings with two workers."""
    cfg = FrameConfig(size=size[0], frames=1)
    return lambda: sum(len(labels) for _, _, labels in map_loader(data, order, cfg, batch_size=16, workers=2))


def section(title: str, cfg: DataConfig, folder: Path, seconds: float = 6) -> str:
    """Compare the two on one data set."""
    header = pack(list_files(cfg), folder)
    sources = {FILES: load_dataset(cfg), SHARDS: load_dataset(replace(cfg, root=str(folder)))}
    roots, order = {FILES: Path(cfg.root), SHARDS: folder}, np.random.default_rng(0).permutation(header["recordings"])
    size = sources[FILES].recording(0).sensor_size
    warm = side_by_side({name: read_all(data, order) for name, data in sources.items()}, seconds)
    workers = side_by_side({name: epoch(data, order, size) for name, data in sources.items()}, seconds)
    rows = []
    for name, data in sources.items():
        forget(roots[name])
        cold, n = timed(read_all(data, order)), len(data)
        count = n if name == FILES else len(header["shards"])
        rows.append([name, f"{count:,}", *(f"{n / time:,.0f}" for time in (warm[name], cold, workers[name]))])
    headers = ["from", "files", "recordings/s", "first time after the disk cache is dropped", "count maps, 2 workers"]
    return f"{title}: {len(order):,} recordings, in random order, one thread\n\n{table(headers, rows)}\n"


def opening(folder: Path) -> str:
    """Time how long a data set of many files takes to open, and the index of its shards."""
    for number, synset in enumerate(tracked_classes("n-imagenet")):
        (folder / "files/extracted_train" / synset).mkdir(parents=True)
        for i in range(MANY // 1000):
            (folder / f"files/extracted_train/{synset}/{number}_{i}.npz").write_bytes(b"-")
    cfg = DataConfig("n-imagenet", root=str(folder / "files"), protocol="fine-tune", shots=None)
    packing = timed(lambda: pack(list_files(cfg), folder / "shards"))
    shards = replace(cfg, root=str(folder / "shards"))
    times = {FILES: timed(lambda: load_dataset(cfg)), SHARDS: timed(lambda: load_dataset(shards))}
    return (
        f"To open a data set of {MANY:,} files in 1,000 folders: {times[FILES]:.2f} s from files, "
        f"{times[SHARDS]:.2f} s from shards; packing it took {packing:.0f} s.\n"
    )


def main() -> str:
    text = (
        "## Shards\n\nThe same data set from its files and from `eclip data pack`, on a local disk; a network's disk "
        "adds its round trips to each file that is opened, which are a thousand times fewer with shards.\n\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text += section("Like N-MNIST (simulated)", n_mnist_like(folder / "a"), folder / "a-shards")
        text += section("Like N-ImageNet (simulated)", n_imagenet_like(folder / "b"), folder / "b-shards")
        text += opening(folder / "c")
    return text
