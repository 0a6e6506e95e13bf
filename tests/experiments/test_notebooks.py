"""Headless runs: parameters, what is kept, and a page that needs nothing from elsewhere."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from eclip_lib.experiments.notebooks import headless, pages
from eclip_lib.experiments.notebooks.headless import (
    NotebookError,
    check_parameters,
    parse_parameters,
    read_parameters,
    run_notebook,
)
from eclip_lib.experiments.notebooks.pages import to_page
from eclip_lib.experiments.notebooks.parameters import declared_parameters
from eclip_lib.paths import STARTED_IN

PARAMETERS = """size: str = "smoke"  # "smoke" (seconds) or "full"
epochs: int = 3  # passes over the data
rate: float = 1e-3
flip: bool = True
root: str | None = None  # folder of the recordings
shots: int | None = 5"""


def write_notebook(path: Path, *sources: str, tags: tuple[str, ...] = (), parameters: str = PARAMETERS) -> Path:
    """Write a notebook of a heading, the parameters, and code cells, of which the last one has the tags."""
    cells = [new_markdown_cell("# A tiny notebook"), new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(source) for source in sources]
    cells[-1].metadata["tags"] = [*cells[-1].metadata.get("tags", []), *tags]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(headless, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def notebook(tmp_path):
    return write_notebook(tmp_path / "tiny.ipynb", "1")


def test_parameters_are_read_with_type_default_help_and_choices(notebook):
    known = read_parameters(notebook)
    assert list(known) == ["size", "epochs", "rate", "flip", "root", "shots"]
    assert known["size"].choices == ("smoke", "full")
    assert known["epochs"].help == "passes over the data"
    assert str(known["shots"]) == "shots: int | None = 5"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "30", 30),
        ("rate", "1e-6", 1e-6),
        ("rate", "2", 2.0),
        ("flip", "false", False),
        ("root", "none", None),
        ("root", "123", "123"),
        ("shots", "None", None),
        ("size", "full", "full"),
    ],
)
def test_texts_are_read_as_the_declared_type(notebook, name, text, value):
    read = parse_parameters(notebook, {name: text})[name]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "text"), [("epochs", "3.5"), ("epochs", "true"), ("flip", "1"), ("rate", "fast"), ("size", "ful")]
)
def test_a_mistyped_value_is_refused_with_its_name_and_text(notebook, name, text):
    with pytest.raises(ValueError, match=f"{name} = '{text}'"):
        parse_parameters(notebook, {name: text})


@pytest.mark.parametrize(
    "given", [{"epochs": 2.0}, {"flip": 1}, {"epochs": None}, {"epochs": True}, {"rate": True}, {"size": "ful"}]
)
def test_a_value_of_a_wrong_type_is_refused(notebook, given):
    with pytest.raises(ValueError, match=f"{next(iter(given))} = "):
        check_parameters(notebook, given)


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path, runs):
    notebook = write_notebook(tmp_path / "n.ipynb", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match=r"no parameter 'epoch' \(did you mean 'epochs'\?\)") as error:
        run_notebook(notebook, {"epoch": 9}, verbose=False)
    assert "epochs: int = 3  # passes over the data" in str(error.value)
    assert not (tmp_path / "ran").exists()
    assert not runs.exists()


def test_a_missing_notebook_is_refused_with_those_there_are(notebook):
    with pytest.raises(FileNotFoundError, match=r"nosuch\.ipynb.*tiny\.ipynb"):
        read_parameters(notebook.with_name("nosuch.ipynb"))


@pytest.mark.parametrize("content", ["not json", "[]", "{}", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}'])
def test_a_file_that_is_no_notebook_is_refused(tmp_path, content):
    path = tmp_path / "broken.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.ipynb"):
        read_parameters(path)


def test_a_notebook_without_parameters_cell_is_refused(tmp_path):
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "plain.ipynb")
    with pytest.raises(ValueError, match="0 cells carry the tag 'parameters'"):
        read_parameters(tmp_path / "plain.ipynb")


@pytest.mark.parametrize(
    "source",
    ["a: int = 1 + 1", "a = 1", "a: int", "import os", "a: Path = 1", "a: int = 'x'", "a: int = (", "a: int = b"],
)
def test_what_is_no_annotated_literal_is_no_parameter(source):
    with pytest.raises(ValueError, match=r".+"):
        declared_parameters(source)


@pytest.mark.parametrize(
    ("comment", "choices"),
    [
        ('"a" (quick) or "b"', ("a", "b")),
        ('"a", or None for all', ()),
        ('or "b" and the like', ()),
        ('"b" and "c" would be others', ()),
    ],
)
def test_choices_are_the_quoted_words_when_the_default_is_among_them(comment, choices):
    assert declared_parameters(f'name: str = "a"  # {comment}')["name"].choices == choices


def test_a_run_uses_the_values_in_the_folder_of_the_notebook_with_this_python(tmp_path, runs, monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))  # a kernel of the same name that is not ours
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/nonexistent", "{connection_file}"], "display_name": "x", "language": "r"}))
    code = "import os, sys\nprint(epochs, rate, shots, os.getcwd(), sys.executable)"
    notebook = write_notebook(tmp_path / "deep" / "n.ipynb", code, tags=("result-table",))
    result = run_notebook(notebook, {"epochs": 7, "rate": 2, "shots": None}, verbose=False)
    assert result.table == f"7 2.0 None {notebook.parent} {sys.executable}"
    assert re.fullmatch(r"n-[0-9a-f]{8}\.ipynb", result.notebook.name)
    assert result.notebook.parent == runs / "notebooks"
    assert [path.name for path in (runs / "notebooks").iterdir()] == [result.notebook.name]


def test_a_path_may_be_relative_to_where_the_command_was_given(tmp_path, runs, monkeypatch):
    (tmp_path / "mine" / "events").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.delenv(STARTED_IN, raising=False)
    code = "from eclip_lib.paths import find_path\nprint(find_path('events'))"
    notebook = write_notebook(tmp_path / "deep" / "n.ipynb", code, tags=("result-table",))
    try:
        assert run_notebook(notebook, verbose=False).table == str(tmp_path / "mine" / "events")
    finally:
        os.environ.pop(STARTED_IN, None)


def test_a_kernel_that_dies_as_it_starts_is_started_again(tmp_path, runs, monkeypatch):
    real, tries = papermill.execute_notebook, []

    def execute(*arguments, **options):
        tries.append(options)
        if len(tries) % 3:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return real(*arguments, **options)

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    notebook = write_notebook(tmp_path / "n.ipynb", "print(epochs)", tags=("result-table",))
    assert run_notebook(notebook, {"epochs": 4}, verbose=False).table == "4" and len(tries) == 3
    monkeypatch.setattr(headless, "STARTS", 2)
    with pytest.raises(NotebookError, match=r"n.ipynb: no kernel started in 2 tries"):
        run_notebook(notebook, verbose=False)
    assert len(tries) == 5


def test_the_name_of_a_run_follows_its_parameters_and_not_how_they_were_given(tmp_path, runs):
    notebook = write_notebook(tmp_path / "n.ipynb", "1")
    plain, spelled, other = ({}, {"epochs": 3}, {"epochs": 4})
    assert headless._digest(notebook, plain) == headless._digest(notebook, spelled)
    assert headless._digest(notebook, plain) != headless._digest(notebook, other)


def test_a_failing_cell_is_told_in_short_and_its_notebook_kept(tmp_path, runs):
    notebook = write_notebook(tmp_path / "n.ipynb", "print('before')", "divisor = 0\n1 / divisor", "print('after')")
    with pytest.raises(NotebookError, match=r"cell 3 \(divisor = 0\):\n  ZeroDivisionError: division by zero") as error:
        run_notebook(notebook, verbose=False)
    (kept,) = (runs / "notebooks").iterdir()
    assert str(kept) in str(error.value)
    assert len(str(error.value).splitlines()) == 3
    assert "before" in kept.read_text()
    assert not (runs / "pages").exists()


def test_a_table_is_taken_as_markdown_before_plain_text():
    shown = new_output("display_data", data={"text/markdown": "| a |\n|---|", "text/plain": "<Markdown>"})
    printed = new_output("stream", name="stdout", text="n = 3\n")
    noise = new_output("stream", name="stderr", text="a warning")
    cell = new_code_cell("show()", outputs=[noise, shown, printed], metadata={"tags": ["result-table"]})
    assert headless.result_table(new_notebook(cells=[cell])) == "| a |\n|---|\nn = 3"
    assert headless.result_table(new_notebook(cells=[new_code_cell("1")])) is None


def outside_references(html: str) -> list[str]:
    """Return what a browser would fetch to show a page, links that a reader may click aside."""
    page = BeautifulSoup(html, "html.parser")
    given = [
        tag[key] for tag in page.find_all(True) for key in ("src", "srcset", "data", "poster") if tag.has_attr(key)
    ]
    given += [tag["href"] for tag in page.find_all("link")]
    given += [url for tag in page.find_all("style") for url in re.findall(r"url\(['\"]?([^)'\"]+)", tag.text)]
    given += [url for tag in page.find_all("style") for url in re.findall(r"@import[^;]+", tag.text)]
    given += [url for tag in page.find_all("script") for url in re.findall(r"https?:\S+", tag.text)]
    return [url for url in given if not url.startswith(("data:", "#"))]


def test_the_page_has_the_pictures_and_loads_nothing(tmp_path):
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    outputs = [
        new_output("display_data", data={"image/png": png}),
        new_output("display_data", data={pages.WIDGET: {"model_id": "x"}, "text/plain": "IntSlider(value=1)"}),
    ]
    cells = [new_markdown_cell("## Count maps\n\n$x^2$"), new_code_cell("show()", outputs=outputs)]
    executed = new_notebook(cells=cells, metadata={"widgets": {pages.WIDGET: {"state": {}}}})
    html = to_page(executed, tmp_path / "n.ipynb")
    assert outside_references(html) == []
    assert "data:image/png;base64" in html
    assert "<title>Count maps</title>" in html
    assert "IntSlider" not in html
    assert executed.cells[1].outputs == outputs, "the notebook itself keeps its widgets"


def test_the_page_has_pictures_of_other_folders_of_the_project_but_none_from_outside(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "ROOT", tmp_path / "project")
    for name in ("project/reports/inside.png", "outside.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"a picture")
    text = "![in](../reports/inside.png) ![out](../../outside.png) ![none](../reports/none.png)"
    shown = new_notebook(cells=[new_markdown_cell(text)])
    page = BeautifulSoup(to_page(shown, tmp_path / "project/notebooks/n.ipynb"), "html.parser")
    sources = [image["src"] for image in page.find_all("img")]
    assert sources == ["data:image/png;base64,YSBwaWN0dXJl", "../../outside.png", "../reports/none.png"]
    assert shown.cells[0].source == text


def test_the_check_of_pages_sees_what_they_load():
    html = '<script src="https://a/x.js"></script><style>a{b:url(https://c)}</style><script>import "https://d"</script>'
    assert len(outside_references(html)) == 3


def test_a_run_writes_its_page(tmp_path, runs):
    result = run_notebook(write_notebook(tmp_path / "n.ipynb", "print('shown')"), verbose=False)
    assert outside_references(result.page.read_text()) == []
    assert "shown" in result.page.read_text()
    assert result.table is None


def test_interrupting_a_run_ends_its_kernel_and_keeps_the_notebook(tmp_path):
    code = f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    notebook = write_notebook(tmp_path / "n.ipynb", "print('before')", code)
    program = (
        "import pathlib, signal, sys; from eclip_lib import cli; from eclip_lib.experiments.notebooks import headless\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background job would ignore
        f"headless.RUNS = pathlib.Path({str(tmp_path / 'runs')!r}); cli.main(['run', {str(notebook)!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 130, stderr
    assert "stopped; the cells that ran are in" in stderr
    assert "Traceback" not in stderr
    (kept,) = (tmp_path / "runs" / "notebooks").iterdir()
    assert "before" in kept.read_text()
    wait_for(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists())


def wait_for(condition, seconds: float = 30) -> None:
    """Return once a condition holds, and fail if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_a_page_needs_no_jupyter_folder_of_the_environment(tmp_path, monkeypatch):
    """An environment that borrows its packages from another has none; nbconvert looks nowhere else."""
    exporters = "nbconvert.exporters.templateexporter"
    monkeypatch.setattr(f"{exporters}.jupyter_path", lambda *names: [])
    monkeypatch.setattr(f"{exporters}.TemplateExporter.get_prefix_root_dirs", lambda self: [])
    page = to_page(new_notebook(cells=[new_markdown_cell("# A title")]), tmp_path / "n.ipynb")
    assert "A title" in page and "jp-RenderedHTMLCommon" in page
