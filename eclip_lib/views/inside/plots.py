"""The figures of the event encoder's inside: what prompts change, where attention goes, what training moved.

tables and arrays of `inside` → a matplotlib `Figure`, returned and never shown.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eclip_lib.figure import BLUE, GRAY, GREEN, ORANGE, SKY, VERMILION, Picture, outline, styled, to_image
from eclip_lib.views.inside.stages import BOTH, CROSS, MODALITY

GLOW = LinearSegmentedColormap.from_list("glow", [(0.9, 0.62, 0, 0), (0.9, 0.62, 0, 0.6), (0.84, 0.37, 0, 0.9)])
MARKS = {BOTH: (BLUE, "o", "-"), MODALITY: (GREEN, "s", "--"), CROSS: (VERMILION, "^", ":")}


@styled
def prompts_and_gates(effects: pd.DataFrame, shares: pd.DataFrame, title: str = "") -> Figure:
    """Draw for each block how far prompts move the class token, its gate, and what its attention falls on.

    Args:
        effects: from `inside.prompt_effects`.
        shares: from `inside.attention_shares`.
        title: heads the figure.
    """
    figure = Picture(figsize=(9.4, 3.3), layout="constrained")
    change, gates, attention = figure.subplots(1, 3, width_ratios=(1.2, 1, 1.2))
    for kind, rows in effects.groupby("prompts", sort=False):
        color, mark, line = MARKS[kind]
        change.semilogy(rows.block, rows.change, color=color, marker=mark, linestyle=line, label=f"prompts: {kind}")
    first = effects.drop_duplicates("block")
    change.semilogy(first.block, first.block_change, color=GRAY, marker="x", label="the whole block")
    change.set(title="Change of the class token", ylabel="|change| / |token|")
    change.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    gates.bar(first.block, first.gate, color=BLUE)
    gates.axhline(0, color=GRAY, linewidth=0.8)
    gates.set(title="Gate", ylabel="g (0: CLIP, 1: the paper)")
    _stacked(attention, shares)
    for axis in (change, gates, attention):
        axis.set_xlabel("block")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    return figure


def _stacked(axis: Axes, shares: pd.DataFrame) -> None:
    """Draw shares on top of one another."""
    base = np.zeros(len(shares))
    for name, color, hatch in (("class token", SKY, ""), ("patches", ORANGE, ".."), ("prompts", BLUE, "//")):
        axis.bar(shares.index, shares[name], bottom=base, color=color, hatch=hatch, edgecolor="white", label=name)
        base = base + shares[name].to_numpy()
    axis.set(title="Its attention, before the gate", ylabel="share", ylim=(0, 1))
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)


@styled
def attention_over_patches(
    frames: np.ndarray, maps: np.ndarray, valid: np.ndarray, blocks: Sequence[int], title: str = ""
) -> Figure:
    """Draw the attention of the class token over the frames: a row for each block, a column for each frame.

    Args:
        frames: (T, 3, S, S) in [0, 1].
        maps: (L, T, G, G) from `inside.patch_maps`, over all blocks.
        valid: (T,) bool; a frame without events is marked as missing.
        blocks: which rows to draw, counted from 1.
        title: heads the figure.

    Raises:
        ValueError: there is no such block.
    """
    if not blocks or min(blocks) < 1 or max(blocks) > len(maps):
        raise ValueError(f"blocks = {list(blocks)}: name some of the blocks 1 to {len(maps)}")
    steps, size = len(frames), frames.shape[-1]
    side = min(1.5, 8.0 / steps)
    figure = Picture(figsize=(side * steps + 1.9, side * (1 + len(blocks)) + 0.9), layout="constrained")
    axes = figure.subplots(1 + len(blocks), steps, squeeze=False)
    chosen = np.stack([maps[number - 1] for number in blocks]) * maps[0, 0].size
    # Roots, so that one patch that draws nearly all attention does not hide the others.
    look = {"extent": (0, size, size, 0), "cmap": GLOW, "norm": PowerNorm(0.5, 0, float(chosen[:, valid].max()))}
    for column in range(steps):
        axes[0, column].imshow(to_image(frames[column]))
        axes[0, column].set_title(f"frame {column + 1}")
        for row, axis in enumerate(axes[1:, column]):
            axis.imshow(frames[column].mean(0), cmap="gray", vmin=0, vmax=1, extent=look["extent"])
            drawn = axis.imshow(np.clip(chosen[row, column], 0, None), visible=bool(valid[column]), **look)
        for axis in axes[:, column]:
            outline(axis, GRAY, missing=not valid[column])
    axes[0, 0].set_ylabel("frame")
    for row, number in enumerate(blocks, start=1):
        axes[row, 0].set_ylabel(f"block {number}")
    bar = figure.colorbar(drawn, ax=axes, label="attention x number of patches (1: even)", shrink=0.6, aspect=25)
    bar.ax.set_facecolor("white")
    figure.suptitle(title)
    return figure


@styled
def attention_over_frames(maps: np.ndarray, valid: np.ndarray, title: str = "") -> Figure:
    """Draw the cross-frame attention, a matrix for each block: rows ask, columns answer.

    Args:
        maps: (L, T, T) from `inside.cross_maps`.
        valid: (T,) bool; a column of a frame without events is 0.
        title: heads the figure.
    """
    number, steps, top = len(maps), len(valid), float(maps.max())
    columns = min(6, number)
    rows = -(-number // columns)
    figure = Picture(figsize=(9.4, 1.55 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[number:]:
        axis.set_visible(False)
    for block, (axis, weights) in enumerate(zip(axes.flat, maps, strict=False), start=1):
        drawn = axis.imshow(weights, cmap="cividis", vmin=0, vmax=top)
        _write_values(axis, weights if steps <= 5 else weights[:0], 0.6 * top)
        axis.set(title=f"block {block}", xticks=range(steps), yticks=range(steps))
        axis.set_xticklabels(range(1, steps + 1))
        axis.set_yticklabels(range(1, steps + 1))
    for axis in axes[-1]:
        axis.set_xlabel("frame looked at")
    axes[0, 0].set_ylabel("frame that looks")
    figure.colorbar(drawn, ax=axes, label="attention", shrink=0.8, aspect=15)
    figure.suptitle(title)
    return figure


def _write_values(axis: Axes, values: np.ndarray, dark_below: float) -> None:
    """Write each value into its field."""
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value < dark_below else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=7)


@styled
def cosine_matrices(tables: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str], title: str = "") -> Figure:
    """Draw the cosines between classes, a row for each model, a column for each pair of towers.

    Args:
        tables: by model and pair, (K, K) from `inside.cosines`; rows of a matrix are the first of the pair.
        names: the K classes.
        title: heads the figure.
    """
    pairs = list(next(iter(tables.values())))
    figure = Picture(figsize=(9.4, 2.9 * len(tables) + 1.0), layout="constrained")
    axes = figure.subplots(len(tables), len(pairs), squeeze=False, sharex=True, sharey=True)
    for column, pair in enumerate(pairs):
        values = np.stack([found[pair] for found in tables.values()])
        for axis, when, table in zip(axes[:, column], tables, values, strict=True):
            drawn = axis.imshow(table, cmap="cividis", vmin=values.min(), vmax=values.max())
            axis.set(title=f"{pair}, {when}", xticks=range(len(names)), yticks=range(len(names)))
            axis.set_xticklabels(names, rotation=60, ha="right", fontsize=7)
            axis.set_yticklabels(names, fontsize=7)
        figure.colorbar(drawn, ax=axes[:, column], label="cosine", location="bottom", shrink=0.8, aspect=25)
    figure.suptitle(title)
    return figure
