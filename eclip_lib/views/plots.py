"""The figures of training and results.

plain arrays and tables → a matplotlib `Figure`, returned and never shown: notebooks, reports and widgets share it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eclip_lib.figure import BLUE, GRAY, ORANGE, SERIES, SKY, Picture, outline, plain_log, styled, to_image

CHECK, CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"


@styled
def learning_curves(histories: Sequence[pd.DataFrame | Sequence[dict] | dict], labels: Sequence[str]) -> Figure:
    """Draw training loss and validation accuracy by epoch, for one run or several.

    Args:
        histories: of each run a table, or what makes one, with the columns epoch, loss and, of runs whose validation
            part is watched, val_top1 (in [0, 1]).
        labels: of each run its name in the legend.
    """
    figure, (loss, accuracy) = _two_panels("Learning curves", "epoch")
    tables = [pd.DataFrame(history) for history in histories]
    for history, label, color in zip(tables, labels, _colors(len(labels)), strict=True):
        for axis, name, scale in ((loss, "loss", 1), (accuracy, "val_top1", 100)):
            values = scale * history.get(name, pd.Series(float("nan"), history.index))
            axis.plot(history["epoch"], values, color=color, marker="o", markersize=3, label=label)
    loss.set(title="Training loss", ylabel="loss (nats)")
    accuracy.set(title="Validation accuracy", ylabel="top-1 (%)", ylim=(0, None))
    accuracy.legend(loc="best")
    if not any("val_top1" in history for history in tables):
        accuracy.set(xticks=[], yticks=[])
        accuracy.text(0.5, 0.5, "not watched", transform=accuracy.transAxes, ha="center", va="center")
    return figure


@styled
def accuracy_dots(table: pd.DataFrame, title: str = "Accuracy by method") -> Figure:
    """Draw the accuracy of methods, a panel for each setting: mean, standard deviation, single seeds, chance.

    Args:
        table: columns method, setting, mean, sd, n, chance and values (the accuracies of the seeds), all in [0, 1].
        title: heads the figure.
    """
    settings = list(dict.fromkeys(table["setting"]))
    sizes = [int((table["setting"] == setting).sum()) for setting in settings]
    figure = Picture(figsize=(7.4, 0.38 * sum(sizes) + 0.62 * len(sizes) + 0.8), layout="constrained")
    panels = figure.subplots(len(settings), 1, sharex=True, squeeze=False, height_ratios=[n + 0.6 for n in sizes])
    for axis, setting in zip(panels[:, 0], settings, strict=True):
        _dots(axis, table[table["setting"] == setting].reset_index(drop=True))
        axis.set_title(setting, loc="left")
    axis.set_xlabel("top-1 accuracy (%)")
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure


@styled
def retrieval(
    queries: Sequence[str], frames: np.ndarray, correct: np.ndarray, labels: Sequence[Sequence[str]]
) -> Figure:
    """Draw the best recordings for each text, those of the right class marked by frame and sign.

    Args:
        queries: Q texts.
        frames: (Q, k, 3, S, S) in [0, 1]; one frame of each recording, best first.
        correct: (Q, k) bool.
        labels: Q rows of k class names.
    """
    rows, columns = correct.shape
    figure = Picture(figsize=(1.15 * columns + 1.7, 1.35 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, query in enumerate(queries):
        for column, axis in enumerate(axes[row]):
            right = bool(correct[row, column])
            axis.imshow(to_image(frames[row, column]))
            axis.set_xlabel(f"{CHECK if right else CROSS} {_short(labels[row][column], 16)}", fontsize=8)
            outline(axis, BLUE if right else ORANGE, width=2.5, dashed=not right)
        axes[row, 0].set_ylabel(_short(query, 24), rotation=0, ha="right", va="center")
    for rank, axis in enumerate(axes[0], start=1):
        axis.set_title(f"rank {rank}")
    figure.suptitle(f"Recordings retrieved by text ({CHECK} right class, {CROSS} another)")
    return figure


@styled
def confusions(pairs: Sequence[tuple[str, str, int, float]], examples: np.ndarray | None = None) -> Figure:
    """Draw which classes are taken for which others, the worst first.

    Args:
        pairs: (true, predicted, count, share of the true class in [0, 1]), in the order to draw.
        examples: (len(pairs), 3, S, S) in [0, 1]; a misread recording for each pair.
    """
    rows = max(1, len(pairs))
    figure = Picture(figsize=(7, 0.55 * rows + 1), layout="constrained")
    grid = figure.add_gridspec(rows, 2, width_ratios=(1, 11), hspace=0, wspace=0)
    axis = figure.add_subplot(grid[:, 1] if examples is not None else grid[:, :])
    shares = [100 * share for *_, share in pairs]
    bars = axis.barh(range(len(pairs)), shares, height=0.6, color=SKY)
    axis.bar_label(bars, [f"{count} ({share:.0%})" for *_, count, share in pairs], padding=3)
    axis.set_yticks(range(len(pairs)), [f"{_short(true)} → {_short(predicted)}" for true, predicted, *_ in pairs])
    axis.set(xlabel="share of the true class (%)", ylim=(rows - 0.5, -0.5), xlim=(0, 1.18 * max(shares, default=100)))
    for row, example in enumerate(examples if examples is not None else ()):
        picture = figure.add_subplot(grid[row, 0])
        picture.imshow(to_image(example))
        outline(picture, GRAY)
    figure.suptitle("Worst confusions (true class → taken for)")
    return figure


@styled
def samples(frames: np.ndarray, valid: np.ndarray, names: Sequence[str], title: str = "What is fed in") -> Figure:
    """Draw the frames of some recordings, a column for each; missing windows are crossed out.

    Args:
        frames: (N, T, 3, S, S) in [0, 1].
        valid: (N, T) bool.
        names: N class names.
        title: heads the figure.
    """
    columns, rows = frames.shape[:2]
    figure = Picture(figsize=(1.15 * columns + 0.6, 1.15 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for column, name in enumerate(names):
        for row, axis in enumerate(axes[:, column]):
            axis.imshow(to_image(frames[column, row]))
            outline(axis, GRAY, missing=not valid[column, row])
        axes[0, column].set_title(_short(name, 14))
    for row, axis in enumerate(axes[:, 0], start=1):
        axis.set_ylabel(f"window {row}")
    figure.suptitle(title)
    return figure


@styled
def loss_terms(history: pd.DataFrame | Sequence[dict], terms: Sequence[str]) -> Figure:
    """Draw each term of the loss by epoch, unweighted; equal weights ought to keep them in one range.

    Args:
        history: a table, or what makes one, with the columns epoch and the terms.
        terms: names of the terms; those that the history does not have are left out.
    """
    history = pd.DataFrame(history)
    figure = Picture(figsize=(5, 3), layout="constrained")
    axis = figure.subplots()
    for term, color in zip(terms, _colors(len(terms)), strict=True):
        if term in history:
            axis.plot(history["epoch"], history[term], color=color, marker="o", markersize=3, label=term)
    axis.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axis.legend(loc="best")
    figure.suptitle("Terms of the loss")
    return figure


@styled
def confusion_matrix(shares: np.ndarray, names: Sequence[str], most: int = 30) -> Figure:
    """Draw which share of each true class is taken for which class.

    Args:
        shares: (K, K) in [0, 1], a row for each true class; rows sum to 1, or are nan for a class without recordings.
        names: K class names; more than `most` are numbered instead of named.
        most: names that fit.
    """
    figure = Picture(figsize=(6.4, 5.6), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(100 * np.ma.masked_invalid(shares), cmap="cividis", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=axis, label="share of the true class (%)")
    if len(names) <= most:
        labels = [_short(name, 16) for name in names]
        axis.set_xticks(range(len(names)), labels, rotation=90)
        axis.set_yticks(range(len(names)), labels)
    unit = "" if len(names) <= most else " (number in the class list)"
    axis.set(xlabel=f"taken for{unit}", ylabel=f"true class{unit}")
    figure.suptitle("Confusion matrix")
    return figure


@styled
def pretrain_curve(records: pd.DataFrame) -> Figure:
    """Draw the loss terms and the validation accuracy of pre-training by step.

    Args:
        records: columns step, contrast, class, teacher, relation, and val_top1, val_top5 in [0, 1]; a term that the
            table lacks, or that is missing in a row, is left out.
    """
    figure, (loss, accuracy) = _two_panels("Pre-training of the tiny CLIP", "step")
    terms = [name for name in ("contrast", "class", "teacher", "relation") if name in records]
    for name, color in zip(terms, SERIES, strict=False):
        part = records.dropna(subset=[name])
        loss.plot(part["step"], part[name], color=color, linewidth=1.2, label=name)
    loss.set(title="Terms of the loss, weighted", ylabel="loss", yscale="log")
    plain_log(loss.yaxis)
    loss.legend(loc="best", ncols=2)
    for name, label, color in (("val_top1", "top-1", BLUE), ("val_top5", "top-5", ORANGE)):
        part = records.dropna(subset=[name])
        accuracy.plot(part["step"], 100 * part[name], color=color, marker="o", markersize=3, label=label)
    accuracy.set(title="Zero-shot accuracy, held-out family", ylabel="accuracy (%)", ylim=(0, 100))
    accuracy.legend(loc="best")
    return figure


def _two_panels(title: str, xlabel: str) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of two curves side by side, over whole numbers of epochs or steps."""
    figure = Picture(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, 2)
    for axis in panels:
        axis.set_xlabel(xlabel)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axis.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    figure.suptitle(title)
    return figure, panels


