"""What is alive in a notebook: a figure that follows records as they come, and the explorer.

records → one figure that is redrawn in place; a recording and a config → controls and what they change.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic

from IPython import get_ipython
from IPython.display import DisplayHandle, display
from ipywidgets import Widget
from matplotlib.figure import Figure
from tqdm import tqdm

from eclip_lib.config import FrameConfig
from eclip_lib.views.samples import Sample

EVERY = 2.0  # s; drawing takes a fifth of a second, so training keeps nine tenths of its speed


def live(records: Iterable[dict], draw: Callable[[list[dict]], Figure], every: float = EVERY) -> list[dict]:
    """Go through records, such as those of `fit`, and keep one figure of them up to date.

    In a notebook the figure is redrawn in place, so that only the last one remains in a headless run. In a script or
    a terminal each record becomes the postfix of a progress bar.

    Args:
        records: one dict for each step or epoch.
        draw: makes the figure of all records so far: `lambda rows: learning_curves([rows], ["this run"])`.
        every: the least time between two drawings in s; the last records are always drawn.

    Returns:
        All records.
    """
    return _drawn(records, draw, every) if _in_notebook() else _told(records)


def explore(sample: Sample, cfg: FrameConfig, folder: Path | str | None = None) -> Widget:
    """Return the explorer: a recording, its windows and its frames under controls that redraw at once.

    Another recording can be picked, read from a path or uploaded; two settings stand side by side; strips, animations
    and the code that makes the same frames can be kept. What goes wrong is said in the widget.

    Args:
        sample: the recording to start with.
        cfg: the setting to start with.
        folder: where exports go; None for `runs/explore`.
    """
    from eclip_lib.views.explorer.panel import (  # plotly takes a second to load, which a live curve need not wait
        FOLDER,
        Explorer,
    )

    return Explorer(sample, cfg, FOLDER if folder is None else Path(folder)).box


def _in_notebook() -> bool:
    """Return whether a kernel runs this, which can show figures; a terminal cannot."""
    return hasattr(get_ipython(), "kernel")


def _drawn(records: Iterable[dict], draw: Callable[[list[dict]], Figure], every: float) -> list[dict]:
    """Go through the records behind one output that is replaced now and then."""
    rows, handle, drawn_at, drawn = [], None, -math.inf, 0
    for record in records:
        rows.append(record)
        if monotonic() - drawn_at >= every:
            handle = _show(draw(rows), handle)
            drawn_at, drawn = monotonic(), len(rows)
    if drawn < len(rows):
        _show(draw(rows), handle)
    return rows


def _show(figure: Figure, handle: DisplayHandle | None) -> DisplayHandle | None:
    """Show a figure, in the place of the one before if there is one, and return the handle of its place."""
    if handle is None:
        return display(figure, display_id=True)
    handle.update(figure)
    return handle


def _told(records: Iterable[dict]) -> list[dict]:
    """Go through the records behind a progress bar that tells the numbers of the last."""
    rows = []
    with tqdm(records) as bar:
        for record in bar:
            rows.append(record)
            bar.set_postfix({name: value for name, value in record.items() if isinstance(value, int | float)})
    return rows
