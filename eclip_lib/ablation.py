"""A batch of ablations: notebook 04 once for each variant and seed, on Dask, into a ledger.

`Grid` -> cells -> workers that execute notebooks -> rows, each written once.
"""

import fcntl
import json
import os
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pandas as pd
from distributed import Future, wait
from tqdm.auto import tqdm

from eclip_lib import presets
from eclip_lib.ablation_cluster import Workers
from eclip_lib.ablation_grid import Grid, differences
from eclip_lib.config import ROOT, Run
from eclip_lib.headless import NotebookError, check_parameters, run_notebook
from eclip_lib.results import LEDGER, code_hash, find_row, own_row, read_results, setting

NOTEBOOK = ROOT / "notebooks" / "04_train.ipynb"
PATIENCE = 2.0  # seconds after which the workers are counted again
OVERHEAD = 6.0  # seconds of a cell besides training and testing: a kernel, imports, figures
RATE = 50  # recordings a second that one thread trains with the embedded CLIP and three frames; testing is thrice that
GONE = "its task was cancelled, or the scheduler is gone; the same call goes on from the rows that are there"
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


# --- cells ---


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
    plain = presets.training_run(run.data, **model, **training)
    named = {name: getattr(run, name) for name in ("experiment", "variant")}
    changes = differences(run, replace(plain, **named))
    own = {"size": size, "keep_weights": False, "watch": False, "ledger": str(Path(ledger).resolve())}
    overrides = json.dumps(changes, sort_keys=True) if changes else None
    return run.data.to_dict() | model | training | named | own | {"overrides": overrides}


def _run_id(run: Run) -> str:
    from eclip_lib.experiment import run_id  # loads PyTorch, which workers do not need

    return run_id(run)


def split_done(cells: Sequence[Cell]) -> tuple[list[Outcome], list[Cell]]:
    """Return the cells whose row is in the ledger, with it, and those still to do."""
    rows = [(cell, find_row(cell.ledger, cell.run_id)) for cell in cells]
    return [Outcome(cell, "there", row) for cell, row in rows if row], [cell for cell, row in rows if not row]


