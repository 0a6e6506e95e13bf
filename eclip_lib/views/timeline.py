"""What a figure or a widget shows of a recording: its rate over time, a thinned cloud, where its windows lie.

`Recording` and windows → small arrays, times in milliseconds since the first event.
"""

import numpy as np
from jaxtyping import Float, Int64

from eclip_lib.events import Recording

MS = 1000  # microseconds


def elapsed_ms(recording: Recording, events: np.ndarray) -> Float[np.ndarray, " N"]:
    """Return when `events` of the recording happened, in milliseconds since its first event."""
    return (events["t"] - recording.events["t"][0]) / MS


def event_rate(recording: Recording, bins: int = 150) -> tuple[Float[np.ndarray, " E"], Float[np.ndarray, "2 R"]]:
    """Return how many events a millisecond there are over time.

    Args:
        recording: not modified.
        bins: R.

    Returns:
        edges: of the bins, R + 1, in milliseconds.
        rates: events per millisecond, channel 0 = ON; times the width of the bins they sum to the events.

    Example:
        >>> from eclip_lib.events import EVENT_DTYPE
        >>> events = np.array([(0, 0, 0, True), (0, 0, 4000, False), (0, 0, 4000, False)], EVENT_DTYPE)
        >>> edges, rates = event_rate(Recording(events, (1, 1)), bins=2)
        >>> edges.tolist(), rates.tolist()
        ([0.0, 2.0, 4.0], [[0.5, 0.0], [0.0, 1.0]])
    """
    end = max(recording.duration, 1)  # microseconds; one where all events happen at once
    t = recording.events["t"] - recording.events["t"][0]
    place = np.minimum(t * bins // end, bins - 1) + bins * ~recording.events["p"]
    counts = np.bincount(place, minlength=2 * bins).reshape(2, bins)
    return np.linspace(0, end / MS, bins + 1), counts / (end / MS / bins)


def thinned(recording: Recording, most: int = 3000) -> dict[str, np.ndarray]:
    """Return at most `most` events of each polarity, "ON" and "OFF", spread evenly over their sequence."""
    p = recording.events["p"]
    return {name: evenly(recording.events[p == on], most) for name, on in (("ON", True), ("OFF", False))}


def cloud_title(recording: Recording, shown: dict[str, np.ndarray]) -> str:
    """Say how many events there are and how many of them a cloud shows."""
    drawn = sum(map(len, shown.values()))
    return f"{len(recording):,} events" + (f", {drawn:,} shown" if drawn < len(recording) else "")


def window_times(recording: Recording, windows: Int64[np.ndarray, "T 2"]) -> Float[np.ndarray, "T 2"]:
    """Return when each window's first and last event happened, in milliseconds; NaN for a missing window."""
    events, (start, stop) = recording.events, windows.T
    present = stop > start
    inside = np.where(present, [start, stop - 1], 0)
    return np.where(present, elapsed_ms(recording, events[inside]), np.nan).T


def window_labels(recording: Recording, windows: Int64[np.ndarray, "T 2"]) -> list[str]:
    """Return what to write under each window's frame: its time and its number of events."""
    times = window_times(recording, windows)
    spans = zip(times, windows.tolist(), strict=True)
    return [_label(first, last, stop - start) for (first, last), (start, stop) in spans]


def _label(first: float, last: float, count: int) -> str:
    """Return the label of one window."""
    return f"{first:.1f} to {last:.1f} ms, {count:,} event{'' if count == 1 else 's'}" if count else "missing"


def evenly(events: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` items, spread evenly, the first and the last among them."""
    return events[np.linspace(0, len(events) - 1, min(len(events), most)).round().astype(int)]
