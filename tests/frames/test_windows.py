import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eclip_lib.config import MOST_FRAMES, FrameConfig
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording
from eclip_lib.frames.windows import recording_windows, window_bounds


def recording_at(times):
    events = np.zeros(len(times), EVENT_DTYPE)
    events["t"] = times
    return Recording(events, (1, 1))


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
        ((10, 2**62, 4), [[0, 10], [10, 10], [10, 10], [10, 10]]),
        ((10, sys.maxsize, 2), [[0, 10], [10, 10]]),
        ((10, 10**400, 2), [[0, 10], [10, 10]]),
        ((10, 10**30, 2, "spread"), [[0, 10], [0, 10]]),
        ((2**62, 2**60 + 1, 3), [[0, 2**60 + 1], [2**60 + 1, 2**61 + 2], [2**61 + 2, 3 * 2**60 + 3]]),
        ((2**62, None, 4), [[0, 2**60], [2**60, 2**61], [2**61, 3 * 2**60], [3 * 2**60, 2**62]]),
        ((np.int32(10), np.uint8(4), np.int64(2)), [[0, 4], [4, 8]]),
    ],
)
def test_windows_by_hand(arguments, expected):
    assert window_bounds(*arguments).tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "options", "expected"),
    [
        ((10, 4, 3), {"start": 3}, [[3, 7], [7, 10], [10, 10]]),
        ((10, 4, 2), {"start": 10}, [[10, 10], [10, 10]]),
        ((10, 4, 2), {"start": 99}, [[10, 10], [10, 10]]),
        ((10, 4, 2), {"start": 10**30}, [[10, 10], [10, 10]]),
        ((10, 2**62, 2), {"start": 3, "overlap": 0.5}, [[3, 10], [10, 10]]),
        ((10, None, 2), {"start": 5}, [[5, 7], [7, 10]]),
        ((10, 4, 2, "spread"), {"start": 3}, [[3, 7], [6, 10]]),
        ((10, 4, 3), {"overlap": 0.5}, [[0, 4], [2, 6], [4, 8]]),
        ((7, 4, 4), {"overlap": 0.5}, [[0, 4], [2, 6], [4, 7], [7, 7]]),
        ((8, 4, 4), {"overlap": 0.5}, [[0, 4], [2, 6], [4, 8], [8, 8]]),  # a fourth would see 6 and 7 only again
        ((5, 3, 3), {"overlap": 0.99}, [[0, 3], [1, 4], [2, 5]]),
        ((9, 4, 3), {"overlap": 0.25, "start": 1}, [[1, 5], [4, 8], [7, 9]]),
    ],
)
def test_start_and_overlap_by_hand(arguments, options, expected):
    assert window_bounds(*arguments, **options).tolist() == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # first event at 100 us, then after 0, 5, 9, 10, 35, 36 us
        ({"window_us": 10, "frames": 4}, [[0, 3], [3, 4], [4, 4], [4, 6]]),
        ({"window_us": 10, "frames": 5}, [[0, 3], [3, 4], [4, 4], [4, 6], [6, 6]]),
        ({"window_us": 37, "frames": 2}, [[0, 6], [6, 6]]),
        ({"window_us": 36, "frames": 2}, [[0, 5], [5, 6]]),  # the last event is at 36 us, the end of the window
        ({"window_us": 10, "frames": 3, "start": 5}, [[1, 4], [4, 4], [4, 4]]),
        ({"window_us": 10, "frames": 3, "overlap": 0.5}, [[0, 3], [1, 4], [3, 4]]),
        ({"window_us": 7, "frames": 3, "windows": "spread"}, [[0, 2], [4, 4], [4, 6]]),
        ({"window_us": 99, "frames": 2, "windows": "spread"}, [[0, 6], [0, 6]]),
        ({"window_us": 10, "frames": 2, "start": 1000}, [[6, 6], [6, 6]]),
        ({"window_us": 10, "frames": 2, "start": 10**30}, [[6, 6], [6, 6]]),
        ({"window_us": 10**30, "frames": 2, "overlap": 0.5}, [[0, 6], [6, 6]]),
        ({"window_us": sys.maxsize, "frames": 2, "start": 9}, [[2, 6], [6, 6]]),
        ({"window_us": 2**62, "frames": 2, "windows": "spread"}, [[0, 6], [0, 6]]),
    ],
)
def test_windows_by_time_by_hand(settings, expected):
    recording = recording_at(100 + np.array([0, 5, 9, 10, 35, 36]))
    assert recording_windows(recording, FrameConfig(**settings)).tolist() == expected


def test_windows_by_time_hold_for_times_since_the_epoch():
    times = np.array([0, 5, 9, 10, 35, 36])
    cfg = FrameConfig(window_us=10, frames=4)
    late = recording_windows(recording_at(1_760_000_000_000_000 + times), cfg)
    assert np.array_equal(late, recording_windows(recording_at(times), cfg))


def test_windows_by_time_reach_over_all_times_that_there_are():
    recording = recording_at([-(2**63), 0, 2**63 - 1])
    cfg = FrameConfig(window_us=2**62, frames=5)
    assert recording_windows(recording, cfg).tolist() == [[0, 1], [1, 1], [1, 2], [2, 3], [3, 3]]


