"""Figures of merit: pure functions of scores and labels.

Accuracies and recalls are fractions in [0, 1].
"""

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

BLOCK = 2_000_000  # numbers drawn at once


def topk_accuracy(
    scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"], ks: tuple[int, ...] = (1, 5)
) -> dict[str, float]:
    """Return the share of recordings whose class is among the k best scored: `{"top1": ..., "top5": ...}`.

    Ties count against the recording: classes that score as high as the true one rank before it.
    """
    true = scores.gather(1, labels[:, None])
    rank = (~(scores < true)).sum(1)  # a score that is no number counts as higher
    return {f"top{k}": (rank <= k).float().mean().item() for k in ks}


def recall_at_k(
    scores: Float[Tensor, "Q N"], relevant: Bool[Tensor, "Q N"], ks: tuple[int, ...] = (1, 5, 10)
) -> dict[str, float]:
    """Return the share of queries with a relevant item among the k best scored: `{"recall@1": ..., ...}`.

    Class-level when `relevant` says "same class", instance-level when it says "its own pair". Queries without any
    relevant item are left out.
    """
    answerable = relevant.any(1)
    scores, relevant = scores[answerable], relevant[answerable]
    deepest = min(max(ks), scores.shape[1])
    hits = relevant.gather(1, scores.topk(deepest, dim=1).indices)
    return {f"recall@{k}": hits[:, :k].any(1).float().mean().item() for k in ks}


def mean_average_precision(scores: Float[Tensor, "Q N"], relevant: Bool[Tensor, "Q N"]) -> float:
    """Return mAP: the mean over queries of the average precision of their rankings.

    Average precision is the mean, over a query's relevant items, of the share of relevant items down to its rank.
    Queries without any relevant item are left out; nan if none is left. Equal scores rank in the order of the items.
    """
    answerable = relevant.any(1)
    order = scores[answerable].sort(dim=1, descending=True, stable=True).indices
    hits = relevant[answerable].gather(1, order).double()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1, device=hits.device)
    return ((precision * hits).sum(1) / hits.sum(1)).mean().item()


def harmonic_mean(base: float, new: float) -> float:
    """Return 2ab/(a+b) of two accuracies, CoOp's summary of base-to-new; 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new else 0.0


def confusion_matrix(
    predicted: Int[Tensor, " N"], labels: Int[Tensor, " N"], classes: int
) -> Int[Tensor, "classes classes"]:
    """Count recordings by true class (row) and predicted class (column).

    Raises:
        ValueError: a label or prediction is not within the classes.
    """
    for name, values in (("prediction", predicted), ("label", labels)):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ValueError(
                f"{name}s span {int(values.min())} to {int(values.max())}, but there are {classes} classes"
            )
    return torch.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def per_class_accuracy(confusion: Int[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """Return the share of each class's recordings that are predicted as it; nan for a class without any."""
    return confusion.diagonal() / confusion.sum(1)


def calibration_bins(
    scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"], bins: int = 15
) -> tuple[Float[Tensor, " bins"], Float[Tensor, " bins"], Int[Tensor, " bins"]]:
    """Group recordings by confidence, the largest softmax probability, into bins of equal width over [0, 1].

    Returns:
        mean confidence and accuracy (top-1, as `topk_accuracy` counts it) of each bin, 0 where it is empty, and its
        number of recordings. A recording whose scores are no numbers counts as certain and wrong.
    """
    confidence = F.softmax(scores.double(), dim=1).amax(1).nan_to_num(1.0)
    true = scores.gather(1, labels[:, None])
    right = ((~(scores < true)).sum(1) == 1).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1  # (low, high]
    count = torch.bincount(place, minlength=bins)
    sums = [torch.bincount(place, weights=values, minlength=bins) for values in (confidence, right)]
    return sums[0] / count.clamp(min=1), sums[1] / count.clamp(min=1), count


def expected_calibration_error(scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"], bins: int = 15) -> float:
    """Return ECE: the mean distance of a bin's confidence from its accuracy, weighted by its recordings.

    Args:
        scores: logits, the model's scale included, or log-probabilities.
        labels: the true classes.
        bins: of equal width over [0, 1].

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3, 15 bins.
    """
    confidence, accuracy, count = calibration_bins(scores, labels, bins)
    return ((confidence - accuracy).abs() * count).sum().item() / max(len(labels), 1)


def worst_confusions(predicted: Int[Tensor, " N"], labels: Int[Tensor, " N"], most: int = 10) -> list[tuple]:
    """Return the most frequent mistakes as `(true, predicted, count, share of the true class)`."""
    wrong = predicted != labels
    counts = pd.Series(list(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True))).value_counts()
    size = torch.bincount(labels)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [(true, other, int(count), count / size[true].item()) for (true, other), count in ordered]
