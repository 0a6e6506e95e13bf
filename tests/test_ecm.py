import numpy as np
import pytest
import torch

from eclip_lib.config import FrameConfig
from eclip_lib.ecm import colorize, count_maps, event_frames, window_bounds
from eclip_lib.events import EVENT_DTYPE, Recording

# (x, y, t, p): two ON at one pixel, one OFF beside it, one OFF on top of an ON, one ON below.
FIVE = [(0, 0, 10, 1), (0, 0, 20, 1), (1, 0, 30, 0), (0, 0, 40, 0), (2, 1, 50, 1)]


@pytest.fixture
def five():
    return Recording(np.array(FIVE, EVENT_DTYPE), (2, 3))


@pytest.fixture
def recording():
    rng = np.random.default_rng(3)
    events = np.empty(1001, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(0, 14, 1001), rng.integers(0, 11, 1001)
    events["t"], events["p"] = np.sort(rng.integers(0, 300_000, 1001)), rng.random(1001) < 0.4
    return Recording(events, (11, 14))


def changed(recording, **columns):
    events = recording.events.copy()
    for name, values in columns.items():
        events[name] = values
    return Recording(events, recording.sensor_size)


SETTINGS = [(None, 3, "first"), (None, 5, "spread"), (300, 3, "first"), (300, 6, "first"), (300, 5, "spread")]

# Windows


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((10, None, 3), [[0, 3], [3, 6], [6, 10]]),
        ((2, None, 3), [[0, 0], [0, 1], [1, 2]]),
        ((10, 4, 3), [[0, 4], [4, 8], [8, 10]]),
        ((10, 5, 3), [[0, 5], [5, 10], [10, 10]]),
        ((3, 5, 2), [[0, 3], [3, 3]]),
        ((100, 4, 2), [[0, 4], [4, 8]]),
        ((100, 10, 3, "spread"), [[0, 10], [45, 55], [90, 100]]),
        ((10, 8, 2, "spread"), [[0, 8], [2, 10]]),
        ((3, 8, 2, "spread"), [[0, 3], [0, 3]]),
        ((9, 4, 1, "spread"), [[0, 4]]),
        ((0, 4, 2), [[0, 0], [0, 0]]),
    ],
)
def test_windows_by_hand(arguments, expected):
    assert window_bounds(*arguments).tolist() == expected


@pytest.mark.parametrize("n", [1, 7, 100, 75_001])
def test_equal_parts_use_every_event_once_and_differ_by_one(n):
    bounds = window_bounds(n, None, 6)
    assert (bounds[0, 0], bounds[-1, 1]) == (0, n) and np.array_equal(bounds[1:, 0], bounds[:-1, 1])
    assert np.ptp(bounds[:, 1] - bounds[:, 0]) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, 0, 3), "events_per_frame = 0: must be at least 1"),
        ((5, 1, 0), "frames = 0: must be at least 1"),
        ((-1, 1, 1), "n_events = -1"),
        ((5, 1, 1, "last"), "windows = 'last': expected one of first, spread"),
    ],
)
def test_bad_windows_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        window_bounds(*arguments)


# Count maps


def test_maps_of_five_events_by_hand(five):
    on, off = [[2, 0, 0], [0, 0, 1]], [[1, 1, 0], [0, 0, 0]]
    assert count_maps(five, frames=1).tolist() == [[on, off]]
    first_three, last_two, missing = count_maps(five, events_per_frame=3, frames=3)
    assert first_three.tolist() == [[[2, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0]]]
    assert last_two.tolist() == [[[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 0]]]
    assert not missing.any()


