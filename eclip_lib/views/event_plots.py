"""The figures of recordings: a still, its events, count maps, frames, and the official code's frames beside ours.

recordings, plain arrays → a matplotlib `Figure`, returned and never shown.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d import Axes3D

from eclip_lib.config import FrameConfig
from eclip_lib.events import Recording
from eclip_lib.figure import GRAY, OFF, ON, Picture, outline, plain_log, styled, to_image
from eclip_lib.frames import (
    BLANK,
    Drawn,
    cut_to_full_windows,
    event_frames,
    official_frames,
    our_frames,
    recording_windows,
)
from eclip_lib.views.timeline import MS, cloud_title, evenly, event_rate, thinned, window_labels, window_times

EDGE = "#444444"  # of windows


@styled
def still_and_events(
    image: np.ndarray, events: np.ndarray, sensor_size: tuple[int, int], title: str = "", max_events: int = 6000
) -> Figure:
    """Draw a still beside its events in space and time.

    Args:
        image: uint8 (H, W, 3).
        events: structured array with x, y in pixels, t in µs, p True for ON.
        sensor_size: (height, width) in pixels; sets the axes.
        title: heads the figure.
        max_events: more are thinned out evenly, which the figure says.
    """
    figure = Picture(figsize=(8.4, 3.8), layout="constrained")
    grid = figure.add_gridspec(1, 2, width_ratios=(1, 1.5))
    _still(figure.add_subplot(grid[0]), image)
    space = figure.add_subplot(grid[1], projection="3d")
    shown = evenly(events, max_events)
    start = events["t"][:1].sum()  # 0 without events
    for name, polarity in (("ON", True), ("OFF", False)):
        part, count = shown[shown["p"] == polarity], np.count_nonzero(events["p"] == polarity)
        _points(space, part, (part["t"] - start) / MS, polarity, f"{name} ({count:,})")
    _space_axes(space, sensor_size)
    thinned_out = f", {len(shown):,} shown" if len(shown) < len(events) else ""
    space.set_title(f"{len(events):,} events{thinned_out}")
    figure.suptitle(title)
    return figure


@styled
def count_maps(maps: np.ndarray, frames: Mapping[str, np.ndarray], valid: np.ndarray) -> Figure:
    """Draw event count maps and the frames made of them, a column for each window.

    Args:
        maps: counts (T, 2, H, W), channel 0 = ON.
        frames: by color, (T, 3, S, S) in [0, 1].
        valid: (T,) bool; a window without events is marked as missing.
    """
    windows, row = len(maps), min(1.5, 9.3 / (2 + len(frames)))  # inches
    figure = Picture(figsize=((row + 0.1) * windows + 1.8, row * (2 + len(frames)) + 0.5), layout="constrained")
    axes = figure.subplots(2 + len(frames), windows, squeeze=False)
    scale = LogNorm(1, max(2, int(np.max(maps, initial=0))))
    for channel, name in enumerate(("ON", "OFF")):
        for column in range(windows):
            counts = np.ma.masked_equal(maps[column, channel], 0)
            drawn = axes[channel, column].imshow(counts, norm=scale, cmap="cividis_r")
        axes[channel, 0].set_ylabel(f"{name} counts")
    for row, (name, colored) in zip(axes[2:], frames.items(), strict=True):
        for axis, frame in zip(row, colored, strict=True):
            axis.imshow(to_image(frame))
        row[0].set_ylabel(f"frame, {name}")
    for column, present in enumerate(valid):
        axes[0, column].set_title(f"window {column}")
        for axis in axes[:, column]:
            outline(axis, GRAY, missing=not present)
    bar = figure.colorbar(drawn, ax=axes, label="events per pixel", shrink=0.4, anchor=(0, 1), aspect=12)
    plain_log(bar.ax.yaxis)
    figure.suptitle("Event count maps and frames")
    return figure


@styled
def overview(recording: Recording, cfg: FrameConfig, still: np.ndarray | None = None, title: str = "") -> Figure:
    """Draw a recording at a glance: still, space-time cloud, rate with the borders of the windows, frames.

    Args:
        recording: not modified.
        cfg: how events become frames.
        still: uint8 (H, W, 3) of the same scene, if there is one.
        title: heads the figure.
    """
    windows = recording_windows(recording, cfg)
    figure = Picture(figsize=(8.6, 5.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.5, 1))[:, 0]
    panels = top.add_gridspec(1, 3, width_ratios=(0.8 if still is not None else 0.01, 1.3, 1.2))
    if still is not None:
        _still(top.add_subplot(panels[0]), still)
    _cloud(top.add_subplot(panels[-2], projection="3d"), recording)
    _rate(top.add_subplot(panels[-1]), recording, windows)
    frames, valid = event_frames(recording, cfg)
    axes = bottom.subplots(1, cfg.frames, squeeze=False)[0]
    for axis, frame, present, label in zip(axes, frames, valid, window_labels(recording, windows), strict=True):
        axis.imshow(to_image(frame))
        axis.set_xlabel(label.replace(", ", "\n"), fontsize=8)
        outline(axis, GRAY, missing=not present)
    axes[0].set_ylabel(f"frames, {cfg.color}")
    figure.suptitle(title)
    return figure


@styled
def official_and_ours(recording: Recording, events_per_frame: int, frames: int = 5, title: str = "") -> Figure:
    """Draw the official code's frames above ours, for a recording and for one that fills its windows exactly.

    Everything is computed by `official_traps`; what is invented, blank or of another canvas is written under the frame.

    Args:
        recording: not modified.
        events_per_frame: Q.
        frames: T.
        title: heads the figure.

    Raises:
        ValueError: see `cut_to_full_windows`.
    """
    part = cut_to_full_windows(recording, events_per_frame, frames)
    figure = Picture(figsize=(1.2 * (frames + 1) + 0.5, 6.8), layout="constrained")
    heads = [
        f"{len(recording):,} events, windows of {events_per_frame:,}",
        f"only the first {len(part):,} events, which fill {len(part) // events_per_frame} windows exactly",
    ]
    halves = figure.subfigures(2, 1, squeeze=False)[:, 0]
    for half, events, head in zip(halves, (recording, part), heads, strict=True):
        half.suptitle(head, x=0.05, ha="left", fontsize=9)
        rows = zip(half.subplots(2, frames + 1), ("official", "ours"), (official_frames, our_frames), strict=True)
        for row, name, make in rows:
            _drawn_row(row, make(events, events_per_frame, frames))
            row[0].set_ylabel(name)
    figure.suptitle(title)
    return figure


def traps_title(name: str) -> str:
    """Return the title of `official_and_ours` for a recording of this name."""
    return f"The official code's frames and ours: {name}"


def _drawn_row(axes: Sequence[Axes], drawn: Drawn) -> None:
    """Draw the frames of one way of drawing, and their mean."""
    for i, axis in enumerate(axes[:-1]):
        axis.imshow(to_image(drawn.frames[i]))
        axis.set_xlabel(_told(drawn, i), fontsize=7)
        outline(axis, GRAY, missing=bool(drawn.empty[i] and not drawn.averaged[i]))
        if drawn.padding[i] and drawn.canvas[i].min() > 2:
            _point_at_padding(axis, drawn.canvas[i], drawn.frames.shape[-1])
    mean = drawn.mean()
    axes[-1].imshow(to_image(mean))
    axes[-1].set_xlabel(f"mean of {int(drawn.averaged.sum())}:\n{mean.min():.2f} to {mean.max():.2f}", fontsize=7)
    outline(axes[-1], EDGE, width=1.2)


def _told(drawn: Drawn, i: int) -> str:
    """Return what one frame is made of."""
    if not drawn.canvas[i].any():
        return f"blank: value {BLANK:g}\n({BLANK:g} x white)" if drawn.averaged[i] else "not counted\n"
    height, width = drawn.canvas[i]
    return f"canvas {height} x {width}\n" + (f"{drawn.padding[i]:,} x ON at (1, 1)" if drawn.padding[i] else "")


def _point_at_padding(axis: Axes, canvas: np.ndarray, size: int) -> None:
    """Point at the pixel that all invented events share; it is too small to be seen otherwise."""
    y, x = 1.5 * size / canvas
    arrow = {"arrowstyle": "->", "color": "black", "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (x, y), (x, y - 0.12 * size), arrowprops=arrow, annotation_clip=False)


def _still(axis: Axes, image: np.ndarray) -> None:
    """Draw a still."""
    axis.imshow(image)
    axis.set_title(f"Still, {image.shape[1]} x {image.shape[0]} pixels")
    outline(axis, GRAY)


def _points(space: Axes3D, events: np.ndarray, times: np.ndarray, polarity: bool, label: str) -> None:
    """Draw the events of one polarity in space and time."""
    color = ON if polarity else OFF
    space.scatter(events["x"], times, events["y"], s=1.5, color=color, linewidths=0, label=label)


def _space_axes(space: Axes3D, sensor_size: tuple[int, int], zoom: float = 0.82) -> None:
    """Scale and label the axes of a cloud; y points down, as in an image."""
    height, width = sensor_size
    space.set(xlabel="x (pixels)", zlabel="y (pixels)", xlim=(0, width), zlim=(height, 0))
    space.set_ylabel("time (ms)", labelpad=10)
    for axis in (space.xaxis, space.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4))
    space.set_box_aspect((width / height, 1.6, 1), zoom=zoom)
    space.legend(loc="upper left", markerscale=5, handletextpad=0.1)


def _cloud(space: Axes, recording: Recording, most: int = 2500) -> None:
    """Draw the thinned cloud that the explorer shows, which can be turned there."""
    shown = thinned(recording, most)
    start = recording.events["t"][0]
    for name, events in shown.items():
        _points(space, events, (events["t"] - start) / MS, name == "ON", name)
    _space_axes(space, recording.sensor_size, zoom=0.95)
    space.set_title(cloud_title(recording, shown))


def _rate(axis: Axes, recording: Recording, windows: np.ndarray) -> None:
    """Draw the rate of events over time, and each window as a box around its time."""
    edges, rates = event_rate(recording)
    for rate, name, color in zip(rates, ("ON", "OFF"), (ON, OFF), strict=True):
        axis.stairs(rate, edges, color=color, label=name)
    top = 1.08 * max(float(rates.max()), 1e-9)
    for number, (first, last) in enumerate(window_times(recording, windows)):
        if np.isfinite(first):
            axis.axvspan(first, last, facecolor=GRAY, alpha=0.18 if number % 2 else 0.06, linewidth=0)
            axis.vlines([first, last], 0, top, color=EDGE, linewidth=0.8, linestyle=":")
            axis.text((first + last) / 2, top, str(number), ha="center", va="bottom", fontsize=8, color=EDGE)
    axis.set(xlabel="time (ms)", ylabel="events per ms", ylim=(0, top), xlim=(edges[0], edges[-1]))
    axis.set_title("Rate, windows numbered", pad=14)
    axis.legend(loc="upper right")
