"""Recordings from memory, as shards hold them.

content and suffix of a file -> `Recording`, the same that `read_events` reads from the file.
"""

import io
import os
import re
import tempfile
from collections.abc import Callable
from types import SimpleNamespace

from eclip_lib.events.array import checked_size, pack
from eclip_lib.events.decoding import Decoded, Size
from eclip_lib.events.files import read_events
from eclip_lib.events.formats.atis import read_atis
from eclip_lib.events.formats.numpy_files import read_npy, read_npz
from eclip_lib.events.recording import Recording

# The formats of the large data sets are decoded where they are; the content must look like its suffix says.
_IN_MEMORY: dict[str, tuple[bytes, Callable[..., Decoded]]] = {
    ".bin": (rb"(?!PK|% |#!|#ROS|\x93NUMPY|\x89PNG|\x89HDF|\xff\xd8\xff|\x1f\x8b)", read_atis),
    ".npy": (rb"\x93NUMPY", read_npy),
    ".npz": (rb"PK\x03\x04", read_npz),
}


class _Content(io.BytesIO):
    """Bytes with what the readers ask of a path."""

    def read_bytes(self) -> bytes:
        return self.getvalue()

    def stat(self) -> SimpleNamespace:
        return SimpleNamespace(st_size=self.getbuffer().nbytes)


def read_event_bytes(content: bytes, suffix: str, sensor_size: Size | None = None, name: str = "") -> Recording:
    """Read a recording from the content of its file; see `read_events`.

    `.bin`, `.npy` and `.npz` are decoded in memory, other formats by way of a temporary file.

    Args:
        content: of the file.
        suffix: of the file, such as ".bin".
        sensor_size: (height, width) in pixels, for formats that do not hold it.
        name: of the recording, for messages.

    Raises:
        ValueError: see `read_events`.
    """
    pattern, reader = _IN_MEMORY.get(suffix, (b"$^", None))
    if reader is None or not content or not re.match(pattern, content):
        return _through_file(content, suffix, sensor_size, name)
    try:
        wanted = None if sensor_size is None else checked_size(sensor_size)
        decoded = reader(_Content(content), False, *([wanted] if reader is read_atis else []))
        held = decoded.sensor_size and checked_size(decoded.sensor_size)
        if held and wanted not in (None, held):
            raise ValueError(f"holds sensor_size {held}, but {wanted} was asked for; leave it out")
        size = held or wanted or decoded.usual_size
        if size is None:
            raise ValueError("this file does not hold the sensor's size; pass sensor_size=(height, width)")
        return Recording(pack(decoded.columns, size), checked_size(size))
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix('events: ')}") from error


def _through_file(content: bytes, suffix: str, sensor_size: Size | None, name: str) -> Recording:
    """Read a recording by way of a temporary file."""
    descriptor, path = tempfile.mkstemp(suffix)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return read_events(path, sensor_size)
    except ValueError as error:
        raise ValueError(str(error).replace(path, name)) from error
    finally:
        os.unlink(path)  # noqa: PTH108  of mkstemp
