import tracemalloc
from collections.abc import Callable

from eclip_lib.config import FrameConfig
from eclip_lib.events.recording import Recording
from eclip_lib.frames.counting import frame_maps
from eclip_lib.frames.drawing import event_frames
from tests.benchmarks.recordings import random_recording
from tests.benchmarks.timing import ms, side_by_side, table

LEAST, MOST = 4, 7  # powers of ten of events
CFG = FrameConfig(size=224, frames=5)


def peak_bytes(function: Callable[[], object]) -> int:
    """Return the most memory that NumPy holds at once during a call, beyond what it held before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def contenders(recording: Recording) -> dict[str, Callable]:
    return {"maps": lambda: frame_maps(recording, CFG), "frames": lambda: event_frames(recording, CFG)}


def main() -> str:
    recordings = {f"10^{power}": random_recording(10**power) for power in range(LEAST, MOST + 1)}
    ways = {name: contenders(recording) for name, recording in recordings.items()}
    times = side_by_side({(name, way): f for name, both in ways.items() for way, f in both.items()}, seconds=8)
    rows = [
        [
            name,
            ms(times[name, "maps"]),
            f"{1e9 * times[name, 'maps'] / len(recording):.2f}",
            ms(times[name, "frames"]),
            f"{peak_bytes(ways[name]['maps']) / 1e6:.2f}",
            f"{recording.events.nbytes / 1e6:.1f}",
        ]
        for name, recording in recordings.items()
    ]
    headers = ["events", "maps, ms", "ns per event", "frames, ms", "peak of maps, MB", "the events, MB"]
    slope = (times["10^7", "maps"] - times["10^4", "maps"]) / (10**7 - 10**4)
    return (
        "## Cost from 10^4 to 10^7 events: 180x240, 5 windows, frames of 224x224\n\n"
        + table(headers, rows)
        + f"\n- {1e9 * slope:.2f} ns for each event more; the memory beyond the events is that of the maps, "
        "whatever their number.\n"
    )
