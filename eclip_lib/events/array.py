"""The event contract, checked and, on request, repaired.

columns x, y, t, p of a file -> events `(N,)` of `EVENT_DTYPE`: x and y in pixels, inside the sensor; t in microseconds,
never decreasing; p True for ON (brighter).
"""

import operator
from collections.abc import Mapping
from typing import NamedTuple, TypeGuard, no_type_check

import numpy as np
from numba import njit

from eclip_lib.events.decoding import Size

# t is in microseconds and never decreases; p True is ON (brighter).
EVENT_DTYPE = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])
_LARGEST_WHOLE = 2.0**53  # up to here every whole number has a float64
_INT64_MAX = np.iinfo(np.int64).max
Columns = np.ndarray | Mapping[str, np.ndarray]


def check_events(events: np.ndarray, sensor_size: Size, source: str = "events") -> None:
    """Check that events keep the contract that this module states.

    An array made by hand may have other bytes than 0 and 1 in p: they pass and count as ON, as in NumPy. `read_events`
    gives 0 and 1 only.

    Args:
        events: structured array `(N,)`; not modified.
        sensor_size: (height, width) in pixels.
        source: what the message starts with, such as the name of a file.

    Raises:
        ValueError: wrong dtype, no events, an event outside the sensor, or a time that decreases. The message names
            the first such event, its value and a remedy.
    """
    height, width = checked_size(sensor_size, source)
    if not isinstance(events, np.ndarray) or events.ndim != 1 or events.dtype != EVENT_DTYPE:
        found = f"{events.dtype}{list(events.shape)}" if isinstance(events, np.ndarray) else type(events).__name__
        raise ValueError(f"{source}: {found} is no 1-D array of events; build it with dtype {EVENT_DTYPE.descr}")
    if not len(events):
        raise ValueError(f"{source}: no events at all; leave this recording out")
    at = _first_breach(events["x"], events["y"], events["t"], height, width)
    if at >= 0:
        raise ValueError(f"{source}: {_breach(events, at, height, width)}")


@njit(nogil=True, cache=True)
@no_type_check  # numba compiles the function itself, not a type checker's wrapper
def _first_breach(x, y, t, height, width):
    """Return the first event outside the sensor or before its predecessor, or -1."""
    last = t[0]
    for i in range(len(t)):
        if x[i] < 0 or x[i] >= width or y[i] < 0 or y[i] >= height or t[i] < last:
            return i
        last = t[i]
    return -1


def _breach(events: np.ndarray, at: int, height: int, width: int) -> str:
    """Say what is wrong with event `at`."""
    for name, limit in (("x", width), ("y", height)):
        if not 0 <= events[name][at] < limit:
            return _outside(events[name][at], at, name, limit)
    t = events["t"]
    return (
        f"event {at} has t = {t[at]} us, before event {at - 1} at {t[at - 1]} us; "
        "sort the events by t (stable) before use, or read the file with on_error='drop'"
    )


def _outside(value: np.integer, at: int, name: str, limit: int) -> str:
    """Say that a coordinate is outside [0, limit)."""
    return (
        f"event {at} has {name} = {value}, outside 0 to {limit - 1}; give the (height, width) of the sensor that "
        "recorded it, or drop the event (on_error='drop')"
    )


def checked_size(sensor_size: Size, source: str = "events") -> tuple[int, int]:
    """Return the sensor size as two plain ints that fit the coordinates' type.

    Raises:
        ValueError: it is no pair of integers, or a side is not within 1 to 32768.
    """
    try:
        height, width = (operator.index(side) for side in sensor_size)
    except (TypeError, ValueError):
        raise ValueError(f"{source}: sensor_size = {sensor_size!r}; expected two integers (height, width)") from None
    if not (0 < height <= 32768 and 0 < width <= 32768):
        raise ValueError(f"{source}: sensor_size = {(height, width)}; each side must be 1 to 32768 pixels")
    return height, width


def pack(columns: Columns, sensor_size: Size) -> np.ndarray:
    """Join the columns of a file to events, changing no value.

    Args:
        columns: x, y, t in microseconds and p (0 and 1, or -1 and +1), each `(N,)`; events pass as they are.
        sensor_size: (height, width) in pixels.

    Raises:
        ValueError: a value is no whole number, a coordinate is outside the sensor (a wide one must not wrap into it
            when it becomes int16), or a polarity is neither ON nor OFF.
    """
    if _are_events(columns):
        return columns
    _check_columns(columns)
    height, width = checked_size(sensor_size)
    x, y, t = (_whole(columns[name], name) for name in "xyt")
    for values, limit, name in ((x, width, "x"), (y, height, "y")):
        bad = (values < 0) | (values >= limit) if values.min(initial=0) < 0 or values.max(initial=0) >= limit else None
        if bad is not None:
            at = first(bad)
            raise ValueError(_outside(values[at], at, name, limit))
    return _join(x, y, t, _is_on(columns["p"]))


