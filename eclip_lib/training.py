"""Training: `fit` yields one record an epoch; checkpoints are weights and the config they belong to."""

import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor

from eclip_lib.backbone import load_clip
from eclip_lib.cache import atomic_path
from eclip_lib.config import ASSETS, LossConfig, Run, TrainConfig
from eclip_lib.evaluation import class_scores, embed_events
from eclip_lib.inputs import FrameSet, clip_key
from eclip_lib.losses import htca
from eclip_lib.metrics import topk_accuracy
from eclip_lib.model import EClip

WEIGHTS, DESCRIPTION = "model.safetensors", "checkpoint.json"


def seed_everything(seed: int) -> None:
    """Seed every random stream and ask for repeatable kernels."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  libraries still draw from the global stream
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def parameter_groups(model: EClip, cfg: TrainConfig) -> list[dict]:
    """Return the trained parameters: the tower at its own rate, additions at theirs; no decay on vectors and gates."""
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = cfg.tower_rate if name.startswith("event_encoder.visual.") else cfg.additions_rate
            decay = cfg.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak rate: linear warm-up over a share of the steps, then cosine to zero."""
    first = max(1, round(warmup * steps))
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))


def shift_frames(frames: Float[Tensor, "B T 3 S S"], most: int) -> Float[Tensor, "B T 3 S S"]:
    """Move all frames of a batch by one random offset of up to `most` pixels, on white."""
    if not most:
        return frames
    dx, dy = torch.randint(-most, most + 1, (2,)).tolist()
    size = frames.shape[-1]
    moved = torch.ones_like(frames)
    to_y, to_x = slice(max(dy, 0), size + min(dy, 0)), slice(max(dx, 0), size + min(dx, 0))
    from_y, from_x = slice(max(-dy, 0), size + min(-dy, 0)), slice(max(-dx, 0), size + min(-dx, 0))
    moved[..., to_y, to_x] = frames[..., from_y, from_x]
    return moved


def batch_losses(
    model: EClip,
    frames: Float[Tensor, "B T 3 S S"],
    valid: Tensor,
    labels: Tensor,
    image_emb: Float[Tensor, "B D"],
    class_names: Sequence[str],
    cfg: LossConfig,
) -> dict[str, Tensor]:
    """Compute HTCA's terms for one batch, with the texts that the model's config asks for."""
    content = model.cfg.content_prompts
    event_emb = model.encode_events(frames, valid)
    event_content = event_emb if content in ("event", "both") else None
    image_content = image_emb if content in ("image", "both") else None
    own = labels[:, None]
    if model.cfg.text_condition == "query":
        kinds = model.encode_class_branches(class_names, labels.unique()[None], event_content)
        event_text = model.prompts.mixed(*kinds).expand(len(labels), -1, -1)
    else:
        kinds = model.encode_class_branches(class_names, own, event_content)
        event_text = model.prompts.mixed(*kinds)[:, 0]
    pairs, image_text = [kinds], None
    if cfg.text_text or cfg.text_mse:
        image_kinds = model.encode_class_branches(class_names, own, image_content)
        image_text = model.prompts.mixed(*image_kinds)[:, 0]
        pairs.append(image_kinds)
    pairs = pairs if len(kinds) == 2 else []
    return htca(event_emb, image_emb, event_text, image_text, labels, cfg, model.logit_scale, pairs)


def fit(
    model: EClip,
    train: FrameSet,
    val: FrameSet | None,
    image_emb: Float[Tensor, "N 2 D"],
    class_names: Sequence[str],
    cfg: TrainConfig,
    loss: LossConfig,
) -> Iterator[dict[str, float]]:
    """Train a model in place; yields a record after every epoch.

    Each record has `epoch`, the mean `loss`, the mean of each term, and with validation frames `val_top1`. The
    last epoch is the result: no epoch is selected, so the validation part is for the eye alone.

    Args:
        model: trained in place.
        train: frames that train.
        val: frames that are watched; None saves the time.
        image_emb: unit embeddings of the training stills and of their mirror images.
        class_names: the class list that labels index.
        cfg: how to train.
        loss: what to minimise.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    seed_everything(cfg.seed)
    optimizer = torch.optim.AdamW(parameter_groups(model, cfg))
    steps = cfg.epochs * math.ceil(len(train) / cfg.batch_size)
    step = 0
    for epoch in range(1, cfg.epochs + 1):
        model.train()
        sums: dict[str, float] = {}
        for rows in torch.randperm(len(train)).split(cfg.batch_size):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step, steps, cfg.warmup)
            losses = batch_losses(model, *draw_batch(train, image_emb, rows, cfg), class_names, loss)
            _step(model, optimizer, losses["total"], cfg, f"epoch {epoch}, recordings {rows.tolist()[:5]}...")
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(rows)
            step += 1
        means = {name: value / len(train) for name, value in sums.items()}
        record = {"epoch": epoch, "loss": means.pop("total"), **means}
        if val is not None:
            scores = class_scores(model, embed_events(model, val), class_names)
            record |= {"val_top1": topk_accuracy(scores, val.labels, (1,))["top1"]}
        yield record


def draw_batch(
    train: FrameSet, image_emb: Float[Tensor, "N 2 D"], rows: Tensor, cfg: TrainConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return frames, valid, labels and still embeddings of some rows; frames and stills are mirrored together."""
    mirror = cfg.flip and torch.rand(()).item() < 0.5
    frames = shift_frames(train.frames(rows), cfg.shift)
    frames = frames.flip(-1) if mirror else frames
    return frames, train.valid[rows], train.labels[rows], image_emb[rows, int(mirror)]


def _step(model: EClip, optimizer: torch.optim.Optimizer, loss: Tensor, cfg: TrainConfig, where: str) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss.item()} at {where}; try a lower rate than {cfg.tower_rate}")
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], cfg.clip_gradient)
    optimizer.step()


def save_checkpoint(
    folder: Path, model: EClip, run: Run, class_names: Sequence[str], facts: dict, half: bool = False
) -> None:
    """Write weights and their description (config, class list, facts); half precision for what ships.

    The weights lie beside the description under its own name only when both are whole.
    """
    state = {name: value.detach().contiguous() for name, value in model.trained_state().items()}
    state = {name: value.half() for name, value in state.items()} if half else state
    description = {"run": run.to_dict(), "class_names": list(class_names), "clip": clip_key(model.clip), **facts}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(state, temporary)
    with atomic_path(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n")


def load_checkpoint(folder: Path = ASSETS / "eclip_tiny_events", clip: CLIP | None = None) -> tuple[EClip, Run, dict]:
    """Rebuild a model in eval mode, its run and the rest of its description; without a folder, the embedded one.

    Args:
        folder: what `save_checkpoint` wrote.
        clip: the frozen CLIP the model was trained on; None loads it by the name and weights of the run. Needed after
            `load_eventbind_checkpoint`, which takes CLIP from the official file: pass that model's `clip`.

    Raises:
        FileNotFoundError: the folder has no checkpoint.
        ValueError: weights and description do not belong together.
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file() or not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: it needs {DESCRIPTION} and {WEIGHTS}")
    description = json.loads((folder / DESCRIPTION).read_text())
    run = Run.from_dict(description.pop("run"))
    clip = clip or load_clip(run.model.backbone, run.model.pretrained)
    if description.pop("clip") != clip_key(clip):
        raise ValueError(f"{folder} was trained on another {run.model.backbone} than this one")
    model = EClip(run.model, clip, run.frames.frames)
    model.load_trained_state({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
    return model.eval(), run, description
