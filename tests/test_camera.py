import os
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eclip_lib.camera import SaccadeCamera
from eclip_lib.ecm import count_maps
from eclip_lib.events import read_events

CAMERA = SaccadeCamera(sensor_size=(48, 48))
QUIET = replace(CAMERA, noise_hz=0.0)


def square(background=255, foreground=40, size=48):
    still = np.full((size, size, 3), background, np.uint8)
    still[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = foreground
    return still


@pytest.fixture(scope="module")
def recording():
    return CAMERA.record(square())


# Repeatability


def test_same_seed_same_events_also_among_threads(recording):
    with ThreadPool(2) as pool:
        others = pool.map(lambda _: CAMERA.record(square()), range(4))
    assert all(np.array_equal(other.events, recording.events) for other in others)


def test_other_seed_other_events(recording):
    other = CAMERA.record(square(), seed=1)
    assert not np.array_equal(other.events, recording.events)
    assert 0.9 < len(other) / len(recording) < 1.1


def test_still_is_not_modified():
    still = square()
    still.flags.writeable = False
    CAMERA.record(still)
    assert np.array_equal(still, square())


# What the camera sees


def test_recording_keeps_the_contract(recording):
    t = recording.events["t"]
    assert recording.sensor_size == (48, 48)
    assert t[0] >= 0 and t[-1] <= CAMERA.duration_us == 300_000 and np.all(np.diff(t) >= 0)
    assert len(np.unique(t % CAMERA.step_us)) > 300  # times are finer than the steps


def test_all_three_saccades_have_events_of_both_polarities_in_like_numbers(recording):
    saccade = np.minimum(recording.events["t"] // 100_000, 2)
    assert np.all(np.bincount(saccade) > 0.15 * len(recording))
    assert 0.35 < recording.events["p"].mean() < 0.65


def test_events_form_the_outline(recording):
    hits = count_maps(recording, frames=1)[0].sum(0)
    outline = np.ones((48, 48), bool)
    outline[17:31, 17:31] = False  # inside
    outline[:7], outline[41:], outline[:, :7], outline[:, 41:] = False, False, False, False
    assert hits[outline].sum() > 0.9 * hits.sum()


def test_uniform_still_gives_only_noise():
    camera = replace(CAMERA, noise_hz=5.0)
    expected = 5.0 * 48 * 48 * 0.3
    recording = camera.record(np.full((48, 48), 130, np.uint8))
    assert abs(len(recording) - expected) < 5 * np.sqrt(expected)
    assert 0.4 < recording.events["p"].mean() < 0.6


def test_blank_still_without_noise_is_an_error():
    with pytest.raises(ValueError, match=r"the still is blank.*noise_hz"):
        QUIET.record(np.full((48, 48, 3), 255, np.uint8))


def test_edge_weaker_than_the_threshold_fires_some_pixels_once_or_twice():
    camera = replace(QUIET, blur_px=0.0, black_level=0.001)
    still = np.full((48, 48), 255, np.uint8)
    still[:, 24:] = round(255 * np.exp(-0.2 / camera.gamma))  # 0.2 in log intensity, thresholds are 0.3
    hits = count_maps(camera.record(still), frames=1)[0].sum(0)[:, 22:26]
    assert 0.1 < np.mean(hits > 0) < 0.9 and hits.max() <= 2


def test_brightening_gives_on_and_darkening_off_where_the_gaze_moves():
    # The third saccade moves the gaze left, so the square moves right: its left edge brightens, its right one darkens.
    events = QUIET.record(square()).events
    third = events[(events["t"] > 215_000) & (events["y"] > 16) & (events["y"] < 30)]
    left, right = third[third["x"] < 20]["p"], third[third["x"] > 28]["p"]
    assert len(left) > 50 and len(right) > 50
    assert left.mean() > 0.95 and right.mean() < 0.05


def test_third_saccade_is_horizontal():
    still = np.full((48, 48), 255, np.uint8)
    still[24:] = 40  # one horizontal edge
    t = QUIET.record(still).events["t"]
    assert np.mean(t > 201_000) < 0.01 < np.mean(t < 100_000)


def test_motion_is_slow_at_the_ends_of_a_saccade(recording):
    phase = recording.events["t"] % 100_000
    assert np.mean((phase > 25_000) & (phase < 75_000)) > 0.7


def test_inverting_a_still_mostly_inverts_its_edges():
    dark, bright = QUIET.record(square()), QUIET.record(square(40, 255))
    on_dark, on_bright = count_maps(dark)[:, 0].sum(0), count_maps(bright)[:, 1].sum(0)
    assert np.corrcoef(on_dark.ravel(), on_bright.ravel())[0, 1] > 0.8


# Parameters


@pytest.mark.parametrize(
    "change",
    [
        {"threshold_on": 0.6, "threshold_off": 0.6},
        {"refractory_us": 20_000},
        {"black_level": 0.5},
        {"amplitude_px": 2.0},
        {"noise_hz": 0.0},
    ],
)
def test_fewer_events_with(recording, change):
    assert len(replace(CAMERA, **change).record(square())) < len(recording)


def test_higher_on_threshold_leaves_fewer_on():
    default, high = QUIET.record(square()), replace(QUIET, threshold_on=0.6).record(square())
    assert high.events["p"].sum() < 0.7 * default.events["p"].sum()


@pytest.mark.parametrize("refractory", [300, 1000, 1700, 15_000])
def test_refractory_period_is_kept(refractory):
    events = replace(QUIET, refractory_us=refractory, threshold_on=0.05, threshold_off=0.05).record(square()).events
    for_pixel = np.lexsort((events["t"], events["x"], events["y"]))
    site = events["y"][for_pixel].astype(int) * 48 + events["x"][for_pixel]
    gaps = np.diff(events["t"][for_pixel])[np.diff(site) == 0]
    assert gaps.min() >= refractory - 1  # times are cut to whole microseconds


def test_without_refractory_period_a_pixel_counts_its_thresholds():
    camera = replace(QUIET, refractory_us=0, threshold_mismatch=0.0, blur_px=0.0, threshold_on=0.01, threshold_off=0.01)
    still = np.full((48, 48), 255, np.uint8)
    still[:, 24:] = 0  # a pixel beside this edge goes from white to black and back once
    on, off = count_maps(camera.record(still), frames=1)[0]
    full_swing = -np.log(camera.black_level) / 0.01
    assert abs(on.max() - full_swing) <= 2 and abs(off.max() - full_swing) <= 2


def test_finer_steps_change_little():
    coarse, fine = QUIET.record(square()), replace(QUIET, step_us=100).record(square())
    assert abs(len(coarse) - len(fine)) < 0.02 * len(coarse)


def test_step_need_not_divide_the_duration():
    assert replace(CAMERA, step_us=7001, saccade_ms=33.3).record(square()).events["t"][-1] <= 99_900


def test_mismatch_makes_pixels_differ():
    still = np.full((48, 48), 255, np.uint8)
    still[:, 24:] = 40  # every row sees the same edge
    rows = [
        count_maps(replace(QUIET, threshold_mismatch=m).record(still), frames=1).sum((0, 1, 3))[6:-6]
        for m in (0.0, 0.1)
    ]
    assert np.var(rows[1]) > np.var(rows[0])


# Stills of every shape


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (300, 200, 3), (1, 1), (1, 500, 3)])
def test_any_shape_fits_the_sensor(shape):
    camera = SaccadeCamera(sensor_size=(30, 40))
    assert camera.record(np.zeros(shape, np.uint8)).sensor_size == (30, 40)


