"""The fit of the camera's parameters to real recordings of the same stills.

stills, their real recordings, a camera -> a better camera, sweep by sweep.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from math import exp

import numpy as np

from eclip_lib.calibration.profiles import compare, profile, record_all
from eclip_lib.camera import SaccadeCamera, as_path
from eclip_lib.events import Recording

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
FIT_STEPS = (
    {f"path.{row}.{column}": 0.4 for row in range(7) for column in (1, 2)}
    | {f"path.{row}.0": 6.0 for row in range(6)}
    | {"threshold_on": 0.15, "threshold_off": 0.15, "threshold_mismatch": 0.3, "refractory_us": 0.3}
    | {"lag_us": 0.5, "black_level": 0.3, "blur_px": 0.2}
)
# Weights of the parts of the mismatch: chosen so that each is about as large when the camera is badly off.
_WEIGHTS = {"event_ratio": 1.0, "count_error": 1.0, "on_share_error": 2.0, "rate_error": 0.7, "gap_error": 0.7}
_SHRINK, _GROW, _DONE = 0.5, 1.5, 0.1  # of a step of the search after a failure, a success; where it ends


def mismatch(agreement: dict[str, float]) -> float:
    """Return one number to make small: the weighted sum of the figures of `compare` (our choice)."""
    parts = agreement | {"event_ratio": np.log(agreement["event_ratio"])}
    return float(2 * (1 - parts["correlation"]) + sum(w * abs(parts[name]) for name, w in _WEIGHTS.items()))


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
                agreement = judge(candidate) if candidate else None
                if candidate and agreement and mismatch(agreement) < mismatch(best):
                    camera, best, size[name], moved = candidate, agreement, size[name] * _GROW, moved + 1
                    break
            else:
                size[name] *= _SHRINK
        yield {"sweep": sweep, "moved": moved, "mismatch": mismatch(best), **best, "camera": camera}
        if max(size.values()) < _DONE:
            return


def moved_camera(camera: SaccadeCamera, name: str, step: float) -> SaccadeCamera | None:
    """Return a camera with one parameter moved, None where it would leave its range; see `fit_camera`."""
    try:
        if name.startswith("path."):
            row, column = map(int, name.split(".")[1:])
            path = [list(point) for point in camera.path]
            path[row][column] += step
            return replace(camera, path=as_path(path))
        value = getattr(camera, name) * exp(step)
        return replace(camera, **{name: round(value) if name.endswith("refractory_us") else value})
    except ValueError:
        return None


def camera_table(cameras: Mapping[str, SaccadeCamera]) -> list[dict]:
    """Return the fields in which cameras differ, one row a field."""
    fields = {name: asdict(camera) for name, camera in cameras.items()}
    first = next(iter(fields.values()))
    differing = [key for key in first if any(other[key] != first[key] for other in fields.values())]
    return [{"field": key} | {name: values[key] for name, values in fields.items()} for key in differing]
