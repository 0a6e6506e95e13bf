"""Data sets of recordings with their stills.

`DataConfig` -> `EventData`: what there is, in which order, and how to get it.
"""

import gzip
import struct
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from eclip_lib.cache import atomic_path, cache_path, content_key
from eclip_lib.camera import VERSION as CAMERA_VERSION
from eclip_lib.camera import SaccadeCamera
from eclip_lib.config import ASSETS, DataConfig, find_path
from eclip_lib.events import Recording, read_events, write_events
from eclip_lib.icons import Stills, icons100

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
N_MNIST_SENSOR = (34, 34)


@dataclass(frozen=True)
class EventData:
    """One data set: what each recording is, and how to get it and its still.

    Attributes:
        name: id of the data set.
        simulated: the recordings come from the saccade camera.
        class_names: the ordered class list; a label is an index in it.
        labels: (N,) class of each recording.
        part: (N,) "train" or "test", the data set's own division.
        group: (N,) recordings of one group are near-duplicates and stay on one side of a split.
        ids: what names each recording in files of predictions.
        recording: index -> `Recording`.
        still: index -> uint8 (H, W, 3), the paired still.
        key: names the content, for caches.
    """

    name: str
    simulated: bool
    class_names: tuple[str, ...]
    labels: np.ndarray
    part: np.ndarray
    group: np.ndarray
    ids: tuple[str, ...]
    recording: Callable[[int], Recording]
    still: Callable[[int], np.ndarray]
    key: str

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.labels)


def load_dataset(cfg: DataConfig) -> EventData:
    """Open the data set of a config.

    Raises:
        FileNotFoundError: its folder or a file of it is missing.
        ValueError: a name is unknown or a file is damaged.
    """
    return _load_n_mnist(cfg) if cfg.dataset == "n-mnist" else _load_icons(cfg)


# --- icons100: embedded stills, recorded by the saccade camera ---


def _load_icons(cfg: DataConfig) -> EventData:
    stills = icons100()
    classes = stills.classes if cfg.subset is None else _read_subset(cfg.subset, stills.classes)
    stills = stills.select(stills.table.cls.isin(classes) & (stills.table.split != "photo"))
    table, camera = stills.table, SaccadeCamera()
    return EventData(
        name=cfg.dataset,
        simulated=True,
        class_names=classes,
        labels=np.array([classes.index(name) for name in table.cls]),
        part=table.split.to_numpy(),
        group=table.dup.to_numpy(),
        ids=tuple(table.vendor + "/" + table.source_name),
        recording=lambda index: recorded(stills, index, camera),
        still=stills.image,
        key=content_key([cfg.dataset, content_key(b"".join(stills.encoded)), list(classes), camera_key(camera)]),
    )


def _read_subset(name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    path = ASSETS / f"{name}.txt"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in ASSETS.glob("icons*.txt")))
        raise ValueError(f"subset {name!r} is unknown; there are {there}")
    classes = tuple(path.read_text().splitlines())
    unknown = [c for c in classes if c not in known]
    if unknown:
        raise ValueError(f"{path} names classes that the data set does not have: {', '.join(unknown)}")
    return classes


def camera_key(camera: SaccadeCamera) -> list:
    """Name a camera by its fields and the version of its simulation."""
    return [CAMERA_VERSION, camera.to_dict()]


def recorded(stills: Stills, index: int, camera: SaccadeCamera) -> Recording:
    """Record a still once; later calls read the recording from the cache. The seed is the content of the still."""
    content = content_key(stills.encoded[index])
    path = cache_path("recordings", [content, camera_key(camera)], ".npz")
    if path.is_file():
        try:
            return read_events(path)
        except ValueError as error:
            warnings.warn(f"a cached recording is simulated again: {error}", stacklevel=2)
    recording = camera.record(stills.image(index), seed=int(content, 16) % 2**32)
    with atomic_path(path) as temporary:
        write_events(temporary, recording)
    return recording


# --- N-MNIST: real recordings of the MNIST training digits ---


