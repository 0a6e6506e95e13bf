"""A data set in a few large files: tar shards that WebDataset's tools stream, with an index for reading in any order.

`FileList` -> folder of `<part>-<number>.tar`, `index.npz`, `shards.json` -> `EventData`.
"""

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from eclip_lib.cache import atomic_path, content_key, parallel_map
from eclip_lib.camera import to_rgb
from eclip_lib.config import DataConfig
from eclip_lib.data.recordings import PARTS, EventData, FileList, first_five, no_still
from eclip_lib.events import Recording, read_event_bytes

HEADER_FILE, INDEX_FILE, VERSION = "shards.json", "index.npz", 1
SHARD_BYTES = 256 << 20  # our choice: large for a network's disk, small enough to be held in memory while packing
ORDER_SEED = 2308_03135  # of the order in the shards
MOST_BYTES = 2_000_000_000  # of a recording, which is read from its shard by one call
_AT_ONCE = 64  # recordings read at once while packing
_OPEN_SHARDS = 128  # in a process; well below the usual limit of 1,024 open files
_COLUMNS = ("label", "part", "group", "shard", "suffix", "offset", "size", "still_offset", "still_size")


class Sample(NamedTuple):
    """A recording and its still as files: suffix and content of each, "" and b"" without a still."""

    row: int
    suffix: str
    content: bytes
    still_suffix: str
    still: bytes


# --- writing ---


def pack(files: FileList, out: Path, shard_bytes: int = SHARD_BYTES, fold: int | None = None) -> dict:
    """Copy the files of a data set into shards, byte by byte, each part into its own.

    The recordings of a part are shuffled once, so that a tool that reads a shard from its start sees mixed classes;
    the index restores the order of the data set. A recording is, as one of WebDataset's samples, the files
    `<number>.<its suffix>`, `<number>.cls` (its label), `<number>.json` (id, class, part) and, where there is one, the
    image file of its still. The same files give the same shards, bit by bit.

    Args:
        files: the data set.
        out: folder of the shards; `shards.json` appears when all the others are complete.
        shard_bytes: a shard is closed when its recordings and stills have as many.
        fold: of the config, which the division of the shards belongs to.

    Returns:
        What `shards.json` says.

    Raises:
        ValueError: the folder is not empty, or a recording is empty or above `MOST_BYTES`.
        FileNotFoundError: a file has gone.
    """
    if out.exists() and any(out.iterdir()):
        what = "has shards already" if has_shards(out) else "is not empty"
        raise ValueError(f"{out} {what}; name another folder, or delete it first")
    data, content = files.open(), hashlib.sha256()
    rows: list[tuple] = []
    shards: list[dict] = []
    with tqdm(total=len(data), desc="recordings packed", delay=1) as progress:
        for part in PARTS:
            indices = np.random.default_rng(ORDER_SEED).permutation(np.flatnonzero(data.part == part))
            for number, samples in enumerate(_fill(_read(files, indices), shard_bytes)):
                path = out / f"{part}-{number:06d}.tar"
                rows += [(len(shards), *row) for row in _write_tar(path, samples, data)]
                shards.append({"file": path.name, "bytes": path.stat().st_size, "recordings": len(samples)})
                for sample in samples:
                    content.update(b"".join([data.ids[sample.row].encode(), sample.content, sample.still]))
                progress.update(len(samples))
    table = pd.DataFrame(rows, columns=["shard", "index", "suffix", *_COLUMNS[5:]]).sort_values("index")
    suffixes = sorted(set(table.suffix))
    _write_index(out, data, table.assign(suffix=table.suffix.map(suffixes.index)))
    header = {"version": VERSION, "dataset": data.name, "simulated": data.simulated, "fold": fold}
    header |= {"class_names": data.class_names, "sensor_size": files.sensor_size, "suffixes": suffixes}
    header |= {"recordings": len(data), "stills": int(data.has_still.sum()), "shards": shards}
    header |= {"key": content_key([data.name, content.hexdigest(), files.sensor_size])}
    with atomic_path(out / HEADER_FILE) as path:
        path.write_text(json.dumps(header, indent=1))
    return header


