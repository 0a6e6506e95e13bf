"""How well a simulated camera matches a real one, and the fit of its parameters.

stills, their real recordings, a camera -> `Profile`s -> figures of agreement -> a better camera.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import exp

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from eclip_lib.cache import parallel_map
from eclip_lib.camera import SaccadeCamera
from eclip_lib.events import Recording

SACCADE_CUTS_MS = (95.0, 220.0)  # between N-MNIST's saccades, where the real event rate is lowest
BIN_MS = 5.0  # of the event rate
# A plain guess at N-MNIST's rig, from which its fit starts: 28 x 28 stills in the middle of a white screen, three
# saccades around an equilateral triangle, short rests between, a sensor as event cameras commonly are. Size,
# orientation and times of the triangle, like the cuts above, were read off all 1,000 recordings before they were
# halved; either half alone gives the same to 0.03 pixels and 0.2 ms.
N_MNIST_START = SaccadeCamera(
    sensor_size=(34, 34),
    path=(
        (5.0, 1.7, 3.0),
        (90.0, -3.5, 0.0),
        (105.0, -3.5, 0.0),
        (200.0, 1.7, -3.0),
        (215.0, 1.7, -3.0),
        (300.0, 1.7, 3.0),
        (308.0, 1.7, 3.0),
    ),
    margin_px=3.0,
    threshold_on=0.3,
    threshold_off=0.3,
    threshold_mismatch=0.03,
    refractory_us=1000,
    lag_us=100.0,
    noise_on_hz=0.05,
    noise_off_hz=0.05,
    black_level=0.1,
    blur_px=0.6,
)
# First steps of the fit, see `fit_camera`.
STEPS = (
    {f"path.{row}.{column}": 0.4 for row in range(7) for column in (1, 2)}
    | {f"path.{row}.0": 6.0 for row in range(6)}
    | {"threshold_on": 0.15, "threshold_off": 0.15, "threshold_mismatch": 0.3, "refractory_us": 0.3}
    | {"lag_us": 0.5, "black_level": 0.3, "blur_px": 0.2}
)
GAP_EDGES = np.logspace(2, 5.5, 36)  # microseconds between events of one pixel and polarity, tenths of a decade
# Weights of the parts of the mismatch: chosen so that each is about as large when the camera is badly off.
_WEIGHTS = {"event_ratio": 1.0, "count_error": 1.0, "on_share_error": 2.0, "rate_error": 0.7, "gap_error": 0.7}
_SHRINK, _GROW, _DONE = 0.5, 1.5, 0.1  # of a step of the search after a failure, a success; where it ends


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


def mismatch(agreement: dict[str, float]) -> float:
    """Return one number to make small: the weighted sum of the figures of `compare` (our choice)."""
    parts = agreement | {"event_ratio": np.log(agreement["event_ratio"])}
    return float(2 * (1 - parts["correlation"]) + sum(w * abs(parts[name]) for name, w in _WEIGHTS.items()))


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


def fit_camera(
    camera: SaccadeCamera,
    stills: Sequence[np.ndarray],
    recordings: Sequence[Recording],
    steps: dict[str, float],
    sweeps: int = 10,
) -> Iterator[dict]:
    """Fit parameters of a camera to real recordings of the same stills by compass search.

    Each parameter in turn is moved up or down by its step; a move that lowers the `mismatch` stays and makes the step
    longer, otherwise the step is halved. Slow but honest: it needs no derivative of the thresholds.

    Args:
        camera: the start.
        stills: uint8, one for each recording.
        recordings: real ones, of one sensor that has the size of the camera's.
        steps: first steps by parameter: the name of a field for a factor exp(step), or "path.row.column" for a shift in
            the path's unit (ms or pixels).
        sweeps: rounds through all parameters at most; it ends when every step is a tenth of the first.

    Raises:
        ValueError: fewer than one sweep, or see `profile`.

    Yields:
        After each sweep: sweep, moved (number of parameters), mismatch, the figures of `compare`, and camera.
    """
    if sweeps < 1:
        raise ValueError(f"sweeps = {sweeps}: must be at least 1")
    duration_ms = camera.duration_us / 1000
    real = profile(recordings, duration_ms)

    def judge(candidate: SaccadeCamera) -> dict[str, float]:
        return compare(real, profile(record_all(candidate, stills, None), duration_ms))

    size, best = dict.fromkeys(steps, 1.0), judge(camera)
    for sweep in range(1, sweeps + 1):
        moved = 0
        for name, step in steps.items():
            for sign in (1, -1):
                candidate = moved_camera(camera, name, sign * size[name] * step)
                agreement = candidate and judge(candidate)
                if agreement and mismatch(agreement) < mismatch(best):
                    camera, best, size[name], moved = candidate, agreement, size[name] * _GROW, moved + 1
                    break
            else:
                size[name] *= _SHRINK
        yield {"sweep": sweep, "moved": moved, "mismatch": mismatch(best), **best, "camera": camera}
        if max(size.values()) < _DONE:
            return


def moved_camera(camera: SaccadeCamera, name: str, step: float) -> SaccadeCamera | None:
    """Return a camera with one parameter moved, None where the camera would be none; see `fit_camera`."""
    try:
        if name.startswith("path."):
            row, column = map(int, name.split(".")[1:])
            path = [list(point) for point in camera.path]
            path[row][column] += step
            return replace(camera, path=path)
        value = getattr(camera, name) * exp(step)
        return replace(camera, **{name: round(value) if name.endswith("refractory_us") else value})
    except ValueError:
        return None


def camera_table(cameras: dict[str, SaccadeCamera]) -> list[dict]:
    """Return the fields in which cameras differ, one row a field."""
    fields = {name: asdict(camera) for name, camera in cameras.items()}
    first = next(iter(fields.values()))
    differing = [key for key in first if any(other[key] != first[key] for other in fields.values())]
    return [{"field": key} | {name: values[key] for name, values in fields.items()} for key in differing]
