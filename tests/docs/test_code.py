import ast
import importlib
import json
import re
import shlex
import tomllib

import click
import pytest

from eclip_lib.cli.program import main
from eclip_lib.experiments import find_notebook, parse_parameters
from eclip_lib.experiments.batch import read_grid
from eclip_lib.paths import ROOT
from tests.support.pages import PAGES, blocks, shell_lines

TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES if path.exists()}
CHECKED = {"python", "console", "bash", "toml", "json"}
TOLD = {"text", "csv", "diff", "bibtex", "make", "yaml"}  # shown, nothing to run
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
NAMES = {path: path.name for path in TEXTS}


def with_blocks(*languages):
    """Return the pages that have blocks of these languages."""
    found = [path for path, text in TEXTS.items() if any(block.language in languages for block in blocks(text))]
    return pytest.mark.parametrize("path", found, ids=NAMES.get)


def resolve_imports(code):
    """Import what a block takes from this project, without running the block."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "eclip_lib":
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {missing}"


def parse_eclip(words):
    """Parse a call of `eclip` as its command does, values included, but run nothing."""
    command = main
    while isinstance(command, click.Group) and words and words[0] not in ("--help", "-h", "--version"):
        name, command, words = command.resolve_command(click.Context(command), words)
    if isinstance(command, click.Group) or not words:  # its help, or prose that names a command
        return
    given = command.make_context(name, list(words)).params
    if name == "run":
        parse_parameters(find_notebook(given["notebook"]), dict(given["given"]))


@pytest.fixture
def no_files(monkeypatch):
    """Files that a page speaks of are the reader's."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)


@pytest.mark.parametrize("path", TEXTS, ids=NAMES.get)
def test_every_block_says_what_it_is(path):
    languages = {block.language for block in blocks(TEXTS[path]) if not block.language.startswith("{")}
    assert languages <= CHECKED | TOLD
    hidden = [block.code for block in blocks(TEXTS[path]) if block.language == "text" and "import " in block.code]
    assert hidden == [], "Python is called Python, and why it is not run is told by a comment"


@with_blocks("python")
def test_python_runs_in_the_order_of_the_page(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks(TEXTS[path]):
        if block.language == "python" and block.reason:
            compile(block.code, str(path), "exec")
            resolve_imports(block.code)
        elif block.language == "python":
            exec(compile(block.code, str(path), "exec"), names)


@pytest.mark.parametrize("path", TEXTS, ids=NAMES.get)
def test_commands_can_be_typed_as_they_stand(path, no_files):
    for line in shell_lines(TEXTS[path]):
        program, *words = line.split()
        if program == "eclip":
            parse_eclip(shlex.split(line, comments=True)[1:])
        elif program == "make":
            assert words[0] in TARGETS


@with_blocks("toml", "json")
def test_settings_can_be_read(path, tmp_path):
    for block in blocks(TEXTS[path]):
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "toml" and "variants" in tomllib.loads(block.code):
            (tmp_path / "grid.toml").write_text(block.code)
            read_grid(tmp_path / "grid.toml")


@pytest.mark.parametrize(
    "line",
    [
        "eclip nothing",
        "eclip run --list",
        "eclip run notebooks/99_nothing.ipynb",
        "eclip run notebooks/04_train.ipynb --shots 3",
        "eclip run notebooks/04_train.ipynb -p shotz 3",
        "eclip run notebooks/04_train.ipynb -p shots many",
        "eclip record photos --out recordings --sensor 180",
        "eclip report --ledger a.jsonl surplus",
    ],
)
def test_a_command_that_cannot_be_typed_is_seen(line, no_files):
    with pytest.raises((click.UsageError, ValueError, FileNotFoundError)):
        parse_eclip(shlex.split(line)[1:])


def test_a_name_that_is_gone_is_seen():
    resolve_imports("from eclip_lib.frames import count_maps")
    with pytest.raises(AssertionError, match="gone"):
        resolve_imports("from eclip_lib.frames import gone")


def test_blocks_and_commands_are_found():
    text = "a `make lab`\n\n<!-- not run: needs a GPU -->\n```python\nx = 1\n```\n\n"
    text += "```console\n$ eclip cache \\\n  x\n3\n```\n"
    first, second = blocks(text)
    assert (first.language, first.code, first.reason) == ("python", "x = 1\n", "needs a GPU")
    assert second.reason == "" and shell_lines(text) == ["eclip cache    x", "make lab"]
