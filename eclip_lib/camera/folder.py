"""A labeled folder of images becomes a labeled event data set, recorded by the saccade camera.

FOLDER/<class>/<image> -> OUT/<class>/<image>.npz or .bin, recordings.csv, camera.json.
"""

import csv
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pandas as pd

from eclip_lib.cache import atomic_path, parallel_map
from eclip_lib.camera.gaze import GazePath, as_path
from eclip_lib.camera.simulation import VERSION, SaccadeCamera
from eclip_lib.camera.stills import find_stills, read_still
from eclip_lib.events import read_events, write_events

FORMATS = (".npz", ".bin")
BIN_SIDE = 256  # pixels; the largest side that .bin can hold
CAMERA_FILE, TABLE_FILE, JOURNAL_FILE = "camera.json", "recordings.csv", ".recordings.part.csv"


@dataclass(frozen=True)
class Recorded:
    """What became of one still.

    Attributes:
        still: its path below the folder of stills; `label` is the folder it lies in.
        file: the path of the recording below the folder of recordings.
        label: the class, "" for a still at the top.
        seed: of the sensor that recorded it.
        events: of the recording; 0 if it could not be made.
        problem: why not, else "".
    """

    still: str
    file: str
    label: str
    seed: int
    events: int
    problem: str = ""


def _check_names(folder: Path, stills: Sequence[Path]) -> None:
    """Refuse two images whose recordings would have one name."""
    twice = [name for name, count in Counter(still.with_suffix("") for still in stills).items() if count > 1]
    if twice:
        same = [str(still) for still in stills if still.with_suffix("") == twice[0]]
        raise ValueError(f"{folder}: {' and '.join(same)} would give one recording; rename all but one")


def read_camera(file: Path | None, path_file: Path | None, given: Mapping[str, object]) -> SaccadeCamera:
    """Return a camera from a file of its fields, a file of its motion, and single fields, the later ones first.

    Args:
        file: JSON of fields, or the `camera.json` of `record_folder`; None for the defaults.
        path_file: CSV with the columns ms, down, right (pixels); the camera keeps a constant speed between its rows.
        given: fields by name; a text is read as JSON.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is no such JSON or CSV, or a field is unknown or out of range.
    """
    fields = _read_json(file) if file else {}
    fields = dict(fields.get("camera", fields))
    if path_file:
        fields |= {"path": _read_path(path_file), "rests": False}
    fields |= {name: _value(name, value) if isinstance(value, str) else value for name, value in given.items()}
    return SaccadeCamera.from_dict(fields)


