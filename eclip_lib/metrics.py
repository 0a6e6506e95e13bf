"""Figures of merit: pure functions of scores and labels.

Accuracies and recalls are fractions in [0, 1].
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def topk_accuracy(
    scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"], ks: tuple[int, ...] = (1, 5)
) -> dict[str, float]:
    """Return the share of samples whose class is among the k best scored: `{"top1": ..., "top5": ...}`.

    Ties count against the sample: classes that score as high as the true one rank before it.
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


def worst_confusions(predicted: Int[Tensor, " N"], labels: Int[Tensor, " N"], most: int = 10) -> list[tuple]:
    """Return the most frequent mistakes as `(true, predicted, count, share of the true class)`."""
    wrong = predicted != labels
    counts = pd.Series(list(zip(labels[wrong].tolist(), predicted[wrong].tolist(), strict=True))).value_counts()
    size = torch.bincount(labels)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
    return [(true, other, int(count), count / size[true].item()) for (true, other), count in ordered]


def mean_sd(values: list[float]) -> tuple[float, float, int]:
    """Return mean, sample standard deviation (nan for one value) and n."""
    array = np.asarray(values, dtype=float)
    return array.mean(), array.std(ddof=1) if len(array) > 1 else float("nan"), len(array)


def paired_interval(differences: list[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return mean, low and high end of the t interval of paired differences.

    Raises:
        ValueError: fewer than two differences.
    """
    from scipy import stats

    if len(differences) < 2:
        raise ValueError(f"an interval needs at least 2 paired differences, got {len(differences)}")
    mean, sd, n = mean_sd(differences)
    half = stats.t.ppf((1 + level) / 2, n - 1) * sd / n**0.5
    return mean, mean - half, mean + half
