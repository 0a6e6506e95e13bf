"""Prophesee's files: `.raw` recordings in EVT 2.0, 2.1 and 3.0, and decoded `.dat` events.

file -> events, and the sensor's size from the text header.

Source: the published formats, docs.prophesee.ai/stable/data (file formats RAW and DAT; encodings EVT 2.0, 2.1, 3.0).
"""

import re
from pathlib import Path
from typing import no_type_check

import numpy as np
from numba import njit

from eclip_lib.events.array import EVENT_DTYPE, first
from eclip_lib.events.decoding import LARGEST_BYTES, Decoded, Size, check_inflation, whole_words

_HEADER_LINE = re.compile(rb"% ([\w-]+)[ \t]?([\x20-\x7e\t]*)\r?\n")
_VGA, _HD = (480, 640), (720, 1280)  # (height, width) of the sensors that older headers only name
_SENSOR = {
    **dict.fromkeys(("gen3", "gen30", "gen31"), _VGA),
    **dict.fromkeys(("gen4", "gen40", "gen41", "gen42", "imx636"), _HD),
    "genx320": (320, 320),
}
_EVT2_RESERVED = np.isin(np.arange(16), (0x0, 0x1, 0x8, 0xA, 0xE, 0xF), invert=True)
_EVT3_RESERVED = np.isin(np.arange(16), (0x1, 0x9, 0xB, 0xC, 0xD))
_ADDR_Y, _ADDR_X, _BASE_X, _VECT_12, _VECT_8, _TIME_LOW, _TIME_HIGH = 0, 2, 3, 4, 5, 6, 8  # words of EVT 3.0
_DAT_EVENTS = {0x00, 0x0C}  # 2D, contrast detection; others are triggers and measures
_DAT_FIELDS = {1: (9, 8), 2: (14, 14)}  # bits of x and of y by version; polarity follows
_DAT_EVENT = np.dtype([("t", "<u4"), ("address", "<u4")])


def read_prophesee(path: Path, repair: bool = False) -> Decoded:
    """Read a file; its header tells whether it is `.raw` or `.dat`, and the size of the sensor where it knows it.

    Raises:
        ValueError: the header is missing or does not tell the format, or the data is damaged (with `repair`, a cut
            word and words of a reserved type are lost instead).
    """
    raw = path.read_bytes()
    fields, start = _header(raw)
    if "data" in fields or ("version" in fields and not _encoding(fields)):
        return _read_dat(raw, start, fields, repair)
    encoding = _encoding(fields)
    if encoding not in _ENCODINGS:
        raise ValueError(
            f"its header names {encoding or 'no format'}; expected one of {', '.join(_ENCODINGS)}, or '% Version' of "
            "a .dat file; convert the file with Prophesee's tools"
        )
    events, lost = _ENCODINGS[encoding](raw, start, fields, repair)
    return Decoded(events, _geometry(fields), lost=lost)


def _header(raw: bytes) -> tuple[dict[str, str], int]:
    """Return the fields of the text header, lines of `% keyword value`, and where the data starts."""
    fields, start = {}, 0
    while line := _HEADER_LINE.match(raw, start):
        key, value = (part.decode("ascii", "replace") for part in line.groups())
        fields[key.lower()] = value.strip()
        start = line.end()
        if key == "end":
            break
    if not fields:
        raise ValueError("has no header of lines '% keyword value', as Prophesee's files do; is it another format?")
    return fields, start


def _encoding(fields: dict[str, str]) -> str:
    """Return EVT2, EVT21, EVT3 or another name of the header; empty if it has none."""
    name = fields.get("format", "").partition(";")[0].strip()
    version = fields.get("evt", "")
    return name or ("EVT" + version.replace(".0", "").replace(".", "") if version else "")


def _geometry(fields: dict[str, str]) -> Size | None:
    """Return (height, width) from the header: written out, or else of the sensor that it names."""
    options = dict(part.split("=", 1) for part in fields.get("format", "").split(";") if "=" in part)
    found: dict[tuple[int, int], None] = {}
    for source in (options, fields):
        if source.get("height", "").isdigit() and source.get("width", "").isdigit():
            found[(int(source["height"]), int(source["width"]))] = None
    if sides := re.fullmatch(r"(\d{1,6})x(\d{1,6})", fields.get("geometry", "")):
        found[(int(sides[2]), int(sides[1]))] = None
    if len(found) > 1:
        raise ValueError(f"its header contradicts itself on (height, width): {', '.join(map(str, found))}; mend it")
    return next(iter(found), None) or _sensor_of(fields)


