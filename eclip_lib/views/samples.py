"""The recordings that the explorer shows: embedded and simulated ones, files, uploads.

a name, a path or bytes → `Sample` (a recording, its still, and the code that makes it again) → a snippet to paste.
"""

import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from eclip_lib.camera import SaccadeCamera, read_still
from eclip_lib.config import FrameConfig
from eclip_lib.data import TEST, icons100
from eclip_lib.events import Recording, read_events
from eclip_lib.paths import find_path


@dataclass(frozen=True, eq=False)
class Sample:
    """A recording to look at.

    Attributes:
        recording: the events.
        name: what titles call it.
        still: uint8 (H, W, 3) of the same scene, or None.
        imports: the line of Python that `code` needs, or nothing.
        code: the expression of Python that makes the recording again.
        note: what its reader had to say, such as the events that it left out.
    """

    recording: Recording
    name: str
    still: np.ndarray | None
    imports: str
    code: str
    note: str = ""


def sample_names() -> tuple[str, ...]:
    """Return the classes of the embedded stills, each of which `embedded_sample` takes."""
    return icons100().classes


def embedded_sample(name: str, seed: int = 0) -> Sample:
    """Record the first embedded still of a class with the simulated camera.

    Args:
        name: one of `sample_names`.
        seed: of the camera.

    Raises:
        ValueError: there is no such class.
    """
    stills = icons100()
    if name not in stills.classes:
        raise ValueError(f"no embedded sample {name!r}; there are {', '.join(stills.classes)}")
    table = stills.table
    # A still of the test families: no model of this project has been trained on it.
    index = int(np.flatnonzero((table["cls"] == name) & (table["split"] == TEST))[0])
    still = stills.image(index)
    code = f"embedded_sample({name!r}{f', seed={seed}' if seed else ''}).recording"
    recording = SaccadeCamera().record(still, seed)
    return Sample(recording, f"{name} (simulated)", still, "from eclip_lib.views import embedded_sample", code)


def file_sample(
    path: str | Path,
    sensor_size: tuple[int, int] | None = None,
    still_file: str | Path | None = None,
    on_error: str = "raise",
) -> Sample:
    """Read a recording, and its still where one is named.

    Args:
        path: absolute, or relative to the current folder or the project's.
        sensor_size: (height, width) in pixels, for files that do not hold it.
        still_file: an image of the same scene.
        on_error: "raise", or "drop" to repair what can be repaired (`read_events`).

    Raises:
        FileNotFoundError: one of the files is not there.
        ValueError: the recording is damaged or of another format (`read_events`), or the still is no image.
    """
    found = find_path(str(path))
    recording, note = _read(found, sensor_size, on_error)
    still = None if still_file is None else read_still(find_path(str(still_file)))
    name = "/".join(Path(path).parts[-2:])  # in data sets the folder is the class
    reading = _reading(str(found), sensor_size, on_error)  # wherever it is pasted
    return Sample(recording, name, still, _READ_EVENTS, reading, note)


def uploaded_sample(
    name: str, content: bytes, sensor_size: tuple[int, int] | None = None, on_error: str = "raise"
) -> Sample:
    """Read a recording that a browser sent.

    Args:
        name: of the file; its suffix may tell the format.
        content: its bytes.
        sensor_size: (height, width) in pixels, for files that do not hold it.
        on_error: "raise", or "drop" to repair what can be repaired (`read_events`).

    Raises:
        ValueError: see `read_events`; the message names the file as the user knows it.
    """
    name = Path(name).name
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            recording, note = _read(path, sensor_size, on_error)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name)) from None
    reading = _reading(name, sensor_size, on_error)
    return Sample(recording, name, None, _READ_EVENTS, reading, note.replace(str(path), name))


def load_sample(
    name: str,
    recording_file: str | None = None,
    still_file: str | None = None,
    sensor_height: int | None = None,
    sensor_width: int | None = None,
) -> Sample:
    """Return the recording of a notebook's parameters: a file where one is named, otherwise an embedded sample.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is not readable, or only one side of the sensor is given, or a still has no recording.
    """
    if recording_file is None:
        if still_file is not None:
            raise ValueError(f"still_file = {still_file!r} without a recording_file; name both, or only the recording")
        return embedded_sample(name)
    return file_sample(recording_file, sensor_of(sensor_height, sensor_width), still_file)


def sensor_of(height: int | None, width: int | None) -> tuple[int, int] | None:
    """Return (height, width), or None where neither is given.

    Raises:
        ValueError: one side is missing.
    """
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise ValueError(f"sensor height = {height}, width = {width}; give both sides in pixels, or neither")
    return height, width


def snippet(sample: Sample, cfg: FrameConfig) -> str:
    """Return Python that makes the same frames again; only fields that differ from their default are spelled out.

    Example:
        >>> print(snippet(embedded_sample("guitar"), FrameConfig(size=96)))
        from eclip_lib import FrameConfig, event_frames
        from eclip_lib.views import embedded_sample
        <BLANKLINE>
        recording = embedded_sample('guitar').recording
        cfg = FrameConfig(size=96)
        frames, valid = event_frames(recording, cfg)
    """
    values = {item.name: getattr(cfg, item.name) for item in fields(cfg) if getattr(cfg, item.name) != item.default}
    changed = ", ".join(f"{name}={value!r}" for name, value in values.items())
    return "\n".join(
        [
            "from eclip_lib import FrameConfig, event_frames",
            sample.imports,
            "",
            f"recording = {sample.code}",
            f"cfg = FrameConfig({changed})",
            "frames, valid = event_frames(recording, cfg)",
        ]
    )


_READ_EVENTS = "from eclip_lib import read_events"


def _reading(path: str, sensor_size: tuple[int, int] | None, on_error: str) -> str:
    """Return the call that reads a file."""
    size = f", sensor_size={tuple(sensor_size)}" if sensor_size else ""
    return f"read_events({path!r}{size}{', on_error=' + repr(on_error) if on_error != 'raise' else ''})"


def _read(path: Path, sensor_size: tuple[int, int] | None, on_error: str) -> tuple[Recording, str]:
    """Read a recording, and return it with what its reader warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        recording = read_events(path, sensor_size, on_error)
    return recording, "; ".join(str(warning.message) for warning in caught)
