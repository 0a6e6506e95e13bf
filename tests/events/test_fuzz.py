"""Damage files of every format at random: each is read right or refused in words, within bounds of time and memory."""

import collections
import io
import json
import random
import re
import resource
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from eclip_lib.events.array import EVENT_DTYPE, check_events
from eclip_lib.events.files import read_events, write_events
from eclip_lib.events.recording import Recording
from eclip_lib.frames.counting import count_maps
from eclip_lib.paths import ROOT
from tests.support import event_files

SECONDS, MEGABYTES = 5.0, 1000  # a file, and the process that reads them all
QUICK, SLOW = 30, 1700  # damaged files a format
SLOW_HDF5 = 400  # of each layout; every one starts a process
LARGEST_MAP = 2000  # pixels of a side; damage can enlarge a sensor beyond what maps should be made of
SENSOR = (128, 240)  # of the formats without a header, and of all others here


def some_events(n=400):
    """Return seeded events, some of them neighbors at one time so that vectors of pixels occur."""
    rng = np.random.default_rng(3)
    events = np.zeros(n, EVENT_DTYPE)
    events["x"], events["y"] = rng.integers(0, SENSOR[1], n), rng.integers(0, SENSOR[0], n)
    events["t"], events["p"] = np.sort(rng.integers(0, 300_000, n)), rng.random(n) < 0.5
    for start in range(0, n // 2, 8):
        run = slice(start, start + 8)
        for name in "ytp":
            events[name][run] = events[name][start]
        events["x"][run] = rng.integers(0, 200) + np.sort(rng.choice(32, 8, replace=False))
    return events


def compact(events):
    """Return our own `.npz`, which has at least one event."""
    return event_files.compact(events if len(events) else some_events()[:1], SENSOR)


GEOMETRY = f"geometry {SENSOR[1]}x{SENSOR[0]}"
XML = event_files.streams_xml(SENSOR)
FORMATS = {  # suffix, how a file is made of events
    "atis": (".bin", event_files.atis),
    "est": (".npy", event_files.est),
    "n-imagenet": (".npz", event_files.n_imagenet),
    "n-imagenet-stored": (".npz", lambda events: event_files.n_imagenet(events, np.savez)),
    "compact": (".npz", compact),
    "evt2": (".raw", lambda events: event_files.evt2(events, ("evt 2.0", GEOMETRY, "end"))),
    "evt21": (".raw", lambda events: event_files.evt21(events, ("evt 2.1", GEOMETRY, "end"))),
    "evt3": (".raw", lambda events: event_files.evt3(events, ("evt 3.0", GEOMETRY, "end"))),
    "dat": (".dat", lambda events: event_files.dat(events, 2, ("Version 2", "Width 240", "Height 128"))),
    "aedat4-lz4": (".aedat4", lambda events: event_files.aedat4(events, 1, 100, XML)),
    "aedat4-zstd": (".aedat4", lambda events: event_files.aedat4(events, 3, 100, XML)),
    "aedat4-plain": (".aedat4", lambda events: event_files.aedat4(events, 0, 100, XML, ended=False)),
}
HDF5 = {
    "hdf5-prophesee": (".h5", lambda events: event_files.hdf5(events, "prophesee", SENSOR, compression="gzip")),
    "hdf5-ecf": (".hdf5", lambda events: event_files.hdf5_ecf(events, size=SENSOR)),
    "hdf5-dsec": (".h5", lambda events: event_files.hdf5(events, "dsec", compression="lzf")),
    "hdf5-flat": (".hdf5", lambda events: event_files.hdf5(events, "flat", SENSOR)),
}
NO_SIZE = {"atis", "est", "hdf5-dsec"}  # formats that do not hold the sensor's size


# Damage; each takes the random source, the bytes and the bytes of a file of another format.


def flip(rng, data, _):
    for _ in range(rng.choice((1, 2, 8, 40))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def overwrite(rng, data, _):
    at = rng.randrange(len(data))
    value = rng.choice((0, 0xFF, 0x7F, 0x80, rng.randrange(256)))
    data[at : at + rng.choice((1, 2, 4, 8))] = bytes([value]) * rng.choice((1, 2, 4, 8))
    return data


def edit_header(rng, data, _):
    for _ in range(rng.choice((1, 1, 3))):
        data[rng.randrange(min(len(data), 300))] = rng.choice((0, 0xFF, 0x25, 0x30, 0x39, rng.randrange(256)))
    return data


def edit_number(rng, data, _):
    digits = [at for at in range(min(len(data), 3000)) if 0x30 <= data[at] <= 0x39]
    if digits:
        at = rng.choice(digits)
        data[at : at + 1] = rng.choice((b"0", b"9", b"-1", b"99999999999", b"1e9", b"x"))
    return data


def edit_tail(rng, data, _):
    at = len(data) - 1 - rng.randrange(min(len(data), 120))
    data[at] = rng.choice((0, 0xFF, 1, rng.randrange(256)))
    return data


def truncate(rng, data, _):
    return data[: rng.randrange(len(data))]


def drop_start(rng, data, _):
    return data[rng.choice((1, 2, 7, rng.randrange(len(data)))) :]


def insert(rng, data, _):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 3, 50, 2000))) + data[at:]


