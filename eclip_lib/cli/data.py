"""`eclip data …`: check a data set, and pack it into shards.

Heavy parts are imported inside the commands, so that `--help` and mistakes answer at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eclip_lib.config import DataConfig

_OPTIONS = (
    click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False)),
    click.option("--dataset", help="Its id, such as n-caltech101.  [default: guessed from its folders]"),
    click.option("--stills", type=click.Path(), help="Folder of the paired stills.  [default: inside or beside PATH]"),
    click.option("--splits", type=click.Path(), help="Folder of split lists.  [default: the folders' own division]"),
    click.option("--fold", type=int, help="Of the tracked folds of n-mnist."),
)


def _data_options(command: Callable) -> Callable:
    """Give a command the options that name a data set."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _config(path: Path, dataset: str | None, given: dict) -> "DataConfig":
    """Return the config of the options; the data set is guessed if none is named."""
    from dataclasses import replace

    from eclip_lib.config import DataConfig
    from eclip_lib.data import guess_dataset

    given = {name: value for name, value in given.items() if value is not None}
    if dataset:
        named = {"dataset": dataset, "root": str(path), "protocol": "fine-tune", "shots": None}
        return DataConfig.from_dict(named | given)
    cfg = replace(guess_dataset(path), **given)
    click.echo(f"{path} looks like {cfg.dataset}", err=True)
    return cfg


@click.group("data")
def data() -> None:
    """Check a data set on disk, or pack it into shards."""


@data.command("check")
@_data_options
def check_command(path: Path, dataset: str | None, **given: Any) -> None:
    """Read every recording and still of the data set in PATH; exit 1 if something is wrong.

    Prints counts, events per recording, recordings without a still, and what cannot be read and why.

    Example: eclip data check ~/data/N-Caltech101
    """
    from eclip_lib.data import check_dataset

    report = check_dataset(_config(path, dataset, given))
    click.echo(f"\n{report}\n")
    for problem in report.problems:
        click.echo(f"- {problem}", err=True)
    if report.problems:
        raise click.ClickException(f"{path} is not in order")
    click.echo("no problems")


@data.command("pack")
@_data_options
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the shards.")
@click.option("--shard-mb", type=click.IntRange(1, 4096), default=256, show_default=True, help="Size of a shard.")
def pack_command(path: Path, dataset: str | None, out: Path, shard_mb: int, **given: Any) -> None:
    """Pack the data set in PATH into WebDataset shards, which take its place: name their folder as the root.

    Example: eclip data pack ~/data/N_Imagenet --stills ~/data/imagenet --out /scratch/n-imagenet
    """
    from eclip_lib.data import list_files, pack

    cfg = _config(path, dataset, given)
    header = pack(list_files(cfg), out, shard_mb << 20, cfg.fold)
    size = sum(shard["bytes"] for shard in header["shards"])
    click.echo(
        f"{header['recordings']:,} recordings and {header['stills']:,} stills in {len(header['shards'])} shards, "
        f"{size / 1e6:,.0f} MB, in {out}\nuse them with dataset = {cfg.dataset!r}, root = {str(out.resolve())!r}"
    )
