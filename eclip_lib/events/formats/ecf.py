"""ECF, Prophesee's own compression of the events in HDF5 files.

The bytes of one chunk -> its columns x, y, t, p.

A chunk holds, little-endian: 32 bits of the number of events, shifted left by 2, and two flags; 64 bits of the first
time; then the times, the rows, the columns and the polarities. Flag 2: y, x, p of four events share three 32-bit
words; flag 1: x, p of four events share three 16-bit words. Otherwise each column is made of runs:

- t: a byte of 4 bits of step and 4 bits of count; a step of 15 gives the next 4 bits of a long step instead, the lowest
  first, as often as needed.
- y: 16 bits, 11 of y and 5 of count.
- x: 16 bits, 11 of x and 5 that tell which of the next five columns follow.
- p: a byte, 1 bit of p and 7 of count.

A count of all ones is told by the next 16 bits.

Source: the format of Prophesee's codec (github.com/prophesee-ai/hdf5_ecf); our own code.
"""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
from numba import njit

from eclip_lib.events.decoding import Refused

_MOST_EVENTS = 65535  # of a chunk, as the maker's codec has it
_HEADER = 12  # bytes
_ALL_PACKED, _X_P_PACKED = 2, 1


def decode_ecf(chunks: Sequence[np.ndarray], counts: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the columns of some chunks, joined.

    Args:
        chunks: uint8 arrays.
        counts: how many events to take of each; the last chunk of a file is filled up.

    Raises:
        Refused: a chunk is damaged; the message names it and the byte.
    """
    columns = {name: np.empty(sum(counts), kind) for name, kind in zip("xytp", ("u2", "u2", "u8", "u1"), strict=True)}
    start = 0
    for number, (chunk, count) in enumerate(zip(chunks, counts, strict=True)):
        part = _decode_chunk(np.ascontiguousarray(chunk), number)
        if len(part["t"]) < count:
            raise Refused(f"damaged: ECF chunk {number} has {len(part['t'])} events, not {count}; fetch it again")
        for name, column in columns.items():
            column[start : start + count] = part[name][:count]
        start += count
    return columns


def _decode_chunk(raw: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """Return the columns of one chunk."""
    if len(raw) < _HEADER:
        raise Refused(f"damaged: ECF chunk {number} has {len(raw)} bytes, fewer than its header; fetch it again")
    word = int(raw[:4].view("<u4")[0])
    n, flags = word >> 2, word & 3
    if n > _MOST_EVENTS:
        raise Refused(f"damaged: ECF chunk {number} claims {n:,} events, more than {_MOST_EVENTS:,}; fetch it again")
    t = np.empty(n, np.uint64)
    at = _times(raw, _HEADER, raw[4:_HEADER].view("<u8")[0], t)
    x, y, p = (np.empty(n, kind) for kind in (np.uint16, np.uint16, np.uint8))
    if flags & _ALL_PACKED:
        at = _unpack_all(raw, at, x, y, p)
    else:
        at = _runs(raw, at, 2, 5, y)
        at = _unpack_x_p(raw, at, x, p) if flags & _X_P_PACKED else _runs(raw, _columns(raw, at, x), 1, 7, p)
    if at < 0:
        raise Refused(f"damaged: ECF chunk {number} ends or overflows at byte {-at} of {len(raw)}; fetch it again")
    return {"x": x, "y": y, "t": t, "p": p}


# Each of these starts at byte `at` and returns where it ends; after damage it returns minus the byte, and the next pass
# it on. A run that is longer than what is left is damage too.


@njit(cache=True)
@no_type_check  # here and below: numba compiles the function itself, not a type checker's wrapper
def _two_bytes(raw, at):
    """Return the 16 bits at a byte, -1 beyond the end."""
    return np.int64(raw[at]) | np.int64(raw[at + 1]) << 8 if at + 1 < len(raw) else np.int64(-1)


@njit(cache=True)
@no_type_check
def _times(raw, at, first, t):
    """Read the times."""
    now, long_step, shift, i = np.uint64(first), np.uint64(0), np.uint64(0), 0
    while i < len(t):
        if at >= len(raw):
            return -at
        step, count = raw[at] >> 4, np.int64(raw[at] & 15)
        at += 1
        if step == 15:
            if shift > 60:
                return -at
            long_step |= np.uint64(count) << shift
            shift += np.uint64(4)
            continue
        now += long_step + np.uint64(step)
        long_step, shift = np.uint64(0), np.uint64(0)
        if count == 15:
            count = _two_bytes(raw, at)
            at += 2
        if count < 0 or count > len(t) - i:
            return -at
        t[i : i + count] = now
        i += count
    return at


@njit(cache=True)
@no_type_check
def _runs(raw, at, size, bits, values):
    """Read rows or polarities: words of so many bytes, a value above so many bits of count."""
    i, full = 0, (1 << bits) - 1
    while i < len(values) and at >= 0:
        if at + size > len(raw):
            return -at
        word = np.int64(raw[at]) if size == 1 else _two_bytes(raw, at)
        at += size
        count = word & full
        if count == full:
            count = _two_bytes(raw, at)
            at += 2
        if count < 0 or count > len(values) - i:
            return -at
        values[i : i + count] = word >> bits
        i += count
    return at


@njit(cache=True)
@no_type_check
def _columns(raw, at, x):
    """Read the columns, with the neighbors to the right that follow; those beyond the last event are filling."""
    i = 0
    while i < len(x) and at >= 0:
        word = _two_bytes(raw, at)
        if word < 0:
            return -at
        at += 2
        x[i] = word >> 5
        i += 1
        for step in range(1, 6):
            if word >> (5 - step) & 1 and i < len(x):
                x[i] = (word >> 5) + step
                i += 1
    return at


def _quads(raw: np.ndarray, at: int, n: int, kind: str) -> np.ndarray | None:
    """Return the groups of three words that hold n events, four a group, None beyond the end or after damage."""
    size = -(-n // 4) * 3 * np.dtype(kind).itemsize
    return raw[at : at + size].view(kind).reshape(-1, 3).astype(np.uint32) if 0 <= at <= len(raw) - size else None


def _unpack_x_p(raw: np.ndarray, at: int, x: np.ndarray, p: np.ndarray) -> int:
    """Read x and p, 12 bits an event."""
    quads = _quads(raw, at, len(x), "<u2")
    if quads is None:
        return -abs(at)
    a, b, c = quads.T
    values = np.stack([a >> 4, (a & 0xF) | b >> 8 << 4, (b & 0xFF) | c >> 12 << 8, c & 0xFFF], axis=1)
    values = values.ravel()[: len(x)]
    x[:], p[:] = values >> 1, values & 1
    return at + quads.size * 2


def _unpack_all(raw: np.ndarray, at: int, x: np.ndarray, y: np.ndarray, p: np.ndarray) -> int:
    """Read y, x and p, 24 bits an event."""
    quads = _quads(raw, at, len(x), "<u4")
    if quads is None:
        return -abs(at)
    a, b, c = quads.T
    values = np.stack([a >> 8, (a & 0xFF) | b >> 16 << 8, (b & 0xFFFF) | c >> 24 << 16, c & 0xFFFFFF], axis=1)
    values = values.ravel()[: len(x)]
    y[:], x[:], p[:] = values >> 12 & 0x7FF, values >> 1 & 0x7FF, values & 1
    return at + quads.size * 4