def duplicate(rng, data, _):
    start = rng.randrange(len(data))
    part = data[start : start + rng.choice((2, 16, 500, len(data)))]
    return data[:start] + part * rng.choice((1, 1, 20)) + data[start:]


def fill_zeros(rng, data, _):
    start = rng.randrange(len(data))
    length = min(rng.choice((8, 64, 1000)), len(data) - start)
    data[start : start + length] = bytes(length)
    return data


def swap_parts(rng, data, _):
    a, b = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    return data[b:] + data[a:b] + data[:a]


def splice(rng, data, other):
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


BYTES = (flip, overwrite, edit_header, edit_number, edit_tail, truncate, drop_start, insert, duplicate, fill_zeros)
BYTES += (swap_parts, splice)


# Damage to the events before they become a file, which leaves the container whole.


def damage_events(rng, events):
    """Return events that break the contract at random places, or whose polarity is a byte that no bool should be."""
    events = events.copy()
    for _ in range(rng.choice((1, 1, 5))):
        at, name = rng.randrange(len(events)), rng.choice("xytp")
        limit = {"x": 256, "y": 256, "t": 1 << 23, "p": 256}[name]
        column = events["p"].view(np.uint8) if name == "p" else events[name]
        column[at] = rng.randrange(limit)
    return events[: rng.choice((0, 1, len(events), len(events)))]


def damage_archive(rng, data):
    """Return an archive with arrays of another type, length or number; None for what is no archive."""
    if not data.startswith(b"PK"):
        return None
    with np.load(io.BytesIO(data)) as archive:
        arrays = dict(archive)
    key = rng.choice(sorted(arrays))
    array = arrays[key]
    kinds = ["f4", "f8", "i1", "i8", "u8", "c8", "U3", "?", "S2", "f2", "M8[us]"]
    change = rng.choice(("type", "cut", "shape", "values", "missing", "method"))
    if change == "type" and not array.dtype.names:
        arrays[key] = np.zeros(array.shape, rng.choice(kinds))
    elif change == "cut":
        arrays[key] = array[: rng.randrange(len(array) + 1)]
    elif change == "shape":
        arrays[key] = np.stack([array, array])
    elif change == "missing":
        del arrays[key]
    elif not array.dtype.names:
        arrays[key] = np.frombuffer(rng.randbytes(array.nbytes), array.dtype).reshape(array.shape)
    file = io.BytesIO()
    rng.choice((np.savez, np.savez_compressed))(file, **arrays)
    return repack(file.getvalue()) if change == "method" else file.getvalue()


def repack(data):
    """Return an archive packed by another method than NumPy's."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return file.getvalue()


def damaged(rng, made, make, others):
    """Return a damaged file: a whole container of bad events or arrays now and then, else bad bytes."""
    kind = rng.random()
    if kind < 0.1:
        return bytearray(make(damage_events(rng, some_events())))
    if kind < 0.2 and (archive := damage_archive(rng, bytes(made))):
        return bytearray(archive)
    data = bytearray(made)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(BYTES)(rng, data, rng.choice(others)) or bytearray(b"\0")
    return data


def read_damaged(path, repair, size=None):
    """Return the outcome of one file; raise AssertionError for what must not happen."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recording = read_events(path, size, repair)
    except ValueError as error:
        assert type(error) is ValueError, f"{type(error).__name__} is no plain refusal: {error}"
        assert str(path) in str(error), f"does not name the file: {error}"
        return "refused"
    check_recording(recording)
    return "read" if repair == "raise" else "repaired"


def check_recording(recording):
    """Raise AssertionError, or ValueError, for a recording that breaks what the maps rely on."""
    assert type(recording) is Recording
    check_events(recording.events, recording.sensor_size)
    assert recording.events["p"].view(np.uint8).max() <= 1, "a polarity is no 0 or 1"
    if max(recording.sensor_size) <= LARGEST_MAP:
        assert count_maps(recording, None, 3).sum() == len(recording), "the maps lose events"


