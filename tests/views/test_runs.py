"""What a notebook shows of a run, for a run made by hand."""

from types import SimpleNamespace

import numpy as np
import torch

from eclip_lib.config import Run
from eclip_lib.data.inputs import FrameSet
from eclip_lib.views import runs

NAMES = ("cat", "dog", "car", "cup")


def side(labels):
    labels = torch.tensor(labels, dtype=torch.long)
    pixels = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1, 1) * np.ones((1, 2, 3, 4, 4), np.uint8)
    return FrameSet(pixels, torch.ones(len(labels), 2, dtype=torch.bool), labels)


def an_experiment(train=(2, 0, 0, 3), test=(0, 0, 2, 3), predicted=(0, 2, 2, 2)):
    scores = torch.nn.functional.one_hot(torch.tensor(predicted), 4).float()
    data = SimpleNamespace(class_names=NAMES, simulated=True)
    sides = {"train": side(train), "val": side((0,)), "test": side(test)}
    return SimpleNamespace(cfg=Run(), data=data, tested=data, scores=scores, **sides)


def test_the_settings_name_what_is_set_and_count_each_side():
    table = runs.settings_table(an_experiment()).set_index("setting").value
    assert table["data.shots"] == "5" and "data.fold" not in table and table["run"] == Run().id
    assert table["train recordings"] == "4 simulated" and table["test recordings"] == "4 simulated"


def test_examples_are_the_first_of_classes_spread_over_the_list():
    frames, valid, names = runs.examples(an_experiment(), most=2)
    assert names == ["cat", "cup"] and frames.shape == (2, 2, 3, 4, 4) and valid.all()
    assert np.allclose(frames[:, 0, 0, 0, 0], [1 / 255, 3 / 255])
    assert runs.examples(an_experiment(train=()))[2] == ["cat", "car", "cup"]  # of the test recordings


def test_shares_are_of_the_true_class_and_classes_never_met_are_left_out():
    shares, names = runs.confusion_shares(an_experiment())
    assert names == ["cat", "car", "cup"]
    assert np.allclose(shares, [[0.5, 0.5, 0], [0, 1, 0], [0, 1, 0]])
    shares, names = runs.confusion_shares(an_experiment(test=(0, 0, 0, 0), predicted=(0, 0, 0, 1)))
    assert names == ["cat", "dog"] and np.isnan(shares[1]).all()


def test_metrics_are_in_percent_and_counts_as_they_are():
    table = runs.metric_table({"metrics": {"top1": 0.456, "n": 1892}})
    assert table.value.tolist() == ["45.6 %", "1,892"]
