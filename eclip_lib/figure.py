"""What every figure of the workbench shares: colors, settings, and a `Figure` that needs no pyplot.

Colors are those of Okabe and Ito, which stay apart for color-blind readers.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import ArrayLike
from PIL import Image

from eclip_lib.cache import atomic_path

ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GRAY = (
    "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#777777",
)  # fmt: skip
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "#000000")
ON, OFF = VERMILION, BLUE  # as in the event frames: ON reddish, OFF bluish
# Set for every figure, so that it does not depend on what a notebook has changed.
styled = rc_context(
    {
        "figure.dpi": 100,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
        "font.size": 9,
        "axes.titlesize": 10,
        "figure.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "legend.frameon": False,
        "image.interpolation": "nearest",
    }
)


class Picture(Figure):
    """A figure that a notebook shows although pyplot, and its state, is never involved."""

    @styled  # ticks are made as late as this
    def _repr_png_(self) -> bytes:
        """Return a PNG in 256 colors, a third of the size that all colors would take in a notebook."""
        full, reduced = BytesIO(), BytesIO()
        self.savefig(full, format="png")
        Image.open(full).convert("RGB").quantize(256).save(reduced, format="png", optimize=True)
        return reduced.getvalue()

    def save(self, path: str | Path) -> None:
        """Write what a notebook shows to a PNG file, whole or not at all."""
        png = self._repr_png_()
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(png)


def outline(axis: Axes, color: str, width: float = 0.6, dashed: bool = False, missing: bool = False) -> None:
    """Draw a frame around a picture instead of ticks; a missing one is crossed out by hatching and a word."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(visible=True, color=color, linewidth=width, linestyle="--" if dashed else "-")
    if missing:
        axis.set_facecolor("white")
        axis.patch.set(hatch="///", edgecolor="#CCCCCC", linewidth=0)
        axis.images[0].set_visible(False)
        axis.text(0.5, 0.5, "missing", transform=axis.transAxes, ha="center", va="center", color=GRAY)


def plain_log(axis: Axis) -> None:
    """Label a logarithmic axis 1, 2, 5, 10 … instead of by powers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def to_image(frame: ArrayLike) -> np.ndarray:
    """Return a frame (3, S, S) in [0, 1] as the image (S, S, 3) that matplotlib draws."""
    return np.clip(np.moveaxis(np.asarray(frame), 0, -1), 0, 1)