def _read(files: FileList, indices: np.ndarray) -> Iterator[Sample]:
    """Read the files of recordings, some at once."""
    names = files.table.file.tolist()

    def read(index: int) -> Sample:
        path = files.root / names[index]
        content = path.read_bytes()
        if not 0 < len(content) <= MOST_BYTES:
            raise ValueError(f"{path} has {len(content):,} bytes, a shard takes 1 to {MOST_BYTES:,} of a recording")
        return Sample(int(index), path.suffix.lower(), content, *files.encoded_still(index))

    for start in range(0, len(indices), _AT_ONCE):
        yield from parallel_map(read, indices[start : start + _AT_ONCE], None)


def _fill(samples: Iterator[Sample], shard_bytes: int) -> Iterator[list[Sample]]:
    """Gather samples until they fill a shard."""
    batch, size = [], 0
    for sample in samples:
        batch.append(sample)
        size += len(sample.content) + len(sample.still)
        if size >= shard_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_tar(path: Path, samples: list[Sample], data: EventData) -> list[tuple]:
    """Write a shard; return index, suffix, offset, size, offset and size of the still for each sample."""
    rows = []
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:

        def add(name: str, content: bytes) -> int:
            header = tarfile.TarInfo(name)  # of owner and time 0: the same files give the same shard
            header.size = len(content)
            offset = tar.offset + tarfile.BLOCKSIZE
            tar.addfile(header, io.BytesIO(content))
            return offset

        for index, suffix, content, still_suffix, still in samples:
            label = int(data.labels[index])
            facts = {"id": data.ids[index], "class": data.class_names[label], "part": str(data.part[index])}
            offset = add(f"{index:09d}{suffix}", content)
            add(f"{index:09d}.cls", str(label).encode())
            add(f"{index:09d}.json", json.dumps(facts).encode())
            still_offset = add(f"{index:09d}{still_suffix}", still) if still else 0
            rows.append((index, suffix, offset, len(content), still_offset, len(still)))
    return rows


def _write_index(out: Path, data: EventData, table: pd.DataFrame) -> None:
    """Write what is known of each recording, in the order of the data set."""
    columns = {name: table[name].to_numpy(np.int64) for name in _COLUMNS[3:]}
    columns |= {"label": data.labels, "group": data.group, "part": np.array([PARTS.index(part) for part in data.part])}
    with atomic_path(out / INDEX_FILE) as path:
        np.savez_compressed(path, ids=np.frombuffer("\n".join(data.ids).encode(), np.uint8), **columns)


# --- reading ---


def has_shards(root: Path) -> bool:
    """Return whether a folder holds packed shards."""
    return (root / HEADER_FILE).is_file()


def open_shards(cfg: DataConfig, root: Path) -> EventData:
    """Open a packed data set: the same `EventData` as that of its files, but for the key.

    Labels, parts and ids come from the index; a shard is opened when one of its recordings is asked for.

    Raises:
        FileNotFoundError: a shard or the index is missing.
        ValueError: the shards are of another data set, fold or version, or a file is damaged; or the config names
            stills or split lists, which the shards have taken in.
    """
    header, index = _read_header(root), _read_index(root)
    _check_config(cfg, header, root)
    _check_shards(header, root)
    reader = _Reader(root, header, index)
    return EventData(
        name=header["dataset"],
        simulated=header["simulated"],
        class_names=tuple(header["class_names"]),
        labels=index["label"],
        part=np.array(PARTS, object)[index["part"]],
        group=index["group"],
        ids=reader.ids,
        recording=reader.recording,
        still=reader.still,
        key=header["key"],
        has_still=index["still_size"] > 0,
    )


