"""Is a data set complete and readable?

`EventData` -> `Report`: counts, events per recording, missing pairs, unreadable files with reasons.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from eclip_lib.cache import parallel_map
from eclip_lib.config import DataConfig
from eclip_lib.data.loading import load_dataset
from eclip_lib.data.recordings import PARTS, EventData, first_five
from eclip_lib.data.sets.scan import MissingStills

_BATCH = 32  # recordings a task
SHOWN = 20  # problems of a kind that are printed


@dataclass(frozen=True)
class Report:
    """What a check has found.

    Attributes:
        data: the data set.
        events: (N,) events of each recording; 0 where it cannot be read.
        unreadable: (N,) why a recording or its still cannot be read, "" where both can.
        missing: ids of the recordings without a still, where others have one.
        notes: what loading the data set warned of.
    """

    data: EventData
    events: np.ndarray
    unreadable: np.ndarray
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """Return what is wrong, a line each; none if the data set is in order."""
        bad = [str(reason) for reason in self.unreadable if reason]
        found = [*self.notes, *(f"unreadable: {reason}" for reason in bad[:SHOWN])]
        found += [f"unreadable: {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        if self.missing:
            found.append(f"{len(self.missing)} recordings have no still: {first_five(self.missing)}")
        return found

    def __str__(self) -> str:
        """Return the counts and events as Markdown."""
        rows = [self._row(part, self.data.part == part) for part in PARTS if (self.data.part == part).any()]
        headers = ["part", "recordings", "a class", "stills", "events: fewest", "median", "most", "unreadable"]
        simulated = ", simulated" if self.data.simulated else ""
        classes = f"{len(np.unique(self.data.labels))} of {len(self.data.class_names)} classes"
        table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=["left"] + ["right"] * 7)
        return f"{self.data.name}: {len(self.data):,} recordings{simulated}, {classes}\n\n{table}"

    def _row(self, part: str, chosen: np.ndarray) -> list[str]:
        """Return the numbers of one part."""
        counts = np.bincount(self.data.labels[chosen])
        counts, read = counts[counts > 0], self.events[chosen & (self.events > 0)]
        events = [f"{int(f(read)):,}" if len(read) else "-" for f in (np.min, np.median, np.max)]
        a_class = f"{counts.min()}-{counts.max()}" if counts.min() < counts.max() else str(counts.min())
        stills, unreadable = self.data.has_still[chosen].sum(), (self.unreadable[chosen] != "").sum()
        return [part, f"{chosen.sum():,}", a_class, f"{stills:,}", *events, str(unreadable)]


def check_dataset(cfg: DataConfig, progress: bool = True) -> Report:
    """Load a data set and read each of its recordings and stills; one thread a core.

    Args:
        cfg: which data set.
        progress: show a bar.

    Raises:
        FileNotFoundError: see `load_dataset`.
        ValueError: see `load_dataset`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_dataset(cfg)
    starts = range(0, len(data), _BATCH)
    label = f"checked, times {_BATCH} recordings" if progress else None
    batches = parallel_map(
        lambda start: [_read(data, i) for i in range(start, min(start + _BATCH, len(data)))], starts, label
    )
    events, unreadable = zip(*(result for batch in batches for result in batch), strict=True)
    some = data.has_still.any()
    return Report(
        data=data,
        events=np.array(events),
        unreadable=np.array(unreadable, object),
        missing=tuple(data.ids[i] for i in np.flatnonzero(~data.has_still)) if some else (),
        notes=tuple(str(warning.message) for warning in caught if warning.category is not MissingStills),
    )


def _read(data: EventData, index: int) -> tuple[int, str]:
    """Read a recording and its still; return its events, and what is wrong."""
    events, reasons = 0, []
    try:
        with warnings.catch_warnings():
            events = len(data.recording(index))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        reasons.append(_named(data, index, error))
    try:
        if data.has_still[index]:
            data.still(index)
    except (ValueError, OSError) as error:
        reasons.append(_named(data, index, error))
    return events, "; ".join(reasons)


def _named(data: EventData, index: int, error: Exception) -> str:
    """Return the text of an error, with the name of the recording where it is not in there."""
    return str(error) if data.ids[index] in str(error) else f"{data.ids[index]}: {error}"
