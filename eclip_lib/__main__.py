"""The command line: `eclip …`, or `python -m eclip_lib …`.

Heavy parts are imported inside the commands, so that `--help` and mistakes answer at once.
"""

from collections import Counter
from pathlib import Path

import click

from eclip_lib import __version__
from eclip_lib.ablation_commands import ablate_command
from eclip_lib.data_commands import data
from eclip_lib.eval_commands import classify_command, eval_command
from eclip_lib.report_commands import report_command

INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


class _Commands(click.Group):
    """A group whose commands end in one message instead of a traceback where the user can put it right."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command.

        Raises:
            click.ClickException: for what a wrong file or value, or a failing notebook, raised.
        """
        try:
            return super().invoke(ctx)
        except (ValueError, FileNotFoundError) as error:
            raise click.UsageError(str(error)) from error
        except OSError as error:  # no permission, a folder where a file should be, a full disk
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as stop:
            click.echo(f"\n{stop}" if str(stop) else "\nstopped", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="eclip")
def main() -> None:
    """E-CLIP: CLIP for event cameras, as a notebook-first research workbench."""


main.add_command(ablate_command)
main.add_command(data)
main.add_command(eval_command)
main.add_command(classify_command)
main.add_command(report_command)


@main.command("run")
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

    Example: eclip run notebooks/00_quickstart.ipynb -p size full
    """
    from eclip_lib.headless import NotebookError, parse_parameters, read_parameters, run_notebook

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


@main.command("record")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the recordings.")
@click.option("--sensor", type=(int, int), metavar="HEIGHT WIDTH", help="Pixels of the sensor.  [default: 96 96]")
@click.option("--format", "suffix", type=click.Choice(["npz", "bin"]), default="npz", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws other sensors of the same make.")
@click.option(
    "--path", "path_file", type=click.Path(path_type=Path), help="CSV of the motion: ms,down,right in pixels."
)
@click.option(
    "--camera", "camera_file", type=click.Path(path_type=Path), help="JSON of camera fields, or a camera.json."
)
@click.option(
    "-c",
    "--set",
    "given",
    type=(str, str),
    multiple=True,
    metavar="FIELD VALUE",
    help="One field of SaccadeCamera, such as threshold_on 0.2; may be repeated.",
)
def record_command(
    folder: Path,
    out: Path,
    sensor: tuple[int, int] | None,
    suffix: str,
    seed: int,
    path_file: Path | None,
    camera_file: Path | None,
    given: tuple[tuple[str, str], ...],
) -> None:
    """Turn the images of FOLDER/<class>/ into simulated event recordings; the same call resumes.

    Example: eclip record photos --out recordings --sensor 180 240
    """
    from eclip_lib.record_folder import read_camera, record_folder

    fields = dict(given) | ({"sensor_size": sensor} if sensor else {})
    try:
        done = record_folder(folder, out, read_camera(camera_file, path_file, fields), f".{suffix}", seed)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; what is recorded is kept in {out}, the same call goes on from there"
        ) from None
    failed = [item for item in done if item.problem]
    events = [item.events for item in done if not item.problem]
    for item in failed:
        click.echo(f"not recorded: {item.still}: {item.problem}", err=True)
    median = f", median {sorted(events)[len(events) // 2]:,} events" if events else ""
    click.echo(f"{len(events)} simulated {'recording' if len(events) == 1 else 'recordings'} in {out}{median}")
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(done)} images could not be recorded; the others are there")


if __name__ == "__main__":
    main(prog_name="eclip")
