"""Run a notebook without a browser, refusing parameters that it does not have.

a notebook and parameters → the executed notebook, one page that opens offline, and its result table.
"""

import difflib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from eclip_lib.cache import atomic_path
from eclip_lib.experiments.notebooks.pages import to_page
from eclip_lib.experiments.notebooks.parameters import Parameter, declared_parameters
from eclip_lib.paths import RUNS, STARTED_IN

PARAMETERS_TAG = "parameters"
TABLE_TAG = "result-table"
KERNEL = {"name": "python3", "language": "python", "display_name": "Python 3"}
STARTS = 3  # tries: of two kernels that start at the same time, both may find the same port free, and one dies
NEVER_STARTED = "Kernel died before replying"  # how jupyter_client says so


class NotebookError(RuntimeError):
    """A cell of a notebook failed; the message says which, why, and where the executed notebook is."""


@dataclass(frozen=True)
class RunResult:
    """What a headless run leaves: two files, the text of its result table if it has one, and its seconds."""

    notebook: Path
    page: Path
    seconds: float
    table: str | None = None


def read_parameters(path: Path | str) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name, in the order in which its cell tagged `parameters` declares them.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: the file is not a notebook, or has no readable `parameters` cell.
    """
    cells = _tagged(_load(path), PARAMETERS_TAG)
    if len(cells) != 1:
        raise ValueError(f"{path}: {len(cells)} cells carry the tag '{PARAMETERS_TAG}'; exactly one has to")
    try:
        return declared_parameters(cells[0].source)
    except ValueError as error:
        raise ValueError(f"{path}, cell '{PARAMETERS_TAG}': {error}") from error


def check_parameters(path: Path | str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for a notebook's parameters, once every name and type is known to be right.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: a name is unknown, and the message lists the known ones; or a value has a wrong type.
    """
    known = _known(path, given)
    return {name: known[name].check(value) for name, value in given.items()}


