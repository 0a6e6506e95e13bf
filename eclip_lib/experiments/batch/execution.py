"""A batch of ablations: notebook 04 once for each variant and seed, on Dask, into a ledger.

`Grid` -> cells -> workers that execute notebooks -> rows, each written once.
"""

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from uuid import uuid4

from distributed import Future, wait
from filelock import Timeout
from tqdm.auto import tqdm

from eclip_lib.experiments.batch.cells import Cell, Outcome, other_sources, prepare, split_done
from eclip_lib.experiments.batch.workers import Workers
from eclip_lib.experiments.notebooks.headless import NotebookError, run_notebook
from eclip_lib.ledger import find_row
from eclip_lib.locks import free, hold

PATIENCE = 2.0  # seconds after which the workers are counted again
GONE = "its task was cancelled, or the scheduler is gone; the same call goes on from the rows that are there"


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
    try:
        claim = hold(path, wait=patient)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        free(claim)


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
    pending = deque(cells)
    running: dict[Future, Cell] = {}
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
