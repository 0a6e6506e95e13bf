"""What trains, validates and tests under each protocol.

`EventData` and `DataConfig` -> `Split`, one function a protocol. No recording, and no group of near-duplicates, is on
two sides. The validation part is the data set's own (`part == "val"`), else a tenth of the training groups of each
class, the same for every run. Test recordings never choose a model; only `TrainConfig.select = "best-epoch-on-test"`
does what the official code does, for comparison with the paper.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eclip_lib.cache import content_key
from eclip_lib.config import DataConfig
from eclip_lib.data.recordings import EventData
from eclip_lib.data.shots import SPLIT_SEED, shot_order, tracked_order

VALIDATION_SHARE = 0.1  # of the training groups of each class


@dataclass(frozen=True)
class Split:
    """Indices of the recordings that train, validate and test; disjoint.

    Under the protocol transfer, `test` indexes the target, another data set; elsewhere all three index one.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def all(self) -> np.ndarray:
        """Return every index used, train first."""
        return np.concatenate([self.train, self.val, self.test])

    def hash(self, data: EventData, target: EventData | None = None) -> str:
        """Name the split by the ids on each side; under transfer, `target` gives those of the test side."""
        sides = [(data, self.train), (data, self.val), (target or data, self.test)]
        return content_key([[source.ids[i] for i in side] for source, side in sides])


def find_test_part(data: EventData) -> np.ndarray:
    """Return the indices of a data set's own test part.

    Raises:
        ValueError: it is empty.
    """
    test = np.flatnonzero(data.part == "test")
    if not len(test):
        raise ValueError(
            f"the test part of {data.name} is empty: none of the {len(data):,} recordings found belongs to it; "
            "complete the folder, or name split lists (splits, --splits) that put some of them there"
        )
    return test


def split_dataset(data: EventData, cfg: DataConfig, seed: int, target: EventData | None = None) -> Split:
    """Split a data set by the protocol of a config; each protocol is a function of this file.

    Args:
        data: what trains and validates, and tests but under transfer.
        cfg: gives protocol and shots.
        seed: of the shots.
        target: what tests under the protocol transfer, which alone has one.

    Warns:
        UserWarning: a class has fewer recordings than shots, or a group has recordings in two parts of the data set.

    Raises:
        ValueError: the target is missing or too much, nothing is left to test on or to split into base and new
            classes, or a tracked shot list does not belong to these recordings.
    """
    if (cfg.protocol == "transfer") != (target is not None):
        given = "none was given" if target is None else f"{target.name} was given"
        raise ValueError(f"protocol {cfg.protocol!r}: transfer, and it alone, is tested on a target, and {given}")
    split = PROTOCOLS[cfg.protocol](data, cfg, seed)
    split = split if target is None else Split(split.train, split.val, find_test_part(target))
    if not len(split.test):
        find_test_part(data)  # says why
    shared = shared_groups(data, split, target is None)
    if shared:
        warnings.warn(
            f"{data.name}: {len(shared)} groups of near-duplicates are on two sides of the split, the first is "
            f"{shared[0]!r}: accuracies on such recordings are too good",
            stacklevel=2,
        )
    return split


def zero_shot(data: EventData, cfg: DataConfig, seed: int) -> Split:
    """Zero-shot: no recording trains; the whole test part is classified among all classes.

    Source: E-CLIP, zero-shot setting. What the backbone was pre-trained on is its own affair: tables name it.
    """
    _, val, test = _parts(data)
    return Split(test[:0], val, test)


def few_shot(data: EventData, cfg: DataConfig, seed: int) -> Split:
    """k-shot: `cfg.shots` recordings of each class train, at most one a group; the whole test part is classified.

    The recordings are the first k of a shuffled list of each class, so that fewer shots are part of more. Lists of
    seeds 0 to 4 up to 20 shots are tracked for icons100 and the folds of n-mnist (`tracked_order`). The validation part
    keeps its size, whatever k is: where it chooses an epoch, more than k recordings a class were looked at.

    Source: E-CLIP, few-shot setting: k random recordings a class, tested on the whole list. The official sampler draws
    with replacement and reaches into the test list (`divide_train_val.py`); this one cannot.
    """
    pool, val, test = _parts(data)
    return Split(_draw(data, pool, cfg, seed), val, test)


def fine_tune(data: EventData, cfg: DataConfig, seed: int) -> Split:
    """Fine-tune: all training recordings but those of the validation part train; the test part is classified.

    Source: E-CLIP, fine-tuning setting. The official code has no validation part and reports the best epoch on test.
    """
    pool, val, test = _parts(data)
    return Split(pool, val, test)


