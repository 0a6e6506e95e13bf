"""Agreement of real and simulated recordings: figures worked by hand, laws, and a fit that finds what it should."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eclip_lib.calibration import plots as calibration_plots
from eclip_lib.calibration.fitting import N_MNIST_START, camera_table, fit_camera, mismatch, moved_camera
from eclip_lib.calibration.pairs import calibration_set, caltech_pairs
from eclip_lib.calibration.profiles import (
    background_rates,
    compare,
    map_correlations,
    profile,
    record_all,
    saccade_maps,
)
from eclip_lib.calibration.tables import agreement_table, caltech_table, field_table, read_report, readable, save_report
from eclip_lib.camera.simulation import N_MNIST_CAMERA, SaccadeCamera
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import write_events
from eclip_lib.events.recording import Recording
from tests.support.figures import assert_fits_in_a_notebook

CAMERA = replace(N_MNIST_START, sensor_size=(24, 24), margin_px=2.0)


@pytest.fixture(scope="module")
def stills():
    rng = np.random.default_rng(0)
    return [np.kron(rng.choice([40, 255], (6, 6)), np.ones((3, 3))).astype(np.uint8) for _ in range(8)]


@pytest.fixture(scope="module")
def recordings(stills):
    return record_all(CAMERA, stills)


def recording(*rows, size=(2, 2)):
    return Recording(np.array(list(rows), EVENT_DTYPE), size)


# Figures worked by hand


def test_a_profile_of_four_events():
    # Two ON at one pixel 3 ms apart in the first saccade, one OFF in the second, one ON in the third.
    first = recording((0, 0, 1000, 1), (0, 0, 4000, 1), (1, 0, 121_000, 0), (1, 1, 231_000, 1))
    seen = profile([first], duration_ms=300)
    assert seen.events.tolist() == [4] and seen.on_share.tolist() == [0.75]
    assert seen.saccade_share.tolist() == [0.5, 0.25, 0.25]
    assert seen.maps[0].tolist() == [
        [[[2, 0], [0, 0]], [[0, 0], [0, 0]]],
        [[[0, 0], [0, 0]], [[0, 1], [0, 0]]],
        [[[0, 0], [0, 1]], [[0, 0], [0, 0]]],
    ]
    assert seen.rate.shape == (2, 60)
    assert seen.rate[0, [0, 46]].tolist() == [400.0, 200.0]  # 2 events and 1 in 5 ms
    assert seen.rate[1].nonzero()[0].tolist() == [24]  # 120 ms after the first event
    assert seen.gaps.nonzero()[0].tolist() == [14]  # 3 ms lies in the tenth of a decade from 2.5 to 3.2 ms


def test_times_count_from_the_first_event():
    late = recording((0, 0, 10_001_000, 1), (1, 0, 10_121_000, 0))
    assert np.argwhere(saccade_maps(late)).tolist() == [[0, 0, 0, 0], [1, 1, 0, 1]]


def test_figures_of_agreement_by_hand():
    real = profile([recording((0, 0, 0, 1), (1, 1, 120_000, 0), (0, 1, 130_000, 0), (0, 1, 240_000, 0))], 300)
    ours = profile([recording((0, 0, 0, 1), (1, 1, 120_000, 1))], 300)
    told = compare(real, ours)
    assert told["event_ratio"] == 0.5 and told["count_error"] == pytest.approx(np.log(2))
    assert told["on_share_error"] == 0.75
    assert told["saccade_share_error"] == 0.25  # 1/4, 2/4, 1/4 against 1/2, 1/2, 0
    assert told["rate_error"] == pytest.approx(4 / 4)  # one of theirs met, three missed, one of ours too many
    assert told["correlation"] == pytest.approx(1 / 6)  # the ON map of the first saccade; the others have one side flat


def test_maps_agree_with_themselves_and_not_with_their_negative():
    maps = np.random.default_rng(0).integers(0, 5, (3, 2, 2, 6, 6)).astype(np.uint16)
    assert np.allclose(map_correlations(maps, maps), 1)
    assert np.allclose(map_correlations(maps, 9 - maps), -1)
    assert np.allclose(map_correlations(maps, 3 * maps + 1), 1)
    assert not map_correlations(maps, np.zeros_like(maps)).any()


def test_a_camera_agrees_best_with_itself(stills, recordings):
    real = profile(recordings, 310)
    perfect = compare(real, real)
    assert mismatch(perfect) == pytest.approx(0, abs=1e-9)
    for change in ({"threshold_on": 0.5}, {"lag_us": 3000.0}, {"refractory_us": 6000}, {"blur_px": 1.2}):
        other = profile(record_all(replace(CAMERA, **change), stills), 310)
        assert mismatch(compare(real, other)) > 0.05


def test_recordings_of_several_sensors_are_refused():
    with pytest.raises(ValueError, match="2 recordings of the sensors"):
        profile([recording((0, 0, 0, 1)), recording((0, 0, 0, 1), size=(3, 3))], 300)
    with pytest.raises(ValueError, match="0 recordings"):
        profile([], 300)


def test_profiles_of_other_sensors_and_durations_are_not_compared(recordings):
    real = profile(recordings, 310)
    with pytest.raises(ValueError, match=r"maps of shape \(8, 3, 2, 24, 24\) against \(7, "):
        compare(real, profile(recordings[:7], 310))
    with pytest.raises(ValueError, match=r"rate of shape \(2, 62\) against \(2, 60\)"):
        compare(real, profile(recordings, 300))


# The fit


def test_a_fit_finds_a_parameter_that_was_changed(stills, recordings):
    wrong = replace(CAMERA, threshold_on=0.45)
    records = list(fit_camera(wrong, stills, recordings, {"threshold_on": 0.2}, sweeps=8))
    assert abs(np.log(records[-1]["camera"].threshold_on / CAMERA.threshold_on)) < 0.1
    assert records[-1]["correlation"] > records[0]["correlation"] - 1e-9
    steps = [record["mismatch"] for record in records]
    assert steps == sorted(steps, reverse=True) and steps[-1] < 0.1


def test_a_fit_of_the_path_finds_its_way_back(stills, recordings):
    wrong = moved_camera(CAMERA, "path.1.1", 1.0)
    *_, last = fit_camera(wrong, stills, recordings, {"path.1.1": 0.5}, sweeps=6)
    assert abs(last["camera"].path[1][1] - CAMERA.path[1][1]) < 0.3


def test_a_fit_without_a_sweep_is_refused(stills, recordings):
    with pytest.raises(ValueError, match="sweeps = 0: must be at least 1"):
        next(fit_camera(CAMERA, stills, recordings, {}, sweeps=0))


def test_a_move_that_makes_no_camera_is_none():
    assert moved_camera(CAMERA, "path.1.0", 500.0) is None  # times would not increase
    assert moved_camera(CAMERA, "black_level", 9.0) is None
    assert moved_camera(CAMERA, "refractory_us", 0.5).refractory_us == round(CAMERA.refractory_us * np.exp(0.5))


def test_background_is_counted_where_nothing_is_near():
    camera = replace(CAMERA, sensor_size=(60, 60), noise_on_hz=3.0, noise_off_hz=1.0, margin_px=0.0)
    still = np.full((60, 60), 255, np.uint8)
    still[:10, :10] = 0
    stills = [still] * 20
    on, off = background_rates(camera, stills, record_all(camera, stills))
    assert abs(on - 3) < 0.1 and abs(off - 1) < 0.1
    with pytest.raises(ValueError, match="take a smaller reach"):
        background_rates(camera, [np.eye(60, dtype=np.uint8) * 255], record_all(camera, stills[:1]), reach=59)


def test_only_fields_that_differ_are_listed():
    rows = camera_table({"a": CAMERA, "b": replace(CAMERA, lag_us=7.0)})
    assert rows == [{"field": "lag_us", "a": CAMERA.lag_us, "b": 7.0}]
    moved = replace(CAMERA, path=((0, 1, -2), (50, 0.123, 3)), refractory_us=7)
    table = field_table({"a": CAMERA, "b": moved}).set_index("field")["b"]
    assert table.to_dict() == {"path": "0 ms +1.00 -2.00; 50 ms +0.12 +3.00", "refractory_us": "7"}


# What it is calibrated on


def test_the_stand_in_is_simulated_and_halved_without_overlap():
    pairs = calibration_set(None)
    assert not pairs.real and "simulated" in pairs.name
    assert not set(pairs.fit) & set(pairs.held_out)
    assert len(pairs.fit) + len(pairs.held_out) == len(pairs.stills) == len(pairs.recordings)
    assert set(pairs.labels[pairs.fit]) == set(pairs.labels)
    assert [len(pairs.fitting(n)) for n in (0, 1, 7, 15, 30, 99)] == [1, 1, 7, 15, 30, 30]
    assert set(pairs.fitting(7)) <= set(pairs.fit) and pairs.fitting(15).tolist() == pairs.fit[::2].tolist()
    stills, labels = pairs.spare(10, 0)
    known = {still.tobytes() for still in pairs.stills}
    assert len(stills) == len(labels) == 10 and not any(still.tobytes() in known for still in stills)


@pytest.mark.data
def test_n_mnist_is_paired_with_its_own_stills(data_folder):
    pairs = calibration_set(str(data_folder / "n-mnist"))
    assert pairs.real and len(pairs.stills) == 1000 and len(set(pairs.folds)) == 5
    some = pairs.held_out[::25]
    stills, recordings = pairs.pairs(some)
    real = profile(recordings, 310)
    own = profile(record_all(N_MNIST_START, stills), 310)
    others = profile(record_all(N_MNIST_START, stills[1:] + stills[:1]), 310)
    assert compare(real, own)["correlation"] > compare(real, others)["correlation"] + 0.2
    spare, labels = pairs.spare(50, 1)
    known = {still.tobytes() for still in pairs.stills}
    assert len(spare) == len(labels) == 50 and not any(still.tobytes() in known for still in spare)


@pytest.mark.data
def test_the_defaults_reach_the_goals_on_recordings_that_did_not_fit_them(data_folder):
    pairs = calibration_set(str(data_folder / "n-mnist"))
    stills, recordings = pairs.pairs(pairs.held_out)
    told = compare(profile(recordings, 310), profile(record_all(N_MNIST_CAMERA, stills), 310))
    assert abs(told["event_ratio"] - 1) < 0.15
    assert abs(told["on_share_error"]) < 0.03
    assert told["correlation"] > 0.5


def a_pair(folder):
    Image.fromarray(np.full((90, 120, 3), 200, np.uint8)).save(folder / "still.png")
    rows = [(0, 0, 0, 1), (110, 82, 5, 0)]
    write_events(folder / "a.bin", Recording(np.array(rows, EVENT_DTYPE), (180, 240)))
    (folder / "pairs.csv").write_text("image,file,class\nstill.png,a.bin,cup\n")  # in any order
    return str(folder / "pairs.csv")


def test_a_csv_of_pairs_gives_the_recorded_part_of_the_sensor(tmp_path):
    ((title, still, recording, camera),) = caltech_pairs(a_pair(tmp_path), SaccadeCamera())
    assert title == "cup (a.bin)" and still.shape == (90, 120, 3)
    assert recording.sensor_size == camera.sensor_size == (83, 111) and camera.margin_px == -3.5
    assert len(caltech_table(str(tmp_path / "pairs.csv"), {"a": SaccadeCamera(), "b": SaccadeCamera(lag_us=9.0)})) == 2


def test_a_bad_csv_of_pairs_is_named(tmp_path):
    (tmp_path / "pairs.csv").write_text("file,image\na.bin,b.png\n")
    with pytest.raises(ValueError, match=r"pairs\.csv: has no column class"):
        caltech_pairs(str(tmp_path / "pairs.csv"), SaccadeCamera())
    (tmp_path / "pairs.csv").write_text("file,class,image\ngone.bin,cup,b.png\n")
    with pytest.raises(FileNotFoundError, match=r"pairs\.csv, line 2: no file gone\.bin in"):
        caltech_pairs(str(tmp_path / "pairs.csv"), SaccadeCamera())
    a_pair(tmp_path)
    (tmp_path / "pairs.csv").write_text("file,class,image\na.bin,cup,\n")
    with pytest.raises(ValueError, match=r"pairs\.csv, line 2: names no file"):
        caltech_pairs(str(tmp_path / "pairs.csv"), SaccadeCamera())
    (tmp_path / "pairs.csv").write_text("file,class,image\na.bin,cup,a.bin\n")
    with pytest.raises(ValueError, match=r"a\.bin: not an image"):
        caltech_pairs(str(tmp_path / "pairs.csv"), SaccadeCamera())


# Tables and figures


def test_a_report_comes_back_as_it_was_written(tmp_path, stills, recordings):
    real = profile(recordings, 310)
    table = agreement_table(real, {"a": real, "b": profile(record_all(replace(CAMERA, lag_us=900.0), stills), 310)})
    save_report({"held out": table}, {"data": "x"}, 1.0, tmp_path / "r.json")
    back = read_report(tmp_path / "r.json")["held out"]
    pd.testing.assert_frame_equal(back, table)
    assert readable(back)["ratio"][0] == "1.00" and readable(back)["map correlation"][0] == "1.00"
    (tmp_path / "r.json").write_text("[]")
    with pytest.raises(ValueError, match=r"r\.json: not a report"):
        read_report(tmp_path / "r.json")
    with pytest.raises(FileNotFoundError, match="notebook 02 writes one"):
        read_report(tmp_path / "gone.json")


def test_figures_have_titles_and_legends_and_fit_in_a_notebook(stills, recordings):
    real = profile(recordings, 310)
    pictures = [
        calibration_plots.agreement(real, {"start": real, "fitted": real}),
        calibration_plots.map_pairs(real.maps[:3], real.maps[:3], stills[:3]),
        calibration_plots.fit_curve([{"sweep": 1, "mismatch": 1.0, "correlation": 0.2}]),
    ]
    for picture in pictures:
        assert_fits_in_a_notebook(picture)
    assert [text.get_text() for text in pictures[0].legends[0].get_texts()] == ["real", "start", "fitted"]
