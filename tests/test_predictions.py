"""Files of predictions, tables by class, and gains over seeds and recordings together."""

import numpy as np
import pytest

from eclip_lib.predictions import bootstrap_gains, class_table, read_predictions, write_predictions


def scores_of(predicted, classes=3):
    scores = np.zeros((len(predicted), classes), np.float32)
    scores[np.arange(len(predicted)), predicted] = 5.0
    return scores


def test_a_file_comes_back(tmp_path):
    path = tmp_path / "predictions" / "a.npz"
    scores = np.array([[1.5, -np.inf, 0.25], [0.0, 2.0, 2.0004]], np.float32)
    write_predictions(path, ["a", "b"], np.array([0, 1]), scores)
    found = read_predictions(path)
    assert found.ids.tolist() == ["a", "b"] and found.correct.tolist() == [True, False]
    assert found.scores.dtype == np.float16 and found.scores[0].tolist() == [1.5, -np.inf, 0.25]
    assert found.predicted.tolist() == [0, 2]  # before rounding, which makes both scores of "b" 2


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of predictions at"):
        read_predictions(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"text.npz is no file of predictions \(ids, labels"):
        read_predictions(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", ids=np.arange(2))
    with pytest.raises(ValueError, match=r"other.npz is no file of predictions"):
        read_predictions(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="2 ids, 1 labels and scores of shape"):
        write_predictions(tmp_path / "x.npz", ["a", "b"], np.array([0]), scores_of([0, 1]))
    with pytest.raises(ValueError, match="1 ids name more than one recording"):
        write_predictions(tmp_path / "x.npz", ["a", "a"], np.array([0, 1]), scores_of([0, 1]))
    assert not (tmp_path / "x.npz").exists()


def test_classes_by_hand(tmp_path):
    labels, predicted = np.array([0, 0, 0, 1, 1]), np.array([2, 2, 0, 1, 1])
    write_predictions(tmp_path / "a.npz", list("abcde"), labels, scores_of(predicted))
    table = class_table(read_predictions(tmp_path / "a.npz"), ["cat", "dog", "owl"])
    assert table.to_dict("records") == [
        {"class": "cat", "n": 3, "top-1 %": 33.3, "taken for": "owl (2)"},
        {"class": "dog", "n": 2, "top-1 %": 100.0, "taken for": ""},
    ]
    with pytest.raises(ValueError, match="scores of 3 classes, but 1 class names"):
        class_table(read_predictions(tmp_path / "a.npz"), ["cat"])


def make_rows(folder, accuracies, folds=False):
    """Write runs of 40 recordings, the first so many right, each in another order; return their rows."""
    rows = []
    rng = np.random.default_rng(0)
    for (method, seed), share in accuracies.items():
        labels = np.zeros(40, int)
        predicted = (np.arange(40) >= round(40 * share)).astype(int)
        ids = np.array([f"{seed if folds else ''}/{i}" for i in range(40)])
        order = rng.permutation(40)
        name = f"predictions/{method}{seed}.npz"
        write_predictions(folder / name, ids[order], labels[order], scores_of(predicted[order]))
        zero = method == "clip-zero-shot"
        rows.append(
            {
                "run_id": name,
                "method": method,
                "dataset": "icons100",
                "protocol": "zero-shot" if zero else "few-shot",
                "shots": None if zero else 5,
                "seed": 0 if folds else seed,
                "fold": seed if folds else None,
                "predictions": name,
                "metrics": {"top1": share},
            }
        )
    return rows


def test_gains_are_of_the_same_recordings(tmp_path):
    """Two seeds 10 points ahead, on recordings told apart by their ids; zero-shot has one run, against both."""
    shares = {("e-clip", 0): 0.8, ("e-clip", 1): 0.9, ("linear-probe", 1): 0.8, ("linear-probe", 0): 0.7}
    rows = make_rows(tmp_path, shares | {("clip-zero-shot", 0): 0.5})
    probe, zero = bootstrap_gains(rows, tmp_path / "results.jsonl").to_dict("records")
    assert (probe["E-CLIP ahead of"], probe["points"]) == ("linear probe, frozen CLIP", "+10.0")
    assert (probe["repeats"], probe["recordings"]) == (2, 40)
    low, high = map(float, probe["95 % interval"].split(" to "))
    assert 0 <= low < 10 < high < 25
    assert (zero["points"], zero["repeats"]) == ("+35.0", 2)


def test_gains_over_folds_take_each_fold_with_its_own(tmp_path):
    shares = {("e-clip", f): 0.8 for f in range(3)} | {("linear-probe", f): 0.8 for f in range(3)}
    (gain,) = bootstrap_gains(make_rows(tmp_path, shares, folds=True), tmp_path / "results.jsonl").to_dict("records")
    assert gain["95 % interval"] == "+0.0 to +0.0" and (gain["repeats"], gain["recordings"]) == (3, 120)


def test_runs_on_other_recordings_are_no_pair(tmp_path):
    rows = make_rows(tmp_path, {("e-clip", 0): 0.8, ("linear-probe", 0): 0.7})
    write_predictions(tmp_path / rows[0]["predictions"], list("ab"), np.zeros(2, int), scores_of([0, 0]))
    with pytest.raises(
        ValueError, match=r"e-clip0.npz and .*linear-probe0.npz were tested on other recordings \(2 and 40"
    ):
        bootstrap_gains(rows, tmp_path / "results.jsonl")
