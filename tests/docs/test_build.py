import importlib
import re
import subprocess
import sys

import api_pages
import docstrings
import nbformat
import notebook_pages
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from eclip_lib.paths import ROOT

DOCS = ROOT / "docs"
PACKAGES = sorted(
    path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("eclip_lib/**/*.pyi")
)
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build one page of Markdown, one of the API and one notebook as `make docs` builds them."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("html")
    kept = ["api/rivals.rst", "notebooks/01_explore_events.ipynb", "notebooks/00_quickstart.ipynb"]
    tree = "\n".join(page.split(".")[0] for page in kept)
    (source / "index.md").write_text(
        f"# Page\n\n$f^e$ and\n\n$$x = \\frac{{1}}{{2}}$$\n\n```{{toctree}}\n{tree}\n```\n"
    )
    (source / "static").symlink_to(DOCS / "static")
    (source.parent / "reports").symlink_to(ROOT / "reports")
    others = [f"api/{name}" for name in api_pages.api_pages()] + [f"notebooks/{name}.ipynb" for name in NOTEBOOKS]
    excluded = ",".join(page for page in others if page not in kept)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        DOCS,
        "-D",
        f"exclude_patterns={excluded}",
    ]
    ran = subprocess.run([*command, source, out], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return {path.relative_to(out).as_posix(): path.read_text(encoding="utf-8") for path in out.glob("**/*.html")}


def test_pages_need_no_network(built):
    for text in built.values():
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*?(?:src|href)="([^"]+)"', text)
        assert [address for address in loaded if re.match(r"(?:https?:)?//", address)] == []


def test_formulas_are_drawn_without_a_script(built):
    assert built["index.html"].count("<math ") == 2


def test_the_api_shows_shapes_and_leads_to_the_source(built):
    text = re.sub(r"<[^>]+>", "", built["api/rivals.html"])
    assert re.search(r"Float\[Tensor, .{1,8}N D.{1,8}\]", text) and "[source]" in text
    assert "_modules/eclip_lib/rivals/probe.html" in built


def test_notebooks_show_pictures_of_reports_and_the_size_of_their_run(built):
    text = built["notebooks/01_explore_events.html"]
    assert "explore_traps_n_caltech101.png" in text
    assert "Executed at smoke size" in text or "Not executed for this page" in text


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_face_is_found_where_its_page_links_to(package):
    for name, target in api_pages.face_names(package).items():
        module, _, attribute = target.rpartition(".")
        given = getattr(importlib.import_module(package), name)
        assert getattr(importlib.import_module(module), attribute) is given


def test_every_file_is_on_one_page_of_the_api():
    text = "".join(api_pages.api_pages().values())
    files = [path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("eclip_lib/**/*.py")]
    modules = [path.as_posix().replace("/", ".") for path in files if path.name not in ("__init__", "__main__")]
    assert sorted(re.findall(r"automodule:: (\S+)", text)) == sorted(modules)


def test_the_pages_of_the_api_go_up_the_house():
    pages = re.findall(r"^   (\w+)$", api_pages.api_pages()["index.rst"], re.MULTILINE)
    assert pages[:3] == ["foundations", "events", "frames"] and pages[-1] == "cli"


def test_every_command_is_on_the_page_of_the_command_line():
    assert {"eclip run", "eclip data pack", "eclip report"} <= set(api_pages.api_pages()["cli.rst"].splitlines())


def test_what_a_face_says_of_its_files_becomes_a_list(tmp_path):
    (tmp_path / "one.py").touch()
    (tmp_path / "two").mkdir()
    face = tmp_path / "__init__.py"
    face.write_text('"""A wing: with files.\n\none: the first    two/: the second\nthree: is no file.\n"""')
    assert api_pages.docstring(face).splitlines()[2:] == [
        "- **one**: the first",
        "- **two/**: the second",
        "three: is no file.",
        "",
    ]


