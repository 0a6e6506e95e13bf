import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eclip_lib.events.array import EVENT_DTYPE, check_events
from eclip_lib.events.files import read_events, write_events
from eclip_lib.events.recording import Recording

N_CALTECH_SENSOR, N_MNIST_SENSOR = (180, 240), (34, 34)


def events_of(*rows):
    return np.array(list(rows), EVENT_DTYPE)


@pytest.fixture
def recording():
    rng = np.random.default_rng(7)
    events = np.empty(1000, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(0, 40, 1000), rng.integers(0, 30, 1000)
    events["t"], events["p"] = np.sort(rng.integers(0, 300_000, 1000)), rng.random(1000) < 0.5
    return Recording(events, (30, 40))


@pytest.fixture
def test_data():
    folder = os.environ.get("ECLIP_TEST_DATA")
    if not folder:
        pytest.skip("ECLIP_TEST_DATA names no folder of real recordings")
    return Path(folder)


def same(a, b):
    return a.sensor_size == b.sensor_size and np.array_equal(a.events, b.events)


# The contract


def test_recording_knows_its_length_and_duration():
    recording = Recording(events_of((0, 0, 100, 1), (1, 0, 100, 0), (1, 1, 350, 1)), (2, 2))
    assert (len(recording), recording.duration, recording.sensor_size) == (3, 250, (2, 2))


def test_recording_of_one_event_lasts_no_time():
    assert Recording(events_of((0, 0, 9, 1)), (1, 1)).duration == 0


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (events_of((0, 0, 0, 1), (4, 0, 1, 1)), r"event 1 has x = 4, outside 0 to 3"),
        (events_of((0, -1, 0, 1)), r"event 0 has y = -1, outside 0 to 2"),
        (events_of((0, 3, 0, 1)), r"event 0 has y = 3, outside 0 to 2"),
        (events_of((0, 0, 5, 1), (0, 0, 5, 1), (0, 0, 4, 1)), r"event 2 has t = 4 us, before event 1 at 5 us; sort"),
        (events_of(), r"no events at all"),
        (np.zeros((3, 4)), r"float64\[3, 4\] is no 1-D array of events"),
        (np.zeros((2, 2), EVENT_DTYPE), r"is no 1-D array of events"),
        ([(0, 0, 0, 1)], r"list is no 1-D array of events"),
    ],
)
def test_what_breaks_the_contract_is_named(events, message):
    with pytest.raises(ValueError, match=f"^here: .*{message}"):
        check_events(events, (3, 4), source="here")


@pytest.mark.parametrize("size", [None, (3,), (3, 4, 2), (3.0, 4), (0, 4), (3, 40_000), "ab"])
def test_sensor_size_must_be_two_positive_integers(size):
    with pytest.raises(ValueError, match="sensor_size"):
        check_events(events_of((0, 0, 0, 1)), size)


# Our own files


@pytest.mark.parametrize("name", ["a.npz", "a.bin", "A.NPZ"])
def test_round_trip_changes_nothing(tmp_path, recording, name):
    before = recording.events.copy()
    write_events(tmp_path / name, recording)
    assert same(read_events(tmp_path / name, recording.sensor_size), recording)
    assert np.array_equal(recording.events, before)
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing temporary stays


def test_compact_file_holds_its_sensor_and_is_small(tmp_path, recording):
    write_events(tmp_path / "a.npz", recording)
    assert same(read_events(tmp_path / "a.npz"), recording)
    assert (tmp_path / "a.npz").stat().st_size < 1000 * 6.2 + 1500


def test_writing_replaces_a_file(tmp_path, recording):
    path = tmp_path / "a.npz"
    write_events(path, Recording(recording.events[:10], recording.sensor_size))
    write_events(path, recording)
    assert len(read_events(path)) == 1000


def test_failed_write_keeps_the_old_file(tmp_path, recording):
    path = tmp_path / "a.bin"
    write_events(path, recording)
    with pytest.raises(ValueError, match=r"a\.bin: .*coordinates up to 255.*\.npz"):
        write_events(path, Recording(recording.events, (480, 640)))
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert len(read_events(path, (30, 40))) == 1000


