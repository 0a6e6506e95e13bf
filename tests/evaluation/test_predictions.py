"""Files of predictions, and tables by class."""

import numpy as np
import pandas as pd
import pytest

from eclip_lib.evaluation.predictions import class_table, correct_pair, read_predictions, write_predictions


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


def test_of_two_runs_by_base_to_new_the_recordings_of_new_classes_count(tmp_path):
    labels, ruled_out = np.array([0, 1, 2, 3]), -np.inf
    scores = np.array(
        [[1, 0, *[ruled_out] * 2], [1, 0, *[ruled_out] * 2], [*[ruled_out] * 2, 1, 0], [*[ruled_out] * 2, 1, 0]]
    )
    for name, swapped in (("a", scores), ("b", scores[:, [1, 0, 3, 2]])):
        write_predictions(tmp_path / f"{name}.npz", list("wxyz"), labels, swapped)
    for protocol, expected in (
        ("base-to-new", ([True, False], [False, True], ["y", "z"])),
        ("few-shot", ([True, False, True, False], [False, True, False, True], list("wxyz"))),
    ):
        ours, theirs = (
            pd.Series({"run_id": name, "predictions": f"{name}.npz", "protocol": protocol}) for name in "ab"
        )
        assert [part.tolist() for part in correct_pair(ours, theirs, tmp_path / "results.jsonl")] == list(expected)