def _sensor_of(fields: dict[str, str]) -> Size | None:
    """Return (height, width) of the sensor that an older header names, as in `plugin_name hal_plugin_gen41_evk3`."""
    names = [fields.get("sensor_name", ""), fields.get("plugin_name", ""), "gen" + fields.get("sensor_generation", "")]
    words = re.split(r"[^a-z0-9]+", " ".join(names).lower().replace(".", ""))
    return next((_SENSOR[word] for word in words if word in _SENSOR), None)


def _read_dat(raw: bytes, start: int, fields: dict[str, str], repair: bool) -> Decoded:
    """Read 8-byte events: 32 bits of time in microseconds, and an address of x, y and polarity."""
    if len(raw) < start + 2:
        raise ValueError(f"ends at offset {len(raw)}, before the type and size of its events; fetch it again")
    kind, size = raw[start : start + 2]
    if kind not in _DAT_EVENTS or size != _DAT_EVENT.itemsize:
        raise ValueError(
            f"holds events of type {kind} and {size} bytes (offset {start}); readable are types 0 and 12 of 8 bytes"
        )
    version = fields.get("version", "1")
    if version not in ("0", "1", "2"):
        raise ValueError(f"is of .dat version {version}; readable are 1 and 2")
    body, lost = whole_words(raw, start + 2, size, repair)
    data = np.frombuffer(body, _DAT_EVENT)
    x_bits, y_bits = _DAT_FIELDS[max(1, int(version))]
    address, clock = data["address"], data["t"].astype(np.int64)
    turns = np.cumsum(np.diff(clock, prepend=clock[:1]) < -(1 << 31))  # the clock wraps after 71 minutes
    columns = {
        "x": address & ((1 << x_bits) - 1),
        "y": address >> x_bits & ((1 << y_bits) - 1),
        "t": clock + (turns << 32),
        "p": address >> (x_bits + y_bits) & (0xF if version == "2" else 1),
    }
    return Decoded(columns, _geometry(fields), lost=lost)


def _read_evt2(raw: bytes, start: int, fields: dict[str, str], repair: bool) -> tuple[np.ndarray, str]:
    """Read EVT 2.0: 32-bit words of one event each."""
    body, lost = whole_words(raw, start, 4, repair)
    heads = np.frombuffer(body, "<u4")
    return _read_heads(heads, np.ones(len(heads), np.uint32), start, 4, lost, repair)


def _read_evt21(raw: bytes, start: int, fields: dict[str, str], repair: bool) -> tuple[np.ndarray, str]:
    """Read EVT 2.1: 64-bit words, the upper half as in EVT 2.0, the lower a mask of 32 pixels from x on."""
    options = dict(part.split("=", 1) for part in fields.get("format", "").split(";") if "=" in part)
    endianness = options.get("endianness", fields.get("endianness", "little"))
    if endianness not in ("little", "legacy"):
        raise ValueError(f"is of endianness {endianness}; readable are little and legacy; convert the file")
    body, lost = whole_words(raw, start, 8, repair)
    halves = np.frombuffer(body, "<u4").reshape(-1, 2)  # legacy (IMX636): the upper half comes first
    masks, heads = halves.T if endianness == "little" else halves.T[::-1]
    return _read_heads(np.ascontiguousarray(heads), np.ascontiguousarray(masks), start, 8, lost, repair)


def _read_heads(
    heads: np.ndarray, masks: np.ndarray, start: int, size: int, lost: str, repair: bool
) -> tuple[np.ndarray, str]:
    """Decode words of EVT 2.0 and 2.1."""
    kinds = (heads >> 28).astype(np.uint8)
    lost = _joined(lost, _reserved(_EVT2_RESERVED[kinds], kinds, start, size, repair))
    events = _room(int(np.bitwise_count(masks[kinds <= 1]).sum(dtype=np.int64)))
    n = _decode_evt2(heads, masks, events["x"], events["y"], events["t"], events["p"])
    return events[: _timed(n, len(events))], lost


def _read_evt3(raw: bytes, start: int, fields: dict[str, str], repair: bool) -> tuple[np.ndarray, str]:
    """Read EVT 3.0: 16-bit words that each change a part of the state: row, time, or pixels of a row."""
    body, lost = whole_words(raw, start, 2, repair)
    words = np.frombuffer(body, "<u2")
    kinds = (words >> 12).astype(np.uint8)
    lost = _joined(lost, _reserved(_EVT3_RESERVED[kinds], kinds, start, 2, repair))
    bits = np.bitwise_count(words & 0xFFF)
    vectors = (kinds == _VECT_12) | (kinds == _VECT_8)
    events = _room(int((kinds == _ADDR_X).sum()) + int(bits[vectors].sum(dtype=np.int64)))
    n = _decode_evt3(words, events["x"], events["y"], events["t"], events["p"])
    return events[: _timed(n, len(events))], lost


