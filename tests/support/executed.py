"""Keep what the notebooks show when tests execute them, for the pages of the documentation.

`pytest -p tests.support.executed --nbval-lax notebooks/` -> runs/docs/notebooks/*.ipynb, the notebooks with their outputs.
"""

import copy

import nbformat

from eclip_lib.paths import RUNS

FOLDER = RUNS / "docs" / "notebooks"


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
    FOLDER.mkdir(parents=True, exist_ok=True)
    nbformat.write(executed, FOLDER / notebook.path.name)
