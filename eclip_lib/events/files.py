"""From files of every format to recordings and back; the formats themselves are in `formats/`.

file -> `Recording` (events and the size of their sensor) -> file.
"""

import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from eclip_lib.cache import atomic_path
from eclip_lib.events.array import checked_size, pack, repair
from eclip_lib.events.decoding import Decoded, Size
from eclip_lib.events.formats.aedat4 import read_aedat4
from eclip_lib.events.formats.atis import read_atis, write_atis
from eclip_lib.events.formats.hdf5 import read_hdf5
from eclip_lib.events.formats.numpy_files import read_npy, read_npz, write_compact
from eclip_lib.events.formats.prophesee import read_prophesee
from eclip_lib.events.recording import Recording

_READERS: dict[str, Callable[[Path, bool], Decoded]] = {
    ".bin": read_atis,
    ".npy": read_npy,
    ".npz": read_npz,
    ".raw": read_prophesee,
    ".dat": read_prophesee,
    ".aedat4": read_aedat4,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}
RECORDING_SUFFIXES = tuple(_READERS)  # of files that data sets take for recordings
_CONTENTS = {  # by what a file starts with
    rb"\x93NUMPY": read_npy,
    rb"PK\x03\x04|PK\x05\x06": read_npz,
    rb"% [A-Za-z][\w-]{2,}[ \n]": read_prophesee,
    rb"#!AER-DAT4": read_aedat4,
    rb"\x89HDF\r\n\x1a\n": read_hdf5,
}
_OTHERS = {
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff[\xdb\xe0\xe1]": "an image; SaccadeCamera turns an image into a recording",
    rb"#!AER-DAT": "an AEDAT file of version 1 to 3; convert it to AEDAT4 with iniVation's tools",
    rb"#ROSBAG": "a ROS bag; export its events to HDF5",
    rb"\x1f\x8b\x08[\x00\x08]": "packed by gzip; unpack it first",
}


def read_events(path: str | Path, sensor_size: Size | None = None, on_error: str = "raise") -> Recording:
    """Read a recording; its content tells the format, or else its suffix.

    - `.bin`: ATIS, 5 bytes an event (N-MNIST, N-Caltech101). Its 23-bit clock is unwrapped; a silence of more than
      4.19 s cannot be told from a wrap. On sensors of at most 240 rows, y = 240 marks an overflow (`read_atis`).
    - `.npy`: the EST release of N-Caltech101; float `(N, 4)`: x, y, t in seconds, p in {-1, +1}.
    - `.npz` with `event_data`: N-ImageNet; structured x, y, t in microseconds, p in {0, 1}.
    - `.npz` of `write_events`.
    - `.raw` (EVT 2.0, 2.1, 3.0) and `.dat`: Prophesee. Events before the first time word have no time and are left out.
    - `.aedat4` and `.h5`, `.hdf5`: iniVation; Prophesee, DSEC and flat columns. These need the extra `formats`.

    Args:
        path: the file.
        sensor_size: (height, width) in pixels. `.bin` and `.npy` hold none and need it, others where their header does
            not tell; N-ImageNet's is (480, 640) unless given. One that contradicts the file is an error.
        on_error: "raise", or "drop" to leave out events outside the sensor, with a value that is no number or of no
            polarity, to sort the rest by time (stable), and to keep the whole events of a truncated file where its
            format allows; a `UserWarning` says how many events were touched.

    Returns:
        The recording. Times are as the file has them: those of AEDAT4 and of some HDF5 count from 1970 (our choice:
        other streams of the same file keep their reference); windows and plots only use differences.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: the format needs the extra `formats`.
        ValueError: the file is damaged, empty, of another layout, would inflate beyond its bound (`allowed_bytes`), or
            breaks the event contract (`check_events`).

    Source: E-CLIP, supplement section 1.1, takes (x, y, t, p); the formats are those of the data sets' own releases.
    """
    path = Path(path)
    if on_error not in ("raise", "drop"):
        raise ValueError(f"on_error = {on_error!r}: expected 'raise' or 'drop'")
    reader = _reader_of(path)
    try:
        wanted, drop = None if sensor_size is None else checked_size(sensor_size), on_error == "drop"
        decoded = read_atis(path, drop, wanted) if reader is read_atis else reader(path, drop)
        size = _size_of(decoded, wanted)
        events = pack(decoded.columns, size) if on_error == "raise" else _repaired(path, decoded, size)
        return Recording(events, size)
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('events: ')}") from error
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ValueError(f"{path}: needs more memory than there is; cut the recording into parts") from error


def _reader_of(path: Path) -> Callable[[Path, bool], Decoded]:
    """Return the reader for the content of a file, or else for its suffix.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file, empty, or of no format that can be read.
    """
    start, known = _first_bytes(path), f"readable are {', '.join(_READERS)} files"
    for pattern, reader in _CONTENTS.items():
        # the four bytes of an archive alone could also be those of an ATIS event
        if re.match(pattern, start) and (reader is not read_npz or zipfile.is_zipfile(path)):
            return reader
    what = next((what for pattern, what in _OTHERS.items() if re.match(pattern, start)), None)
    if what is None and path.suffix.lower() in _READERS:
        return _READERS[path.suffix.lower()]
    what = what or f"a {path.suffix or 'suffixless'} file, not a recording"
    raise ValueError(f"{path}: {what}; {known}")


def _first_bytes(path: Path) -> bytes:
    """Return the start of a file."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such recording; check the path and the root folder of the data set")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise ValueError(f"{path}: {what}, not a recording; readable are {', '.join(_READERS)} files")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise ValueError(f"{path}: an empty file; fetch it again, or leave this recording out")
    return start


def _size_of(decoded: Decoded, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Return the sensor size that the file holds, or else that the user gives, or else that of the data set."""
    held = None if decoded.sensor_size is None else checked_size(decoded.sensor_size)
    if held and wanted not in (None, held):
        raise ValueError(f"holds sensor_size {held}, but {wanted} was asked for; leave it out")
    size = held or wanted or decoded.usual_size
    if size is None:
        raise ValueError(
            "this file does not hold the sensor's size; pass sensor_size=(height, width), "
            "(34, 34) for N-MNIST, (180, 240) for N-Caltech101"
        )
    return checked_size(size)


def _repaired(path: Path, decoded: Decoded, size: tuple[int, int]) -> np.ndarray:
    """Return the events that keep the contract, and warn of what was done to get them."""
    events, dropped, moved = repair(decoded.columns, size)
    total = len(events) + dropped
    if total and not len(events):
        raise ValueError(f"none of its {total:,} events is within the sensor {size}, with numbers and a polarity")
    done = [f"lost {decoded.lost}"] if decoded.lost else []
    if dropped:
        done.append(f"dropped {dropped:,} of {total:,} events (outside the sensor, or no number or polarity)")
    if moved:
        done.append(f"sorted in {moved:,} of {len(events):,} events that came after a later one")
    if done:
        warnings.warn(f"{path}: {'; '.join(done)}", UserWarning, stacklevel=3)
    return events


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
    try:
        with atomic_path(path) as temporary, temporary.open("xb") as file:
            writer(file, recording.events, recording.sensor_size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


_WRITERS: dict[str, Callable[[BinaryIO, np.ndarray, Size], None]] = {".npz": write_compact, ".bin": write_atis}
