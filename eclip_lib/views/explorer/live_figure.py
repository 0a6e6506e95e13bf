"""The explorer's interactive figure: a space-time cloud that can be turned, and the rate with the windows.

`Recording` and the times of windows → one plotly `FigureWidget`, whose traces are updated in place.
"""

import numpy as np
import plotly.graph_objects as go

from eclip_lib.events import Recording
from eclip_lib.figure import OFF, ON
from eclip_lib.views.timeline import cloud_title, elapsed_ms, event_rate, thinned

MOST = 3000  # points of each polarity; more would no longer turn fluidly on an old laptop
EDGE, SHADE, SECOND = "#444444", "rgba(68, 68, 68, 0.08)", "#009E73"  # windows of setting A, their area, and B
_ON_CLOUD, _OFF_CLOUD, _CLOUD_WINDOWS, _ON_RATE, _OFF_RATE, _WINDOWS_A, _WINDOWS_B = range(7)


def make_figure(height: int = 400) -> go.FigureWidget:
    """Return the figure without a recording.

    Args:
        height: in pixels.
    """
    points, line = {"mode": "markers", "hoverinfo": "skip"}, {"mode": "lines", "hoverinfo": "skip"}
    rate = {"shape": "hv", "width": 1.2}
    traces = [
        go.Scatter3d(name="ON", marker={"size": 1.6, "color": ON}, **points),
        go.Scatter3d(name="OFF", marker={"size": 1.6, "color": OFF}, **points),
        go.Scatter3d(name="windows of A", line={"color": EDGE, "width": 2}, showlegend=False, **line),
        go.Scatter(name="ON", line={"color": ON, **rate}, showlegend=False, **line),
        go.Scatter(name="OFF", line={"color": OFF, **rate}, showlegend=False, **line),
        go.Scatter(name="windows of A", line={"color": EDGE, "width": 1}, fill="toself", fillcolor=SHADE, **line),
        go.Scatter(name="windows of B", line={"color": SECOND, "width": 1.5, "dash": "dash"}, **line),
    ]
    return go.FigureWidget(traces, _layout(height))


def _layout(height: int) -> dict:
    """Return the layout: the cloud on the left, the rate on the right."""
    return {
        "height": height,
        "width": 800,  # pixels; beside the still in a window of common width
        "margin": {"l": 0, "r": 10, "t": 40, "b": 45},
        "template": "plotly_white",
        "uirevision": "recording",  # the view that a user has turned to stays
        "legend": {
            "orientation": "h",
            "itemsizing": "constant",
            "x": 1,
            "y": 1,
            "xanchor": "right",
            "yanchor": "bottom",
        },
        "scene": {
            "domain": {"x": [0, 0.5]},
            "xaxis": {"title": {"text": "x (pixels)"}},
            "yaxis": {"title": {"text": "time (ms)"}},
            "zaxis": {"title": {"text": "y (pixels)"}},
            "camera": {"eye": {"x": 1.3, "y": -1.9, "z": 0.6}, "center": {"x": 0, "y": 0, "z": -0.15}},
        },
        "xaxis": {"domain": [0.58, 1], "title": {"text": "time (ms)"}},
        "yaxis": {"title": {"text": "events per ms"}, "rangemode": "tozero"},
        "title": {"x": 0.02, "y": 0.98, "font": {"size": 14}},
    }


def show_recording(figure: go.FigureWidget, recording: Recording) -> None:
    """Draw another recording; its windows and title follow by `show_windows` and `show_polarity`."""
    shown = thinned(recording, MOST)
    edges, rates = event_rate(recording)
    height, width = recording.sensor_size
    with figure.batch_update():
        for trace, events in ((_ON_CLOUD, shown["ON"]), (_OFF_CLOUD, shown["OFF"])):
            times = elapsed_ms(recording, events).astype(np.float32)
            figure.data[trace].update(x=events["x"].copy(), y=times, z=events["y"].copy())
        for trace, rate in ((_ON_RATE, rates[0]), (_OFF_RATE, rates[1])):
            figure.data[trace].update(x=edges, y=np.append(rate, rate[-1]))
        scene = figure.layout.scene
        scene.xaxis.range, scene.zaxis.range, scene.yaxis.range = (0, width), (height, 0), (0, edges[-1])
        longest = max(height, width)
        scene.aspectratio = {"x": width / longest, "y": 1.4, "z": height / longest}


def show_polarity(figure: go.FigureWidget, recording: Recording, polarity: str) -> None:
    """Show "on" or "off" events, or "both", in the cloud; the legend still names the others, in gray."""
    clouds = {"on": figure.data[_ON_CLOUD], "off": figure.data[_OFF_CLOUD]}
    shown = {name: trace.x for name, trace in clouds.items() if polarity in ("both", name)}
    with figure.batch_update():
        for name, trace in clouds.items():
            trace.visible = True if name in shown else "legendonly"
        figure.layout.title.text = cloud_title(recording, shown)


def show_windows(figure: go.FigureWidget, recording: Recording, times: np.ndarray, second: bool = False) -> None:
    """Draw the windows of setting A or B as boxes around the rate, those of A as gates in the cloud too.

    Args:
        figure: of `make_figure`, showing the recording.
        recording: not modified.
        times: (T, 2) in ms, NaN for a missing window; of no windows, (0, 2), to hide them.
        second: whether they are B's.
    """
    times = times[np.isfinite(times[:, 0])]
    top = 1.05 * max(float(np.max(figure.data[_ON_RATE].y)), float(np.max(figure.data[_OFF_RATE].y)))
    with figure.batch_update():
        figure.data[_WINDOWS_B if second else _WINDOWS_A].update(boxes(times, top))
        if not second:
            figure.data[_CLOUD_WINDOWS].update(gates(times, recording.sensor_size))


def boxes(times: np.ndarray, top: float) -> dict[str, np.ndarray]:
    """Return a closed line around each window, broken by NaN between two."""
    first, last = times.T
    gap = np.full(len(times), np.nan)
    x = np.stack([first, first, last, last, first, gap], axis=1)
    return {"x": x.ravel(), "y": np.tile([0, top, top, 0, 0, np.nan], len(times))}


def gates(times: np.ndarray, sensor_size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return a rectangle of the sensor's size at the start and the end of each window, broken by NaN between two."""
    height, width = sensor_size
    borders = np.unique(times)
    return {
        "x": np.tile([0, width, width, 0, 0, np.nan], len(borders)),
        "y": np.repeat(borders, 6),
        "z": np.tile([0, 0, height, height, 0, np.nan], len(borders)),
    }
