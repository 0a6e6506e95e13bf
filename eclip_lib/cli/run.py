"""`eclip run …`: a notebook with parameters, without a browser."""

from collections import Counter
from pathlib import Path

import click


@click.command("run")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "-p",
    "--parameter",
    "given",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="Run with this value of a parameter; may be repeated.",
)
@click.option("-l", "--list", "listing", is_flag=True, help="List the notebook's parameters and run nothing.")
def run_command(notebook: Path, given: tuple[tuple[str, str], ...], listing: bool) -> None:
    """Run NOTEBOOK from start to end and keep it, with a page to look at, under runs/.

    NOTEBOOK is a file, or the name of one that ships with eclip (`eclip notebooks` lists them).

    Example: eclip run 00_quickstart -p size full
    """
    from eclip_lib.experiments import NotebookError, find_notebook, parse_parameters, read_parameters, run_notebook

    notebook = find_notebook(notebook)
    if listing:
        click.echo("\n".join(str(parameter) for parameter in read_parameters(notebook).values()))
        return
    twice = [name for name, count in Counter(name for name, _ in given).items() if count > 1]
    if twice:
        raise click.UsageError(f"the parameter '{twice[0]}' is given more than once")
    try:
        result = run_notebook(notebook, parse_parameters(notebook, dict(given)))
    except NotebookError as error:
        raise click.ClickException(str(error)) from error
    if result.table:
        click.echo(f"\n{result.table}\n")
    click.echo(f"notebook: {result.notebook}\npage: {result.page}\n{result.seconds:.0f} s")