def other_sources(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return those whose row was there and was made by other sources of this version of the package."""
    now = code_hash()
    return [one for one in outcomes if one.status == "there" and one.row["provenance"].get("code") != now]


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
    """Return how long a cell takes on one thread, in s, and where that is known from.

    Rows of the same batch and data in the ledger tell; without any, a rule: `RATE` recordings a second, and `OVERHEAD`.
    """
    run, ledger = cells[0].run, cells[0].ledger
    rows = read_results(ledger).to_dict("records") if ledger.is_file() else []
    like = {"experiment": run.experiment, "smoke": run.smoke, "dataset": run.data.subset or run.data.dataset}
    told = [row["provenance"] for row in rows if all(row.get(k) == v for k, v in like.items())]
    if seconds := [one["seconds"] for one in told if isinstance(one, dict) and "seconds" in one]:
        return sum(seconds) / len(seconds) + OVERHEAD, f"the mean of {len(seconds)} such cells in {ledger.name}"
    from eclip_lib.datasets import load_dataset  # loads PyTorch
    from eclip_lib.splits import split_dataset

    split = split_dataset(load_dataset(run.data), run.data, run.train.seed)
    seen = run.train.epochs * (len(split.train) + len(split.val) / 3) + len(split.test) / 3
    return seen / RATE + OVERHEAD, f"{RATE} recordings/s, the embedded CLIP's speed on one thread"


def prepare(cells: Sequence[Cell]) -> None:
    """Put what cells share into the cache of this machine before they start: recordings, frames, features of stills.

    Otherwise each of several workers would begin by doing the same.

    Raises:
        FileNotFoundError, ValueError: something is wrong with the data.
    """
    from eclip_lib.experiment import Experiment
    from eclip_lib.inputs import image_features

    for run in {(cell.run.data, cell.run.train.seed): cell.run for cell in reversed(cells)}.values():
        trial = Experiment(replace(run, train=replace(run.train, device="cpu")))
        for data, side in ((trial.data, trial.split.train), (trial.tested, trial.split.test)):
            image_features(trial.clip, data, side, run.model.clip_normalization)


def set_aside(outcomes: Sequence[Outcome]) -> None:
    """Move the rows of cells out of their ledger, so that the cells are done again, to a file `...-replaced` beside it.

    The file has them before the ledger loses them. Other processes may go on adding rows.
    """
    for ledger in {one.cell.ledger for one in outcomes}:
        gone = {one.cell.run_id for one in outcomes if one.cell.ledger == ledger}
        with ledger.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            kept, replaced = [], []
            for line in file.read().splitlines(keepends=True):
                row = own_row(line)
                (replaced if row and row["run_id"] in gone else kept).append(line)
            with ledger.with_stem(f"{ledger.stem}-replaced").open("ab") as aside:
                aside.writelines(replaced)
            file.seek(0)  # in place: a writer that waits for the lock has this very file open
            file.writelines(kept)
            file.truncate()


# --- on a worker ---


def run_cell(cell: Cell, patient: bool) -> dict | None:
    """Do a cell whose row is not there yet, and return its status and row.

    Args:
        cell: to do.
        patient: wait for another process that does the same cell just now; otherwise return None.

    Raises:
        NotebookError: the notebook failed; the message says where it is kept.
        RuntimeError: it wrote no row.
    """
    with _claimed(cell, patient) as mine:
        if not mine:
            return None
        if row := find_row(cell.ledger, cell.run_id):
            return {"status": "there", "row": row}
        kept = run_notebook(cell.notebook, cell.parameters, verbose=False).notebook
        row = find_row(cell.ledger, cell.run_id)
        if row is None:
            raise RuntimeError(f"{kept} was executed, but wrote no row {cell.run_id} to {cell.ledger}")
        return {"status": "done", "row": row}


@contextmanager
def _claimed(cell: Cell, patient: bool) -> Iterator[bool]:
    """Hold a cell for this process; the claim ends with the process, however that ends. Tells whether it is held."""
    path = cell.ledger.parent / "claims" / f"{cell.run_id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            if not _same_file(path, file.fileno()):
                continue  # its last holder took it away while this one waited
            try:
                yield True
            finally:
                path.unlink()
            return


def _same_file(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False


# --- the batch ---


def run_batch(cells: Sequence[Cell], workers: Workers, tell: Callable[[Outcome], None] | None = None) -> list[Outcome]:
    """Do cells on workers behind one progress bar, and return what came of each, in the order of the cells.

    A cell runs only if its row is not there. One that fails does not stop the others. One whose worker dies is done
    again by another, as often as Dask allows (`distributed.scheduler.allowed-failures`). Cells that another batch does
    just now are left for the end, and then waited for.

    Args:
        cells: to do.
        workers: from `open_workers`; each does as many cells at a time as it has threads, in the order of the cells.
        tell: is called with each outcome as it comes.

    Raises:
        FileNotFoundError, ValueError: something is wrong with the data; no cell was started.
    """
    there, todo = split_done(cells)
    if todo:
        prepare(todo)
    outcomes = {one.cell.run_id: one for one in there}
    shown = {"desc": "cells", "total": len(cells), "initial": len(there), "smoothing": 0, "dynamic_ncols": True}
    with tqdm(**shown) as bar:
        for patient in (False, True):
            for one in _finished(todo, workers, patient):
                outcomes[one.cell.run_id] = one
                bar.update()
                bar.set_postfix(Counter(each.status for each in outcomes.values()))
                if tell:
                    tell(one)
            todo = [cell for cell in todo if cell.run_id not in outcomes]
    return [outcomes[cell.run_id] for cell in cells]


def _finished(cells: Sequence[Cell], workers: Workers, patient: bool) -> Iterator[Outcome]:
    """Yield the outcomes of cells as they come, none for a cell that another process does.

    A worker never has a cell waiting behind the one it does, so that its death costs no other cell a try.
    """
    pending, running = deque(cells), {}
    while pending or running:
        if workers.client.status != "running":  # the scheduler is gone, and with it what its workers do
            yield from (Outcome(cell, "failed", error=GONE) for cell in (*running.values(), *pending))
            return
        slots = max(1, sum(workers.client.nthreads().values()))
        while pending and len(running) < slots:
            cell = pending.popleft()
            running[_submit(cell, workers, patient)] = cell
        try:
            ended = wait(list(running), timeout=PATIENCE, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            continue
        except CancelledError:
            ended = [future for future in running if future.cancelled()]
        for future in ended:
            if one := _outcome(running.pop(future), future):
                yield one


def _submit(cell: Cell, workers: Workers, patient: bool) -> Future:
    name = f"{cell.run.variant} {cell.run.train.seed}-{uuid4()}"  # the dashboard shows what is before the hyphen
    return workers.client.submit(run_cell, cell, patient, key=name, pure=False, resources=workers.resources or None)


def _outcome(cell: Cell, future: Future) -> Outcome | None:
    if future.status == "finished":
        result = future.result()
        return result and Outcome(cell, **result)
    if future.cancelled():
        return Outcome(cell, "failed", error=GONE)
    error = future.exception()
    lines = [] if isinstance(error, NotebookError) else traceback.format_exception(error)
    return Outcome(cell, "failed", error="\n".join([f"{type(error).__name__}: {error}", *lines]))


def summary(outcomes: Sequence[Outcome]) -> str:
    """Tell what came of a batch, naming the cells that failed, and why."""
    counts = Counter(one.status for one in outcomes)
    lines = [f"{len(outcomes)} cells: {counts['done']} done, {counts['there']} there before, {counts['failed']} failed"]
    if older := other_sources(outcomes):
        lines.append(f"by other sources of this version: {len(older)} of those there (--fresh does them again)")
    lines += [f"failed: {one.cell} ({one.cell.run_id})\n  {one.error}" for one in outcomes if one.status == "failed"]
    return "\n".join(lines)