@pytest.mark.parametrize("setting", SETTINGS)
def test_maps_equal_the_naive_ones(recording, setting):
    expected = np.zeros((setting[1], 2, 11, 14), np.uint16)
    for window, (start, stop) in enumerate(window_bounds(len(recording), *setting)):
        part = recording.events[start:stop]
        np.add.at(expected[window], (1 - part["p"].astype(int), part["y"], part["x"]), 1)
    maps = count_maps(recording, *setting)
    assert maps.dtype == np.uint16 and np.array_equal(maps, expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_maps_sum_to_the_events_of_their_windows(recording, setting):
    bounds = window_bounds(len(recording), *setting)
    assert np.array_equal(count_maps(recording, *setting).sum((1, 2, 3)), bounds[:, 1] - bounds[:, 0])


def test_polarity_flip_swaps_the_channels(recording):
    flipped = changed(recording, p=~recording.events["p"])
    assert np.array_equal(count_maps(flipped), count_maps(recording)[:, ::-1])


def test_on_is_channel_zero():
    maps = count_maps(Recording(np.array([(1, 0, 0, True)], EVENT_DTYPE), (1, 2)), frames=1)
    assert maps[0, 0, 0, 1] == 1 and maps[0, 1].sum() == 0


def test_mirrored_recording_has_mirrored_maps(recording):
    mirrored = changed(recording, x=13 - recording.events["x"])
    assert np.array_equal(count_maps(mirrored), count_maps(recording)[..., ::-1])


def test_canvas_is_the_sensor_not_the_largest_event(five):
    assert count_maps(Recording(five.events, (20, 30))).shape == (3, 2, 20, 30)


def test_recording_is_not_modified(recording):
    before = recording.events.copy()
    event_frames(recording, FrameConfig())
    assert np.array_equal(recording.events, before)


def test_count_beyond_the_type_is_an_error():
    full = Recording(np.zeros(65_535, EVENT_DTYPE), (1, 1))
    assert count_maps(full, frames=1).max() == 65_535
    with pytest.raises(ValueError, match="window 0: a pixel has more than 65535 events of one polarity; use smaller"):
        count_maps(Recording(np.zeros(65_536, EVENT_DTYPE), (1, 1)), frames=1)


# Color


def test_rgb_of_five_events_by_hand(five):
    red, green, blue = colorize(count_maps(five, frames=1), "rgb")[0]
    assert red.tolist() == [[0, 0, 1], [1, 1, 1]]  # dark where OFF
    assert green.tolist() == [[0, 0, 1], [1, 1, 0]]  # dark where any
    assert blue.tolist() == [[0, 1, 1], [1, 1, 0]]  # dark where ON


def test_gray_of_five_events_by_hand(five):
    gray = colorize(count_maps(five, frames=1), "gray")[0]
    once = 1 - 127 / 255
    assert np.allclose(gray, np.broadcast_to([[0, once, 1], [1, 1, once]], (3, 2, 3)), atol=1e-6)


def test_count_of_five_events_by_hand(five):
    maps = count_maps(five, frames=1)
    peak = np.percentile([2, 1, 1, 1], 99)  # 1.97
    two, one = 1.0, np.log(2) / np.log(1 + peak)
    red, green, blue = colorize(maps, "count")[0]
    assert np.allclose(red, [[1 - one, 1 - one, 1], [1, 1, 1]])
    assert np.allclose(green, [[0, 1 - one, 1], [1, 1, 1 - one]])
    assert np.allclose(blue, [[1 - two, 1, 1], [1, 1, 1 - one]])


def test_rgb_and_gray_follow_the_official_formula(recording):
    maps = count_maps(recording)
    on, off = maps[:, :1].astype(float), maps[:, 1:].astype(float)
    cyan, yellow = np.array([0, 255, 255]).reshape(3, 1, 1), np.array([255, 255, 0]).reshape(3, 1, 1)
    assert np.allclose(colorize(maps, "rgb"), np.clip(1 - (on * cyan + off * yellow) / 255, 0, 255))
    assert np.allclose(colorize(maps, "gray"), np.clip(1 - (on + off) * 127 / 255, 0, 255).repeat(3, 1), atol=1e-6)


def test_count_tells_one_event_from_several():
    maps = np.zeros((1, 2, 1, 4), np.uint16)
    maps[0, 0, 0] = [0, 1, 3, 9]
    blue = colorize(maps, "count")[0, 2, 0]
    assert blue[0] == 1 and np.all(np.diff(blue) < -0.1)
    assert np.ptp(colorize(maps, "rgb")[0, 2, 0, 1:]) == 0  # the paper's saturates


def test_count_is_scaled_for_each_frame_alone(recording):
    maps = count_maps(recording)
    assert np.array_equal(colorize(maps, "count")[:1], colorize(maps[:1], "count"))


@pytest.mark.parametrize("mode", ["rgb", "gray", "count"])
def test_every_mode_is_float32_in_range_and_white_without_events(mode):
    maps = np.zeros((2, 2, 3, 4), np.uint16)
    maps[0] = np.arange(24).reshape(2, 3, 4) * 2000
    before = maps.copy()
    frames = colorize(maps, mode)
    assert frames.dtype == np.float32 and frames.shape == (2, 3, 3, 4)
    assert frames.min() >= 0 and frames.max() <= 1 and np.all(frames[1] == 1)
    assert np.array_equal(maps, before)


def test_polarity_flip_swaps_red_and_blue(recording):
    maps = count_maps(recording)
    for mode in ("rgb", "count"):
        assert np.array_equal(colorize(maps[:, ::-1], mode), colorize(maps, mode)[:, ::-1])


def test_unknown_mode_and_wrong_shape_are_named():
    with pytest.raises(ValueError, match="color mode 'sepia': expected one of rgb, gray, rgb-formula, gray-formula, count"):
        colorize(np.zeros((1, 2, 3, 3), np.uint16), "sepia")
    with pytest.raises(ValueError, match=r"maps of shape \(2, 3, 3\): expected \(T, 2, H, W\)"):
        colorize(np.zeros((2, 3, 3), np.uint16))


# Frames


@pytest.mark.parametrize("color", ["rgb", "gray", "count"])
@pytest.mark.parametrize("keep_aspect", [False, True])
def test_frames_are_float32_in_range(recording, color, keep_aspect):
    frames, valid = event_frames(recording, FrameConfig(size=24, frames=4, color=color, keep_aspect=keep_aspect))
    assert frames.shape == (4, 3, 24, 24) and frames.dtype == torch.float32
    assert valid.dtype == torch.bool and valid.all()
    assert 0 <= frames.min() < 0.9 and frames.max() <= 1


def test_frames_of_the_sensor_size_are_the_colored_maps(five):
    square = Recording(five.events, (3, 3))
    frames, _ = event_frames(square, FrameConfig(size=3, frames=1))
    assert np.allclose(frames, colorize(count_maps(square, frames=1)))


def test_missing_windows_are_white_and_change_nothing_else(recording):
    frames, valid = event_frames(recording, FrameConfig(events_per_frame=400, frames=3))
    more, more_valid = event_frames(recording, FrameConfig(events_per_frame=400, frames=7))
    assert valid.tolist() == [True] * 3 and more_valid.tolist() == [True] * 3 + [False] * 4
    assert torch.equal(more[:3], frames) and torch.all(more[3:] == 1)


def test_exact_multiple_leaves_no_phantom_window(recording):
    exact = Recording(recording.events[:800], recording.sensor_size)
    frames, valid = event_frames(exact, FrameConfig(events_per_frame=400, frames=3))
    assert valid.tolist() == [True, True, False] and torch.all(frames[2] == 1)


def test_fewer_events_than_frames():
    _, valid = event_frames(Recording(np.zeros(1, EVENT_DTYPE), (4, 4)), FrameConfig(size=8, frames=3))
    assert valid.sum() == 1


def test_kept_aspect_pads_with_white_in_the_middle():
    events = np.zeros(20 * 10, EVENT_DTYPE)
    events["y"], events["x"] = np.divmod(np.arange(200), 20)
    frames, _ = event_frames(Recording(events, (10, 20)), FrameConfig(size=40, frames=1, keep_aspect=True))
    red = frames[0, 0]  # every pixel has an OFF event
    assert torch.all(red[:10] == 1) and torch.all(red[30:] == 1) and torch.all(red[10:30] == 0)


def test_shrinking_keeps_thin_edges():
    events = np.zeros(96, EVENT_DTYPE)
    events["y"], events["x"] = np.arange(96), 50  # a line of one pixel
    frames, _ = event_frames(Recording(events, (96, 96)), FrameConfig(size=12, frames=1))
    assert torch.all(frames[0, 0].amin(dim=1) < 0.95)
