from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from eclip_lib.config import Color, FrameConfig
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording
from eclip_lib.frames.counting import _count_windows, count_maps, frame_maps, pack_maps
from eclip_lib.frames.drawing import colorize, event_frames, frames_from_maps
from eclip_lib.frames.windows import recording_windows, window_bounds

# (x, y, t, p): two ON at one pixel, one OFF beside it, one OFF on top of an ON, one ON below.
FIVE = [(0, 0, 10, 1), (0, 0, 20, 1), (1, 0, 30, 0), (0, 0, 40, 0), (2, 1, 50, 1)]
COLORS = get_args(Color)


@pytest.fixture
def five():
    return Recording(np.array(FIVE, EVENT_DTYPE), (2, 3))


def seeded(n=1001, sensor_size=(11, 14), seed=3, last_us=300_000):
    rng = np.random.default_rng(seed)
    events = np.empty(n, EVENT_DTYPE)
    events["x"], events["y"] = (rng.integers(0, side, n) for side in sensor_size[::-1])
    events["t"], events["p"] = np.sort(rng.integers(0, last_us, n)), rng.random(n) < 0.4
    return Recording(events, sensor_size)


@pytest.fixture
def recording():
    return seeded()


def changed(recording, **columns):
    events = recording.events.copy()
    for name, values in columns.items():
        events[name] = values
    return Recording(events, recording.sensor_size)


def naive_maps(recording, bounds):
    """Count with np.add.at, the oracle."""
    maps = np.zeros((len(bounds), 2, *recording.sensor_size), np.int64)
    for window, (start, stop) in enumerate(bounds):
        part = recording.events[start:stop]
        np.add.at(maps[window], (1 - part["p"].astype(int), part["y"], part["x"]), 1)
    return maps


@st.composite
def configs(draw):
    """Draw any valid way to cut windows, of sizes that fit recordings of some 200 events in 1 ms."""
    kind = draw(st.sampled_from(["parts", "count", "time"]))
    windows = draw(st.sampled_from(["first", "spread"]))
    free = windows == "first" and kind != "parts"
    return FrameConfig(
        size=draw(st.integers(1, 16)),
        frames=draw(st.integers(1, 6)),
        events_per_frame=draw(st.integers(1, 250)) if kind == "count" else None,
        window_us=draw(st.integers(1, 1200)) if kind == "time" else None,
        windows=windows,
        overlap=draw(st.floats(0, 1, exclude_max=True)) if free else 0.0,
        start=draw(st.integers(0, 300)),
        polarity=draw(st.sampled_from(["both", "on", "off"])),
        color=draw(st.sampled_from(COLORS)),
        keep_aspect=draw(st.booleans()),
    )


recordings = st.builds(
    seeded,
    n=st.integers(1, 220),
    sensor_size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
    last_us=st.integers(1, 1000),
)
SETTINGS = [(None, 3, "first"), (None, 5, "spread"), (300, 3, "first"), (300, 6, "first"), (300, 5, "spread")]

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
    maps = count_maps(recording, *setting)
    assert maps.dtype == np.uint16
    assert np.array_equal(maps, naive_maps(recording, window_bounds(len(recording), *setting)))


@given(recording=recordings, cfg=configs())
def test_laws_of_maps_for_every_setting(recording, cfg):
    """Naive counts, the sum, validity, flipped polarity, a mirrored recording, and a recording moved in time."""
    bounds = recording_windows(recording, cfg)
    maps, valid = frame_maps(recording, cfg)
    expected = naive_maps(recording, bounds)
    if cfg.polarity != "both":
        expected[:, 1 if cfg.polarity == "on" else 0] = 0
    assert np.array_equal(maps, expected) and maps.dtype == np.uint16
    positive = np.array([recording.events["p"][start:stop].sum() for start, stop in bounds])
    sizes = {"both": bounds[:, 1] - bounds[:, 0], "on": positive, "off": bounds[:, 1] - bounds[:, 0] - positive}[
        cfg.polarity
    ]
    assert np.array_equal(maps.sum((1, 2, 3)), sizes) and np.array_equal(valid, sizes > 0)
    opposite = {"both": "both", "on": "off", "off": "on"}[cfg.polarity]
    flipped = changed(recording, p=~recording.events["p"])
    assert np.array_equal(frame_maps(flipped, replace(cfg, polarity=opposite))[0], maps[:, ::-1])
    mirrored = changed(recording, x=recording.sensor_size[1] - 1 - recording.events["x"])
    assert np.array_equal(frame_maps(mirrored, cfg)[0], maps[..., ::-1])
    later = changed(recording, t=recording.events["t"] + 1_760_000_000_000_000)
    assert np.array_equal(frame_maps(later, cfg)[0], maps)


