"""What every figure must keep to, whoever draws it."""

from io import BytesIO

import numpy as np
from PIL import Image

LARGEST = 100_000  # bytes of a figure kept in a notebook
WIDEST = 1000  # pixels


def texts(figure) -> str:
    """Return all that is written in a figure, once it is drawn."""
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def assert_fits_in_a_notebook(figure) -> None:
    """Check title and size."""
    png = figure._repr_png_()
    assert figure.get_suptitle()
    assert len(png) <= LARGEST
    assert max(Image.open(BytesIO(png)).size) <= WIDEST


def assert_the_same_each_time(figure, make) -> None:
    """Check that the function that made a figure makes it again."""
    assert figure._repr_png_() == make(np.random.default_rng(0))._repr_png_()
