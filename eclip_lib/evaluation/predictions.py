"""Files of per-recording predictions, beside the ledger, and tables made of them.

ids, labels and scores of the test recordings -> `predictions/*.npz` -> tables by class, pairs of runs.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from eclip_lib.cache import atomic_path
from eclip_lib.evaluation.metrics import confusion_matrix, per_class_accuracy

FIELDS = ("ids", "labels", "predicted", "scores")


@dataclass(frozen=True)
class Predictions:
    """What a run said of each test recording.

    Attributes:
        ids: (N,) names of the recordings, each once.
        labels: (N,) true class.
        predicted: (N,) best class.
        scores: (N, K) of every class, at half precision; minus infinity where the protocol rules a class out.
    """

    ids: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Return (N,) bool: the best class is the true one."""
        return self.predicted == self.labels

    @property
    def new_class(self) -> np.ndarray:
        """Return (N,) bool: a recording of a class that base-to-new keeps from training; the first class is a base."""
        return np.isneginf(self.scores[:, 0])


def write_predictions(path: Path, ids: Sequence[str], labels: np.ndarray, scores: np.ndarray) -> None:
    """Write what a run said of each test recording; the file appears whole or not at all.

    Args:
        path: an npz file; folders are made.
        ids: what names each recording.
        labels: (N,) true classes.
        scores: (N, K) of every class; the best is taken before they are rounded to half precision.
    """
    _check(path, np.asarray(ids), labels, scores)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        half = scores.astype(np.float16)
        np.savez_compressed(file, ids=np.asarray(ids), labels=labels, predicted=scores.argmax(1), scores=half)


def read_predictions(path: Path | str) -> Predictions:
    """Read a file of predictions.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, or no file of predictions.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file of predictions at {path}; the run whose row names it writes it")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = Predictions(*(archive[name] for name in FIELDS))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no file of predictions ({', '.join(FIELDS)}): {error}") from error
    _check(path, found.ids, found.labels, found.scores)
    return found


def _check(path: Path, ids: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> None:
    if scores.ndim != 2 or not len(ids) == len(labels) == len(scores):
        raise ValueError(
            f"{path}: {len(ids)} ids, {len(labels)} labels and scores of shape {scores.shape} are not of one set of "
            "recordings"
        )
    if len(set(ids.tolist())) != len(ids):
        raise ValueError(f"{path}: {len(ids) - len(set(ids.tolist()))} ids name more than one recording")


def class_table(found: Predictions, class_names: Sequence[str]) -> pd.DataFrame:
    """Return a row a class: recordings, accuracy in percent, and what it is most often taken for; worst first."""
    if found.scores.shape[1] != len(class_names):
        raise ValueError(f"scores of {found.scores.shape[1]} classes, but {len(class_names)} class names")
    labels, predicted = (torch.from_numpy(np.asarray(x, np.int64)) for x in (found.labels, found.predicted))
    confusion = confusion_matrix(predicted, labels, len(class_names))
    accuracy = per_class_accuracy(confusion)
    mistakes = confusion - torch.diag(confusion.diagonal())
    worst, times = mistakes.argmax(1).tolist(), mistakes.amax(1).tolist()
    taken_for = [f"{class_names[other]} ({n})" if n else "" for other, n in zip(worst, times, strict=True)]
    table = pd.DataFrame(
        {
            "class": class_names,
            "n": confusion.sum(1),
            "top-1 %": 100 * accuracy.double().numpy(),
            "taken for": taken_for,
        }
    )
    return table[table.n > 0].sort_values(["top-1 %", "class"], ignore_index=True).round({"top-1 %": 1})


def correct_pair(ours: pd.Series, theirs: pd.Series, ledger: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what each of two runs got right, (N,) bool each in one order, and the (N,) ids.

    Of runs by base-to-new the recordings of new classes count: what such a run asks is how it does on these.

    Args:
        ours: a row of a ledger.
        theirs: another one.
        ledger: its file; the files of predictions lie where the rows say, beside it.

    Raises:
        FileNotFoundError, ValueError: see `read_predictions`; or the two were tested on other recordings.
    """
    mine, other = (read_predictions(ledger.parent / row.predictions) for row in (ours, theirs))
    order, others_order = np.argsort(mine.ids), np.argsort(other.ids)
    ids = mine.ids[order]
    if not np.array_equal(ids, other.ids[others_order]):
        raise ValueError(
            f"the runs {ours.run_id} and {theirs.run_id} were tested on other recordings ({len(mine.ids)} and "
            f"{len(other.ids)}), so they are no pair"
        )
    counts = mine.new_class[order] if ours.protocol == "base-to-new" else np.full(len(ids), True)
    return mine.correct[order][counts], other.correct[others_order][counts], ids[counts]
