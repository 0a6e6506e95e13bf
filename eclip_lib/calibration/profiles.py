"""How well a simulated camera matches a real one.

real and simulated recordings of the same stills -> two `Profile`s -> figures of agreement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from eclip_lib.cache import parallel_map
from eclip_lib.camera import SaccadeCamera
from eclip_lib.events import Recording

SACCADE_CUTS_MS = (95.0, 220.0)  # between N-MNIST's saccades, where the real event rate is lowest
BIN_MS = 5.0  # of the event rate
GAP_EDGES = np.logspace(2, 5.5, 36)  # microseconds between events of one pixel and polarity, tenths of a decade


@dataclass(frozen=True)
class Profile:
    """What a set of N recordings of one sensor is like.

    Attributes:
        events: (N,) events of each recording.
        on_share: (N,) share of ON events.
        rate: (2, M) events per second of the mean recording in bins of `BIN_MS`, ON and OFF.
        gaps: (35,) shares of the times between two events of one pixel and polarity, by tenths of a decade from 100 us.
        maps: (N, S, 2, H, W) event count maps by saccade and polarity, channel 0 = ON.
    """

    events: np.ndarray
    on_share: np.ndarray
    rate: np.ndarray
    gaps: np.ndarray
    maps: np.ndarray

    @property
    def saccade_share(self) -> np.ndarray:
        """Return the share of all events in each saccade, (S,)."""
        by_saccade = self.maps.sum((0, 2, 3, 4), dtype=np.int64)
        return by_saccade / by_saccade.sum()


def profile(recordings: Sequence[Recording], duration_ms: float, cuts_ms: Sequence[float] = SACCADE_CUTS_MS) -> Profile:
    """Measure what the comparison of cameras looks at.

    Args:
        recordings: of one sensor; times count from the first event of each.
        duration_ms: the length of the rate's axis; later events are in no bin.
        cuts_ms: where one saccade ends and the next begins.

    Raises:
        ValueError: no recordings, or recordings of different sensors.
    """
    sizes = {recording.sensor_size for recording in recordings}
    if len(sizes) != 1:
        raise ValueError(f"{len(recordings)} recordings of the sensors {sorted(sizes)}; expected some, of one sensor")
    events = [recording.events for recording in recordings]
    edges = np.arange(0, duration_ms + BIN_MS, BIN_MS)
    rates = [[np.histogram(_ms(e)[e["p"] == on], edges)[0] for on in (True, False)] for e in events]
    gaps = np.sum([_gaps(recording) for recording in recordings], axis=0)
    return Profile(
        events=np.array([len(e) for e in events]),
        on_share=np.array([e["p"].mean() for e in events]),
        rate=np.mean(rates, axis=0) / BIN_MS * 1000,
        gaps=gaps / max(1, gaps.sum()),
        maps=np.stack([saccade_maps(recording, cuts_ms) for recording in recordings]),
    )


def _ms(events: np.ndarray) -> np.ndarray:
    """Return times in milliseconds since the first event."""
    return (events["t"] - events["t"][0]) / 1000


def saccade_maps(recording: Recording, cuts_ms: Sequence[float] = SACCADE_CUTS_MS) -> np.ndarray:
    """Return the event count maps of each saccade, uint16 (S, 2, H, W), channel 0 = ON."""
    events, (height, width) = recording.events, recording.sensor_size
    saccade = np.searchsorted(cuts_ms, _ms(events), side="right")
    site = ((saccade * 2 + ~events["p"]) * height + events["y"]) * width + events["x"]
    shape = (len(cuts_ms) + 1, 2, height, width)
    return np.bincount(site, minlength=int(np.prod(shape))).reshape(shape).astype(np.uint16)


def _gaps(recording: Recording) -> np.ndarray:
    """Count the times between two events of one pixel and polarity."""
    events = recording.events
    site = (events["y"].astype(np.int64) * recording.sensor_size[1] + events["x"]) * 2 + events["p"]
    order = np.lexsort((events["t"], site))
    gaps = np.diff(events["t"][order])[np.diff(site[order]) == 0]
    return np.histogram(np.maximum(gaps, GAP_EDGES[0]), GAP_EDGES)[0]


def compare(real: Profile, simulated: Profile) -> dict[str, float]:
    """Return figures of agreement between real recordings and simulated ones of the same stills, in the same order.

    - `event_ratio`: median events, simulated over real.
    - `count_error`: mean over recordings of |ln(simulated events / real events)|.
    - `on_share_error`: median share of ON events, simulated minus real.
    - `saccade_share_error`: largest difference of a saccade's share of the events.
    - `rate_error`: area between the two curves of event rate, over the area under the real one.
    - `gap_error`: total variation distance between the distributions of times between a pixel's events, 0 to 1.
    - `correlation`: mean over recordings, saccades and polarities of the correlation of the two count maps.

    Raises:
        ValueError: other numbers of recordings, sensors or saccades on the two sides, or rates of another length.
    """
    for name, a, b in (("maps", real.maps, simulated.maps), ("rate", real.rate, simulated.rate)):
        if a.shape != b.shape:
            raise ValueError(
                f"{name} of shape {a.shape} against {b.shape}: compare recordings of the same stills, sensor and "
                "duration (for N-MNIST: N_MNIST_CAMERA)"
            )
    return {
        "event_ratio": float(np.median(simulated.events) / np.median(real.events)),
        "count_error": float(np.abs(np.log(simulated.events / real.events)).mean()),
        "on_share_error": float(np.median(simulated.on_share) - np.median(real.on_share)),
        "saccade_share_error": float(np.abs(simulated.saccade_share - real.saccade_share).max()),
        "rate_error": float(np.abs(simulated.rate - real.rate).sum() / real.rate.sum()),
        "gap_error": float(np.abs(simulated.gaps - real.gaps).sum() / 2),
        "correlation": float(map_correlations(real.maps, simulated.maps).mean()),
    }


def map_correlations(real: np.ndarray, simulated: np.ndarray) -> np.ndarray:
    """Return the correlation over pixels of count maps (N, S, 2, H, W), (N, S, 2); 0 where a map is flat."""
    a, b = (maps - maps.mean((-2, -1), keepdims=True, dtype=np.float64) for maps in (real, simulated))
    norm = np.sqrt((a * a).sum((-2, -1)) * (b * b).sum((-2, -1)))
    return (a * b).sum((-2, -1)) / np.where(norm > 0, norm, np.inf)


def background_rates(
    camera: SaccadeCamera, stills: Sequence[np.ndarray], recordings: Sequence[Recording], reach: int = 7
) -> tuple[float, float]:
    """Return the rate of ON and of OFF events, per pixel and second, where the still is blank within `reach` pixels.

    Raises:
        ValueError: there is no such pixel.
    """
    counts, seconds = np.zeros(2), 0.0
    for still, recording in zip(stills, recordings, strict=True):
        screen = sliding_window_view(camera.log_intensity(still, reach), (2 * reach + 1, 2 * reach + 1))
        blank = np.ptp(screen, axis=(-2, -1)) == 0
        hits = blank[recording.events["y"], recording.events["x"]]
        counts += np.bincount(~recording.events["p"][hits], minlength=2)
        seconds += blank.sum() * recording.duration * 1e-6
    if not seconds:
        raise ValueError(
            f"no pixel is blank within {reach} pixels on any of {len(stills)} stills; take a smaller reach"
        )
    on, off = counts / seconds
    return float(on), float(off)


def record_all(
    camera: SaccadeCamera, stills: Sequence[np.ndarray], label: str | None = "simulated recordings"
) -> list[Recording]:
    """Record stills, each with another sensor of the same make; one thread a core."""
    return parallel_map(lambda i: camera.record(stills[i], seed=i), range(len(stills)), label)
