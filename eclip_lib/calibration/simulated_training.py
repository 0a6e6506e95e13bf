"""Does a classifier that has seen only simulated recordings know real ones?

count maps and labels -> one small, fixed network -> accuracy on real recordings, by what it was trained on.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import tqdm

from eclip_lib.cache import parallel_map
from eclip_lib.calibration.pairs import CalibrationSet
from eclip_lib.camera import SaccadeCamera
from eclip_lib.events import Recording
from eclip_lib.frames import count_maps
from eclip_lib.rivals import WINDOWS, train_network

TRAINING_STEPS = 500  # set once, for all training sets; chosen on nothing


def digit_maps(recordings: Sequence[Recording]) -> Float[Tensor, "N C H W"]:
    """Return log(1 + count) of three windows and two polarities, C = 6."""
    maps = parallel_map(lambda i: count_maps(recordings[i], None, WINDOWS), range(len(recordings)), None)
    return torch.from_numpy(np.log1p(np.stack(maps).astype(np.float32))).flatten(1, 2)


def simulated_maps(camera: SaccadeCamera, stills: Sequence[np.ndarray], seed: int) -> Float[Tensor, "N C H W"]:
    """Record stills, each with another sensor, and return their maps without keeping the events."""

    def one(index: int) -> np.ndarray:
        return count_maps(camera.record(stills[index], seed=seed * len(stills) + index), None, WINDOWS)

    maps = parallel_map(one, range(len(stills)), None)
    return torch.from_numpy(np.log1p(np.stack(maps).astype(np.float32))).flatten(1, 2)


@torch.no_grad()
def correct(network: nn.Module, maps: Float[Tensor, "N C H W"], labels: Int[Tensor, " N"]) -> np.ndarray:
    """Return for each recording whether the network names it rightly, bool (N,)."""
    return (network(maps).argmax(1) == labels).numpy()


def real_training(
    maps: Tensor, labels: Tensor, folds: np.ndarray, tested: np.ndarray, seed: int, steps: int = TRAINING_STEPS
) -> float:
    """Return the accuracy on the recordings `tested` of networks trained on real recordings.

    Each recording is tested by the network that was trained on the folds it is not in.

    Args:
        maps: (N, C, H, W) of real recordings.
        labels: (N,).
        folds: (N,) fold of each.
        tested: indices of the recordings that count.
        seed: of the networks.
        steps: of training.
    """
    classes, right = int(labels.max()) + 1, np.zeros(len(labels), bool)
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        network = train_network(maps[outside], labels[outside], classes, seed, steps)
        right[inside] = correct(network, maps[inside], labels[inside])
    return float(right[tested].mean())


def sim_to_real(
    pairs: CalibrationSet,
    cameras: Mapping[str, SaccadeCamera],
    sizes: Sequence[int],
    seeds: int,
    steps: int = TRAINING_STEPS,
) -> pd.DataFrame:
    """Train the fixed network on real and on simulated recordings, test on the held-out half of the real ones.

    The simulated ones are of further stills, of which no real recording is tested. Every seed draws other stills,
    sensors and networks.

    Args:
        pairs: gives the real recordings and the further stills.
        cameras: by name; each records the same further stills.
        sizes: numbers of further stills.
        seeds: number of repeats.
        steps: of training.

    Returns:
        One row for each training set: trained on, recordings, mean, sd and n of the accuracy in [0, 1], and `share`,
        the mean over that of real training.
    """
    maps, labels = digit_maps(pairs.recordings), torch.from_numpy(pairs.labels.astype(np.int64))
    bar = tqdm(range(seeds), desc="trained on real recordings")
    real = [real_training(maps, labels, pairs.folds, pairs.held_out, seed, steps) for seed in bar]
    trained_on = len(labels) - len(labels) // len(np.unique(pairs.folds))
    rows = [_row("real recordings", trained_on, real, real)]
    test = maps[pairs.held_out], labels[pairs.held_out]
    for name, camera in cameras.items():
        for size in sizes:
            bar = tqdm(range(seeds), desc=f"trained on {size} recordings of {name}")
            runs = [_simulated_training(pairs, camera, size, test, seed, steps) for seed in bar]
            rows.append(_row(f"simulated, {name}", size, runs, real))
    return pd.DataFrame(rows)


def _simulated_training(
    pairs: CalibrationSet, camera: SaccadeCamera, size: int, test: tuple[Tensor, Tensor], seed: int, steps: int
) -> float:
    """Return the accuracy on real recordings of a network trained on simulated ones."""
    stills, labels = pairs.spare(size, seed)
    maps = simulated_maps(camera, stills, seed)
    network = train_network(maps, torch.from_numpy(labels.astype(np.int64)), int(test[1].max()) + 1, seed, steps)
    return float(correct(network, *test).mean())


def _row(name: str, recordings: int, accuracies: Sequence[float], real: Sequence[float]) -> dict:
    """Return one row of the table."""
    mean, sd = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return {
        "trained on": name,
        "recordings": recordings,
        "mean": mean,
        "sd": sd,
        "n": len(accuracies),
        "share": mean / float(np.mean(real)),
    }
