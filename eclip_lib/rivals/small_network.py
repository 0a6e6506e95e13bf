"""A small network on count maps, without CLIP and without text."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

WINDOWS = 3  # of the small network; one for each saccade, about
BATCH, RATE = 64, 1e-3  # of the small network
TRAINING_STEPS = (100, 300, 1000)  # of the small network, chosen on the validation part


def small_network(classes: int) -> nn.Module:
    """Return two convolutions with stride 2 and a linear layer (about 28,000 parameters for ten classes).

    It takes log(1 + count) of `WINDOWS` windows and two polarities, (B, 6, H, W), and gives logits (B, K).
    """
    return nn.Sequential(
        nn.Conv2d(2 * WINDOWS, 16, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(8),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 64, classes),
    )  # fmt: skip


def train_network(
    maps: Float[Tensor, "N C H W"], labels: Int[Tensor, " N"], classes: int, seed: int, steps: int
) -> nn.Module:
    """Train the fixed network: Adam, as many steps whatever the size of the training set."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of the first weights, the batches and the dropout
        network = small_network(classes)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        for _ in range(steps):
            rows = torch.randint(len(maps), (BATCH,))
            loss = F.cross_entropy(network(maps[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def cnn_scores(
    train: tuple[Float[Tensor, "N C H W"], Int[Tensor, " N"]],
    val: tuple[Float[Tensor, "V C H W"], Int[Tensor, " V"]],
    test: Float[Tensor, "M C H W"],
    classes: int,
    seed: int,
) -> tuple[Float[Tensor, "M K"], int]:
    """Train the small network on log count maps and score test recordings.

    Args:
        train: maps and labels.
        val: maps and labels that choose the number of training steps; never part of the training.
        test: maps to score.
        classes: K.
        seed: of the network.

    Returns:
        Log-probabilities of the classes, and the chosen number of steps.
    """
    with torch.enable_grad():
        networks = [train_network(*train, classes, seed, steps) for steps in TRAINING_STEPS]
    accuracy = [float((network(val[0]).argmax(1) == val[1]).float().mean()) for network in networks]
    best = int(np.argmax(accuracy))  # of equals the shortest training
    return F.log_softmax(networks[best](test), dim=1), TRAINING_STEPS[best]