def test_aspect_is_kept_on_white():
    hits = count_maps(QUIET.record(np.zeros((48, 16), np.uint8)), frames=1)[0].sum(0)
    columns = np.flatnonzero(hits.sum(0))
    assert columns[0] >= 16 - 5 and columns[-1] < 32 + 5


def test_gray_and_rgb_of_the_same_gray_agree():
    assert np.array_equal(QUIET.record(square()[..., 0]).events, QUIET.record(square()).events)


def test_pil_image_is_taken():
    assert np.array_equal(CAMERA.record(Image.fromarray(square())).events, CAMERA.record(square()).events)


@pytest.mark.parametrize(
    ("still", "message"),
    [
        (np.zeros((8, 8)), r"a still of float64\[8, 8\]: expected uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8\[8, 8, 4\].*convert\('RGB'\)"),
        (np.zeros(8, np.uint8), r"uint8\[8\]"),
        (np.zeros((0, 8, 3), np.uint8), "has no pixels"),
        ("still.png", "a still of <U9"),
        (None, "a still of object"),
    ],
)
def test_bad_still_is_named(still, message):
    with pytest.raises(ValueError, match=message):
        CAMERA.record(still)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold_on": 0.0}, "threshold_on = 0.0: must be at least 0.01"),
        ({"sensor_size": (48,)}, r"sensor_size = \(48,\): expected \(height, width\)"),
        ({"sensor_size": (0, 4)}, r"sensor_size = \(0, 4\)"),
        ({"black_level": 1.0}, "black_level = 1.0: must be below 1"),
        ({"step_us": 0}, "step_us = 0: must be at least 1"),
        ({"saccade_ms": "100"}, "saccade_ms = '100': expected float"),
    ],
)
def test_bad_field_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        SaccadeCamera(**change)


def test_fields_survive_a_config_file():
    camera = SaccadeCamera(sensor_size=(34, 34), noise_hz=0.3)
    assert SaccadeCamera.from_dict(camera.to_dict()) == camera


# Against the real thing


@pytest.mark.data
def test_simulated_n_caltech101_looks_like_the_real_recording():
    folder = os.environ.get("ECLIP_TEST_DATA")
    if not folder:
        pytest.skip("ECLIP_TEST_DATA names no folder of real recordings")
    real = read_events(Path(folder) / "n-caltech101/Faces_easy/image_0001.bin", (180, 240))
    still = np.asarray(Image.open(Path(folder) / "caltech101/101_ObjectCategories/Faces_easy/image_0001.jpg"))
    simulated = SaccadeCamera(sensor_size=(180, 240)).record(still)
    assert 0.25 < len(simulated) / len(real) < 4
    assert abs(simulated.events["p"].mean() - real.events["p"].mean()) < 0.05
    shares = [np.histogram(r.events["t"], 6, (0, 300_000))[0] / len(r) for r in (simulated, real)]
    assert np.abs(shares[0] - shares[1]).sum() < 0.5
