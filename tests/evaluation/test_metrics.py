import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from eclip_lib.evaluation.intervals import bootstrap_draws, bootstrap_interval, mean_sd, paired_interval
from eclip_lib.evaluation.metrics import (
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    harmonic_mean,
    mean_average_precision,
    per_class_accuracy,
    recall_at_k,
    topk_accuracy,
    worst_confusions,
)


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


# --- average precision, confusion, calibration ---


def test_average_precision_by_hand():
    """Relevant at ranks 1 and 3: (1/1 + 2/3) / 2; at rank 2 alone: 1/2; a query without any is left out."""
    scores = torch.tensor([[4.0, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1]])
    relevant = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert mean_average_precision(scores, relevant) == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert math.isnan(mean_average_precision(scores[2:], relevant[2:]))


def test_average_precision_equals_scikit_learn():
    from sklearn.metrics import average_precision_score

    scores, relevant = torch.randn(12, 40), torch.rand(12, 40) < 0.2
    expected = [average_precision_score(relevant[q].numpy(), scores[q].numpy()) for q in range(12) if relevant[q].any()]
    assert mean_average_precision(scores, relevant) == pytest.approx(np.mean(expected))


def test_confusion_and_class_accuracy_by_hand():
    labels, predicted = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2, 2, 1])
    confusion = confusion_matrix(predicted, labels, 4)
    assert confusion.tolist() == [[1, 0, 2, 0], [0, 1, 0, 0], [0] * 4, [0] * 4]
    found = per_class_accuracy(confusion)
    assert found[:2].tolist() == pytest.approx([1 / 3, 1.0]) and found[2:].isnan().all()
    with pytest.raises(ValueError, match="labels span 0 to 1, but there are 1 classes"):
        confusion_matrix(torch.zeros(4, dtype=torch.long), labels, 1)


def test_harmonic_mean_by_hand():
    assert harmonic_mean(0.9, 0.6) == pytest.approx(0.72)
    assert harmonic_mean(0.0, 0.0) == harmonic_mean(0.8, 0.0) == 0.0


def test_calibration_by_hand():
    """Four samples at 0.85, of which three are right, and two at 0.65, both wrong: (4 * 0.1 + 2 * 0.65) / 6."""
    sure, unsure = [math.log(0.85), math.log(0.15)], [math.log(0.65), math.log(0.35)]
    scores, labels = torch.tensor([sure] * 4 + [unsure] * 2), torch.tensor([0, 0, 0, 1, 1, 1])
    assert expected_calibration_error(scores, labels) == pytest.approx((4 * 0.1 + 2 * 0.65) / 6)
    confidence, accuracy, count = calibration_bins(scores, labels, 10)
    assert count.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 4, 0]
    assert (confidence[8].item(), accuracy[8].item()) == pytest.approx((0.85, 0.75))
    assert calibration_bins(torch.zeros(3, 2), torch.tensor([0, 0, 1]), 2)[2].tolist() == [3, 0]  # bins are (low, high]


def test_a_calibrated_model_has_no_error_and_an_overconfident_one_has():
    torch.manual_seed(0)
    scores = 2 * torch.randn(20_000, 5)
    labels = torch.multinomial(scores.softmax(1), 1)[:, 0]  # drawn from what the model says
    assert expected_calibration_error(scores, labels) < 0.015
    assert expected_calibration_error(3 * scores, labels) > 0.1


def test_scores_that_are_no_numbers_count_as_certain_and_wrong():
    assert expected_calibration_error(torch.full((3, 4), float("nan")), torch.arange(3)) == 1.0
    masked = torch.tensor([[0.0, -math.inf], [0.0, -math.inf]])
    assert expected_calibration_error(masked, torch.tensor([0, 0])) == 0.0


# --- the paired bootstrap over repeats and recordings ---


def test_bootstrap_of_a_constant_gain_has_no_width():
    theirs = np.zeros((3, 20))
    assert bootstrap_interval(theirs + 0.25, theirs) == (0.25, 0.25, 0.25)


