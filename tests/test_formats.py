"""The formats of camera makers: written from their specifications, read back, and compared with other readers."""

import re
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eclip_lib.event_array import repair
from eclip_lib.events import EVENT_DTYPE, Recording, read_events, write_events
from tests import event_files

HD = (720, 1280)


def events_of(*rows):
    return np.array(list(rows), EVENT_DTYPE)


@pytest.fixture
def events():
    """2,000 events over 40 s on 1280x720, a third of them runs of neighbors at one time."""
    rng = np.random.default_rng(11)
    events = np.zeros(2000, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(0, 1280, 2000), rng.integers(0, 720, 2000)
    events["t"], events["p"] = np.sort(rng.integers(0, 40_000_000, 2000)), rng.random(2000) < 0.5
    for start in range(0, 700, 7):
        run = slice(start, start + 7)
        events["x"][run] = rng.integers(0, 1248) + np.sort(rng.choice(32, 7, replace=False))
        for name in "ytp":
            events[name][run] = events[name][start]
    return events


def read_bytes(folder, name, content, *args, **kwargs):
    (folder / name).write_bytes(content)
    return read_events(folder / name, *args, **kwargs)


def assert_same(recording, events, size=HD):
    assert recording.sensor_size == size
    for name in "xytp":
        assert np.array_equal(recording.events[name], events[name]), name


# Every format, from its specification and back


VENDOR = {
    "evt2.raw": event_files.evt2,
    "evt21.raw": event_files.evt21,
    "evt21-legacy.raw": lambda e: event_files.evt21(e, ("evt 2.1", "endianness legacy", "geometry 1280x720"), True),
    "evt3.raw": event_files.evt3,
    "evt3-single.raw": lambda e: event_files.evt3(e, vectors=False),
    "cd.dat": event_files.dat,
    "none.aedat4": lambda e: event_files.aedat4(e, 0),
    "lz4.aedat4": lambda e: event_files.aedat4(e, 1),
    "zstd.aedat4": lambda e: event_files.aedat4(e, 3, ended=False),
    "prophesee.h5": event_files.hdf5,
    "flat.hdf5": lambda e: event_files.hdf5(e, "flat", compression="gzip"),
    "seconds.h5": lambda e: event_files.hdf5(e, "seconds", chunks=(100,)),
}


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


# EVT 3.0 and 2.x, by hand


def words16(*words):
    return event_files.header("evt 3.0", "geometry 1280x720", "end") + np.array(words, "<u2").tobytes()


def test_evt3_words_by_hand(tmp_path):
    content = words16(
        0x2005,  # a pixel before the first time: it has none
        0x8001, 0x6002,  # time 1 << 12 | 2
        0x0007, 0x2805, 0x2006,  # row 7: x 5 ON, x 6 OFF
        0x3864, 0x4801, 0x4000, 0x5003,  # ON from x 100: bits 0 and 11, none of the next 12, then 124 and 125
        0xA001, 0xE000, 0xF000, 0x7000,  # a trigger and vendor words
        0x8002, 0x2009,  # the upper time steps, the lower starts again
    )  # fmt: skip
    rows = [(5, 4098, 1), (6, 4098, 0), (100, 4098, 1), (111, 4098, 1), (124, 4098, 1), (125, 4098, 1), (9, 8192, 0)]
    assert_same(read_bytes(tmp_path, "a.raw", content), events_of(*((x, 7, t, p) for x, t, p in rows)))


def test_evt3_clock_turns_after_16_seconds_and_a_repeated_word_changes_nothing(tmp_path):
    content = words16(0x8FFF, 0x6FFF, 0x0000, 0x2000, 0x8FFF, 0x2001, 0x8000, 0x6001, 0x2002)
    assert read_bytes(tmp_path, "a.raw", content).events["t"].tolist() == [2**24 - 1, 2**24 - 1, 2**24 + 1]


def test_lower_time_bits_that_step_back_are_an_error_and_no_turn(tmp_path):
    content = words16(0x8001, 0x6009, 0x0000, 0x2000, 0x6003, 0x2001)
    with pytest.raises(ValueError, match=r"event 1 has t = 4099 us, before event 0 at 4105 us"):
        read_bytes(tmp_path, "a.raw", content)


@pytest.mark.parametrize(
    ("content", "later"),
    [
        (words16(0x8005, 0x6000, 0x0000, 0x2000, 0x8004, 0x6000, 0x2001), "16384 us, before event 0 at 20480"),
        (
            event_files.header("evt 2.0", "geometry 1280x720")
            + np.array([0x80000005, 0, 0x80000004, 0], "<u4").tobytes(),
            "256 us, before event 0 at 320",
        ),
    ],
)
def test_upper_time_bits_that_fall_a_little_are_an_error_and_no_turn(tmp_path, content, later):
    with pytest.raises(ValueError, match=f"event 1 has t = {later}"):
        read_bytes(tmp_path, "a.raw", content)


def test_lower_time_bits_before_the_first_upper_ones_give_no_time(tmp_path):
    content = words16(0x6003, 0x0000, 0x2000, 0x8001, 0x2001)
    assert read_bytes(tmp_path, "a.raw", content).events.tolist() == [(1, 0, 4096, False)]


def test_evt2_words_by_hand(tmp_path):
    words = [0x80000002, 1 << 28 | 3 << 22 | 5 << 11 | 7, 0xA0000000, 2 << 22 | 6 << 11 | 8]
    content = event_files.header("evt 2.0", "geometry 1280x720") + np.array(words, "<u4").tobytes()
    with pytest.raises(ValueError, match="event 1 has t = 130 us, before event 0 at 131 us"):
        read_bytes(tmp_path, "a.raw", content)
    words[3] = 9 << 22 | 6 << 11 | 8
    content = event_files.header("evt 2.0", "geometry 1280x720") + np.array(words, "<u4").tobytes()
    assert_same(read_bytes(tmp_path, "a.raw", content), events_of((5, 7, 131, 1), (6, 8, 137, 0)))


def test_evt21_mask_by_hand(tmp_path):
    words = [0x8 << 60 | 1 << 32, 1 << 60 | 2 << 54 | 10 << 43 | 20 << 32 | 0x80000005]
    content = event_files.header("evt 2.1", "geometry 1280x720") + np.array(words, "<u8").tobytes()
    assert_same(read_bytes(tmp_path, "a.raw", content), events_of(*((x, 20, 66, 1) for x in (10, 12, 41))))


@pytest.mark.parametrize(("encoding", "bits"), [(event_files.evt2, 34), (event_files.dat, 32)])
def test_longer_clocks_turn_too(tmp_path, encoding, bits):
    events = events_of((1, 2, 2**bits - 70, 1), (1, 2, 2**bits - 1, 0), (1, 2, 2**bits, 1), (1, 2, 2**bits + 900, 1))
    assert_same(read_bytes(tmp_path, "a.raw", encoding(events)), events)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (words16(0x8001, 0x6001, 0x9000), r"word 2 at offset 40 is of the reserved type 0x9; .*on_error='drop'"),
        (words16(0x0000, 0x2000), r"no word of its 1 events' time"),
        (words16(0x8001, 0x6001, 0xA000), "no events at all"),
        (words16(0x8001, 0x6001)[:-1], r"3 bytes are no whole number of 2-byte events: 1 left over at offset 38"),
        (words16(0x8001, 0x0000, 0x3FFF, *[0x4FFF] * 9), r"x = 1280, outside 0 to 1279|x = 2047, outside"),
        (words16(0x8001, 0x0000, 0x3800, *[0x4000] * 6000, 0x4001), r"x = 4095, outside"),  # never back into it
        (words16(0x8001, 0x07FF, 0x2000), r"y = 2047, outside 0 to 719"),
        (b"% evt 3.0\n% geometry 1280x720\n% end\n", "no events at all"),
        (b"% geometry 1280x720\n% end\n" + bytes(8), "names no format; expected one of EVT2, EVT21, EVT3"),
        (b"% format HISTO3D;height=320;width=320\n% end\n" + bytes(8), "names HISTO3D; expected"),
        (b"% evt 2.1\n% endianness big\n% end\n" + bytes(8), "endianness big; readable are little and legacy"),
        (bytes(range(1, 9)), "has no header of lines"),
        (b"% format EVT3;height=720;width=1280\n% geometry 640x480\n% end\n" + bytes(8), "contradicts itself"),
        (b"% evt 3.0\n% geometry 0x720\n% end\n" + words16(0x8001, 0x2000)[-4:], r"\(720, 0\); each side must be"),
    ],
)
def test_bad_raw_file_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"a\.raw: .*({message})"):
        read_bytes(tmp_path, "a.raw", content)


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        (("evt 3.0", "geometry 640x480"), (480, 640)),
        (("format EVT3;height=320;width=320",), (320, 320)),
        (("evt 3.0", "width 304", "height 240"), (240, 304)),
        (("Date 2020-09-25 07:48:29", "evt 3.0", "plugin_name hal_plugin_gen41_evk3", "system_ID 48"), (720, 1280)),
        (("evt 3.0", "plugin_name hal_plugin_gen31_fx3"), (480, 640)),
        (("evt 3.0", "sensor_generation 4.2", "end"), (720, 1280)),
        (("evt 3.0", "sensor_name GenX320", "end"), (320, 320)),
    ],
)
def test_sensor_size_comes_from_the_header(tmp_path, lines, size):
    one = events_of((3, 4, 5, 1))
    assert_same(read_bytes(tmp_path, "a.raw", event_files.evt3(one, lines)), one, size)


