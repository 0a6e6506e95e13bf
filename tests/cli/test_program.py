"""The command line: help, one-line mistakes, exit codes."""

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

from eclip_lib import __version__
from eclip_lib.cli.program import main
from eclip_lib.experiments.notebooks import headless


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(headless, "RUNS", tmp_path / "runs")
    cells = [
        new_code_cell('size: str = "smoke"  # "smoke" or "full"\nepochs: int = 2', metadata={"tags": ["parameters"]}),
        new_code_cell("print(f'| {size} | {epochs} |')\n1 / epochs", metadata={"tags": ["result-table"]}),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    return str(tmp_path / "n.ipynb")


def eclip(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_help_and_version_tell_what_there_is():
    assert "run" in eclip("--help").output
    assert "-p size full" in eclip("run", "--help").output
    assert __version__ in eclip("--version").output


def test_a_run_shows_its_table_and_where_the_page_is(notebook, tmp_path):
    done = eclip("run", notebook, "-p", "size", "full", "-p", "epochs", "4")
    assert done.exit_code == 0, done.output
    assert "| full | 4 |" in done.output
    (page,) = (tmp_path / "runs" / "pages").iterdir()
    assert f"page: {page}" in done.output


def test_the_parameters_of_a_notebook_are_listed(notebook):
    assert "epochs: int = 2" in eclip("run", notebook, "--list").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "epoch", "3"], "did you mean 'epochs'?"),
        (["-p", "epochs", "three"], "epochs = 'three'"),
        (["-p", "size", "ful"], "expected one of 'smoke', 'full'"),
        (["-p", "epochs", "3", "-p", "epochs", "4"], "more than once"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_runs(notebook, tmp_path, arguments, said):
    done = eclip("run", notebook, *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "runs").exists()


def test_a_missing_notebook_is_one_message(tmp_path):
    done = eclip("run", str(tmp_path / "nosuch.ipynb"))
    assert done.exit_code == 2
    assert done.output.strip() == f"Error: {tmp_path / 'nosuch.ipynb'}: no such notebook"


def test_a_failing_notebook_is_one_message_with_the_place_of_the_rest(notebook, tmp_path):
    done = eclip("run", notebook, "-p", "epochs", "0")
    assert done.exit_code == 1
    assert "ZeroDivisionError: division by zero" in done.output
    assert str(tmp_path / "runs" / "notebooks") in done.output
