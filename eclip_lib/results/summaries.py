"""Short tables of a ledger: means, spread and paired gains over seeds and folds."""

from collections.abc import Iterator, Sequence

import pandas as pd

from eclip_lib.evaluation import mean_sd, paired_interval
from eclip_lib.ledger import as_table, method_name, percent, setting

ACCURACIES = ("top1", "top5", "base_top1", "new_top1", "harmonic_mean")  # the last three of base-to-new


def summarize(rows: pd.DataFrame | Sequence[dict], metric: str = "top1") -> pd.DataFrame:
    """Return mean, sd and n over seeds and folds of each method and protocol."""
    rows = as_table(rows)
    keys = ["dataset", "simulated", "method", "protocol", "shots"]
    groups = rows.groupby(keys, dropna=False, sort=False)[metric]
    records = []
    for names, values in groups:
        mean, sd, n = mean_sd(values.tolist())
        record = dict(zip(keys, names, strict=True))
        records.append(record | {"mean": mean, "sd": sd, "n": n, "values": values.tolist()})
    return pd.DataFrame(records)


def summary_table(rows: pd.DataFrame | Sequence[dict], classes: int, metric: str = "top1") -> pd.DataFrame:
    """Return what `plots.accuracy_dots` draws: a row a method and setting, as fractions, with chance."""
    table = summarize(rows, metric)
    table["method"] = table["method"].map(method_name)
    table["setting"] = [
        f"{data} ({'simulated' if simulated else 'real'})"
        for data, simulated in zip(table.dataset, table.simulated, strict=True)
    ]
    return table.assign(chance=1 / classes)


def markdown(table: pd.DataFrame) -> str:
    """Format a table for a terminal, a notebook and a README alike; cells stay as they are."""
    return table.to_markdown(index=False, disable_numparse=True)


def result_table(rows: pd.DataFrame | Sequence[dict], metrics: Sequence[str] = ACCURACIES) -> pd.DataFrame:
    """Return the table a reader sees: method, setting, and each metric in percent as mean ± sd over seeds or folds.

    Metrics that none of the rows has are left out.
    """
    rows, table = as_table(rows), None
    for metric in [name for name in metrics if name in rows and rows[name].notna().any()]:
        summary = summarize(rows, metric)
        cells = [percent(*cell) for cell in zip(summary["mean"], summary["sd"], summary["n"], strict=True)]
        if table is None:
            table = pd.DataFrame(
                {
                    "data": summary.dataset + summary.simulated.map({True: " (simulated)", False: " (real)"}),
                    "method": summary.method.map(method_name),
                    "setting": [setting(p, s) for p, s in zip(summary.protocol, summary.shots, strict=True)],
                }
            )
        table[f"{metric.replace('top', 'top-').replace('_', ' ')} %"] = cells
    return table


def paired_gains(rows: pd.DataFrame | Sequence[dict], metric: str = "top1") -> pd.DataFrame:
    """Return by how many points E-CLIP is ahead of each other method, paired by seed and fold.

    Returns:
        A row for each setting and rival with at least two pairs: the mean difference in points, and its 95 % t
        interval over the pairs.
    """
    lines = []
    for place, method, ours, theirs in rivals_of(as_table(rows).dropna(subset=[metric])):
        gains = _paired(ours[metric], theirs[metric])
        if len(gains) > 1:
            mean, low, high = (f"{100 * value:+.1f}" for value in paired_interval(gains))
            cells = place, method_name(method), mean, f"{low} to {high}", len(gains)
            lines.append(dict(zip(("data", "E-CLIP ahead of", "points", "95 % interval", "n"), cells, strict=True)))
    return pd.DataFrame(lines)


def rivals_of(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame, pd.DataFrame]]:
    """Yield, for each setting of E-CLIP and each other method that is comparable in it, both methods' rows.

    Comparable are the same data set, protocol and shots; and zero-shot, where it tests the same classes.

    Yields:
        the setting as tables name it, the method, E-CLIP's rows and the other's, both indexed by `(seed, fold)`.
    """
    rows = rows.assign(repeat=list(zip(rows.seed, rows.fold.fillna(-1), strict=True)))
    keys = ["dataset", "protocol", "shots"]
    for (dataset, protocol, shots), ours in rows[rows.method == "e-clip"].groupby(keys, dropna=False):
        others = rows[(rows.dataset == dataset) & (rows.method != "e-clip")]
        same = (others.shots.isna() & pd.isna(shots)) | (others.shots == shots)
        same = same & (others.protocol == protocol)
        if protocol != "base-to-new":  # there a recording has half of the classes to be taken for
            same = same | (others.protocol == "zero-shot")
        for method, theirs in others[same].groupby("method", sort=False):
            place = f"{dataset}, {setting(protocol, shots)}"
            yield place, method, ours.set_index("repeat"), theirs.set_index("repeat")


def recipe_gains(rows: pd.DataFrame | Sequence[dict], metric: str = "top1") -> pd.DataFrame:
    """Return E-CLIP's recipes `workbench` and `paper` side by side, paired by seed and fold.

    Returns:
        A row for each setting: both as mean ± sd in percent, the mean difference in points, and its 95 % t interval
        over the pairs.
    """
    rows = as_table(rows)
    rows = rows[rows.method == "e-clip"].sort_values(["dataset", "shots"], na_position="first")
    lines = []
    for (dataset, simulated, protocol, shots), group in rows.groupby(
        ["dataset", "simulated", "protocol", "shots"], dropna=False, sort=False
    ):
        pairs = group.assign(fold=group.fold.fillna(-1)).pivot(index=["seed", "fold"], columns="recipe", values=metric)
        mean, low, high = (
            f"{100 * v:+.1f}" for v in paired_interval((pairs.workbench - pairs.paper).dropna().tolist())
        )
        lines.append(
            {
                "data": f"{dataset} ({'simulated' if simulated else 'real'})",
                "setting": setting(protocol, shots),
                **{name: percent(*mean_sd(pairs[name].tolist())) for name in ("workbench", "paper")},
                "points": mean,
                "95 % interval": f"{low} to {high}",
            }
        )
    return pd.DataFrame(lines)


def _paired(ours: pd.Series, theirs: pd.Series) -> list[float]:
    """Subtract pair by pair; a method with a single run, which has no seeds, stands against each of ours."""
    return ((ours - theirs.iloc[0]) if len(theirs) == 1 else (ours - theirs).dropna()).tolist()
