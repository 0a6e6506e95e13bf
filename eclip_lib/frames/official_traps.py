"""What four traps of the official code do to frames, computed so that they can be seen and measured next to ours.

`Recording` → the official code's frames and what went into them; never used to train or test a model. The traps:

- a short recording is filled up with invented ON events at pixel (1, 1) [111];
- frames without events have the value 255, all others are in [0, 1], and the mean over time takes them all [74];
- the canvas of a window ends at its largest event, so frames of one recording are stretched differently [128-144];
- behind windows that are filled exactly, a frame of nothing but padding turns red in its lower right quarter [65, 73].

Source: written from our notes on github.com/jiazhou-garland/EventBind at 2ac998d; lines of its
Dataloader/Caltech101/dataset.py in brackets. No code is copied.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from eclip_lib.config import FrameConfig
from eclip_lib.events import Recording
from eclip_lib.frames.counting import frame_maps
from eclip_lib.frames.drawing import colorize, event_frames
from eclip_lib.frames.windows import recording_windows

BLANK = 255.0  # [74]: the value of a blank frame, while all other frames are in [0, 1]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Frames as one of the two ways draws them, and what went into them.

    Attributes:
        frames: (T, 3, S, S); in [0, 1], but `BLANK` throughout where the official code has no events.
        empty: (T,), the frames that hold no event.
        averaged: (T,), the frames that enter the mean over time.
        padding: (T,), invented events in each window.
        canvas: (T, 2), height and width in pixels of what was stretched to S x S; 0 where nothing was.
    """

    frames: Float32[Tensor, "T 3 S S"]
    empty: Bool[np.ndarray, " T"]
    averaged: Bool[np.ndarray, " T"]
    padding: Int64[np.ndarray, " T"]
    canvas: Int64[np.ndarray, "T 2"]

    def mean(self) -> Float32[Tensor, "3 S S"]:
        """Return the mean frame, over those that are averaged."""
        return self.frames[torch.from_numpy(self.averaged)].mean(0)

    def scale(self) -> Float64[np.ndarray, "V 2"]:
        """Return by how much each frame with events was stretched vertically and horizontally."""
        return self.frames.shape[-1] / self.canvas[~self.empty]


def telling_window(n_events: int, frames: int = 5) -> int:
    """Return a number of events per window that leaves windows empty, so that every trap shows.

    A typical N-ImageNet recording (103,911 events) fills 2.6 of the 5 windows of 40,000 events of the released config;
    so does this.
    """
    return max(1, round(n_events / (0.52 * frames)))


