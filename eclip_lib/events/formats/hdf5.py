"""HDF5 recordings: Prophesee's `CD/events`, DSEC's `events/x` and so on with `t_offset`, and flat columns.

file -> columns, and the sensor's size where an attribute tells it.

Chunks packed by Prophesee's ECF are handed on as they are, since the HDF5 library has no filter for it.

The HDF5 library is large and written in C; damaged files have made it crash, loop and fill memory. So the file is
opened in a process of its own (this module run as a program) with limits on time and memory, which takes 0.3 s.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from eclip_lib.events.decoding import Decoded, Refused, Size, allowed_bytes, check_inflation
from eclip_lib.events.formats.ecf import decode_ecf

_SECONDS, _SECONDS_PER_MB = 30, 1  # for the process; reading takes 0.01 s a megabyte from a disk
_MEMORY = 768 << 20  # bytes of address space for the libraries themselves
_REFUSED = 3  # the exit status with which the process says why it refuses a file
_ECF = 0x8ECF  # HDF5's number for Prophesee's own compression
_NAMES = (("x", "y", "t", "p"), ("xs", "ys", "ts", "ps"))  # the second are those of event_utils, with times in seconds


def read_hdf5(path: Path, repair: bool = False) -> Decoded:
    """Read a recording in a process of its own.

    Raises:
        ModuleNotFoundError: the extra `formats` is not installed.
        ValueError: the file is damaged, of another layout or packed by an unknown filter, or would inflate beyond
            `allowed_bytes`.
    """
    allowed = allowed_bytes(path)
    limit = _SECONDS + _SECONDS_PER_MB * (path.stat().st_size >> 20)
    with tempfile.TemporaryDirectory(prefix="eclip-hdf5-") as folder:
        target = Path(folder) / "columns.npz"
        command = [sys.executable, "-P", "-m", __name__, str(path.resolve()), str(target), str(allowed)]
        try:
            done = subprocess.run(command, env=_environment(), capture_output=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            raise ValueError(f"damaged: the HDF5 library had not read it after {limit} s; fetch it again") from None
        _check_exit(done)
        with np.load(target, allow_pickle=False) as archive:
            content = dict(archive)
    size = content.pop("sensor_size").tolist()
    if "ecf" in content:
        chunks = np.split(content["ecf"], np.cumsum(content["ecf_sizes"])[:-1])
        content = decode_ecf(chunks, content["ecf_counts"].tolist())
    return Decoded(content, tuple(size) or None)


def _environment() -> dict[str, str]:
    """Return an environment that finds the same modules, with one thread: each takes address space."""
    paths = os.pathsep.join(path for path in sys.path if path)
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    return os.environ | threads | {"PYTHONPATH": paths}


def _check_exit(done: subprocess.CompletedProcess) -> None:
    """Raise what the process says, or what it died of."""
    if not done.returncode:
        return
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    if done.returncode == _REFUSED:
        raise ValueError(said)
    if "ModuleNotFoundError" in said:
        raise ModuleNotFoundError(f"{said}; HDF5 files need the extra: pip install 'eclip-workbench[formats]'")
    cause = f"signal {-done.returncode}" if done.returncode < 0 else said or f"status {done.returncode}"
    raise ValueError(f"damaged: the HDF5 library broke down while reading it ({cause}); fetch it again")


# From here on, what runs in the process.


def _main(path: str, target: str, allowed: str) -> int:
    """Write the columns of a file to an archive of arrays; return the exit status."""
    _limit_memory(_MEMORY + 3 * int(allowed))
    import h5py

    try:
        with h5py.File(path, "r") as file:
            columns, seconds = _columns(file)
            sizes = [_checked_bytes(dataset) for dataset in {column[0] for column in columns.values()}]
            check_inflation(sum(sizes), int(allowed))
            content = _content(columns, seconds, file)
            size = np.array(_sensor_size(file, columns["x"][0]) or (), np.int64)
            np.savez(target, **content, sensor_size=size)  # type: ignore[arg-type]  # it takes no array for a flag
    except MemoryError:
        return _refuse("damaged: it asks for more memory than its size allows; fetch it again")
    except (ValueError, OSError, KeyError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
        known = isinstance(error, Refused)
        return _refuse(str(error) if known else f"damaged or no HDF5 recording, fetch it again: {error}")
    return 0


def _refuse(why: str) -> int:
    """Say why a file is refused, in one line, and return the exit status for it."""
    sys.stderr.write("\n" + " ".join(why.split()) + "\n")
    return _REFUSED


def _limit_memory(size: int) -> None:
    """Let this process have no more address space; not on Windows, which has no such limit."""
    try:
        import resource
    except ModuleNotFoundError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))


def _columns(file) -> tuple[dict[str, tuple], bool]:
    """Return dataset and field of each column, and whether the times are seconds."""
    import h5py

    events = file.get("CD/events")
    if isinstance(events, h5py.Dataset):
        if not set("xytp") <= set(events.dtype.names or ()):
            raise Refused(f"CD/events is {events.dtype}; expected fields x, y, t, p; is it a recording?")
        return {name: (events, name) for name in "xytp"}, False
    for group in (file.get("events"), file):
        for names in _NAMES if isinstance(group, h5py.Group) else ():
            found = [group.get(name) for name in names]
            if all(isinstance(dataset, h5py.Dataset) for dataset in found):
                return {name: (dataset, None) for name, dataset in zip("xytp", found, strict=True)}, names != _NAMES[0]
    raise Refused(
        f"holds {', '.join(list(file)[:20]) or 'nothing'}; expected CD/events (Prophesee), events/x, y, t, p (DSEC), "
        "or x, y, t, p (xs, ys, ts, ps with seconds)"
    )


def _checked_bytes(dataset) -> int:
    """Return the size of a dataset that can be read here."""
    import h5py

    if dataset.external or dataset.is_virtual:
        raise Refused(f"{dataset.name} keeps its data in another file; join them with h5repack")
    if dataset.ndim != 1 or dataset.dtype.hasobject:
        raise Refused(f"{dataset.name} is {dataset.dtype}{list(dataset.shape)}; expected 1-D numbers")
    for number in [] if _is_ecf(dataset) else _filters(dataset):
        if not h5py.h5z.filter_avail(number):
            import hdf5plugin  # noqa: F401  (registers the usual filters)
        if not h5py.h5z.filter_avail(number):
            raise Refused(
                f"{dataset.name} is packed by HDF5 filter {number}, which is not installed; put its plugin on "
                "HDF5_PLUGIN_PATH, or convert the file with the maker's tools"
            )
    return dataset.size * dataset.dtype.itemsize


def _filters(dataset) -> list[int]:
    """Return the numbers of the filters that pack a dataset."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def _is_ecf(dataset) -> bool:
    """Return whether Prophesee's compression, and nothing else, packs a dataset of events."""
    return dataset.dtype.names is not None and _filters(dataset) == [_ECF]


