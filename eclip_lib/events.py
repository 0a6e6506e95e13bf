"""The event contract, and the readers and writers of every file format.

file -> `Recording` (events and the size of their sensor) -> file.
"""

import operator
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np

# t is in microseconds and never decreases; p True is ON (brighter).
EVENT_DTYPE = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])

N_IMAGENET_SENSOR = (480, 640)
COMPACT_VERSION = 1
_COMPACT_KEYS = {"header", "x", "y", "t", "p"}

_ATIS_BYTES = 5  # of an event: x, y, then 1 bit of polarity and 23 bits of time
_ATIS_CLOCK = 1 << 23  # microseconds after which the clock of the format starts again
_ATIS_SIDE = 256  # pixels; a coordinate has one byte
_LARGEST_WHOLE = 2.0**53  # up to here every whole number has a float64
_LONGEST_EST = 3600.0  # seconds; a recording this long has its times in another unit

Size = Sequence[int]
# What NumPy and zipfile raise for damaged bytes (RuntimeError: an encryption flag, or an unknown compression).
_DAMAGED = (OSError, EOFError, RuntimeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, eq=False)
class Recording:
    """Events of one sensor, checked when built: there is at least one.

    Attributes:
        events: structured array `(N,)` of `EVENT_DTYPE`; treat it as read-only.
        sensor_size: (height, width) in pixels of the sensor, never of the largest event.

    Raises:
        ValueError: see `check_events`.

    Example:
        >>> events = np.array([(3, 1, 10, True), (0, 0, 25, False)], EVENT_DTYPE)
        >>> recording = Recording(events, (2, 4))
        >>> len(recording), recording.duration
        (2, 15)
    """

    events: np.ndarray
    sensor_size: tuple[int, int]

    def __post_init__(self) -> None:
        """Check the contract."""
        object.__setattr__(self, "sensor_size", _checked_size(self.sensor_size))
        check_events(self.events, self.sensor_size)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.events)

    @property
    def duration(self) -> int:
        """Return the microseconds from the first event to the last."""
        return int(self.events["t"][-1]) - int(self.events["t"][0])


def check_events(events: np.ndarray, sensor_size: Size, source: str = "events") -> None:
    """Check that `events` keep the contract of this module.

    Args:
        events: structured array `(N,)`; not modified.
        sensor_size: (height, width) in pixels.
        source: what the message starts with, such as the name of a file.

    Raises:
        ValueError: wrong dtype, no events, an event outside the sensor, or a time that decreases. The message names
            the first such event, its value and a remedy.
    """
    height, width = _checked_size(sensor_size, source)
    if not isinstance(events, np.ndarray) or events.ndim != 1 or events.dtype != EVENT_DTYPE:
        found = f"{events.dtype}{list(events.shape)}" if isinstance(events, np.ndarray) else type(events).__name__
        raise ValueError(f"{source}: {found} is no 1-D array of events; build it with dtype {EVENT_DTYPE.descr}")
    if not len(events):
        raise ValueError(f"{source}: no events at all; leave this recording out")
    _check_inside(events["x"], width, "x", source)
    _check_inside(events["y"], height, "y", source)
    _check_order(events["t"], source)


def _checked_size(sensor_size: Size, source: str = "events") -> tuple[int, int]:
    """Return the sensor size as two plain ints that fit the coordinates' type."""
    try:
        height, width = (operator.index(side) for side in sensor_size)
    except (TypeError, ValueError):
        raise ValueError(f"{source}: sensor_size = {sensor_size!r}; expected two integers (height, width)") from None
    if not (0 < height <= 32768 and 0 < width <= 32768):
        raise ValueError(f"{source}: sensor_size = {(height, width)}; each side must be 1 to 32768 pixels")
    return height, width


def _first(bad: np.ndarray) -> int:
    """Return the index of the first True."""
    return int(np.argmax(bad))


def _check_inside(values: np.ndarray, limit: int, name: str, source: str = "events") -> None:
    """Raise ValueError for a coordinate outside [0, limit)."""
    if values.min(initial=0) >= 0 and values.max(initial=0) < limit:
        return
    at = _first((values < 0) | (values >= limit))
    raise ValueError(
        f"{source}: event {at} has {name} = {values[at]}, outside 0 to {limit - 1}; "
        "give the (height, width) of the sensor that recorded it, or drop the event"
    )


