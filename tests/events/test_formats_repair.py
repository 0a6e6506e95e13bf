"""Repair on request: what is dropped, sorted and kept, and that it is said."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eclip_lib.events.array import repair
from eclip_lib.events.files import read_events
from eclip_lib.events.recording import Recording
from tests.support import event_files
from tests.support.event_files import VENDOR, assert_same, hd_events, read_bytes, words16


@pytest.fixture
def events():
    return hd_events()


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