def test_bootstrap_of_two_recordings_is_the_exact_one():
    """Differences 1 and 0: the mean of a resample is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4."""
    ours, theirs = [np.array([1, 0])], [np.array([0, 0])]
    assert bootstrap_interval(ours, theirs, level=0.95) == (0.5, 0.0, 1.0)
    assert bootstrap_interval(ours, theirs, level=0.4) == (0.5, 0.5, 0.5)


def test_bootstrap_of_two_repeats_takes_one_of_them():
    """R - 1 of R repeats: the mean of a resample is that of either repeat, never of both."""
    ours, theirs = np.stack([np.ones(5), np.zeros(5)]), np.zeros((2, 5))
    assert bootstrap_interval(ours, theirs, level=0.3) == (0.5, 0.0, 1.0)


def test_bootstrap_of_one_repeat_is_the_normal_interval():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(900) < 0.7, rng.random(900) < 0.6
    mean, low, high = bootstrap_interval([ours], [theirs])
    difference = ours.astype(float) - theirs
    half = 1.96 * difference.std() / 30
    assert mean == pytest.approx(difference.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.006)


def test_bootstrap_keeps_pairs_and_takes_seeds_into_account():
    rng = np.random.default_rng(1)
    hard = rng.random(400)
    theirs = np.stack([hard < 0.5] * 4)
    near = np.stack([hard < 0.55] * 4)  # the same recordings but for a few: narrow, though both accuracies vary
    _, low, high = bootstrap_interval(near, theirs)
    assert 0.02 < low < high < 0.09
    by_seed = np.stack([hard < 0.55 + shift for shift in (-0.2, 0.2, -0.2, 0.2)])
    mean, low, high = bootstrap_interval(by_seed, theirs)
    assert abs(mean - 0.05) < 0.03 and low < -0.1 and high > 0.2


def test_bootstrap_aligns_recordings_by_their_ids():
    """Folds test other recordings; repeats in another order are the same experiment."""
    rng = np.random.default_rng(2)
    ours, theirs = rng.random((2, 3, 50)) < [[[0.8]], [[0.6]]]
    ids = [[f"{i}" for i in range(50)]] * 3
    straight = bootstrap_interval(ours, theirs, ids)
    order = [rng.permutation(50) for _ in range(3)]
    mixed = [[part[o] for part, o in zip(method, order, strict=True)] for method in (ours, theirs)]
    turned = bootstrap_interval(*mixed, [[ids[0][i] for i in o] for o in order])
    assert straight == pytest.approx(turned)
    folds = bootstrap_interval(ours, theirs, [[f"{r}/{i}" for i in range(50)] for r in range(3)])
    assert folds[0] == pytest.approx(straight[0]) and folds != straight
    assert straight == bootstrap_interval(ours, theirs, ids)
    assert (bootstrap_draws(ours, theirs)[1] != bootstrap_draws(ours, theirs, seed=1)[1]).any()


def test_bootstrap_refuses_what_does_not_match():
    with pytest.raises(ValueError, match=r"ours \[3\], but theirs \[2\]"):
        bootstrap_interval([np.zeros(3)], [np.zeros(2)])
    with pytest.raises(ValueError, match=r"ours \[3\], but ids \[1\]"):
        bootstrap_interval([np.zeros(3)], [np.zeros(3)], [["a"]])
    with pytest.raises(ValueError, match="there must be some"):
        bootstrap_interval([], [])


def test_bootstrap_covers_the_true_gain():
    """Five seeds of two methods on 150 recordings that differ in difficulty, 60 times: about 57 should hold it."""
    rng = np.random.default_rng(3)
    held, shift = 0, 0.3
    for _ in range(60):
        hard = rng.normal(0, 1, 150)
        runs = [hard + rng.normal(0, 0.7, (5, 150)) + rng.normal(0, 0.1, (5, 1)) + gain > 0 for gain in (shift, 0.0)]
        _, low, high = bootstrap_interval(*runs, draws=200)
        held += low <= NormalDist(0, (1 + 0.49 + 0.01) ** 0.5).cdf(shift) - 0.5 <= high
    assert held >= 54
