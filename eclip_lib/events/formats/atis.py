"""ATIS `.bin`, the raw files of N-MNIST and N-Caltech101: 5 bytes an event and no header.

file <-> events.
"""

from pathlib import Path
from typing import BinaryIO, no_type_check

import numpy as np
from numba import njit

from eclip_lib.events.array import EVENT_DTYPE, first
from eclip_lib.events.decoding import Decoded, Size, whole_words

_EVENT_BYTES = 5  # x, y, then 1 bit of polarity and 23 bits of time, big-endian
_CLOCK = 1 << 23  # microseconds after which the clock of the format starts again
_SIDE = 256  # pixels; a coordinate has one byte
_MARKER, _MARKED = 240, 1 << 13  # the row of an event that stands for an overflow of the camera, and its microseconds


def read_atis(path: Path, repair: bool = False, sensor_size: Size | None = None) -> Decoded:
    """Read a file, unwrapping its clock; a silence of more than 4.19 s cannot be told from a wrap.

    On a sensor of at most 240 rows, y = 240 marks an overflow: it is no event, its own clock is not read, and all
    later times gain 2^13 us. On a higher one it is a pixel (our choice: where the two cannot be told apart, no event
    is lost; a file with overflows then fails for times that decrease).

    Args:
        path: the file.
        repair: whether to keep the whole events of a cut file.
        sensor_size: (height, width) in pixels; without it, y = 240 is kept as it stands.

    Raises:
        ValueError: the last event is cut (with `repair` it is lost instead).

    Source: the data sets' Python reader (event-Python, `read_dataset`), for the overflows.
    """
    body, lost = whole_words(path.read_bytes(), 0, _EVENT_BYTES, repair)
    raw = np.frombuffer(body, np.uint8).reshape(-1, _EVENT_BYTES)
    events = np.empty(len(raw), EVENT_DTYPE)
    marker = _MARKER if sensor_size is not None and sensor_size[0] <= _MARKER else -1
    marked = _decode(raw, marker, events["x"], events["y"], events["t"], events["p"])
    return Decoded(events[events["y"] != marker] if marked else events, lost=lost)


@njit(nogil=True, cache=True)
@no_type_check  # numba compiles the function itself, not a type checker's wrapper
def _decode(raw, marker, x, y, t, p):
    """Fill the columns, for overflows too, and return how many of these, events on row `marker`, there are.

    A clock that falls by over half of its range has made a turn, a smaller fall stays an error.
    """
    turns, last, marked = 0, 0, 0
    for i in range(len(raw)):
        clock = (np.int64(raw[i, 2]) & 0x7F) << 16 | np.int64(raw[i, 3]) << 8 | np.int64(raw[i, 4])
        if raw[i, 1] == marker:
            turns += _MARKED
            marked += 1
        else:
            if last - clock > _CLOCK // 2:
                turns += _CLOCK
            last = clock
        x[i], y[i], t[i], p[i] = raw[i, 0], raw[i, 1], turns + clock, raw[i, 2] >> 7
    return marked


def write_atis(file: BinaryIO, events: np.ndarray, sensor_size: Size) -> None:
    """Write 5 bytes an event.

    Raises:
        ValueError: the sensor is larger than 256 pixels, or a time is not what the 23-bit clock would tell.
    """
    if max(sensor_size) > _SIDE:
        raise ValueError(f".bin holds coordinates up to {_SIDE - 1}, the sensor is {sensor_size}; write .npz instead")
    t = events["t"]
    clock = t & (_CLOCK - 1)
    turns = np.cumsum(np.diff(clock, prepend=clock[:1]) < -_CLOCK // 2)
    changed = clock + turns * _CLOCK != t
    if changed.any():
        at = first(changed)
        raise ValueError(
            f"event {at} has t = {t[at]} us, which .bin cannot hold: its clock starts below 8.39 s and bridges "
            "silences under 4.19 s; subtract the first time, or write .npz instead"
        )
    word = (events["p"].astype(np.uint32) << 23) | clock.astype(np.uint32)
    raw = np.stack([events["x"], events["y"], word >> 16, word >> 8 & 0xFF, word & 0xFF], axis=1)
    file.write(raw.astype(np.uint8).tobytes())
