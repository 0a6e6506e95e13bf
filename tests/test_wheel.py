"""The wheel: what is in it, and that it works from an empty folder where no checkout is."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from eclip_lib import __version__
from eclip_lib.ledger import code_hash
from eclip_lib.paths import ROOT, STARTED_IN

MEGABYTES = 30  # the embedded default takes most of it
FOLDERS = {"eclip_lib": "eclip_lib", "notebooks": "eclip_lib/shipped/notebooks", "reports": "eclip_lib/shipped/reports"}
LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}
FACTS = """
import json
from eclip_lib import paths, run, load_clip, FrameConfig
from eclip_lib.calibration import tables
from eclip_lib.cli.report import report_command
from eclip_lib.experiments import batch
from eclip_lib.results import page, published
places = [paths.ASSETS, batch.NOTEBOOK, tables.TRACKED, page.QUICKSTART, published.PATH]
options = {option.name: str(option.default) for option in report_command.params}
print(json.dumps({"package": paths.__file__, "runs": str(paths.RUNS), "ships": list(map(str, places))} | options))
"""


def files(folder: Path) -> set[str]:
    """Return the files below a folder that are neither caches nor locks, relative to it."""
    there = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in there if not LEFT_OUT & set(path.parts) and path.suffix != ".lock"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """Return a folder of packages in which the wheel is installed; it comes before the checkout's."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return folder


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def python(site: Path, folder: Path, *arguments: object) -> str:
    """Run this Python with the installed package from a folder, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != STARTED_IN} | {"PYTHONPATH": str(site)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_has_what_runs_need_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert there == {f"{inside}/{name}" for folder, inside in FOLDERS.items() for name in files(ROOT / folder)}
    assert {
        "eclip_lib/py.typed",
        "eclip_lib/__init__.pyi",
        "eclip_lib/assets/eclip_tiny_events/model.safetensors",
    } <= there
    assert wheel.stat().st_size < MEGABYTES * 1e6


def test_everything_that_ships_is_found_and_nothing_is_to_be_written_there(site, elsewhere):
    facts = json.loads(python(site, elsewhere, "-c", FACTS))
    assert facts["package"] == str(site / "eclip_lib" / "paths.py")
    ships = [*facts["ships"], facts["ledger"], facts["quickstart"]]
    assert all(Path(place).exists() and Path(place).is_relative_to(site) for place in ships)
    assert (facts["runs"], facts["out"]) == (str(elsewhere / "runs"), str(elsewhere / "runs" / "report"))


def test_a_notebook_that_ships_runs_by_its_name(site, elsewhere):
    """In a checkout that is not the package's: its commit is not what made the row."""
    subprocess.run(["git", "init", "--quiet", elsewhere], check=True)
    before, eclip = files(site), site / "bin" / "eclip"
    assert python(site, elsewhere, eclip, "--version") == f"eclip, version {__version__}\n"
    told = python(site, elsewhere, eclip, "run", "00_quickstart", "-p", "size", "smoke")
    assert f"page: {elsewhere / 'runs' / 'pages'}" in told
    rows = [json.loads(line) for line in (elsewhere / "runs" / "results.jsonl").read_text().splitlines()]
    assert {row["method"] for row in rows} == {"e-clip", "clip-zero-shot", "linear-probe"}
    facts = [row["provenance"] for row in rows]
    assert all((one["commit"], one["dirty"], one["code"]) == (None, False, code_hash()) for one in facts)
    assert files(site) == before, "something was written where the package lies"
    assert {path.name for path in elsewhere.iterdir()} == {".git", "runs"}


def test_a_copied_notebook_writes_where_the_command_was_given(site, elsewhere):
    python(site, elsewhere, "-m", "eclip_lib", "notebooks", "mine")
    copy = elsewhere / "mine" / "02_calibrate_camera.ipynb"
    notebook = nbformat.read(copy, as_version=4)
    assert "camera_maps.png" in json.dumps([cell.get("attachments", {}) for cell in notebook.cells])
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    cells[1:] = [nbformat.v4.new_code_cell("from eclip_lib.paths import RUNS\nRUNS.mkdir(exist_ok=True)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), copy)
    python(site, elsewhere, "-m", "eclip_lib", "run", "mine/02_calibrate_camera.ipynb")
    assert {path.name for path in elsewhere.iterdir()} == {"mine", "runs"}
    assert not (elsewhere / "mine" / "runs").exists()
