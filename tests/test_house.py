"""The house keeps its order: faces, sizes, quick imports; import-linter has the order of the wings (`make lint`)."""

import ast
import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import eclip_lib
from eclip_lib.paths import ROOT

PACKAGE = "eclip_lib"
FILES_A_FOLDER, FILE_LINES, FUNCTION_LINES, FACE_LINES = 14, 300, 50, 10
FILES = sorted(path for path in (ROOT / PACKAGE).rglob("*.py"))
WINGS = sorted(path.parent for path in (ROOT / PACKAGE).glob("*/__init__.py"))
REMOVES_TREES = re.compile(r"\brmtree\b|\bremovedirs\b|\brm -[a-z]*r|send2trash", re.IGNORECASE)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def long_functions(tree: ast.AST, most: int = FUNCTION_LINES) -> list[str]:
    """Return the functions that are longer than `most` lines, from `def` to the end."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{node.name} (line {node.lineno})": node.end_lineno - node.lineno + 1 for node in functions}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > most]


def imports_of_the_top_face(source: str) -> list[str]:
    """Return what a file imports from the face of the package, which would hide an import from the contract."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE]
        elif isinstance(node, ast.ImportFrom) and (node.level or node.module == PACKAGE):
            found += [alias.name for alias in node.names if alias.name != "__version__"]
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES, "more than one responsibility; split it"
    assert long_functions(ast.parse(text)) == []


def test_the_check_of_length_counts_from_def_to_the_end():
    source = "def f():\n" + "    x = 1\n" * 3
    assert long_functions(ast.parse(source), most=3) == ["f (line 1): 4 lines"]
    assert long_functions(ast.parse(source), most=4) == []


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=name_of)
def test_a_folder_is_read_at_a_glance(folder):
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= FILES_A_FOLDER


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_imports_the_top_face(path):
    assert imports_of_the_top_face(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from eclip_lib import EClip", ["EClip"]),
        ("import eclip_lib.camera", ["eclip_lib.camera"]),
        ("def f():\n    from eclip_lib import training", ["training"]),
        ("from . import model\nfrom .training import fit", ["model", "fit"]),
        ("from eclip_lib import __version__\nfrom eclip_lib.model import EClip", []),
    ],
)
def test_the_check_of_the_top_face_sees_each_way_to_import(source, found):
    assert imports_of_the_top_face(source) == found


@pytest.mark.parametrize("wing", WINGS, ids=name_of)
def test_a_file_is_imported_from_its_own_wing_or_through_the_face(wing):
    """Within a wing files name each other; from elsewhere the face is imported, never a file behind it."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{PACKAGE}.{wing.name}."):
                place = ROOT / node.module.replace(".", "/")
                through_a_face = place.is_dir() and not all((place / f"{one.name}.py").is_file() for one in node.names)
                assert through_a_face != path.is_relative_to(wing), f"{name_of(path)}: {ast.unparse(node)}"


@pytest.mark.parametrize("wing", [ROOT / PACKAGE, *WINGS], ids=name_of)
def test_a_face_says_what_the_wing_is_for_and_gives_what_it_promises(wing):
    module = importlib.import_module(name_of(wing).replace("/", "."))
    assert 1 <= len(module.__doc__.strip().splitlines()) <= FACE_LINES
    assert module.__all__ and set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        thing = getattr(module, name)
        hidden = isinstance(thing, type(ast)) and (wing / f"{name}.pyi").exists()
        assert not hidden, name
    files = {path.stem for path in wing.glob("*.py")} - {"__init__", "__main__"}
    clashes = {name for name in files & set(module.__all__) if not isinstance(getattr(module, name), type(ast))}
    assert not clashes, "a name of the face is that of a file, which hides it once the file is imported"


@pytest.mark.parametrize("wing", WINGS, ids=name_of)
def test_the_words_of_a_face_name_every_file(wing):
    told = importlib.import_module(name_of(wing).replace("/", ".")).__doc__
    files = [path.stem for path in wing.glob("*.py") if path.stem != "__init__"]
    if wing.name != "cli":  # a file a command
        assert [name for name in files if not re.search(rf"\b{name}\b", told)] == []


def test_the_public_surface_is_there():
    names = """FrameConfig ModelConfig LossConfig TrainConfig DataConfig Run Recording EVENT_DTYPE read_events
    write_events count_maps colorize event_frames SaccadeCamera load_clip EClip htca info_nce load_eventbind_checkpoint
    load_dataset load_checkpoint run read_results"""
    assert [name for name in names.split() if not hasattr(eclip_lib, name)] == []


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.__main__"])
def test_the_package_and_the_command_line_load_nothing_heavy(module):
    heavy = {"torch", "numpy", "pandas", "matplotlib", "papermill"}
    code = f"import sys, {module}; sys.exit(' '.join({heavy!r} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"importing {module} loads {done.stderr}"


@pytest.mark.parametrize("program", ["import eclip_lib", "from eclip_lib.cli import main; main(['--help'])"])
def test_importing_the_package_and_asking_for_help_are_quick(program):
    clock = "import atexit, time; s = time.perf_counter(); atexit.register(lambda: print(time.perf_counter() - s))"
    code = f"{clock}\n{program}"
    seconds = []
    while not seconds or (min(seconds) >= 0.3 and len(seconds) < 6):
        time.sleep(0.5 * bool(seconds))
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds.append(float(done.stdout.splitlines()[-1]))
    assert min(seconds) < 0.3, "seconds, the best of six"


def test_nothing_removes_a_tree():
    """Only files that this program wrote, known by name, are ever removed."""
    notebooks = [
        (path, "".join("".join(cell["source"]) + "\n" for cell in json.loads(path.read_text())["cells"]))
        for path in (ROOT / "notebooks").glob("*.ipynb")
    ]
    texts = [(path, path.read_text()) for path in FILES] + notebooks
    assert [f"{name_of(path)}: {found[0]}" for path, text in texts if (found := REMOVES_TREES.search(text))] == []


@pytest.mark.parametrize("text", ["shutil.rmtree(folder)", "os.removedirs(x)", "!rm -rf runs"])
def test_the_search_for_removed_trees_finds_them(text):
    assert REMOVES_TREES.search(text)


def test_cleaning_keeps_what_runs_left():
    recipe = re.search(r"^clean:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert not re.search(r"rm -rf[^\n]*\bruns\b", recipe)
    assert "-path ./runs" in recipe, "find leaves runs/ alone"


def test_the_contract_fails_when_frames_imports_model(tmp_path):
    """The order of the wings is checked, not only written down."""
    for path in FILES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert lint_imports(tmp_path).returncode == 0, lint_imports(tmp_path).stdout
    windows = tmp_path / PACKAGE / "frames" / "windows.py"
    windows.write_text(windows.read_text() + "\n\ndef f():\n    from eclip_lib.model import EClip\n")
    done = lint_imports(tmp_path)
    assert done.returncode and "eclip_lib.frames.windows -> eclip_lib.model" in done.stdout


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as f; f()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
