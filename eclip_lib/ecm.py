"""Event count maps, their colors, and the frames that the encoder sees.

`Recording` -> windows -> count maps (T, 2, H, W) -> frames (T, 3, S, S) in [0, 1] and valid (T,).
"""

from collections.abc import Callable
from typing import no_type_check

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64, UInt, UInt16
from numba import njit
from torch import Tensor

from eclip_lib.config import FrameConfig
from eclip_lib.events import Recording

_FULL = np.iinfo(np.uint16).max
_WINDOWS = ("first", "spread")
_ROBUST_PERCENTILE = 99.0  # of the nonzero counts; a few hot pixels must not fade all others

VERSION = 1  # counted up when the same events and config give other frames, so that caches know


def window_bounds(
    n_events: int, events_per_frame: int | None = None, frames: int = 3, windows: str = "first"
) -> Int64[np.ndarray, "T 2"]:
    """Return where each window starts and stops; a missing window has start == stop.

    Args:
        n_events: N, the length of the recording.
        events_per_frame: Q. None cuts all N events into T equal parts that differ by at most one event, whatever
            `windows` says (our choice: no event is lost).
        frames: T.
        windows: "first" takes T consecutive windows of Q events from the start; a shorter remainder is a window, what
            follows it is missing (the paper). "spread" spaces T windows of min(Q, N) events evenly from the first
            event to the last; they overlap where N < T Q, and none is missing (our choice: no saccade is lost).

    Raises:
        ValueError: an argument is out of range, or `windows` is unknown.

    Example:
        >>> window_bounds(5, 2, 4).tolist()
        [[0, 2], [2, 4], [4, 5], [5, 5]]
        >>> window_bounds(10, 4, 3, "spread").tolist()
        [[0, 4], [3, 7], [6, 10]]

    Source: E-CLIP section 1.1: windows of a fixed count. The paper pads a short recording; we never invent an event.
    """
    for name, value, least in (
        ("n_events", n_events, 0),
        ("events_per_frame", events_per_frame, 1),
        ("frames", frames, 1),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name} = {value}: must be at least {least}")
    if windows not in _WINDOWS:
        raise ValueError(f"windows = {windows!r}: expected one of {', '.join(_WINDOWS)}")
    if events_per_frame is None:
        cuts = np.arange(frames + 1, dtype=np.int64) * n_events // frames
    elif windows == "first":
        cuts = np.minimum(np.arange(frames + 1, dtype=np.int64) * events_per_frame, n_events)
    else:
        length = min(events_per_frame, n_events)
        starts = np.arange(frames, dtype=np.int64) * (n_events - length) // max(frames - 1, 1)
        return np.stack([starts, starts + length], axis=1)
    return np.stack([cuts[:-1], cuts[1:]], axis=1)


@njit(nogil=True, cache=True)
@no_type_check  # numba compiles the function itself, not a type checker's wrapper
def _count(x, y, p, bounds, maps):
    """Add each window's events to its maps; return the window whose count would pass the type, or -1."""
    for window in range(len(bounds)):
        for i in range(bounds[window, 0], bounds[window, 1]):
            channel = 0 if p[i] else 1
            if maps[window, channel, y[i], x[i]] == _FULL:
                return window
            maps[window, channel, y[i], x[i]] += 1
    return -1


def count_maps(
    recording: Recording, events_per_frame: int | None = None, frames: int = 3, windows: str = "first"
) -> UInt16[np.ndarray, "T 2 H W"]:
    """Count the ON and OFF events of each window at each pixel of the sensor.

    Channel 0 holds ON, channel 1 OFF; the maps of a window sum to its number of events, those of a missing one to 0.

    Args:
        recording: the events; not modified.
        events_per_frame: see `window_bounds`, like the next two.
        frames: T.
        windows: "first" or "spread".

    Raises:
        ValueError: an argument is out of range, or a pixel has more than 65,535 events of one polarity in a window
            (our choice: an error, since neither a wrapped nor a saturated count sums to the events).

    Example:
        >>> from eclip_lib.events import EVENT_DTYPE
        >>> events = np.array([(0, 0, 1, True), (1, 0, 2, False), (1, 0, 3, False)], EVENT_DTYPE)
        >>> count_maps(Recording(events, (1, 2)), frames=1).tolist()
        [[[[1, 0]], [[0, 2]]]]

    Source: E-CLIP section 1.1; the canvas is the sensor's (the official code cuts it at the largest event).
    """
    bounds = window_bounds(len(recording), events_per_frame, frames, windows)
    maps = np.zeros((frames, 2, *recording.sensor_size), np.uint16)
    events = recording.events
    full = _count(events["x"], events["y"], events["p"], bounds, maps)
    if full >= 0:
        raise ValueError(
            f"window {full}: a pixel has more than {_FULL} events of one polarity; "
            "use smaller windows (events_per_frame), or drop the pixel if it is a hot one"
        )
    return maps


