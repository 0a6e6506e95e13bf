"""The notebooks that ship with the package: found by name, and copied out to be worked on."""

from pathlib import Path

import nbformat

from eclip_lib.cache import atomic_path
from eclip_lib.experiments.notebooks.pages import attach_pictures
from eclip_lib.paths import NOTEBOOKS

SUFFIX = ".ipynb"


def shipped_notebooks() -> list[Path]:
    """Return the notebooks that ship, in reading order."""
    return sorted(NOTEBOOKS.glob(f"*{SUFFIX}"))


def find_notebook(name: Path | str) -> Path:
    """Return the notebook at a path, its suffix left out or not; else the one that ships under a bare name.

    That may lack its number: `00_quickstart`, `quickstart` and `quickstart.ipynb` are the same.

    Raises:
        FileNotFoundError: a bare name that is neither; the message lists what ships.
    """
    path = Path(name)
    for file in (path, path.with_name(path.name + SUFFIX)):
        if file.is_file():
            return file
    if path.parent != Path():
        return path  # whoever reads it tells that it is missing
    wanted = path.name.removesuffix(SUFFIX)
    for notebook in shipped_notebooks():
        if wanted in (notebook.stem, notebook.stem.partition("_")[2]):
            return notebook
    names = ", ".join(notebook.stem for notebook in shipped_notebooks())
    raise FileNotFoundError(f"{name}: no such notebook here, and none of that name ships with eclip; these do: {names}")


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy the notebooks that ship to a folder, with the pictures that their text shows inside. Returns the files.

    Raises:
        FileExistsError: a file of that name is there; nothing was written.
    """
    copies = {notebook: folder / notebook.name for notebook in shipped_notebooks()}
    if there := [copy.name for copy in copies.values() if copy.exists()]:
        raise FileExistsError(f"{folder} has {', '.join(there)} already; name another folder, nothing was written")
    for notebook, copy in copies.items():
        content = nbformat.read(notebook, as_version=4)
        attach_pictures(content, notebook.parent)
        with atomic_path(copy) as temporary:
            nbformat.write(content, temporary)
    return list(copies.values())
