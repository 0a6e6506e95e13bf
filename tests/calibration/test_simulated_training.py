"""Sim-to-real: the fixed network learns, repeats itself, and no recording is tested by a network that has seen it."""

import numpy as np
import pytest
import torch

from eclip_lib.calibration import simulated_training as sim_to_real
from eclip_lib.calibration.pairs import calibration_set
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording

MAPS, LABELS = torch.zeros(40, 6, 34, 34), torch.arange(40) % 2
MAPS[LABELS == 1, :, :17] = 1.0  # class 1 has its events in the upper half


def test_maps_are_log_counts_of_three_windows_and_two_polarities():
    events = np.array([(0, 0, t, t < 2) for t in range(6)], EVENT_DTYPE)
    maps = sim_to_real.digit_maps([Recording(events, (1, 2))])
    assert maps.shape == (1, 6, 1, 2)
    assert torch.allclose(maps[0, :, 0, 0], torch.tensor([2.0, 0, 0, 2, 0, 2]).log1p())


def test_the_network_learns_what_can_be_learned_and_is_the_same_each_time():
    network = sim_to_real.train_network(MAPS, LABELS, 2, seed=0, steps=30)
    assert sim_to_real.correct(network, MAPS, LABELS).all()
    again = sim_to_real.train_network(MAPS, LABELS, 2, seed=0, steps=30)
    other = sim_to_real.train_network(MAPS, LABELS, 2, seed=1, steps=30)
    assert torch.equal(network(MAPS), again(MAPS)) and not torch.equal(network(MAPS), other(MAPS))


def test_real_training_tests_each_recording_on_networks_that_have_not_seen_it(monkeypatch):
    seen = []

    def train(maps, labels, classes, seed, steps):
        seen.append(set(maps[:, 0, 0, 0].long().tolist()))
        return seen[-1]

    def correct(network, maps, labels):
        tested = maps[:, 0, 0, 0].long().tolist()
        assert not network & set(tested)
        return np.ones(len(maps), bool)

    monkeypatch.setattr(sim_to_real, "train_network", train)
    monkeypatch.setattr(sim_to_real, "correct", correct)
    maps = torch.arange(12.0).reshape(12, 1, 1, 1)
    folds = np.arange(12) % 3
    assert sim_to_real.real_training(maps, torch.arange(12) % 2, folds, np.arange(1, 12, 2), seed=0) == 1.0
    assert [len(rows) for rows in seen] == [8, 8, 8]


@pytest.mark.filterwarnings("ignore")
def test_the_table_has_a_row_for_each_training_set():
    pairs = calibration_set(None)
    table = sim_to_real.sim_to_real(pairs, {"start": pairs.start}, [10, 20], seeds=2, steps=3)
    assert table["trained on"].tolist() == ["real recordings", "simulated, start", "simulated, start"]
    assert table["recordings"].tolist() == [40, 10, 20] and set(table["n"]) == {2}
    assert table["share"][0] == 1.0
    assert table["mean"].between(0, 1).all()
    assert table["share"][1] == pytest.approx(table["mean"][1] / table["mean"][0])
