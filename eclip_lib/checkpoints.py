"""Checkpoints: weights as safetensors, and a JSON description of what they belong to.

A model that is finished -> a folder -> the model again; a run that goes on -> its last and its best state -> the run
that goes on from there. The description is written last and names the file of weights by its content, so a checkpoint
is whole or is not there, whenever its writer is killed.
"""

import fcntl
import json
import re
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from safetensors.torch import load, load_file, save
from torch import Tensor

from eclip_lib.backbone import load_clip
from eclip_lib.cache import atomic_path, content_key
from eclip_lib.config import ASSETS, Run
from eclip_lib.inputs import clip_key
from eclip_lib.model import EClip

WEIGHTS, DESCRIPTION = "model.safetensors", "checkpoint.json"
EVERY = 300.0  # seconds between two states that are kept within an epoch
STATES, LOCK = ("last", "best"), ".lock"  # what a run's folder holds
OWN_FILE = re.compile(  # what `last` and `best` hold, and what a writer that was killed leaves there
    r"checkpoint\.json|(weights|training)-[0-9a-f]{16}\.safetensors"
    r"|\.checkpoint-[0-9a-f]{32}\.json|\.(weights|training)-[0-9a-f]{16}-[0-9a-f]{32}\.safetensors"
)
FREE = ("train.workers", "train.device")  # fields that a run may change when it goes on
PACKAGES = ("torch", "open_clip_torch", "numpy")


# --- a model ---


def save_checkpoint(
    folder: Path, model: EClip, run: Run, class_names: Sequence[str], facts: dict, half: bool = False
) -> None:
    """Write weights and their description (config, class list, versions, facts); half precision for what ships."""
    state = {name: value.half() for name, value in trained_weights(model).items()} if half else trained_weights(model)
    named = _write_tensors(Path(folder), WEIGHTS, state)
    _write_description(Path(folder), describe(model.clip, run, class_names, facts) | {"weights": named})


def load_checkpoint(
    folder: Path = ASSETS / "eclip_tiny_events", clip: CLIP | None = None, run: Run | None = None
) -> tuple[EClip, Run, dict]:
    """Rebuild a model in eval mode, its run and the rest of its description; without a folder, the embedded one.

    Args:
        folder: what `save_checkpoint` wrote, or `last` or `best` of a run.
        clip: the frozen CLIP the model was trained on; None loads it by the name and weights of the run. Needed after
            `load_eventbind_checkpoint`, which takes CLIP from the official file: pass that model's `clip`.
        run: what the checkpoint should be of; None takes any.

    Raises:
        FileNotFoundError: the folder has no checkpoint.
        ValueError: weights and description do not belong together, or the checkpoint is of another model or of other
            frames than `run`; the message names the fields that differ.
    """
    folder = Path(folder)
    description = read_description(folder)
    saved = Run.from_dict(description.pop("run"))
    if run is not None:
        parts = ({"model": one.model.to_dict(), "frames": one.frames.to_dict()} for one in (saved, run))
        refuse_differences(folder, *parts)
    clip = clip or load_clip(saved.model.backbone, saved.model.pretrained)
    if description.pop("clip") != clip_key(clip):
        raise ValueError(f"{folder} was trained on another {saved.model.backbone} than this one")
    state = _read_tensors(folder, description.pop("weights", {"file": WEIGHTS}))
    model = EClip(saved.model, clip, saved.frames.frames)
    model.load_trained_state({name: value.float() for name, value in state.items()})
    description = {name: value for name, value in description.items() if name not in ("training", "progress")}
    return model.eval(), saved, description


def trained_weights(model: EClip) -> dict[str, Tensor]:
    """Return a copy of E-CLIP's own weights in the memory of the CPU."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in model.trained_state().items()}


def describe(clip: CLIP, run: Run, class_names: Sequence[str], facts: dict) -> dict:
    """Return what a checkpoint says of itself."""
    known = {"run": run.to_dict(), "class_names": list(class_names), "clip": clip_key(clip)}
    return known | {"versions": {name: version(name) for name in PACKAGES}} | facts


# --- the files ---


def read_description(folder: Path) -> dict:
    """Read what a checkpoint says of itself.

    Raises:
        FileNotFoundError: the folder has no checkpoint.
        ValueError: the description is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        there = [name for name in ("last", "best") if (folder / name / DESCRIPTION).is_file()]
        hint = f"; it is the folder of a run, whose checkpoint is {folder / there[0]}" if there else ""
        raise FileNotFoundError(f"no checkpoint in {folder}: it needs {DESCRIPTION} and {WEIGHTS}{hint}")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete the folder, or take an older copy of it") from error


