"""What every data set becomes, whatever it looks like on disk.

`EventData`: what there is, in which order, and how to get it. `FileList`: the files it comes from, where it has files.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from eclip_lib.cache import content_key
from eclip_lib.camera import read_still
from eclip_lib.events import Recording, read_events
from eclip_lib.paths import ASSETS

TRAIN, VAL, TEST = PARTS = ("train", "val", "test")
MOST_STATS = 200_000  # files whose size and time are looked up; more would take minutes on a network's disk


@dataclass(frozen=True)
class EventData:
    """One data set: what each recording is, and how to get it and its still.

    Attributes:
        name: id of the data set.
        simulated: the recordings come from the saccade camera.
        class_names: the ordered class list; a label is an index in it.
        labels: (N,) class of each recording.
        part: (N,) "train", "val" or "test", the data set's own division. Most data sets have no "val"; where it is
            there, it is for the choice of hyperparameters and checkpoints and never trains.
        group: (N,) recordings of one group are near-duplicates and stay on one side of a split.
        ids: what names each recording in files of predictions.
        recording: index -> `Recording`. ValueError for a damaged file.
        still: index -> uint8 (H, W, 3), the paired still. ValueError where the recording has none.
        key: names the content, for caches.
        has_still: (N,) bool; a recording without a still takes part in the terms that need none.
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
    has_still: np.ndarray

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.labels)


@dataclass(frozen=True)
class FileList:
    """The files of a data set, one recording a file.

    Attributes:
        name: id of the data set.
        root: folder that the recordings are named below.
        class_names: the ordered class list.
        table: one row a recording; columns `file` (below root), `label`, `part` and `still`: the path of its still, or
            "" where there is no such file.
        sensor_size: (height, width), or None where the files tell.
        key: names the content, for caches.
        simulated: the recordings come from the saccade camera.
        draw_still: index -> uint8 (H, W, 3), where stills are not one image file each; every recording then has one.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    table: pd.DataFrame
    sensor_size: tuple[int, int] | None
    key: str
    simulated: bool = False
    draw_still: Callable[[int], np.ndarray] | None = None

    def open(self) -> EventData:
        """Return the data set; a file is read when its recording or still is asked for."""
        ids, stills = tuple(self.table.file), self.table.still.to_numpy(object)

        def still(index: int) -> np.ndarray:
            if self.draw_still:
                return self.draw_still(index)
            if not stills[index]:
                raise no_still(ids[index])
            return read_still(stills[index])

        return EventData(
            name=self.name,
            simulated=self.simulated,
            class_names=self.class_names,
            labels=self.table.label.to_numpy(),
            part=self.table.part.to_numpy(),
            group=np.arange(len(ids)),
            ids=ids,
            recording=lambda index: read_events(self.root / ids[index], self.sensor_size),
            still=still,
            key=self.key,
            has_still=np.full(len(ids), True) if self.draw_still else stills != "",
        )

    def encoded_still(self, index: int) -> tuple[str, bytes]:
        """Return the suffix and the content of the image file of a still; ("", b"") where there is none."""
        if self.draw_still:
            file = io.BytesIO()
            Image.fromarray(self.draw_still(index)).save(file, "PNG")
            return ".png", file.getvalue()
        path = self.table.still.iloc[index]
        return (Path(path).suffix.lower(), Path(path).read_bytes()) if path else ("", b"")


def no_still(name: str) -> ValueError:
    """Return the error for a still that is not there."""
    return ValueError(f"recording {name} has no still; data.has_still tells which recordings have one")


def read_classes(path: Path) -> dict[str, str]:
    """Read an ordered class list: a folder name a line, and behind a tab the name for prompts.

    Without a tab, the name is the folder's with spaces for underscores, as the official code has it.

    Returns:
        Name by folder, in order.

    Raises:
        ValueError: a folder or a name is there twice, or the list is empty.
    """
    lines = [line.split("\t") for line in read_lines(path) if line.strip()]
    folders, names = (
        [line[0] for line in lines],
        [(line[1] if len(line) > 1 else prompt_name(line[0])) for line in lines],
    )
    for kind, values in (("folder", folders), ("name", names)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{path} has the {kind} {twice[0]!r} twice; each class needs its own")
    if not lines:
        raise ValueError(f"{path} is empty; it should name a class folder a line")
    return dict(zip(folders, names, strict=True))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        ValueError: it is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error}") from error


def tracked_classes(dataset: str) -> dict[str, str]:
    """Return the class list of a data set that comes with the library, see `read_classes`."""
    return read_classes(ASSETS / f"{dataset}.txt")


def prompt_name(folder: str) -> str:
    """Return the name of a class for prompts."""
    return folder.replace("_", " ")


def first_five(items: Sequence[object]) -> str:
    """Name the first of many, for messages."""
    return ", ".join(str(item) for item in items[:5]) + (", ..." if len(items) > 5 else "")


def fingerprint(root: Path, files: Iterable[str]) -> list:
    """Tell a folder's files apart from others without reading them all: name, size and time of each.

    Of more than `MOST_STATS` files: their names, and the time of each folder, which changes when a file is added or
    replaced (our choice: not when one is written over in place).
    """
    files = list(files)
    if len(files) <= MOST_STATS:
        facts = [(root / file).stat() for file in files]
        return [[file, fact.st_size, fact.st_mtime_ns] for file, fact in zip(files, facts, strict=True)]
    folders = sorted({file.rpartition("/")[0] for file in files})
    times = [[folder, (root / folder).stat().st_mtime_ns] for folder in folders]
    return [content_key("\n".join(files).encode()), times]
