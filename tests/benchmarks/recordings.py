from dataclasses import replace

import numpy as np

from eclip_lib.camera.simulation import SaccadeCamera
from eclip_lib.data.embedded_stills import icons100
from eclip_lib.events.array import EVENT_DTYPE
from eclip_lib.events.recording import Recording

SENSOR = (180, 240)  # that of N-Caltech101
MOST_NOISE = 0.04  # natural log of intensity; a sensitive camera, for many events from one still


def random_recording(n_events: int, sensor_size: tuple[int, int] = SENSOR) -> Recording:
    """Return events at random pixels, one each microsecond, the same on every call."""
    rng = np.random.default_rng(n_events)
    events = np.empty(n_events, EVENT_DTYPE)
    events["x"], events["y"] = (rng.integers(0, side, n_events) for side in sensor_size[::-1])
    events["t"], events["p"] = np.arange(n_events), rng.random(n_events) < 0.5
    return Recording(events, sensor_size)


def camera_recording(n_events: int, sensor_size: tuple[int, int] = SENSOR) -> Recording:
    """Return events of the saccade camera on embedded stills, in clusters as real ones; one each microsecond."""
    camera = replace(SaccadeCamera(), sensor_size=sensor_size, threshold_on=MOST_NOISE, threshold_off=MOST_NOISE)
    parts, stills = [], icons100()
    while sum(map(len, parts)) < n_events:
        parts.append(camera.record(stills.image(len(parts)), seed=len(parts)).events)
    events = np.concatenate(parts)[:n_events]
    events["t"] = np.arange(n_events)
    return Recording(events, sensor_size)
