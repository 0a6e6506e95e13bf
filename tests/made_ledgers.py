"""Ledgers made up for the tests of tables: rows with files of predictions, whose differences are known."""

import json
from pathlib import Path

import numpy as np

from eclip_lib.predictions import write_predictions

TESTED, CLASSES = 100, 5


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


def write_ledger(folder: Path, rows: list[dict], accuracy: dict[str, float]) -> Path:
    """Write rows and their predictions; each is right on the share `accuracy` of its variant, and a little noise.

    Which recordings are hard is the same for all variants of a seed, as it is in life, so that pairs differ by little
    more than their accuracies do.
    """
    lines = []
    for row in rows:
        rng = np.random.default_rng([row["seed"], TESTED])
        hard, labels = rng.permutation(TESTED), rng.integers(0, CLASSES, TESTED)
        share = accuracy[row["variant"]] + (row["seed"] % 3 - 1) * 0.01
        right = hard < round(TESTED * share)
        scores = np.eye(CLASSES)[np.where(right, labels, (labels + 1) % CLASSES)]
        row = row | {"predictions": f"predictions/{row['run_id']}.npz", "metrics": {"top1": float(right.mean())}}
        ids = [f"{row['dataset']}/{row['seed']}/{number}" for number in range(TESTED)]
        write_predictions(folder / row["predictions"], ids, labels, scores)
        lines.append(json.dumps(row))
    ledger = folder / "results.jsonl"
    ledger.write_text("\n".join(lines) + "\n")
    return ledger
