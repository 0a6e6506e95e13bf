"""What the readers of all file formats share: what they return, and how much a file may inflate.

file -> `Decoded`: columns of events and what the file says of its sensor.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

Size = Sequence[int]
# Our choice: a file may hold at most 4 GiB of decoded arrays (300 million events), and beyond 64 MiB at most 100 times
# its own size. Compressed recordings shrink to a third or a tenth; what inflates a thousandfold is damaged or a bomb.
LARGEST_BYTES = 1 << 32
FREE_BYTES = 1 << 26
LARGEST_RATIO = 100


class Refused(ValueError):
    """What is wrong with a file, in words for the user; other ValueErrors come from the libraries that read it."""


class Decoded(NamedTuple):
    """The content of a file before its events are checked.

    Attributes:
        columns: x, y, t in microseconds and p, each `(N,)` of any real type; a structured array or a mapping.
        sensor_size: (height, width) in pixels where the file holds it.
        usual_size: (height, width) of the data set that the format belongs to, for when neither file nor user says.
        lost: what a damaged file lost when read with repairs; empty if nothing.
    """

    columns: np.ndarray | Mapping[str, np.ndarray]
    sensor_size: Size | None = None
    usual_size: Size | None = None
    lost: str = ""


def allowed_bytes(path: Path) -> int:
    """Return how many bytes the arrays of a file may take."""
    return min(LARGEST_BYTES, max(FREE_BYTES, LARGEST_RATIO * path.stat().st_size))


def check_inflation(declared: int, allowed: int) -> None:
    """Raise Refused for a file that would inflate beyond its bound, before it does."""
    if declared > allowed:
        raise Refused(
            f"would inflate to {declared:,} bytes, more than the {allowed:,} that a file of its size may "
            f"({LARGEST_RATIO} times its size once over {FREE_BYTES >> 20} MiB, at most {LARGEST_BYTES >> 30} GiB); "
            "it is damaged or made to fill memory; cut a recording that really is so large into parts"
        )


def whole_words(raw: bytes, start: int, size: int, repair: bool) -> tuple[memoryview, str]:
    """Return the part of `raw` from `start` that holds whole words of `size` bytes, and what a repair lost."""
    extra = (len(raw) - start) % size
    body = memoryview(raw)[start : len(raw) - extra]
    if not extra:
        return body, ""
    where = f"{extra} left over at offset {len(raw) - extra}"
    if repair:
        return body, f"truncated: {where}"
    raise ValueError(
        f"{len(raw) - start} bytes are no whole number of {size}-byte events: {where}; the file is truncated or of "
        "another format, fetch it again, or keep its whole events with on_error='drop'"
    )