def _ecf_chunks(dataset) -> dict[str, np.ndarray]:
    """Return the packed chunks of a dataset, joined, their sizes in bytes, and how many events of each count."""
    (length,), found, counts = dataset.chunks, [], []
    for start in range(0, len(dataset), length):
        mask, packed = dataset.id.read_direct_chunk((start,))
        if mask:
            raise Refused(f"{dataset.name} has a chunk at event {start} that is not packed as the others are")
        found.append(np.frombuffer(packed, np.uint8))
        counts.append(min(length, len(dataset) - start))
    joined = np.concatenate(found) if found else np.empty(0, np.uint8)
    sizes = np.array([len(chunk) for chunk in found], np.int64)
    return {"ecf": joined, "ecf_sizes": sizes, "ecf_counts": np.array(counts, np.int64)}


def _content(columns: dict[str, tuple], seconds: bool, file) -> dict[str, np.ndarray]:
    """Read the columns, times in microseconds; of a dataset packed by ECF its chunks."""
    if _is_ecf(columns["x"][0]):
        return _ecf_chunks(columns["x"][0])
    whole = {dataset: dataset[()] for dataset in {column[0] for column in columns.values()}}
    content = {name: whole[dataset][field] if field else whole[dataset] for name, (dataset, field) in columns.items()}
    t = content["t"]
    if seconds:
        content["t"] = np.rint(t.astype(np.float64) * 1e6)
    elif t.dtype.kind not in "iu":
        raise Refused(f"t is {t.dtype}; expected integers, microseconds (times in seconds go by the name ts)")
    elif "t_offset" in file:
        content["t"] = t.astype(np.int64) + int(file["t_offset"][()])
    return content


def _sensor_size(file, dataset) -> Size | None:
    """Return (height, width) from the attributes of the file or of the group with the events."""
    for attributes in (file.attrs, dataset.parent.attrs):
        geometry = attributes.get("geometry", b"")
        text = geometry.decode("ascii", "replace") if isinstance(geometry, bytes) else str(geometry)
        if sides := re.fullmatch(r"(\d{1,6})x(\d{1,6})", text):
            return int(sides[2]), int(sides[1])
        if "height" in attributes and "width" in attributes:
            return int(attributes["height"]), int(attributes["width"])
        if np.shape(attributes.get("sensor_resolution")) == (2,):
            return tuple(int(side) for side in attributes["sensor_resolution"])
    return None


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