@given(recording=recordings, cfg=configs())
def test_on_and_off_add_up_to_both(recording, cfg):
    on, off, both = (frame_maps(recording, replace(cfg, polarity=name))[0] for name in ("on", "off", "both"))
    assert np.array_equal(on + off, both)


@pytest.mark.parametrize("huge", [2**62, 2**63 - 1, 10**30])
@pytest.mark.parametrize("name", ["events_per_frame", "window_us"])
def test_a_window_far_longer_than_the_recording_holds_all_of_it(recording, name, huge):
    for settings in ({}, {"overlap": 0.5}, {"windows": "spread"}, {"start": 1}):
        cfg = FrameConfig(**{name: huge}, frames=4, **settings)
        (maps, valid), bounds = frame_maps(recording, cfg), recording_windows(recording, cfg)
        assert np.array_equal(maps, naive_maps(recording, bounds))
        assert valid.tolist() == [True] + 3 * [settings == {"windows": "spread"}]
        assert maps[0].sum() == len(recording) - cfg.start


def test_numbers_of_events_and_frames_are_whole(recording):
    with pytest.raises(ValueError, match=r"events_per_frame = 100\.5: must be a whole number"):
        count_maps(recording, 100.5, 2)
    with pytest.raises(ValueError, match=r"frames = 2\.5: must be a whole number"):
        count_maps(recording, 100, 2.5)


@pytest.mark.parametrize("bounds", [[0, 6], [-1, 2], [3, 2], [6, 6], [-(2**62), 2**62]])
def test_a_window_outside_the_recording_never_reaches_the_compiled_loop(five, bounds):
    with pytest.raises(ValueError, match=r"window 1 is \[.*\) of 5 events"):
        _count_windows(five, np.array([[0, 5], bounds]))


def test_on_is_channel_zero():
    maps = count_maps(Recording(np.array([(1, 0, 0, True)], EVENT_DTYPE), (1, 2)), frames=1)
    assert maps[0, 0, 0, 1] == 1 and maps[0, 1].sum() == 0


def test_canvas_is_the_sensor_not_the_largest_event(five):
    assert count_maps(Recording(five.events, (20, 30))).shape == (3, 2, 20, 30)


def test_the_corners_of_the_largest_sensor_are_counted_where_they_are():
    events = np.zeros(4, EVENT_DTYPE)
    events["x"], events["y"] = [0, 32767, 0, 32767], [0, 0, 1, 1]
    maps = count_maps(Recording(events, (2, 32768)), frames=1)
    assert maps.sum() == 4 and np.all(maps[0, 1, :, [0, -1]] == 1)


def test_recording_is_not_modified(recording):
    before = recording.events.copy()
    event_frames(recording, FrameConfig())
    assert np.array_equal(recording.events, before)


def test_every_layout_of_the_events_in_memory_counts_the_same(recording):
    expected = count_maps(recording)
    twice = np.repeat(recording.events, 2)
    frozen = recording.events.copy()
    frozen.flags.writeable = False
    for events in (twice[::2], frozen):
        assert np.array_equal(count_maps(Recording(events, recording.sensor_size)), expected)


def test_count_beyond_the_type_is_an_error():
    full = Recording(np.zeros(65_535, EVENT_DTYPE), (1, 1))
    assert count_maps(full, frames=1).max() == 65_535
    with pytest.raises(ValueError, match="window 0: a pixel has more than 65535 events of one polarity; use smaller"):
        count_maps(Recording(np.zeros(65_536, EVENT_DTYPE), (1, 1)), frames=1)


