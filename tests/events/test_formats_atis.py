"""ATIS files: bytes by hand, the clock that starts again, and overflow markers."""

import numpy as np
import pytest

from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.files import read_events
from tests.support import event_files
from tests.support.event_files import events_of, read_bytes

N_CALTECH_SENSOR, N_MNIST_SENSOR = (180, 240), (34, 34)


def test_atis_bytes_by_hand(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([3, 7, 0x81, 0x02, 0x03, 200, 100, 0x7F, 0xFF, 0xFF]))
    expected = events_of((3, 7, 0x010203, True), (200, 100, 0x7FFFFF, False))
    assert np.array_equal(read_events(path, N_CALTECH_SENSOR).events, expected)


def test_atis_clock_is_unwrapped(tmp_path):
    times = [0x7FFFF0, 0x7FFFFF, 0x000000, 0x000010, 0x7FFFFF, 0x000001]
    (tmp_path / "a.bin").write_bytes(b"".join(bytes([0, 0, *at.to_bytes(3, "big")]) for at in times))
    t = read_events(tmp_path / "a.bin", (1, 1)).events["t"]
    assert t.tolist() == [0x7FFFF0, 0x7FFFFF, 0x800000, 0x800010, 0xFFFFFF, 0x1000001]


def test_small_fall_of_the_atis_clock_is_no_wrap(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes([0, 0, 0, 1, 0, 0, 0, 0, 0, 9]))
    with pytest.raises(ValueError, match="event 1 has t = 9 us, before event 0 at 256 us"):
        read_events(tmp_path / "a.bin", (1, 1))


def atis_rows(*rows):
    return b"".join(bytes([x, y]) + t.to_bytes(3, "big") for x, y, t in rows)


MARKED = atis_rows((1, 2, 8000), (9, 240, 77), (3, 4, 10), (3, 5, 20), (0, 240, 0), (7, 240, 5), (6, 7, 0x800001))


@pytest.mark.parametrize("on_error", ["raise", "drop"])
def test_atis_overflow_markers_are_no_events_and_add_8192_us(tmp_path, recwarn, on_error):
    (tmp_path / "a.bin").write_bytes(MARKED)
    for size in (N_CALTECH_SENSOR, (240, 304)):
        events = read_events(tmp_path / "a.bin", size, on_error).events
        assert events.tolist() == [(1, 2, 8000, 0), (3, 4, 8202, 0), (3, 5, 8212, 0), (6, 7, 3 * 8192 + 1, 1)]
    assert not recwarn.list  # nothing was dropped


def test_row_240_of_a_higher_atis_sensor_is_a_pixel(tmp_path):
    (tmp_path / "a.bin").write_bytes(atis_rows((9, 240, 77), (3, 4, 80)))
    assert read_events(tmp_path / "a.bin", (241, 304)).events.tolist() == [(9, 240, 77, 0), (3, 4, 80, 0)]


def test_an_atis_marker_keeps_the_unwrapping_of_the_clock(tmp_path):
    # Its own clock, 0, is no turn; that of the event after it is.
    (tmp_path / "a.bin").write_bytes(atis_rows((0, 0, 0x7FFFF0), (0, 240, 0), (0, 0, 0x7FFFF8), (0, 240, 9), (0, 0, 4)))
    t = read_events(tmp_path / "a.bin", (1, 1)).events["t"]
    assert t.tolist() == [0x7FFFF0, 0x7FFFF8 + 8192, 0x800004 + 2 * 8192]


def test_an_atis_file_of_markers_only_has_no_events(tmp_path):
    (tmp_path / "a.bin").write_bytes(atis_rows((0, 240, 0), (0, 240, 0)))
    for on_error in ("raise", "drop"):
        with pytest.raises(ValueError, match=r"a\.bin: no events at all"):
            read_events(tmp_path / "a.bin", N_MNIST_SENSOR, on_error)


def test_rows_beside_the_atis_marker_stay_errors(tmp_path):
    for y in (239, 241):
        (tmp_path / "a.bin").write_bytes(atis_rows((0, y, 0)))
        with pytest.raises(ValueError, match=f"event 0 has y = {y}, outside 0 to 179"):
            read_events(tmp_path / "a.bin", N_CALTECH_SENSOR)


@pytest.mark.parametrize("seed", range(5))
def test_tonic_reads_the_same_overflow_markers(tmp_path, seed):
    tonic, rng = pytest.importorskip("tonic.io"), np.random.default_rng(seed)
    events = np.zeros(3000, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(0, 240, 3000), rng.integers(0, 180, 3000)
    events["t"], events["p"] = np.sort(rng.integers(0, 40 * 8192, 3000)), rng.random(3000) < 0.5
    overflows = np.flatnonzero(np.diff(events["t"] >> 13, prepend=0))
    clock = events.copy()
    clock["t"] %= 8192
    marked = np.insert(clock, overflows, events_of((1, 240, 3, True)))
    recording = read_bytes(tmp_path, "a.bin", event_files.atis(marked), (180, 240))
    assert len(overflows) == 39 and np.array_equal(recording.events, events)
    other = tonic.read_mnist_file(str(tmp_path / "a.bin"), dtype=EVENT_DTYPE)
    for field in "xytp":
        assert np.array_equal(recording.events[field], other[field]), field
