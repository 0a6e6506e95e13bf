"""Pre-train the embedded tiny CLIP on stills and captions: contrast, class texts and a teacher's features.

Stills (train families only) -> records of training -> a folder that open_clip loads (config, weights, merge list).
"""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from eclip_lib.augment import random_view, to_float
from eclip_lib.backbone import normalize_images
from eclip_lib.cache import atomic_path, cached_array, content_key
from eclip_lib.config import ASSETS, find_path
from eclip_lib.icons import TRAIN, Stills, load_stills
from eclip_lib.losses import symmetric_cross_entropy
from eclip_lib.teacher import NAME as TEACHER
from eclip_lib.teacher import principal_targets, teacher_features
from eclip_lib.tiny_clip import PretrainConfig, build_clip, export_clip
from eclip_lib.vocabulary import used_merges, write_merges

PRETRAIN_FILES = ("icons96_all.npz", "pretrain_extra.npz")
# Every template some recipe or notebook uses, so that the tiny CLIP has met them; "{}" is the bare name.
TEMPLATES = (
    "{}",
    "a {}.",
    "an icon of a {}.",
    "a drawing of a {}.",
    "a picture of a {}.",
    "a photo of a {}.",
    "A sketch image of a {}.",
    "A drafted image of a {}.",
    "a point cloud image of a {}.",
    "image of a {}.",
)


@dataclass(frozen=True)
class PretrainData:
    """What a step draws from: stills, their texts and the teacher's view of them."""

    images: Tensor  # (N, H, W, 3) uint8
    texts: list[list[str]]  # the names of each still, best first
    group: np.ndarray  # (N,) stills of one group are no negatives
    label: np.ndarray  # (N,) index of the basic class, -1 without one
    classes: list[str]
    targets: Tensor  # (N, P) unit teacher features
    prototypes: Tensor  # (G, P) the mean of each group, at unit length

    @property
    def facts(self) -> dict:
        """Return what a recipe tells of its data."""
        return {"stills": len(self.images), "classes": len(self.classes), "split": TRAIN, "teacher": TEACHER}

    extra: np.ndarray  # (N,) bool: a still of the wider set


def training_sets(folder: str | None, most: int | None = None) -> list[tuple[Stills, np.ndarray]]:
    """Return the stills of train families, set by set, each with the teacher's features (N, F), which are cached.

    Args:
        folder: holds `icons96_all.npz` and `pretrain_extra.npz`; None takes the embedded icons alone.
        most: take so many stills of each set, evenly; None takes all.

    Raises:
        FileNotFoundError: a file is missing.
        ModuleNotFoundError: the extra `pretrain` is not installed.
    """
    paths = [ASSETS / "icons100.npz"] if folder is None else [find_path(folder) / name for name in PRETRAIN_FILES]
    return [_with_teacher(load_stills(path), most) for path in paths]


def _with_teacher(stills: Stills, most: int | None) -> tuple[Stills, np.ndarray]:
    stills = stills.select(stills.table.split == TRAIN)
    if most is not None:
        stills = stills.select(np.isin(np.arange(len(stills)), np.linspace(0, len(stills) - 1, most).astype(int)))
    key = [TEACHER, content_key(b"".join(stills.encoded))]
    images = [stills.image(i) for i in range(len(stills))]
    return stills, cached_array("teacher_features", key, lambda: teacher_features(np.stack(images)))


def gather_data(sets: list[tuple[Stills, np.ndarray]], validation_family: str) -> PretrainData:
    """Join sets of stills and their teacher features; leaves out the validation family and stills without a name."""
    images, texts, classes_of, concepts, extra, kept = [], [], [], [], [], []
    for position, (stills, feature) in enumerate(sets):
        table = stills.table
        named = (table.cls != "") | (table.concept != "") | (table.caption != "")
        keep = np.flatnonzero((table.split == TRAIN) & (table.family != validation_family) & named)
        for i in keep:
            row = table.iloc[i]
            images.append(stills.image(i))
            texts.append([text for text in dict.fromkeys([row.cls, row.concept, row.caption]) if text])
            classes_of.append(row.cls)
            concepts.append(row.cls or row.concept or row.caption)
            extra.append(position > 0)
        kept.append(feature[keep])
    classes = sorted({name for name in classes_of if name})
    index = {name: i for i, name in enumerate(classes)}
    _, group = np.unique(concepts, return_inverse=True)
    targets = principal_targets(np.concatenate(kept))
    prototypes = torch.zeros(group.max() + 1, targets.shape[1]).index_add_(0, torch.from_numpy(group), targets)
    return PretrainData(
        images=torch.from_numpy(np.stack(images)),
        texts=texts,
        group=group,
        label=np.array([index.get(name, -1) for name in classes_of]),
        classes=classes,
        targets=targets,
        prototypes=F.normalize(prototypes, dim=-1),
        extra=np.array(extra),
    )