def _write_description(folder: Path, description: dict) -> None:
    with atomic_path(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=1, allow_nan=False) + "\n")


def _write_tensors(folder: Path, name: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Write a file of tensors, "{}" in its name being the hash of its content; returns name and hash."""
    content = save(tensors)
    key = content_key(content)
    with atomic_path(folder / name.format(key)) as temporary:
        temporary.write_bytes(content)
    return {"file": name.format(key), "hash": key}


def _read_tensors(folder: Path, named: dict[str, str]) -> dict[str, Tensor]:
    """Read a file of tensors that a description names, and check that it is the one it was written with."""
    path = folder / named["file"]
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: {DESCRIPTION} names {path.name}, which is not there")
    if "hash" not in named:  # the description is of an older version
        return load_file(path)
    content = path.read_bytes()
    if content_key(content) != named["hash"]:
        raise ValueError(f"{path} is damaged or of another checkpoint than {DESCRIPTION} beside it; save it again")
    return load(content)


def refuse_differences(folder: Path, saved: Any, now: Any, free: Sequence[str] = ()) -> None:
    """Raise ValueError where a checkpoint is of something else, naming each field and both its values."""
    lines = [line for name, line in _differences(saved, now) if name not in free]
    if lines:
        raise ValueError(f"the checkpoint in {folder} differs from this run: {'; '.join(lines)}")


def _differences(saved: Any, now: Any, path: str = "") -> list[tuple[str, str]]:
    """Return the names of the plain values that differ, and what to say of each."""
    if isinstance(saved, dict) and isinstance(now, dict):
        names = sorted(set(saved) | set(now))
        pairs = [(saved.get(name), now.get(name), f"{path}.{name}".strip(".")) for name in names]
        return [found for pair in pairs for found in _differences(*pair)]
    if saved == now:
        return []
    told = [repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..." for value in (saved, now)]
    return [(path, f"{path} is {told[0]} in the checkpoint and {told[1]} here")]


# --- a run that goes on ---


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
    """

    def __init__(self, folder: Path, known: dict, resume: bool = True, writes: bool = True):
        self.folder, self.known, self.resume, self.writes = Path(folder), known, resume, writes
        self.saved_at = time.monotonic()
        if writes:
            checked_run_folder(self.folder).mkdir(parents=True, exist_ok=True)
            self.lock = (self.folder / LOCK).open("w")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.lock.close()
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
        sides = [{name: one.get(name) for name in names} for one in (description, self.known)]
        sides = [side["run"] | {name: value for name, value in side.items() if name != "run"} for side in sides]
        refuse_differences(folder, *sides, free=FREE)
        if description["versions"] != self.known["versions"]:
            told = "; ".join(line for _, line in _differences(description["versions"], self.known["versions"]))
            warnings.warn(f"{folder} goes on under other versions, so bits may differ: {told}", stacklevel=2)
        tensors = (_read_tensors(folder, description[name]) for name in ("weights", "training"))
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
        return _read_tensors(folder, read_description(folder)["weights"])

    def finish(self, facts: dict) -> None:
        """Add facts to the last checkpoint, take away what only a training needs, and free the run for others."""
        if not self.writes:
            return
        folder = self.folder / "last"
        if (folder / DESCRIPTION).is_file():
            description = read_description(folder)
            training = description.pop("training", None)
            _write_description(folder, description | facts)
            if training:
                (folder / training["file"]).unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Free the run for other processes."""
        if self.writes:
            self.lock.close()

    def remove(self) -> None:
        """Remove the states and, where nothing else is in it, the folder; frees the run for others."""
        if not self.writes:
            return
        for state in STATES:
            self._remove_files(state)
            if (self.folder / state).is_dir() and not any((self.folder / state).iterdir()):
                (self.folder / state).rmdir()
        (self.folder / LOCK).unlink(missing_ok=True)
        self.close()
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
        named = {kind: _write_tensors(folder, kind + "-{}.safetensors", files[kind]) for kind in files}
        _write_description(folder, self.known | facts | named)
        used = {one["file"] for one in named.values()}
        self._remove_files(name, but=lambda one: one in used or not one.endswith(".safetensors"))
