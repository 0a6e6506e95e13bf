"""The tables of a results section, made of nothing but a ledger and the predictions beside it.

ledger → checked rows → effects, corrected by family → `Table`s; what is missing is told and left out.
"""

from pathlib import Path

import pandas as pd

from eclip_lib.experiments.batch import ALL, FAMILIES, FULL, PRESETS
from eclip_lib.ledger import label_name, percent
from eclip_lib.results.comparisons import accuracy_grid, effects, holm, lead_grid
from eclip_lib.results.files import Table
from eclip_lib.results.published import DATASETS, OTHERS, beside_published, setting_place
from eclip_lib.results.rows import PLACE, with_predictions

TITLES = {
    "htca": "Terms of the loss",
    "recipes": "Recipes",
    "prompts": "Prompts",
    "temporal": "Additions to the event encoder",
    "input": "Input",
    "own": "Variants",
}
DAGGER, DOUBLE_DAGGER = "\N{DAGGER}", "\N{DOUBLE DAGGER}"
INTERVALS = (
    "Gains and their 95 % intervals are paired by seed and fold and resample these and the test recordings together. "
    "*: after Holm's correction for the {n} gains of the table, p is below 0.05 and the interval excludes zero. "
    "Detectable: the smallest effect that this design finds with a chance of 80 % after the correction; a dash where "
    "not one prediction differs. Best mean in bold."
)


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
        corrected: of `comparisons.holm`, of one data set and setting.
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
