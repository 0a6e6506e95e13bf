"""The recipes of CONTRIBUTING.md: their changes are taken from the page, made in a copy, and tried there."""

import re
import shutil
import subprocess
import sys

import pytest

from eclip_lib.paths import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("eclip_lib", "notebooks", "reports", "pyproject.toml")
RECIPES = re.findall(r"^### (.+?)$", PAGE, re.MULTILINE)


def change_of(recipe: str) -> str:
    """Return the diff of a recipe."""
    section = re.search(rf"^### {recipe}\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    return re.search(r"^```diff\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture
def copy(tmp_path):
    """Return a copy of what a change may touch."""
    unwanted = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        shutil.copytree(source, target, ignore=unwanted) if source.is_dir() else shutil.copy(source, target)
    return tmp_path


def follow(recipe: str, folder) -> list[str]:
    """Make the change of a recipe; returns the files that it touches."""
    text = change_of(recipe)
    command = ["git", "apply", "--recount", "--unidiff-zero", "-"]
    done = subprocess.run(command, cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return re.findall(r"^\+\+\+ b/(.+)$", text, re.MULTILINE)


def python(folder, code: str) -> str:
    """Run code that sees the copy alone."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_color_is_added_in_one_place_and_its_name(copy):
    assert follow("a color", copy) == ["eclip_lib/config.py", "eclip_lib/frames/colors.py"]
    code = """
import torch
from eclip_lib import FrameConfig, SaccadeCamera, event_frames
from eclip_lib.data import icons100
from eclip_lib.frames import colorize

on, off, none = ([[[1]], [[0]]], [[[0]], [[1]]], [[[0]], [[0]]])
print([round(float(colorize(torch.tensor([one]), "on-off-gray").mean()), 2) for one in (on, off, none)])
frames, valid = event_frames(SaccadeCamera().record(icons100().image(0)), FrameConfig(color="on-off-gray"))
print(tuple(frames.shape), len(frames.unique()) > 4)
"""
    assert python(copy, code).splitlines() == ["[0.6, 0.4, 1.0]", "(3, 3, 48, 48) True"]


def test_an_ablation_is_added_in_one_place(copy):
    assert follow("an ablation", copy) == ["eclip_lib/experiments/batch/variants.py"]
    code = """
from eclip_lib.cli import main
main(["ablate", "--preset", "batch-size", "--seeds", "2", "--dry-run"], standalone_mode=False)
"""
    plan = python(copy, code)
    assert "train.batch_size = 64" in plan and "6 of 6 cells to do" in plan


def test_every_recipe_names_places_that_are_there():
    section = PAGE[PAGE.index("## How to add") : PAGE.index("## Tests")]
    assert len(RECIPES) == 6
    prose = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    places = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.py)?|[a-z_]+\.py)`", prose))
    assert len(places) >= 8
    assert [place for place in places if not any((ROOT / top / place).exists() for top in ("", "eclip_lib"))] == []
