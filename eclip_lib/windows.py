"""Which events make a frame: windows by count or by time, consecutive, overlapping or spread.

`Recording` and `FrameConfig` -> where each window starts and stops in the events, (T, 2).
"""

from bisect import bisect_left

import numpy as np
from jaxtyping import Int64

from eclip_lib.config import FrameConfig
from eclip_lib.events import Recording

_WINDOWS = ("first", "spread")


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
        frames: T.
        windows: "first" takes T windows of Q events from the start; a shorter remainder is a window, what follows it
            is missing (the paper). "spread" spaces T windows of min(Q, N - start) events evenly from the first event
            to the last; they overlap where they must, whatever `overlap` says, and none is missing (our choice: no
            saccade is lost).
        overlap: share of a window, in [0, 1), that the next one sees again, to the nearest event; neighbors differ
            by at least one event. A window that would see no event of its own is missing.
        start: events to leave out at the front.

    Raises:
        ValueError: an argument is out of range, or `windows` is unknown.

    Example:
        >>> window_bounds(5, 2, 4).tolist()
        [[0, 2], [2, 4], [4, 5], [5, 5]]
        >>> window_bounds(10, 4, 3, "spread").tolist()
        [[0, 4], [3, 7], [6, 10]]
        >>> window_bounds(7, 4, 4, overlap=0.5).tolist()
        [[0, 4], [2, 6], [4, 7], [7, 7]]

    Source: E-CLIP section 1.1: windows of a fixed count. The paper pads a short recording; we never invent an event.
    """
    _check(n_events, events_per_frame, frames, windows, overlap, start)
    start = min(start, n_events)
    if events_per_frame is None:
        edges = start + np.arange(frames + 1, dtype=np.int64) * (n_events - start) // frames
        return np.stack([edges[:-1], edges[1:]], axis=1)
    if windows == "spread":
        return _spread(start, n_events, events_per_frame, frames)
    return _consecutive(start, n_events, events_per_frame, frames, max(1, round(events_per_frame * (1 - overlap))))


def _consecutive(start: int, end: int, length: int, frames: int, step: int) -> Int64[np.ndarray, "T 2"]:
    """Place a window every `step`, until one reaches the end."""
    starts = start + np.arange(frames, dtype=np.int64) * step
    stops = np.minimum(starts + length, end)
    starts[1:][stops[:-1] == end] = end  # the window before has seen everything
    return np.stack([np.minimum(starts, end), stops], axis=1)


def _spread(start: int, end: int, length: int, frames: int) -> Int64[np.ndarray, "T 2"]:
    """Place the first window at the start, the last at the end, and the others evenly between."""
    length = min(length, end - start)
    starts = start + np.arange(frames, dtype=np.int64) * (end - start - length) // max(frames - 1, 1)
    return np.stack([starts, starts + length], axis=1)


def _check(n_events: int, length: int | None, frames: int, windows: str, overlap: float, start: int) -> None:
    """Raise ValueError for an argument of `window_bounds` that is out of range."""
    for name, value, least in (
        ("n_events", n_events, 0),
        ("events_per_frame", length, 1),
        ("frames", frames, 1),
        ("start", start, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name} = {value}: must be at least {least}")
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap = {overlap}: must be at least 0 and below 1")
    if windows not in _WINDOWS:
        raise ValueError(f"windows = {windows!r}: expected one of {', '.join(_WINDOWS)}")


def recording_windows(recording: Recording, cfg: FrameConfig) -> Int64[np.ndarray, "T 2"]:
    """Return the indices of the events at which each window of a recording starts and stops.

    By time (`cfg.window_us`), a window holds the events of [s, s + window_us); s counts from the first event, which
    is at `cfg.start` = 0. A window without events has start == stop: a silence in the middle, or what lies behind the
    last event.

    Example:
        >>> from eclip_lib.events import EVENT_DTYPE
        >>> events = np.array([(0, 0, 7, True), (0, 0, 16, True), (0, 0, 40, True)], EVENT_DTYPE)
        >>> recording_windows(Recording(events, (1, 1)), FrameConfig(window_us=10, frames=5)).tolist()
        [[0, 2], [2, 2], [2, 2], [2, 3], [3, 3]]

    Source: E-CLIP section 1.1 for windows by count; by time is our choice (the paper has none).
    """
    layout = {"frames": cfg.frames, "windows": cfg.windows, "overlap": cfg.overlap, "start": cfg.start}
    if cfg.window_us is None:
        return window_bounds(len(recording), cfg.events_per_frame, **layout)
    times = recording.events["t"]
    first, spans = int(times[0]), window_bounds(recording.duration + 1, cfg.window_us, **layout)
    indices = [bisect_left(times, first + edge) for edge in spans.ravel().tolist()]  # a few look-ups, no copy of t
    return np.array(indices, np.int64).reshape(-1, 2)
