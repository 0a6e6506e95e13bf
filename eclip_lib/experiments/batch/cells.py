"""The cells of a batch: notebook 04 for one variant and seed each, what is there already and what is left to do."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from eclip_lib.cache import atomic_path
from eclip_lib.config import Run, filled
from eclip_lib.experiments import presets
from eclip_lib.experiments.batch.grid import Grid, differences
from eclip_lib.experiments.notebooks.headless import check_parameters
from eclip_lib.ledger import LEDGER, code_hash, find_row, locked, own_row, read_results, setting
from eclip_lib.paths import NOTEBOOKS

NOTEBOOK = NOTEBOOKS / "04_train.ipynb"
OVERHEAD = 6.0  # seconds of a cell besides training and testing: a kernel, imports, figures
RATE = 50  # recordings a second that one thread trains with the embedded CLIP and three frames; testing is thrice that
Size = Literal["smoke", "full"]


@dataclass(frozen=True, eq=False)
class Cell:
    """One run of a batch: a variant and a seed, as a notebook and its parameters.

    Attributes:
        run: what the notebook will do.
        run_id: names it; its row in the ledger has the same.
        parameters: of the notebook.
        ledger: gets the row.
        notebook: what is executed.
    """

    run: Run
    run_id: str
    parameters: dict[str, Any]
    ledger: Path = LEDGER
    notebook: Path = NOTEBOOK

    def __str__(self) -> str:
        """Name the cell for a reader."""
        place = setting(self.run.data.protocol, self.run.data.shots)
        return f"{self.run.variant}, {place}, seed {self.run.train.seed}"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a cell.

    Attributes:
        cell: that was to do.
        status: "done" now; "there" before; or "failed".
        row: of the ledger, None where it failed.
        error: what went wrong, the first line for a summary; "" where nothing did.
    """

    cell: Cell
    status: Literal["done", "there", "failed"]
    row: dict | None = None
    error: str = ""


def make_cells(grid: Grid, ledger: Path = LEDGER, size: Size = "full", notebook: Path = NOTEBOOK) -> list[Cell]:
    """Return the cells of a grid, in its order.

    Raises:
        FileNotFoundError, ValueError: the notebook is not there, or does not have the parameters.
    """
    cells = []
    for run in grid.runs:
        parameters = check_parameters(notebook, cell_parameters(run, ledger, size))
        done = presets.smoke(run) if size == "smoke" else run
        cells.append(Cell(done, _run_id(done), parameters, Path(ledger).resolve(), notebook))
    return cells


def cell_parameters(run: Run, ledger: Path = LEDGER, size: Size = "full") -> dict[str, Any]:
    """Return the parameters by which notebook 04 comes to a run, before it shrinks it to `size`.

    What notebook 04 has no parameter for is given as overrides of the run that the parameters make.
    """
    training = {name: getattr(run.train, name) for name in ("seed", "device", "precision", "select")}
    model = {"recipe": run.model.recipe, "backbone": run.model.backbone, "pretrained": run.model.pretrained}
    plain = presets.training_run(run.data, run.model.recipe, run.model.backbone, run.model.pretrained, **training)
    named = {name: getattr(run, name) for name in ("experiment", "variant")}
    changes = differences(run, replace(plain, **named))
    own = {"size": size, "keep_weights": False, "watch": False, "ledger": str(Path(ledger).resolve())}
    overrides = json.dumps(changes, sort_keys=True) if changes else None
    return run.data.to_dict() | model | training | named | own | {"overrides": overrides}


def _run_id(run: Run) -> str:
    from eclip_lib.experiments.experiment import run_id  # loads PyTorch, which workers do not need

    return run_id(run)


def split_done(cells: Sequence[Cell]) -> tuple[list[Outcome], list[Cell]]:
    """Return the cells whose row is in the ledger, with it, and those still to do."""
    rows = [(cell, find_row(cell.ledger, cell.run_id)) for cell in cells]
    return [Outcome(cell, "there", row) for cell, row in rows if row], [cell for cell, row in rows if not row]


