"""Every format: written from its specification, read back, known by its content, and compared with other readers."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import read_events, write_events
from eclip_lib.events.recording import Recording
from tests.support import event_files
from tests.support.event_files import HD, VENDOR, assert_same, events_of, hd_events, read_bytes


@pytest.fixture
def events():
    return hd_events()


# Every format, from its specification and back


@pytest.mark.parametrize("name", VENDOR)
def test_every_format_gives_the_events_it_was_made_of(tmp_path, events, name):
    assert_same(read_bytes(tmp_path, name, VENDOR[name](events)), events)


@pytest.mark.parametrize("name", [name for name in VENDOR if "h5" not in name])
def test_a_file_is_known_by_its_content_under_any_name(tmp_path, events, name):
    assert_same(read_bytes(tmp_path, "renamed.bin", VENDOR[name](events)), events)
    assert_same(read_bytes(tmp_path, "no_suffix", VENDOR[name](events)), events)


def test_our_own_and_n_imagenet_and_est_are_known_by_content(tmp_path, events):
    small = events[:100].copy()
    small["t"] = np.arange(100)
    write_events(tmp_path / "a.npz", Recording(small, HD))
    (tmp_path / "a.npz").rename(tmp_path / "a.bin")
    assert_same(read_events(tmp_path / "a.bin"), small)
    assert_same(read_bytes(tmp_path, "a.raw", event_files.n_imagenet(small), HD), small)
    assert_same(read_bytes(tmp_path, "a.npz", event_files.est(small), HD), small)


def test_an_atis_event_that_looks_like_an_archive_is_none(tmp_path):
    one = events_of((0x50, 0x4B, 0x030400, False), (1, 2, 0x030405, True))  # the bytes P K 3 4
    assert_same(read_bytes(tmp_path, "a.bin", event_files.atis(one), (240, 240)), one, (240, 240))
    text = events_of((0x25, 0x20, 0x41, True), (1, 2, 0x42, True))  # starts with a percent sign and a space
    assert_same(read_bytes(tmp_path, "b.bin", event_files.atis(text), (240, 240)), text, (240, 240))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(92), "an image; SaccadeCamera turns"),
        (b"\xff\xd8\xff\xe0" + bytes(96), "an image"),
        (b"#!AER-DAT3.1\r\n" + bytes(86), "an AEDAT file of version 1 to 3; convert it to AEDAT4"),
        (b"#ROSBAG V2.0\n" + bytes(87), "a ROS bag; export"),
        (b"\x1f\x8b\x08\x00" + bytes(96), "packed by gzip; unpack"),
    ],
)
def test_a_file_of_another_format_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"a\.bin: {message}"):
        read_bytes(tmp_path, "a.bin", content, HD)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_events_survive_every_camera_format(tmp_path, data):
    gap = st.integers(0, 300) | st.integers(0, 6_000_000)
    times = np.cumsum(data.draw(st.lists(gap, min_size=1, max_size=25))).tolist()
    pixel = st.tuples(st.integers(0, 1279), st.integers(0, 719), st.booleans())
    rows = [(x, y, t, p) for t, (x, y, p) in ((t, data.draw(pixel)) for t in times)]
    events = events_of(*rows)
    name = data.draw(st.sampled_from([name for name in VENDOR if "h5" not in name and "hdf5" not in name]))
    assert_same(read_bytes(tmp_path, name, VENDOR[name](events)), events)


# Polarity


BOOLS = {
    "n-imagenet.npz": event_files.n_imagenet,
    "flat.h5": lambda events: event_files.hdf5(events, "flat", HD),
    "fields.h5": lambda events: event_files.hdf5(events, "fields", HD),
    "compact.npz": lambda events: event_files.compact(events, HD),
    "est.npy": event_files.est,
    "evt2.raw": event_files.evt2,
}


@pytest.mark.parametrize("on_error", ["raise", "drop"])
@pytest.mark.parametrize("name", BOOLS)
def test_polarity_is_a_byte_of_0_or_1_whatever_the_file_holds(tmp_path, name, on_error):
    events = events_of(*((i, 0, i, False) for i in range(6)))
    events["p"].view(np.uint8)[:] = [0, 1, 2, 255, 0, 128]
    recording = read_bytes(tmp_path, name, BOOLS[name](events), HD, on_error)
    assert recording.events["p"].view(np.uint8).tolist() == [0, 1, 1, 1, 0, 1]
    assert events["p"].view(np.uint8).tolist() == [0, 1, 2, 255, 0, 128]


# Parity with other readers (GPL, so only here)


@pytest.mark.parametrize(("name", "encoding"), [("evt2.raw", "evt2"), ("evt3.raw", "evt3"), ("cd.dat", "dat")])
def test_expelliarmus_reads_the_same(tmp_path, events, name, encoding):
    wizard = pytest.importorskip("expelliarmus").Wizard(encoding=encoding)
    if encoding == "evt3":  # its clock gains 4096 us whenever the lower time bits fall, also where the upper ones rise
        events["t"] = 5 << 12 | np.sort(events["t"] % 4096)
    recording = read_bytes(tmp_path, name, VENDOR[name](events))
    other = wizard.read(str(tmp_path / name))
    for field in "xytp":
        assert np.array_equal(recording.events[field], other[field]), field


@pytest.mark.data
def test_evt3_sample_is_that_of_its_array_but_for_the_clock(data_folder):
    """The array's times, made by expelliarmus, gain 4096 us whenever the lower time bits fall.

    They fall at each step of the upper bits (4095 to 0), and where another source of events interleaves, which the
    format allows under the same upper bits. So the array lasts 53.9 ms; the upper bits of the file count 8.8 ms, and
    are repeated every 16 us, 551 times: 8.8 ms. Adding that gain to our times gives the array to the last event.
    """
    recording = read_events(data_folder / "formats" / "evt3_sample.raw")
    array = np.load(data_folder / "formats" / "evt3_sample.npy")
    assert recording.sensor_size == HD and len(recording) == 219_596
    for name in "xyp":
        assert np.array_equal(recording.events[name], array[name]), name
    raw = (data_folder / "formats" / "evt3_sample.raw").read_bytes()
    words = np.frombuffer(raw, "<u2", offset=raw.index(b"% system_ID 48\n") + 15)
    kinds, low = words >> 12, (words & 0xFFF).astype(int)
    lows = np.flatnonzero(kinds == 6)
    falls = np.zeros(len(words), int)
    falls[lows[1:]] = np.diff(low[lows]) < 0
    pixels = np.where(kinds == 2, 1, 0) + np.where((kinds == 4) | (kinds == 5), np.bitwise_count(words & 0xFFF), 0)
    gain = 4096 * np.repeat(np.cumsum(falls), pixels)
    assert np.array_equal(recording.events["t"] + gain, array["t"])
    assert recording.duration == pytest.approx(16 * (kinds == 8).sum(), abs=16)


def evlib_columns(path):
    """Return the columns that evlib reads, from a process of its own: it takes 0.8 GB."""
    code = (
        "import evlib, sys, numpy as np; d = evlib.load_events(sys.argv[1], sort=False).collect(); "
        "np.savez(sys.argv[2], x=d['x'].to_numpy(), y=d['y'].to_numpy(), p=d['polarity'].to_numpy() > 0, "
        "t=d['t'].dt.total_microseconds().to_numpy())"
    )
    target = path.parent / "evlib.npz"
    subprocess.run([sys.executable, "-c", code, str(path), str(target)], check=True, capture_output=True)
    with np.load(target) as archive:
        return dict(archive)


@pytest.mark.data
@pytest.mark.parametrize("name", ["davis346.aedat4", "evt3_sample.raw"])
def test_evlib_reads_the_same(data_folder, tmp_path, name):
    (tmp_path / name).write_bytes((data_folder / "formats" / name).read_bytes())
    recording, other = read_events(tmp_path / name), evlib_columns(tmp_path / name)
    for field in "xytp":
        assert np.array_equal(recording.events[field], other[field]), field


@pytest.mark.parametrize("layout", ["runs", "x_p", "all"])
def test_evlib_reads_the_same_ecf(tmp_path, layout):
    events = event_files.hd_events()[:300]
    path = tmp_path / "a.hdf5"  # of whole chunks: evlib refuses the filling of the last one, which HDF5 always writes
    path.write_bytes(event_files.hdf5_ecf(events, layout, chunk=100))
    recording, other = read_events(path), evlib_columns(path)
    for field in "xytp":
        assert np.array_equal(recording.events[field], other[field]), field


@pytest.mark.data
def test_aedat4_sample(data_folder):
    recording = read_events(data_folder / "formats" / "davis346.aedat4")
    assert (len(recording), recording.sensor_size) == (6_676, (260, 346))
    assert recording.events[0].tolist() == (215, 164, 1_589_163_147_368_868, True)
    assert recording.duration == 169_941


@pytest.mark.data
def test_tonic_reads_the_same_bin_files(data_folder):
    tonic = pytest.importorskip("tonic.io")
    for path, size in (
        ("n-mnist/Train/0/00002.bin", (34, 34)),
        ("n-caltech101/Faces_easy/image_0001.bin", (180, 240)),
        ("formats/atis_bin_128x128.bin", (128, 128)),
    ):
        recording = read_events(data_folder / path, size)
        other = tonic.read_mnist_file(str(data_folder / path), dtype=EVENT_DTYPE)
        for field in "xytp":
            assert np.array_equal(recording.events[field], other[field]), (path, field)