@pytest.mark.parametrize(
    ("lines", "mended"),
    [
        (["Many `Run`s of |d|."], [r"Many `Run`\ s of \|d\|."]),
        (
            [".. rubric:: Returns", "a: one", "b: two,", "    and more"],
            [".. rubric:: Returns", "- ``a``: one", "- ``b``: two,", "  and more"],
        ),
        (["Source: E-CLIP eq. 1,", "    as printed"], ["Source: E-CLIP eq. 1,", "as printed"]),
        ([">>> a | b"], [">>> a | b"]),
    ],
)
def test_docstrings_are_mended(lines, mended):
    docstrings.mend(None, "function", "f", None, None, lines)
    assert lines == mended


def test_signatures_name_no_folder_of_this_machine():
    signature = f"(path: Path = PosixPath('{ROOT}/runs/a.jsonl'))"
    assert docstrings.shorten(None, "class", "C", None, None, signature, None) == (
        "(path: Path = PosixPath('runs/a.jsonl'))",
        None,
    )
    assert docstrings.shorten(None, "module", "m", None, None, None, None) == (None, None)


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Put a notebook, and a copy of it with outputs, where the committed and the executed ones are."""
    cells = [
        new_markdown_cell("# T\n\n![](../reports/a.png)"),
        new_code_cell('size: str = "smoke"  # "smoke" (few) or "full"'),
    ]
    shown = [
        new_output("stream", name="stdout", text="3\n"),
        new_output("stream", name="stderr", text="a warning\n"),
        new_output("display_data", {"text/plain": "Figure", "image/png": PNG}),
        new_output("display_data", {"text/html": "x", "application/vnd.jupyter.widget-view+json": {}}),
        new_output("display_data", {"text/html": "<script>", "application/vnd.plotly.v1+json": {}}),
    ]
    for folder, outputs in (("committed", []), ("executed", shown)):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(notebook_pages, folder.upper(), tmp_path / folder)
        cells[1].outputs = outputs
        nbformat.write(new_notebook(cells=cells), tmp_path / folder / "a.ipynb")
    return tmp_path


def test_a_page_shows_what_was_executed_but_nothing_alive(notebooks):
    heading, note, code = notebook_pages.page_of("a.ipynb").cells
    assert "../../reports/a.png" in heading.source
    assert 'Executed at smoke size (`"smoke" (few) or "full"`)' in note.source
    assert [list(output.get("data", {"stream": 0})) for output in code.outputs] == [["stream"], ["image/png"]]


def test_a_copy_of_an_older_notebook_is_not_shown(notebooks):
    changed = nbformat.read(notebooks / "committed" / "a.ipynb", as_version=4)
    changed.cells[1].source += "\nnew = 1"
    nbformat.write(changed, notebooks / "committed" / "a.ipynb")
    _, note, code = notebook_pages.page_of("a.ipynb").cells
    assert "Not executed" in note.source and code.outputs == [] and "new = 1" in code.source


@pytest.mark.parametrize(("last", "kept"), [("print(n + 1)", True), ("1 / 0", False)])
def test_executed_notebooks_are_kept_unless_a_cell_fails(tmp_path, last, kept):
    cells = [new_code_cell("n = 2"), new_markdown_cell("text"), new_code_cell(last)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "a.ipynb")
    plugin = ["-p", "no:cacheprovider", "-p", "tests.support.executed", "--executed", tmp_path / "out"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        *plugin,
        "--nbval-lax",
        "--nbval-current-env",
        tmp_path / "a.ipynb",
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    copy = tmp_path / "out" / "a.ipynb"
    assert (ran.returncode == 0, copy.exists()) == (kept, kept), ran.stdout
    assert not kept or nbformat.read(copy, as_version=4).cells[2].outputs[0].text == "3\n"


def test_pictures_are_small_and_each_notebook_has_one():
    sizes = {path.stem: path.stat().st_size for path in (DOCS / "pictures").glob("*.png")}
    assert sorted(sizes) == sorted([*NOTEBOOKS, "hero", "house"])
    assert sizes.pop("hero") < 150e3 and sizes.pop("house") < 100e3 and sum(sizes.values()) < 250e3
