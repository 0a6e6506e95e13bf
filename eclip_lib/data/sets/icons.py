"""icons100: embedded stills, recorded by the saccade camera.

`DataConfig` -> `EventData`, simulated.
"""

import warnings

import numpy as np

from eclip_lib.cache import atomic_path, cache_path, content_key
from eclip_lib.camera import VERSION as CAMERA_VERSION
from eclip_lib.camera import SaccadeCamera
from eclip_lib.config import DataConfig
from eclip_lib.data.embedded_stills import Stills, icons100
from eclip_lib.data.recordings import EventData
from eclip_lib.events import Recording, read_events, write_events
from eclip_lib.paths import ASSETS


def load_icons(cfg: DataConfig) -> EventData:
    """Open the embedded data set, or a subset of its classes.

    Raises:
        ValueError: the subset is unknown, or the config names files, of which there are none.
    """
    given = [name for name in ("root", "stills", "splits") if getattr(cfg, name) is not None]
    if given:
        raise ValueError(f"data set icons100 is embedded and takes no {given[0]} = {getattr(cfg, given[0])!r}")
    stills = icons100()
    classes = stills.classes if cfg.subset is None else _read_subset(cfg.subset, stills.classes)
    stills = stills.select(stills.table.cls.isin(classes) & (stills.table.split != "photo"))
    table, camera = stills.table, SaccadeCamera()
    return EventData(
        name=cfg.dataset,
        simulated=True,
        class_names=classes,
        labels=np.array([classes.index(name) for name in table.cls]),
        part=table.split.to_numpy(),
        group=table.dup.to_numpy(),
        ids=tuple(table.vendor + "/" + table.source_name),
        recording=lambda index: recorded(stills, index, camera),
        still=stills.image,
        key=content_key([cfg.dataset, content_key(b"".join(stills.encoded)), list(classes), camera_key(camera)]),
        has_still=np.full(len(table), True),
    )


def _read_subset(name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    path = ASSETS / f"{name}.txt"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in ASSETS.glob("icons*.txt")))
        raise ValueError(f"subset {name!r} is unknown; there are {there}")
    classes = tuple(path.read_text().splitlines())
    unknown = [c for c in classes if c not in known]
    if unknown:
        raise ValueError(f"{path} names classes that the data set does not have: {', '.join(unknown)}")
    return classes


def camera_key(camera: SaccadeCamera) -> list:
    """Name a camera by its fields and the version of its simulation."""
    return [CAMERA_VERSION, camera.to_dict()]


def recorded(stills: Stills, index: int, camera: SaccadeCamera) -> Recording:
    """Record a still once; later calls read the recording from the cache. The seed is the content of the still."""
    content = content_key(stills.encoded[index])
    path = cache_path("recordings", [content, camera_key(camera)], ".npz")
    if path.is_file():
        try:
            return read_events(path)
        except ValueError as error:
            warnings.warn(f"a cached recording is simulated again: {error}", stacklevel=2)
    recording = camera.record(stills.image(index), seed=int(content, 16) % 2**32)
    with atomic_path(path) as temporary:
        write_events(temporary, recording)
    return recording
