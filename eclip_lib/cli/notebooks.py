"""`eclip notebooks`: the notebooks that ship with the package, as files of one's own.

Heavy parts are imported inside the command, so that `--help` and mistakes answer at once.
"""

from pathlib import Path

import click

from eclip_lib.paths import INSTALLED, RUNS


@click.command("notebooks")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), required=False)
def notebooks_command(folder: Path | None) -> None:
    """Copy the notebooks to FOLDER, to work on them; without FOLDER, list them.

    Files that are there already are never replaced.

    Example: eclip notebooks mine
    """
    from eclip_lib.experiments import copy_notebooks, shipped_notebooks

    if folder is None:
        click.echo("\n".join(notebook.stem for notebook in shipped_notebooks()))
        return
    copies = copy_notebooks(folder)
    for copy in copies:
        click.echo(copy)
    runs = folder.resolve() / "runs" if INSTALLED else RUNS
    here = f"; `eclip run {copies[0]}` writes to {RUNS}" if runs != RUNS else ""
    click.echo(f"\nGo on with: jupyter lab {folder}\nWhat they write there goes to {runs}{here}")
