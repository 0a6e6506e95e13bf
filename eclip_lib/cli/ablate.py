"""`eclip ablate …`: a batch of ablations from the command line.

Heavy parts are imported inside the command, so that `--help` and mistakes answer at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from eclip_lib.config import TINY, Dataset
from eclip_lib.paths import ROOT, RUNS

if TYPE_CHECKING:
    from eclip_lib.experiments.batch import Grid, Outcome, Size


@click.command("ablate")
@click.option(
    "--preset", "names", multiple=True, help="htca, recipes, prompts, temporal, input, all, claims; repeatable."
)
@click.option("--grid", "grid_file", type=click.Path(path_type=Path), help="Variants of one's own, in TOML or JSON.")
@click.option("--dataset", type=click.Choice(get_args(Dataset)), default="icons100", show_default=True)
@click.option("--root", help="Folder of the recordings, or of their shards.")
@click.option("--backbone", default=TINY, show_default=True)
@click.option("--pretrained", help="Weights of the backbone: a tag of open_clip, or a local file.")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="How many, from 0 on.")
@click.option("--size", type=click.Choice(["smoke", "full"]), default="full", show_default=True)
@click.option("--workers", type=click.IntRange(1), help="Cells at a time.  [default: one a GPU, or one a core]")
@click.option("--scheduler", metavar="ADDRESS", help="Use the workers of a running Dask scheduler.")
@click.option("--cluster", type=click.Choice(["slurm"]), help="Use jobs of a cluster, as many as --workers.")
@click.option("--job", type=(str, str), multiple=True, metavar="NAME VALUE", help="Of a job: queue, cpus, gpus, ...")
@click.option("--dry-run", is_flag=True, help="Show the plan and how long it takes, and run nothing.")
@click.option("--fresh", is_flag=True, help="Do cells again whose row was made by other sources of this version.")
@click.option(
    "--ledger", type=click.Path(path_type=Path, dir_okay=False), help="[default: the project's runs/results.jsonl]"
)
def ablate_command(
    names: tuple[str, ...], grid_file: Path | None, seeds: int, size: "Size", ledger: Path | None, **given: Any
) -> None:
    """Train each variant of one base with each seed: notebook 04 as tasks of Dask, a row each in the ledger.

    The same call goes on where an earlier one ended: cells whose row is there are not done again.

    Example: eclip ablate --preset htca --seeds 5 --workers 2
    """
    from eclip_lib.experiments import batch
    from eclip_lib.ledger import LEDGER

    job = _job(given)
    grid = _grid(names, grid_file, seeds, given)
    cells = batch.make_cells(grid, ledger or LEDGER, size)
    there, todo = batch.split_done(cells)
    again = batch.other_sources(there) if given["fresh"] else []
    if given["dry_run"]:
        elsewhere = job is not None or given["scheduler"] is not None
        count = given["workers"] or (1 if elsewhere else batch.default_workers(batch.count_gpus()))
        click.echo(_plan(grid, cells, todo + [one.cell for one in again], count, job))
        return
    try:
        with batch.open_workers(given["workers"], given["scheduler"], job) as workers:
            click.echo(f"dashboard: {workers.client.dashboard_link}\nnotebooks: {RUNS / 'notebooks'}", err=True)
            if again:
                batch.prepare([one.cell for one in again])  # what is wrong with the data is told before a row moves
                batch.set_aside(again)
            outcomes = batch.run_batch(cells, workers, _tell)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; rows of finished cells are kept, the same call goes on from there") from None
    click.echo(batch.summary(outcomes))
    if failed := sum(one.status == "failed" for one in outcomes):
        raise click.ClickException(f"{failed} of {len(outcomes)} cells failed; the others are in {cells[0].ledger}")


def _job(given: dict) -> dict[str, str] | None:
    """Return the options of a cluster's jobs, None for a batch that is on none.

    Raises:
        click.UsageError: options contradict each other.
    """
    if given["scheduler"] and (given["cluster"] or given["workers"]):
        raise click.UsageError("--scheduler has workers of its own; leave out --cluster and --workers")
    if given["job"] and not given["cluster"]:
        raise click.UsageError("--job is for jobs of a cluster; add --cluster slurm")
    return dict(given["job"]) if given["cluster"] else None


def _grid(names: tuple[str, ...], grid_file: Path | None, seeds: int, given: dict) -> "Grid":
    """Return what is to do.

    Raises:
        click.UsageError: nothing is asked for.
        ValueError: a preset, a field or a value is not right.
    """
    from eclip_lib.experiments import batch

    if not names and grid_file is None:
        raise click.UsageError(f"give --preset ({', '.join(batch.PRESETS)}) or --grid FILE")
    changes, own = batch.read_grid(grid_file) if grid_file else ({}, {})
    root = _findable(given["root"], elsewhere=bool(given["scheduler"] or given["cluster"]))
    base = batch.ablation_base(given["dataset"], root, given["backbone"], given["pretrained"])
    return batch.plan_grid(batch.change_base(base, changes), names, own, range(seeds))


def _findable(root: str | None, elsewhere: bool) -> str | None:
    """Return a folder so that workers find it; those that start elsewhere need the whole path."""
    if root is None or not elsewhere or (ROOT / root).exists():
        return root
    return str(Path(root).expanduser().resolve())


def _plan(grid: "Grid", cells: list, todo: list, workers: int, job: dict | None) -> str:
    """Show variants with their changes, what is there already, and how long the rest takes."""
    from eclip_lib.experiments import batch
    from eclip_lib.results import markdown

    seconds, source = batch.cell_seconds(cells)
    minutes = seconds * len(todo) / min(workers, max(1, len(todo))) / 60
    text = [markdown(batch.plan_table(grid, cells, todo))]
    text += [f"left out: {name!r} is the same as {other!r}" for name, other in grid.left_out.items()]
    text.append(
        f"{len(todo)} of {len(cells)} cells to do, about {minutes:.0f} min with {workers} worker" + "s" * (workers > 1)
    )
    text.append(f"({seconds:.0f} s a cell: {source})")
    if job is not None:
        with batch.slurm_cluster(job) as cluster:
            text.append(f"a job:\n{cluster.job_script()}")
    return "\n".join(text)


def _tell(outcome: "Outcome") -> None:
    """Show a failure at once, above the progress bar."""
    from tqdm.auto import tqdm

    if outcome.status == "failed":
        tqdm.write(f"failed: {outcome.cell}: {outcome.error.splitlines()[0]}")
