"""Lists of an official split: text files with a recording a line, its path, a tab, the path of its still.

folder of lists and root -> table with one row a recording (`file`, `folder`, `part`, `still`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eclip_lib.data.recordings import first_five, read_lines
from eclip_lib.data.sets.scan import Folders, part_of, settle_parts, warn_of_missing

_TRIED = 200  # lines by which the place of a list's paths is found


def read_split_lists(lists: Path, root: Path, still_roots: Sequence[Path], folders: Folders) -> pd.DataFrame:
    """Read the lists of a folder: the files `*.txt` that have train, val or test as a word of their name.

    Paths may be those of another machine: as many leading folders are left out as it takes for the rest to lie below
    the root. Without a list of a test part, the one of val is it.

    Args:
        lists: the folder of the lists.
        root: folder of the recordings.
        still_roots: folders that the stills may lie below.
        folders: lists what lies in folders, each once.

    Returns:
        Sorted by file, so that the order of a list has no influence. `still` is "" where the list names none or the
        image is not there; a warning tells of the latter.

    Raises:
        FileNotFoundError: there are no lists, or recordings that they name are not there.
        ValueError: there are two lists of one part, a recording is listed twice, or a line is none of a list.
    """
    tables = []
    for part, path in _find_lists(lists).items():
        events, stills = _read_list(path)
        table = pd.DataFrame({"file": _find_recordings(path, events, root, folders), "part": part})
        table["still"] = _find_listed_stills(path, stills, still_roots, folders)
        tables.append(table)
    table = settle_parts(pd.concat(tables)).sort_values("file", ignore_index=True)
    twice = table.file[table.file.duplicated()].tolist()
    if twice:
        raise ValueError(
            f"{lists}: {len(twice)} recordings are listed twice, so a split would leak: {first_five(twice)}"
        )
    table["folder"] = table.file.str.split("/").str[-2]
    return table


def _find_lists(lists: Path) -> dict[str, Path]:
    """Return the list of each part."""
    found: dict[str, Path] = {}
    for path in sorted(lists.glob("*.txt")) if lists.is_dir() else []:
        parts = [part_of(word) for word in re.split("[^a-z]+", path.stem.lower()) if part_of(word)]
        if parts and parts[0] in found:
            raise ValueError(
                f"{lists} has two lists for {parts[0]}, {found[parts[0]].name} and {path.name}; keep one in a folder"
            )
        found |= {parts[0]: path} if parts else {}
    if not found:
        raise FileNotFoundError(f"{lists}: no split lists; expected a folder of *_train.txt, *_val.txt or *_test.txt")
    return found


def _read_list(path: Path) -> tuple[list[str], list[str]]:
    """Return the listed paths of recordings, and those of stills, "" where a line has none."""
    lines = [line.replace("\\", "/") for line in read_lines(path)]
    rows = [(number, line.strip().split("\t")) for number, line in enumerate(lines, 1) if line.strip()]
    for number, row in rows:
        if len(row) > 2 or row[0].count("/") < 1:
            raise ValueError(
                f"{path}, line {number}: {lines[number - 1][:100]!r}; expected <class>/<recording>, and after a tab "
                "the path of its still"
            )
    if not rows:
        raise ValueError(f"{path} is empty; it should list a recording a line")
    return [row[0] for _, row in rows], [row[1] if len(row) > 1 else "" for _, row in rows]


def _tail(path: str, cut: int) -> str:
    """Return a path without its first `cut` parts; the / of an absolute path is the first."""
    return path.split("/", cut)[-1] if path.count("/") >= cut else ""


def _place(listed: Sequence[str], roots: Sequence[Path], folders: Folders) -> tuple[Path, int, int]:
    """Find the root and the number of leading parts to leave out by which most of the listed files are there."""
    tried = [listed[i] for i in np.unique(np.linspace(0, len(listed) - 1, _TRIED).astype(int))]
    best = (roots[0], 0, 0)
    for root in roots:
        for cut in range(max(path.count("/") for path in tried) + 1):
            hits = sum(folders.has(root / _tail(path, cut)) for path in tried if _tail(path, cut))
            best = (root, cut, hits) if hits > best[2] else best
    return best


def _find_recordings(path: Path, listed: list[str], root: Path, folders: Folders) -> list[str]:
    """Return the listed recordings, named below the root where they lie below it."""
    _, cut, hits = _place(listed, [root], folders)
    files = [root / _tail(name, cut) for name in listed]
    missing = [name for name, file in zip(listed, files, strict=True) if not hits or not folders.has(file)]
    if missing:
        raise FileNotFoundError(
            f"{path}: {len(missing)} of {len(listed)} recordings that it lists are not in {root}: {first_five(missing)}"
            "; root must be the folder that the listed paths, or the ends of them, start from"
        )
    return [file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix() for file in files]


def _find_listed_stills(path: Path, listed: list[str], roots: Sequence[Path], folders: Folders) -> list[str]:
    """Return the paths of the listed stills, "" for those that are not there."""
    named = [name for name in listed if name]
    if not named or not roots:
        return [""] * len(listed)
    root, cut, hits = _place(named, roots, folders)
    stills = [root / _tail(name, cut) if name else None for name in listed]
    found = [str(still) if hits and still and folders.has(still) else "" for still in stills]
    if not any(found):
        raise FileNotFoundError(
            f"{path} lists {len(named)} stills, but none of them is in {first_five(roots)}: {first_five(named)}; name "
            "their folder with stills=..."
        )
    missing = [name for name, still in zip(listed, found, strict=True) if name and not still]
    warn_of_missing(f"{path}: {len(missing)} of {len(named)} stills that it lists are not in {root}", missing)
    return found