def test_a_header_without_a_size_needs_one_and_a_contradicted_size_is_refused(tmp_path):
    one = events_of((3, 4, 5, 1))
    content = event_files.evt3(one, ("evt 3.0", "end"))
    with pytest.raises(ValueError, match=r"a\.raw: this file does not hold the sensor's size; pass sensor_size"):
        read_bytes(tmp_path, "a.raw", content)
    assert_same(read_bytes(tmp_path, "a.raw", content, (10, 10)), one, (10, 10))
    with pytest.raises(ValueError, match=r"a\.raw: holds sensor_size \(720, 1280\), but \(10, 10\) was asked for"):
        read_bytes(tmp_path, "a.raw", event_files.evt3(one), (10, 10))


# .dat


def test_dat_bytes_by_hand(tmp_path):
    content = b"% Data file containing Event2D events\n% Version 2\n% Height 240\n% Width 304\n\x00\x08"
    content += struct.pack("<II", 100, 1 << 28 | 239 << 14 | 303) + struct.pack("<II", 101, 0)
    assert_same(read_bytes(tmp_path, "a.dat", content), events_of((303, 239, 100, 1), (0, 0, 101, 0)), (240, 304))


def test_dat_of_version_1_has_smaller_fields(tmp_path):
    events = events_of((303, 239, 100, 1), (7, 9, 120, 0))
    content = event_files.dat(events, 1, ("Data file containing CD events", "Version 1"))
    assert_same(read_bytes(tmp_path, "a.dat", content, (240, 304)), events, (240, 304))
    with pytest.raises(ValueError, match="does not hold the sensor's size"):
        read_events(tmp_path / "a.dat")


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (b"\x0c", "ends at offset 56, before the type and size"),
        (b"\x0e\x08" + bytes(8), r"holds events of type 14 and 8 bytes \(offset 55\)"),
        (b"\x00\x10" + bytes(16), "of type 0 and 16 bytes"),
        (b"\x00\x08" + bytes(11), "11 bytes are no whole number of 8-byte events: 3 left over at offset 65"),
        (b"\x00\x08" + struct.pack("<II", 5, 3 << 28), "event 0 has p = 3; polarity"),
        (b"\x00\x08", "no events at all"),
    ],
)
def test_bad_dat_file_is_named(tmp_path, tail, message):
    with pytest.raises(ValueError, match=rf"a\.dat: .*({message})"):
        read_bytes(
            tmp_path, "a.dat", event_files.header("Version 2", "Width 304", "Height 240", "Date 2019-01-01") + tail
        )


