"""Prophesee's ECF compression: by hand, there and back, against another decoder, and damaged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eclip_lib.events.decoding import Refused
from eclip_lib.events.files import read_events
from eclip_lib.events.formats.ecf import decode_ecf
from tests.support import event_files
from tests.support.event_files import assert_same, events_of, hd_events, read_bytes

LAYOUTS = ("runs", "x_p", "all")


def decode(content, count):
    return decode_ecf([np.frombuffer(content, np.uint8)], [count])


def test_runs_by_hand():
    head = [3 << 2, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0]  # 3 events, no flags, the first at 100 us
    times = [0x02, 0xF1, 0xF2, 0x31]  # two at 100; a step of 0x21, and 3 more: one at 136
    rows = [7 << 5 & 0xFF | 3, 7 >> 3]  # three times row 7
    columns = [(10 << 5 | 0b01000) & 0xFF, 10 >> 3, 9 << 5 & 0xFF, 9 >> 3]  # column 10 and the second after it; 9
    polarities = [0x81, 0x02]  # once ON, twice OFF
    content = bytes([*head, *times, *rows, *columns, *polarities])
    columns = decode(content, 3)
    assert {name: column.tolist() for name, column in columns.items()} == {
        "x": [10, 12, 9], "y": [7, 7, 7], "t": [100, 100, 136], "p": [1, 0, 0],
    }  # fmt: skip


def test_packed_by_hand():
    rows = [(5, 3, 1), (1279, 719, 0), (0, 0, 1), (640, 1, 1)]
    values = [y << 12 | x << 1 | p for x, y, p in rows]
    words = [
        values[0] << 8 | values[1] & 0xFF,
        values[1] >> 8 << 16 | values[2] & 0xFFFF,
        values[2] >> 16 << 24 | values[3],
    ]
    content = bytes([4 << 2 | 2, 0, 0, 0, *bytes(8), 0x04]) + np.array(words, "<u4").tobytes()
    columns = decode(content, 4)
    assert list(zip(columns["x"], columns["y"], columns["p"], strict=True)) == rows and not columns["t"].any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_as_metavision_writes_it(tmp_path, layout):
    events = hd_events()
    content = event_files.hdf5_ecf(events, layout)
    assert_same(read_bytes(tmp_path, "a.hdf5", content), events)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2047), st.integers(0, 2047), st.integers(0, 2**40) | st.integers(0, 20), st.booleans()
        ),
        min_size=1,
        max_size=70,
    ),
    st.sampled_from(LAYOUTS),
    st.integers(1, 40),
)
def test_whatever_is_packed_comes_back(rows, layout, repeat):
    gaps = np.cumsum([row[2] for row in rows])
    events = events_of(*((x, y, int(t), p) for (x, y, _, p), t in zip(rows, gaps, strict=True))).repeat(repeat)
    columns = decode(event_files.ecf(events, layout), len(events))
    for name, column in columns.items():
        assert np.array_equal(column, events[name]), name


def test_neighboring_columns_come_back():
    events = events_of(*((x, 1, 0, 1) for x in (4, 5, 6, 7, 8, 9, 10, 12, 14, 13, 20)))
    assert decode(event_files.ecf(events), len(events))["x"].tolist() == events["x"].tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_truncation_is_refused(layout):
    events = hd_events()[:60]
    content = event_files.ecf(events, layout)
    for end in range(len(content)):
        with pytest.raises(Refused, match=r"damaged: ECF chunk 0 (has \d+ bytes|ends or overflows at byte \d+ of)"):
            decode(content[:end], 60)


def test_too_few_and_too_many_events_are_refused():
    content = event_files.ecf(hd_events()[:60])
    with pytest.raises(Refused, match="ECF chunk 0 has 60 events, not 61"):
        decode(content, 61)
    with pytest.raises(Refused, match="claims 1,073,741,823 events, more than 65,535"):
        decode(b"\xff\xff\xff\xff" + content[4:], 60)


def test_random_bytes_are_columns_or_refused():
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(3000):
        raw = rng.integers(0, 256, rng.integers(12, 120), dtype=np.uint8)
        n = int(rng.integers(0, 40))
        raw[:4] = np.array([n << 2 | rng.integers(0, 4)], "<u4").view(np.uint8)
        try:
            outcomes.add(len(decode_ecf([raw], [n])["t"]) == n)
        except Refused:
            outcomes.add("refused")
    assert outcomes == {True, "refused"}


def test_a_damaged_chunk_in_a_file_is_named(tmp_path):
    content = event_files.hdf5_ecf(hd_events())
    at = content.index(event_files.ecf(hd_events()[:300])[:40])
    damaged = content[:at] + b"\xff" * 4 + content[at + 4 :]
    (tmp_path / "a.hdf5").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a\.hdf5: damaged: ECF chunk 0 claims"):
        read_events(tmp_path / "a.hdf5")
