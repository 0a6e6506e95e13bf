"""`eclip notebooks`, and notebooks by name: what ships is found and copied out whole."""

import re

import nbformat
import pytest
from click.testing import CliRunner

from eclip_lib.cli.program import main
from eclip_lib.experiments.notebooks.shipped import find_notebook, shipped_notebooks
from eclip_lib.paths import NOTEBOOKS

LINK = re.compile(r"\]\(([^)]+)\)")


def eclip(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def mine(tmp_path):
    done = eclip("notebooks", tmp_path / "mine")
    assert done.exit_code == 0, done.output
    assert f"jupyter lab {tmp_path / 'mine'}" in done.output
    return tmp_path / "mine"


@pytest.mark.parametrize("name", ["04_train", "train", "04_train.ipynb", "train.ipynb"])
def test_a_bare_name_is_the_notebook_that_ships(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_notebook(name) == NOTEBOOKS / "04_train.ipynb"


def test_a_file_of_the_users_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "04_train.ipynb").touch()
    assert [str(find_notebook(name)) for name in ("04_train", "04_train.ipynb")] == ["04_train.ipynb"] * 2
    assert find_notebook("train") == NOTEBOOKS / "04_train.ipynb"


def test_an_unknown_name_is_told_what_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = eclip("run", "quickstrat")
    assert done.exit_code == 2
    assert all(notebook.stem in done.output for notebook in shipped_notebooks())
    assert eclip("run", "quickstart", "--list").output.startswith("size: str = 'smoke'")


def test_the_list_is_what_lies_in_the_folder():
    assert eclip("notebooks").output.split() == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def test_copies_differ_from_the_notebooks_in_their_pictures_alone(mine):
    assert sorted(path.name for path in mine.iterdir()) == [path.name for path in shipped_notebooks()]
    for source in shipped_notebooks():
        before, after = (nbformat.read(path, as_version=4) for path in (source, mine / source.name))
        nbformat.validate(after)
        changed = [new for old, new in zip(before.cells, after.cells, strict=True) if old != new]
        assert all(cell.cell_type == "markdown" and cell.attachments for cell in changed)


def test_every_link_of_a_copy_leads_somewhere(mine):
    """Pictures are inside; links to other notebooks find their copies; nothing points out of the folder."""
    links = []
    for path in mine.iterdir():
        for cell in nbformat.read(path, as_version=4).cells:
            for link in LINK.findall(cell.source) if cell.cell_type == "markdown" else []:
                name = link.removeprefix("attachment:")
                links.append(link)
                assert link.startswith("http") or (mine / link).is_file() or name in cell.get("attachments", {}), link
    assert sum(link.startswith("attachment:") for link in links) == 5


def test_copying_again_replaces_nothing(mine):
    (mine / "04_train.ipynb").write_text("changed")
    (mine / "00_quickstart.ipynb").unlink()
    done = eclip("notebooks", mine)
    assert done.exit_code == 1 and "04_train.ipynb" in done.output and "Traceback" not in done.output
    assert (mine / "04_train.ipynb").read_text() == "changed"
    assert not (mine / "00_quickstart.ipynb").exists()