def base_to_new(data: EventData, cfg: DataConfig, seed: int) -> Split:
    """Base-to-new: the first half of the class list trains and validates; both halves are tested, each for itself.

    The first ceil(K/2) classes are the base. A test recording of a base class is classified among base classes alone,
    one of a new class among new classes alone; H = 2ab/(a+b) of the two accuracies. `cfg.shots` of each base class
    train, the same as under k-shot, or with None all of them.

    Source: CoCoOp's protocol (as E-CLIP cites it) in CoOp's convention; the paper does not say which classes are base.

    Raises:
        ValueError: the data set has fewer than two classes.
    """
    base = base_classes(len(data.class_names))
    pool, val, test = _parts(data, base)
    return Split(_draw(data, pool, cfg, seed, base), val, test)


def transfer(data: EventData, cfg: DataConfig, seed: int) -> Split:
    """Cross-data-set transfer: trained as under fine-tune or k-shot, tested on the test part of another data set.

    The target's recordings are classified among all of the target's classes; none of them trains or validates.

    Source: CoCoOp's cross-data-set setting.
    """
    pool, val, _ = _parts(data)
    return Split(_draw(data, pool, cfg, seed), val, pool[:0])  # the target tests


def retrieval(data: EventData, cfg: DataConfig, seed: int) -> Split:
    """Retrieval: trained as under fine-tune or k-shot; the test part is what is searched.

    Text -> event: one query a class, hit if any of the k best recordings is of the class. Image -> event: one query a
    test still, hit if any of the k best recordings is of its class; instance-level if its own is among them. Event ->
    image is the same the other way round. Recall@1/5/10 and mAP.

    Source: E-CLIP, retrieval setting, class-level hit@k; instance-level, event -> image and mAP are our choice.
    """
    pool, val, test = _parts(data)
    return Split(_draw(data, pool, cfg, seed), val, test)


PROTOCOLS: dict[str, Callable[[EventData, DataConfig, int], Split]] = {
    "zero-shot": zero_shot,
    "few-shot": few_shot,
    "fine-tune": fine_tune,
    "base-to-new": base_to_new,
    "transfer": transfer,
    "retrieval": retrieval,
}


def base_classes(classes: int) -> int:
    """Return how many of K classes, the first of the list, are base classes: ceil(K/2).

    Raises:
        ValueError: fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"base-to-new needs at least 2 classes, the data set has {classes}")
    return (classes + 1) // 2


def shared_groups(data: EventData, split: Split, with_test: bool = True) -> list:
    """Return the groups of near-duplicates that are on more than one side of a split, sorted."""
    sides = [split.train, split.val] + ([split.test] if with_test else [])
    groups, sides_of = np.unique(np.concatenate([np.unique(data.group[side]) for side in sides]), return_counts=True)
    return groups[sides_of > 1].tolist()


def _parts(data: EventData, classes: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what may train, what validates (both of the first `classes` classes) and what tests."""
    wanted = data.labels < (len(data.class_names) if classes is None else classes)
    pool, val = (np.flatnonzero((data.part == part) & wanted) for part in ("train", "val"))
    val = val if len(val) else _validation(data, pool)
    return np.setdiff1d(pool, val), val, np.flatnonzero(data.part == "test")


def _validation(data: EventData, pool: np.ndarray) -> np.ndarray:
    """Take a tenth of each class's groups, at least one; a class with a single group keeps it for training."""
    rng = np.random.default_rng(SPLIT_SEED)
    chosen: set = set()
    for label in np.unique(data.labels[pool]):
        groups = np.unique(data.group[pool[data.labels[pool] == label]])
        if len(groups) > 1:
            chosen.update(rng.choice(groups, max(1, round(VALIDATION_SHARE * len(groups))), replace=False))
    return pool[np.isin(data.group[pool], list(chosen))]


def _draw(data: EventData, pool: np.ndarray, cfg: DataConfig, seed: int, classes: int | None = None) -> np.ndarray:
    """Return the tracked shots of a seed where there are some, else draw them; the whole pool without shots."""
    if cfg.shots is None:
        return pool
    order = tracked_order(data, pool, cfg, seed, classes)
    return draw_shots(data, pool, cfg.shots, seed, classes) if order is None else _first(data, order, cfg.shots)


def draw_shots(data: EventData, pool: np.ndarray, shots: int, seed: int, classes: int | None = None) -> np.ndarray:
    """Draw up to `shots` recordings of every class, each from another group; warns where a class has fewer.

    Args:
        data: the data set.
        pool: indices that may train.
        shots: k.
        seed: of the draw.
        classes: draw for the first so many classes only; the draws of the others do not change them.

    Returns:
        Indices, class by class.
    """
    return _first(data, shot_order(data, pool, seed, classes), shots)


def _first(data: EventData, order: list[np.ndarray], shots: int) -> np.ndarray:
    """Take the first `shots` of every class."""
    picks = [np.sort(members[:shots]) for members in order]
    short = [f"{data.class_names[i]} ({len(chosen)})" for i, chosen in enumerate(picks) if len(chosen) < shots]
    if short:
        warnings.warn(
            f"{len(short)} classes have fewer than {shots} recordings and give all: {', '.join(short)}", stacklevel=2
        )
    return np.concatenate(picks)
