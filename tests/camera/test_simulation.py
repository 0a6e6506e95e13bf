import json
from dataclasses import replace
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
from PIL import Image

from eclip_lib.camera.gaze import triangle_path
from eclip_lib.camera.simulation import SaccadeCamera
from eclip_lib.events.files import read_events
from eclip_lib.frames.counting import count_maps

# What follows from the physics is tested on a plain camera, whatever the defaults are fitted to.
CAMERA = SaccadeCamera(
    sensor_size=(48, 48),
    path=triangle_path(4.0, 100.0),
    threshold_on=0.3,
    threshold_off=0.3,
    threshold_mismatch=0.03,
    refractory_us=1000,
    lag_us=0.0,
    noise_on_hz=0.05,
    noise_off_hz=0.05,
    black_level=0.1,
    blur_px=0.6,
)
QUIET = replace(CAMERA, noise_on_hz=0.0, noise_off_hz=0.0)


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
    camera = replace(CAMERA, noise_on_hz=4.0, noise_off_hz=1.0)
    expected = 5.0 * 48 * 48 * 0.3
    recording = camera.record(np.full((48, 48), 255, np.uint8))
    assert abs(len(recording) - expected) < 5 * np.sqrt(expected)
    assert abs(recording.events["p"].mean() - 0.8) < 0.03


def test_blank_still_without_noise_is_an_error():
    with pytest.raises(ValueError, match=r"the still is blank.*noise_on_hz"):
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
        {"path": triangle_path(2.0, 100.0)},
        {"noise_on_hz": 0.0},
        {"lag_us": 20_000.0},
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
    camera = replace(CAMERA, step_us=7001, path=triangle_path(4.0, 33.3))
    assert camera.record(square()).events["t"][-1] <= camera.duration_us == 99_900


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


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16"])
def test_pil_images_of_any_mode_and_files_are_taken(tmp_path, mode):
    gray = Image.fromarray(square(255, 0)[..., 0])
    image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257) if mode == "I;16" else gray.convert(mode)
    events = CAMERA.record(image).events
    assert abs(len(events) / len(CAMERA.record(gray).events) - 1) < 0.05
    suffix = ".tif" if mode == "CMYK" else ".png"
    image.save(tmp_path / f"still{suffix}")
    assert np.array_equal(CAMERA.record(tmp_path / f"still{suffix}").events, events)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_images_whose_white_is_not_known_are_refused(tmp_path, mode):
    image = Image.fromarray(square(255, 0)[..., 0]).convert(mode)
    with pytest.raises(ValueError, match=f"mode {mode} has no known white; scale"):
        CAMERA.record(image)
    image.save(tmp_path / "still.tif")
    with pytest.raises(ValueError, match=r"still\.tif: .*has no known white"):
        CAMERA.record(tmp_path / "still.tif")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png: no such image"):
        CAMERA.record(str(tmp_path / "gone.png"))


@pytest.mark.parametrize(
    ("still", "message"),
    [
        (np.zeros((8, 8)), r"a still of float64\[8, 8\]: expected uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8\[8, 8, 4\].*convert\('RGB'\)"),
        (np.zeros(8, np.uint8), r"uint8\[8\]"),
        (np.zeros((0, 8, 3), np.uint8), "has no pixels"),
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
        ({"lag_us": "100"}, "lag_us = '100': expected float"),
        ({"surround": 1.5}, "surround = 1.5: must be at most 1"),
        ({"threshold_on": float("nan")}, "threshold_on = nan: must be a finite number"),
        ({"threshold_off": float("inf")}, "threshold_off = inf: must be a finite number"),
        ({"margin_px": float("-inf")}, "margin_px = -inf: must be a finite number"),
        ({"margin_px": -1e9}, "margin_px = -1000000000.0: .* below -4096"),
        ({"noise_on_hz": 1e12}, "noise_on_hz = 1000000000000.0: must be at most 100000"),
        ({"margin_px": 48.0}, r"margin_px = 48.0: leaves no room for a still on \(96, 96\) pixels"),
        ({"path": ((0, 1, 2),)}, "at least two rows"),
        ({"path": ((0, 1, 2), (0, 3, 4))}, r"times \[0.0, 0.0\] ms: .*each later than the one before"),
        ({"path": ((0, 1), (1, 2))}, r"path\[0\] = \(0.0, 1.0\): expected \(milliseconds"),
        ({"path": ((0, 1, np.nan), (1, 2, 3))}, r"path\[0\] = .*nan"),
        ({"path": "triangle"}, "path = 'triangle': expected rows"),
        ({"path": 5.0}, "path = 5.0: expected rows"),
        ({"path": [["a", 1, 2], [1, 2, 3]]}, "expected rows"),
        ({"path": ((0, 0, 0), (0.0001, 1, 1))}, "path lasts 0.0001 ms: expected 0.1 to"),
        ({"path": ((0, 0, 0), (100, 1e6, 0))}, "at most 4096 pixels"),
    ],
)
def test_bad_field_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        SaccadeCamera(**change)


