"""Twelve smoke cells by a batch with one worker and with two, beside the same code as plain scripts."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from os import environ
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch

import nbformat

from eclip_lib.experiments.batch import execution, workers
from eclip_lib.experiments.batch.cells import NOTEBOOK, Cell, make_cells, prepare
from eclip_lib.experiments.batch.execution import run_batch
from eclip_lib.experiments.batch.grid import ablation_base, make_grid, preset_variants
from eclip_lib.experiments.batch.workers import open_workers, thread_environment
from eclip_lib.ledger import read_results
from tests.benchmarks.timing import table

VARIANTS, SEEDS = 4, 3
OVERHEAD, SCALING = 5.0, 0.6  # goals: seconds a cell, and the wall time of two workers as a share of one's


def smoke_cells(folder: Path, number: int | None = None) -> list[Cell]:
    """Return the first cells of the first preset, their rows in a folder of their own."""
    variants = dict(list(preset_variants(["htca"]).items())[:VARIANTS])
    return make_cells(make_grid(ablation_base(), variants, range(SEEDS)), folder / "results.jsonl", "smoke")[:number]


def script(cells: Sequence[Cell]) -> str:
    """Return the code of notebook 04 as a plain script that does cells one after the other."""
    code = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    body = "\n".join([code[0], "globals().update(given)", *code[1:]])  # the first declares the parameters
    parameters = json.dumps([cell.parameters for cell in cells])
    return f"import json\nfor given in json.loads({parameters!r}):\n    exec({body!r}, {{'given': given}})\n"


def run_script(cells: Sequence[Cell]) -> None:
    """Do cells by a plain script in a process of its own, with one thread."""
    command = [sys.executable, "-c", script(cells)]
    told = subprocess.run(
        command, cwd=NOTEBOOK.parent, env=environ | thread_environment(1), capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise RuntimeError(told.stderr)


def each_a_script(cells: Sequence[Cell]) -> None:
    """Do each cell by a script of its own, as the batch gives each a kernel of its own."""
    for cell in cells:
        run_script([cell])


def by_batch(number: int) -> Callable[[Sequence[Cell]], None]:
    """Return how a batch with so many workers, each with one thread, does cells; its start and end included."""

    def do(cells: Sequence[Cell]) -> None:
        with (
            patch.object(workers, "cores", lambda: number),
            patch.object(execution, "prepare", lambda todo: None),
            open_workers(number) as opened,
        ):
            failed = [one.error for one in run_batch(cells, opened) if one.status != "done"]
        if failed:
            raise RuntimeError(failed[0])

    return do


def measured(way: Callable[[Sequence[Cell]], None], number: int | None = None) -> tuple[float, float, list[float]]:
    """Return the wall time and the CPU time that a way takes for a cell, in s, and the accuracies of the cells."""
    with TemporaryDirectory() as folder:
        cells = smoke_cells(Path(folder), number)
        before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
        way(cells)
        wall, after = perf_counter() - start, getrusage(RUSAGE_CHILDREN)
        rows = read_results(cells[0].ledger).sort_values("run_id")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall / len(cells), used / len(cells), rows.top1.tolist()


def main(number: int | None = None) -> str:
    ways = {
        "a script for all cells": run_script,
        "a script for each cell": each_a_script,
        "a batch, 1 worker": by_batch(1),
        "a batch, 2 workers": by_batch(2),
    }
    with TemporaryDirectory() as folder:
        cells = smoke_cells(Path(folder), number)
        prepare(cells)
    found = {name: measured(way, number) for name, way in ways.items()}
    first = next(iter(found.values()))[2]
    if any(top1 != first for *_, top1 in found.values()):
        raise RuntimeError(f"the ways do not do the same: {[top1 for *_, top1 in found.values()]}")
    rows = [[name, f"{wall:.1f}", f"{used:.1f}"] for name, (wall, used, _) in found.items()]
    one, two = found["a batch, 1 worker"][0], found["a batch, 2 workers"][0]
    extra = one - found["a script for each cell"][0]
    return (
        f"## {len(cells)} smoke cells of an ablation, one thread each\n\n"
        + table(["", "s a cell", "CPU s a cell"], rows)
        + f"\n- Batch and papermill cost {extra:.1f} s a cell beyond a script for each cell, goal {OVERHEAD:g} s: "
        + f"{'reached' if extra <= OVERHEAD else 'MISSED'}.\n"
        + f"- Two workers take {two / one:.2f} of the time of one, goal {SCALING:g}: "
        + f"{'reached' if two / one <= SCALING else 'MISSED'}.\n"
    )
