"""How much of the counts a color hides.

count maps (T, 2, H, W) and colors → a table of pixels and events that the frames cannot tell.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt

from eclip_lib.frames.drawing import colorize

PIXELS, EVENTS = "pixels that hide events (%)", "hidden events (%)"  # columns of the table


def hidden_events(maps: UInt[np.ndarray, "T 2 H W"], color: str) -> Int64[np.ndarray, "T H W"]:
    """Return how many events of each pixel its frame does not show.

    The 8-bit shade of a pixel proves as many events as the least that any pixel of that shade has in the same frame;
    all above are hidden. So a red pixel in "rgb" proves one event, however many there were.

    Args:
        maps: counts; not modified.
        color: of `colorize`.

    Example:
        >>> maps = np.array([[[[1, 5, 0]], [[0, 0, 2]]]], np.uint16)
        >>> hidden_events(maps, "rgb").tolist()
        [[[0, 4, 0]]]

    Our choice: it needs no formula for a color, so all are measured alike; before the resize, which mixes pixels.
    """
    shades = np.rint(colorize(maps, color) * 255).astype(np.int64)
    codes = (shades * np.array([1 << 16, 1 << 8, 1])[:, None, None]).sum(1)
    totals = maps.sum(1, dtype=np.int64)
    return np.stack([count - _least_alike(code, count) for code, count in zip(codes, totals, strict=True)])


def _least_alike(code: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return for each pixel the least count among the pixels of its shade."""
    shades, which = np.unique(code, return_inverse=True)
    least = np.full(len(shades), np.iinfo(np.int64).max)
    np.minimum.at(least, which.ravel(), count.ravel())
    return least[which].reshape(code.shape)


def saturation_table(maps: UInt[np.ndarray, "T 2 H W"], colors: Sequence[str]) -> pd.DataFrame:
    """Return for each color how many shades it draws, and how much it hides.

    In percent of the pixels with events and of the events, over all windows.

    Args:
        maps: counts with at least one event; not modified.
        colors: of `colorize`.
    """
    active = np.count_nonzero(maps.any(1))
    rows = []
    for color in colors:
        hidden = hidden_events(maps, color)
        shades = np.rint(colorize(maps, color) * 255).astype(np.uint8)
        rows.append(
            {
                "color": color,
                "shades": len(np.unique(shades.transpose(0, 2, 3, 1).reshape(-1, 3), axis=0)),
                PIXELS: 100 * np.count_nonzero(hidden) / active,
                EVENTS: 100 * int(hidden.sum()) / int(maps.sum(dtype=np.int64)),
            }
        )
    return pd.DataFrame(rows)
