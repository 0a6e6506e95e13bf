"""Stream recordings that are too many to keep as frames, or that change each time: workers count, the device draws.

`EventData` and indices -> batches of count maps (B, T, 2, H, W), valid (B, T) and labels (B,), or of the frames.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_all_start_methods

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from eclip_lib.config import FrameConfig, TrainConfig
from eclip_lib.data.recordings import EventData
from eclip_lib.events import Recording, augment, augments, sample_rng
from eclip_lib.frames import frame_maps, frames_from_maps, pack_maps

Sample = tuple[np.ndarray, np.ndarray, int]  # maps, valid, label
Change = Callable[[Recording, int], Recording]  # of a recording and its index


class MapDataset(Dataset):
    """The count maps of some recordings, read and counted when asked for, and changed before where there is `change`.

    A recording of which the change leaves no window with an event is taken as it is.
    """

    def __init__(self, data: EventData, indices: np.ndarray, cfg: FrameConfig, change: Change | None = None) -> None:
        self.data, self.indices, self.cfg, self.change = data, np.asarray(indices), cfg, change

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.indices)

    def __getitem__(self, row: int) -> Sample:
        """Return packed count maps (T, 2, H, W), valid (T,) and the label of one recording."""
        index = int(self.indices[row])
        recording, label = self.data.recording(index), int(self.data.labels[index])
        if self.change is not None:
            maps, valid = frame_maps(self.change(recording, index), self.cfg)
            if valid.any():
                return pack_maps(maps), valid, label
        maps, valid = frame_maps(recording, self.cfg)
        return pack_maps(maps), valid, label


def collate_maps(
    samples: Sequence[Sample],
) -> tuple[Integer[Tensor, "B T 2 H W"], Bool[Tensor, "B T"], Int64[Tensor, " B"]]:
    """Stack the items of a `MapDataset`, their counts at 8 bits where those of all are, else at 32.

    PyTorch has few operations for 16 bits without a sign, and counts above 255 are rare.

    Raises:
        ValueError: recordings of different sensors.
    """
    maps, valid, labels = map(list, zip(*samples, strict=True))
    shapes = sorted({one.shape for one in maps})
    if len(shapes) > 1:
        raise ValueError(
            f"a batch has count maps of shapes {', '.join(map(str, shapes))}; all recordings of a batch must be of "
            "one sensor: load each sensor's by itself, or use batch_size = 1"
        )
    if any(one.dtype != np.uint8 for one in maps):
        maps = [one.astype(np.int32) for one in maps]
    return (
        default_collate([torch.from_numpy(one) for one in maps]),  # stacks them in the memory that a worker shares
        torch.from_numpy(np.stack(valid)),
        torch.tensor(labels, dtype=torch.int64),
    )


def map_loader(
    data: EventData,
    indices: np.ndarray,
    cfg: FrameConfig,
    *,
    batch_size: int = 32,
    workers: int = 0,
    shuffle: bool = False,
    seed: int = 0,
) -> DataLoader:
    """Load batches of count maps in `workers` processes; `frames_from_maps` draws them on the device.

    What is shipped are the counts that the frames are drawn from: for 224-pixel frames a seventh of the bytes on the
    sensor of N-Caltech101, a 260th on N-MNIST's.

    Args:
        data: the recordings; anything in their order that is random comes from `seed`.
        indices: which of them, in which order unless `shuffle`.
        cfg: windows and polarity; the drawing uses the rest of it.
        batch_size: B.
        workers: processes that read and count; 0 does it in this one. They are forked, so they need an operating
            system that can.
        shuffle: another order in every epoch.
        seed: of that order.

    Raises:
        ValueError: workers on a system that cannot fork.

    Example:
        >>> from eclip_lib.config import DataConfig
        >>> from eclip_lib.data import load_dataset
        >>> from eclip_lib.frames import frames_from_maps
        >>> data, cfg = load_dataset(DataConfig()), FrameConfig(size=48)
        >>> maps, valid, labels = next(iter(map_loader(data, np.arange(4), cfg, batch_size=4)))
        >>> maps.dtype, maps.shape, frames_from_maps(maps, valid, cfg).shape
        (torch.uint8, torch.Size([4, 3, 2, 96, 96]), torch.Size([4, 3, 3, 48, 48]))
    """
    order = {"batch_size": batch_size, "shuffle": shuffle, "persistent_workers": workers > 0}
    return _loader(MapDataset(data, indices, cfg), workers, seed, **order)


def _loader(maps: MapDataset, workers: int, seed: int, **order) -> DataLoader:
    """Return a loader of count maps whose random numbers are its own."""
    if workers and "fork" not in get_all_start_methods():
        raise ValueError(f"workers = {workers}: this system cannot fork processes; use workers = 0")
    return DataLoader(
        maps,
        num_workers=workers,
        collate_fn=collate_maps,
        generator=torch.Generator().manual_seed(seed),
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="fork" if workers else None,  # a data set holds functions, which cannot be pickled
        **order,
    )


@dataclass(frozen=True)
class EventStream:
    """Training recordings whose frames are drawn anew in every epoch, from events changed at random.

    Where nothing changes them, the frames are those that `load_frames` keeps, to the last bit.

    Attributes:
        data: the recordings.
        indices: (N,) which of them.
        frames: how events become frames.
        cfg: the changes, and how many processes read.
        labels: (N,) their classes.
    """

    data: EventData
    indices: np.ndarray
    frames: FrameConfig
    cfg: TrainConfig
    labels: Int64[Tensor, " N"]

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.labels)

    def batches(
        self, batches: Sequence[Int64[Tensor, " _"]], seed: int, epoch: int, device: torch.device
    ) -> Iterator[tuple[Float[Tensor, "B T 3 S S"], Bool[Tensor, "B T"]]]:
        """Yield frames and valid of batches of rows, on a device; the same for any number of workers.

        Args:
            batches: the rows of each batch, numbers from 0 to N - 1; one yield each.
            seed: of the changes.
            epoch: another one changes the recordings in another way.
            device: draws the frames.
        """
        change = partial(_change, self.cfg, seed, epoch) if augments(self.cfg) else None
        maps = MapDataset(self.data, self.indices, self.frames, change)
        for counts, valid, _ in _loader(maps, self.cfg.workers, seed, batch_sampler=[b.tolist() for b in batches]):
            counts, valid = counts.to(device, non_blocking=True), valid.to(device, non_blocking=True)
            frames = frames_from_maps(counts, valid, self.frames)
            yield (frames * 255).round() / 255, valid  # to 8 bits, as frames are kept


def _change(cfg: TrainConfig, seed: int, epoch: int, recording: Recording, index: int) -> Recording:
    """Change a recording as its index and the epoch say."""
    return augment(recording, cfg, sample_rng(seed, epoch, index))
