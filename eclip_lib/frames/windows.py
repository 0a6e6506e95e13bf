"""Which events make a frame: windows by count or by time, consecutive, overlapping or spread.

`Recording` and `FrameConfig` -> where each window starts and stops in the events, (T, 2).
"""

from bisect import bisect_left
from itertools import chain, pairwise
from numbers import Integral

import numpy as np
from jaxtyping import Int64

from eclip_lib.config import MOST_FRAMES, FrameConfig
from eclip_lib.events import Recording

_WINDOWS = ("first", "spread")
Spans = list[tuple[int, int]]  # where each window starts and stops


def window_bounds(
    n_events: int,
    events_per_frame: int | None = None,
    frames: int = 3,
    windows: str = "first",
    *,
    overlap: float = 0.0,
    start: int = 0,
) -> Int64[np.ndarray, "T 2"]:
    """Return where each window starts and stops; a missing window has start == stop.

    Nothing but whole numbers enters, so the same rule cuts events by their number and, in `recording_windows`,
    microseconds by theirs.

    Args:
        n_events: N, the length of the recording.
        events_per_frame: Q. None cuts the N - start events into T equal parts that differ by at most one event,
            whatever `windows` and `overlap` say (our choice: no event is lost).
        frames: T, at most a million.
        windows: "first" takes T windows of Q events from the start; a shorter remainder is a window, what follows it
            is missing (the paper). "spread" spaces T windows of min(Q, N - start) events evenly from the first event
            to the last; they overlap where they must, whatever `overlap` says, and none is missing (our choice: no
            saccade is lost).
        overlap: share of a window, in [0, 1), that the next one sees again, to the nearest event; neighbors differ
            by at least one event. A window that would see no event of its own is missing.
        start: events to leave out at the front.

    Raises:
        ValueError: an argument is no whole number or out of range, or `windows` is unknown.

    Example:
        >>> window_bounds(5, 2, 4).tolist()
        [[0, 2], [2, 4], [4, 5], [5, 5]]
        >>> window_bounds(10, 4, 3, "spread").tolist()
        [[0, 4], [3, 7], [6, 10]]
        >>> window_bounds(7, 4, 4, overlap=0.5).tolist()
        [[0, 4], [2, 6], [4, 7], [7, 7]]

    Source: E-CLIP, supplement section 1.1: windows of a fixed count. It pads a short recording; we invent no event.
    """
    _check(n_events, events_per_frame, frames, windows, overlap, start)
    length = None if events_per_frame is None else int(events_per_frame)
    return np.array(_spans(int(n_events), length, int(frames), windows, overlap, int(start)), np.int64)


def _spans(end: int, length: int | None, frames: int, windows: str, overlap: float, start: int) -> Spans:
    """Place windows in [start, end); Python's integers, since those of 64 bits would wrap for a long enough window."""
    start = min(start, end)
    if length is None:
        edges = [start + part * (end - start) // frames for part in range(frames + 1)]
        return list(pairwise(edges))
    length = min(length, end)  # a longer one holds no more
    if windows == "spread":
        return _spread(start, end, length, frames)
    step = max(1, round(length * (1 - overlap))) if overlap else length  # exact where a float would not be
    return _consecutive(start, end, length, frames, step)


def _consecutive(start: int, end: int, length: int, frames: int, step: int) -> Spans:
    """Place a window every `step`, until one reaches the end and has seen everything."""
    spans = []
    for _ in range(frames):
        stop = min(start + length, end)
        spans.append((start, stop))
        start = end if stop == end else start + step
    return spans


def _spread(start: int, end: int, length: int, frames: int) -> Spans:
    """Place the first window at the start, the last at the end, and the others evenly between."""
    length = min(length, end - start)
    starts = [start + gap * (end - start - length) // max(frames - 1, 1) for gap in range(frames)]
    return [(first, first + length) for first in starts]


def _check(n_events: int, length: int | None, frames: int, windows: str, overlap: float, start: int) -> None:
    """Raise ValueError for an argument of `window_bounds` that is out of range."""
    _check_whole("n_events", n_events, 0, np.iinfo(np.int64).max)
    if length is not None:
        _check_whole("events_per_frame", length, 1)
    _check_whole("frames", frames, 1, MOST_FRAMES)
    _check_whole("start", start, 0)
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap = {overlap}: must be at least 0 and below 1")
    if windows not in _WINDOWS:
        raise ValueError(f"windows = {windows!r}: expected one of {', '.join(_WINDOWS)}")


def _check_whole(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise ValueError for an argument that is no whole number of [least, most]."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: must be a whole number")
    if value < least:
        raise ValueError(f"{name} = {value}: must be at least {least}")
    if most is not None and value > most:
        raise ValueError(f"{name} = {value}: must be at most {most}")


def recording_windows(recording: Recording, cfg: FrameConfig) -> Int64[np.ndarray, "T 2"]:
    """Return the indices of the events at which each window of a recording starts and stops, by count or by time.

    By time (`cfg.window_us`), a window holds the events of [s, s + window_us); s counts from the first event, which
    is at `cfg.start` = 0. A window without events has start == stop: a silence in the middle, or what lies behind the
    last event.

    Example:
        >>> from eclip_lib.events import EVENT_DTYPE
        >>> events = np.array([(0, 0, 7, True), (0, 0, 16, True), (0, 0, 40, True)], EVENT_DTYPE)
        >>> recording_windows(Recording(events, (1, 1)), FrameConfig(window_us=10, frames=5)).tolist()
        [[0, 2], [2, 2], [2, 2], [2, 3], [3, 3]]

    Source: E-CLIP, supplement section 1.1, for windows by count; by time is our choice (the paper has none).
    """
    layout = (cfg.frames, cfg.windows, cfg.overlap, cfg.start)
    if cfg.window_us is None:
        return np.array(_spans(len(recording), cfg.events_per_frame, *layout), np.int64)
    times = recording.events["t"]
    first, spans = int(times[0]), _spans(recording.duration + 1, cfg.window_us, *layout)
    indices = [bisect_left(times, first + edge) for edge in chain(*spans)]  # a few look-ups, no copy of t
    return np.array(indices, np.int64).reshape(-1, 2)
