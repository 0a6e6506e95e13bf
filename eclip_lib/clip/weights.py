"""Local files of CLIP weights: OpenAI's archives and state dicts, open_clip's files, and folders of the hub's cache.

path -> state dict by CLIP's names, and whether its towers need QuickGELU, as far as the files say.
"""

import hashlib
import json
import zipfile
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

OPENAI_ONLY = {"input_resolution", "context_length", "vocab_size"}  # sizes that OpenAI keeps among the weights
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


@cache
def openai_digests() -> frozenset[str]:
    """Return the SHA-256 digests that OpenAI published, which are part of its files' addresses."""
    urls = [
        open_clip.get_pretrained_cfg(name, "openai").get("url", "") for name in open_clip.openai.list_openai_models()
    ]
    return frozenset(url.split("/")[-2] for url in urls if "openaipublic" in url)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """Read OpenAI's own archive; a TorchScript archive can run code, so only the published ones are opened."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest not in openai_digests():
        raise ValueError(
            f"{path}: a TorchScript archive can run code, and its SHA-256 {digest} is none that OpenAI published; "
            "fetch it again, or save its state dict with torch.save and give that file"
        )
    return torch.jit.load(path, map_location="cpu").state_dict()


def read_weights(path: Path) -> tuple[dict[str, Tensor], bool]:
    """Read a file of weights; nothing in it is executed.

    Returns:
        The state dict in float32, DataParallel's `module.` taken off; whether it has OpenAI's form.

    Raises:
        ValueError: the file is no state dict, or an archive that OpenAI did not publish.
    """
    script = _is_torchscript(path)
    state: Any  # what a file holds shows below
    if script:
        state = _read_torchscript(path)
    else:
        try:
            safe = path.suffix == ".safetensors"
            state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError, EOFError, SafetensorError) as error:
            raise ValueError(f"{path}: could not be read as weights: {error}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: could not be read as weights: it holds no dict of tensors by name")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    openai = script or set(state) >= OPENAI_ONLY
    return {name: value.float() for name, value in state.items() if name not in OPENAI_ONLY}, openai


def hub_snapshot(folder: Path) -> Path:
    """Return the folder with the files of a model: of the hub's cache the main revision, else the folder itself."""
    main, snapshots = folder / "refs" / "main", folder / "snapshots"
    if main.is_file():
        return snapshots / main.read_text().strip()
    revisions = sorted(snapshots.iterdir()) if snapshots.is_dir() else []
    return revisions[0] if len(revisions) == 1 else folder


def weights_file(path: Path) -> tuple[Path, bool | None]:
    """Find the file of weights that a path stands for.

    Args:
        path: the file, or a folder: one of the hub's cache (`models--...`), or one with open_clip's files.

    Returns:
        The file; whether the config beside it asks for QuickGELU, None without a config.

    Raises:
        FileNotFoundError: the folder holds none of open_clip's files, or more than one revision and no main one.
    """
    folder = hub_snapshot(path) if path.is_dir() else path.parent
    if path.is_dir():
        found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
        if not found:
            raise FileNotFoundError(f"no weights in {folder}: put {WEIGHTS[0]} or {WEIGHTS[-1]} there")
        path = found[0]
    config = folder / CONFIG
    quick = json.loads(config.read_text())["model_cfg"].get("quick_gelu", False) if config.is_file() else None
    return path, quick


def check_fit(state: dict[str, Tensor], own: dict[str, Tensor], path: Path, name: str) -> None:
    """Raise ValueError that names the first tensor by which a file and an architecture differ."""
    odd = sorted(set(state) ^ set(own)) or sorted(key for key in own if own[key].shape != state[key].shape)
    if odd:
        kind = "is missing in it" if odd[0] not in state else "is unknown" if odd[0] not in own else "has another shape"
        raise ValueError(f"{path} holds no weights of {name}: {len(odd)} tensors differ, the first, {odd[0]}, {kind}")