def _load_n_mnist(cfg: DataConfig) -> EventData:
    if cfg.root is None:
        raise ValueError("data set n-mnist needs a root: the folder that holds Train/<digit>/<nnnnn>.bin")
    root = find_path(cfg.root)
    if cfg.subset is not None:
        raise ValueError(f"n-mnist has no subset {cfg.subset!r}; leave it out")
    table = _n_mnist_table(root, cfg.fold)
    images = _mnist_images(_find_mnist(root))
    if not set(table.source) <= set(images):
        raise FileNotFoundError("the stills of N-MNIST's test part are missing: t10k-images-idx3-ubyte.gz of MNIST")
    return EventData(
        name=cfg.dataset,
        simulated=False,
        class_names=DIGITS,
        labels=table.label.to_numpy(),
        part=table.part.to_numpy(),
        group=np.arange(len(table)),
        ids=tuple(table.file),
        recording=lambda index: read_events(root / table.file.iloc[index], N_MNIST_SENSOR),
        still=lambda index: np.repeat(images[table.source.iloc[index]][table.mnist.iloc[index]][..., None], 3, axis=2),
        key=content_key([cfg.dataset, _fingerprint(root, table.file)]),
    )


def _fingerprint(root: Path, files: Iterable[str]) -> list:
    """Tell a folder's recordings apart from others without reading them all: name, size and time of each."""
    facts = [(root / file).stat() for file in files]
    return [[file, fact.st_size, fact.st_mtime_ns] for file, fact in zip(files, facts, strict=True)]


def _n_mnist_table(root: Path, fold: int | None) -> pd.DataFrame:
    """List the recordings: of the tracked folds, with `fold` as test part, or the whole Train and Test folders."""
    if fold is None:
        files = [(p.relative_to(root).as_posix(), p.parts[-3].lower()) for p in sorted(root.glob("T*/[0-9]/*.bin"))]
        table = pd.DataFrame(files, columns=["file", "part"])
        if set(table.part) != {"train", "test"}:
            raise FileNotFoundError(
                f"{root} must hold Train and Test folders of digits, or name a fold of the tracked list"
            )
    else:
        table = pd.read_csv(ASSETS / "n_mnist_folds.csv")
        if fold not in set(table.fold):
            raise ValueError(f"fold = {fold}: the tracked folds of n-mnist are {sorted(set(table.fold))}")
        missing = [file for file in table.file if not (root / file).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} recordings of the folds are not in {root}, the first is {missing[0]}; root must be "
                "the folder that holds Train/<digit>/<nnnnn>.bin"
            )
        table["part"] = np.where(table.fold == fold, "test", "train")
    parts = table.file.str.split("/")
    table["label"] = parts.str[1].astype(int)
    table["source"] = parts.str[0].str.lower()
    table["mnist"] = parts.str[2].str.removesuffix(".bin").astype(int) - 1  # file numbers count from 1
    return table


def _find_mnist(root: Path) -> Path:
    for folder in (root / "mnist", root.parent / "mnist", root):
        if (folder / "train-images-idx3-ubyte.gz").is_file():
            return folder
    raise FileNotFoundError(
        f"the MNIST stills of n-mnist are missing: put train-images-idx3-ubyte.gz into {root.parent / 'mnist'} "
        f"or {root / 'mnist'}"
    )


def read_mnist(root: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's 60,000 training stills, uint8 (N, 28, 28), white on black, and their labels (N,).

    Args:
        root: the folder of N-MNIST; MNIST's files lie in a folder `mnist` inside or beside it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged.
    """
    folder = _find_mnist(find_path(str(root)))
    labels = folder / "train-labels-idx1-ubyte.gz"
    if not labels.is_file():
        raise FileNotFoundError(f"{labels}: the labels of the MNIST stills beside it are missing")
    return _mnist_images(folder)["train"], _read_idx(labels)


@lru_cache(maxsize=1)
def _mnist_images(folder: Path) -> dict[str, np.ndarray]:
    """Read the idx files of MNIST that are there, by part: uint8 (N, 28, 28)."""
    files = {"train": folder / "train-images-idx3-ubyte.gz", "test": folder / "t10k-images-idx3-ubyte.gz"}
    return {part: _read_idx(path) for part, path in files.items() if path.is_file()}


def _read_idx(path: Path) -> np.ndarray:
    """Read a gzipped idx file of bytes: its shape is in its header."""
    try:
        data = gzip.decompress(path.read_bytes())
        magic, sides = struct.unpack(">i", data[:4])[0], data[3]
        if magic not in (2049, 2051):
            raise ValueError(f"magic number {magic}, expected 2051 for images, 2049 for labels")
        shape = struct.unpack(f">{sides}i", data[4 : 4 + 4 * sides])
        return np.frombuffer(data, np.uint8, offset=4 + 4 * sides).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise ValueError(f"{path} is not a gzipped idx file: {error}") from error
