"""Random changes of a recording's events: some are lost, their times are shaken, a part of the time is cut off.

`Recording` and `TrainConfig` -> `Recording`. Polarity and the direction of time stay: both carry the motion.
"""

import numpy as np

from eclip_lib.config import TrainConfig
from eclip_lib.events.recording import Recording


def augments(cfg: TrainConfig) -> bool:
    """Return whether a config asks for any of these changes."""
    return bool(cfg.drop_events or cfg.jitter_us or cfg.crop_time)


def augment(recording: Recording, cfg: TrainConfig, rng: np.random.Generator) -> Recording:
    """Change the events of a recording at random.

    Args:
        recording: not modified.
        cfg: `crop_time` and `drop_events`, the largest shares that are lost; `jitter_us`, the noise on the times.
        rng: what is drawn depends on nothing else.

    Returns:
        A recording of the same sensor with at least one event.

    Source: our choice; the shares are drawn evenly from 0 to the largest, so that whole recordings are seen too.
    """
    events = recording.events
    if cfg.crop_time:
        events = _crop(events, rng.uniform(0, cfg.crop_time), rng.uniform())
    if cfg.drop_events:
        events = _drop(events, rng.uniform(0, cfg.drop_events), rng)
    if cfg.jitter_us:
        events = _jitter(events, cfg.jitter_us, rng)
    return Recording(events, recording.sensor_size)


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Return the random numbers of one recording in one epoch, whichever process asks, and when."""
    return np.random.default_rng([seed, epoch, index])


def _crop(events: np.ndarray, share: float, front: float) -> np.ndarray:
    """Cut off a share of the time, `front` of it before and the rest behind; all stays where nothing would."""
    first, last = int(events["t"][0]), int(events["t"][-1])
    lost = share * (last - first)
    kept = events[(events["t"] >= first + lost * front) & (events["t"] <= last - lost * (1 - front))]
    return kept if len(kept) else events


def _drop(events: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Leave out each event with probability `share`, never all of them."""
    kept = events[rng.random(len(events)) >= share]
    return kept if len(kept) else events[:1]


def _jitter(events: np.ndarray, sd: int, rng: np.random.Generator) -> np.ndarray:
    """Add normal noise to the times, within the time of the recording, and sort by them; ties keep their order."""
    noise = np.rint(rng.normal(0, sd, len(events))).astype(np.int64)
    shaken = events.copy()
    shaken["t"] = np.clip(events["t"] + noise, events["t"][0], events["t"][-1])
    return shaken[np.argsort(shaken["t"], kind="stable")]
