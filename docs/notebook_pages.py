"""The pages of the notebooks: as tests have executed them, made fit for a static page.

notebooks/*.ipynb, or their executed copies under runs/docs/notebooks/ -> notebooks by the name of their page.
"""

import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
COMMITTED, EXECUTED = ROOT / "notebooks", ROOT / "runs" / "docs" / "notebooks"
STATIC = ("image/png", "image/svg+xml", "text/html", "text/markdown", "text/plain")  # best first
ALIVE = ("application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json")  # needs a kernel, or a network


def notebook_pages() -> dict[str, str]:
    """Return every notebook by its file name, with a note that says how its outputs came about."""
    return {path.name: nbformat.writes(page_of(path.name)) for path in sorted(COMMITTED.glob("*.ipynb"))}


def page_of(name: str) -> nbformat.NotebookNode:
    """Return a notebook for its page: the executed copy, if its cells are those of the committed notebook."""
    notebook = nbformat.read(COMMITTED / name, as_version=4)
    executed = executed_copy(name, notebook)
    page = executed or notebook
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = from_page(cell.source)
        else:
            cell.outputs = still_outputs(cell.outputs)
    page.metadata.pop("widgets", None)
    page.cells.insert(1, nbformat.v4.new_markdown_cell(note(page, executed is not None, name)))
    return page


def executed_copy(name: str, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """Return what tests kept of a notebook, unless it has changed since."""
    if not (EXECUTED / name).exists():
        return None
    copy = nbformat.read(EXECUTED / name, as_version=4)
    same = [cell.source for cell in copy.cells] == [cell.source for cell in notebook.cells]
    return copy if same else None


def note(page: nbformat.NotebookNode, executed: bool, name: str) -> str:
    """Return the box on top of a page: which size it shows, and where to get it."""
    code = "\n".join(cell.source for cell in page.cells)
    size, sizes = re.search(r'^size: str = "(\w+)"  # (.*)', code, re.MULTILINE).groups()
    said = (
        f"Executed at {size} size (`{sizes}`), which shows the way and proves nothing."
        if executed
        else "Not executed for this page: it shows the outputs kept with the notebook, and not those of all cells."
    )
    whole = f"`eclip run notebooks/{name} -p size full` executes it in full, `make lab` opens it with its live views."
    return f":::{{note}}\n{said} {whole}\n:::"


def from_page(text: str) -> str:
    """Return Markdown with the way to reports/ as it is from docs/notebooks/."""
    return text.replace("](../reports/", "](../../reports/")


def still_outputs(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return the outputs that a static page can show, each in its best form."""
    kept = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stdout":
            kept.append(output)
        elif output.output_type in ("display_data", "execute_result") and not set(ALIVE) & set(output.data):
            form = next((form for form in STATIC if form in output.data), None)
            if form:
                text = output.data[form]
                output.data = {form: from_page(text) if form == "text/markdown" else text}
                kept.append(output)
    return kept
