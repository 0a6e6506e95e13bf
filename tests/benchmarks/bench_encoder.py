from collections.abc import Callable

import torch
from open_clip.model import CLIP
from torch import Tensor

from eclip_lib.clip.backbone import load_clip
from eclip_lib.config import TINY, ModelConfig
from eclip_lib.model.eclip import EClip
from tests.benchmarks.timing import ms, side_by_side, table

BATCH, FRAMES = 4, 3
BACKBONES = ((TINY, None), ("ViT-B-32", "random"))
MODES = {
    "full training": {},
    "gradient checkpointing": {"gradient_checkpointing": True},
    "prompts only (tower frozen)": {"train_event_tower": False},
}
GOAL = 1.15


def event_model(clip: CLIP, recipe: str, **fields: bool) -> EClip:
    torch.manual_seed(0)
    return EClip(ModelConfig(recipe=recipe, **fields), clip, FRAMES)


def event_forward(model: EClip, frames: Tensor) -> Tensor:
    return model.event_encoder(frames, torch.ones(frames.shape[:2], dtype=torch.bool))


def backward(features: Tensor, module: torch.nn.Module) -> None:
    module.zero_grad()
    features.square().sum().backward()


def contenders(clip: CLIP, recipe: str, frames: Tensor) -> dict[str, Callable]:
    """Return the ways: open_clip's own tower, trained as a copy, and the event encoder, on the same frames."""
    model = event_model(clip, recipe)
    plain = EClip(ModelConfig(event_prompts=0, cross_frame_prompts=False), clip, FRAMES).event_encoder.visual
    flat = frames.flatten(0, 1)
    return {
        "open_clip": torch.no_grad()(lambda: plain(flat)),
        "ours": torch.no_grad()(lambda: event_forward(model, frames)),
        "open_clip, training": lambda: backward(plain(flat), plain),
        "ours, training": lambda: backward(event_forward(model, frames), model),
    }


def tokens(clip: CLIP, model: EClip) -> tuple[int, int]:
    """Return how many tokens a frame has in CLIP's blocks, and in the event encoder's."""
    base = clip.visual.positional_embedding.shape[0]
    return base, base + model.cfg.event_prompts + int(model.cfg.cross_frame_prompts)


def kept_bytes(model: EClip, frames: Tensor) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = event_forward(model, frames)
    del features
    return sum(kept.values())


def speed_rows(clip: CLIP, name: str, frames: Tensor) -> list[list[str]]:
    rows = []
    for recipe in ("paper", "workbench"):
        times = side_by_side(contenders(clip, recipe, frames), seconds=12)
        base, more = tokens(clip, event_model(clip, recipe))
        for suffix in ("", ", training"):
            ratio = times["ours" + suffix] / times["open_clip" + suffix]
            per_token = ratio * base / more
            pass_name = "forward + backward" if suffix else "forward"
            both = [ms(times[way + suffix]) for way in ("open_clip", "ours")]
            said = "reached" if per_token <= GOAL else "MISSED"
            rows.append([f"{name}, {recipe}, {pass_name}", *both, f"{ratio:.2f}", f"{per_token:.2f} {said}"])
    return rows


def memory_rows(clip: CLIP, name: str, frames: Tensor) -> list[list[str]]:
    rows = []
    for mode, fields in MODES.items():
        model = event_model(clip, "workbench", **fields)
        trained = sum(p.numel() for p in model.event_encoder.parameters() if p.requires_grad)
        rows.append([f"{name}, {mode}", f"{kept_bytes(model, frames) / 1e6:.1f}", f"{12 * trained / 1e6:.0f}"])
    return rows


def main() -> str:
    speed, memory = [], []
    for name, pretrained in BACKBONES:
        torch.manual_seed(0)
        clip = load_clip(name, pretrained)
        clip.requires_grad_(False)
        size = clip.visual.image_size[0]
        frames = torch.rand(BATCH, FRAMES, 3, size, size)
        speed += speed_rows(clip, name, frames)
        memory += memory_rows(clip, name, frames)
    headers = ["", "open_clip, ms", "event encoder, ms", "ratio", f"ratio per token, goal {GOAL}"]
    kept = ["", "kept for the backward pass, MB", "gradient and optimizer, MB"]
    return (
        f"## Event encoder: {BATCH} recordings of {FRAMES} frames, against open_clip's image tower on the same\n\n"
        + table(headers, speed)
        + "\n- Per token: the event modality prompts and the cross-frame prompt count as tokens, as in the paper.\n\n"
        + "Memory of the modes, recipe workbench, the same batch\n\n"
        + table(kept, memory)
    )
