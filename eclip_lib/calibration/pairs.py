"""Stills with their recordings, to calibrate a camera on and to check it.

N-MNIST and MNIST, a CSV of pairs, or a stand-in -> `CalibrationSet`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from eclip_lib.calibration.fitting import FIT_STEPS, N_MNIST_START
from eclip_lib.calibration.profiles import record_all
from eclip_lib.camera import SaccadeCamera, read_still
from eclip_lib.config import DataConfig
from eclip_lib.data import icons100, load_dataset, read_mnist
from eclip_lib.events import Recording, read_events
from eclip_lib.paths import ASSETS, find_path

N_CALTECH_SENSOR = (180, 240)
# The unknown camera of the stand-in, and what its fit may turn; real sets turn all of `FIT_STEPS`.
_STAND_IN_START = replace(N_MNIST_START, sensor_size=(56, 56), margin_px=14.0)  # blank borders tell the noise
_HIDDEN = replace(_STAND_IN_START, threshold_on=0.42, threshold_off=0.36, black_level=0.07, noise_on_hz=0.4)
_HIDDEN_STEPS = ("threshold_on", "threshold_off", "black_level")
_STAND_IN_CLASSES, _STAND_IN_STILLS, _FOLDS = 5, 12, 3


@dataclass(frozen=True)
class CalibrationSet:
    """N stills and their recordings, halved: one half fits the camera, the other, never seen by the fit, checks it.

    Attributes:
        name: what it is, for titles.
        real: the recordings are real ones, not simulated.
        stills: N images, uint8, as they were on the screen.
        recordings: N recordings of them, of one sensor.
        labels: (N,) class of each.
        folds: (N,) fold of each, for classifiers that train on the recordings.
        spare: number, seed -> further stills of the same kind, none of them among the N, and their labels.
        start: the camera that the fit starts from.
        steps: of the fit.
    """

    name: str
    real: bool
    stills: list[np.ndarray]
    recordings: list[Recording]
    labels: np.ndarray
    folds: np.ndarray
    spare: Callable[[int, int], tuple[list[np.ndarray], np.ndarray]]
    start: SaccadeCamera
    steps: dict[str, float]

    @property
    def fit(self) -> np.ndarray:
        """Return the indices of the half that fits: every second, so each class is halved."""
        return np.arange(0, len(self.stills), 2)

    @property
    def held_out(self) -> np.ndarray:
        """Return the indices of the half that checks."""
        return np.arange(1, len(self.stills), 2)

    def fitting(self, number: int) -> np.ndarray:
        """Return so many indices of the half that fits, evenly spread; all of them if there are fewer."""
        number = max(1, min(number, len(self.fit)))
        return self.fit[np.arange(number) * len(self.fit) // number]

    def pairs(self, indices: np.ndarray) -> tuple[list[np.ndarray], list[Recording]]:
        """Return some stills and their recordings."""
        return [self.stills[i] for i in indices], [self.recordings[i] for i in indices]


def calibration_set(data_root: str | None) -> CalibrationSet:
    """Return N-MNIST's recordings below `data_root` with MNIST's stills, or the stand-in if it is None."""
    return _stand_in() if data_root is None else _n_mnist(data_root)


def on_screen(digits: np.ndarray) -> np.ndarray:
    """Return MNIST's stills as N-MNIST's screen showed them: dark on white.

    Our reading of the recordings: where a digit's edge arrives, pixels report OFF. White digits with a reversed
    polarity bit would do the same, but N-Caltech101, made with the same rig, has its polarity as expected.
    """
    return 255 - digits


def _n_mnist(data_root: str) -> CalibrationSet:
    """Return the recordings of the tracked folds."""
    data = load_dataset(DataConfig("n-mnist", root=data_root, protocol="fine-tune", shots=None, fold=0))
    digits, labels = read_mnist(data_root)
    used = [int(Path(name).stem) - 1 for name in data.ids]  # file numbers count from 1
    rest = np.setdiff1d(np.arange(len(digits)), used)

    def spare(number: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
        if number > len(rest):
            raise ValueError(f"{number:,} further stills: MNIST has {len(rest):,} that are not among the recordings'")
        chosen = np.random.default_rng(seed).choice(rest, number, replace=False)
        return list(on_screen(digits[chosen])), labels[chosen].astype(np.int64)

    return CalibrationSet(
        name="N-MNIST (real)",
        real=True,
        stills=[on_screen(digits[index]) for index in used],
        recordings=[data.recording(index) for index in range(len(data))],
        labels=data.labels,
        folds=pd.read_csv(ASSETS / "n_mnist_folds.csv").fold.to_numpy(),
        spare=spare,
        start=N_MNIST_START,
        steps=FIT_STEPS,
    )


def _stand_in() -> CalibrationSet:
    """Return embedded icons recorded by a simulated camera whose parameters the fit does not know."""
    stills = icons100()
    classes = stills.classes[:_STAND_IN_CLASSES]
    rows = [np.flatnonzero(stills.table.cls == name) for name in classes]
    used = np.stack([members[:_STAND_IN_STILLS] for members in rows], axis=1).ravel()  # class after class
    labels = np.tile(np.arange(_STAND_IN_CLASSES), _STAND_IN_STILLS)
    others = np.concatenate([members[_STAND_IN_STILLS:] for members in rows])

    def spare(number: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
        chosen = np.random.default_rng(seed).choice(others, min(number, len(others)), replace=False)
        rows = chosen.tolist()
        return [stills.image(i) for i in rows], np.array([classes.index(stills.table.cls[i]) for i in rows])

    shown = [stills.image(i) for i in used.tolist()]
    return CalibrationSet(
        name="stand-in (simulated)",
        real=False,
        stills=shown,
        recordings=record_all(_HIDDEN, shown, None),
        labels=labels,
        folds=np.arange(len(used)) // _STAND_IN_CLASSES % _FOLDS,
        spare=spare,
        start=_STAND_IN_START,
        steps={name: FIT_STEPS[name] for name in _HIDDEN_STEPS},
    )


def caltech_pairs(csv: str, camera: SaccadeCamera) -> list[tuple[str, np.ndarray, Recording, SaccadeCamera]]:
    """Return N-Caltech101's recordings that a CSV pairs with their stills, and the camera of each.

    The stills fill 240 x 180 pixels with their aspect kept; about 3.5 pixels at each side lie outside the recording, so
    the view of the camera ends within the still.

    Args:
        csv: columns file (recording), class and image (still), relative to its folder or the one above.
        camera: gives everything but the geometry.

    Raises:
        FileNotFoundError: the CSV or a file it names is missing.
        ValueError: a column or an entry is missing, or a file is damaged.
    """
    path = find_path(csv)
    table = pd.read_csv(path)
    missing = {"file", "class", "image"} - set(table)
    if missing:
        raise ValueError(f"{path}: has no column {', '.join(sorted(missing))}; expected file, class, image")
    found = []
    for number, row in enumerate(table.to_dict("records"), start=2):
        file, still = (_beside(path, row[name], f"{path}, line {number}") for name in ("file", "image"))
        recording = _view(read_events(file, N_CALTECH_SENSOR))
        own = replace(camera, sensor_size=recording.sensor_size, margin_px=-3.5)
        found.append((f"{row['class']} ({file.name})", read_still(still), recording, own))
    return found


def _beside(csv: Path, name: object, place: str) -> Path:
    """Return the file that a CSV names, in its folder or the one above."""
    if not isinstance(name, str):
        raise ValueError(f"{place}: names no file")
    found = [folder / name for folder in (csv.parent, csv.parent.parent) if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{place}: no file {name} in {csv.parent} or the folder above")
    return found[0]


def _view(recording: Recording) -> Recording:
    """Return the recording on the view of its camera, which is smaller than the sensor that the format promises.

    No file tells the view's size; the tens of thousands of events of a photograph reach its border, so the largest of
    them gives it. That is an exception: nowhere else do events tell a size.
    """
    events = recording.events
    return Recording(events, (int(events["y"].max()) + 1, int(events["x"].max()) + 1))