def parse_parameters(path: Path | str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return values for a notebook's parameters from the texts of a command line.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: a name is unknown, and the message lists the known ones; or a text is no value of its parameter.
    """
    known = _known(path, given)
    return {name: known[name].parse(text) for name, text in given.items()}


def run_notebook(path: Path | str, parameters: Mapping[str, Any] | None = None, verbose: bool = True) -> RunResult:
    """Run a notebook in its own folder, with the Python of this process, and keep what it shows.

    The executed notebook goes to `runs/notebooks/`, also when a cell fails, and a page made of it to `runs/pages/`;
    both are named by the notebook and 8 hex digits of its parameters, so the same run replaces its files.

    Args:
        path: the notebook.
        parameters: values to run with instead of the declared ones; checked before anything runs.
        verbose: show a progress bar, and pass on what the cells print.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: it is not a notebook with parameters, or the given ones are not right.
        NotebookError: a cell failed, or the kernel died.
        KeyboardInterrupt: stopped; the kernel has ended, and the message says where the cells that ran are kept.
    """
    path = Path(path)
    given = check_parameters(path, parameters or {})
    name = f"{path.stem}-{_digest(path, given)}"
    notebook, page = RUNS / "notebooks" / f"{name}.ipynb", RUNS / "pages" / f"{name}.html"
    started = perf_counter()
    with _explained(path, notebook), _kept(notebook) as unfinished:
        _execute(path, given, unfinished, verbose)
    executed = nbformat.read(notebook, as_version=4)
    html = to_page(executed, path)
    with atomic_path(page) as unfinished:
        unfinished.write_text(html, encoding="utf-8")
    return RunResult(notebook, page, perf_counter() - started, result_table(executed))


def result_table(notebook: nbformat.NotebookNode) -> str | None:
    """Return the text that the cell tagged `result-table` shows, None if there is no such cell or it shows none."""
    texts = [_text(output) for cell in _tagged(notebook, TABLE_TAG) for output in cell.get("outputs", [])]
    return "\n".join(text.strip("\n") for text in texts if text.strip()) or None


def _load(path: Path | str) -> nbformat.NotebookNode:
    """Return a notebook with what papermill wants in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a notebook.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(item.name for item in path.parent.glob("*.ipynb")) if path.parent.is_dir() else []
        there = f"; {path.parent} has {', '.join(near)}" if near else ""
        raise FileNotFoundError(f"{path}: no such notebook{there}")
    try:
        return load_notebook_node(str(path))
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a Jupyter notebook ({type(error).__name__})") from error


def _tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    """Return the cells that carry a tag."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def _known(path: Path | str, names: Iterable[str]) -> dict[str, Parameter]:
    """Return the parameters of a notebook if they hold all the names.

    Raises:
        ValueError: one is missing; the message has its likely spelling and the list.
    """
    known = read_parameters(path)
    near = {name: difflib.get_close_matches(name, known, n=1) for name in names if name not in known}
    if near:
        said = ", ".join(
            f"'{name}'" + (f" (did you mean '{match[0]}'?)" if match else "") for name, match in near.items()
        )
        listed = "\n".join(f"  {parameter}" for parameter in known.values())
        raise ValueError(f"{path} has no parameter {said}; it has:\n{listed}")
    return known


def _digest(path: Path, given: Mapping[str, Any]) -> str:
    """Return 8 hex digits of all parameters of a run, those left at their default included."""
    values = {name: parameter.default for name, parameter in read_parameters(path).items()} | dict(given)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


class _ThisPython(AsyncKernelManager):
    """Starts kernels with the Python of this process, whatever kernels are registered on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """Return a kernel that is not looked up but made; what it logs of its own ending would only confuse."""
        return KernelSpec(resource_dir="", **get_kernel_dict(extra_arguments=["--log-level=CRITICAL"]))


def _execute(path: Path, given: Mapping[str, Any], output: Path, verbose: bool) -> None:
    """Run a notebook with checked parameters, writing it to `output` after every cell."""
    source = load_notebook_node(str(path))
    source.metadata["kernelspec"] = KERNEL
    os.environ.setdefault(STARTED_IN, str(Path.cwd()))  # the kernel inherits it
    for left in reversed(range(STARTS)):
        try:
            papermill.execute_notebook(
                parameterize_notebook(source, dict(given)) if given else source,
                str(output),
                kernel_name=KERNEL["name"],
                kernel_manager_class=_ThisPython,
                cwd=str(path.resolve().parent),  # as nbval and JupyterLab have it
                progress_bar=verbose,
                stdout_file=sys.stdout if verbose else None,
                stderr_file=sys.stderr if verbose else None,
            )
            return
        except RuntimeError as error:
            if NEVER_STARTED not in str(error) or not left:
                raise


@contextmanager
def _kept(target: Path) -> Iterator[Path]:
    """Give a file to write beside `target`, which takes its place at the end, an early end included."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.stem}-{os.getpid()}{target.suffix}")
    try:
        yield unfinished
    finally:
        if unfinished.is_file():
            unfinished.replace(target)


@contextmanager
def _explained(path: Path, notebook: Path) -> Iterator[None]:
    """Turn the ways in which a run ends early into one message each, which says where the notebook is kept.

    Raises:
        NotebookError: a cell failed, or the kernel died.
        KeyboardInterrupt: the user stopped the run.
    """
    try:
        yield
    except papermill.PapermillExecutionError as error:
        line = error.source.strip().splitlines()[0] if error.source.strip() else ""
        told = f"{error.ename}: {error.evalue}"[:600]
        raise NotebookError(
            f"{path}, cell {error.cell_index} ({line}):\n  {told}\nThe executed notebook has the traceback: {notebook}"
        ) from None
    except DeadKernelError:
        raise NotebookError(
            f"{path}: the kernel died, most often for lack of memory; the cells that ran are in {notebook}"
        ) from None
    except RuntimeError as error:
        if NEVER_STARTED not in str(error):
            raise
        raise NotebookError(f"{path}: no kernel started in {STARTS} tries; is there memory left?") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{path}: stopped; the cells that ran are in {notebook}") from None


def _text(output: nbformat.NotebookNode) -> str:
    """Return the text of an output, as Markdown where it has that; nothing for what goes to stderr."""
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    data = output.get("data", {})
    return data.get("text/markdown", data.get("text/plain", ""))
