"""AEDAT4 and HDF5: their layouts, bad files, missing and failing libraries."""

import subprocess
import sys

import numpy as np
import pytest

from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import read_events, write_events
from eclip_lib.events.recording import Recording
from tests.support import event_files
from tests.support.event_files import HD, assert_same, events_of, hd_events, read_bytes


@pytest.fixture
def events():
    return hd_events()


# AEDAT4


def test_aedat4_times_stay_those_of_the_epoch(tmp_path):
    events = events_of((3, 4, 1_600_000_000_000_000, 1), (3, 4, 1_600_000_000_000_020, 0))
    recording = read_bytes(tmp_path, "a.aedat4", event_files.aedat4(events))
    assert_same(recording, events)
    assert recording.duration == 20
    with pytest.raises(ValueError, match="subtract the first time"):
        write_events(tmp_path / "a.bin", Recording(events, (200, 200)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:-300], r"truncated: the packet of \d+ bytes at offset \d+ passes the end of the data"),
        (lambda a: a[: a.index(b"\x04\x22\x4d\x18") - 3], "truncated: .* where the packets should end"),
        (lambda a: a.replace(b"EVTS</attr>", b"FRME</attr>"), "one stream of events, found none"),
        (lambda a: a.replace(b'<dv version="2.0">', b"<!DOCTYPE dv []>  "), "unreadable .declares entities"),
        (lambda a: a.replace(b"</dv>", b"</xv>"), "the description of its streams is unreadable"),
        (lambda a: a.replace(b"IOHE", b"IOHA"), "no header of"),
        (lambda a: a[:14] + b"\xff\xff\xff\x7f" + a[18:], "no header of 2147483647 bytes at offset 18"),
        (lambda a: a.replace(b"\x04\x22\x4d\x18", b"\x04\x22\x4d\x19"), r"the packet at offset \d+ does not unpack"),
        (lambda a: b"#!AER-DAT4.1\r\n" + a[14:], "starts with"),
    ],
)
def test_bad_aedat4_file_is_named(tmp_path, events, change, message):
    with pytest.raises(ValueError, match=rf"a\.aedat4: .*{message}"):
        read_bytes(tmp_path, "a.aedat4", change(event_files.aedat4(events)))


def test_aedat4_with_several_cameras_is_refused(tmp_path, events):
    with pytest.raises(ValueError, match="one stream of events, found 0, 1; export the one"):
        read_bytes(tmp_path, "a.aedat4", event_files.aedat4(events, xml=event_files.streams_xml(streams=2)))


def test_aedat4_without_a_size_needs_one(tmp_path, events):
    content = event_files.aedat4(events, xml=event_files.streams_xml(None))
    with pytest.raises(ValueError, match="does not hold the sensor's size"):
        read_bytes(tmp_path, "a.aedat4", content)
    assert_same(read_bytes(tmp_path, "a.aedat4", content, HD), events)


def test_aedat4_that_inflates_without_end_is_refused(tmp_path):
    events = np.zeros(6_000_000, EVENT_DTYPE)  # 96 MB that pack to 400 kB
    with pytest.raises(ValueError, match=r"would inflate to .*more than the 67,108,864"):
        read_bytes(tmp_path, "a.aedat4", event_files.aedat4(events, per_packet=6_000_000))


def test_a_missing_extra_says_how_to_get_it(tmp_path, events, monkeypatch):
    plain, content = event_files.aedat4(events, 0), event_files.aedat4(events)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"a\.aedat4: .*pip install 'eclip-workbench\[formats\]'"):
        read_bytes(tmp_path, "a.aedat4", content)
    assert_same(read_bytes(tmp_path, "a.aedat4", plain), events)  # nothing to unpack


