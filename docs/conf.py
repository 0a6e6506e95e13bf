"""How Sphinx makes the documentation: `make docs`, which needs no network and lets no warning pass."""

import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from api_pages import api_pages  # noqa: E402
from docstrings import mend, shorten  # noqa: E402
from notebook_pages import notebook_pages  # noqa: E402

from eclip_lib import __version__  # noqa: E402

project, release = "E-CLIP workbench", __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["Thumbs.db", ".DS_Store"]
default_role = "py:obj"  # `name` in a docstring is a link where it is known, and code everywhere

html_theme = "furo"
html_title = f"E-CLIP workbench {release}"
html_math_renderer = "mathml"
html_static_path, html_css_files = ["static"], ["page.css"]
html_copy_source = html_show_sourcelink = html_show_copyright = False

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist", "attrs_block"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks are executed by tests, once
nb_ipywidgets_js = {}  # what is alive has no place on a static page
nb_render_markdown_format = "myst"

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 100
autodoc_default_options = {"exclude-members": "set"}  # which matplotlib writes for every class of its own
napoleon_custom_sections = ["Returns", "Yields"]  # prose: the types are in the signature
napoleon_use_ivar = True  # fields are told once, under their class
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"


def write_pages(folder: Path, pages: dict[str, str]) -> None:
    """Write the pages made from the code; those of names that are gone are removed, those unchanged keep their time."""
    folder.mkdir(exist_ok=True)
    for stale in set(folder.glob("*.*")) - {folder / name for name in pages}:
        stale.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def make_pages(app) -> None:
    """Make docs/api/ and docs/notebooks/, which git ignores."""
    write_pages(Path(app.srcdir) / "api", api_pages())
    write_pages(Path(app.srcdir) / "notebooks", notebook_pages())


def follow_links(app, docname: str, source: list[str]) -> None:
    """Let links of a page that a code host can follow lead somewhere here: to a notebook's page, to a file's copy."""
    if "/" not in docname:
        text = source[0].replace("](../notebooks/", "](notebooks/")
        text = re.sub(r"\[([^\]]+)\]\(\.\./[^)]*/\)", r"\1", text)  # a folder has no page
        source[0] = re.sub(r"\]\((\.\./[^)#]+\.md)\)", r"](path:\1)", text)


def mathml(display: str):
    """Return the writer of formulas as MathML, which browsers draw without a script."""

    def write(writer, node: nodes.math | nodes.math_block) -> None:
        writer.body.append(convert(node.astext(), display=display))
        raise nodes.SkipNode

    return write


def setup(app) -> None:
    """Add what Sphinx does not bring along."""
    app.add_html_math_renderer("mathml", (mathml("inline"), None), (mathml("block"), None))
    app.connect("builder-inited", make_pages)
    app.connect("autodoc-process-docstring", mend)
    app.connect("autodoc-process-signature", shorten)
    app.connect("source-read", follow_links)