class Repaired(NamedTuple):
    """Events made to keep the contract.

    Attributes:
        events: `(N,)`, perhaps none.
        dropped: number of events outside the sensor, with a value that is no whole number, or of no polarity.
        moved: number of events that came after a later one, and were sorted in.
    """

    events: np.ndarray
    dropped: int
    moved: int


def repair(columns: Columns, sensor_size: Size) -> Repaired:
    """Join the columns of a file to events, without those that break the contract, and sort them by time (stable).

    Raises:
        ValueError: the columns do not belong together.
    """
    _check_columns(columns)
    height, width = checked_size(sensor_size)
    keep = _inside(columns["x"], 0, width - 1) & _inside(columns["y"], 0, height - 1)
    keep &= _inside(columns["t"], -_INT64_MAX - 1, _INT64_MAX) & _has_polarity(columns["p"])
    x, y, t = (columns[name][keep] for name in "xyt")
    events = _join(x, y, t, columns["p"][keep] == 1)
    t = events["t"]
    moved = int((t < np.maximum.accumulate(t)).sum()) if len(t) else 0
    return Repaired(events[np.argsort(t, kind="stable")] if moved else events, int((~keep).sum()), moved)


def _are_events(columns: Columns) -> TypeGuard[np.ndarray]:
    """Return whether a reader made events itself, in types that hold all that its format can say."""
    return isinstance(columns, np.ndarray) and columns.dtype == EVENT_DTYPE


def _check_columns(columns: Columns) -> None:
    """Raise ValueError unless the columns are 1-D, of real numbers and equally long."""
    for name in "xytp":
        column = columns[name]
        if column.ndim != 1 or column.dtype.kind not in "iufb" or column.dtype.itemsize > 8:
            raise ValueError(
                f"column {name} is {column.dtype}{list(column.shape)}; expected 1-D integers or floats; is it a "
                "recording?"
            )
    lengths = {name: len(columns[name]) for name in "xytp"}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of lengths {lengths} do not belong together; write the file again")


def first(bad: np.ndarray) -> int:
    """Return the index of the first True."""
    return int(np.argmax(bad))


def _join(x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Join columns `(N,)` to events; every value must fit."""
    events = np.empty(len(x), EVENT_DTYPE)
    for name, column in zip("xytp", (x, y, t, p), strict=True):
        events[name] = column
    return events


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """Return a column as integers that fit int64, changing no value."""
    if values.dtype.kind in "iub" and (values.dtype != np.uint64 or values.max(initial=0) <= _INT64_MAX):
        return values
    bad = ~_inside(values, -_INT64_MAX - 1, _INT64_MAX)
    if bad.any():
        at = first(bad)
        raise ValueError(
            f"event {at} has {name} = {values[at]}, which is no whole number; repair or drop the event "
            "(on_error='drop')"
        )
    return values.astype(np.int64)


def _inside(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return which values are whole numbers from `low` to `high`."""
    if values.dtype.kind in "iub":
        return (values >= low) & (values <= high)
    with np.errstate(invalid="ignore"):  # comparisons with NaN are meant to be False
        whole = (np.abs(values) <= _LARGEST_WHOLE) & (values == np.rint(values))
        return whole & (values >= low) & (values <= high)


def _has_polarity(values: np.ndarray) -> np.ndarray:
    """Return which polarities are ON, 1, or OFF: -1 where a file has one, else 0."""
    off = -1 if (values == -1).any() else 0
    return (values == 1) | (values == off)


def _is_on(values: np.ndarray) -> np.ndarray:
    """Convert polarity to bool of bytes 0 and 1; ON is 1, OFF either 0 or -1, but not both in one file."""
    if values.dtype.kind == "b":
        return values.view(np.uint8) != 0  # a file may hold any byte, and copying a bool copies it
    bad = ~_has_polarity(values)
    if bad.any():
        at = first(bad)
        raise ValueError(
            f"event {at} has p = {values[at]}; polarity must be 0 and 1, or -1 and +1, throughout; "
            "repair or drop the event (on_error='drop')"
        )
    return values == 1
