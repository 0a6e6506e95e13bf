"""NumPy files: the EST release of N-Caltech101 (`.npy`), N-ImageNet (`.npz`) and our own compact `.npz`.

file <-> columns. Nothing is ever unpickled, and nothing inflates before its size is known.
"""

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from eclip_lib.events.array import first
from eclip_lib.events.decoding import Decoded, Size, allowed_bytes, check_inflation

N_IMAGENET_SENSOR = (480, 640)
COMPACT_VERSION = 1
_COMPACT_KEYS = {"header", "x", "y", "t", "p"}
_LONGEST_EST = 3600.0  # seconds; a recording this long has its times in another unit
_PLAIN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # what np.savez makes; others may ask for gigabytes to unpack
# What NumPy and zipfile raise for damaged bytes (RuntimeError: an encryption flag, or an unknown compression).
_DAMAGED = (ValueError, OSError, EOFError, RuntimeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)


@contextmanager
def _damage_named() -> Iterator[None]:
    """Say of what NumPy and zipfile raise that the file is damaged."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(f"damaged file, fetch or write it again: {error}") from error


def _array(content: bytes) -> np.ndarray:
    """Return the array of a `.npy` file, which must have exactly the bytes that its header declares."""
    shape, dtype, fortran, start = _header(content)
    declared, there = math.prod(shape) * dtype.itemsize, len(content) - start
    if declared != there or min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError(
            f"damaged file, fetch or write it again: its header declares {dtype}{list(shape)}, {declared:,} bytes, "
            f"but {there:,} follow it at offset {start}"
        )
    if not declared:
        return np.zeros(shape, dtype)
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def _header(content: bytes) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Return shape, dtype and order that a `.npy` file declares, and where its data starts."""
    file = io.BytesIO(content[: 1 << 17])  # a header of version 1 has at most 64 kB
    with _damage_named():
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the .npy format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(
            "not made of plain arrays; pickled data is refused, since loading it can run code: "
            "save plain arrays with np.save or np.savez"
        )
    return shape, dtype, fortran, file.tell()


def read_npy(path: Path, repair: bool = False) -> Decoded:
    """Read a float array `(N, 4)` of x, y, t in seconds and p in {-1, +1}.

    Raises:
        ValueError: the file is damaged or pickled, of another shape or type, or its times are no seconds.
    """
    table = _array(path.read_bytes())
    if table.ndim != 2 or table.shape[1] != 4 or table.dtype.kind != "f":
        found = f"{table.dtype}{list(table.shape)}"
        raise ValueError(f"{found} is no float array (N, 4) of x, y, t in seconds, p; is it a recording?")
    columns = dict(zip("xytp", table.T, strict=True))
    return Decoded(columns | {"t": _microseconds(columns["t"], repair)})


def _microseconds(seconds: np.ndarray, repair: bool) -> np.ndarray:
    """Convert times in seconds to whole microseconds; NaN and infinity stay."""
    seconds = seconds.astype(np.float64)
    late = np.isfinite(seconds) & (np.abs(seconds) > _LONGEST_EST)
    if late.any() and not repair:
        at = first(late)
        raise ValueError(f"event {at} has t = {seconds[at]} s; this format holds seconds, divide microseconds by 1e6")
    return np.rint(np.where(late, np.nan, seconds) * 1e6)


