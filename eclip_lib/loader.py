"""Stream recordings that are too many to keep as frames: workers count, the device draws.

`EventData` and indices -> batches of count maps (B, T, 2, H, W), valid (B, T) and labels (B,).
"""

from collections.abc import Sequence
from multiprocessing import get_all_start_methods

import numpy as np
import torch
from jaxtyping import Bool, Int64, Integer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from eclip_lib.config import FrameConfig
from eclip_lib.datasets import EventData
from eclip_lib.ecm import frame_maps, pack_maps

Sample = tuple[np.ndarray, np.ndarray, int]  # maps, valid, label


class MapDataset(Dataset):
    """The count maps of some recordings, read and counted when asked for."""

    def __init__(self, data: EventData, indices: np.ndarray, cfg: FrameConfig) -> None:
        self.data, self.indices, self.cfg = data, np.asarray(indices), cfg

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.indices)

    def __getitem__(self, row: int) -> Sample:
        """Return packed count maps (T, 2, H, W), valid (T,) and the label of one recording."""
        index = int(self.indices[row])
        maps, valid = frame_maps(self.data.recording(index), self.cfg)
        return pack_maps(maps), valid, int(self.data.labels[index])


def collate_maps(
    samples: Sequence[Sample],
) -> tuple[Integer[Tensor, "B T 2 H W"], Bool[Tensor, "B T"], Int64[Tensor, " B"]]:
    """Stack samples, their counts at 8 bits where those of all are, else at 32.

    PyTorch has few operations for 16 bits without a sign, and counts above 255 are rare.

    Raises:
        ValueError: recordings of different sensors.
    """
    maps, valid, labels = zip(*samples, strict=True)
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
        >>> from eclip_lib.datasets import load_dataset
        >>> from eclip_lib.ecm import frames_from_maps
        >>> data, cfg = load_dataset(DataConfig()), FrameConfig(size=48)
        >>> maps, valid, labels = next(iter(map_loader(data, np.arange(4), cfg, batch_size=4)))
        >>> maps.dtype, maps.shape, frames_from_maps(maps, valid, cfg).shape
        (torch.uint8, torch.Size([4, 3, 2, 96, 96]), torch.Size([4, 3, 3, 48, 48]))
    """
    if workers and "fork" not in get_all_start_methods():
        raise ValueError(f"workers = {workers}: this system cannot fork processes; use workers = 0")
    return DataLoader(
        MapDataset(data, indices, cfg),
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=workers,
        collate_fn=collate_maps,
        generator=torch.Generator().manual_seed(seed),
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,  # a data set holds functions, which cannot be pickled
    )