def _read_header(root: Path) -> dict:
    """Read `shards.json`."""
    path = root / HEADER_FILE
    try:
        header = json.loads(path.read_text())
        if header["version"] != VERSION:
            raise ValueError(f"version {header['version']}, known is {VERSION}; update eclip_lib, or pack again")
        return header
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `eclip data pack` writes: {error}") from error


def shards_config(root: Path) -> DataConfig:
    """Return the config that opens packed shards."""
    header = _read_header(root)
    return DataConfig(header["dataset"], root=str(root), protocol="fine-tune", shots=None, fold=header["fold"])


def _read_index(root: Path) -> dict[str, np.ndarray]:
    """Read `index.npz`."""
    path = root / INDEX_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; copy all files of the shards, or pack again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in (*_COLUMNS, "ids")}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); copy it again, or pack again") from error


def _check_config(cfg: DataConfig, header: dict, root: Path) -> None:
    """Refuse a config that the shards do not hold."""
    for name, wanted in (("dataset", cfg.dataset), ("fold", cfg.fold)):
        if wanted != header[name]:
            raise ValueError(f"{root} has shards of {name} {header[name]!r}, but the config has {wanted!r}")
    for name in ("splits", "stills"):
        if getattr(cfg, name) is not None:
            raise ValueError(
                f"{name} = {getattr(cfg, name)!r}: the shards in {root} have their own; leave it out, or give it to "
                "`eclip data pack`"
            )


def _check_shards(header: dict, root: Path) -> None:
    """Refuse shards that are missing or cut."""
    sizes = {shard["file"]: shard["bytes"] for shard in header["shards"]}
    missing = [name for name in sizes if not (root / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {len(sizes)} shards are not in {root}: {first_five(missing)}")
    cut = [name for name, size in sizes.items() if (root / name).stat().st_size != size]
    if cut:
        raise ValueError(
            f"{len(cut)} shards in {root} are not as long as when packed: {first_five(cut)}; copy them again"
        )


@dataclass(frozen=True)
class _OpenFile:
    """A file for reading at any place; it is closed when nobody holds it any more."""

    descriptor: int

    def __del__(self) -> None:
        os.close(self.descriptor)


class _Reader:
    """Read recordings and stills from where the index says that they are."""

    def __init__(self, root: Path, header: dict, index: dict[str, np.ndarray]) -> None:
        self.ids = tuple(index["ids"].tobytes().decode().split("\n"))
        self._root, self._header, self._index = root, header, index
        size = header["sensor_size"]
        self._sensor_size = tuple(size) if size else None
        self._open = lru_cache(_OPEN_SHARDS)(lambda name: _OpenFile(os.open(root / name, os.O_RDONLY)))

    def recording(self, index: int) -> Recording:
        """Read a recording."""
        suffix = self._header["suffixes"][self._index["suffix"][index]]
        return read_event_bytes(self._bytes(index, "offset", "size"), suffix, self._sensor_size, self._where(index))

    def still(self, index: int) -> np.ndarray:
        """Read a still."""
        if not self._index["still_size"][index]:
            raise no_still(self.ids[index])
        content = self._bytes(index, "still_offset", "still_size")
        try:
            with Image.open(io.BytesIO(content)) as image:
                return to_rgb(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{self._where(index)}: its still is not an image that can be read ({error})") from error

    def _bytes(self, index: int, offset: str, size: str) -> bytes:
        """Read a part of a shard."""
        shard = self._open(self._header["shards"][self._index["shard"][index]]["file"])
        content = os.pread(shard.descriptor, int(self._index[size][index]), int(self._index[offset][index]))
        if len(content) != self._index[size][index]:
            raise ValueError(f"{self._where(index)}: the shard is cut; copy it again, or pack again")
        return content

    def _where(self, index: int) -> str:
        """Name a recording and its shard, for messages."""
        return f"{self.ids[index]} in {self._root / self._header['shards'][self._index['shard'][index]]['file']}"
