"""How the camera moves while it looks at a still: saccades, or a path of the user's own.

path: rows (ms, down, right) -> where the camera looks at each step, ready for the simulation.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from typing import Any

import numpy as np

GazePath = tuple[tuple[float, float, float], ...]  # (milliseconds, pixels down, pixels right), times increasing
FARTHEST_PX, SHORTEST_MS, LONGEST_MS = 4096, 0.1, 600_000
# The path of N-MNIST's camera, fitted by notebook 02. Down and right are those of the gaze on the still; seen from the
# sensor the still moves the other way. Between two saccades the camera does not quite rest, it creeps.
N_MNIST_PATH: GazePath = (
    (8.1, 1.80, 2.87),
    (89.2, -4.15, 1.06),
    (112.7, -3.69, 0.58),
    (192.2, 2.02, -2.67),
    (214.2, 1.67, -3.01),
    (297.2, 1.69, 2.92),
    (308.0, 1.56, 2.92),
)


def triangle_path(side_px: float = 4.0, saccade_ms: float = 100.0) -> GazePath:
    """Return three equal saccades around an equilateral triangle that is centered on the still.

    Args:
        side_px: pixels of each saccade.
        saccade_ms: milliseconds of each; no rest between them.

    Example:
        >>> [row[0] for row in triangle_path(4.0, 50.0)]
        [0.0, 50.0, 100.0, 150.0]
    """
    low, top = side_px * 0.5 / sqrt(3), -side_px / sqrt(3)
    corners = ((low, -side_px / 2), (top, 0.0), (low, side_px / 2), (low, -side_px / 2))
    return tuple((i * saccade_ms, down, right) for i, (down, right) in enumerate(corners))


def as_path(rows: Any) -> GazePath:
    """Return rows (ms, down, right), of whatever kind, as a path that can be followed.

    Raises:
        ValueError: fewer than two rows, a row that is not three finite numbers, times that do not increase from 0 on,
            or more pixels or milliseconds than a camera can be meant to move.
    """
    try:
        path = tuple(tuple(float(value) for value in row) for row in rows)
    except (TypeError, ValueError):
        raise ValueError(f"path = {rows!r:.200}: expected rows (milliseconds, pixels down, pixels right)") from None
    for number, row in enumerate(path):
        if len(row) != 3 or not np.isfinite(row).all() or max(map(abs, row[1:])) > FARTHEST_PX:
            raise ValueError(
                f"path[{number}] = {row!r}: expected (milliseconds, pixels down, pixels right), "
                f"at most {FARTHEST_PX} pixels"
            )
    times = [row[0] for row in path]
    if len(path) < 2 or times[0] < 0 or any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError(f"path with times {times} ms: expected at least two rows, each later than the one before")
    if not SHORTEST_MS <= times[-1] <= LONGEST_MS:
        raise ValueError(f"path lasts {times[-1]} ms: expected {SHORTEST_MS} to {LONGEST_MS}")
    return tuple((ms, down, right) for ms, down, right in path)


def follow(path: GazePath, rests: bool, times_us: np.ndarray) -> np.ndarray:
    """Return where the camera looks, (S, 2) in pixels down and right.

    Args:
        path: see `as_path`; before its first row the camera looks there.
        rests: the camera is at rest at each row and moves between two of them with minimum jerk, as an eye or a
            pan-tilt unit does; otherwise it keeps a constant speed between two rows.
        times_us: (S,) in microseconds.
    """
    rows = np.array(path, np.float64)
    at = np.interp(np.asarray(times_us) / 1000, rows[:, 0], np.arange(len(rows)))
    row = np.minimum(at.astype(int), len(rows) - 2)
    s = at - row
    progress = s**3 * (10 - 15 * s + 6 * s**2) if rests else s
    return rows[row, 1:] + progress[:, None] * (rows[row + 1, 1:] - rows[row, 1:])


@dataclass(frozen=True)
class Gaze:
    """Where the camera looks at each of S steps, which form R runs within one cell of the pixel grid.

    Attributes:
        cells: int64 `(R, 2)`, the row and column of the padded screen that the first pixel sees.
        runs: uint64 `(R + 1,)`, the step each run starts with, and S.
        weights: float32 `(4, S)`, bilinear, of the screen at (row, column), one to the right, one below, both.
        times: float64 `(S,)` in microseconds, ending with the path.
        margin: pixels of screen that the path needs on each side of the view.
    """

    cells: np.ndarray
    runs: np.ndarray
    weights: np.ndarray
    times: np.ndarray
    margin: int


def sample_gaze(path: GazePath, rests: bool, step_us: int) -> Gaze:
    """Return the gaze at every step of a path."""
    duration = round(path[-1][0] * 1000)
    times = np.unique(np.minimum(np.arange(0, duration + step_us, step_us), duration)).astype(np.float64)
    positions = follow(path, rests, times)
    margin = ceil(np.abs(positions).max()) + 1
    cells = np.floor(positions + margin).astype(np.int64)
    down, right = (positions + margin - cells).T
    weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    starts = np.flatnonzero(np.any(np.diff(cells, axis=0, prepend=-1), axis=1))
    runs = np.append(starts, len(times)).astype(np.uint64)
    return Gaze(cells[starts], runs, weights.astype(np.float32), times, margin)