_ENCODINGS = {"EVT2": _read_evt2, "EVT21": _read_evt21, "EVT3": _read_evt3}


def _reserved(bad: np.ndarray, kinds: np.ndarray, start: int, size: int, repair: bool) -> str:
    """Raise ValueError for a word of a reserved type, or say how many a repair skips."""
    if not bad.any():
        return ""
    if repair:
        return f"{int(bad.sum())} words of a reserved type"
    at = first(bad)
    raise ValueError(
        f"word {at} at offset {start + at * size} is of the reserved type {kinds[at]:#x}; the file is damaged: fetch "
        "it again, or skip such words with on_error='drop'"
    )


def _joined(*lost: str) -> str:
    """Join what a repair lost."""
    return "; ".join(part for part in lost if part)


def _room(n: int) -> np.ndarray:
    """Return room for `n` events."""
    check_inflation(n * EVENT_DTYPE.itemsize, LARGEST_BYTES)
    return np.empty(n, EVENT_DTYPE)


def _timed(n: int, found: int) -> int:
    """Return the number of events; those before the first time word have no time, as in the vendor's own reader."""
    if found and not n:
        raise ValueError(f"no word of its {found} events' time (EVT_TIME_HIGH); the file is damaged, fetch it again")
    return n


@njit(nogil=True, cache=True)
@no_type_check  # numba compiles the function itself, not a type checker's wrapper
def _put(x, y, t, p, n, column, row, time, on, mask):
    """Add an event for each bit of a mask over the pixels of a row; return the number of events."""
    while mask:
        if mask & 1:
            x[n], y[n], t[n], p[n] = column, row, time, on
            n += 1
        mask >>= 1
        column += 1
    return n


@njit(nogil=True, cache=True)
@no_type_check
def _decode_evt2(heads, masks, x, y, t, p):
    """Fill the columns from the first time word on; return the number of events."""
    n, time = 0, np.int64(-1)
    for i in range(len(heads)):
        head = np.int64(heads[i])
        kind = head >> 28
        if kind == _TIME_HIGH:
            high = (head & 0xFFFFFFF) << 6
            turn = max(time, 0) >> 34
            if time - (turn << 34) - high > 1 << 33:  # the clock of 34 bits fell by over half: it has made a turn
                turn += 1
            time = turn << 34 | high
        elif kind <= 1 and time >= 0:
            low, column, row = head >> 22 & 0x3F, head >> 11 & 0x7FF, head & 0x7FF
            n = _put(x, y, t, p, n, column, row, time | low, kind == 1, masks[i])
    return n


@njit(nogil=True, cache=True)
@no_type_check
def _decode_evt3(words, x, y, t, p):
    """Fill the columns from the first time word on; return the number of events."""
    n, row, base, on, time = 0, np.int64(0), np.int64(0), False, np.int64(-1)
    for i in range(len(words)):
        kind, payload = words[i] >> 12, np.int64(words[i] & 0xFFF)
        if kind == _ADDR_Y:
            row = payload & 0x7FF
        elif kind == _BASE_X:
            base, on = payload & 0x7FF, payload >> 11 == 1
        elif kind in (_TIME_HIGH, _TIME_LOW):
            time = _evt3_time(time, kind, payload)
        elif time >= 0 and kind == _ADDR_X:
            n = _put(x, y, t, p, n, payload & 0x7FF, row, time, payload >> 11 == 1, 1)
        elif kind in (_VECT_12, _VECT_8):
            width = 12 if kind == _VECT_12 else 8
            n = _put(x, y, t, p, n, base, row, time, on, payload & ((1 << width) - 1) if time >= 0 else 0)
            base = min(base + width, 0xFFF)  # as far outside every sensor as its 12 bits go, never back into it
    return n


@njit(nogil=True, cache=True)
@no_type_check
def _evt3_time(time, kind, payload):
    """Return the time after a word with its upper or lower 12 bits; -1 before the first upper ones.

    Lower bits that step back are no turn: several sources of events may interleave under the same upper bits.
    """
    if kind == _TIME_LOW:
        return time & ~0xFFF | payload  # which stays negative before the first upper bits
    turn, high = max(time, 0) >> 24, time >> 12 & 0xFFF
    if time >= 0 and high == payload:  # repeated now and then; the lower bits stay
        return time
    if time >= 0 and high - payload > 1 << 11:  # the clock of 24 bits fell by over half: it has made a turn
        turn += 1
    return turn << 24 | payload << 12