def test_a_full_pixel_among_many_events_is_found_and_a_large_window_is_not_mistaken_for_one():
    events = np.zeros(200_000, EVENT_DTYPE)
    events["x"] = np.arange(200_000) % 4
    fine = Recording(events, (1, 4))
    assert np.all(count_maps(fine, frames=1)[0, 1] == 50_000)
    events = events.copy()
    events["x"][100_000:] = 3
    with pytest.raises(ValueError, match="window 1: a pixel"):
        count_maps(Recording(events, (1, 4)), 100_000, 2)


def test_packed_maps_are_the_same_in_fewer_bytes():
    small, large = np.full((1, 2, 2, 2), 255, np.uint16), np.full((1, 2, 2, 2), 256, np.uint16)
    assert pack_maps(small).dtype == np.uint8 and np.array_equal(pack_maps(small), small)
    assert pack_maps(large).dtype == np.uint16 and np.array_equal(pack_maps(large), large)


# Frames


@given(recording=recordings, cfg=configs())
def test_laws_of_frames_for_every_setting(recording, cfg):
    """Range, type, white where missing, and the mirror image of a mirrored recording."""
    frames, valid = event_frames(recording, cfg)
    assert frames.shape == (cfg.frames, 3, cfg.size, cfg.size) and frames.dtype == torch.float32
    assert valid.dtype == torch.bool and np.array_equal(valid.numpy(), frame_maps(recording, cfg)[1])
    assert frames.min() >= 0 and frames.max() <= 1 and torch.all(frames[~valid] == 1)
    mirrored = changed(recording, x=recording.sensor_size[1] - 1 - recording.events["x"])
    assume(not cfg.keep_aspect)  # an odd margin is on one side
    assert torch.allclose(event_frames(mirrored, cfg)[0], frames.flip(-1), atol=1e-5)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("keep_aspect", [False, True])
def test_frames_are_float32_in_range(recording, color, keep_aspect):
    frames, valid = event_frames(recording, FrameConfig(size=24, frames=4, color=color, keep_aspect=keep_aspect))
    assert frames.shape == (4, 3, 24, 24) and frames.dtype == torch.float32
    assert valid.dtype == torch.bool and valid.all()
    assert 0 <= frames.min() < 0.9 and frames.max() <= 1


@pytest.mark.parametrize("color", COLORS)
def test_a_batch_of_packed_maps_gives_the_frames_of_each_recording(color):
    cfg = FrameConfig(size=17, frames=3, events_per_frame=300, color=color)
    batch = [seeded(n, seed=n) for n in (1001, 500, 250)]
    counted = [frame_maps(recording, cfg) for recording in batch]
    maps, valid = (np.stack(parts) for parts in zip(*counted, strict=True))
    frames = frames_from_maps(torch.from_numpy(pack_maps(maps)), torch.from_numpy(valid), cfg)
    assert frames.shape == (3, 3, 3, 17, 17)
    for drawn, recording in zip(frames, batch, strict=True):
        assert torch.equal(drawn, event_frames(recording, cfg)[0])


@pytest.mark.gpu
@pytest.mark.parametrize("color", COLORS)
def test_a_gpu_draws_the_frames_of_the_cpu(color):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    cfg = FrameConfig(size=40, frames=4, events_per_frame=300, color=color, keep_aspect=True)
    maps, valid = (torch.from_numpy(part) for part in frame_maps(seeded(), cfg))
    assert torch.allclose(frames_from_maps(maps.cuda(), valid.cuda(), cfg).cpu(), frames_from_maps(maps, valid, cfg))


def test_frames_of_the_sensor_size_are_the_colored_maps(five):
    square = Recording(five.events, (3, 3))
    frames, _ = event_frames(square, FrameConfig(size=3, frames=1))
    assert np.allclose(frames, colorize(count_maps(square, frames=1)))