def fuzz(folder, formats, n, seed):
    """Read `n` damaged files of each format; return outcomes by format, the slowest and the memory of this process."""
    rng, events = random.Random(seed), some_events()
    files = {name: make(events) for name, (_, make) in formats.items()}
    every = [make(events) for _, make in FORMATS.values()]
    outcomes, slowest = collections.defaultdict(collections.Counter), 0.0
    for name, (suffix, make) in formats.items():
        path = Path(folder) / f"damaged{suffix}"
        for index in range(n):
            path.write_bytes(damaged(rng, files[name], make, every))
            start = time.perf_counter()
            try:
                repair, size = "drop" if index % 3 == 2 else "raise", SENSOR if name in NO_SIZE else None
                outcomes[name][read_damaged(path, repair, size)] += 1
            except BaseException:  # also what a native library panics with
                path.replace(Path(folder) / f"failed-{name}-{seed}-{index}{suffix}")
                raise
            slowest = max(slowest, time.perf_counter() - start)
    return {"outcomes": outcomes, "slowest": slowest, "megabytes": peak_kilobytes() / 1000}


def peak_kilobytes():
    """Return the most memory that this process or a child of it has held."""
    status = Path("/proc/self/status")  # getrusage would also count what the process that started this one held
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if not status.exists():
        return max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children)
    return max(int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]), children)


def fuzz_in_child(folder, names, n, seed):
    """Run `fuzz` in a process, so that a crash is seen and memory is its own."""
    code = (
        "import json, sys; from tests.events import test_fuzz as f; a = json.loads(sys.argv[1]); "
        "print(json.dumps(f.fuzz(a[0], {k: (f.FORMATS | f.HDF5)[k] for k in a[1]}, a[2], a[3])))"
    )
    command = [sys.executable, "-c", code, json.dumps([str(folder), list(names), n, seed])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr[-3000:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["slowest"] < SECONDS
    assert result["megabytes"] < MEGABYTES
    assert all(sum(counts.values()) == n for counts in result["outcomes"].values())
    return result


def report(results):
    """Print outcomes, for the log of the slow suite (pytest -s or -rP)."""
    total = collections.Counter()
    for result in results:
        for name, counts in result["outcomes"].items():
            total.update(counts)
            print(f"{name:20} {counts}")
    print(f"{sum(total.values()):,} files: {dict(total)}; slowest {max(r['slowest'] for r in results):.2f} s, ", end="")
    print(f"peak {max(r['megabytes'] for r in results):.0f} MB")
    return total


@pytest.mark.parametrize("name", [*FORMATS, *HDF5])
def test_the_files_that_are_damaged_are_whole_before(tmp_path, name):
    suffix, make = (FORMATS | HDF5)[name]
    (tmp_path / f"a{suffix}").write_bytes(make(some_events()))
    recording = read_events(tmp_path / f"a{suffix}", SENSOR)
    assert np.array_equal(recording.events, some_events())


def test_damaged_files_are_read_right_or_refused(tmp_path):
    total = report([fuzz_in_child(tmp_path, FORMATS, QUICK, 1), fuzz_in_child(tmp_path, HDF5, 4, 1)])
    assert total["refused"] > 100 and total["read"] > 20 and total["repaired"] > 20


@pytest.mark.slow
def test_twenty_thousand_damaged_files_are_read_right_or_refused(tmp_path):
    results = [fuzz_in_child(tmp_path, [name], SLOW, 2) for name in FORMATS]
    results += [fuzz_in_child(tmp_path, [name], SLOW_HDF5, 2) for name in HDF5]
    total = report(results)
    assert sum(total.values()) >= 20_000
    assert min(total["refused"], total["read"], total["repaired"]) > 1000


def test_the_fuzzer_sees_what_must_not_happen(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(event_files.atis(some_events()))
    assert read_damaged(path, "raise", SENSOR) == "read"

    def unnamed(*_):
        raise ValueError("something is wrong")

    monkeypatch.setitem(read_damaged.__globals__, "read_events", unnamed)
    with pytest.raises(AssertionError, match="does not name the file"):
        read_damaged(path, "raise")
    foreign = some_events()
    foreign["p"].view(np.uint8)[3] = 2
    monkeypatch.setitem(read_damaged.__globals__, "read_events", lambda *_: Recording(foreign, SENSOR))
    with pytest.raises(AssertionError, match="no 0 or 1"):
        read_damaged(path, "raise")
    monkeypatch.setitem(read_damaged.__globals__, "read_events", lambda *_: Recording(some_events(), SENSOR))
    monkeypatch.setitem(read_damaged.__globals__, "count_maps", lambda *_: np.zeros(3))
    with pytest.raises(AssertionError, match="lose events"):
        read_damaged(path, "raise")


def test_a_written_file_survives_no_flipped_bit_in_silence(tmp_path):
    path = tmp_path / "a.npz"
    write_events(path, Recording(some_events(50), SENSOR))
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(100):
        data = bytearray(whole)
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            assert np.array_equal(read_events(path).events, some_events(50)), f"byte {at}"
        except ValueError as error:
            assert "a.npz: " in str(error)
