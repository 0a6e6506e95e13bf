"""AEDAT 4, the files of iniVation's cameras: a header, then compressed packets of several streams.

file -> columns of its one event stream, and the sensor's size.

Source: docs.inivation.com, AEDAT 4.0 (FlatBuffers tables IOHeader, EventPacket). Decoded here because evlib 0.13 takes
a truncated file for a whole one; pyarrow, of the extra `formats`, decompresses.
"""

import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eclip_lib.events.decoding import Decoded, Size, allowed_bytes, check_inflation

_MAGIC = b"#!AER-DAT4.0\r\n"
_CODECS = {0: None, 1: "lz4", 2: "lz4", 3: "zstd", 4: "zstd"}  # by the header's number
_EVENT = np.dtype({"names": "txyp", "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16})
_CHUNK = 1 << 16


def read_aedat4(path: Path, repair: bool = False) -> Decoded:
    """Read the event stream; times stay as stored, in microseconds since 1970.

    Raises:
        ModuleNotFoundError: the extra `formats` is not installed.
        ValueError: the file is damaged or cut (with `repair`, only what follows the damage is lost), has no event
            stream or several, or would inflate beyond `allowed_bytes`.
    """
    raw = path.read_bytes()
    if not raw.startswith(_MAGIC):
        raise ValueError(f"starts with {raw[:14]!r}, not {_MAGIC!r}; is it another format?")
    codec, end, info, start = _header(raw)
    stream, size = _event_stream(info)
    parts, budget, lost = [], allowed_bytes(path), ""
    try:
        for offset, body in _packets(raw, start, end, stream):
            content = _decompressed(body, codec, budget, offset)
            budget -= len(content)
            parts.append(_events(content, offset))
    except ValueError as error:
        if not repair:
            raise
        lost = f"all after {len(parts)} packets: {error}"
    events = np.concatenate(parts) if parts else np.empty(0, _EVENT)
    return Decoded({name: events[name] for name in "xytp"}, size, lost=lost)


def _number(form: str, raw: bytes, at: int, what: str) -> int:
    """Return a number at an offset, which may lie anywhere in a damaged file."""
    if not 0 <= at <= len(raw) - struct.calcsize(form):
        raise ValueError(f"damaged: {what} at offset {at} lies outside its {len(raw)} bytes; fetch the file again")
    return struct.unpack_from(form, raw, at)[0]


def _fields(raw: bytes, start: int, what: str, n: int) -> list[int | None]:
    """Return where the first `n` fields of the FlatBuffers table that `start` points to lie; None for an absent one."""
    table = start + _number("<I", raw, start, what)
    index = table - _number("<i", raw, table, what)
    length = _number("<H", raw, index, what) // 2 - 2
    offsets = [_number("<H", raw, index + 4 + 2 * i, what) if i < length else 0 for i in range(n)]
    return [table + offset if offset else None for offset in offsets]


def _vector(raw: bytes, at: int | None, width: int, what: str) -> tuple[int, int]:
    """Return where the items of a FlatBuffers vector start and how many there are; (0, 0) for an absent one."""
    if at is None:
        return 0, 0
    start = at + _number("<I", raw, at, what)
    n = _number("<I", raw, start, what)
    if start + 4 + n * width > len(raw):
        raise ValueError(f"damaged: {what} declares {n} items, more than its {len(raw)} bytes; fetch the file again")
    return start + 4, n


def _header(raw: bytes) -> tuple[str | None, int, str, int]:
    """Return the codec, where the packets end, the description of the streams (XML), and where the packets start."""
    at = len(_MAGIC)
    size = _number("<I", raw, at, "the header's size")
    header = raw[at + 4 : at + 4 + size]
    if len(header) < size or header[4:8] != b"IOHE":
        raise ValueError(f"damaged: no header of {size} bytes at offset {at + 4}; fetch the file again")
    codec, end, info = _fields(header, 0, "the header", 3)
    number = _number("<i", header, codec, "the codec") if codec else 0
    if number not in _CODECS:
        raise ValueError(f"is compressed by codec {number}; readable are none, LZ4 (1, 2) and Zstandard (3, 4)")
    start, n = _vector(header, info, 1, "the description of its streams")
    text = header[start : start + n].decode("utf-8", "replace")
    return _CODECS[number], _number("<q", header, end, "the end of the data") if end else -1, text, at + 4 + size


def _event_stream(info: str) -> tuple[int, Size | None]:
    """Return the number of the one event stream, and its sensor's (height, width) where that is told."""
    try:
        if "<!" in info:  # declarations of entities, which could expand without end; recorders write none
            raise ValueError("declares entities")
        root = ET.fromstring(info.strip("\0"))
    except (ET.ParseError, ValueError) as error:
        raise ValueError(f"damaged: the description of its streams is unreadable ({error}); fetch it again") from error
    streams = [node for node in root.iter("node") if node.findtext("attr[@key='typeIdentifier']") == "EVTS"]
    names = ", ".join(node.get("name", "?") for node in streams) or "none"
    if not names.isdecimal():
        raise ValueError(f"must have one stream of events, found {names}; export the one that you want to a new file")
    sides = [streams[0].findtext(f"node[@name='info']/attr[@key='{key}']", "") for key in ("sizeY", "sizeX")]
    size = tuple(int(side) for side in sides) if all(side.isdecimal() for side in sides) else None
    return int(names), size


def _packets(raw: bytes, at: int, end: int, stream: int) -> Iterator[tuple[int, memoryview]]:
    """Yield offset and bytes of each packet of a stream; a recorder that was cut off wrote no end."""
    end = len(raw) if end < 0 else end
    while at < end:
        if len(raw) - at < 8:
            raise ValueError(f"truncated: {len(raw)} bytes where the packets should end at {end}; fetch it again")
        number, size = struct.unpack_from("<ii", raw, at)
        if size < 0 or at + 8 + size > min(end, len(raw)):
            raise ValueError(
                f"truncated: the packet of {size} bytes at offset {at} passes the end of the data at "
                f"{min(end, len(raw))}; fetch it again"
            )
        if number == stream:
            yield at, memoryview(raw)[at + 8 : at + 8 + size]
        at += 8 + size


def _decompressed(body: memoryview, codec: str | None, budget: int, offset: int) -> bytes:
    """Return the content of a packet, at most `budget` bytes of it."""
    if codec is None:
        return bytes(body)
    pa = _pyarrow()
    chunks, total = [], 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
            while chunk := stream.read(_CHUNK):
                chunks.append(chunk)
                total += len(chunk)
                check_inflation(total, budget)
    except OSError as error:
        raise ValueError(f"damaged: the packet at offset {offset} does not unpack ({error}); fetch it again") from error
    return b"".join(chunks)


def _pyarrow():
    """Return pyarrow."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; compressed AEDAT4 files need the extra: pip install 'eclip-workbench[formats]'"
        ) from error
    return pyarrow


def _events(content: bytes, offset: int) -> np.ndarray:
    """Return the events of a packet, a size-prefixed FlatBuffers table with one vector."""
    what = f"the packet at offset {offset}"
    if content[8:12] != b"EVTS" or _number("<I", content, 0, what) != len(content) - 4:
        raise ValueError(f"damaged: {what} holds no table of events; fetch the file again")
    (elements,) = _fields(content, 4, what, 1)
    start, n = _vector(content, elements, _EVENT.itemsize, what)
    return np.frombuffer(content, _EVENT, n, start) if n else np.empty(0, _EVENT)
