"""What a notebook shows of one run: its settings, examples of its data, its metrics, its confusions.

`Experiment` or ledger row -> tables, and arrays for `plots`.
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float

from eclip_lib.data import FrameSet
from eclip_lib.evaluation import confusion_matrix
from eclip_lib.experiments import Experiment

SETTINGS = (
    ("data", ("dataset", "root", "subset", "protocol", "shots", "target", "fold")),
    ("frames", ("frames", "events_per_frame", "color", "size")),
    ("model", ("recipe", "backbone", "pretrained")),
    ("train", ("seed", "epochs", "batch_size", "tower_rate", "additions_rate", "device", "precision", "select")),
)


def settings_table(experiment: Experiment) -> pd.DataFrame:
    """Return the settings of a run that a reader asks for, and how many recordings and classes it has."""
    cfg, data = experiment.cfg, experiment.data
    rows = [(f"{part}.{name}", getattr(getattr(cfg, part), name)) for part, names in SETTINGS for name in names]
    kind = "simulated" if data.simulated else "real"
    sides = zip(("train", "validation", "test"), (experiment.train, experiment.val, experiment.test), strict=True)
    counts = [(f"{name} recordings", f"{len(side):,} {kind}") for name, side in sides]
    rows = [row for row in (("run", cfg.id), ("variant", cfg.variant), *rows) if row[1] is not None]
    rows = [*rows, ("classes", len(data.class_names)), *counts]
    return pd.DataFrame([(name, str(value)) for name, value in rows], columns=["setting", "value"])


def examples(
    experiment: Experiment, most: int = 6
) -> tuple[Float[np.ndarray, "N T 3 S S"], Bool[np.ndarray, "N T"], list[str]]:
    """Return frames, valid and class name of one recording each of a few classes, spread over the class list.

    They are training recordings, or test ones of a run that does not train or draws its frames anew in every epoch.
    """
    train = experiment.train
    side = train if isinstance(train, FrameSet) and len(train) else experiment.test
    labels, first = np.unique(side.labels.numpy(), return_index=True)
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(most, len(labels))).round().astype(int))
    rows = first[chosen]
    of = experiment.data if side is train else experiment.tested
    names = [of.class_names[label] for label in labels[chosen]]
    return side.frames(torch.from_numpy(rows)).numpy(), side.valid[rows].numpy(), names


def metric_table(row: dict) -> pd.DataFrame:
    """Return every metric of a ledger row: shares in percent, counts as they are."""
    metrics = row["metrics"]
    shown = [f"{100 * value:.1f} %" if isinstance(value, float) else f"{value:,}" for value in metrics.values()]
    return pd.DataFrame({"metric": [name.replace("_", " ") for name in metrics], "value": shown})


def confusion_shares(experiment: Experiment) -> tuple[Float[np.ndarray, "K K"], list[str]]:
    """Return which share of each class is taken for which, nan for one without recordings, and their names.

    After `evaluate`. Classes that no test recording has, and that nothing is taken for, are left out.
    """
    names = experiment.tested.class_names
    counts = confusion_matrix(experiment.scores.argmax(1), experiment.test.labels, len(names)).double()
    kept = np.flatnonzero(((counts.sum(0) + counts.sum(1)) > 0).numpy())
    counts = counts[kept][:, kept]
    return (counts / counts.sum(1, keepdim=True)).numpy(), [names[i] for i in kept]
