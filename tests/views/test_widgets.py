"""One figure that follows records as they come."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from eclip_lib.experiments.notebooks import headless
from eclip_lib.paths import ROOT
from eclip_lib.views import widgets

CODE = f"""import sys
sys.path.insert(0, {str(ROOT)!r})
from eclip_lib.views.plots import learning_curves
from eclip_lib.views.widgets import live
records = ({{"epoch": n, "loss": 1 / n, "val_top1": n / 10}} for n in range(1, 5))
rows = live(records, lambda rows: learning_curves([rows], [f"{{len(rows)}} epochs"]), every=0)
print(len(rows), rows[-1]["epoch"])"""


@pytest.fixture
def shown(monkeypatch):
    """Stand in for a notebook, and keep what it is asked to show."""
    figures = []
    monkeypatch.setattr(widgets, "_in_notebook", lambda: True)
    monkeypatch.setattr(widgets, "_show", lambda figure, handle: figures.append(figure) or "place")
    return figures


def test_a_headless_run_keeps_only_the_last_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(headless, "RUNS", tmp_path / "runs")
    cells = [new_code_cell("a: int = 1", metadata={"tags": ["parameters"]}), new_code_cell(CODE)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    result = headless.run_notebook(tmp_path / "n.ipynb", verbose=False)
    outputs = nbformat.read(result.notebook, as_version=4).cells[1].outputs
    assert [output.output_type for output in outputs] == ["display_data", "stream"]
    assert "image/png" in outputs[0].data
    assert outputs[1].text == "4 4\n"


def test_the_last_records_are_drawn_and_not_each_of_them(shown):
    rows = widgets.live(({"step": n} for n in range(100)), len, every=60)
    assert len(rows) == 100
    assert shown == [1, 100]


def test_every_record_is_drawn_once_when_there_is_time(shown):
    widgets.live(({"step": n} for n in range(3)), len, every=0)
    assert shown == [1, 2, 3]


def test_no_records_are_no_figure(shown):
    assert widgets.live(iter([]), len) == []
    assert shown == []


def test_a_script_gets_a_progress_bar(capsys):
    rows = widgets.live(iter([{"epoch": 1, "loss": 0.5, "name": "x"}]), pytest.fail)
    assert rows == [{"epoch": 1, "loss": 0.5, "name": "x"}]
    assert "loss=0.5" in capsys.readouterr().err