def write_vocabulary(path: Path, data: PretrainData) -> None:
    """Write the merge list that the captions, the class names and the templates need."""
    texts = [text for names in data.texts for text in names] + list(TEMPLATES) + list("abcdefghijklmnopqrstuvwxyz")
    write_merges(path, used_merges(texts))


class TextSampler:
    """Draw a name and a template for a still; tokenized once, since the texts are few."""

    def __init__(self, tokenizer: SimpleTokenizer, names: list[list[str]], classes: list[str]):
        """Tokenize every name in every template."""
        self.names, self.classes, self.rows = names, classes, {}
        for name in {name for options in names for name in options} | set(classes):
            self.rows[name] = tokenizer([template.format(name) for template in TEMPLATES])

    def of_stills(self, picks: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Draw one text for each still, `(B, L)`, cut to the longest."""
        options = [self.names[i] for i in picks]
        names = [o[0] if rng.random() < 0.5 else o[int(rng.integers(len(o)))] for o in options]
        return _cut(torch.stack([self.rows[name][self._template(rng)] for name in names]))

    def of_classes(self, rng: np.random.Generator) -> Tensor:
        """Draw one template and fill in every basic class, `(K, L)`."""
        template = self._template(rng)
        return _cut(torch.stack([self.rows[name][template] for name in self.classes]))

    @staticmethod
    def _template(rng: np.random.Generator) -> int:
        return 0 if rng.random() < 0.25 else int(rng.integers(1, len(TEMPLATES)))


def _cut(tokens: Tensor) -> Tensor:
    """Drop the columns that are padding in every row; exact, since the text tower is causal."""
    return tokens[:, : int(tokens.argmax(1).max()) + 1]


def encode_short_text(clip: CLIP, tokens: Tensor) -> Tensor:
    """Encode texts shorter than the context `(B, L) -> (B, D)`, as `clip.encode_text` does for the padded ones."""
    length = tokens.shape[1]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    x = clip.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)]
    return F.normalize(x @ clip.text_projection, dim=-1)


def relation_loss(student: Tensor, teacher: Tensor, temperature: float = 0.1) -> Tensor:
    """KL between the rows of the in-batch similarities of teacher and student, self left out."""
    off = ~torch.eye(len(student), dtype=torch.bool)
    mine, theirs = ((z @ z.t())[off].view(len(z), -1) / temperature for z in (student, teacher))
    return F.kl_div(F.log_softmax(mine, 1), F.softmax(theirs, 1), reduction="batchmean")


def pretrain_losses(
    clip: CLIP, head: nn.Module, data: PretrainData, picks: np.ndarray, views: Tensor, texts: tuple, cfg: PretrainConfig
) -> dict[str, Tensor]:
    """Return every weighted term of one step and their total."""
    image_emb = F.normalize(clip.visual(normalize_images(clip, views)), dim=-1)
    text_emb, class_emb = (encode_short_text(clip, tokens) for tokens in texts)
    scale = clip.logit_scale.exp().clamp(max=100)
    same = torch.from_numpy(data.group[picks][:, None] == data.group[picks][None])
    logits = scale * image_emb @ text_emb.t()
    label = torch.from_numpy(data.label[picks])
    known = label >= 0
    target = data.targets[torch.from_numpy(picks)]
    losses = {
        "contrast": symmetric_cross_entropy(logits, same),
        "class": cfg.class_weight
        * F.cross_entropy(scale * image_emb[known] @ class_emb.t(), label[known], label_smoothing=0.1),
        "teacher": cfg.teacher_weight * (1 - F.cosine_similarity(head(image_emb), target).mean()),
        "text_teacher": cfg.text_teacher_weight
        * (1 - F.cosine_similarity(head(text_emb), data.prototypes[torch.from_numpy(data.group[picks])]).mean()),
        "relation": cfg.relation_weight * relation_loss(image_emb, target),
    }
    losses["total"] = sum(losses.values())
    return losses


def draw_batch(data: PretrainData, cfg: PretrainConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw the stills of a step: `extra_share` from the wider set, the rest evenly from the others."""
    wide, core = np.flatnonzero(data.extra), np.flatnonzero(~data.extra)
    many = round(cfg.batch * cfg.extra_share) if len(wide) else 0
    picks = [rng.choice(core, min(cfg.batch - many, len(core)), replace=False)]
    if many:
        picks.append(rng.choice(wide, min(many, len(wide)), replace=False))
    return rng.permutation(np.concatenate(picks))


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

    Each record has the step, the mean losses since the last one and the zero-shot accuracy of the averaged weights on
    the held-out validation family.
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
