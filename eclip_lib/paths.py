"""Where things lie: what ships with the package, where runs go, and what a user names.

A checkout has notebooks and reports beside the package, and runs go there too. A wheel carries them inside, where
nothing is ever written: runs go to the folder in which the user works.
"""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CARRIED = _PACKAGE / "shipped"  # only a wheel has it; see pyproject.toml
STARTED_IN = "ECLIP_STARTED_IN"  # variable by which a notebook's kernel, whose folder is another, learns of the user's

INSTALLED = _CARRIED.is_dir()
SHIPPED = _CARRIED if INSTALLED else _PACKAGE.parent
ASSETS, NOTEBOOKS, REPORTS = _PACKAGE / "assets", SHIPPED / "notebooks", SHIPPED / "reports"
ROOT = Path.cwd() / os.environ.get(STARTED_IN, "") if INSTALLED else SHIPPED
RUNS = ROOT / "runs"  # what a user's own runs write; git-ignored


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
