"""The tables of a results section, made of nothing but a ledger and the predictions beside it.

ledger → checked rows → effects, corrected by family → `Table`s; what is missing is told and left out.
"""

import warnings
from dataclasses import replace
from pathlib import Path

import pandas as pd

from eclip_lib.ablation_grid import ALL, EXPERIMENT, FAMILIES, FULL, PRESETS
from eclip_lib.comparisons import accuracy_grid, effects, holm, lead_grid
from eclip_lib.config import LossConfig, Run, TrainConfig
from eclip_lib.overrides import override
from eclip_lib.predictions import read_predictions
from eclip_lib.published import DATASETS, OTHERS, beside_published, setting_place
from eclip_lib.result_files import Table
from eclip_lib.results import compared_top1, label_name, percent, read_results

TITLES = {
    "htca": "Terms of the loss",
    "recipes": "Recipes",
    "prompts": "Prompts",
    "temporal": "Additions to the event encoder",
    "input": "Input",
    "own": "Variants",
}
DAGGER, DOUBLE_DAGGER = "\N{DAGGER}", "\N{DOUBLE DAGGER}"
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
INTERVALS = (
    "Gains and their 95 % intervals are paired by seed and fold and resample these and the test recordings together. "
    "*: after Holm's correction for the {n} gains of the table, p is below 0.05 and the interval excludes zero. "
    "Detectable: the smallest effect that this design finds with a chance of 80 % after the correction; a dash where "
    "not one prediction differs. Best mean in bold."
)


def ledger_rows(ledger: Path | str, experiment: str) -> pd.DataFrame:
    """Return the rows of one experiment of a ledger that can be compared; smoke runs are none.

    Of a run done twice, the later row counts; so it does where two runs differ in nothing that a table tells (in their
    epochs or backbone, say). Rows of an ablation's variants that change another base than the full model's rows have
    are left out. Columns that an older version did not write are filled in. A warning tells of all these, and of rows
    without an accuracy. There may be no such row.

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


def _changes_another(row: object, base: object) -> bool:
    """Tell whether a variant's row is of another base; False where it cannot be told."""
    changes = ALL.get(row.variant)
    try:
        if changes is None or not (row.config and base.config):
            return False
        run, full = (_elsewhere(Run.from_dict(one.config)) for one in (row, base))
        return run != replace(override(full, changes), variant=row.variant)
    except (AttributeError, TypeError, ValueError):  # a config of an older version, or none
        return False


def _stands_alone(key: tuple, bases: dict[tuple, object]) -> bool:
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


def shown_effects(rows: pd.DataFrame, reference: str, ledger: Path | str) -> pd.DataFrame:
    """Return `comparisons.effects`, with the accuracy of every run, also of those whose predictions are lost."""
    readable = with_predictions(rows, ledger)
    found = effects(readable, reference, ledger)
    if len(readable) == len(rows):
        return found
    accuracy = effects(rows, "", ledger)[[*PLACE, "label", "mean", "sd", "n"]]  # nothing to pair, so nothing is read
    return accuracy.merge(found.drop(columns=["mean", "sd", "n"]), how="left", on=[*PLACE, "label"])


def families(found: pd.DataFrame, reference: str = FULL) -> dict[str, pd.DataFrame]:
    """Return effects by family, each corrected for its own size: a preset of the grid on one data set and setting.

    Args:
        found: of `shown_effects`.
        reference: stands first in every family.

    Returns:
        Effects by the name of a family, as files are named ("htca-n-mnist-5-shot"): presets in the order of
        `FAMILIES`, then, as "own", the labels that are in no preset. A family without a gain is left out.
    """
    own = [name for name in found.label.unique() if name not in ALL and name != reference]
    members = {**{preset: list(PRESETS[preset]) for preset in FAMILIES}, "own": own}
    tables = {}
    for preset, names in members.items():
        for (data, setting), group in found.groupby(PLACE, sort=False):
            order = {name: place for place, name in enumerate([reference, *names])}
            part = group[group.label.isin(order)].sort_values("label", key=lambda column: column.map(order))
            if part.gain.notna().any():
                tables[f"{preset}-{data.split(' ')[0]}-{setting.replace(', ', '-')}"] = holm(part)
    return tables


