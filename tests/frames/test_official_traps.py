"""The traps of the official code, worked by hand on a few events, and ours beside them."""

import numpy as np
import pytest
import torch

from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording
from eclip_lib.frames.official_traps import (
    cut_to_full_windows,
    official_frames,
    our_frames,
    red_share,
    telling_window,
    trap_table,
)


def some_events(*columns: tuple[int, int, bool]) -> np.ndarray:
    """Return events of (x, y, p), a microsecond apart."""
    return np.array([(x, y, t, p) for t, (x, y, p) in enumerate(columns)], EVENT_DTYPE)


@pytest.fixture
def five():
    """Return five events on a sensor of 8 x 8: in windows of two, two full ones and a half one."""
    events = some_events((3, 2, True), (0, 0, False), (7, 7, False), (7, 0, True), (5, 4, False))
    return Recording(events, (8, 8))


def test_a_short_window_is_filled_with_on_events_at_one_pixel(five):
    drawn = official_frames(five, 2, frames=5, size=8)
    assert drawn.padding.tolist() == [0, 0, 1, 0, 0]
    assert drawn.canvas.tolist() == [[3, 4], [8, 8], [5, 6], [0, 0], [0, 0]]
    tiny = Recording(some_events((3, 3, False), (2, 2, False), (0, 0, False)), (4, 4))
    third = official_frames(tiny, 2, frames=3, size=2).frames[1]  # (0, 0) OFF and (1, 1) padding on a canvas of 2 x 2
    assert third[:, 0, 0].tolist() == [0, 0, 1]  # OFF is blue
    assert third[:, 1, 1].tolist() == [1, 0, 0]  # ON is red


def test_blank_frames_are_255_and_enter_the_mean(five):
    drawn = official_frames(five, 2, frames=5, size=8)
    assert drawn.frames[:3].max() <= 1
    assert drawn.frames[3:].unique().tolist() == [255]
    assert drawn.averaged.all()
    assert drawn.mean().min() >= 2 * 255 / 5


def test_a_recording_that_fills_its_windows_gets_a_red_quadrant_instead_of_a_blank(five):
    part = cut_to_full_windows(five, 2, 5)
    assert len(part) == 4
    drawn = official_frames(part, 2, frames=5, size=224)
    assert drawn.canvas[2].tolist() == [2, 2]
    frame = drawn.frames[2]
    assert frame[:, 0, 0].tolist() == [1, 1, 1]
    assert frame[:, -1, -1].tolist() == [1, 0, 0]
    assert 0.2 < red_share(drawn) < 0.3
    assert red_share(our_frames(part, 2, 5)) == 0


def test_a_longer_recording_keeps_its_first_events_and_has_no_padding(five):
    drawn = official_frames(five, 2, frames=2, size=8)
    assert drawn.padding.tolist() == [0, 0]
    assert not drawn.empty.any()
    assert torch.equal(drawn.frames, official_frames(cut_to_full_windows(five, 2, 5), 2, 2, 8).frames)


def test_ours_invents_nothing_and_keeps_the_sensor(five):
    drawn = our_frames(five, 2, frames=5, size=8)
    assert drawn.padding.tolist() == [0] * 5
    assert drawn.canvas.tolist() == [[8, 8]] * 3 + [[0, 0]] * 2
    assert drawn.averaged.tolist() == [True] * 3 + [False] * 2
    assert drawn.frames.max() <= 1
    assert drawn.scale().tolist() == [[1, 1]] * 3


def test_both_agree_where_no_trap_is_sprung():
    corners = ((0, 0, True), (7, 7, False))  # each window reaches the end of the sensor
    recording = Recording(some_events(*corners, (3, 4, True), *corners, (5, 5, False)), (8, 8))
    official, ours = official_frames(recording, 3, 2, 8), our_frames(recording, 3, 2, 8)
    assert torch.allclose(official.frames, ours.frames, atol=1e-6)


def test_the_table_measures_both(five):
    table = trap_table(five, 2, 5, size=8, encode=lambda frames: frames.flatten(1)).set_index("trap")
    assert table.loc["invented events at pixel (1, 1)"].tolist() == ["1", "0"]
    assert table.loc["value of a frame without events"].tolist() == ["255", "1"]
    assert table.loc["canvases, height x width"].tolist() == ["3 x 4, 5 x 6, 8 x 8", "8 x 8"]
    assert table.loc["output pixels per sensor pixel, horizontally"].tolist() == ["1.00 to 2.00", "1.00"]
    cosines = table.loc["cosine of the mean feature to that of the frames with events"]
    assert float(cosines["official code"]) < 1
    assert cosines["ours"] == "1.000"


def test_the_table_needs_a_window_that_is_filled_and_one_that_is_not(five):
    with pytest.raises(ValueError, match="5 events, 5 windows of 6: at least one window must be filled"):
        trap_table(five, 6, 5)
    with pytest.raises(ValueError, match="1 windows"):
        trap_table(five, 2, 1)


@pytest.mark.parametrize("number", [7, 1069, 67_445, 103_911])
def test_the_telling_window_leaves_two_of_five_windows_empty(number):
    recording = Recording(some_events(*[(1, 1, True)] * number), (4, 4))
    assert our_frames(recording, telling_window(number), 5, 4).empty.tolist() == [False] * 3 + [True] * 2
