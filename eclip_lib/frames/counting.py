"""Event count maps (ECM): how often each pixel fired in each window, ON and OFF apart.

a recording and windows → `(T, 2, H, W)` counts.
"""

from collections.abc import Mapping
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt, UInt16
from numba import njit

from eclip_lib.config import FrameConfig
from eclip_lib.events import EVENT_DTYPE, Recording
from eclip_lib.frames.windows import recording_windows, window_bounds

_FULL = np.iinfo(np.uint16).max
_BYTES = EVENT_DTYPE.itemsize
_FIELDS: Mapping[str, tuple] = EVENT_DTYPE.fields or {}  # a plain dtype has none
_X, _Y, _P = (_FIELDS[name][1] for name in "xyp")  # bytes from the start of an event


@njit(nogil=True, cache=True)
@no_type_check  # numba compiles the function itself, not a type checker's wrapper
def _count(raw, bounds, width, pixels, maps):
    """Add each window's events, read byte by byte from `raw`, to its flat map; a count may wrap.

    Unsigned indices spare a test for each event that a negative one would need. Pointer arithmetic on the packed
    13-byte events takes half the time that strided views of their fields take.
    """
    for window in range(len(bounds)):
        counts = maps[window]
        for i in range(bounds[window, 0], bounds[window, 1]):
            at = np.uint64(i) * np.uint64(_BYTES)
            x = np.uint32(raw[at + np.uint64(_X)]) | np.uint32(raw[at + np.uint64(_X + 1)]) << np.uint32(8)
            y = np.uint32(raw[at + np.uint64(_Y)]) | np.uint32(raw[at + np.uint64(_Y + 1)]) << np.uint32(8)
            off = np.uint32(raw[at + np.uint64(_P)] == 0)  # a bool made of foreign bytes may be any nonzero one
            counts[off * np.uint32(pixels) + y * np.uint32(width) + x] += np.uint16(1)


def _check_bounds(bounds: Int64[np.ndarray, "T 2"], n_events: int) -> None:
    """Raise ValueError for a window that is not within the events; compiled code would read memory beyond them."""
    for window, (start, stop) in enumerate(bounds.tolist()):
        if not 0 <= start <= stop <= n_events:
            raise ValueError(f"window {window} is [{start}, {stop}) of {n_events} events; it must lie within them")


def _count_windows(recording: Recording, bounds: Int64[np.ndarray, "T 2"]) -> UInt16[np.ndarray, "T 2 H W"]:
    """Count the events of each window.

    Raises:
        ValueError: a count does not fit its type, or a window is not within the events.
    """
    _check_bounds(bounds, len(recording))
    height, width = recording.sensor_size
    maps = np.zeros((len(bounds), 2 * height * width), np.uint16)
    raw = np.ascontiguousarray(recording.events).view(np.uint8)
    _count(raw, bounds, width, height * width, maps)
    for window, size in enumerate((bounds[:, 1] - bounds[:, 0]).tolist()):
        # Each wrapped count takes 65,536 off the sum; only a window of more events than the type holds can have one.
        if size > _FULL and maps[window].sum(dtype=np.int64) != size:
            raise ValueError(
                f"window {window}: a pixel has more than {_FULL} events of one polarity; "
                "use smaller windows (events_per_frame, window_us), or drop the pixel if it is a hot one"
            )
    return maps.reshape(-1, 2, height, width)


def count_maps(
    recording: Recording, events_per_frame: int | None = None, frames: int = 3, windows: str = "first"
) -> UInt16[np.ndarray, "T 2 H W"]:
    """Count the ON and OFF events of each window at each pixel of the sensor.

    Channel 0 holds ON, channel 1 OFF; the maps of a window sum to its number of events, those of a missing one to 0.
    `frame_maps` does it for every setting of a `FrameConfig`.

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

    Source: E-CLIP, supplement section 1.1; the canvas is the sensor's (the official code ends it at the largest event).
    """
    return _count_windows(recording, window_bounds(len(recording), events_per_frame, frames, windows))


def frame_maps(recording: Recording, cfg: FrameConfig) -> tuple[UInt16[np.ndarray, "T 2 H W"], Bool[np.ndarray, " T"]]:
    """Count the events of the windows of a config.

    Returns:
        maps: as of `count_maps`; the channel of a polarity that `cfg.polarity` leaves out is 0.
        valid: False for a window without a counted event.

    Raises:
        ValueError: see `count_maps`.
    """
    maps = _count_windows(recording, recording_windows(recording, cfg))
    if cfg.polarity != "both":
        maps[:, 1 if cfg.polarity == "on" else 0] = 0
    return maps, maps.reshape(len(maps), -1).max(1) > 0


def pack_maps(maps: Shaped[np.ndarray, "*N 2 H W"]) -> UInt[np.ndarray, "*N 2 H W"]:
    """Return the maps at 8 bits a count where all counts fit, else as they are, to ship or keep fewer bytes."""
    return maps.astype(np.uint8) if maps.max(initial=0) <= np.iinfo(np.uint8).max else maps