def test_dat_of_an_unknown_version_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"of \.dat version 3; readable are 1 and 2"):
        read_bytes(
            tmp_path, "a.dat", event_files.header("Version 3", "Width 304", "Height 240") + b"\x00\x08" + bytes(8)
        )


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


@pytest.mark.parametrize(("number", "name"), [(0x8ECF, "Prophesee's ECF"), (12345, "HDF5 filter 12345")])
def test_hdf5_packed_by_an_unknown_filter_says_which(tmp_path, number, name):
    import h5py

    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((3,))
    plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space, kind = h5py.h5s.create_simple((3,)), h5py.h5t.py_create(np.dtype([(n, "i8") for n in "xypt"]))
        h5py.h5d.create(file.create_group("CD").id, b"events", kind, space, plist)
    with pytest.raises(ValueError, match=rf"/CD/events is packed by {name}, which is not installed; put its plugin on"):
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
    monkeypatch.setattr("eclip_lib.formats_hdf5.subprocess.run", lambda *args, **kwargs: done)
    with pytest.raises(ValueError, match=rf"a\.h5: damaged: the HDF5 library broke down while reading it {message}"):
        read_bytes(tmp_path, "a.h5", event_files.hdf5(events))


def test_a_library_that_hangs_is_a_value_error(tmp_path, events, monkeypatch):
    monkeypatch.setattr("eclip_lib.formats_hdf5._SECONDS", 0.01)
    with pytest.raises(ValueError, match=r"a\.h5: damaged: the HDF5 library had not read it after 0\.01 s"):
        read_bytes(tmp_path, "a.h5", event_files.hdf5(events))


# Repair