@st.composite
def recordings(draw):
    height, width = draw(st.integers(1, 700)), draw(st.integers(1, 32768))
    t = sorted(draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 10**7), min_size=1, max_size=40)))
    rows = [(draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1)), at, draw(st.booleans())) for at in t]
    return Recording(events_of(*rows), (height, width))


@settings(max_examples=80, deadline=None)
@given(recordings())
def test_any_recording_survives_the_compact_file(tmp_path_factory, recording):
    path = tmp_path_factory.mktemp("compact") / "a.npz"
    write_events(path, recording)
    assert same(read_events(path), recording)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 9_000_000), min_size=1, max_size=30), st.integers(0, 2**32))
def test_atis_file_is_lossless_or_refused(tmp_path_factory, gaps, seed):
    rng = np.random.default_rng(seed)
    x, y, p = rng.integers(0, 240, len(gaps)), rng.integers(0, 180, len(gaps)), rng.random(len(gaps)) < 0.5
    rows = zip(x, y, np.cumsum(gaps), p, strict=True)
    recording = Recording(events_of(*rows), N_CALTECH_SENSOR)
    path = tmp_path_factory.mktemp("atis") / "a.bin"
    try:
        write_events(path, recording)
    except ValueError as error:
        assert "silences" in str(error) and max(gaps) > 1 << 22
    else:
        assert same(read_events(path, N_CALTECH_SENSOR), recording)


def test_atis_file_cannot_hold_negative_times(tmp_path):
    with pytest.raises(ValueError, match="event 0 has t = -5 us"):
        write_events(tmp_path / "a.bin", Recording(events_of((0, 0, -5, 1)), (2, 2)))


@pytest.mark.parametrize(("name", "message"), [("a.txt", "a .txt file|.txt files"), ("a", "suffixless")])
def test_unknown_suffix_is_refused_when_writing(tmp_path, recording, name, message):
    with pytest.raises(ValueError, match=message):
        write_events(tmp_path / name, recording)


def test_writing_needs_the_folder(tmp_path, recording):
    with pytest.raises(FileNotFoundError, match="create it first"):
        write_events(tmp_path / "nowhere" / "a.npz", recording)


# Formats of others


@pytest.mark.parametrize("name", ["a.bin", "a.npy"])
def test_formats_without_a_header_need_the_sensor(tmp_path, name):
    np.save(tmp_path / "a.npy", np.zeros((1, 4)))
    (tmp_path / "a.bin").write_bytes(bytes(5))
    with pytest.raises(ValueError, match=r"sensor_size=.*\(34, 34\) for N-MNIST, \(180, 240\) for N-Caltech101"):
        read_events(tmp_path / name)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_est_array_by_hand(tmp_path, kind):
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3e-5, 1], [239, 179, 0.29639, -1]], kind))
    expected = events_of((1, 2, 30, True), (239, 179, 296390, False))
    assert np.array_equal(read_events(tmp_path / "a.npy", N_CALTECH_SENSOR).events, expected)


N_IMAGENET_FIELDS = [("x", "u2"), ("y", "u2"), ("t", "u4"), ("p", "?")]


@pytest.mark.parametrize("polarity", ["?", "u1", "i1", "f4"])
def test_n_imagenet_archive_by_hand(tmp_path, polarity):
    data = np.array([(639, 479, 5, 1), (0, 0, 9, 0)], [*N_IMAGENET_FIELDS[:3], ("p", polarity)])
    np.savez(tmp_path / "a.npz", event_data=data)
    recording = read_events(tmp_path / "a.npz")
    assert same(recording, Recording(events_of((639, 479, 5, True), (0, 0, 9, False)), (480, 640)))


