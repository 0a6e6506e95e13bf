"""Prophesee's words by hand, the sensor's size from its headers, and bad `.raw` and `.dat` files."""

import struct

import numpy as np
import pytest

from eclip_lib.events.files import read_events
from tests.support import event_files
from tests.support.event_files import assert_same, events_of, read_bytes, words16

# EVT 3.0 and 2.x, by hand


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