def test_missing_windows_are_white_and_change_nothing_else(recording):
    frames, valid = event_frames(recording, FrameConfig(events_per_frame=400, frames=3))
    more, more_valid = event_frames(recording, FrameConfig(events_per_frame=400, frames=7))
    assert valid.tolist() == [True] * 3 and more_valid.tolist() == [True] * 3 + [False] * 4
    assert torch.equal(more[:3], frames) and torch.all(more[3:] == 1)


@pytest.mark.parametrize("color", COLORS)
def test_a_silence_in_the_middle_is_a_missing_window(color):
    quiet = changed(seeded(3, (4, 4)), t=[0, 5, 25])
    frames, valid = event_frames(quiet, FrameConfig(window_us=10, frames=4, color=color))
    assert valid.tolist() == [True, False, True, False]
    assert torch.all(frames[[1, 3]] == 1) and frames[0].min() < 1 and frames[2].min() < 1


def test_a_window_without_the_polarity_asked_for_is_missing(five):
    cfg = FrameConfig(size=6, frames=5, events_per_frame=1, polarity="off")
    _, valid = event_frames(five, cfg)
    assert valid.tolist() == [False, False, True, True, False]


def test_exact_multiple_leaves_no_phantom_window(recording):
    exact = Recording(recording.events[:800], recording.sensor_size)
    frames, valid = event_frames(exact, FrameConfig(events_per_frame=400, frames=3))
    assert valid.tolist() == [True, True, False] and torch.all(frames[2] == 1)


def test_fewer_events_than_frames():
    _, valid = event_frames(Recording(np.zeros(1, EVENT_DTYPE), (4, 4)), FrameConfig(size=8, frames=3))
    assert valid.sum() == 1


@pytest.mark.parametrize(("color", "margin"), [("rgb", 1), ("rgb-formula", 0), ("gray-formula", 0)])
def test_kept_aspect_pads_with_the_background_in_the_middle(color, margin):
    events = np.zeros(20 * 10, EVENT_DTYPE)
    events["y"], events["x"] = np.divmod(np.arange(200), 20)
    frames, _ = event_frames(Recording(events, (10, 20)), FrameConfig(size=40, frames=1, keep_aspect=True, color=color))
    red = frames[0, 0]  # every pixel has an OFF event
    assert torch.all(red[:10] == margin) and torch.all(red[30:] == margin) and torch.all(red[10:30] != margin)


def test_shrinking_keeps_thin_edges():
    events = np.zeros(96, EVENT_DTYPE)
    events["y"], events["x"] = np.arange(96), 50  # a line of one pixel
    frames, _ = event_frames(Recording(events, (96, 96)), FrameConfig(size=12, frames=1))
    assert torch.all(frames[0, 0].amin(dim=1) < 0.95)


@pytest.mark.data
def test_real_recordings_keep_the_laws(data_folder):
    from eclip_lib.events.files import read_events

    face = read_events(data_folder / "n-caltech101" / "Faces_easy" / "image_0001.bin", (180, 240))
    for cfg in (
        FrameConfig(size=224, frames=5, events_per_frame=15_000),
        FrameConfig(size=224, frames=3, window_us=100_000),
        FrameConfig(size=224, frames=7, window_us=50_000, overlap=0.5, start=20_000),
    ):
        bounds, (maps, valid) = recording_windows(face, cfg), frame_maps(face, cfg)
        assert np.array_equal(maps, naive_maps(face, bounds)) and np.array_equal(valid, bounds[:, 1] > bounds[:, 0])
        assert valid.sum() >= 3


def test_a_polarity_made_of_foreign_bytes_counts_once():
    raw = np.zeros((3, EVENT_DTYPE.itemsize), np.uint8)
    raw[:, EVENT_DTYPE.fields["p"][1]] = [0, 1, 255]  # numpy takes any nonzero byte for True
    maps = count_maps(Recording(raw.reshape(-1).view(EVENT_DTYPE), (1, 2)), frames=1)
    assert maps.tolist() == [[[[2, 0]], [[1, 0]]]]