def test_n_imagenet_sensor_can_be_given(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", event_data=np.array([(3, 3, 5, 1)], N_IMAGENET_FIELDS))
    assert read_events(tmp_path / "a.npz", (4, 4)).sensor_size == (4, 4)


def test_reading_leaves_the_file_alone(tmp_path, recording):
    write_events(tmp_path / "a.npz", recording)
    before = (tmp_path / "a.npz").read_bytes()
    read_events(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == before


# Bad files


def est(**changes):
    table = np.array([[1.0, 2, 0.1, 1], [1, 2, 0.2, 1], [1, 2, 0.3, -1]])
    for column, value in changes.items():
        table[1, "xytp".index(column)] = value
    return table


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (est(x=np.nan), "event 1 has x = nan"),
        (est(t=np.inf), "event 1 has t = inf"),
        (est(x=1.5), "event 1 has x = 1.5, which is no whole number"),
        (est(y=65536.0), "event 1 has y = 65536, outside 0 to 179"),
        (est(p=0), "event 1 has p = 0.0; polarity"),
        (est(p=2), "event 1 has p = 2.0; polarity"),
        (est(t=0.05), "event 1 has t = 50000 us, before event 0 at 100000 us"),
        (est(t=250_000.0), "holds seconds, divide microseconds by 1e6"),
        (np.zeros((0, 4)), "no events at all"),
        (np.zeros((3, 5)), r"float64\[3, 5\] is no float array"),
        (np.zeros((3, 4), int), r"int64\[3, 4\] is no float array"),
        (np.zeros(4), "is no float array"),
    ],
)
def test_bad_est_array_is_named(tmp_path, array, message):
    np.save(tmp_path / "bad.npy", array)
    with pytest.raises(ValueError, match=rf"bad\.npy: .*({message})"):
        read_events(tmp_path / "bad.npy", N_CALTECH_SENSOR)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": np.zeros(3)}, "its keys are other; expected event_data"),
        ({}, r"its keys are \(none\)"),
        ({"event_data": np.zeros((3, 4))}, "expected .N,. with fields x, y, t, p"),
        ({"event_data": np.zeros(3, [("x", "u2"), ("y", "u2"), ("t", "u4")])}, "expected .N,. with fields"),
        ({"event_data": np.zeros(0, N_IMAGENET_FIELDS)}, "no events at all"),
        ({"event_data": np.array([(640, 0, 0, 1)], N_IMAGENET_FIELDS)}, "event 0 has x = 640, outside 0 to 639"),
        ({"event_data": np.array([(0, 0, 9, 1), (0, 0, 8, 1)], N_IMAGENET_FIELDS)}, "event 1 has t = 8 us, before"),
        ({"event_data": np.array([None, "pickled"])}, "pickled data is refused"),
    ],
)
def test_bad_archive_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=rf"bad\.npz: .*{message}"):
        read_events(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": np.array([99, 30, 40, 0])}, "version 1; update eclip_lib"),
        ({"header": np.array([1, 30])}, "is not of format version 1"),
        ({"x": np.zeros(7, np.uint8)}, "do not belong together"),
        ({"p": np.zeros(3, np.uint8)}, "do not belong together"),
        ({"x": np.full(1000, 41, np.uint8)}, "event 0 has x = 41"),
    ],
)
def test_damaged_compact_file_is_named(tmp_path, recording, change, message):
    write_events(tmp_path / "a.npz", recording)
    with np.load(tmp_path / "a.npz") as archive:
        np.savez(tmp_path / "bad.npz", **{**archive, **change})
    with pytest.raises(ValueError, match=rf"bad\.npz: .*{message}"):
        read_events(tmp_path / "bad.npz")


def test_compact_file_of_another_sensor_is_refused(tmp_path, recording):
    write_events(tmp_path / "a.npz", recording)
    with pytest.raises(ValueError, match=r"holds sensor_size \(30, 40\), but \(34, 34\)"):
        read_events(tmp_path / "a.npz", N_MNIST_SENSOR)


@pytest.mark.parametrize("size", [5, (1.5, 3), (30.0, 40.0), (30,), "ab", (0, 40)])
@pytest.mark.parametrize("name", ["a.npz", "a.bin"])
def test_a_size_that_is_none_is_named_before_it_is_compared(tmp_path, recording, name, size):
    write_events(tmp_path / name, recording)
    with pytest.raises(ValueError, match=rf"{name}: sensor_size = .*(expected two integers|must be 1 to 32768)"):
        read_events(tmp_path / name, size)