@pytest.mark.parametrize("n", [1, 7, 100, 75_001])
def test_equal_parts_use_every_event_once_and_differ_by_one(n):
    bounds = window_bounds(n, None, 6)
    assert (bounds[0, 0], bounds[-1, 1]) == (0, n) and np.array_equal(bounds[1:, 0], bounds[:-1, 1])
    assert np.ptp(bounds[:, 1] - bounds[:, 0]) <= 1


huge = st.integers(2**31, 10**30)
settings = st.fixed_dictionaries(
    {"frames": st.integers(1, 8), "start": st.integers(0, 60) | huge, "windows": st.sampled_from(["first", "spread"])}
)
lengths = st.none() | st.integers(1, 60) | huge
overlaps = st.floats(0, 1, exclude_max=True)


@given(n=st.integers(0, 200) | st.integers(2**31, 2**63 - 1), length=lengths, overlap=overlaps, layout=settings)
def test_laws_of_windows(n, length, overlap, layout):
    bounds = window_bounds(n, length, overlap=overlap, **layout)
    starts, stops = bounds.T
    start, sizes = min(layout["start"], n), stops - starts
    assert bounds.shape == (layout["frames"], 2) and bounds.dtype == np.int64
    assert np.all((starts >= start) & (sizes >= 0) & (stops <= n))
    assert np.all(np.diff(starts) >= 0) and np.all(np.diff(stops) >= 0)
    if length is None:
        assert sizes.sum() == n - start and np.ptp(sizes) <= 1
    elif layout["windows"] == "spread":
        assert np.all(sizes == min(length, n - start))
        assert starts[0] == start and (len(bounds) == 1 or stops[-1] == n)
    else:
        seen = sizes > 0
        assert np.all(seen[:-1] >= seen[1:]), "missing windows are the last"
        assert np.all(sizes[:-1][seen[1:]] == length), "only the last that is there may be shorter"
        assert np.all(np.diff(stops)[seen[1:]] > 0), "each sees events of its own"
        step = max(1, round(length * (1 - overlap))) if overlap else length
        assert np.all(np.diff(starts)[seen[1:]] == step)


gaps = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(gaps=gaps, window_us=st.integers(1, 60) | huge, overlap=overlaps, layout=settings)
def test_a_window_by_time_holds_the_events_of_that_time(gaps, window_us, overlap, layout):
    recording = recording_at(1000 + np.cumsum(gaps))
    cfg = FrameConfig(window_us=window_us, overlap=overlap if layout["windows"] == "first" else 0.0, **layout)
    times = recording.events["t"] - recording.events["t"][0]
    spans = window_bounds(recording.duration + 1, window_us, overlap=cfg.overlap, **layout)
    for (start, stop), (first, last) in zip(spans, recording_windows(recording, cfg), strict=True):
        inside = np.flatnonzero((times >= start) & (times < stop))
        assert np.array_equal(inside, np.arange(first, last))


@given(n=st.integers(1, 100), length=st.integers(1, 40) | huge, overlap=overlaps, layout=settings)
def test_one_event_a_microsecond_makes_time_and_count_the_same(n, length, overlap, layout):
    recording, overlap = recording_at(np.arange(n)), overlap if layout["windows"] == "first" else 0.0
    by_count = recording_windows(recording, FrameConfig(events_per_frame=length, overlap=overlap, **layout))
    by_time = recording_windows(recording, FrameConfig(window_us=length, overlap=overlap, **layout))
    assert np.array_equal(by_count, by_time)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((5, 0, 3), {}, "events_per_frame = 0: must be at least 1"),
        ((5, 1, 0), {}, "frames = 0: must be at least 1"),
        ((-1, 1, 1), {}, "n_events = -1"),
        ((5, 1, 1, "last"), {}, "windows = 'last': expected one of first, spread"),
        ((5, 1, 1), {"start": -2}, "start = -2: must be at least 0"),
        ((5, 1, 1), {"overlap": 1.0}, r"overlap = 1.0: must be at least 0 and below 1"),
        ((5, 1, 1), {"overlap": float("nan")}, "overlap = nan: must be"),
        ((5, 2.5, 1), {}, "events_per_frame = 2.5: must be a whole number"),
        ((5, 1, 1.0), {}, "frames = 1.0: must be a whole number"),
        ((5, 1, 1), {"start": "0"}, "start = '0': must be a whole number"),
        ((5.0, 1, 1), {}, "n_events = 5.0: must be a whole number"),
        ((5, 1, None), {}, "frames = None: must be a whole number"),
        ((5, True, 1), {}, "events_per_frame = True: must be a whole number"),
        ((5, 1, MOST_FRAMES + 1), {}, "frames = 1000001: must be at most 1000000"),
        ((2**63, 1, 1), {}, "n_events = 9223372036854775808: must be at most 9223372036854775807"),
    ],
)
def test_bad_windows_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        window_bounds(*arguments, **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"events_per_frame": 5, "window_us": 5}, "leave one out"),
        ({"overlap": 0.5}, "needs windows = 'first' and events_per_frame or window_us"),
        ({"overlap": 0.5, "window_us": 5, "windows": "spread"}, "needs windows = 'first'"),
        ({"overlap": 1.0, "window_us": 5}, "must be below 1"),
        ({"window_us": 0}, "window_us = 0: must be at least 1"),
        ({"start": -1}, "start = -1: must be at least 0"),
        ({"frames": 2**62}, "FrameConfig.frames = 4611686018427387904: must be at most 1000000"),
        ({"polarity": "up"}, "polarity = 'up': expected one of 'both', 'on', 'off'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        FrameConfig(**settings)
