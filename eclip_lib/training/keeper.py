"""The states of a run that goes on: the last and the best, in a folder of its own.

The description is written last and names the files by their content, so a state is whole or is not there, whenever
its writer is killed. Nothing is removed but files that a keeper wrote.
"""

import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from torch import Tensor

from eclip_lib.locks import free, hold
from eclip_lib.training.checkpoints import (
    DESCRIPTION,
    field_differences,
    read_description,
    read_tensors,
    refuse_differences,
    write_description,
    write_tensors,
)

EVERY = 300.0  # seconds between two states that are kept within an epoch
STATES, LOCK = ("last", "best"), ".lock"  # what a run's folder holds
OWN_FILE = re.compile(  # what `last` and `best` hold, and what a writer that was killed leaves there
    r"checkpoint\.json|(weights|training)-[0-9a-f]{16}\.safetensors"
    r"|\.checkpoint-[0-9a-f]{32}\.json|\.(weights|training)-[0-9a-f]{16}-[0-9a-f]{32}\.safetensors"
)
FREE = ("train.workers", "train.device")  # fields that a run may change when it goes on


def checked_run_folder(folder: Path) -> Path:
    """Return a folder that a run can keep its states in: not there yet, empty, or of nothing but such states.

    Old states are removed from it, so nothing of anybody else's may lie there.

    Raises:
        ValueError: it is a file, or something else lies in it; the message names the first of it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the checkpoints of this run")
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    states = [item for item in inside if item.name in STATES and item.is_dir() and not item.is_symlink()]
    others = [item for item in inside if item not in states and item.name != LOCK]
    others += [item for state in states for item in sorted(state.iterdir()) if not _is_own_file(item)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ValueError(
            f"{folder} holds {others[0].relative_to(folder)}{more}, which is of no checkpoint; a run keeps its states "
            "in a folder of its own, since it removes old ones there: name a folder that is empty or not there yet"
        )
    return folder


def _is_own_file(path: Path) -> bool:
    return bool(OWN_FILE.fullmatch(path.name)) and not path.is_dir()


class Keeper:
    """Keeps the last and the best state of one run, each in a folder of its own.

    Args:
        folder: of this run alone (`checked_run_folder`); with several processes, one that all of them see.
        known: what `describe` returns for this run.
        resume: False throws away what an earlier process has left.
        writes: False for all processes but the first, which then only read.

    Raises:
        ValueError: something else lies in the folder.
        RuntimeError: another process keeps the same run just now.
        OSError: the folder cannot be written, or its file system has no locks.
    """

    def __init__(self, folder: Path, known: dict, resume: bool = True, writes: bool = True):
        self.folder, self.known, self.resume, self.writes = Path(folder), known, resume, writes
        self.saved_at = time.monotonic()
        if writes:
            checked_run_folder(self.folder).mkdir(parents=True, exist_ok=True)
            try:
                self.lock = hold(self.folder / LOCK, wait=False)
            except Timeout as error:
                raise RuntimeError(
                    f"another process trains this run: it holds {self.folder / LOCK}; wait for it, or keep the "
                    "checkpoints of this one in another folder (resume=...)"
                ) from error
            for state in STATES:  # of a process that was killed while it wrote
                self._remove_files(state, but=lambda name: not name.startswith("."))

    def due(self) -> bool:
        """Return whether it is time to save within an epoch."""
        return self.writes and time.monotonic() - self.saved_at >= EVERY

    def load(self) -> tuple[dict[str, Tensor], dict[str, Tensor], dict] | None:
        """Return weights, the training's own tensors and its progress; None where there is nothing to go on from.

        Raises:
            ValueError: what lies there is of another run or damaged.
        """
        folder = self.folder / "last"
        there = self.resume and (folder / DESCRIPTION).is_file()
        description = read_description(folder) if there else {}
        if "training" not in description:  # nothing, or a finished run; the same config again starts anew
            if self.writes:
                self._remove_files("best")
            return None
        names = [name for name in self.known if name != "versions"]
        sides: list[dict[str, Any]] = [{name: one.get(name) for name in names} for one in (description, self.known)]
        saved, now = (side["run"] | {name: value for name, value in side.items() if name != "run"} for side in sides)
        refuse_differences(folder, saved, now, FREE)
        if description["versions"] != self.known["versions"]:
            told = "; ".join(line for _, line in field_differences(description["versions"], self.known["versions"]))
            warnings.warn(f"{folder} goes on under other versions, so bits may differ: {told}", stacklevel=2)
        tensors = (read_tensors(folder, description[name]) for name in ("weights", "training"))
        return *tensors, description["progress"]

    def save(self, weights: dict[str, Tensor], training: dict[str, Tensor], progress: dict) -> None:
        """Keep the last state.

        Raises:
            FloatingPointError: a weight is not finite; the state before it stays.
        """
        if not self.writes:
            return
        odd = [name for name, value in weights.items() if not torch.isfinite(value).all()]
        if odd:
            raise FloatingPointError(
                f"{len(odd)} weights are not finite after step {progress['step']}, the first is {odd[0]}; the last "
                f"good checkpoint is in {self.folder}"
            )
        self._replace("last", {"weights": weights, "training": training}, {"progress": progress})
        self.saved_at = time.monotonic()

    def save_best(self, weights: dict[str, Tensor], record: dict) -> None:
        """Keep the best weights so far, and the record that made them the best."""
        if self.writes:
            self._replace("best", {"weights": weights}, {"record": record})

    def best(self) -> dict[str, Tensor]:
        """Return the weights of the best state."""
        folder = self.folder / "best"
        return read_tensors(folder, read_description(folder)["weights"])

    def finish(self, facts: dict) -> None:
        """Add facts to the last checkpoint, take away what only a training needs, and free the run for others."""
        if not self.writes:
            return
        folder = self.folder / "last"
        if (folder / DESCRIPTION).is_file():
            description = read_description(folder)
            training = description.pop("training", None)
            write_description(folder, description | facts)
            if training:
                (folder / training["file"]).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Free the run for other processes."""
        if self.writes:
            self.lock.release()

    def remove(self) -> None:
        """Remove the states and, where nothing else is in it, the folder; frees the run for others."""
        if not self.writes:
            return
        for state in STATES:
            self._remove_files(state)
            if (self.folder / state).is_dir() and not any((self.folder / state).iterdir()):
                (self.folder / state).rmdir()
        free(self.lock)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _remove_files(self, state: str, but: Callable[[str], bool] = lambda name: False) -> None:
        """Remove the files of a state that `Keeper` writes, but those whose names `but` keeps."""
        folder = self.folder / state
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if _is_own_file(path) and not but(path.name):
                path.unlink()

    def _replace(self, name: str, files: dict[str, dict[str, Tensor]], facts: dict) -> None:
        """Write the files of a state beside those of the state before, then the description, then take those away."""
        folder = self.folder / name
        named = {kind: write_tensors(folder, kind + "-{}.safetensors", files[kind]) for kind in files}
        write_description(folder, self.known | facts | named)
        used = {one["file"] for one in named.values()}
        self._remove_files(name, but=lambda one: one in used or not one.endswith(".safetensors"))