def other_sources(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes whose row was there, made by this version of the package but by other source code."""
    now = code_hash()
    return [one for one in outcomes if one.status == "there" and one.row and one.row["provenance"].get("code") != now]


def plan_table(grid: Grid, cells: Sequence[Cell], todo: Sequence[Cell]) -> pd.DataFrame:
    """Return a row for each variant: its name, what it changes, its cells, and how many of them are there already.

    Args:
        grid: of the cells.
        cells: all of them.
        todo: those still to do.
    """
    base = grid.runs[0]
    runs = {_line(run): run for run in reversed(grid.runs)}  # of each the one with the first seed, as the base's is
    left, counts = (Counter(_line(cell.run) for cell in some) for some in (todo, cells))
    lines = []
    for line, count in counts.items():
        changes = differences(runs[line], replace(base, variant=runs[line].variant))
        told = ", ".join(f"{field} = {value!r}" for field, value in changes.items()) or "nothing"
        lines.append({"variant": line[0], "changes": told, "cells": count, "there": count - left[line]})
    return pd.DataFrame(lines)


def _line(run: Run) -> tuple[str | None, str]:
    return run.variant, run.data.protocol


def cell_seconds(cells: Sequence[Cell]) -> tuple[float, str]:
    """Return how long a cell takes on one thread, in seconds, and where that is known from.

    Rows of the same batch and data in the ledger tell; without any, a rule: `RATE` recordings a second, and `OVERHEAD`.
    """
    run, ledger = cells[0].run, cells[0].ledger
    rows = read_results(ledger).to_dict("records") if ledger.is_file() else []
    like = {"experiment": run.experiment, "smoke": run.smoke, "dataset": run.data.subset or run.data.dataset}
    told = [row["provenance"] for row in rows if all(row.get(k) == v for k, v in like.items())]
    if seconds := [one["seconds"] for one in told if isinstance(one, dict) and "seconds" in one]:
        return sum(seconds) / len(seconds) + OVERHEAD, f"the mean of {len(seconds)} such cells in {ledger.name}"
    from eclip_lib.data import (
        load_dataset,  # loads PyTorch
        split_dataset,
    )

    split = split_dataset(load_dataset(run.data), run.data, run.train.seed)
    seen = run.train.epochs * (len(split.train) + len(split.val) / 3) + len(split.test) / 3
    return seen / RATE + OVERHEAD, f"{RATE} recordings/s, the embedded CLIP's speed on one thread"


def prepare(cells: Sequence[Cell]) -> None:
    """Put what cells share into the cache of this machine before they start: recordings, frames, features of stills.

    Otherwise each of several workers would begin by doing the same.

    Raises:
        FileNotFoundError, ValueError: something is wrong with the data.
    """
    from eclip_lib.data import image_features
    from eclip_lib.experiments.experiment import Experiment

    for run in {(cell.run.data, cell.run.train.seed): cell.run for cell in reversed(cells)}.values():
        trial = Experiment(replace(run, train=replace(run.train, device="cpu")))
        for data, side in ((trial.data, trial.split.train), (trial.tested, trial.split.test)):
            image_features(trial.clip, data, side, filled(run.model.clip_normalization))


def set_aside(outcomes: Sequence[Outcome]) -> None:
    """Move the rows of cells out of their ledger, so that the cells are done again, to a file `...-replaced` beside it.

    The file has them before the ledger loses them. Other processes may go on adding rows.
    """
    for ledger in {one.cell.ledger for one in outcomes}:
        gone = {one.cell.run_id for one in outcomes if one.cell.ledger == ledger}
        with locked(ledger):
            kept: list[bytes] = []
            replaced: list[bytes] = []
            for line in ledger.read_bytes().splitlines(keepends=True):
                row = own_row(line)
                (replaced if row and row["run_id"] in gone else kept).append(line)
            with ledger.with_stem(f"{ledger.stem}-replaced").open("ab") as aside:
                aside.writelines(replaced)
            with atomic_path(ledger) as temporary:
                temporary.write_bytes(b"".join(kept))
