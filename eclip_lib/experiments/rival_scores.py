"""What each rival is fed with: the same recordings, shots and frames as E-CLIP. One function a method."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from eclip_lib.data import FrameSet, frame_features, summed_count_maps, windowed_count_maps
from eclip_lib.rivals import WINDOWS, cnn_scores, probe_scores, zero_shot_scores

if TYPE_CHECKING:
    from eclip_lib.experiments.experiment import Experiment


class Scored(NamedTuple):
    """What a rival makes of the test recordings.

    Attributes:
        event_emb: (N, D) unit embeddings; None where the method has none.
        scores: (N, K) of the classes.
        chosen: what the validation part chose, by name.
    """

    event_emb: Tensor | None
    scores: Tensor
    chosen: dict[str, float]


def _zero_shot(trial: "Experiment") -> Scored:
    event_emb = _features(trial)[-1]
    text_emb, scale = trial.text_emb(trial.tested.class_names), trial.clip.logit_scale.exp().cpu()
    return Scored(event_emb, zero_shot_scores(event_emb, text_emb, scale), {})


def _linear_probe(trial: "Experiment") -> Scored:
    features = _features(trial)
    return Scored(features[-1], *_probe(trial, [part.numpy() for part in features]))


def _count_map_probe(trial: "Experiment") -> Scored:
    return Scored(None, *_probe(trial, [summed_count_maps(trial.data, side) for side in _sides(trial)]))


def _count_map_cnn(trial: "Experiment") -> Scored:
    train, val, test = (windowed_count_maps(trial.data, side, WINDOWS) for side in _sides(trial))
    labeled = (train, trial.train.labels), (val, trial.val.labels)
    scores, steps = cnn_scores(*labeled, test, len(trial.data.class_names), trial.cfg.train.seed)
    return Scored(None, scores, {"training_steps": steps})


RIVALS: dict[str, Callable[["Experiment"], Scored]] = {
    "clip-zero-shot": _zero_shot,
    "linear-probe": _linear_probe,
    "count-map-probe": _count_map_probe,
    "count-map-cnn": _count_map_cnn,
}


def _features(trial: "Experiment") -> list[Tensor]:
    """Return the frozen features of the frames of each side that has recordings."""
    sides = (trial.train, trial.val, trial.test)
    return [frame_features(trial.clip, side) for side in sides if isinstance(side, FrameSet) and len(side)]


def _sides(trial: "Experiment") -> tuple[np.ndarray, ...]:
    return trial.split.train, trial.split.val, trial.split.test


def _probe(trial: "Experiment", features: list[np.ndarray]) -> tuple[Tensor, dict[str, float]]:
    train, val, test = features
    labeled = (train, trial.train.labels.numpy()), (val, trial.val.labels.numpy())
    scores, penalty = probe_scores(*labeled, test, len(trial.data.class_names))
    return scores, {"probe_c": penalty}
