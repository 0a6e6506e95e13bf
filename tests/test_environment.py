"""One list of what is needed, in three spellings: pyproject.toml, environment.yml, constraints.txt."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from eclip_lib.paths import ROOT

CONDA_NAMES = {"torch": "pytorch"}  # conda-forge has the others under the name that pip has
CONDA_ONLY = {"python", "pip"}


def wanted() -> dict[str, Requirement]:
    """Return the requirements of pyproject.toml, all extras, by the name that conda-forge has for them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    names = {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}
    return {CONDA_NAMES.get(name, name): requirement for name, requirement in names.items()}


def environment() -> dict[str, SpecifierSet]:
    """Return the packages of environment.yml, by pip too, with their ranges in pip's spelling."""
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    by_pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    lines = [line for line in [*entries, *by_pip] if isinstance(line, str) and not line.startswith("-")]
    split = [re.fullmatch(r"([\w.-]+)(.*)", line).groups() for line in lines]
    return {canonicalize_name(name): SpecifierSet(re.sub(r"^=(?==?\d)|^=", "==", rest)) for name, rest in split}


def pins() -> dict[str, str]:
    """Return the versions of constraints.txt."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_both_lists_name_the_same_packages():
    assert set(environment()) - CONDA_ONLY == set(wanted())


@pytest.mark.parametrize("name", sorted(wanted()))
def test_the_ranges_agree_and_hold_what_is_tested(name):
    needed, given = wanted()[name], environment()[name]
    version = pins()[canonicalize_name(needed.name)]
    assert needed.specifier.contains(version), f"constraints.txt has {version}"
    assert given.contains(version), f"environment.yml does not allow {version}"
    least = [part.version for part in given if part.operator in (">=", "==")]
    assert all(needed.specifier.contains(bound) for bound in least), "environment.yml allows less than pyproject.toml"


def test_python_is_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert environment()["python"] == SpecifierSet(project["requires-python"])


def test_every_line_tells_who_uses_it():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    listed = [line for line in lines if line.lstrip().startswith("- ") and not line.endswith("pip:")]
    assert len(lines) <= 62
    assert [line for line in listed if "# used by " not in line] == []


def test_pre_commit_runs_the_ruff_that_is_pinned():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (rev,) = [repo["rev"] for repo in hooks if repo["repo"].endswith("ruff-pre-commit")]
    assert wanted()["ruff"].specifier == SpecifierSet(f"=={rev.removeprefix('v')}")


def test_torch_and_torchvision_are_pinned_as_a_pair():
    assert (pins()["torch"], pins()["torchvision"]) == ("2.14.1", "0.29.1")