def each_once(parts: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the effects of `families` as one table, each as the first family that has it corrects it."""
    return pd.concat(parts.values()).drop_duplicates([*PLACE, "label"])


def gain_table(corrected: pd.DataFrame, name: str, reference: str = FULL) -> Table:
    """Return the table of a family: accuracy, gain over the reference, intervals, the mark, what was detectable.

    Args:
        corrected: of `holm`, of one data set and setting.
        name: of the family, and of the files.
        reference: what the gains are to.
    """
    gains = [gain for gain in corrected.gain if pd.notna(gain)]
    cells = pd.DataFrame(
        {
            "variant": corrected.label.map(label_name),
            "top-1 %": list(map(percent, corrected["mean"], corrected.sd, corrected.n)),
            f"gain over {label_name(reference)}, points": list(map(_gain, corrected.gain, corrected.mark)),
            "95 % interval": list(map(_interval, corrected.low, corrected.high)),
            "corrected interval": list(map(_interval, corrected.low_holm, corrected.high_holm)),
            "p, corrected": ["-" if pd.isna(p) else f"{p:.3f}" if p >= 0.001 else "<0.001" for p in corrected.p_holm],
            "detectable, points": [f"{100 * d:.1f}" if d > 0 else "-" for d in corrected.detectable],
        }
    )
    bold = cells.map(lambda _: False)
    bold.loc[(corrected["mean"] == corrected["mean"].max()).to_numpy(), ["variant", "top-1 %"]] = True
    place = f"{corrected.data.iloc[0]}, {corrected.setting.iloc[0]}"
    told = "Accuracies are those on new classes. " if "base-to-new" in place else ""
    caption = f"{TITLES[name.split('-')[0]]}: {place}. {told}{INTERVALS.format(n=len(gains))}"
    return Table(name, caption, cells, bold, corrected.drop(columns="draws"))


def _gain(gain: float, mark: bool) -> str:
    return "-" if pd.isna(gain) else f"{100 * gain:+.1f}" + (" *" if pd.notna(mark) and mark else "")


def _interval(low: float, high: float) -> str:
    return "-" if pd.isna(low) else f"{100 * low:+.1f} to {100 * high:+.1f}"


def method_tables(found: pd.DataFrame, name: str, title: str, reference: str) -> list[Table]:
    """Return two tables with a row a setting and a column a method: accuracies, and the leads of the reference.

    Args:
        found: of `shown_effects`.
        name: of the files; the second has `-leads` behind it.
        title: begins the captions.
        reference: the label whose leads are shown.
    """
    cells, numbers = accuracy_grid(found), found.drop(columns="draws")
    means = numbers.assign(label=numbers.label.map(label_name)).pivot(index=PLACE, columns="label", values="mean")
    best = means.loc[[tuple(place) for place in cells[PLACE].values]].reindex(columns=cells.columns)
    bold = best.eq(best.max(axis=1), axis=0).set_axis(cells.index)
    caption = f"{title}: top-1 accuracy in percent, mean ± standard deviation over seeds and folds (n). Best in bold."
    leads = lead_grid(found)
    told = (
        f"{title}: points of top-1 accuracy by which {label_name(reference)} is ahead, with the 95 % interval over "
        "seeds, folds and test recordings together."
    )
    return [
        Table(name, caption, cells, bold, numbers),
        Table(f"{name}-leads", told, leads, leads.map(lambda _: False), numbers),
    ]


def published_table(rows: pd.DataFrame, numbers: pd.DataFrame, dataset: str) -> Table:
    """Return our accuracies on a data set of real recordings, and the published ones below them, a row a method.

    Published rows say so, and name paper, version and backbone. Settings that we have not, numbers of a paper's own
    ablations, and what speaks against a number, are in the CSV file only.

    Raises:
        ValueError: see `published.beside_published`.
    """
    lines = beside_published(rows, numbers, dataset)
    shown = lines[(lines.variant == "") & lines.setting.map(setting_place).lt(OTHERS)]
    marks = shown.digitized.map({"yes": DAGGER, "no": ""}) + shown.derived.map({"yes": DOUBLE_DAGGER, "no": ""})
    shown = shown.assign(cell=shown.cell + marks)
    names = ["origin", "method", "backbone"]
    grid = shown.pivot_table(
        index=names, columns="setting", values="cell", aggfunc=" / ".join, fill_value="-", sort=False
    )
    cells = grid[sorted(grid.columns, key=setting_place)].reset_index().rename_axis(columns=None)
    sources = "; ".join(dict.fromkeys(shown[shown.origin == "published"].source))
    caption = (
        f"{DATASETS[dataset]}, real recordings, top-1 in percent: ours, and numbers as published. They are no contest: "
        "backbones, their pre-training, splits and numbers of test recordings differ. "
        f"{DAGGER}: read off a plot. {DOUBLE_DAGGER}: computed from two published numbers. Published in: {sources}."
    )
    return Table(f"published-{dataset}", caption, cells, cells.map(lambda _: False), lines)
