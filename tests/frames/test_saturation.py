"""How many events a color hides: worked by hand, and laws over all colors."""

from typing import get_args

import numpy as np
import pytest

from eclip_lib.config import Color
from eclip_lib.frames.saturation import EVENTS, PIXELS, hidden_events, saturation_table


def maps(on: list[int], off: list[int]) -> np.ndarray:
    """Return the count maps (1, 2, 1, W) of one row of pixels."""
    return np.array([[[on], [off]]], np.uint16)


@pytest.mark.parametrize(
    ("color", "hidden"),
    [
        ("rgb", [0, 1, 4, 0, 0, 3, 0]),  # red or blue proves one event, black two
        ("rgb-formula", [0, 1, 4, 0, 0, 3, 0]),
        ("gray", [0, 0, 0, 0, 0, 0, 0]),  # two shades prove one and two events, black here five
        ("signed", [0, 0, 0, 0, 2, 4, 0]),  # balanced looks empty; 3 ON and 2 OFF look like 1 ON
    ],
)
def test_hidden_events_by_hand(color, hidden):
    counts = maps(on=[1, 2, 5, 0, 1, 3, 0], off=[0, 0, 0, 1, 1, 2, 0])
    assert hidden_events(counts, color).tolist() == [[hidden]]


def test_gray_proves_three_events_at_most():
    assert hidden_events(maps([1, 2, 3, 9], [0, 0, 0, 0]), "gray").tolist() == [[[0, 0, 0, 6]]]


@pytest.mark.parametrize("color", get_args(Color))
def test_hidden_events_are_some_of_the_events(color):
    counts = np.random.default_rng(1).poisson(0.7, (3, 2, 12, 16)).astype(np.uint16)
    hidden = hidden_events(counts, color)
    assert (hidden >= 0).all()
    assert (hidden <= counts.sum(1)).all()


def test_the_count_color_hides_less_than_the_paper_s_on_a_busy_recording():
    counts = np.random.default_rng(2).poisson(1.5, (3, 2, 30, 40)).astype(np.uint16)
    table = saturation_table(counts, ["rgb", "gray", "count"]).set_index("color")
    assert table.loc["count", EVENTS] < table.loc["gray", EVENTS] < table.loc["rgb", EVENTS]
    assert table.loc["rgb", "shades"] == 4
    assert table.loc["rgb", EVENTS] == pytest.approx(100 * _lost_in_rgb(counts))
    assert (table[[PIXELS, EVENTS]] <= 100).all(axis=None)


def _lost_in_rgb(counts: np.ndarray) -> float:
    """Return the share of events beyond the first of a polarity and pixel."""
    return float((np.maximum(counts.astype(int), 1) - 1).sum() / counts.sum())


def test_one_event_a_pixel_hides_nothing():
    counts = maps([1, 0, 1], [0, 1, 1])
    for color in ("rgb", "gray", "count"):
        assert hidden_events(counts, color).sum() == 0
