"""The figures of the calibration: how a fit goes on, and how near a simulated camera is to a real one.

records of `fit_camera`, `Profile`s -> a matplotlib `Figure`, returned and never shown.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eclip_lib.calibration.profiles import BIN_MS, GAP_EDGES, Profile, map_correlations
from eclip_lib.figure import BLUE, GRAY, GREEN, ORANGE, VERMILION, Picture, outline, styled

REAL = "#000000"
_SIMULATED = (ORANGE, BLUE, GREEN)  # of simulated cameras, in order
_POLARITY = ("ON", "OFF")


@styled
def fit_curve(records: Sequence[dict]) -> Figure:
    """Draw the mismatch and the correlation of count maps by sweep of a fit.

    Args:
        records: of `fit_camera`.
    """
    figure = Picture(figsize=(8, 2.8), layout="constrained")
    sweeps = [record["sweep"] for record in records]
    panels = figure.subplots(1, 2)
    for axis, name, label in zip(
        panels, ("mismatch", "correlation"), ("mismatch (0 is perfect)", "correlation of count maps"), strict=True
    ):
        axis.plot(sweeps, [record[name] for record in records], color=BLUE, marker="o", markersize=3)
        axis.set(xlabel="sweep through all parameters", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    figure.suptitle("Fit of the camera")
    return figure


@styled
def agreement(real: Profile, simulated: Mapping[str, Profile], title: str = "", reference: str = "real") -> Figure:
    """Draw what `compare` puts into numbers, for several cameras beside the real one.

    Args:
        real: profile of the real recordings.
        simulated: by the name of the camera, the profile of its recordings of the same stills in the same order.
        title: heads the figure.
        reference: what the real recordings are called; a stand-in for them must not be called real.
    """
    figure = Picture(figsize=(9, 6.4), layout="constrained")
    axes = figure.subplots(2, 3)
    profiles = {reference: real, **simulated}
    colors = dict(zip(profiles, (REAL, *_SIMULATED), strict=False))
    _histogram(axes[0, 0], {n: p.events for n, p in profiles.items()}, colors, "Events per recording", "events")
    _histogram(axes[0, 1], {n: 100 * p.on_share for n, p in profiles.items()}, colors, "ON events", "share (%)")
    _saccades(axes[0, 2], profiles, colors)
    _rates(axes[1, 0], profiles, colors)
    _gaps(axes[1, 1], profiles, colors)
    _correlations(axes[1, 2], real, simulated, colors)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(profiles))
    figure.suptitle(title or "Real recordings and simulated ones of the same stills")
    return figure


@styled
def map_pairs(real: np.ndarray, simulated: np.ndarray, stills: Sequence[np.ndarray], reference: str = "real") -> Figure:
    """Draw real and simulated count maps of some stills, by saccade and polarity.

    Args:
        real: (N, S, 2, H, W) counts.
        simulated: the same of the camera.
        stills: N images.
        reference: what the real recordings are called; a stand-in for them must not be called real.
    """
    rows, columns = len(stills), 1 + 4 * real.shape[1]
    figure = Picture(figsize=(0.7 * columns + 0.8, 0.7 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    most = max(1, int(np.percentile(real[real > 0], 99))) if real.any() else 1
    for row, still in enumerate(stills):
        axes[row, 0].imshow(still, cmap="gray", vmin=0, vmax=255)
        for column, axis in enumerate(axes[row, 1:]):
            pair, maps = column // 2, simulated if column % 2 else real
            counts = np.ma.masked_equal(maps[row, pair // 2, pair % 2], 0)
            drawn = axis.imshow(counts, cmap="cividis_r", vmin=1, vmax=most)
            if row == 0:
                axis.set_title(
                    "sim" if column % 2 else f"{reference}\n{pair // 2 + 1}. {_POLARITY[pair % 2]}", fontsize=7
                )
    for axis in axes.flat:
        outline(axis, GRAY)
    axes[0, 0].set_title("still", fontsize=7)
    ticks = MaxNLocator(integer=True)
    figure.colorbar(drawn, ax=axes, label="events per pixel", shrink=0.7, aspect=20, location="right", ticks=ticks)
    figure.suptitle(f"Count maps by saccade and polarity: {reference}, and simulated of the same still")
    return figure


def _histogram(axis: Axes, values: Mapping[str, np.ndarray], colors: Mapping[str, str], title: str, unit: str) -> None:
    """Draw the distributions of one number a recording as outlines."""
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), 30).tolist()
    for name, part in values.items():
        axis.hist(part, edges, histtype="step", color=colors[name], linewidth=1.3, label=name)
    axis.set(title=title, xlabel=unit, ylabel="recordings")


def _saccades(axis: Axes, profiles: Mapping[str, Profile], colors: Mapping[str, str]) -> None:
    """Draw which share of the events falls into each saccade."""
    width = 0.8 / len(profiles)
    for place, (name, part) in enumerate(profiles.items()):
        at = np.arange(len(part.saccade_share)) + (place - (len(profiles) - 1) / 2) * width
        axis.bar(at, 100 * part.saccade_share, width, color=colors[name])
    axis.set(title="Events by saccade", xlabel="saccade", ylabel="share (%)")
    axis.set_xticks(range(len(part.saccade_share)), [str(number + 1) for number in range(len(part.saccade_share))])


def _rates(axis: Axes, profiles: Mapping[str, Profile], colors: Mapping[str, str]) -> None:
    """Draw the event rate over time, ON upward and OFF downward."""
    for name, part in profiles.items():
        at = (np.arange(part.rate.shape[1]) + 0.5) * BIN_MS
        for rate, sign in zip(part.rate, (1, -1), strict=True):
            axis.plot(at, sign * rate / 1000, color=colors[name], linewidth=1.2)
    axis.axhline(0, color=GRAY, linewidth=0.6)
    axis.set(title="Event rate (ON up, OFF down)", xlabel="time (ms)", ylabel="events per ms")
    axis.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")


def _gaps(axis: Axes, profiles: Mapping[str, Profile], colors: Mapping[str, str]) -> None:
    """Draw the times between two events of one pixel and polarity."""
    for name, part in profiles.items():
        axis.stairs(100 * part.gaps, GAP_EDGES / 1000, color=colors[name], linewidth=1.2)
    axis.set(title="Between events of a pixel", xlabel="time (ms)", ylabel="share (%)", xscale="log")


def _correlations(axis: Axes, real: Profile, simulated: Mapping[str, Profile], colors: Mapping[str, str]) -> None:
    """Draw the correlations of count maps by saccade and polarity: median, quartiles, 5th to 95th percentile."""
    width = 0.8 / max(1, len(simulated))
    names = [f"{saccade + 1}. {on}" for saccade in range(real.maps.shape[1]) for on in _POLARITY]
    for place, (name, part) in enumerate(simulated.items()):
        values = map_correlations(real.maps, part.maps).reshape(len(real.maps), -1)
        at = np.arange(len(names)) + (place - (len(simulated) - 1) / 2) * width
        axis.boxplot(
            values, positions=at, widths=0.8 * width, whis=(5, 95), showfliers=False, patch_artist=True,
            boxprops={"facecolor": colors[name], "alpha": 0.4}, medianprops={"color": "black"}, manage_ticks=False,
        )  # fmt: skip
    axis.axhline(0.5, color=VERMILION, linestyle="--", linewidth=1)
    axis.annotate("dashed: goal of the mean", (0.02, 0.02), xycoords="axes fraction", color=VERMILION, fontsize=8)
    axis.set(title="Correlation of count maps", xlabel="saccade and polarity", ylim=(min(0, axis.get_ylim()[0]), 1))
    axis.set_xticks(range(len(names)), names, rotation=45, fontsize=7)
