"""The small network learns, repeats itself, and validation alone chooses how long it trains."""

import torch

from eclip_lib.rivals import small_network as network

LABELS = torch.arange(24) % 3


def maps(labels, noise=0.1, seed=0):
    """Return count maps whose bright quarter tells the class."""
    torch.manual_seed(seed)
    made = noise * torch.rand(len(labels), 6, 34, 34)
    for one, label in zip(made, labels.tolist(), strict=True):
        one[:, 17 * (label // 2) : 17 * (label // 2) + 17, 17 * (label % 2) : 17 * (label % 2) + 17] += 1
    return made


def test_the_network_learns_and_is_the_same_each_time(monkeypatch):
    monkeypatch.setattr(network, "TRAINING_STEPS", (10, 40))
    train, val, test = ((maps(LABELS, seed=s), LABELS) for s in range(3))
    scores, steps = network.cnn_scores(train, val, test[0], 4, seed=0)
    assert (scores.argmax(1) == test[1]).all() and scores.shape == (24, 4) and steps in (10, 40)
    assert torch.allclose(scores.exp().sum(1), torch.ones(24))
    again, other = (network.cnn_scores(train, val, test[0], 4, seed=s)[0] for s in (0, 1))
    assert torch.equal(scores, again) and not torch.equal(scores, other)


def test_validation_chooses_the_steps(monkeypatch):
    """With wrong validation labels the network that learned nothing yet is the better one."""
    monkeypatch.setattr(network, "TRAINING_STEPS", (0, 40))
    train = maps(LABELS), LABELS
    assert network.cnn_scores(train, train, train[0], 4, seed=0)[1] == 40
    wrong = train[0], (LABELS + 1) % 3
    assert network.cnn_scores(train, wrong, train[0], 4, seed=0)[1] == 0
