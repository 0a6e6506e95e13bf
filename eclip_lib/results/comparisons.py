"""How far runs are apart: paired differences with their uncertainty, corrected for how many there are.

rows of a ledger and their predictions -> a table of effects, one a label and setting.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eclip_lib.evaluation import bootstrap_draws, correct_pair, mean_sd
from eclip_lib.ledger import as_table, compared_top1, label, label_name, percent, setting

DRAWS = 10_000  # the smallest p is 1 in 5,000, small enough for families of a hundred
POWER_Z = 0.8416  # of the normal distribution, for a power of 80 %
SETTING = ["dataset", "simulated", "protocol", "shots"]


def effects(
    rows: pd.DataFrame | Sequence[dict], reference: str, ledger: Path | str, level: float = 0.95
) -> pd.DataFrame:
    """Return by how much each label's top-1 accuracy differs from that of a reference, in each setting.

    Of runs by base-to-new the accuracy is that on new classes.

    Args:
        rows: of a ledger; of a run done twice, the later row counts.
        reference: the label that the others are compared to.
        ledger: the file of the rows; the files of predictions lie where the rows say, beside it.
        level: of the intervals.

    Returns:
        A row for each label of each setting (data set, protocol, shots), in the order of the rows. All figures are
        fractions: `mean`, `sd`, `n` over seeds and folds; `gain`, the mean difference to the reference over the
        `repeats` (seeds and folds) that both have, and its interval `low` to `high`, standard error `se` and two-sided
        `p` of the bootstrap over repeats and test `recordings` together; `draws` of it. They are nan, and `draws`
        None, for the reference itself and where no repeat is common.

    Raises:
        FileNotFoundError, ValueError: see `correct_pair`.
    """
    rows = as_table(rows)
    rows = rows.assign(
        top1=compared_top1(rows),
        label=[label(row) for _, row in rows.iterrows()],
    )
    lines = []
    for (dataset, simulated, protocol, shots), group in rows.groupby(SETTING, dropna=False, sort=False):
        place = {"data": f"{dataset} ({'simulated' if simulated else 'real'})", "setting": setting(protocol, shots)}
        theirs = group[group.label == reference]
        for name, ours in group.groupby("label", sort=False):
            mean, sd, n = mean_sd(ours.top1.tolist())
            found = {} if name == reference else paired_effect(ours, theirs, ledger, level)
            lines.append(place | {"label": name, "mean": mean, "sd": sd, "n": n} | (found or dict.fromkeys(EMPTY)))
    table = pd.DataFrame(lines, columns=["data", "setting", "label", "mean", "sd", "n", *EMPTY])
    numbers = ["gain", "low", "high", "se", "p"]
    return table.astype(dict.fromkeys(numbers, float) | dict.fromkeys(("repeats", "recordings"), "Int64"))


EMPTY = ("gain", "low", "high", "se", "p", "repeats", "recordings", "draws")


def paired_effect(ours: pd.DataFrame, theirs: pd.DataFrame, ledger: Path | str, level: float = 0.95) -> dict:
    """Return the difference of two sets of runs, paired by seed and fold, as `effects` describes it.

    The single run of plain CLIP, which has no seeds, stands against each of the other's. Empty where there is no pair.
    """
    pairs = [correct_pair(mine, other, Path(ledger)) for mine, other in _pairs(ours, theirs)]
    if not pairs:
        return {}
    own, other, ids = ([pair[k] for pair in pairs] for k in range(3))
    gain, draws = bootstrap_draws(own, other, ids, draws=DRAWS)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    seen = len(set().union(*(pair[2].tolist() for pair in pairs)))
    spread = {"gain": gain, "low": low, "high": high, "se": draws.std(ddof=1), "p": two_sided_p(draws)}
    return spread | {"repeats": len(pairs), "recordings": seen, "draws": draws}


def _pairs(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[tuple[pd.Series, pd.Series]]:
    """Match the rows of two sets of runs by seed and fold."""
    sides = []
    for rows in (ours, theirs):
        keys = zip(rows.seed, rows.fold.fillna(-1), strict=True)
        sides.append({key: row for key, (_, row) in zip(keys, rows.iterrows(), strict=True)})
    mine, others = sides
    if len(others) == 1 and theirs.fold.isna().all() and theirs.method.eq("clip-zero-shot").all():
        return [(row, *others.values()) for row in mine.values()]
    return [(row, others[key]) for key, row in mine.items() if key in others]


def accuracy_grid(effects: pd.DataFrame) -> pd.DataFrame:
    """Return a table of accuracies, a row a setting and a column a label: percent, mean ± sd over seeds and folds."""
    cells = [percent(*cell) for cell in zip(effects["mean"], effects.sd, effects.n, strict=True)]
    return _grid(effects.assign(cell=cells))


def lead_grid(effects: pd.DataFrame) -> pd.DataFrame:
    """Return a table of the points by which the reference is ahead, a row a setting and a column a label."""
    found = effects.dropna(subset=["gain"])
    cells = [
        f"{-100 * gain:+.1f} ({-100 * high:+.1f} to {-100 * low:+.1f})"
        for gain, low, high in zip(found.gain, found.low, found.high, strict=True)
    ]
    return _grid(found.assign(cell=cells))


def _grid(table: pd.DataFrame) -> pd.DataFrame:
    table = table.assign(name=table.label.map(label_name))
    rows, columns = table[["data", "setting"]].drop_duplicates(), table.name.unique()
    grid = table.pivot(index=["data", "setting"], columns="name", values="cell")
    return grid.loc[list(map(tuple, rows.values)), columns].fillna("-").reset_index().rename_axis(columns=None)


def two_sided_p(draws: np.ndarray) -> float:
    """Return twice the share of draws on the rarer side of zero, zeros on both; at least 2 in the number of draws."""
    rarer = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(1.0, 2 * (1 + rarer) / (1 + len(draws))))


def holm(effects: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Correct a family of effects for their number, so that the chance of one false mark is at most 1 - level.

    Args:
        effects: rows of `effects`; those without a gain are no members.
        level: of the family.

    Returns:
        The rows with `p_holm`; `low_holm` and `high_holm`, the interval at the level that Holm's step-down gives the
        row; `mark`, whether both say that the effect is not zero; and `detectable`, the smallest effect that the design
        finds with a chance of 80 % at the strictest level of the family.

    Source: Holm 1979. Intervals at the level of the row's own step are our choice: they tell what `mark` tells.
    """
    table = effects.reset_index(drop=True)
    members = table.index[table.gain.notna()]
    ordered = table.loc[members, "p"].sort_values(kind="stable").index
    strictest = (1 - level) / max(1, len(ordered))
    corrected, highest, open_ = {}, 0.0, True
    for place, index in enumerate(ordered):
        row, left = table.loc[index], len(ordered) - place
        highest = max(highest, min(1.0, left * row.p))
        alpha = (1 - level) / left
        low, high = np.quantile(row.draws, [alpha / 2, 1 - alpha / 2])
        open_ = open_ and highest < 1 - level and (low > 0 or high < 0)
        detectable = (normal_quantile(1 - strictest / 2) + POWER_Z) * row.se
        corrected[index] = {
            "p_holm": highest,
            "low_holm": low,
            "high_holm": high,
            "mark": open_,
            "detectable": detectable,
        }
    added = pd.DataFrame.from_dict(corrected, orient="index", columns=HOLM)
    return table.join(added).astype({"mark": "boolean"})


HOLM = ["p_holm", "low_holm", "high_holm", "mark", "detectable"]


def normal_quantile(share: float) -> float:
    """Return the quantile of the standard normal distribution."""
    from scipy import stats

    return float(stats.norm.ppf(share))
