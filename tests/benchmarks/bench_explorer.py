"""How long the explorer takes from a change of a control to the last message for the browser, in a real kernel."""

import json
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from ipykernel.kernelspec import get_kernel_dict
from ipywidgets import Widget
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

from eclip_lib.config import FrameConfig
from eclip_lib.events.files import write_events
from eclip_lib.paths import ROOT
from eclip_lib.views.explorer.panel import Explorer
from eclip_lib.views.samples import file_sample
from tests.benchmarks.recordings import camera_recording
from tests.benchmarks.timing import table

GOAL_MS, EVENTS, CHANGES = 150, 120_000, 15
TIMEOUT = 300  # s
CODE = "from tests.benchmarks.bench_explorer import measure; print(measure())"


class _ThisKernel(KernelManager):
    """Starts kernels with the Python of this process."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(resource_dir="", **get_kernel_dict())


def main() -> str:
    """Return the section of the report."""
    times = json.loads(_in_kernel(CODE))
    rows = [[name, *(f"{np.percentile(values, q):.0f}" for q in (50, 95, 100))] for name, values in times.items()]
    every = [value for values in times.values() for value in values]
    slow = sum(value > GOAL_MS for value in every)
    head = (
        "## Explorer: a change is redrawn\n\n"
        f"A recording of {EVENTS:,} events on 180 x 240 pixels, 5 windows, frames of 224 pixels. Milliseconds from the "
        "change to its last message, in a kernel with torch's own number of threads.\n\n"
    )
    verdict = f"\n- {len(every)} changes, goal {GOAL_MS} ms: median {np.median(every):.0f} ms, {slow} above the goal.\n"
    return head + table(["control", "median", "95 %", "slowest"], rows) + verdict


def measure(changes: int = CHANGES, events: int = EVENTS) -> str:
    """Return JSON: of each control the milliseconds that its changes take, in an explorer of its own."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "made.npz"
        write_events(file, camera_recording(events))
        cfg = FrameConfig(size=224, frames=5, events_per_frame=events // 5, color="count")
        times = {}
        for name in _changes(Explorer(file_sample(file), cfg)):
            explorer = Explorer(file_sample(file), cfg)
            times[name] = _timed(_changes(explorer)[name], changes)
            if "\N{WARNING SIGN}" in explorer.message.value:
                raise RuntimeError(f"{name}: {explorer.message.value}")
    return json.dumps(times)


def _changes(explorer: Explorer) -> dict[str, Callable[[], None]]:
    """Return for each control what moves it to its next value."""
    sample, second = explorer.sample, explorer.settings[1].controls
    controls, total = explorer.settings[0].controls, len(sample.recording)
    values = {
        "events each": (controls.events, range(total // 10, total // 5, total // 200)),
        "how many": (controls.frames, (3, 4, 6, 7, 8)),
        "start": (controls.start_events, range(100, total // 2, total // 100)),
        "overlap": (controls.overlap, (0.1, 0.25, 0.5, 0.75)),
        "placed": (controls.windows, ("spread", "first")),
        "color": (controls.color, controls.color.options),
        "polarity": (controls.polarity, ("on", "off", "both")),
        "frame size": (controls.size, (48, 96, 128, 336, 224)),
        "aspect ratio": (controls.keep_aspect, (True, False)),
        "windows by": (controls.cut, controls.cut.options),
        "color of B": (second.color, second.color.options),
    }
    moves = {name: _mover(widget, options) for name, (widget, options) in values.items()}
    moves["color of B"] = _shown_first(explorer, moves["color of B"])
    moves["another recording"] = lambda: explorer.open(lambda: sample)
    return moves


def _shown_first(explorer: Explorer, move: Callable[[], None]) -> Callable[[], None]:
    """Return what shows the second setting, once, before it moves one of its controls."""

    def shown() -> None:
        explorer.compare.value = True
        move()

    return shown


def _mover(widget: Widget, options: Iterable) -> Callable[[], None]:
    """Return what sets a widget to its next value."""
    values = cycle(options)
    return lambda: setattr(widget, "value", next(values))


def _timed(change: Callable[[], None], changes: int) -> list[float]:
    """Return the milliseconds of a number of changes, after a first one."""
    change()
    times = []
    for _ in range(changes):
        start = perf_counter()
        change()
        times.append(1000 * (perf_counter() - start))
    return times


def _in_kernel(code: str) -> str:
    """Return what code prints in a kernel of its own, where widgets send their messages as in a notebook."""
    manager = _ThisKernel()
    manager.start_kernel(cwd=str(ROOT), stderr=DEVNULL)
    client = manager.blocking_client()
    printed = []
    try:
        client.start_channels()
        client.wait_for_ready(timeout=TIMEOUT)
        reply = client.execute_interactive(code, timeout=TIMEOUT, output_hook=printed.append)
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"]["traceback"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    contents = [message["content"] for message in printed if message["msg_type"] == "stream"]
    return "".join(content["text"] for content in contents if content["name"] == "stdout")
