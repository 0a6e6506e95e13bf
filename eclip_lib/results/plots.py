"""The figures of a results section: few-shot curves, gains as dots with intervals, a heat map of the ablation grid.

rows of a ledger, or what `comparisons` makes of them → a matplotlib `Figure`, returned and never shown.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from eclip_lib.config import METHOD_NAMES
from eclip_lib.evaluation import mean_sd
from eclip_lib.figure import BLUE, GRAY, SERIES, Picture, styled
from eclip_lib.ledger import as_table, label, label_name

MARKERS = "osD^vPX*"  # one more than colors, so that both together do not repeat
MOST = 20  # points; larger gains are drawn in the last color of the heat map
TALLEST = 7.6  # inches of a heat map's cells
DODGE = 0.06  # between the lines at one tick, of the distance between ticks


@styled
def few_shot_curves(rows: pd.DataFrame, metric: str = "top1") -> Picture:
    """Draw accuracy by the number of training recordings a class: a line a method, a panel a data set.

    Lines are means, bars one standard deviation over seeds and folds, a little apart so that none hides another. The
    ticks are equally far apart; after a dotted stretch comes training on all recordings, which has no number.

    Args:
        rows: of a ledger, of the protocols zero-shot, few-shot and fine-tune; others are left out.
        metric: a fraction in [0, 1], drawn in percent.

    Raises:
        ValueError: no row has a place in the figure.
    """
    rows = as_table(rows)
    rows = rows[rows.protocol.isin(("zero-shot", "few-shot", "fine-tune"))].dropna(subset=[metric])
    if rows.empty:
        raise ValueError("no row of the protocols zero-shot, few-shot and fine-tune has " + metric)
    rows = rows.assign(label=[label(row) for _, row in rows.iterrows()], tick=[*map(_tick, rows.protocol, rows.shots)])
    panels = list(rows.groupby(["dataset", "simulated"], sort=True))
    figure = Picture(figsize=(6.4 * len(panels) ** 0.5, 3.8), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    names = sorted(rows.label.unique(), key=_place)
    for axis, ((dataset, simulated), part) in zip(axes, panels, strict=True):
        _curves(axis, part, names, metric)
        axis.set(title=f"{dataset} ({'simulated' if simulated else 'real'} recordings)", xlabel="recordings a class")
    axes[0].set_ylabel(f"{metric.replace('top', 'top-')} accuracy (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle("Accuracy by number of training recordings: mean ± standard deviation")
    return figure


def _place(name: str) -> tuple[int, str]:
    """Return where a label stands in a legend, so that its color is the same whatever the other lines are worth."""
    methods = list(METHOD_NAMES)
    method = name.partition(" ")[0]
    return (methods.index(method) if method in methods else len(methods), name)


def _tick(protocol: str, shots: float) -> float:
    """Return where on the axis a run stands: its shots, 0 without training, infinity with all recordings."""
    return {"zero-shot": 0.0, "fine-tune": np.inf}.get(protocol, shots)


def _curves(axis: Axes, rows: pd.DataFrame, names: list[str], metric: str) -> None:
    """Draw a line for each name that has rows, in its color, whatever other panels hold."""
    ticks = sorted(rows.tick.unique())
    for place, name in enumerate(names):
        groups = rows[rows.label == name].groupby("tick")[metric]
        line = [(ticks.index(tick), *mean_sd((100 * values).tolist())[:2]) for tick, values in groups]
        if not line:
            continue
        x, mean, sd = np.array(line).T
        x = x + DODGE * (place - (len(names) - 1) / 2)
        color, marker = SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]
        numbered = int(groups.ngroups - (np.inf in groups.groups))  # all but the last, if that is "all"
        axis.plot(x[max(0, numbered - 1) :], mean[max(0, numbered - 1) :], ":", color=color, linewidth=1.2)
        axis.plot(x[:numbered], mean[:numbered], "-", color=color, linewidth=1.2)
        axis.errorbar(x, mean, yerr=np.nan_to_num(sd), fmt="none", ecolor=color, capsize=2, linewidth=1)
        axis.plot(x, mean, linestyle="none", label=label_name(name), color=color, marker=marker, markersize=4.5)
    axis.set_xticks(range(len(ticks)), [{0: "zero-shot", np.inf: "all"}.get(tick, f"{tick:g}") for tick in ticks])
    axis.set(ylim=(0, 100), xlim=(-0.5, max(len(ticks), 4) - 0.5))
    axis.grid(axis="y", color="#DDDDDD", linewidth=0.6)


@styled
def gain_dots(table: pd.DataFrame, reference: str, title: str = "Gain of each variant") -> Picture:
    """Draw gains as dots with intervals, a panel for each data set and setting, one line a label.

    A thick line is the interval of one comparison, a thin one that corrected for the family; a filled dot is a gain
    whose corrected interval excludes zero.

    Args:
        table: of `comparisons.holm`; rows without a gain are left out.
        reference: what the gains are to.
        title: heads the figure.

    Raises:
        ValueError: no row has a gain.
    """
    table = _with_gain(table)
    panels = list(table.groupby(["data", "setting"], sort=False))
    sizes = [len(part) + 0.8 for _, part in panels]
    figure = Picture(figsize=(6.8, 0.21 * sum(sizes) + 0.5 * len(panels) + 0.9), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=sizes)[:, 0]
    for axis, ((data, setting), part) in zip(axes, panels, strict=True):
        _gains(axis, part.reset_index(drop=True))
        axis.set_title(f"{data}, {_tested(setting)}", loc="left")
    axes[-1].set_xlabel(f"gain over {label_name(reference)}, top-1 (points)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(title)
    return figure


@styled
def gain_map(table: pd.DataFrame, reference: str, title: str = "The grid of variants") -> Picture:
    """Draw gains as a heat map: a row a label, a column a data set and setting; a star where `mark` is set.

    Args:
        table: of `comparisons.holm`; rows without a gain are left out.
        reference: what the gains are to.
        title: heads the figure.

    Raises:
        ValueError: no row has a gain.
    """
    table = _with_gain(table)
    table = table.assign(
        place=table.data.str.replace(" ", "\n") + "\n" + table.setting.map(_tested).str.replace(", ", ",\n")
    )
    labels, places = list(dict.fromkeys(table.label)), list(dict.fromkeys(table.place))
    gains = 100 * table.pivot(index="label", columns="place", values="gain").loc[labels, places].to_numpy()
    marks = table.pivot(index="label", columns="place", values="mark").loc[labels, places].fillna(False).to_numpy(bool)
    height = min(0.26, TALLEST / len(labels))
    figure = Picture(figsize=(3.2 + 1.3 * len(places), height * len(labels) + 2.0), layout="constrained")
    axis, bar = figure.subplots(1, 2, width_ratios=(22, 1))
    size = min(9, 46 * height)
    limit = min(MOST, np.nanmax(np.abs(gains)))
    drawn = axis.imshow(np.ma.masked_invalid(gains), cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    for row, column in np.argwhere(~np.isnan(gains)):
        dark = abs(gains[row, column]) > 0.6 * limit
        text = f"{gains[row, column]:+.1f}" + (" *" if marks[row, column] else "")
        axis.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=size)
    axis.set_xticks(range(len(places)), places)
    axis.set_xlabel("*: corrected interval excludes zero")
    axis.set_yticks(range(len(labels)), map(label_name, labels), fontsize=size)
    axis.spines[:].set_visible(False)
    extend = "both" if np.nanmax(np.abs(gains)) > limit else "neither"
    figure.colorbar(drawn, cax=bar, extend=extend, label=f"gain over {label_name(reference)}\ntop-1 (points)")
    figure.suptitle(title)
    return figure


def _tested(setting: str) -> str:
    """Say in a setting which recordings count, where that is not all that were tested."""
    return setting.replace("base-to-new", "base-to-new, new classes")


def _with_gain(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are compared to something.

    Raises:
        ValueError: there is none.
    """
    table = table[table.gain.notna()]
    if table.empty:
        raise ValueError("no row has a gain: the reference has no seed or fold in common with any other label")
    return table


def _gains(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw the gains of one panel, the first on top."""
    for y, row in rows.iterrows():
        corrected, single = 100 * np.array([row.low_holm, row.high_holm]), 100 * np.array([row.low, row.high])
        named = y == 0  # one entry each in the legend
        axis.plot(corrected, [y, y], color=BLUE, linewidth=0.9, label="corrected for the family" if named else None)
        axis.plot(single, [y, y], color=BLUE, linewidth=2.6, label="interval of one comparison" if named else None)
        axis.plot(100 * row.gain, y, "o", color=BLUE, mfc=BLUE if row.mark else "white", markersize=5.5)
    axis.plot([], [], "o", color=BLUE, label="corrected interval excludes zero")
    axis.plot([], [], "o", color=BLUE, mfc="white", label="it does not")
    axis.axvline(0, color=GRAY, linestyle="--", linewidth=1)
    axis.set_yticks(range(len(rows)), map(label_name, rows.label))
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="x", color="#DDDDDD", linewidth=0.6)
