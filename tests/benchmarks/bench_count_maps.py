from collections.abc import Callable

import numpy as np
import polars
from evlib.representations import create_stacked_histogram
from evlib.representations_rs import stacked_histogram_dense
from tonic.transforms import ToFrame

from eclip_lib.events.recording import Recording
from eclip_lib.frames.counting import count_maps
from tests.benchmarks.recordings import camera_recording, random_recording
from tests.benchmarks.timing import ms, side_by_side, table, verdict

EVENTS, WINDOWS = 200_000, 5
Q = EVENTS // WINDOWS
OURS, COPY = "eclip_lib `count_maps`", "plain copy of the events"
ADD_AT, ADD_AT_FIELDS = "`np.add.at` per window, int64 columns", "`np.add.at` per window, fields of the events"
BINCOUNT, BINCOUNT_ALL = "`np.bincount`, indices at hand", "`np.bincount` with its indices"
TONIC = "tonic `ToFrame`"
EVLIB, EVLIB_TABLE = "evlib `stacked_histogram_dense` (uint8)", "evlib `create_stacked_histogram` (table)"


def add_at(x: np.ndarray, y: np.ndarray, p: np.ndarray, sensor_size: tuple[int, int], q: int) -> np.ndarray:
    maps = np.zeros((len(x) // q, 2, *sensor_size), np.uint16)
    for window in range(len(maps)):
        part = slice(window * q, (window + 1) * q)
        np.add.at(maps[window], (1 - p[part], y[part], x[part]), 1)
    return maps


def flat_indices(recording: Recording, q: int) -> np.ndarray:
    events, (height, width) = recording.events, recording.sensor_size
    channel = 2 * (np.arange(len(events)) // q) + ~events["p"]
    return (channel * height + events["y"]) * width + events["x"]


def contenders(recording: Recording, q: int = Q) -> dict[str, Callable]:
    """Return ways to count the same windows; inputs that a peer wants in another form are made beforehand."""
    events, (height, width) = recording.events, recording.sensor_size
    windows = len(events) // q
    shape = (windows, 2, height, width)
    t, x, y, p = (np.ascontiguousarray(events[name].astype(np.int64)) for name in "txyp")
    small_p = events["p"].view(np.int8)
    indices = flat_indices(recording, q)
    frame = polars.DataFrame({"t": t, "x": x, "y": y, "polarity": p})
    ends, rows, columns = np.arange(1, windows + 1) * q - 1, np.arange(height), np.arange(width)
    tonic_frames = ToFrame(sensor_size=(width, height, 2), event_count=q)
    raw = events.view(np.uint8)
    return {
        OURS: lambda: count_maps(recording, q, windows),
        ADD_AT: lambda: add_at(x, y, p, (height, width), q),
        ADD_AT_FIELDS: lambda: add_at(events["x"], events["y"], small_p, (height, width), q),
        BINCOUNT: lambda: np.bincount(indices, minlength=np.prod(shape)),
        BINCOUNT_ALL: lambda: np.bincount(flat_indices(recording, q), minlength=np.prod(shape)),
        TONIC: lambda: tonic_frames(events),
        EVLIB: lambda: stacked_histogram_dense(t, x, y, p, ends, q - 1, 1, 255, rows, columns, height, width),
        EVLIB_TABLE: lambda: create_stacked_histogram(frame, height, width, windows, q / 1000),
        COPY: lambda: raw.copy(),
    }


def main() -> str:
    text = (
        f"## Count maps: {EVENTS:,} events, 180x240, {WINDOWS} windows\n\n"
        "Peers get their inputs in the form they want, made beforehand. `create_stacked_histogram` gives a table of "
        "the pixels that have events, not maps.\n\n"
    )
    for name, recording in (
        ("saccade camera", camera_recording(EVENTS)),
        ("random pixels", random_recording(EVENTS)),
    ):
        times = side_by_side(contenders(recording), seconds=10)
        ours = times[OURS]
        rows = [[key, ms(value), f"{value / ours:.2f}", f"{1e9 * value / EVENTS:.2f}"] for key, value in times.items()]
        text += f"Events of: {name}\n\n" + table(["", "ms", "times ours", "ns per event"], rows) + "\n"
        slower = min(times[ADD_AT], times[ADD_AT_FIELDS])
        goals = [("`np.add.at`, the better of the two", slower, 20), ("tonic", times[TONIC], 12)]
        goals.append(("one `np.bincount` over indices at hand", times[BINCOUNT], 0.9))
        text += "\n".join(verdict(name, value / ours, goal) for name, value, goal in goals) + "\n\n"
    return text