def test_fields_survive_a_config_file():
    camera = SaccadeCamera(sensor_size=(34, 34), noise_on_hz=0.3)
    assert SaccadeCamera.from_dict(camera.to_dict()) == camera


# The camera's own motion, and what it looks at


def test_a_still_that_fills_the_view_shows_no_frame():
    dark = replace(QUIET, surround=1.0).record(np.pad(square(255, 40), 0) // 2 + 20)
    framed = replace(QUIET, margin_px=4.0).record(square(255, 40) // 2 + 20)
    edge = count_maps(framed, frames=1)[0].sum(0)
    assert edge[:8].sum() > 20 * max(1, count_maps(dark, frames=1)[0].sum(0)[:4].sum())


def test_the_surround_is_as_light_as_it_is_said_to_be():
    still = np.zeros((40, 40), np.uint8)
    camera = replace(QUIET, margin_px=4.0)
    assert len(camera.record(still)) > 1000
    with pytest.raises(ValueError, match="the still is blank"):
        replace(camera, surround=0.0).record(still)  # black on black


def test_beyond_the_edge_of_the_view_the_still_goes_on():
    # Bars reach the border: with a view inside the still they go on, repeated borders would smear them out.
    still = np.where(np.arange(60) // 3 % 2, 40, 255).astype(np.uint8)[:, None].repeat(60, 1)
    inside = count_maps(replace(QUIET, margin_px=-6.0).record(still), frames=1)[0].sum(0)
    assert inside[0].mean() > 0.5 * inside[20:28].mean()


def test_a_straight_path_moves_at_constant_speed_and_shifts_the_outline():
    still = square(255, 40)
    camera = replace(QUIET, path=((0, 0, 0), (100, 0, -8)), rests=False)
    events = camera.record(still).events
    middle = events[(events["y"] > 16) & (events["y"] < 30) & (events["x"] > 28)]
    position = [middle["x"][(middle["t"] // 25_000) == quarter].mean() for quarter in range(4)]
    assert np.allclose(np.diff(position), 2.0, atol=0.5)  # the gaze goes 8 pixels left, so the still 8 to the right


def test_the_gaze_rests_at_its_rows():
    events = replace(QUIET, path=((0, 0, 0), (100, 0, -8))).record(square()).events
    assert np.mean((events["t"] > 25_000) & (events["t"] < 75_000)) > 0.75
    steady = replace(QUIET, path=((0, 0, 0), (100, 0, -8)), rests=False).record(square()).events
    assert abs(np.mean((steady["t"] > 25_000) & (steady["t"] < 75_000)) - 0.5) < 0.1


def test_a_path_may_be_an_array_and_survives_a_config_file():
    camera = SaccadeCamera(path=np.array([[0, 0, 0], [50, 1.5, 2]]), rests=False)
    assert camera.path == ((0.0, 0.0, 0.0), (50.0, 1.5, 2.0))
    assert SaccadeCamera.from_dict(json.loads(json.dumps(camera.to_dict()))) == camera
    assert camera.duration_us == 50_000


def test_lag_delays_the_events_most_of_all_in_the_dark():
    def mean_time(lag, light):
        camera = replace(QUIET, lag_us=lag, path=((0, 0, 0), (40, 0, -8)), rests=False, black_level=0.001)
        return camera.record(square(255 * light // 100, 40 * light // 100)).events["t"].mean()

    bright, dark = (mean_time(500.0, light) - mean_time(0.0, light) for light in (100, 40))
    assert 100 < bright < dark


# Against the real thing


@pytest.mark.data
def test_simulated_n_caltech101_looks_like_the_real_recording(data_folder):
    real = read_events(data_folder / "n-caltech101/Faces_easy/image_0001.bin", (180, 240))
    still = np.asarray(Image.open(data_folder / "caltech101/101_ObjectCategories/Faces_easy/image_0001.jpg"))
    simulated = SaccadeCamera(sensor_size=(173, 149), margin_px=-3.5).record(still)
    assert 0.25 < len(simulated) / len(real) < 4
    assert abs(simulated.events["p"].mean() - real.events["p"].mean()) < 0.05
    shares = [np.histogram(r.events["t"], 6, (0, 300_000))[0] / len(r) for r in (simulated, real)]
    assert np.abs(shares[0] - shares[1]).sum() < 0.5