def bad_table():
    return np.array(
        [[1.0, 2, 0.3, 1], [999, 2, 0.1, 1], [1, 2, np.nan, 1], [1, 2, 0.2, 0], [3, 4, 0.1, -1], [5, 6, 0.4, -1]]
    )


def test_repair_drops_sorts_and_says_how_many(tmp_path):
    np.save(tmp_path / "a.npy", bad_table())
    message = r"a\.npy: dropped 3 of 6 events \(outside .*\); sorted in 1 of 3 events that came after a later one"
    with pytest.warns(UserWarning, match=message) as warned:
        recording = read_events(tmp_path / "a.npy", (180, 240), on_error="drop")
    assert warned[0].filename == __file__  # the line that called, not one of the library
    assert recording.events.tolist() == [(3, 4, 100_000, False), (1, 2, 300_000, True), (5, 6, 400_000, False)]


def test_repair_is_silent_about_a_whole_file_and_changes_nothing(tmp_path, events, recwarn):
    assert_same(read_bytes(tmp_path, "a.raw", event_files.evt3(events), on_error="drop"), events)
    assert not recwarn.list


def test_repair_of_nothing_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", bad_table()[[1, 2]])
    with pytest.raises(ValueError, match=r"a\.npy: none of its 2 events is within the sensor \(180, 240\)"):
        read_events(tmp_path / "a.npy", (180, 240), on_error="drop")


def test_repair_keeps_the_order_of_equal_times():
    columns = {"x": np.array([1, 2, 3, 4]), "y": np.zeros(4, int), "t": np.array([7, 5, 7, 5]), "p": np.ones(4, int)}
    done = repair(columns, (4, 8))
    assert done.events["x"].tolist() == [2, 4, 1, 3] and (done.dropped, done.moved) == (0, 2)
    many = {"x": np.arange(900), "y": np.zeros(900, int), "t": np.arange(900) // 300 % 2, "p": np.ones(900, int)}
    assert repair(many, (1, 900)).events["x"].tolist() == [*range(300), *range(600, 900), *range(300, 600)]


def test_unknown_way_to_deal_with_errors_is_refused(tmp_path):
    with pytest.raises(ValueError, match="on_error = 'ignore': expected 'raise' or 'drop'"):
        read_events(tmp_path / "a.bin", on_error="ignore")


@pytest.mark.parametrize(
    ("name", "cut", "message"),
    [
        ("a.bin", 3, r"lost truncated: 2 left over at offset 9995"),
        ("cd.dat", 5, r"lost truncated: 3 left over"),
        ("evt2.raw", 1, r"lost truncated: 3 left over"),
        ("lz4.aedat4", 300, r"lost all after 6 packets: truncated: the packet"),
    ],
)
def test_repair_keeps_the_whole_events_of_a_truncated_file(tmp_path, events, name, cut, message):
    small = events.copy()
    small["x"], small["y"], small["t"] = small["x"] % 200, small["y"] % 200, small["t"] // 20
    content = event_files.atis(small) if name == "a.bin" else VENDOR[name](small)
    size = (200, 200) if name == "a.bin" else None
    with pytest.raises(ValueError, match=re.escape(name)):
        read_bytes(tmp_path, name, content[:-cut], size)
    with pytest.warns(UserWarning, match=message):
        recording = read_events(tmp_path / name, size, on_error="drop")
    assert 1500 < len(recording) < 2000
    assert np.array_equal(recording.events, small[: len(recording)])


def test_repair_skips_reserved_words(tmp_path):
    with pytest.warns(UserWarning, match="lost 2 words of a reserved type"):
        recording = read_bytes(tmp_path, "a.raw", words16(0x8001, 0x9000, 0x2005, 0xB000), on_error="drop")
    assert recording.events.tolist() == [(5, 0, 4096, False)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-3, 12) | st.just(float("nan"))] * 3, st.sampled_from([-1, 0, 1])), max_size=30)
)
def test_repaired_events_keep_the_contract_and_are_those_that_were_right(rows):
    table = np.array(rows, float).reshape(-1, 4)
    done = repair(dict(zip("xytp", table.T, strict=True)), (8, 10))
    off = -1 if (table[:, 3] == -1).any() else 0
    right = [row for row in rows if 0 <= row[0] < 10 and 0 <= row[1] < 8 and row[2] == row[2] and row[3] in (1, off)]
    assert done.events.tolist() == [(x, y, t, p == 1) for x, y, t, p in sorted(right, key=lambda row: row[2])]
    assert done.dropped == len(rows) - len(right)
    assert len(done.events) == 0 or Recording(done.events, (8, 10))


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
