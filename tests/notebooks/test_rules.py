"""The rules of the notebooks, over every one there is; and that each rule can be broken."""

import ast

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from eclip_lib.experiments.notebooks.headless import PARAMETERS_TAG
from eclip_lib.experiments.notebooks.parameters import declared_parameters
from eclip_lib.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CODE_CELLS, LINES, FIGURES = 20, 10, 4
PNG_BYTES = 100_000
KEPT, COMPARED = "keep_output", "nbval-check-output"
OUTSIDE = ("/", "~", "../")  # how a path starts that does not begin at ROOT


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameter_complaints(notebook) -> list[str]:
    """Check the cell of parameters."""
    cells = [cell for cell in notebook.cells if PARAMETERS_TAG in tags(cell)]
    if len(cells) != 1 or cells != code_cells(notebook)[:1]:
        return ["the first code cell, and no other, is tagged 'parameters'"]
    try:
        size = declared_parameters(cells[0].source).get("size")
    except ValueError as error:
        return [f"the parameters are annotated literals: {error}"]
    if size is None or size.default != "smoke" or size.choices != ("smoke", "full"):
        return ['the parameters have the line: size: str = "smoke"  # "smoke" … or "full" …']
    return []


def node_complaint(node: ast.AST) -> str | None:
    """Return what is wrong with a part of a notebook's code, if it belongs into the library."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return f"'{node.name}' is defined in the notebook; logic lives in eclip_lib"
        case ast.Attribute(value=ast.Name(id="sys"), attr="path"):
            return "sys.path: the package is installed"
        case ast.For(iter=loop) if any(word in ast.unparse(loop).lower() for word in ("loader", "batch")):
            return f"a loop over {ast.unparse(loop)}; that belongs into eclip_lib"
        case ast.Constant(value=str(text)) if text.startswith(OUTSIDE):
            return f"the path {text!r} does not start at ROOT"
    return None


def code_complaints(cell) -> list[str]:
    """Check what a code cell does, and its length; a line of IPython's own is not looked into."""
    lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    long = (
        [f"a cell of {len(lines)} lines: {lines[0]}"] if len(lines) > LINES and PARAMETERS_TAG not in tags(cell) else []
    )
    tree = ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))
    return long + [complaint for complaint in map(node_complaint, ast.walk(tree)) if complaint]


def output_complaints(cell) -> list[str]:
    """Check that only kept outputs are there, and none is large."""
    if cell.outputs and KEPT not in tags(cell):
        return [f"outputs without the tag '{KEPT}'; run nbstripout --keep-count: {cell.source[:40]}"]
    figures = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    return [f"a figure of {len(png) * 3 // 4} bytes" for png in figures if len(png) * 3 // 4 > PNG_BYTES]


def shape_complaints(notebook) -> list[str]:
    """Check the cells as a whole."""
    cells, said = code_cells(notebook), []
    figures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    if notebook.cells[0].cell_type != "markdown":
        said.append("cell 0 is text: question, inputs, outputs, time")
    if len(cells) > CODE_CELLS or figures > FIGURES:
        said.append(f"{len(cells)} code cells and {figures} kept figures; at most {CODE_CELLS} and {FIGURES}")
    if any("injected-parameters" in tags(cell) for cell in notebook.cells):
        said.append("injected parameters: this is the result of a run, not a source")
    if not {KEPT, COMPARED} <= set(tags(cells[-1])):
        said.append(f"the last code cell is tagged '{KEPT}' and '{COMPARED}'")
    elif not cells[-1].outputs or cells[-1].execution_count is None:
        said.append("the last code cell keeps its output and count, or nbval compares nothing")
    return said


def complaints(notebook) -> list[str]:
    """Return every rule that a notebook breaks."""
    each = [complaint for cell in code_cells(notebook) for complaint in code_complaints(cell) + output_complaints(cell)]
    return shape_complaints(notebook) + parameter_complaints(notebook) + each


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_the_rules(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert complaints(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_named_by_number_verb_object(path):
    number, _, words = path.stem.partition("_")
    assert number.isdigit(), f"{path.name}: starts with the two digits of its place"
    assert len(number) == 2
    assert words == words.lower()
    assert words


def good_notebook():
    cells = [
        new_markdown_cell("# What does an event camera see?"),
        new_code_cell('size: str = "smoke"  # "smoke" or "full"', metadata={"tags": ["parameters"]}),
        new_code_cell("from eclip_lib.paths import ROOT\n%matplotlib inline"),
        new_code_cell("plot()", metadata={"tags": [KEPT]}, outputs=[png(1000)], execution_count=3),
        new_code_cell(
            "print(3)",
            metadata={"tags": [KEPT, COMPARED]},
            outputs=[new_output("stream", text="3\n")],
            execution_count=4,
        ),
    ]
    return new_notebook(cells=cells)


def png(size: int):
    return new_output("display_data", data={"image/png": "A" * (size * 4 // 3)})


def test_a_notebook_that_keeps_the_rules_is_let_through():
    assert complaints(good_notebook()) == []


BREACHES = {
    "no text first": lambda n: n.cells.pop(0),
    "no parameters": lambda n: n.cells[1].metadata.update(tags=[]),
    "parameters not first": lambda n: n.cells.insert(1, n.cells.pop(2)),
    "two cells of parameters": lambda n: n.cells[2].metadata.update(tags=["parameters"]),
    "a derived parameter": lambda n: n.cells[1].update(source=n.cells[1].source + "\nb: int = 2 * 3"),
    "a parameter without a type": lambda n: n.cells[1].update(source=n.cells[1].source + "\nb = 2"),
    "no size": lambda n: n.cells[1].update(source="epochs: int = 2"),
    "size is full": lambda n: n.cells[1].update(source='size: str = "full"  # "smoke" or "full"'),
    "size takes anything": lambda n: n.cells[1].update(source='size: str = "smoke"'),
    "a function": lambda n: n.cells[2].update(source="def f(): pass"),
    "a class": lambda n: n.cells[2].update(source="if True:\n    class A: pass"),
    "sys.path": lambda n: n.cells[2].update(source="import sys\nsys.path.insert(0, 'x')"),
    "a loop over batches": lambda n: n.cells[2].update(source="for frames in train_loader: pass"),
    "a path from elsewhere": lambda n: n.cells[2].update(source="open('/data/x')"),
    "a long cell": lambda n: n.cells[2].update(source="x = 1\n" * 11),
    "too many cells": lambda n: n.cells.extend([n.cells[-1]] * 17),
    "injected parameters": lambda n: n.cells[2].metadata.update(tags=["injected-parameters"]),
    "an output too many": lambda n: n.cells[3].metadata.update(tags=[]),
    "a large figure": lambda n: n.cells[3].update(outputs=[png(PNG_BYTES + 9)]),
    "many figures": lambda n: n.cells[3].update(outputs=[png(9)] * 5),
    "a last cell not compared": lambda n: n.cells[-1].metadata.update(tags=[KEPT]),
    "a last cell not kept": lambda n: n.cells[-1].update(outputs=[], execution_count=None),
    "a last cell without its count": lambda n: n.cells[-1].update(execution_count=None),
}


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES)
def test_a_broken_rule_is_seen(breach):
    notebook = good_notebook()
    breach(notebook)
    assert len(complaints(notebook)) == 1