def _read_json(file: Path) -> dict:
    """Read the fields of a camera."""
    try:
        fields = json.loads(file.read_text())
    except (ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{file}: no such file of camera fields") from error
        raise ValueError(f"{file}: not a JSON file of camera fields ({error})") from error
    for found in (fields, fields.get("camera", {}) if isinstance(fields, dict) else {}):
        if not isinstance(found, dict):
            raise ValueError(f"{file}: holds {type(found).__name__}, expected camera fields by name")
    return fields


def _read_path(file: Path) -> GazePath:
    """Read a path from the columns ms, down, right."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file of a path; expected a CSV with the columns ms,down,right")
    try:
        rows = pd.read_csv(file)[["ms", "down", "right"]].astype(float).to_numpy().tolist()
    except (KeyError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not a CSV with the numeric columns ms,down,right ({error})") from error
    try:
        return as_path(rows)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _value(name: str, text: str) -> object:
    """Read the value of a field from the command line."""
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"SaccadeCamera.{name} = {text!r}: not a number, true, false or a list") from None


def record_folder(
    folder: Path | str, out: Path | str, camera: SaccadeCamera, suffix: str = ".npz", seed: int = 0
) -> list[Recorded]:
    """Record every image below `folder` to the same place below `out`; one thread a core, with a progress bar.

    Resumable: a recording that is there, readable and made of the same image is kept, so the same call goes on where
    an earlier one stopped. An image that cannot be recorded is passed over and told in the result, the rest is not
    lost. Each still has its own sensor, drawn from its content and `seed`, whatever else is in the folder.

    Args:
        folder: images, in a folder for each class; deeper folders are part of the class's name.
        out: where the recordings go, with `recordings.csv` (one row each) and `camera.json` (how they were made).
        camera: what records them.
        suffix: ".npz" (any sensor) or ".bin" (ATIS, up to 256 x 256 pixels, does not hold the sensor's size).
        seed: draws other sensors.

    Returns:
        One entry a still, in the order of `find_stills`. Warns of recordings in `out` whose still is gone.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no images, names that clash, a format that cannot hold the sensor, or `out` was made otherwise.
    """
    folder, out = Path(folder), Path(out)
    if suffix not in FORMATS:
        raise ValueError(f"format {suffix!r}: expected one of {', '.join(FORMATS)}")
    if suffix == ".bin" and max(camera.sensor_size) > BIN_SIDE:
        raise ValueError(
            f".bin holds up to {BIN_SIDE} x {BIN_SIDE} pixels, the sensor has {camera.sensor_size}; take .npz"
        )
    stills = find_stills(folder)
    _check_names(folder, stills)
    _claim(out, camera, suffix, seed)
    seeds, journal = _made_before(out), Lock()

    def record(index: int) -> Recorded:
        made = _record_one(folder, stills[index], out, camera, suffix, seed, seeds)
        with journal, (out / JOURNAL_FILE).open("a", newline="") as file:  # what an interrupted call leaves
            csv.writer(file).writerow([made.file, made.seed])
        return made

    done = parallel_map(record, range(len(stills)), "recordings")
    _write_table(out / TABLE_FILE, done)
    (out / JOURNAL_FILE).unlink()
    _warn_of_stale(out, set(seeds) - {item.file for item in done})
    return done


def _made_before(out: Path) -> dict[str, str]:
    """Return the seeds of the recordings that earlier calls have made, finished or not, by file."""
    seeds: dict[str, str] = {}
    if (out / TABLE_FILE).is_file():
        with (out / TABLE_FILE).open(newline="") as file:
            seeds |= {row["file"]: row["seed"] for row in csv.DictReader(file) if len(row) >= 2}
    if (out / JOURNAL_FILE).is_file():
        with (out / JOURNAL_FILE).open(newline="") as file:
            # A line cut short names no seed, or another one, and its recording is made again.
            seeds |= {row[0]: row[1] for row in csv.reader(file) if len(row) >= 2}
    return seeds


def _warn_of_stale(out: Path, files: set[str]) -> None:
    """Warn of recordings that are there while their stills are not; a loader of the folder would take them."""
    stale = sorted(file for file in files if (out / file).is_file())
    if stale:
        warnings.warn(
            f"{out} still holds {len(stale)} recordings of images that are gone, such as {stale[0]}; they are not in "
            f"{TABLE_FILE}, delete them if they are not wanted",
            stacklevel=3,
        )


def _claim(out: Path, camera: SaccadeCamera, suffix: str, seed: int) -> None:
    """Note in `out` how its recordings are made; refuse a folder whose recordings are made otherwise."""
    made = {"simulated": True, "camera": camera.to_dict(), "version": VERSION, "format": suffix, "seed": seed}
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: a file, not a folder for recordings; name another place")
    path = out / CAMERA_FILE
    if path.is_file():
        there = _read_json(path)
        differing = [key for key in made if there.get(key) != made[key]]
        if differing:
            told = ", ".join(_difference(key, there.get(key), made[key]) for key in differing)
            raise ValueError(f"{out} holds recordings made otherwise: {told}; name another folder, or empty this one")
        return
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(made, indent=1))


def _difference(key: str, there: object, made: object) -> str:
    """Tell in which fields what was noted differs from what is asked for."""
    if not (isinstance(there, dict) and isinstance(made, dict)):
        return f"{key} {there!r}, not {made!r}"
    names = [name for name in made if there.get(name) != made[name]]
    return ", ".join(f"{key}.{name} {there.get(name)!r}, not {made[name]!r}" for name in names)


def _record_one(
    folder: Path, still: Path, out: Path, camera: SaccadeCamera, suffix: str, seed: int, seeds: Mapping[str, str]
) -> Recorded:
    """Record one still unless its recording is there."""
    file, label = still.with_suffix(suffix), still.parent.as_posix()
    facts = {"still": still.as_posix(), "file": file.as_posix(), "label": "" if label == "." else label}
    try:
        own_seed = _seed(folder / still, seed)
        same_image = seeds.get(facts["file"]) == str(own_seed)
        events = _events_there(out / file, camera) if same_image else 0
        if not events:
            recording = camera.record(read_still(folder / still), own_seed)
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            write_events(out / file, recording)
            events = len(recording)
        return Recorded(**facts, seed=own_seed, events=events)
    except (ValueError, OSError) as error:
        return Recorded(**facts, seed=0, events=0, problem=str(error))


def _seed(path: Path, seed: int) -> int:
    """Return 32 bits that name an image's content and the user's seed."""
    return int(hashlib.sha256(path.read_bytes() + str(seed).encode()).hexdigest()[:8], 16)


def _events_there(path: Path, camera: SaccadeCamera) -> int:
    """Return the number of events of a recording that an earlier call has made, 0 if it has to be made."""
    if not path.is_file():
        return 0
    try:
        return len(read_events(path, camera.sensor_size))
    except ValueError:
        return 0


def _write_table(path: Path, done: Sequence[Recorded]) -> None:
    """Write one row for each recording that was made."""
    table = pd.DataFrame([vars(item) for item in done if not item.problem], columns=list(Recorded.__annotations__))
    with atomic_path(path) as temporary:
        table.drop(columns="problem").to_csv(temporary, index=False)
