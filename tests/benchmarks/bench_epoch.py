"""An epoch on the icons: frames from the cache, or drawn anew from changed events by 0, 1 and 2 worker processes."""

from dataclasses import replace
from time import perf_counter

from eclip_lib.experiments.experiment import Experiment
from eclip_lib.experiments.presets import quickstart_run
from tests.benchmarks.timing import table

EPOCHS = 3  # the best counts; workers start with the first


def seconds_an_epoch(drop_events: float, workers: int) -> tuple[float, int]:
    """Return the seconds of the best epoch, and how many recordings it has."""
    base = quickstart_run("icons100", subset="icons25")
    train = replace(base.train, epochs=EPOCHS, drop_events=drop_events, workers=workers)
    experiment = Experiment(replace(base, train=train))
    taken, start = [], perf_counter()
    for _ in experiment.fit(watch=False):
        taken.append(perf_counter() - start)
        start = perf_counter()
    return min(taken), len(experiment.train)


def main() -> str:
    rows = []
    for name, drop, workers in (
        ("frames from the cache", 0.0, 0),
        ("drawn anew, no worker", 0.2, 0),
        ("drawn anew, 1 worker", 0.2, 1),
        ("drawn anew, 2 workers", 0.2, 2),
    ):
        seconds, recordings = seconds_an_epoch(drop, workers)
        rows.append([name, f"{seconds:.2f}", f"{recordings / seconds:.0f}"])
    return (
        f"## An epoch on icons25, 5 shots: {recordings} recordings of 3 frames, 48 pixels\n\n"
        + table(["", "s", "recordings/s"], rows)
        + "\n- The training itself has one thread; workers are further processes.\n"
    )
