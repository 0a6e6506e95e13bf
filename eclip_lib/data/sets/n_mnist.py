"""N-MNIST: real recordings of the MNIST digits, with MNIST itself as stills.

`DataConfig` and a folder -> `FileList`.
"""

import gzip
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from eclip_lib.cache import content_key
from eclip_lib.config import DataConfig
from eclip_lib.data.recordings import FileList, fingerprint, first_five, tracked_classes
from eclip_lib.data.sets.lists import read_split_lists
from eclip_lib.data.sets.scan import Folders, part_of
from eclip_lib.paths import ASSETS, find_path

N_MNIST_SENSOR = (34, 34)
IDX = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_FOLDERS = ("mnist", "MNIST", "MNIST/raw", "mnist_png", "MINIST")  # the last is the official code's spelling
# Names of PNG files by the number of a recording, which counts from 1: the official code's, that of the recordings,
# mnist_png's. A still lies in the folder of its digit, so that a wrong count does not fit.
_PNG_NAMES: tuple[Callable[[str, int], str], ...] = (
    lambda part, number: f"mnist_{part}_{number}",
    lambda part, number: f"mnist_train_{number}",  # the official lists call the stills of the test part so too
    lambda part, number: f"{number:05d}",
    lambda part, number: f"{number - 1}",
)


def list_n_mnist(cfg: DataConfig, root: Path) -> FileList:
    """List the recordings of the tracked folds (`cfg.fold`), of split lists, or of the Train and Test folders.

    Stills come from MNIST's idx files or from folders of PNG files, `train/<digit>/<number>.png`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or there is no such fold.
    """
    table = _n_mnist_table(root, cfg)
    given, idx = find_path(cfg.stills) if cfg.stills else None, _find_idx(root, cfg.stills)
    table["still"] = [""] * len(table) if idx else _find_pngs(table, root, given)
    images = _mnist_images(idx) if idx else {}
    if idx and not set(table.source) <= set(images):
        raise FileNotFoundError(f"the stills of N-MNIST's test part are missing: {IDX['test']}.gz of MNIST in {idx}")
    key = [cfg.dataset, fingerprint(root, table.file)]
    return FileList(
        name=cfg.dataset,
        root=root,
        class_names=tuple(tracked_classes("n-mnist").values()),
        table=table,
        sensor_size=N_MNIST_SENSOR,
        key=content_key(key if idx else [*key, fingerprint(Path("/"), table.still)]),
        draw_still=_reader(table, images) if idx else None,
    )


def _reader(table: pd.DataFrame, images: dict[str, np.ndarray]) -> Callable[[int], np.ndarray]:
    """Return the function from the index of a recording to its still."""
    sources, numbers = table.source.to_list(), table.mnist.to_numpy()
    return lambda index: np.repeat(images[sources[index]][numbers[index]][..., None], 3, axis=2)


def _n_mnist_table(root: Path, cfg: DataConfig) -> pd.DataFrame:
    """List the recordings; `source` is the part of MNIST, and `mnist` the index in it, that one shows."""
    if cfg.splits:
        table = read_split_lists(find_path(cfg.splits), root, [], Folders()).drop(columns=["still", "folder"])
    elif cfg.fold is None:
        files = [(p.relative_to(root).as_posix(), p.parts[-3].lower()) for p in sorted(root.glob("T*/[0-9]/*.bin"))]
        table = pd.DataFrame(files, columns=["file", "part"])
        if set(table.part) != {"train", "test"}:
            raise FileNotFoundError(
                f"{root} must hold Train and Test folders of digits, or name a fold of the tracked list (fold = 0 to "
                "4, or --fold 0)"
            )
    else:
        table = _fold(root, cfg.fold)
    parts = table.file.str.split("/")
    if not (parts.str.len().min() >= 3 and parts.str[-2].str.fullmatch("[0-9]").all()):
        raise ValueError(f"{cfg.splits}: lists {table.file.iloc[0]}; expected Train/<digit>/<nnnnn>.bin")
    table["label"] = parts.str[-2].astype(int)
    table["source"] = parts.str[-3].str.lower()
    table["mnist"] = parts.str[-1].str.removesuffix(".bin").astype(int) - 1  # file numbers count from 1
    return table


def _fold(root: Path, fold: int) -> pd.DataFrame:
    """List the recordings of the tracked folds, with `fold` as test part."""
    table = pd.read_csv(ASSETS / "n_mnist_folds.csv")
    if fold not in set(table.fold):
        raise ValueError(f"fold = {fold}: the tracked folds of n-mnist are {sorted(set(table.fold))}")
    missing = [file for file in table.file if not (root / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} recordings of the folds are not in {root}: {first_five(missing)}; root must be "
            "the folder that holds Train/<digit>/<nnnnn>.bin"
        )
    table["part"] = np.where(table.fold == fold, "test", "train")
    return table