def test_hdf5_without_the_extra_says_how_to_get_it(tmp_path, events, monkeypatch):
    content = event_files.hdf5(events)
    (tmp_path / "h5py.py").write_text("raise ModuleNotFoundError(\"No module named 'h5py'\", name='h5py')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"a\.h5: .*h5py.*pip install 'eclip-workbench\[formats\]'"):
        read_bytes(tmp_path, "a.h5", content)


# HDF5


def test_dsec_layout_adds_its_offset_and_needs_the_sensor(tmp_path, events):
    events["t"] += 57_000_000_000
    content = event_files.hdf5(events, "dsec")
    assert_same(read_bytes(tmp_path, "a.h5", content, HD), events)
    with pytest.raises(ValueError, match="does not hold the sensor's size"):
        read_events(tmp_path / "a.h5")


def h5_file(path, **datasets):
    import h5py

    with h5py.File(path, "w") as file:
        for name, content in datasets.items():
            file[name.replace("__", "/")] = content
    return path


FLAT = {"x": np.zeros(3, "u2"), "y": np.zeros(3, "u2"), "t": np.arange(3), "p": np.ones(3, "u1")}


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"images": np.zeros(3)}, r"holds images; expected CD/events \(Prophesee\), events/x, y, t, p \(DSEC\)"),
        ({**FLAT, "t": np.arange(3.0)}, "t is float64; expected integers, microseconds"),
        ({**FLAT, "x": np.zeros(2, "u2")}, "columns of lengths .* do not belong together"),
        ({**FLAT, "x": np.zeros((3, 2))}, r"/x is float64\[3, 2\]; expected 1-D numbers"),
        ({**FLAT, "x": [b"a", b"b", b"c"]}, r"/x is object\[3\]; expected 1-D numbers"),
        ({**FLAT, "t": np.array([5, 4, 6])}, "event 1 has t = 4 us, before event 0 at 5 us"),
        ({**FLAT, "p": np.array([0, 1, 2])}, "event 2 has p = 2; polarity"),
        ({"CD__events": np.zeros(3, [("x", "u2"), ("y", "u2")])}, "expected fields x, y, t, p"),
        ({key: value[:0] for key, value in FLAT.items()}, "no events at all"),
    ],
)
def test_bad_hdf5_file_is_named(tmp_path, datasets, message):
    h5_file(tmp_path / "a.h5", **datasets)
    with pytest.raises(ValueError, match=rf"a\.h5: .*{message}"):
        read_events(tmp_path / "a.h5", (4, 4))


def test_hdf5_that_declares_more_than_it_may_inflate_to_is_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(name, (10**9,), "i8", chunks=(1000,))  # 32 GB of fill values in a few kilobytes
    with pytest.raises(ValueError, match=r"a\.h5: would inflate to 32,000,000,000 bytes, more than the 67,108,864"):
        read_events(tmp_path / "a.h5", (4, 4))


def test_hdf5_packed_by_an_unknown_filter_says_which(tmp_path):
    import h5py

    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3,))
    plist.set_filter(12345, h5py.h5z.FLAG_OPTIONAL, ())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space, kind = h5py.h5s.create_simple((3,)), h5py.h5t.py_create(np.dtype([(n, "i8") for n in "xypt"]))
        h5py.h5d.create(file.create_group("CD").id, b"events", kind, space, plist)
    with pytest.raises(
        ValueError, match="/CD/events is packed by HDF5 filter 12345, which is not installed; put its plugin on"
    ):
        read_events(tmp_path / "a.h5", (4, 4))


def test_hdf5_with_data_in_another_file_is_refused(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(name, (3,), "i8", external=[(tmp_path / "secret", 0, 24)])
    with pytest.raises(ValueError, match="keeps its data in another file"):
        read_events(tmp_path / "a.h5", (4, 4))


def test_truncated_hdf5_file_is_named(tmp_path, events):
    content = event_files.hdf5(events)
    with pytest.raises(ValueError, match=r"a\.h5: damaged or no HDF5 recording.*truncated"):
        read_bytes(tmp_path, "a.h5", content[: len(content) // 2])


@pytest.mark.parametrize(
    ("returncode", "stderr", "message"),
    [(-11, b"", r"\(signal 11\)"), (1, b"x\nFatal error", r"\(Fatal error\)")],
)
def test_a_library_that_crashes_is_a_value_error(tmp_path, events, monkeypatch, returncode, stderr, message):
    done = subprocess.CompletedProcess([], returncode, b"", stderr)
    monkeypatch.setattr("eclip_lib.events.formats.hdf5.subprocess.run", lambda *args, **kwargs: done)
    with pytest.raises(ValueError, match=rf"a\.h5: damaged: the HDF5 library broke down while reading it {message}"):
        read_bytes(tmp_path, "a.h5", event_files.hdf5(events))


def test_a_library_that_hangs_is_a_value_error(tmp_path, events, monkeypatch):
    monkeypatch.setattr("eclip_lib.events.formats.hdf5._SECONDS", 0.01)
    with pytest.raises(ValueError, match=r"a\.h5: damaged: the HDF5 library had not read it after 0\.01 s"):
        read_bytes(tmp_path, "a.h5", event_files.hdf5(events))
