"""Data sets that are folders of classes: N-Caltech101, N-ImageNet, and any folder of a user's own.

`DataConfig`, a folder and its `Layout` -> `FileList`.
"""

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eclip_lib.cache import content_key
from eclip_lib.config import DataConfig
from eclip_lib.data.recordings import (
    TEST,
    TRAIN,
    FileList,
    fingerprint,
    first_five,
    prompt_name,
    read_classes,
    tracked_classes,
)
from eclip_lib.data.sets.lists import read_split_lists
from eclip_lib.data.sets.scan import Folders, find_stills, scan, settle_parts
from eclip_lib.paths import ASSETS, find_path

TEST_SHARE = 0.2  # of the recordings of each class of a folder without a division of its own


@dataclass(frozen=True)
class Layout:
    """How a data set looks on disk.

    Attributes:
        looks: what its root holds, for messages.
        sensor_size: (height, width), or None where files or the folder tell.
        stills: folders inside or beside the root that its stills usually lie in; "." is the root itself.
    """

    looks: str
    sensor_size: tuple[int, int] | None = None
    stills: tuple[str, ...] = ()


def list_folders(cfg: DataConfig, root: Path, layout: Layout) -> FileList:
    """List a data set of class folders, `root/<class>/` or `root/<part>/<class>/`; `pair_stills` says where stills lie.

    Raises:
        FileNotFoundError: there are no recordings, or those of the split lists are not there.
        ValueError: class folders disagree with the class list, or another file of the folder is damaged.
    """
    folders = Folders()
    given = find_path(cfg.stills) if cfg.stills else None
    bases = [given] if given else [root, root.parent]
    places = ([given] if given else []) + [base / name for name in layout.stills for base in bases]
    if cfg.splits:
        roots = [place for place in (*places, *bases) if place.is_dir()]
        table = read_split_lists(find_path(cfg.splits), root, roots, folders)
    else:
        table = scan(root, folders)
        if not _fits(cfg.dataset, table):
            raise _nothing(cfg.dataset, root, layout, folders)
    classes = _classes(cfg.dataset, root, table)
    _check_classes(cfg.dataset, root, table, classes)
    if not cfg.splits:
        table["still"] = find_stills(table, given, places, folders)
    table["label"] = table.folder.map({name: label for label, name in enumerate(classes)})
    table = settle_parts(_divide(cfg.dataset, table))
    size, simulated = _sensor(root, table) if cfg.dataset == "folder" else (layout.sensor_size, False)
    stills = [still for still in table.still if still]
    content = [fingerprint(root, table.file), fingerprint(Path("/"), stills), size]
    return FileList(
        name=cfg.dataset,
        root=root,
        class_names=tuple(classes.values()),
        table=table,
        sensor_size=size,
        key=content_key([cfg.dataset, content]),
        simulated=simulated,
    )


def _fits(dataset: str, table: pd.DataFrame) -> bool:
    """Return whether there are recordings, and a class among their folders."""
    return not table.empty and (dataset == "folder" or not tracked_classes(dataset).keys().isdisjoint(table.folder))


def _nothing(dataset: str, root: Path, layout: Layout, folders: Folders) -> FileNotFoundError:
    """Return the error for a root without recordings, which names a folder in it that has some."""
    inside = folders.subfolders(root)
    better = [name for name in inside[:100] if _fits(dataset, scan(root / name, folders))]
    hint = f"did you mean {root / better[0]}?" if better else f"it has the folders {first_five(inside) or '(none)'}"
    return FileNotFoundError(f"{root} holds no recordings of {dataset}: expected {layout.looks}; {hint}")


def _classes(dataset: str, root: Path, table: pd.DataFrame) -> dict[str, str]:
    """Return the names of the classes by their folders, in the order of the labels."""
    if dataset != "folder":
        return tracked_classes(dataset)
    if (root / "classes.txt").is_file():
        return read_classes(root / "classes.txt")
    classes = {name: prompt_name(name) for name in sorted(set(table.folder))}
    if len(set(classes.values())) < len(classes):
        raise ValueError(f"{root}: two class folders have one name but for underscores; name them in a classes.txt")
    return classes


def _check_classes(dataset: str, root: Path, table: pd.DataFrame, classes: dict[str, str]) -> None:
    """Refuse folders that are no class, and warn of classes without recordings."""
    there = set(table.folder)
    unknown = sorted(there - set(classes))
    source = root / "classes.txt" if dataset == "folder" else f"the {len(classes)} classes of {dataset}"
    if unknown:
        other = "" if dataset == "folder" else "; for classes of your own use the data set 'folder'"
        raise ValueError(f"{root}: {len(unknown)} class folders are not in {source}: {first_five(unknown)}{other}")
    missing = [name for name in classes if name not in there]
    if missing:
        warnings.warn(
            f"{root} has recordings of {len(classes) - len(missing)} of {source}; none of {first_five(missing)}",
            stacklevel=4,
        )


def _divide(dataset: str, table: pd.DataFrame) -> pd.DataFrame:
    """Fill in the part of recordings that neither lie in a folder of a part nor are listed.

    n-caltech101: the official code's test recordings. n-imagenet: all are test recordings, as in its variants of
    other lights and motions. folder: a fifth of each class, drawn by name, so that a new recording moves few others.
    """
    if (table.part != "").all():
        return table
    if dataset == "n-imagenet":
        return table.assign(part=TEST)
    test = _official_test(table) if dataset == "n-caltech101" else _fifth(table)
    return table.assign(part=np.where(test, TEST, TRAIN))


def _official_test(table: pd.DataFrame) -> np.ndarray:
    """Return which recordings of N-Caltech101 the official code tests on (its 1,741 of "val")."""
    lines = (ASSETS / "n_caltech101_test.txt").read_text().splitlines()
    numbers = {line.split("\t")[0]: line.split("\t")[1].split() for line in lines}
    stems = {f"{name}/image_{int(number):04d}" for name in numbers for number in numbers[name]}
    return table.file.str.rpartition(".")[0].isin(stems).to_numpy()


def _fifth(table: pd.DataFrame) -> np.ndarray:
    """Return which recordings test: a fifth of each class, at least one of two."""
    drawn = table.file.map(lambda file: hashlib.sha256(file.encode()).hexdigest())
    rank, count = drawn.groupby(table.folder).rank(), table.groupby("folder").file.transform("count")
    return (rank <= np.where(count > 1, np.maximum(1, np.rint(TEST_SHARE * count)), 0)).to_numpy()


def _sensor(root: Path, table: pd.DataFrame) -> tuple[tuple[int, int] | None, bool]:
    """Return the sensor of a user's folder and whether it is simulated, from camera.json or sensor.txt, if any.

    Raises:
        ValueError: the file is damaged, or there is none and the recordings do not tell either.
    """
    camera, text = root / "camera.json", root / "sensor.txt"
    path = camera if camera.is_file() else text
    if not path.is_file():
        mute = [file for file in table.file if file.lower().endswith((".bin", ".npy"))]
        if mute:
            raise ValueError(
                f"{mute[0]}: files of this format do not tell the size of their sensor; write its height and width in "
                f"pixels, such as 180 240, into {text}"
            )
        return None, False
    try:
        fields = json.loads(path.read_text()) if path == camera else {"sensor_size": path.read_text().split()}
        height, width = map(int, fields.get("camera", fields)["sensor_size"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = (
            "the fields of the camera that made the recordings" if path == camera else "the height and width in pixels"
        )
        raise ValueError(f"{path} should hold {what} ({error})") from error
    return (height, width), path == camera