def cut_to_full_windows(recording: Recording, events_per_frame: int, frames: int = 5) -> Recording:
    """Return the start of a recording that fills a whole number of windows and leaves at least one empty.

    Raises:
        ValueError: the recording does not fill one window, or there is only one.
    """
    whole = min(len(recording) // events_per_frame, frames - 1)
    if not whole:
        raise ValueError(
            f"{len(recording):,} events, {frames} windows of {events_per_frame:,}: at least one window must be filled "
            "and one left; use fewer events per window, or more windows"
        )
    return replace(recording, events=recording.events[: whole * events_per_frame])


def official_frames(recording: Recording, events_per_frame: int, frames: int = 5, size: int = 224) -> Drawn:
    """Make frames in the way of the official code ("rgb").

    Args:
        recording: not modified; its sensor's size is not used, which is one of the traps.
        events_per_frame: Q.
        frames: T; the first P = T Q events are kept.
        size: S.
    """
    x, y, on = _padded(recording, events_per_frame * frames)
    given = min(len(recording), events_per_frame * frames)
    starts = np.arange(frames) * events_per_frame
    blank = np.arange(frames) > given // events_per_frame  # [65, 73]: off by one where windows are filled exactly
    drawn, canvas = torch.full((frames, 3, size, size), BLANK), np.zeros((frames, 2), np.int64)
    for i in np.flatnonzero(~blank):
        window = slice(starts[i], starts[i] + events_per_frame)
        image = _drawn(x[window], y[window], on[window])
        canvas[i], drawn[i] = image.shape[1:], _stretched(image, size)
    padding = np.where(blank, 0, np.clip(starts + events_per_frame - given, 0, events_per_frame))
    return Drawn(drawn, starts >= given, np.full(frames, True), padding, canvas)


def our_frames(recording: Recording, events_per_frame: int, frames: int = 5, size: int = 224) -> Drawn:
    """Make frames of the same windows as `official_frames` in our way."""
    cfg = FrameConfig(size=size, frames=frames, events_per_frame=events_per_frame)
    (maps, valid), windows = frame_maps(recording, cfg), recording_windows(recording, cfg)
    valid = np.asarray(valid)
    invented = maps.sum((1, 2, 3), dtype=np.int64) - np.diff(windows)[:, 0]
    canvas = np.where(valid[:, None], maps.shape[2:], 0)
    return Drawn(event_frames(recording, cfg)[0], ~valid, valid, invented, canvas)


def _padded(recording: Recording, total: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and polarity of the first `total` events; a shorter recording is filled up with (1, 1, ON) [111]."""
    events = recording.events[:total]
    x, y, p = (
        np.concatenate([events[name].astype(np.int64), np.ones(total - len(events), np.int64)]) for name in "xyp"
    )
    return x, y, p


def _drawn(x: np.ndarray, y: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Count and color (3, H, W) on a canvas that ends at the largest event of the window [128-144]."""
    maps = np.zeros((1, 2, y.max() + 1, x.max() + 1), np.uint32)
    np.add.at(maps[0], (1 - on, y, x), 1)
    return colorize(maps, "rgb")[0]


def _stretched(image: np.ndarray, size: int) -> Tensor:
    """Scale (3, H, W) to a square, bilinear and without anti-aliasing, as OpenCV does by default."""
    return F.interpolate(torch.from_numpy(image)[None], [size, size], mode="bilinear", align_corners=False)[0]


def trap_table(
    recording: Recording,
    events_per_frame: int,
    frames: int = 5,
    size: int = 224,
    encode: Callable[[Tensor], Tensor] | None = None,
) -> pd.DataFrame:
    """Measure the traps on a recording, a row each, in the official code's frames and in ours.

    Args:
        recording: not modified.
        events_per_frame: Q.
        frames: T.
        size: S.
        encode: an image tower, frames (T, 3, S, S) → features (T, D); with it the table also tells how far frames
            without events turn the mean feature. The frames go in as they are, which is the official way.

    Raises:
        ValueError: see `cut_to_full_windows`.
    """
    part, table = cut_to_full_windows(recording, events_per_frame, frames), {}
    for name, make in (("official code", official_frames), ("ours", our_frames)):
        drawn, exact = (make(events, events_per_frame, frames, size) for events in (recording, part))
        table[name] = {
            "invented events at pixel (1, 1)": f"{drawn.padding.sum():,}",
            "value of a frame without events": _values(drawn.frames[torch.from_numpy(drawn.empty)]),
            "largest value in the mean over time": f"{drawn.mean().max():.1f}",
            "canvases, height x width": _sizes(drawn.canvas[~drawn.empty]),
            "output pixels per sensor pixel, vertically": _range(drawn.scale()[:, 0]),
            "output pixels per sensor pixel, horizontally": _range(drawn.scale()[:, 1]),
            "red share of the first frame after exactly filled windows": f"{red_share(exact):.0%}",
        }
        if encode is not None:
            label = "cosine of the mean feature to that of the frames with events"
            table[name][label] = f"{mean_feature_cosine(drawn, encode):.3f}"
    return pd.DataFrame(table).rename_axis("trap").reset_index()


def red_share(drawn: Drawn) -> float:
    """Return the share of red pixels in the first frame without events."""
    red, green, _ = drawn.frames[int(np.argmax(drawn.empty))]
    return float(((red > 0.5) & (green < 0.5)).float().mean())


def mean_feature_cosine(drawn: Drawn, encode: Callable[[Tensor], Tensor]) -> float:
    """Return the cosine between the mean feature and the one of only the frames with events."""
    with torch.no_grad():
        features = encode(drawn.frames)
    averaged, events = torch.from_numpy(drawn.averaged), torch.from_numpy(~drawn.empty)
    return float(F.cosine_similarity(features[averaged].mean(0), features[events].mean(0), dim=0))


def _range(values: np.ndarray) -> str:
    """Return one number, or the least and the largest."""
    least, largest = f"{values.min():.2f}", f"{values.max():.2f}"
    return least if least == largest else f"{least} to {largest}"


def _sizes(canvas: Int64[np.ndarray, "V 2"]) -> str:
    """Return the sizes of canvases, each once."""
    return ", ".join(f"{height} x {width}" for height, width in np.unique(canvas, axis=0))


def _values(frames: Tensor) -> str:
    """Return the values that frames have."""
    return ", ".join(f"{value:g}" for value in frames.unique().tolist()) or "none is empty"
