"""Pre-train the embedded tiny CLIP on stills and captions: contrast, class texts and a teacher's features.

Stills (train families only) -> records of training -> a folder that open_clip loads (config, weights, merge list).
"""

import math
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from eclip_lib.cache import atomic_path
from eclip_lib.clip import PretrainConfig, build_clip, export_clip, normalize_images
from eclip_lib.data import Stills
from eclip_lib.pretraining.augmentation import random_view, to_float
from eclip_lib.pretraining.losses import pretrain_losses
from eclip_lib.pretraining.stills import PretrainData, draw_batch
from eclip_lib.pretraining.texts import TextSampler, write_vocabulary


@torch.no_grad()
def zero_shot(clip: CLIP, tokenizer: SimpleTokenizer, stills: Stills, classes: tuple[str, ...]) -> dict[str, float]:
    """Classify stills by the bare class names: `{"top1", "top5", "n"}` as fractions."""
    clip.eval()
    size = clip.visual.image_size[0]
    images = torch.from_numpy(np.stack([stills.image(i) for i in range(len(stills))]))
    label = torch.tensor([classes.index(name) for name in stills.table.cls])
    text_emb = clip.encode_text(tokenizer(list(classes)), normalize=True)
    parts = [
        clip.encode_image(
            normalize_images(clip, F.interpolate(to_float(part), (size, size), mode="area")), normalize=True
        )
        for part in images.split(256)
    ]
    ranked = (torch.cat(parts) @ text_emb.t()).topk(5, dim=1).indices == label[:, None]
    return {"top1": ranked[:, 0].float().mean().item(), "top5": ranked.any(1).float().mean().item(), "n": len(label)}


def learning_rate(step: int, cfg: PretrainConfig) -> float:
    """Return the rate of a step: linear warm-up, then cosine to 1 % of the peak."""
    if step < cfg.warmup:
        return cfg.learning_rate * (step + 1) / cfg.warmup
    progress = (step - cfg.warmup) / max(1, cfg.steps - cfg.warmup)
    return cfg.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Pretraining:
    """The state of a pre-training run: model, head, averaged weights, optimizer and random streams."""

    def __init__(self, cfg: PretrainConfig, data: PretrainData, tokenizer: SimpleTokenizer):
        """Build a fresh run from its seed."""
        torch.manual_seed(cfg.seed)
        self.cfg, self.data, self.tokenizer, self.step = cfg, data, tokenizer, 0
        self.clip = build_clip(cfg, tokenizer.vocab_size)
        self.clip.visual.patch_dropout = type(self)._dropout(cfg.patch_dropout)
        target = data.targets.shape[1]
        self.head = nn.Sequential(nn.Linear(cfg.embed_dim, 2 * target), nn.GELU(), nn.Linear(2 * target, target))
        self.average = deepcopy(self.clip).requires_grad_(False)
        decayed = [p for p in self._parameters() if p.ndim > 1]
        plain = [p for p in self._parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": cfg.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=cfg.learning_rate, betas=(0.9, 0.98))
        self.texts = TextSampler(tokenizer, data.texts, data.classes)

    @staticmethod
    def _dropout(probability: float) -> nn.Module:
        from open_clip.transformer import PatchDropout

        return PatchDropout(probability) if probability > 0 else nn.Identity()

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.clip.parameters(), *self.head.parameters()]

    def train_step(self) -> dict[str, float]:
        """Take one step; every step draws from its own seed, so that a resumed run takes the same steps."""
        cfg, seed = self.cfg, (self.cfg.seed, self.step)
        rng = np.random.default_rng(seed)
        torch.manual_seed(int(rng.integers(2**31)))
        views_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
        picks = draw_batch(self.data, cfg, rng)
        strength = min(1.0, 0.3 + 0.7 * self.step / max(1, cfg.ease * cfg.steps))
        images = to_float(self.data.images[picks])
        views = random_view(images, cfg.image_size, strength * cfg.sketch_share, strength, views_rng)
        if self.step >= 0.75 * cfg.steps:
            self.clip.visual.patch_dropout = nn.Identity()
        texts = (self.texts.of_stills(picks, rng), self.texts.of_classes(rng))
        self.clip.train()
        losses = pretrain_losses(self.clip, self.head, self.data, picks, views, texts, cfg)
        self.optimizer.zero_grad()
        losses["total"].backward()
        nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, cfg)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return {name: value.item() for name, value in losses.items()}

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.cfg.average, (self.step + 1) / (self.step + 10))
        for mean, value in zip(self.average.parameters(), self.clip.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)

    def save(self, path: Path) -> None:
        """Write the whole state, by a temporary name."""
        state = {
            "step": self.step,
            "config": self.cfg.to_dict(),
            "clip": self.clip.state_dict(),
            "head": self.head.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, path: Path) -> None:
        """Restore a state that `save` wrote.

        Raises:
            ValueError: the state belongs to another recipe.
        """
        state = torch.load(path, weights_only=True)
        if state["config"] != self.cfg.to_dict():
            raise ValueError(f"{path} belongs to another recipe; move it away or choose another folder")
        self.step = state["step"]
        for name in ("clip", "head", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])


def pretrain(
    cfg: PretrainConfig,
    data: PretrainData,
    validation: Stills,
    classes: tuple[str, ...],
    folder: Path,
    every: int = 250,
    resume: bool = True,
) -> Iterator[dict[str, float]]:
    """Run a pre-training, or resume the one in `folder`; yields one record each `every` steps.

    Each record has the step, the mean losses since the record before and the zero-shot accuracy of the averaged weights
    on the held-out validation family.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_vocabulary(folder / "bpe.txt.gz", data)
    tokenizer = SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"), context_length=cfg.context_length)
    run = Pretraining(cfg, data, tokenizer)
    if resume and (folder / "state.pt").exists():
        run.load(folder / "state.pt")
    sums: dict[str, float] = {}
    while run.step < cfg.steps:
        for name, value in run.train_step().items():
            sums[name] = sums.get(name, 0.0) + value
        if run.step % every == 0 or run.step == cfg.steps:
            since = (run.step - 1) % every + 1
            record = {"step": run.step, **{name: value / since for name, value in sums.items()}}
            record |= {f"val_{k}": v for k, v in zero_shot(run.average, tokenizer, validation, classes).items()}
            sums = {}
            _append_record(folder / "curve.csv", record)
            run.save(folder / "state.pt")
            export_clip(run.average, tokenizer, cfg, folder)
            yield record


def _append_record(path: Path, record: dict[str, float]) -> None:
    """Append to the learning curve; steps that a killed run had recorded but not saved are taken out first."""
    table = pd.DataFrame([record])
    if path.is_file():
        past = pd.read_csv(path)
        table = pd.concat([past[past.step < record["step"]], table], ignore_index=True)
    with atomic_path(path) as temporary:
        table.round(4).to_csv(temporary, index=False)
