"""The way of the data is the way of the imports: to a lower level only. And the sizes that keep files readable."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eclip_lib.config import ROOT

PACKAGE = "eclip_lib"
LEVELS = [
    {"config", "formats", "losses", "metrics", "parameters", "gaze", "stills", "weights"},
    {"event_array"},
    {"formats_aedat4", "formats_atis", "formats_ecf", "formats_hdf5", "formats_numpy", "formats_prophesee"},
    {"events"},
    {
        "windows",
        "colors",
        "resize",
        "ecm",
        "pixels",
        "camera",
        "backbone",
        "cache",
        "results",
        "augment",
        "vocabulary",
        "icons",
        "event_data",
        "event_bytes",
    },
    {"dataset_icons", "dataset_n_mnist", "dataset_folders", "dataset_lists", "dataset_scan", "shards"},
    {"event_encoder", "prompts", "text_encoder", "datasets", "predictions", "teacher", "tiny_clip", "presets"}
    | {"figure", "samples", "views", "saturation", "traps", "export", "calibration", "record_folder"}
    | {"overrides", "event_augment", "frame_augment", "distributed", "paper_presets", "words", "published"},
    {"ablation_grid", "result_files"}
    | {"comparisons", "data_check", "model", "baselines", "inputs", "loader", "shot_lists", "calibration_sets"},
    {"evaluation", "splits", "sim_to_real", "calibration_report", "inside", "eventbind", "claims", "result_tables"},
    {"checkpoints", "objective", "curves"},
    {"protocols", "training", "pretrain"},
    {
        "experiment",
        "checkpoint_eval",
        "plots",
        "event_plots",
        "calibration_plots",
        "headless",
        "controls",
        "sources",
        "live_figure",
    }
    | {"inside_plots", "result_plots", "ablation_cluster"},
    {"ablation", "ablation_commands", "data_commands", "eval_commands", "explorer", "run_views", "shortcut"}
    | {"report", "report_commands", "result_sections"},
    {"widgets", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
SIBLINGS = {  # importer, imported: files of one row of the design
    ("ablation_commands", "ablation"),
    ("report_commands", "report"),
    ("report", "result_sections"),
    ("prompts", "text_encoder"),
    ("presets", "paper_presets"),
    ("ecm", "windows"),
    ("ecm", "colors"),
    ("ecm", "resize"),
    ("camera", "pixels"),
    ("formats_hdf5", "formats_ecf"),
    ("event_data", "cache"),
    ("dataset_lists", "dataset_scan"),
    ("dataset_folders", "dataset_lists"),
    ("dataset_folders", "dataset_scan"),
    ("dataset_n_mnist", "dataset_lists"),
    ("dataset_n_mnist", "dataset_scan"),
}
FILE_LINES, FUNCTION_LINES = 400, 50
FILES = sorted(path for path in (ROOT / PACKAGE).glob("*.py") if path.name != "__init__.py")


def imported_modules(tree: ast.AST) -> set[str]:
    """Return the modules of the package that a file imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = (f"{PACKAGE}." if node.level else "") + (node.module or "")
            names |= {start, *(f"{start.rstrip('.')}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names if name.startswith(f"{PACKAGE}.")]
    return {part[1] for part in parts if part[1] in LEVEL or (ROOT / PACKAGE / f"{part[1]}.py").is_file()}


def upward_imports(module: str, imported: set[str]) -> list[str]:
    """Return what is wrong with the imports of a module."""
    complaints = []
    for other in sorted(imported - {"config"}):
        if other not in LEVEL:
            complaints.append(f"{other} has no level: add it to LEVELS in {Path(__file__).name}")
        elif LEVEL[other] >= LEVEL[module] and (module, other) not in SIBLINGS:
            complaints.append(f"{module} (level {LEVEL[module]}) imports {other} (level {LEVEL[other]})")
    return complaints


def long_functions(tree: ast.AST, most: int = FUNCTION_LINES) -> list[str]:
    """Return the functions that are longer than `most` lines, from `def` to the end."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{node.name} (line {node.lineno})": node.end_lineno - node.lineno + 1 for node in functions}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > most]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_module_has_a_level_and_imports_only_from_below(path):
    assert path.stem in LEVEL, f"{path.name} is new: add it to LEVELS in {Path(__file__).name}, and to the design"
    assert upward_imports(path.stem, imported_modules(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES, "more than one responsibility; split it"
    assert long_functions(ast.parse(text)) == []


@pytest.mark.parametrize(
    ("module", "source", "number"),
    [
        ("ecm", "from eclip_lib.model import EClip", 1),
        ("ecm", "import eclip_lib.camera", 1),
        ("ecm", "def f():\n    from eclip_lib import training", 1),
        ("ecm", "from . import model\nfrom .training import fit", 2),
        ("losses", "from eclip_lib.config import LossConfig", 0),
        ("model", "from eclip_lib import __version__\nfrom eclip_lib.prompts import HybridPrompts", 0),
        ("prompts", "from eclip_lib.text_encoder import encode", 0),
        ("text_encoder", "from eclip_lib.prompts import HybridPrompts", 1),
    ],
)
def test_the_check_of_imports_sees_each_way_to_import(module, source, number):
    assert len(upward_imports(module, imported_modules(ast.parse(source)))) == number


def test_the_check_of_length_counts_from_def_to_the_end():
    source = "def f():\n" + "    x = 1\n" * 3
    assert long_functions(ast.parse(source), most=3) == ["f (line 1): 4 lines"]
    assert long_functions(ast.parse(source), most=4) == []


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.__main__"])
def test_the_package_and_the_command_line_load_nothing_heavy(module):
    heavy = {"torch", "numpy", "pandas", "matplotlib", "papermill"}
    code = f"import sys, {module}; sys.exit(' '.join({heavy!r} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"importing {module} loads {done.stderr}"


def test_importing_the_package_is_quick():
    code = f"import time; start = time.perf_counter(); import {PACKAGE}; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)]
    while float(runs[-1].stdout) >= 0.3 and len(runs) < 3:
        time.sleep(0.5)
        runs.append(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True))
    assert min(float(done.stdout) for done in runs) < 0.3, "seconds, the best of three"