# --- stills ---


def _still_folders(root: Path, given: Path | None) -> list[Path]:
    return [given] if given else [*(base / name for base in (root, root.parent) for name in _FOLDERS), root]


def _idx_file(folder: Path, name: str) -> Path | None:
    """Return an idx file of a folder, packed or not; None if there is none."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _find_idx(root: Path, given: str | None) -> Path | None:
    """Return the folder of MNIST's idx files."""
    folders = _still_folders(root, find_path(given) if given else None)
    return next((folder for folder in folders if _idx_file(folder, IDX["train"])), None)


def _find_pngs(table: pd.DataFrame, root: Path, given: Path | None) -> list[str]:
    """Return the path of the PNG file of each recording.

    Raises:
        FileNotFoundError: there are none, or some are missing.
    """
    for place in _still_folders(root, given):
        folders, best = Folders(), [""] * len(table)
        parts = {part_of(name): name for name in folders.subfolders(place)}
        for name in _PNG_NAMES:
            found = [_png(place, parts, folders, name, row) for row in table.itertuples()]
            best = max(best, found, key=lambda paths: sum(map(bool, paths)))
        missing = [file for file, path in zip(table.file, best, strict=True) if not path]
        if missing and len(missing) < len(table):
            raise FileNotFoundError(
                f"{place}: the stills of {len(missing)} recordings are missing: {first_five(missing)}"
            )
        if not missing:
            return best
    raise _no_mnist(root, given)


class _Row(Protocol):
    """A recording as its table names its still."""

    source: str  # "train" or "test" of MNIST
    label: int
    mnist: int  # which image of it


def _png(place: Path, parts: dict[str, str], folders: Folders, name: Callable[[str, int], str], row: _Row) -> str:
    """Return the path of a PNG file of one way to name them, "" if there is none."""
    folder = place / parts.get(row.source, "") / str(row.label)
    file = folders.images(folder).get(name(row.source, row.mnist + 1)) if row.source in parts else None
    return str(folder / file) if file else ""


def _no_mnist(root: Path, given: Path | None) -> FileNotFoundError:
    places = given or f"{root.parent / 'mnist'} or {root / 'mnist'}"
    return FileNotFoundError(
        f"the MNIST stills of n-mnist are missing: put train-images-idx3-ubyte.gz into {places}, or name their folder "
        "with stills=...; folders of PNG files, train/<digit>/<number>.png, will do too"
    )


def read_mnist(root: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's 60,000 training stills, uint8 (N, 28, 28), white on black, and their labels (N,).

    Args:
        root: the folder of N-MNIST; MNIST's files lie in a folder `mnist` inside or beside it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged.
    """
    root = find_path(str(root))
    folder = _find_idx(root, None)
    if not folder:
        raise _no_mnist(root, None)
    labels = _idx_file(folder, "train-labels-idx1-ubyte")
    if not labels:
        missing = folder / "train-labels-idx1-ubyte.gz"
        raise FileNotFoundError(f"{missing}: the labels of the MNIST stills beside it are missing")
    return _mnist_images(folder)["train"], _read_idx(labels)


def _mnist_images(folder: Path) -> dict[str, np.ndarray]:
    """Read the idx files of MNIST that are there, by part: uint8 (N, 28, 28)."""
    files = {part: _idx_file(folder, name) for part, name in IDX.items()}
    return {part: _read_images(path, path.stat().st_mtime_ns) for part, path in files.items() if path}


@lru_cache(maxsize=2)
def _read_images(path: Path, _changed: int) -> np.ndarray:
    """Read an idx file once, and again when it has changed."""
    return _read_idx(path)


def _read_idx(path: Path) -> np.ndarray:
    """Read an idx file of bytes, gzipped or not: its shape is in its header."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        magic, sides = struct.unpack(">i", data[:4])[0], data[3]
        if magic not in (2049, 2051):
            raise ValueError(f"magic number {magic}, expected 2051 for images, 2049 for labels")
        shape = struct.unpack(f">{sides}i", data[4 : 4 + 4 * sides])
        return np.frombuffer(data, np.uint8, offset=4 + 4 * sides).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise ValueError(f"{path} is not {'a gzipped' if path.suffix == '.gz' else 'an'} idx file: {error}") from error