def _check_order(t: np.ndarray, source: str = "events") -> None:
    """Raise ValueError for a time before its predecessor's."""
    back = t[1:] < t[:-1]
    if back.any():
        at = _first(back) + 1
        raise ValueError(
            f"{source}: event {at} has t = {t[at]} us, before event {at - 1} at {t[at - 1]} us; "
            "sort the events by t (stable) before use"
        )


def _pack(x: np.ndarray, y: np.ndarray, t: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Join columns `(N,)` to events; a coordinate must fit int16."""
    events = np.empty(len(x), EVENT_DTYPE)
    for name, column in zip(EVENT_DTYPE.names, (x, y, t, p), strict=True):
        events[name] = column
    return events


def _pack_checked(columns: dict[str, np.ndarray], t: np.ndarray, sensor_size: Size) -> np.ndarray:
    """Join the columns of a foreign file; a wide coordinate must not wrap into the sensor when it becomes int16."""
    height, width = _checked_size(sensor_size)
    x, y = _whole(columns["x"], "x"), _whole(columns["y"], "y")
    _check_inside(x, width, "x")
    _check_inside(y, height, "y")
    return _pack(x, y, t, _is_on(columns["p"]))


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """Convert a column to int64 without changing a value."""
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    bad = ~(np.abs(values) <= _LARGEST_WHOLE) | (values != np.rint(values))  # the first also catches NaN
    if bad.any():
        at = _first(bad)
        raise ValueError(f"event {at} has {name} = {values[at]}, which is no whole number; repair or drop the event")
    return values.astype(np.int64)


def _is_on(values: np.ndarray) -> np.ndarray:
    """Convert polarity to bool; ON is 1, OFF either 0 or -1, but not both in one file."""
    off = values.min(initial=1)
    bad = (values != 1) & (values != (off if off in (-1, 0) else 0))
    if bad.any():
        at = _first(bad)
        raise ValueError(f"event {at} has p = {values[at]}; polarity must be 0 and 1, or -1 and +1, throughout")
    return values == 1


def read_events(path: str | Path, sensor_size: Size | None = None) -> Recording:
    """Read a recording; the suffix and the keys of the file tell the format.

    - `.bin`: ATIS, 5 bytes an event (N-MNIST, N-Caltech101). Its 23-bit clock is unwrapped; a silence of more than
      4.19 s cannot be told from a wrap.
    - `.npy`: the EST release of N-Caltech101; float `(N, 4)`: x, y, t in seconds, p in {-1, +1}.
    - `.npz` with `event_data`: N-ImageNet; structured x, y, t in microseconds, p in {0, 1}.
    - `.npz` of `write_events`.

    Args:
        path: the file.
        sensor_size: (height, width) in pixels. `.bin` and `.npy` hold none and need it; N-ImageNet's is (480, 640)
            unless given.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, empty, of another layout, or breaks the event contract (`check_events`).

    Source: E-CLIP section 1.1 takes (x, y, t, p); the formats are those of the data sets' own releases.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such recording; check the path and the root folder of the data set")
    reader = _READERS.get(path.suffix.lower())
    if path.is_dir() or reader is None:
        what = "a folder" if path.is_dir() else f"a {path.suffix or 'suffixless'} file"
        raise ValueError(f"{path}: {what}, not a recording; readable are {', '.join(_READERS)} files")
    try:
        events, size = reader(path, sensor_size)
        return Recording(events, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _required(sensor_size: Size | None) -> Size:
    """Return the sensor size that a format without a header needs."""
    if sensor_size is None:
        raise ValueError(
            "this format does not hold the sensor's size; pass sensor_size=(height, width), "
            "(34, 34) for N-MNIST, (180, 240) for N-Caltech101"
        )
    return sensor_size


def _read_atis_bin(path: Path, sensor_size: Size | None) -> tuple[np.ndarray, Size]:
    """Read x, y, polarity bit and 23 bits of time, big-endian."""
    sensor_size = _required(sensor_size)
    raw = np.fromfile(path, np.uint8)
    if extra := raw.size % _ATIS_BYTES:
        raise ValueError(
            f"{raw.size} bytes are no whole number of 5-byte events: {extra} left over at offset {raw.size - extra}; "
            "the file is truncated or of another format, fetch it again"
        )
    raw = raw.reshape(-1, _ATIS_BYTES)
    high, middle, low = raw[:, 2:].astype(np.int64).T
    t = _unwrap((high & 0x7F) << 16 | middle << 8 | low)
    return _pack(raw[:, 0], raw[:, 1], t, high >> 7), sensor_size


def _unwrap(clock: np.ndarray) -> np.ndarray:
    """Add a full turn wherever the 23-bit clock falls by over half of one; a smaller fall stays, as an error."""
    turns = np.cumsum(np.diff(clock, prepend=clock[:1]) < -_ATIS_CLOCK // 2)
    return clock + turns * _ATIS_CLOCK


def _load(path: Path) -> np.ndarray | np.lib.npyio.NpzFile:
    """Open a NumPy file, never unpickling."""
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, *_DAMAGED) as error:
        raise _explained(error) from error


def _member(archive: np.lib.npyio.NpzFile, key: str) -> np.ndarray:
    """Return one array of an archive, never unpickling."""
    try:
        return archive[key]
    except (ValueError, *_DAMAGED) as error:
        raise _explained(error) from error


def _explained(error: Exception) -> ValueError:
    """Say what NumPy's refusal to read an array means; its own advice is to unpickle."""
    if "pickle" not in str(error):
        return ValueError(f"damaged file, fetch or write it again: {error}")
    return ValueError(
        "not made of plain arrays; pickled data is refused, since loading it can run code: "
        "save plain arrays with np.save or np.savez"
    )


def _read_est_npy(path: Path, sensor_size: Size | None) -> tuple[np.ndarray, Size]:
    """Read a float array `(N, 4)` of x, y, t in seconds and p in {-1, +1}."""
    sensor_size = _required(sensor_size)
    table = _load(path)
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.shape[1] != 4 or table.dtype.kind != "f":
        found = f"{table.dtype}{list(table.shape)}" if isinstance(table, np.ndarray) else "an archive"
        raise ValueError(f"{found} is no float array (N, 4) of x, y, t in seconds, p; is it a recording?")
    finite = np.isfinite(table)
    if not finite.all():
        at, column = np.argwhere(~finite)[0]
        raise ValueError(f"event {at} has {'xytp'[column]} = {table[at, column]}; repair or drop the event")
    columns = dict(zip("xytp", table.T, strict=True))
    return _pack_checked(columns, _microseconds(columns["t"]), sensor_size), sensor_size


def _microseconds(seconds: np.ndarray) -> np.ndarray:
    """Convert times in seconds to whole microseconds."""
    if len(seconds) and np.abs(seconds).max() > _LONGEST_EST:
        at = _first(np.abs(seconds) > _LONGEST_EST)
        raise ValueError(f"event {at} has t = {seconds[at]} s; this format holds seconds, divide microseconds by 1e6")
    return np.rint(seconds.astype(np.float64) * 1e6).astype(np.int64)


def _read_npz(path: Path, sensor_size: Size | None) -> tuple[np.ndarray, Size]:
    """Read N-ImageNet's archive or our own."""
    archive = _load(path)
    if isinstance(archive, np.ndarray):
        raise ValueError("a single array (.npy) under the name of an archive; rename it")
    with archive:
        if "event_data" in archive.files:
            return _read_n_imagenet(_member(archive, "event_data"), sensor_size)
        if set(archive.files) >= _COMPACT_KEYS:
            return _read_compact({key: _member(archive, key) for key in _COMPACT_KEYS}, sensor_size)
    raise ValueError(
        f"its keys are {', '.join(archive.files) or '(none)'}; expected event_data (N-ImageNet) "
        f"or {', '.join(sorted(_COMPACT_KEYS))} (write_events)"
    )


def _read_n_imagenet(data: np.ndarray, sensor_size: Size | None) -> tuple[np.ndarray, Size]:
    """Convert N-ImageNet's structured array; its times are in microseconds."""
    missing = [name for name in "xytp" if name not in (data.dtype.names or ())]
    if missing or data.ndim != 1:
        raise ValueError(f"event_data is {data.dtype}{list(data.shape)}; expected (N,) with fields x, y, t, p")
    size = N_IMAGENET_SENSOR if sensor_size is None else sensor_size
    return _pack_checked({name: data[name] for name in "xyp"}, _whole(data["t"], "t"), size), size


def _read_compact(part: dict[str, np.ndarray], sensor_size: Size | None) -> tuple[np.ndarray, Size]:
    """Undo `_write_compact`."""
    header, n = part["header"], part["x"].size
    if header.shape != (4,) or header[0] != COMPACT_VERSION:
        raise ValueError(
            f"header {header.tolist()} is not of format version {COMPACT_VERSION}; "
            "update eclip_lib, or write the file again"
        )
    _, height, width, start = header.tolist()
    if sensor_size is not None and tuple(sensor_size) != (height, width):
        raise ValueError(f"holds sensor_size {(height, width)}, but {tuple(sensor_size)} was asked for; leave it out")
    lengths = [part[key].shape for key in "xytp"]
    if lengths != [(n,), (n,), (n,), (-(-n // 8),)]:
        raise ValueError(f"columns x, y, t, p of shapes {lengths} do not belong together; write the file again")
    on = np.unpackbits(part["p"], count=n)
    return _pack(part["x"], part["y"], part["t"].astype(np.int64) + start, on), (height, width)


_READERS: dict[str, Callable[[Path, Size | None], tuple[np.ndarray, Size]]] = {
    ".bin": _read_atis_bin,
    ".npy": _read_est_npy,
    ".npz": _read_npz,
}


def write_events(path: str | Path, recording: Recording) -> None:
    """Write a recording without loss, so that `read_events` returns the same events.

    The file appears under its name only when it is complete: it is written beside it, then renamed.

    - `.npz`: compact and quick to read (our choice: about 5 bytes an event on a small sensor, uncompressed); arrays
      `header` (version, height, width, first time), `x`, `y`, `t` since the first time, `p` as packed bits.
    - `.bin`: ATIS, for sensors of at most 256x256 and times that its 23-bit clock can tell; it does not hold the
      sensor's size.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the suffix is neither, or `.bin` cannot hold the recording.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ValueError(f"{path}: cannot write {path.suffix or 'suffixless'} files; use .npz (any recording) or .bin")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it first")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}")
    try:
        with temporary.open("xb") as file:
            writer(file, recording)
        temporary.replace(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write_atis_bin(file: BinaryIO, recording: Recording) -> None:
    """Write 5 bytes an event."""
    if max(recording.sensor_size) > _ATIS_SIDE:
        raise ValueError(f".bin holds coordinates up to 255, the sensor is {recording.sensor_size}; write .npz instead")
    events, t = recording.events, recording.events["t"]
    changed = _unwrap(t & (_ATIS_CLOCK - 1)) != t
    if changed.any():
        at = _first(changed)
        raise ValueError(
            f"event {at} has t = {t[at]} us, which .bin cannot hold: its clock starts below 8.39 s and bridges "
            "silences under 4.19 s; subtract the first time, or write .npz instead"
        )
    word = (events["p"].astype(np.uint32) << 23) | (t & (_ATIS_CLOCK - 1)).astype(np.uint32)
    raw = np.stack([events["x"], events["y"], word >> 16, word >> 8 & 0xFF, word & 0xFF], axis=1)
    file.write(raw.astype(np.uint8).tobytes())


def _write_compact(file: BinaryIO, recording: Recording) -> None:
    """Write our own archive, each array in the smallest type that holds it."""
    events, (height, width) = recording.events, recording.sensor_size
    start, kind = (int(events["t"][0]), np.uint32) if recording.duration < 1 << 32 else (0, np.int64)
    np.savez(
        file,
        header=np.array([COMPACT_VERSION, height, width, start], np.int64),
        x=events["x"].astype(np.min_scalar_type(width - 1)),
        y=events["y"].astype(np.min_scalar_type(height - 1)),
        t=(events["t"] - start).astype(kind),
        p=np.packbits(events["p"]),
    )


_WRITERS: dict[str, Callable[[BinaryIO, Recording], None]] = {".npz": _write_compact, ".bin": _write_atis_bin}
