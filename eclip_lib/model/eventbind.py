"""Checkpoints of the official EventBind code, read into our model.

state dict that the official training script saves -> `EClip` of recipe `eventbind`. EventBind is E-CLIP's later name
(arXiv 2308.03135v4); its code is github.com/jiazhou-garland/EventBind.
"""

from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import torch
from open_clip.model import CLIP, build_model_from_openai_state_dict, set_model_preprocess_cfg
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg
from open_clip.transformer import QuickGELU
from torch import Tensor

from eclip_lib.config import ModelConfig
from eclip_lib.model.eclip import EClip
from eclip_lib.paths import find_path

State = dict[str, Tensor]
# What the official code saves but never uses: prefix -> why.
UNUSED = {
    "event_encoder.cls_token": "declared, never read",
    "event_encoder.pos_embed": "declared, never read",
    "event_encoder.ln_low_level.": "low-level features enter no loss",
    "image_encoder.low_ln.": "low-level features enter no loss",
    "logit_scale": "declared, never read; the scale is a constant 100",
}
FULL_CLIP = "prompt_init.clip_model."  # the one copy that has every tensor of CLIP
# Copies of the frozen CLIP: prefix -> what to put before the rest of the name to find it in CLIP.
REPEATS = {
    FULL_CLIP: "",
    "prompt_leranable.clip_model.": "",
    "image_encoder.visual.": "visual.",
    "image_encoder.": "visual.",
    "text_encoder.": "",
}
BRANCHES = {"prompt_init.": "prompts.handcrafted.", "prompt_leranable.": "prompts.learnable."}


def load_eventbind_checkpoint(path: str | Path, clip: CLIP | None = None) -> EClip:
    """Read a checkpoint of the official EventBind code into our model, in eval mode.

    Every tensor is used, listed in `UNUSED`, or a repeat of the frozen CLIP, which must agree bit for bit.

    Args:
        path: the state dict that the official training script saves, with or without DataParallel's `module.`.
        clip: the frozen CLIP, with QuickGELU and the very weights of the file; None takes it from the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no plain state dict, a tensor is missing, unknown or of another shape, or a copy of
            CLIP disagrees.

    Source: names from the official code's layout. The handcrafted context is the file's `prompt_init.ctx`, which that
    code trains, unlike the paper.
    """
    path = find_path(str(path))
    state = _read(path)
    clip = clip or _rebuild_clip(state, path)
    _check_quick_gelu(clip, path)
    own = _without_clip(state, clip, path)
    mapped = _map_events(own, path) | _map_prompts(own, path)
    if own:
        raise ValueError(f"{path}: {len(own)} tensors belong to no part of EventBind, the first is {min(own)}")
    return _build(mapped, clip, path)


def _read(path: Path) -> State:
    """Read a plain state dict; nothing in the file is executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: no plain state dict of tensors, so it was not opened: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a dict of tensors by name, as torch.save(model.state_dict()) writes it")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _rebuild_clip(state: State, path: Path) -> CLIP:
    """Build the frozen CLIP from the file's full copy of it; sizes are read off its shapes."""
    weights = {name.removeprefix(FULL_CLIP): value for name, value in state.items() if name.startswith(FULL_CLIP)}
    try:
        clip = build_model_from_openai_state_dict(weights, quick_gelu=True, cast_dtype=torch.float32).float()
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: {FULL_CLIP}* holds no whole CLIP, give clip: {error}") from error
    clip.load_state_dict(weights)  # again, now that nothing is rounded to float16
    clip.tokenizer = SimpleTokenizer(context_length=clip.context_length)
    set_model_preprocess_cfg(clip, asdict(PreprocessCfg(size=clip.visual.image_size)))  # OpenAI's mean and std
    return clip.eval()


def _check_quick_gelu(clip: CLIP, path: Path) -> None:
    if not isinstance(clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU):
        raise ValueError(
            f"{path}: EventBind is trained on OpenAI's CLIP, which needs QuickGELU; load clip under a name that ends "
            "with -quickgelu, or leave it out"
        )


def _without_clip(state: State, clip: CLIP, path: Path) -> State:
    """Return the tensors that are EventBind's own, after checking all copies of CLIP."""
    frozen, own = clip.state_dict(), {}
    for name, value in state.items():
        if any(name.startswith(unused) if unused.endswith(".") else name == unused for unused in UNUSED):
            continue
        prefix = next((p for p in REPEATS if name.startswith(p)), None)
        if prefix is None:
            own[name] = value
            continue
        original = frozen.get(REPEATS[prefix] + name.removeprefix(prefix))
        if original is None:
            raise ValueError(f"{path}: {name} is no tensor of this CLIP")
        if original.shape != value.shape or not torch.equal(original, value.to(original.dtype)):
            raise ValueError(f"{path}: {name} differs from the frozen CLIP, of which it is a copy")
    return own


def _take(own: State, name: str, path: Path) -> Tensor:
    if name not in own:
        raise ValueError(f"{path}: the tensor {name} is missing")
    return own.pop(name).float()


def _map_events(own: State, path: Path) -> State:
    """Take the event tower's tensors out of `own`, under our names."""
    towers = [name for name in own if name.startswith("event_encoder.visual.")]
    mapped = {name: own.pop(name).float() for name in towers}
    mapped["event_encoder.time_embedding"] = _take(own, "event_encoder.time_embed", path)
    blocks = len([name for name in towers if name.endswith(".attn.in_proj_weight")])
    for i in range(blocks):
        theirs, ours = f"event_encoder.InsertEventPrompt.{i}.", f"event_encoder.prompts.{i}."
        mapped[ours + "modality"] = _take(own, theirs + "event_modality_prompts", path)
        for kind in ("weight", "bias"):
            cross, attention = ours + "cross_frame.", theirs + "cross_frame_prompts_attn_layer."
            mapped[f"{cross}project.{kind}"] = _take(own, f"{theirs}cls_proj.{kind}", path)
            mapped[f"{cross}norm.{kind}"] = _take(own, f"{theirs}cross_frame_prompts_ln.{kind}", path)
            parts = [_take(own, f"{attention}{part}_proj.{kind}", path) for part in "qkv"]
            mapped[f"{cross}attention.in_proj_{kind}"] = torch.cat(parts)
            mapped[f"{cross}attention.out_proj.{kind}"] = _take(own, f"{attention}out_proj.{kind}", path)
    return mapped


def _map_prompts(own: State, path: Path) -> State:
    """Take the tensors of both prompt learners out of `own`, under our names."""
    mapped = {}
    for theirs, ours in BRANCHES.items():
        mapped[ours + "context"] = _take(own, theirs + "ctx", path)
        for layer, name in (("linear1", "inner"), ("linear2", "outer")):
            for kind in ("weight", "bias"):
                mapped[f"{ours}content.{name}.{kind}"] = _take(own, f"{theirs}meta_net.{layer}.{kind}", path)
    return mapped


def _build(mapped: State, clip: CLIP, path: Path) -> EClip:
    """Build the model whose sizes the tensors have, and fill it."""
    modality = mapped.get("event_encoder.prompts.0.modality")
    if modality is None:
        raise ValueError(f"{path}: event_encoder.visual.* holds no transformer block")
    cfg = ModelConfig(
        recipe="eventbind",
        backbone=path.name,
        event_prompts=len(modality),
        context_length=len(mapped["prompts.learnable.context"]),
    )
    model = EClip(cfg, clip, len(mapped["event_encoder.time_embedding"]))
    try:
        model.load_trained_state(mapped)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return model.eval()
