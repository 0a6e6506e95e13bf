"""From count maps to the frames that the encoder sees.

`Recording` -> windows -> count maps (T, 2, H, W) -> frames (T, 3, S, S) in [0, 1] and valid (T,).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Shaped, UInt
from torch import Tensor

from eclip_lib.config import FrameConfig
from eclip_lib.events import Recording
from eclip_lib.frames.colors import background, color_maps
from eclip_lib.frames.counting import frame_maps
from eclip_lib.frames.resizing import resize

# Counted up when the same events and config give other frames, so that caches know. 2: "count" and "eventclip" colors
# and our own resize differ from those of 1 in the last bits (by up to 2.4e-7).
VERSION = 2


def colorize(maps: UInt[np.ndarray, "T 2 H W"], color: str = "rgb") -> Float32[np.ndarray, "T 3 H W"]:
    """Turn count maps into images in [0, 1]; `color_maps` for arrays, where the colors are explained.

    Raises:
        ValueError: unknown color, or maps of another shape.
    """
    if maps.ndim != 4 or maps.shape[1] != 2:
        raise ValueError(f"maps of shape {maps.shape}: expected (T, 2, H, W), channel 0 = ON")
    return color_maps(torch.from_numpy(np.ascontiguousarray(maps)), color).numpy()


def frames_from_maps(
    maps: Shaped[Tensor, "*N T 2 H W"] | Shaped[np.ndarray, "*N T 2 H W"],
    valid: Bool[Tensor, "*N T"] | Bool[np.ndarray, "*N T"],
    cfg: FrameConfig,
) -> Float[Tensor, "*N T 3 S S"]:
    """Color and resize count maps, of one recording or a batch, on the device they are on.

    So workers of a data loader ship small whole numbers, and the device draws the frames.

    Args:
        maps: counts of any number type; not modified.
        valid: a window that is not valid gives a white frame, in every color.
        cfg: its color, size and keep_aspect.
    """
    maps, valid = torch.as_tensor(maps), torch.as_tensor(valid)
    frames = resize(color_maps(maps, cfg.color), cfg.size, cfg.keep_aspect, background(cfg.color))
    if not valid.all():
        frames[~valid] = 1.0  # white to the last bit
    return frames


def event_frames(recording: Recording, cfg: FrameConfig) -> tuple[Float[Tensor, "T 3 S S"], Bool[Tensor, " T"]]:
    """Turn a recording into the frames that the encoder sees.

    Returns:
        frames: float32 in [0, 1]; a missing window is white.
        valid: False for a missing window, which takes no part in attention or mean.

    Raises:
        ValueError: see `count_maps`.

    Example:
        >>> from eclip_lib.events import EVENT_DTYPE
        >>> events = np.array([(0, 0, 1, True), (1, 1, 2, False)], EVENT_DTYPE)
        >>> frames, valid = event_frames(Recording(events, (2, 2)), FrameConfig(size=4, frames=3))
        >>> frames.shape, valid.tolist()
        (torch.Size([3, 3, 4, 4]), [False, True, True])

    Source: E-CLIP, supplement section 1.1. Our choice: an anti-aliased resize (the paper's drops thin edges).
    """
    maps, valid = frame_maps(recording, cfg)
    return frames_from_maps(maps, valid, cfg), torch.from_numpy(valid)
