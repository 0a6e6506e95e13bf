"""The rows of a ledger that can be compared, and why the others cannot."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pandas as pd

from eclip_lib.config import LossConfig, Run, TrainConfig
from eclip_lib.evaluation import read_predictions
from eclip_lib.experiments import override
from eclip_lib.experiments.batch import ALL, EXPERIMENT, FULL
from eclip_lib.ledger import compared_top1, read_results

PLACE = ["data", "setting"]
NEEDED = ("run_id", "method", "dataset", "simulated", "protocol", "shots", "seed")
ADDED = {
    **dict.fromkeys(("fold", "variant", "recipe", "losses", "predictions", "config"), None),
    "backbone": "",
    "smoke": False,
    "experiment": "",
}
SAME = [
    "dataset",
    "protocol",
    "shots",
    "method",
    "recipe",
    "variant",
    "seed",
    "fold",
]  # what a table tells runs apart by
PAIRED = ["dataset", "method", "seed", "fold"]
ELSEWHERE = ("zero-shot", "base-to-new")  # protocols that claims compare to training on all classes


def ledger_rows(ledger: Path | str, experiment: str) -> pd.DataFrame:
    """Return the rows of one experiment of a ledger that can be compared, so without smoke runs.

    Of a run done twice, the later row counts; so it does where two runs differ in nothing that a table tells (in their
    epochs or backbone, say). Rows of an ablation's variants that change another base than the full model's rows have
    are left out. Columns that an older version did not write are filled in. A warning tells of all these, and of rows
    without an accuracy. The table may be empty.

    Raises:
        FileNotFoundError: there is no ledger.
        ValueError: the ledger lacks a column that no default can stand for.
    """
    rows = read_results(ledger)
    rows = rows.assign(top1=compared_top1(rows).astype(float))
    if rows.empty:
        return rows
    if missing := [name for name in NEEDED if name not in rows]:
        raise ValueError(
            f"{ledger}: its rows have no {', '.join(missing)}; they are of another version, or of another program"
        )
    if absent := [name for name in ADDED if name not in rows]:
        warnings.warn(f"{ledger} is of an older version: {', '.join(absent)} filled in", stacklevel=2)
        rows = rows.assign(**{name: ADDED[name] for name in absent})
    rows = rows[(rows.experiment == experiment) & ~rows.smoke.fillna(False).astype(bool)]
    rows = rows.drop_duplicates("run_id", keep="last")
    if empty := int(rows.top1.isna().sum()):
        warnings.warn(f"{ledger}: {empty} rows have no top-1 accuracy and are left out", stacklevel=2)
    rows = rows.dropna(subset=["top1"])
    same = [name for name in SAME if name != "recipe" or experiment != EXPERIMENT]  # there the variant tells the recipe
    if (again := rows.duplicated(same, keep="last")).any():
        first = rows[again].iloc[0]
        warnings.warn(
            f"{ledger}: {again.sum()} rows are left out for later ones of the same variant, setting and seed by other "
            f"settings, the first: {first.run_id}; a ledger of its own for each keeps them apart",
            stacklevel=2,
        )
    rows = rows[~again]
    return _of_one_base(rows, ledger) if experiment == EXPERIMENT else rows


def _of_one_base(rows: pd.DataFrame, ledger: Path | str) -> pd.DataFrame:
    """Return the rows whose config is what their variant makes of the full model's, of the same setting and seed.

    Variants of the presets are checked; what one's own change, no row tells. Rows of the protocols zero-shot and
    base-to-new, which claims compare to trained ones, have to be of the same base as these.
    """
    places = rows[PAIRED].astype(object).fillna("").apply(tuple, axis=1)
    settings = list(zip(places, rows.protocol, rows.shots.fillna(0), strict=True))
    bases = {key: row for key, row in zip(settings, rows.itertuples(), strict=True) if row.variant == FULL}
    astray = {key for key in bases if key[1] in ELSEWHERE and _stands_alone(key, bases)}
    other = [
        key in astray or (key in bases and _changes_another(row, bases[key]))
        for key, row in zip(settings, rows.itertuples(), strict=True)
    ]
    if any(other):
        first = rows[other].iloc[0]
        warnings.warn(
            f"{ledger}: {sum(other)} rows are left out since their variants change another base than the later runs "
            f"of {FULL!r}, the first: {first.run_id} ({first.variant}); do them again with the same base, or give each "
            "base a ledger of its own",
            stacklevel=3,
        )
    return rows[[not one for one in other]]


class _LedgerRow(Protocol):
    """What is asked of a row of the ledger, as `itertuples` gives it."""

    variant: str
    config: dict


def _changes_another(row: _LedgerRow, base: _LedgerRow) -> bool:
    """Tell whether a variant's row is of another base; False where it cannot be told."""
    changes = ALL.get(row.variant)
    try:
        if changes is None or not (row.config and base.config):
            return False
        run, full = (_elsewhere(Run.from_dict(one.config)) for one in (row, base))
        return run != replace(override(full, changes), variant=row.variant)
    except (AttributeError, TypeError, ValueError):  # a config of an older version, or none
        return False


def _stands_alone(key: tuple, bases: dict[tuple, _LedgerRow]) -> bool:
    """Tell whether a full model of another protocol is of another base than every trained one; False if unknown."""
    trained = [row for other, row in bases.items() if other[0] == key[0] and other[1] not in ELSEWHERE]
    try:
        mine, *others = (_elsewhere(Run.from_dict(one.config)) for one in (bases[key], *trained))
        return bool(others) and all(_unsplit(mine, key[1]) != _unsplit(one, key[1]) for one in others)
    except (AttributeError, TypeError, ValueError):
        return False


def _unsplit(run: Run, protocol: str) -> Run:
    """Return a run without its protocol, and without what does nothing under zero-shot."""
    run = replace(run, data=replace(run.data, protocol="zero-shot", shots=None))
    return replace(run, train=TrainConfig(), loss=LossConfig(run.loss.recipe)) if protocol == "zero-shot" else run


def _elsewhere(run: Run) -> Run:
    """Return a run without what may differ between two machines: folders, device, workers."""
    splits = run.data.splits and "official"
    data = replace(run.data, root=None, target_root=None, splits=splits, stills=None)
    model = replace(run.model, pretrained=run.model.pretrained and Path(run.model.pretrained).name)
    return replace(run, data=data, model=model, train=replace(run.train, device="cpu", workers=0))


def with_predictions(rows: pd.DataFrame, ledger: Path | str) -> pd.DataFrame:
    """Return the rows whose files of predictions can be read; a warning names the others."""
    problems = {}
    for row in rows.itertuples():
        try:
            read_predictions(Path(ledger).parent / row.predictions)
        except (FileNotFoundError, ValueError, TypeError) as error:  # the last where a row names no file
            problems[row.run_id] = str(error)
    if problems:
        first = next(iter(problems.items()))
        warnings.warn(
            f"{len(problems)} of {len(rows)} runs are in no gain, since their predictions cannot be read, the first: "
            f"{first[0]}: {first[1]}",
            stacklevel=2,
        )
    return rows[~rows.run_id.isin(problems)]
