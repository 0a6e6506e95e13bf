"""`eclip report`: tables, figures and a page of all results.

Heavy parts are imported inside the command, so that `--help` and mistakes answer at once.
"""

import warnings
from pathlib import Path

import click

from eclip_lib.paths import INSTALLED, REPORTS, RUNS


@click.command("report")
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    default=REPORTS / "results.jsonl",
    help="File of rows, its predictions beside it.  [default: the tracked one, which ships]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=RUNS / "report" if INSTALLED else REPORTS,
    help="Folder of index.html, tables/ and figures/.  [default: reports of a checkout, else runs/report]",
)
@click.option(
    "--quickstart",
    type=click.Path(path_type=Path, dir_okay=False),
    default=REPORTS / "00_quickstart.html",
    help="Page of the executed quickstart, as `eclip run` writes it.  [default: the tracked one, which ships]",
)
def report_command(ledger: Path, out: Path, quickstart: Path) -> None:
    """Make tables, figures and a page of the results in a ledger; the same ledger gives the same files.

    Example: eclip report --ledger runs/results.jsonl --out runs/report
    """
    from eclip_lib.results import write_report

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        written, stale = write_report(ledger, out, quickstart)
    for message in dict.fromkeys(str(warning.message) for warning in told if warning.category is UserWarning):
        click.echo(f"warning: {message}", err=True)
    for path in stale:
        click.echo(f"not of this report, perhaps of an older one: {path}", err=True)
    click.echo(f"{len(written) - 1} files of tables and figures in {out}\npage: {written[-1]}")
