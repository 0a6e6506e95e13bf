"""NumPy files that are made to fill memory, to run code, or that NumPy's own reader would take for something else."""

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.decoding import FREE_BYTES, LARGEST_BYTES, LARGEST_RATIO, allowed_bytes
from eclip_lib.events.files import read_events
from tests.support import event_files

FIELDS = [("x", "u2"), ("y", "u2"), ("t", "i8"), ("p", "?")]
SMALL = 8 << 20  # bytes that refusing a file may take


def npy(array, **kwargs):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **kwargs)
    return file.getvalue()


def npy_header(text):
    """Return a `.npy` file that is a header only."""
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive(content, method=zipfile.ZIP_DEFLATED, name="event_data.npy"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as new:
        new.writestr(name, content)
    return file.getvalue()


def refusal(path, size=(480, 640)):
    """Return the message of a refused file, and check that refusing it took little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=path.name) as caught:
            read_events(path, size)
        assert tracemalloc.get_traced_memory()[1] < SMALL
    finally:
        tracemalloc.stop()
    return str(caught.value)


def test_the_bound_grows_with_the_file_between_a_free_size_and_a_largest(tmp_path):
    assert (FREE_BYTES, LARGEST_RATIO, LARGEST_BYTES) == (64 << 20, 100, 4 << 30)
    path = tmp_path / "a"
    for size, allowed in ((10, 64 << 20), (1 << 20, 100 << 20), (100 << 20, 4 << 30)):
        with path.open("wb") as file:
            file.truncate(size)
        assert allowed_bytes(path) == allowed


def test_an_archive_that_would_inflate_beyond_the_bound_is_refused_unread(tmp_path):
    rows = FREE_BYTES // np.dtype(FIELDS).itemsize + 1
    (tmp_path / "bomb.npz").write_bytes(archive(npy(np.zeros(rows, FIELDS))))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    message = refusal(tmp_path / "bomb.npz")
    assert "would inflate to 67,1" in message and "more than the 67,108,864 that a file of its size may" in message
    (tmp_path / "fits.npz").write_bytes(archive(npy(np.zeros(rows - 20, FIELDS))))
    assert len(read_events(tmp_path / "fits.npz")) == rows - 20


def test_an_archive_that_understates_what_it_inflates_to_is_refused(tmp_path):
    inside = npy(np.zeros(4_000_000, FIELDS))
    content, real = archive(inside), len(inside).to_bytes(4, "little")
    assert content.count(real) == 2  # in the member's own header and in the directory
    (tmp_path / "a.npz").write_bytes(content.replace(real, (1128).to_bytes(4, "little")))
    assert "damaged" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_packed_in_another_way_is_refused(tmp_path, method):
    (tmp_path / "a.npz").write_bytes(archive(npy(np.zeros(9, FIELDS)), method))
    assert "pack it with np.savez_compressed" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize("make", [lambda content: content, archive], ids=["npy", "npz"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 4)}", "320,000,000,000,000 bytes, but 0"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -4)}", "but 0 follow"),
        ("{'descr': '<V0', 'fortran_order': False, 'shape': (10000000000000, 4)}", "|".join(["but 0 follow", "V0"])),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1, 4)}", "pickled data is refused"),
        ("{'descr': [('x', '<i8'), ('y', '|O')], 'fortran_order': False, 'shape': (1,)}", "pickled data is refused"),
        ("{'descr': '<f8', 'fortran_order': False}", "damaged"),
        ("{'descr': '<f8', 'shape': " + "(" * 40, "damaged"),
        ("__import__('os').system('true')", "damaged"),
    ],
)
def test_a_header_that_declares_what_is_not_there_is_refused(tmp_path, make, text, message):
    (tmp_path / "a.npz").write_bytes(make(npy_header(text)))
    said = refusal(tmp_path / "a.npz")
    assert any(part in said for part in message.split("|"))


def test_bytes_after_the_array_are_no_part_of_a_recording(tmp_path):
    content = event_files.est(np.zeros(3, EVENT_DTYPE))
    (tmp_path / "a.npy").write_bytes(content + content)
    assert "its header declares float64[3, 4], 96 bytes, but 320 follow it at offset 128" in refusal(tmp_path / "a.npy")


def test_an_array_in_columns_order_reads_the_same(tmp_path):
    table = np.array([[1.0, 2, 0.1, 1], [3, 4, 0.2, -1]])
    for name, order in (("a.npy", "C"), ("b.npy", "F")):
        np.save(tmp_path / name, np.asarray(table, order=order))
        events = read_events(tmp_path / name, (180, 240)).events
        assert events.tolist() == [(1, 2, 100_000, True), (3, 4, 200_000, False)]


class Payload:
    """What creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.raw"])
@pytest.mark.parametrize("wrap", ["array", "member", "bare"])
def test_no_pickle_is_ever_loaded(tmp_path, name, wrap):
    trap = tmp_path / "executed"
    objects = np.empty(1, object)
    objects[0] = Payload(trap)
    content = {
        "array": lambda: npy(objects, allow_pickle=True),
        "member": lambda: archive(npy(objects, allow_pickle=True)),
        "bare": lambda: pickle.dumps(Payload(trap)),
    }[wrap]()
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()  # the trap works
    trap.unlink()
    (tmp_path / name).write_bytes(content)
    for on_error in ("raise", "drop"):
        with pytest.raises(ValueError, match=rf"{name}: "):
            read_events(tmp_path / name, (34, 34), on_error)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (("t", np.array([1.0, np.nan, 3.0])), "event 1 has t = nan, which is no whole number"),
        (("t", np.array([1.0, 2.5, 3.0])), r"event 1 has t = 2\.5, which is no whole number"),
        (("t", np.array([1, 2**63, 2**63 + 1], np.uint64)), "event 1 has t = 9223372036854775808, which is no whole"),
        (("x", np.array([1, 65535, 3], np.uint16)), "event 1 has x = 65535, outside 0 to 639"),
        (("y", np.array([1, -1, 3], np.int8)), "event 1 has y = -1, outside 0 to 479"),
        (("p", np.array([1, -1, 0], np.int8)), "event 2 has p = 0; polarity"),
        (("p", np.array([1, -1, -2], np.int8)), "event 2 has p = -2; polarity"),
        (("p", np.array([1, 255, 0], np.uint8)), "event 1 has p = 255; polarity"),
        (("x", np.array(["1", "2", "3"])), r"column x is <U1\[3\]; expected 1-D integers or floats"),
        (("t", np.array([1, 2, 3], "M8[us]")), r"column t is datetime64\[us\]"),
        (("t", np.array([1, 2, 3], np.complex64)), "column t is complex64"),
    ],
)
def test_a_column_that_is_no_event_data_is_named(tmp_path, column, message):
    name, values = column
    columns = {"x": np.arange(3), "y": np.arange(3), "t": np.arange(3), "p": np.ones(3, "u1")} | {name: values}
    data = np.zeros(3, [(key, value.dtype) for key, value in columns.items()])
    for key, value in columns.items():
        data[key] = value
    np.savez(tmp_path / "a.npz", event_data=data)
    with pytest.raises(ValueError, match=rf"a\.npz: {message}"):
        read_events(tmp_path / "a.npz")