def test_the_size_of_the_file_may_be_given_in_any_sequence(tmp_path, recording):
    write_events(tmp_path / "a.npz", recording)
    for size in ([30, 40], np.array([30, 40])):
        assert same(read_events(tmp_path / "a.npz", size), recording)


def test_pickled_npy_is_refused(tmp_path):
    np.save(tmp_path / "bad.npy", np.array([{"x": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"bad\.npy: .*pickled data is refused"):
        read_events(tmp_path / "bad.npy", N_CALTECH_SENSOR)


@pytest.mark.parametrize("name", ["a.bin", "a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 and then nothing", b"\x93NUMPY\x01\x00"])
def test_garbage_is_a_value_error_that_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: "):
        read_events(tmp_path / name, N_MNIST_SENSOR)


@pytest.mark.parametrize("name", ["a.npz", "a.bin"])
def test_every_truncation_is_refused(tmp_path, recording, name):
    write_events(tmp_path / name, Recording(recording.events[:20], recording.sensor_size))
    whole = (tmp_path / name).read_bytes()
    cuts = [n for n in range(0, len(whole), 7) if name == "a.npz" or n % 5 or not n]  # .bin has no length to check
    for n in cuts:
        (tmp_path / name).write_bytes(whole[:n])
        with pytest.raises(ValueError, match=rf"{name}: "):
            read_events(tmp_path / name, recording.sensor_size)


def test_truncated_atis_file_names_the_offset(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(13))
    with pytest.raises(ValueError, match=r"13 bytes are no whole number.*3 left over at offset 10"):
        read_events(tmp_path / "a.bin", (1, 1))


def test_missing_file_folder_empty_file_and_unknown_suffix(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.bin: no such recording"):
        read_events(tmp_path / "gone.bin")
    with pytest.raises(ValueError, match=r"a folder, not a recording; readable are \.bin"):
        read_events(tmp_path)
    (tmp_path / "a.bin").touch()
    with pytest.raises(ValueError, match=r"a\.bin: an empty file"):
        read_events(tmp_path / "a.bin", N_MNIST_SENSOR)
    (tmp_path / "a.txt").write_text("0.1 3 4 1")
    with pytest.raises(ValueError, match=r"a \.txt file, not a recording; readable are \.bin, .*\.aedat4"):
        read_events(tmp_path / "a.txt")


# Real recordings


@pytest.mark.data
def test_n_mnist_counts_are_those_of_its_table(test_data):
    table = pd.read_csv(test_data / "n-mnist" / "pairs.csv").iloc[::50]
    recordings = [read_events(test_data / "n-mnist" / file, N_MNIST_SENSOR) for file in table["file"]]
    assert [len(recording) for recording in recordings] == table["events"].tolist()
    assert all(250_000 < recording.duration < 320_000 for recording in recordings)


@pytest.mark.data
def test_both_forms_of_n_caltech101(test_data):
    raw = read_events(test_data / "n-caltech101/Faces_easy/image_0001.bin", N_CALTECH_SENSOR)
    est_form = read_events(test_data / "n-caltech101/est/cup/cup_0.npy", N_CALTECH_SENSOR)
    assert (len(raw), len(est_form)) == (67_445, 119_431)
    assert 0.4 < raw.events["p"].mean() < 0.6
    assert 290_000 < est_form.duration < 300_000


@pytest.mark.data
def test_real_file_survives_both_of_ours(test_data, tmp_path):
    source = test_data / "n-caltech101/Faces_easy/image_0001.bin"
    recording = read_events(source, N_CALTECH_SENSOR)
    for name in ("a.bin", "a.npz"):
        write_events(tmp_path / name, recording)
        assert same(read_events(tmp_path / name, N_CALTECH_SENSOR), recording)
    assert (tmp_path / "a.bin").read_bytes() == source.read_bytes()
