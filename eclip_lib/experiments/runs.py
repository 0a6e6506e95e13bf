"""Runs from data to ledger: `run(cfg)`, or several behind one progress bar."""

from collections.abc import Iterable
from pathlib import Path

from tqdm.auto import tqdm

from eclip_lib.config import Run
from eclip_lib.experiments.experiment import Experiment, run_id
from eclip_lib.ledger import LEDGER
from eclip_lib.training import checked_run_folder, logged


def run_all(runs: Iterable[Run], ledger: Path = LEDGER) -> list[dict]:
    """Do several runs behind one progress bar and return their rows."""
    return [run(cfg, ledger) for cfg in tqdm(list(runs), desc="runs")]


def run(
    cfg: Run, ledger: Path = LEDGER, resume: bool | str | Path = True, tensorboard: str | Path | None = None
) -> dict:
    """Do one run from data to ledger and return its row.

    The states of its training lie in `checkpoints/<run id>` beside the ledger: the last one, and where epochs are
    compared the best one. A run that was interrupted goes on from the last; one that was finished starts anew.

    Args:
        cfg: the run.
        ledger: gets the row.
        resume: False starts anew in any case. A folder is taken instead of the one beside the ledger; it must be of
            this run alone, and with several processes one that all of them see.
        tensorboard: folder for logs that TensorBoard shows; needs the extra `tensorboard`.

    Raises:
        ValueError, FileNotFoundError: something about the config or the data is wrong; nothing was written.
        FloatingPointError: the loss is not finite; the message names the recordings, and the last good state is kept.
    """
    beside = (ledger := Path(ledger)).parent / "checkpoints" / run_id(cfg)
    folder = checked_run_folder(beside if isinstance(resume, bool) else Path(resume))
    experiment = Experiment(cfg)
    trains = experiment.model is not None and len(experiment.split.train) > 0
    keeper = experiment.keeper(folder, resume is not False) if trains else None
    try:
        records = experiment.fit(watch=False, keeper=keeper)
        shown = {"desc": run_id(cfg), "total": cfg.train.epochs, "leave": False, "delay": 5}
        for _ in tqdm(
            logged(records, tensorboard), disable=not experiment.fabric.is_global_zero or not trains, **shown
        ):
            pass
        row = experiment.write(experiment.evaluate(), ledger)
        if keeper:
            keeper.finish({name: row[name] for name in ("run_id", "dataset", "metrics", "provenance")})
    finally:
        if keeper:
            keeper.close()
    return row
