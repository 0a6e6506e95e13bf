"""The stills that pre-training sees, with their names and the features of the teacher."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eclip_lib.cache import cached_array, content_key
from eclip_lib.clip import PretrainConfig
from eclip_lib.data import TRAIN, Stills, load_stills
from eclip_lib.paths import ASSETS, find_path
from eclip_lib.pretraining.teacher import NAME as TEACHER
from eclip_lib.pretraining.teacher import principal_targets, teacher_features

PRETRAIN_FILES = ("icons96_all.npz", "pretrain_extra.npz")


@dataclass(frozen=True)
class PretrainData:
    """What a step draws from: stills, their texts and the teacher's view of them."""

    images: Tensor  # (N, H, W, 3) uint8
    texts: list[list[str]]  # the names of each still, best first
    group: np.ndarray  # (N,) stills of one group are no negatives
    label: np.ndarray  # (N,) index of the basic class, -1 without one
    classes: list[str]
    targets: Tensor  # (N, P) unit teacher features
    prototypes: Tensor  # (G, P) the mean teacher feature of each group, at unit length

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
        for i in keep.tolist():
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


def draw_batch(data: PretrainData, cfg: PretrainConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw the stills of a step: `extra_share` from the wider set, the rest evenly from the others."""
    wide, core = np.flatnonzero(data.extra), np.flatnonzero(~data.extra)
    many = round(cfg.batch * cfg.extra_share) if len(wide) else 0
    picks = [rng.choice(core, min(cfg.batch - many, len(core)), replace=False)]
    if many:
        picks.append(rng.choice(wide, min(many, len(wide)), replace=False))
    return rng.permutation(np.concatenate(picks))
