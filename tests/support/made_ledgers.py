"""Ledgers made up for the tests of tables: rows with files of predictions, whose differences are known."""

import json
from pathlib import Path

import numpy as np

from eclip_lib.evaluation.predictions import write_predictions

TESTED, CLASSES, BASE = 100, 5, 3


def made_row(label: str, seed: int = 0, dataset: str = "n-mnist", shots: int | None = 5, **fields) -> dict:
    """Return a row of an ablation without its accuracy; `label` is the variant, or a method and its recipe."""
    simulated = dataset != "n-mnist"
    row = {
        "run_id": f"{dataset}-{shots}-{label}-{seed}".replace(" ", "_"), "experiment": "ablation", "method": "e-clip",
        "dataset": dataset, "simulated": simulated, "protocol": "few-shot" if shots else "zero-shot", "shots": shots,
        "seed": seed, "fold": None if simulated else seed, "recipe": "workbench", "backbone": "eclip-tiny",
        "preset": None, "variant": label, "smoke": False, "split_hash": "0", "config": {}, "provenance": {},
        "losses": {"event_image": 1.0, "event_text": 0.8, "text_text": 0.5},
    }  # fmt: skip
    return row | fields


def halved_row(label: str, seed: int = 0, dataset: str = "n-mnist", shots: int | None = 5) -> dict:
    """Return such a row of a run by base-to-new."""
    row = made_row(label, seed, dataset, shots)
    return row | {"protocol": "base-to-new", "run_id": "halved-" + row["run_id"]}


def write_ledger(folder: Path, rows: list[dict], accuracy: dict[str, float]) -> Path:
    """Write rows and their predictions; each is right on the share `accuracy` of its variant, and a little noise.

    Which recordings are hard is the same for all variants of a seed, as it is in life, so that pairs differ by little
    more than their accuracies do. Under base-to-new it is the share of new classes; of the base none is right.
    """
    lines = []
    for row in rows:
        rng = np.random.default_rng([row["seed"], TESTED])
        hard, labels = rng.permutation(TESTED), rng.integers(0, CLASSES, TESTED)
        share = accuracy[row["variant"]] + (row["seed"] % 3 - 1) * 0.01
        right = hard < round(TESTED * share)
        scores = np.eye(CLASSES)[np.where(right, labels, (labels + 1) % CLASSES)]
        metrics = {"top1": float(right.mean())}
        if row["protocol"] == "base-to-new":
            scores, metrics = halved_scores(labels, right), {"base_top1": 0.0, "new_top1": right[labels >= BASE].mean()}
        row = row | {"predictions": f"predictions/{row['run_id']}.npz", "metrics": metrics}
        ids = [f"{row['dataset']}/{row['seed']}/{number}" for number in range(TESTED)]
        write_predictions(folder / row["predictions"], ids, labels, scores)
        lines.append(json.dumps(row))
    ledger = folder / "results.jsonl"
    ledger.write_text("\n".join(lines) + "\n")
    return ledger


def halved_scores(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return scores by base-to-new: right where told among new classes, wrong among the base, never in both halves."""
    new = labels >= BASE
    wrong = np.where(new, BASE + CLASSES - 1 - labels, (labels + 1) % BASE)
    scores = np.eye(CLASSES)[np.where(new & right, labels, wrong)]
    return np.where(new[:, None] == (np.arange(CLASSES) >= BASE), scores, -np.inf)
