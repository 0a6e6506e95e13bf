"""The recording: events of one sensor, checked.

events and the size of their sensor -> `Recording`.
"""

from dataclasses import dataclass

import numpy as np

from eclip_lib.events.array import check_events, checked_size


@dataclass(frozen=True, eq=False)
class Recording:
    """Events of one sensor, checked when built: there is at least one.

    Attributes:
        events: structured array `(N,)` of `EVENT_DTYPE`; treat it as read-only.
        sensor_size: (height, width) in pixels of the sensor, never of the largest event.

    Raises:
        ValueError: see `check_events`.

    Example:
        >>> from eclip_lib.events import EVENT_DTYPE
        >>> events = np.array([(3, 1, 10, True), (0, 0, 25, False)], EVENT_DTYPE)
        >>> recording = Recording(events, (2, 4))
        >>> len(recording), recording.duration
        (2, 15)
    """

    events: np.ndarray
    sensor_size: tuple[int, int]

    def __post_init__(self) -> None:
        """Check the contract."""
        object.__setattr__(self, "sensor_size", checked_size(self.sensor_size))
        check_events(self.events, self.sensor_size)

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.events)

    @property
    def duration(self) -> int:
        """Return the microseconds from the first event to the last."""
        return int(self.events["t"][-1]) - int(self.events["t"][0])
