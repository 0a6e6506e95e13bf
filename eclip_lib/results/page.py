"""The page of results: claims, tables and figures of a ledger, and the executed quickstart, readable without Python.

sections, and the page of an executed notebook → one HTML page that opens offline, the same each time.
"""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from eclip_lib.cache import atomic_path
from eclip_lib.experiments import to_page
from eclip_lib.paths import REPORTS
from eclip_lib.results.sections import Section, result_sections, write_sections

QUICKSTART = REPORTS / "00_quickstart.html"
PAGE = "index.html"
SUFFIXES = {"tables": {".md", ".tex", ".csv"}, "figures": {".png", ".svg"}}
INTRODUCTION = """# E-CLIP workbench: results

E-CLIP is CLIP for event cameras ([arXiv 2308.03135](https://arxiv.org/abs/2308.03135)). This page is made of a ledger
of runs and the predictions beside it; every table lies in `tables/` as Markdown, LaTeX and CSV, every figure in
`figures/` as PNG and SVG. Recordings of the icons are **simulated**, those of N-MNIST are **real**.

"""


def write_report(ledger: Path | str, folder: Path, quickstart: Path = QUICKSTART) -> tuple[list[Path], list[Path]]:
    """Write the tables, the figures and the page of a ledger to a folder.

    Args:
        ledger: a file of rows, the files of predictions beside it.
        folder: takes `tables/`, `figures/` and `index.html`; files of the same names are replaced.
        quickstart: the page of the executed quickstart, as `eclip run` writes it.

    Returns:
        The written files; and the files of tables and figures in the folder that the report does not have, which an
        older one may have left.

    Raises:
        FileNotFoundError: there is no ledger, or no page of the quickstart.
        ValueError: the ledger cannot be used, or the quickstart is no page of a notebook.
    """
    body = page_body(quickstart)  # a wrong path is told before anything long
    sections = result_sections(ledger)
    written = write_sections(sections, folder)
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(report_page(sections, body), encoding="utf-8")
    there = [path for name, kinds in SUFFIXES.items() for path in (folder / name).glob("*") if path.suffix in kinds]
    return [*written, folder / PAGE], sorted(set(there) - set(written))


def report_page(sections: Sequence[Section], quickstart: str) -> str:
    """Return the page: an introduction with links, the sections, then the body of the quickstart's page."""
    links = [f"- [{section.title}](#{_anchor(section.title)})" for section in sections]
    introduction = INTRODUCTION + "\n".join([*links, "- [The executed quickstart](#quickstart)"])
    cells = [new_markdown_cell(introduction)]
    for section in sections:
        heading = f'<h2 id="{_anchor(section.title)}">{section.title}</h2>'  # the page's exporter sets no identifiers
        cells += [new_markdown_cell(f"{heading}\n\n{section.text}"), _shown(section)]
    for number, cell in enumerate(cells):
        cell.id = f"results-{number}"  # nbformat would draw one
    page = to_page(new_notebook(cells=cells), REPORTS / PAGE)
    before, end, after = page.rpartition("</main>")
    return f'{before}<hr id="quickstart">\n{quickstart}\n{end}{after}'


def _shown(section: Section) -> nbformat.NotebookNode:
    """Return a cell without a source that shows tables and figures."""
    tables = [{"text/html": table.style().to_html()} for table in section.tables]
    figures = [{"image/png": base64.b64encode(figure._repr_png_()).decode()} for figure in section.figures.values()]
    outputs = [new_output("display_data", data=data) for data in (*tables, *figures)]
    return new_code_cell(outputs=outputs, metadata={"transient": {"remove_source": True}})


def _anchor(title: str) -> str:
    """Return what a link to a heading ends with."""
    return re.sub(r"\W+", "-", title.lower())


def page_body(path: Path) -> str:
    """Return what is between the head and the end of a page that nbconvert made.

    Raises:
        FileNotFoundError: there is no such page.
        ValueError: it is no such page.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no page at {path}; `eclip run 00_quickstart -p size full` makes one")
    body = re.search(r"<main>(.*)</main>", path.read_text(encoding="utf-8"), re.DOTALL)
    if body is None:
        raise ValueError(f"{path} is no page of an executed notebook: it has no part <main>")
    return body.group(1).strip()
