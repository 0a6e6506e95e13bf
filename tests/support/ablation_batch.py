"""A batch of stub cells, which write a row at once instead of training; as a program it can be killed.

`python -m tests.support.ablation_batch FOLDER CELLS WORKERS` -> what came of each cell, as JSON on stdout.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
from distributed import WorkerPlugin
from nbformat.v4 import new_code_cell, new_notebook

from eclip_lib.config import Run
from eclip_lib.experiments.batch import execution
from eclip_lib.experiments.batch.cells import Cell, Outcome
from eclip_lib.experiments.batch.execution import run_batch
from eclip_lib.experiments.batch.workers import Workers, open_workers
from eclip_lib.experiments.notebooks import headless

PARAMETERS = """run_id: str = ""
ledger: str = ""
marks: str = ""  # folder in which each start leaves a file, named by cell, kernel and worker
mode: str = "quick"  # "quick", "slow" (five minutes, but only the first time), "fails" or "full disk\""""
STUB = """import json, os, resource, time
from pathlib import Path
from eclip_lib import __version__
Path(marks).mkdir(exist_ok=True)
Path(marks, f"{run_id} {os.getpid()} {os.getppid()}").touch()
time.sleep(300 if mode == "slow" and len(list(Path(marks).glob(f"{run_id} *"))) == 1 else 0.2)
if mode == "fails":
    1 / 0
row = {"run_id": run_id, "metrics": {}, "provenance": {"versions": {"eclip": __version__}}}
if mode == "full disk":
    from eclip_lib.ledger import append_row
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    append_row(row, Path(ledger))
with open(ledger, "a") as file:
    file.write(json.dumps(row) + "\\n")"""


class PrivateRuns(WorkerPlugin):
    """Keeps executed notebooks out of the user's own `runs/`, on restarted workers too."""

    name = "private-runs"

    def __init__(self, folder: Path):
        self.folder = folder

    def setup(self, worker):
        headless.RUNS = self.folder


def stub_cells(folder: Path, modes: list[str]) -> list[Cell]:
    """Return a cell for each mode, all in one ledger."""
    notebook = folder / "stub.ipynb"
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(STUB)]
    nbformat.write(new_notebook(cells=cells), notebook)
    run, ledger = Run(variant="stub"), folder / "results.jsonl"
    made = []
    for seed, mode in enumerate(modes):
        parameters = {"run_id": f"cell-{seed}", "ledger": str(ledger), "marks": str(folder / "marks"), "mode": mode}
        seeded = replace(run, train=replace(run.train, seed=seed))
        made.append(Cell(seeded, f"cell-{seed}", parameters, ledger, notebook))
    return made


def do_batch(folder: Path, modes: list[str], workers: Workers) -> list[Outcome]:
    """Run stub cells; nothing has to be prepared for them."""
    execution.prepare = lambda cells: None
    workers.client.register_plugin(PrivateRuns(folder / "runs"))
    return run_batch(stub_cells(folder, modes), workers)


def starts(folder: Path) -> list[list[str]]:
    """Return the cell, the process of the kernel and that of the worker of each start so far."""
    return sorted(path.name.split() for path in (folder / "marks").glob("*"))


def main(folder: str, cells: str, workers: str) -> None:
    """Do a batch and tell what came of it."""
    with open_workers(int(workers)) as opened:
        done = do_batch(Path(folder), ["quick"] * int(cells), opened)
    print(json.dumps([one.status for one in done]))


if __name__ == "__main__":
    main(*sys.argv[1:])
