"""A notebook as one HTML page that opens offline."""

import base64
import logging
import re
from pathlib import Path

import nbconvert
import nbformat

from eclip_lib.paths import ROOT, SHIPPED

# Where nbconvert was installed to, which an environment that borrows another's packages does not look through.
TEMPLATES = Path(nbconvert.__file__).parents[4] / "share" / "jupyter" / "nbconvert" / "templates"
WIDGET = "application/vnd.jupyter.widget-view+json"
# Everything that nbconvert's page loads from elsewhere: require.js, MathJax, Mermaid and the widget manager.
OFFLINE_TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""


def to_page(notebook: nbformat.NotebookNode, path: Path) -> str:
    """Return a notebook as one HTML page that needs nothing but itself.

    Widgets need a kernel and are left out: a static picture of the same precedes each. Formulas stay as they are
    typed, since what typesets them would have to be loaded.

    Args:
        notebook: as it is after its run; not modified.
        path: where the notebook's source is; images in its text are looked up from there.
    """
    shown = nbformat.from_dict(notebook)
    shown.metadata.pop("widgets", None)
    shown.metadata["title"] = _title(shown) or path.stem
    attach_pictures(shown, path.resolve().parent)
    for cell in shown.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    quiet = logging.getLogger("eclip_lib.experiments.notebooks.pages")
    quiet.setLevel(logging.ERROR)  # it would warn of each picture without an alternative text
    exporter = nbconvert.HTMLExporter(
        log=quiet,
        extra_template_basedirs=[str(TEMPLATES)],
        extra_template_paths=[str(TEMPLATES)],
        raw_template=OFFLINE_TEMPLATE,
        embed_images=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    resources = {"metadata": {"path": str(path.resolve().parent), "name": path.stem}}
    return exporter.from_notebook_node(shown, resources=resources)[0]


def attach_pictures(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Put the PNG files of the project that a notebook's text shows into its cells, so that it shows them anywhere.

    Args:
        notebook: is modified.
        folder: in which it lies; links start there.
    """
    for cell in notebook.cells:
        for link in _pictures(cell):
            file = (folder / link).resolve()
            if file.is_file() and any(file.is_relative_to(place) for place in (ROOT, SHIPPED)):
                encoded = base64.b64encode(file.read_bytes()).decode()
                cell.setdefault("attachments", {})[file.name] = {"image/png": encoded}
                cell.source = cell.source.replace(f"]({link})", f"](attachment:{file.name})")


def _pictures(cell: nbformat.NotebookNode) -> list[str]:
    """Return the PNG files that a cell's text shows."""
    return re.findall(r"!\[[^]]*\]\(([^):]+\.png)\)", cell.source) if cell.cell_type == "markdown" else []


def _title(notebook: nbformat.NotebookNode) -> str | None:
    """Return the first heading of a notebook."""
    texts = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^#+ +(.+)$", texts, re.MULTILINE)
    return heading and heading.group(1).strip()
