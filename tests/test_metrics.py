import math

import pytest
import torch

from eclip_lib.metrics import mean_sd, paired_interval, recall_at_k, topk_accuracy, worst_confusions


def test_topk_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    assert topk_accuracy(scores, torch.tensor([0, 1, 0]), (1, 2, 3)) == pytest.approx(
        {"top1": 1 / 3, "top2": 2 / 3, "top3": 1.0}
    )


def test_ties_count_against_the_sample():
    assert topk_accuracy(torch.zeros(4, 10), torch.arange(4), (1, 5))["top5"] == 0


def test_a_score_that_is_no_number_is_never_right():
    assert topk_accuracy(torch.full((3, 10), float("nan")), torch.arange(3)) == {"top1": 0.0, "top5": 0.0}


def test_recall_by_hand_and_monotone():
    scores = torch.tensor([[4.0, 3, 2, 1], [1, 2, 3, 4], [1, 2, 3, 4]])
    relevant = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)  # the last asks for nothing
    found = recall_at_k(scores, relevant, (1, 2, 4))
    assert found == {"recall@1": 0.5, "recall@2": 1.0, "recall@4": 1.0}


def test_recall_equals_a_naive_count():
    scores, relevant = torch.randn(20, 50), torch.rand(20, 50) < 0.1
    hits = [
        any(relevant[q, i] for i in sorted(range(50), key=lambda i: -scores[q, i])[:5])
        for q in range(20)
        if relevant[q].any()
    ]
    assert recall_at_k(scores, relevant)["recall@5"] == pytest.approx(sum(hits) / len(hits))


def test_worst_confusions_by_hand():
    labels, predicted = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([1, 1, 0, 1, 0])
    assert worst_confusions(predicted, labels) == [(0, 1, 2, 2 / 3), (2, 0, 1, 1.0)]


def test_spread_and_interval():
    assert mean_sd([1.0, 2.0, 3.0]) == (2.0, 1.0, 3)
    assert math.isnan(mean_sd([1.0])[1])
    mean, low, high = paired_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (round(mean, 3), round(low, 3), round(high, 3)) == (3.0, 1.037, 4.963)  # t(0.975, 4) = 2.776
    with pytest.raises(ValueError, match="at least 2"):
        paired_interval([1.0])
