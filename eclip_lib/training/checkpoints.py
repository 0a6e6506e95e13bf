"""Checkpoints: weights as safetensors, and a JSON description of what they belong to.

A model that is finished -> a folder -> the model again; a run that goes on -> its last and its best state -> the run
that goes on from there. The description is written last and names the file of weights by its content, so a checkpoint
is whole or is not there, whenever its writer is killed.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from open_clip.model import CLIP
from safetensors.torch import load, load_file, save
from torch import Tensor

from eclip_lib.cache import atomic_path, content_key
from eclip_lib.clip import load_clip
from eclip_lib.config import Run
from eclip_lib.data import clip_key
from eclip_lib.model import EClip
from eclip_lib.paths import ASSETS

WEIGHTS, DESCRIPTION = "model.safetensors", "checkpoint.json"
PACKAGES = ("torch", "open_clip_torch", "numpy")


def save_checkpoint(
    folder: Path, model: EClip, run: Run, class_names: Sequence[str], facts: dict, half: bool = False
) -> None:
    """Write weights and their description (config, class list, versions, facts); half precision for what ships."""
    state = {name: value.half() for name, value in trained_weights(model).items()} if half else trained_weights(model)
    named = write_tensors(Path(folder), WEIGHTS, state)
    write_description(Path(folder), describe(model.clip, run, class_names, facts) | {"weights": named})


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
        then, now = ({"model": one.model.to_dict(), "frames": one.frames.to_dict()} for one in (saved, run))
        refuse_differences(folder, then, now)
    clip = clip or load_clip(saved.model.backbone, saved.model.pretrained)
    if description.pop("clip") != clip_key(clip):
        raise ValueError(f"{folder} was trained on another {saved.model.backbone} than this one")
    state = read_tensors(folder, description.pop("weights", {"file": WEIGHTS}))
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


def write_description(folder: Path, description: dict) -> None:
    """Write what a checkpoint says of itself; the file appears whole or not at all."""
    with atomic_path(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=1, allow_nan=False) + "\n")


def write_tensors(folder: Path, name: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Write a file of tensors, "{}" in its name being the hash of its content; returns name and hash."""
    content = save(tensors)
    key = content_key(content)
    with atomic_path(folder / name.format(key)) as temporary:
        temporary.write_bytes(content)
    return {"file": name.format(key), "hash": key}


def read_tensors(folder: Path, named: dict[str, str]) -> dict[str, Tensor]:
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
    lines = [line for name, line in field_differences(saved, now) if name not in free]
    if lines:
        raise ValueError(f"the checkpoint in {folder} differs from this run: {'; '.join(lines)}")


def field_differences(saved: Any, now: Any, path: str = "") -> list[tuple[str, str]]:
    """Return the names of the plain values that differ, and what to say of each."""
    if isinstance(saved, dict) and isinstance(now, dict):
        names = sorted(set(saved) | set(now))
        pairs = [(saved.get(name), now.get(name), f"{path}.{name}".strip(".")) for name in names]
        return [found for pair in pairs for found in field_differences(*pair)]
    if saved == now:
        return []
    told = [repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..." for value in (saved, now)]
    return [(path, f"{path} is {told[0]} in the checkpoint and {told[1]} here")]