def read_npz(path: Path, repair: bool = False) -> Decoded:
    """Read N-ImageNet's archive (`event_data`, 480x640 unless told otherwise) or our own.

    Raises:
        ValueError: the file is damaged, pickled or of other keys, or would inflate beyond `allowed_bytes`.
    """
    with _opened(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if "event_data" in members:
            content = _inflated(archive, {"event_data": members["event_data"]}, path)
        elif members.keys() >= _COMPACT_KEYS:
            content = _inflated(archive, {key: members[key] for key in _COMPACT_KEYS}, path)
        else:
            content = {}
    if not content:
        raise ValueError(
            f"its keys are {', '.join(members) or '(none)'}; expected event_data (N-ImageNet) "
            f"or {', '.join(sorted(_COMPACT_KEYS))} (write_events); of columns of your own make a recording with "
            "Recording(events, (height, width)) and write it with write_events"
        )
    arrays = {key: _array(data) for key, data in content.items()}
    return _n_imagenet(arrays["event_data"]) if "event_data" in arrays else _compact(arrays)


def _opened(path: Path) -> zipfile.ZipFile:
    """Open an archive, reading its directory only."""
    with _damage_named():
        return zipfile.ZipFile(path)


def _inflated(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: Path) -> dict[str, bytes]:
    """Return the bytes of members of an archive, no more than its directory declares and the bound allows."""
    check_inflation(sum(info.file_size for info in members.values()), allowed_bytes(path))
    content = {}
    for key, info in members.items():
        if info.compress_type not in _PLAIN:
            raise ValueError(f"{key} is packed by method {info.compress_type}; pack it with np.savez_compressed")
        with _damage_named(), archive.open(info) as file:
            content[key] = file.read(info.file_size)  # without a number, a false declaration could inflate to 2 GiB
        if len(content[key]) != info.file_size:
            raise ValueError(f"{key} has {len(content[key]):,} bytes, {info.file_size:,} are declared")
    return content


def _n_imagenet(data: np.ndarray) -> Decoded:
    """Split N-ImageNet's structured array; its times are in microseconds."""
    missing = [name for name in "xytp" if name not in (data.dtype.names or ())]
    if missing or data.ndim != 1:
        raise ValueError(f"event_data is {data.dtype}{list(data.shape)}; expected (N,) with fields x, y, t, p")
    return Decoded({name: data[name] for name in "xytp"}, usual_size=N_IMAGENET_SENSOR)


def _compact(part: Mapping[str, np.ndarray]) -> Decoded:
    """Undo `write_compact`."""
    header, n = part["header"], part["x"].size
    if header.shape != (4,) or header.dtype.kind not in "iu" or header[0] != COMPACT_VERSION:
        raise ValueError(
            f"header {header.tolist()} is not of format version {COMPACT_VERSION}; "
            "update eclip_lib, or write the file again"
        )
    _, height, width, start = header.tolist()
    shapes, types = [part[key].shape for key in "xytp"], {key: part[key].dtype for key in "xytp"}
    if shapes != [(n,), (n,), (n,), (-(-n // 8),)]:
        raise ValueError(f"columns x, y, t, p of shapes {shapes} do not belong together; write the file again")
    if any(kind.kind not in "iu" for kind in types.values()) or types["p"] != np.uint8:
        raise ValueError(f"columns of types { {k: str(v) for k, v in types.items()} }; write the file again")
    if n and not -(1 << 63) <= start + int(part["t"].max()) < 1 << 63:
        raise ValueError(f"times start at {start} us and pass the range of int64; write the file again")
    t = part["t"].astype(np.int64)
    t += start
    on = np.unpackbits(part["p"], count=n).view(bool)
    return Decoded({"x": part["x"], "y": part["y"], "t": t, "p": on}, (height, width))


def write_compact(file: BinaryIO, events: np.ndarray, sensor_size: Size) -> None:
    """Write our own archive, each array in the smallest type that holds it."""
    height, width = sensor_size
    start, end = int(events["t"][0]), int(events["t"][-1])
    start, kind = (start, np.uint32) if end - start < 1 << 32 else (0, np.int64)
    np.savez(
        file,
        header=np.array([COMPACT_VERSION, height, width, start], np.int64),
        x=events["x"].astype(np.min_scalar_type(width - 1)),
        y=events["y"].astype(np.min_scalar_type(height - 1)),
        t=(events["t"] - start).astype(kind),
        p=np.packbits(events["p"]),
    )
