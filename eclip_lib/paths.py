"""Where things lie: the project that runs belong to, what a user names, and what ships with the package."""

import os
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"


def _project_root() -> Path:
    """Return the checkout the package lies in, or the current folder for an installed package."""
    above = Path(__file__).resolve().parent.parent
    return above if (above / "pyproject.toml").is_file() else Path.cwd()


ROOT = _project_root()
RUNS = ROOT / "runs"  # what a user's own runs write; git-ignored
STARTED_IN = "ECLIP_STARTED_IN"  # variable by which a notebook's kernel, whose folder is another, learns of the user's


def find_path(name: str) -> Path:
    """Find a file or folder by its absolute path, or relative to the current folder or to the project's.

    In a notebook that the command line runs, the folder in which the command was given comes between the two.

    Raises:
        FileNotFoundError: it is in none of these places.
    """
    bases = (Path.cwd(), Path(os.environ.get(STARTED_IN, ".")), ROOT)
    places = [(base / Path(name).expanduser()).resolve() for base in bases]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"no file or folder {name!r}; looked for {' and '.join(map(str, dict.fromkeys(places)))}")
