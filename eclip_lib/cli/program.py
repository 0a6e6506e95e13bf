"""The command line: `eclip …`, or `python -m eclip_lib …`.

Heavy parts are imported inside the commands, so that `--help` and mistakes answer at once.
"""

import click

from eclip_lib import __version__
from eclip_lib.cli.ablate import ablate_command
from eclip_lib.cli.data import data
from eclip_lib.cli.errors import Commands
from eclip_lib.cli.evaluate import classify_command, eval_command
from eclip_lib.cli.notebooks import notebooks_command
from eclip_lib.cli.record import record_command
from eclip_lib.cli.report import report_command
from eclip_lib.cli.run import run_command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="eclip")
def main() -> None:
    """E-CLIP: CLIP for event cameras, as a notebook-first research workbench."""


for command in (
    run_command,
    data,
    record_command,
    eval_command,
    classify_command,
    ablate_command,
    report_command,
    notebooks_command,
):
    main.add_command(command)
