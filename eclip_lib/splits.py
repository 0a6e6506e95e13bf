"""How a protocol splits a data set.

`EventData` and `DataConfig` -> `Split`: which index trains, validates, tests.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from eclip_lib.cache import content_key
from eclip_lib.config import DataConfig
from eclip_lib.datasets import EventData

VALIDATION_SHARE = 0.1  # of the training groups of each class
SPLIT_SEED = 2308_03135  # of the validation part, the same for every run


@dataclass(frozen=True)
class Split:
    """Indices of the recordings that train, validate and test; disjoint."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def all(self) -> np.ndarray:
        """Return every index used, train first."""
        return np.concatenate([self.train, self.val, self.test])

    def hash(self, data: EventData) -> str:
        """Name the split by the ids on each side."""
        return content_key([[data.ids[i] for i in side] for side in (self.train, self.val, self.test)])


def split_dataset(data: EventData, cfg: DataConfig, seed: int) -> Split:
    """Split a data set by protocol.

    Test: the data set's own test part. Validation: a tenth of the training groups of each class (at least one), the
        same for every run; no group is on both sides. Train: the rest (fine-tune), `cfg.shots` of each class drawn with
    `seed`, at most one a group (few-shot), or nothing (zero-shot).
    """
    pool = np.flatnonzero(data.part == "train")
    val = _validation(data, pool)
    rest = np.setdiff1d(pool, val)
    test = np.flatnonzero(data.part == "test")
    if cfg.protocol == "zero-shot":
        return Split(rest[:0], val, test)
    return Split(rest if cfg.shots is None else draw_shots(data, rest, cfg.shots, seed), val, test)


def _validation(data: EventData, pool: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(SPLIT_SEED)
    chosen = set()
    for label in range(len(data.class_names)):
        groups = np.unique(data.group[pool[data.labels[pool] == label]])
        chosen.update(rng.choice(groups, max(1, round(VALIDATION_SHARE * len(groups))), replace=False))
    return pool[np.isin(data.group[pool], list(chosen))]


def draw_shots(data: EventData, pool: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Draw up to `shots` recordings of every class, each from another group; warns where a class has fewer."""
    rng = np.random.default_rng([SPLIT_SEED, seed])
    picks, short = [], []
    for label, name in enumerate(data.class_names):
        members = rng.permutation(pool[data.labels[pool] == label])
        _, first = np.unique(data.group[members], return_index=True)
        chosen = members[np.sort(first)][:shots]
        if len(chosen) < shots:
            short.append(f"{name} ({len(chosen)})")
        picks.append(np.sort(chosen))
    if short:
        warnings.warn(
            f"{len(short)} classes have fewer than {shots} recordings and give all: {', '.join(short)}", stacklevel=2
        )
    return np.concatenate(picks)
