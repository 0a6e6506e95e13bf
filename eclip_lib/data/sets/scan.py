"""What lies in the folders of a data set: recordings by class and part, and the stills that belong to them.

folder -> table with one row a recording (`file`, `folder`, `part`).
"""

import os
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from eclip_lib.camera import IMAGE_SUFFIXES
from eclip_lib.data.recordings import TEST, TRAIN, VAL, first_five
from eclip_lib.events import RECORDING_SUFFIXES

_PART_FOLDERS = {"train": TRAIN, "training": TRAIN, "val": VAL, "validation": VAL, "test": TEST, "testing": TEST}


class MissingStills(UserWarning):
    """Some recordings of a data set have no still, while others have one."""


def part_of(name: str) -> str:
    """Return the part that a folder or a list is named after, or ""; N-ImageNet's are `extracted_train` and so on."""
    return _PART_FOLDERS.get(name.lower().removeprefix("extracted_"), "")


def settle_parts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with "val" as the test part where there is no other, as in N-ImageNet and the official lists."""
    if VAL in set(table.part) and TEST not in set(table.part):
        return table.assign(part=table.part.replace(VAL, TEST))
    return table


class Folders:
    """The content of folders, each of which is listed once: much quicker than asking for a million files."""

    def __init__(self) -> None:
        self._entries = cache(_entries)
        self.images = cache(self._images)

    def subfolders(self, folder: Path) -> list[str]:
        """Return the names of the folders in a folder, sorted; hidden ones are left out."""
        return [name for name, is_folder in self._entries(folder).items() if is_folder]

    def recordings(self, folder: Path) -> list[str]:
        """Return the names of the recordings in a folder, sorted; only their suffix is looked at."""
        entries = self._entries(folder).items()
        return [name for name, is_folder in entries if not is_folder and name.lower().endswith(RECORDING_SUFFIXES)]

    def has(self, path: Path) -> bool:
        """Return whether there is such a file."""
        return self._entries(path.parent).get(path.name) is False

    def _images(self, folder: Path) -> dict[str, str]:
        """Return the names of the images in a folder by their name without suffix."""
        names = [name for name in self._entries(folder) if name.lower().endswith(IMAGE_SUFFIXES)]
        return {name.rpartition(".")[0]: name for name in reversed(names)}  # of two of one name, the first


def _entries(folder: Path) -> dict[str, bool]:
    """Return what lies in a folder, sorted, hidden ones left out: whether each is a folder. Empty if there is none."""
    try:
        with os.scandir(folder) as entries:
            return dict(sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith(".")))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def scan(root: Path, folders: Folders) -> pd.DataFrame:
    """List the recordings of `root/<class>/` or `root/<part>/<class>/`, sorted by file.

    A folder named after a part that holds recordings itself is a class. Columns: `file` below root, `folder` of its
    class, `part` ("" where there are no folders of parts).
    """
    subfolders = folders.subfolders(root)
    parts = [name for name in subfolders if part_of(name) and not folders.recordings(root / name)]
    rows = []
    for part in parts:
        for name in folders.subfolders(root / part):
            files = folders.recordings(root / part / name)
            rows += [(f"{part}/{name}/{file}", name, part_of(part)) for file in files]
    if not rows:
        rows = [(f"{name}/{file}", name, "") for name in subfolders for file in folders.recordings(root / name)]
    return pd.DataFrame(sorted(rows), columns=["file", "folder", "part"])


def pair_stills(table: pd.DataFrame, root: Path, folders: Folders) -> list[str]:
    """Return the path of the still of each recording below a folder of stills, "" where there is none.

    A still has the name of its recording but for the suffix, and lies in `<class>/`, `<part>/<class>/` or `<part>/`.
    """
    if not folders.subfolders(root):
        return [""] * len(table)
    part_folders = {part_of(name): name for name in folders.subfolders(root) if part_of(name)}

    @cache
    def places(folder: str, part: str) -> list[Path]:
        with_part = [root / part_folders[part] / folder, root / part_folders[part]] if part in part_folders else []
        return [place for place in [root / folder, *with_part] if folders.images(place)]

    paths = []
    for file, folder, part in zip(*(table[name].tolist() for name in ("file", "folder", "part")), strict=True):
        stem = file.rpartition("/")[2].rpartition(".")[0]
        found = (place / folders.images(place)[stem] for place in places(folder, part) if stem in folders.images(place))
        paths.append(str(next(found, "")))
    return paths


def find_stills(table: pd.DataFrame, given: Path | None, places: Iterable[Path], folders: Folders) -> list[str]:
    """Pair recordings with the stills of the first place that has any.

    Raises:
        ValueError: the places are those of a given folder, and there are no such stills.
    """
    for place in places:
        paths = pair_stills(table, place, folders)
        if any(paths):
            missing = [file for file, path in zip(table.file, paths, strict=True) if not path]
            warn_of_missing(f"{len(missing)} recordings have no still in {place}", missing)
            return paths
    if given:
        stem = table.file.iloc[0].rpartition("/")[2].rpartition(".")[0]
        raise ValueError(
            f"{given} has a still of none of the {len(table)} recordings; a still has the name of its recording, such "
            f"as {given / table.folder.iloc[0] / stem}.jpg for {table.file.iloc[0]}"
        )
    return [""] * len(table)


def warn_of_missing(what: str, missing: Sequence[str]) -> None:
    """Warn of recordings without a still, where others have one."""
    if missing:
        text = f"{what}: {first_five(missing)}; recordings without a still take part in the terms that need none"
        warnings.warn(text, MissingStills, stacklevel=5)
