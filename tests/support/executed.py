"""Keep what the notebooks show when tests execute them, for the pages of the documentation.

`pytest -p tests.support.executed --nbval-lax notebooks/` -> copies with outputs in runs/docs/notebooks.
"""

import copy
from pathlib import Path

import nbformat

from eclip_lib.paths import RUNS


def pytest_addoption(parser):
    parser.addoption("--executed", default=RUNS / "docs" / "notebooks", type=Path, help="folder of the executed copies")


def pytest_runtest_teardown(item, nextitem):
    """Write a copy of a notebook when the last of its cells has run."""
    notebook = item.parent
    if hasattr(item, "test_outputs") and (nextitem is None or nextitem.parent is not notebook):
        keep_executed(notebook)


def pytest_runtest_makereport(item, call):
    """Remember for each cell of a notebook what it showed; a cell that failed showed nothing."""
    if call.when == "call" and getattr(item, "test_outputs", None) is not None and call.excinfo is None:
        shown = item.parent.__dict__.setdefault("shown", {})
        shown[item.cell_num] = copy.deepcopy(item.test_outputs)


def keep_executed(notebook):
    """Write the notebook with what its cells showed, if all of them ran and none failed."""
    executed, shown = copy.deepcopy(notebook.nb), getattr(notebook, "shown", {})
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    if len(shown) < len(cells):
        return
    for number, cell in enumerate(cells):
        cell.outputs, cell.execution_count = shown[number], number + 1
    folder = notebook.config.getoption("executed")
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed, folder / notebook.path.name)