def _dots(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw the methods of one setting, the first on top."""
    for y, row in rows.iterrows():
        values = 100 * np.asarray(row["values"], dtype=float)
        first = y == 0  # one entry each in the legend
        axis.plot(values, np.full(len(values), y), "o", color=SKY, markersize=3.5, label="one seed" if first else None)
        spread = 100 * row["sd"] if row["n"] > 1 else None
        label = "mean ± standard deviation" if first else None
        axis.errorbar(100 * row["mean"], y, xerr=spread, fmt="D", color=BLUE, markersize=5, capsize=3, label=label)
        told = f"{100 * row['mean']:.1f}" + (f" ± {spread:.1f}" if spread is not None else "")
        axis.annotate(
            f"{told} (n = {row['n']})",
            (1.01, y),
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
        )
    axis.axvline(100 * rows["chance"].iloc[0], color=GRAY, linestyle="--", linewidth=1, label="chance")
    axis.set_yticks(range(len(rows)), rows["method"])
    axis.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, 100))
    axis.grid(axis="x", color="#DDDDDD", linewidth=0.6)


def _short(text: str, most: int = 22) -> str:
    """Return a text that fits a label."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _colors(count: int) -> list[str]:
    """Return that many colors, repeating them when there are more runs than a reader could tell apart."""
    return [SERIES[index % len(SERIES)] for index in range(count)]