def colorize(maps: UInt[np.ndarray, "T 2 H W"], mode: str = "rgb") -> Float32[np.ndarray, "T 3 H W"]:
    """Turn count maps into images in [0, 1] on white.

    - "rgb": red where there is an ON event, blue for OFF, black for both; one event saturates.
    - "gray": each event of either polarity darkens by 127/255, so the third changes nothing.
    - "count": the hues of "rgb" with a strength of log(1 + count) / log(1 + m), at most 1, where m is the 99th
      percentile of the nonzero counts of the frame (our choice: several events stay distinguishable from one).

    Args:
        maps: counts, channel 0 = ON; not modified.
        mode: one of those.

    Raises:
        ValueError: unknown mode, or maps of another shape.

    Source: E-CLIP eq. 1 as its official code draws it: clip(1 - (on [0, 255, 255] + off [255, 255, 0]) / 255) for
        "rgb", clip(1 - (on + off) 127/255) for "gray".
    """
    if mode not in _MODES:
        raise ValueError(f"color mode {mode!r}: expected one of {', '.join(_MODES)}")
    if maps.ndim != 4 or maps.shape[1] != 2:
        raise ValueError(f"maps of shape {maps.shape}: expected (T, 2, H, W), channel 0 = ON")
    return _MODES[mode](maps.astype(np.float32))


def _hues(strength: np.ndarray) -> np.ndarray:
    """Mix red for ON and blue for OFF of strengths (T, 2, H, W) in [0, 1]."""
    on, off = strength[:, 0], strength[:, 1]
    return np.stack([1 - off, np.maximum(1 - on - off, 0), 1 - on], axis=1)


def _rgb(counts: np.ndarray) -> np.ndarray:
    """Color by presence."""
    return _hues(np.minimum(counts, 1))


def _gray(counts: np.ndarray) -> np.ndarray:
    """Darken with every event."""
    gray = np.maximum(1 - counts.sum(1, keepdims=True) * np.float32(127 / 255), 0)
    return np.repeat(gray, 3, axis=1)


def _log_count(counts: np.ndarray) -> np.ndarray:
    """Color by the logarithm of the count, scaled for each frame."""
    peak = np.array([_robust_peak(frame) for frame in counts], np.float32)[:, None, None, None]
    return _hues(np.minimum(np.log1p(counts) / np.log1p(peak), 1))


def _robust_peak(frame: np.ndarray) -> float:
    """Return a high count of a frame that a few hot pixels do not set; 1 for an empty one."""
    seen = frame[frame > 0]
    return float(np.percentile(seen, _ROBUST_PERCENTILE)) if seen.size else 1.0


_MODES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"rgb": _rgb, "gray": _gray, "count": _log_count}


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

    Source: E-CLIP section 1.1. Our choice: anti-aliased bilinear resize (the paper's, without it, drops thin edges).
    """
    bounds = window_bounds(len(recording), cfg.events_per_frame, cfg.frames, cfg.windows)
    valid = torch.from_numpy(bounds[:, 1] > bounds[:, 0])
    maps = count_maps(recording, cfg.events_per_frame, cfg.frames, cfg.windows)
    frames = _resize(torch.from_numpy(colorize(maps, cfg.color)), cfg.size, cfg.keep_aspect)
    frames[~valid] = 1.0  # white to the last bit
    return frames, valid


def _resize(frames: Tensor, size: int, keep_aspect: bool) -> Tensor:
    """Scale (T, 3, H, W) to (T, 3, size, size): stretched, or fitted in the middle of white."""
    longest = max(frames.shape[-2:])
    shape = [max(1, round(side * size / longest)) for side in frames.shape[-2:]] if keep_aspect else [size, size]
    frames = F.interpolate(frames, shape, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
    down, across = (size - side for side in shape)
    return F.pad(frames, (across // 2, across - across // 2, down // 2, down - down // 2), value=1.0)
