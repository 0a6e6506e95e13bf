import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eclip_lib.baselines import probe_scores, zero_shot_scores
from eclip_lib.config import ModelConfig
from eclip_lib.evaluation import class_scores, embed_events, image_retrieval, recognition
from eclip_lib.inputs import FrameSet, frame_features
from eclip_lib.model import EClip

NAMES = ["cat", "dog", "car", "key", "bus"]


def frame_set(n=7):
    rng = np.random.default_rng(0)
    valid = torch.ones(n, 3, dtype=torch.bool)
    valid[1, 2] = False
    return FrameSet(rng.integers(0, 255, (n, 3, 3, 48, 48)).astype(np.uint8), valid, torch.arange(n) % 5)


def test_perfect_scores_are_perfect():
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    found = recognition(F.one_hot(labels, 5).float(), labels)
    assert found["top1"] == found["top5"] == found["text_to_event_recall@1"] == 1.0


def test_image_retrieval_by_hand():
    """Two stills of class 0 point at each other's recordings: right by class, wrong by instance."""
    images, labels = torch.eye(3), torch.tensor([0, 0, 1])
    found = image_retrieval(images, torch.eye(3)[[1, 0, 2]], labels)
    assert found["image_to_event_recall@1"] == 1.0
    assert found["image_to_event_instance_recall@1"] == pytest.approx(1 / 3)


def test_an_untrained_workbench_scores_as_plain_clip(clip):
    """The opponent and E-CLIP's starting point are one thing, computed on two ways."""
    inputs = frame_set()
    model = EClip(ModelConfig(), clip)
    mine = class_scores(model, embed_events(model, inputs), NAMES)
    plain = zero_shot_scores(clip, frame_features(clip, inputs), NAMES, model.cfg.template)
    assert torch.allclose(mine, plain, atol=1e-3)


def test_probe_learns_what_is_separable():
    rng = np.random.default_rng(0)
    centers = 4 * rng.standard_normal((3, 6))
    sides = [(centers[labels] + rng.standard_normal((len(labels), 6)), labels) for labels in (np.arange(60) % 3,) * 3]
    scores, penalty = probe_scores(sides[0], sides[1], sides[2][0], classes=4)
    assert (scores.argmax(1).numpy() == sides[2][1]).mean() > 0.95
    assert torch.isinf(scores[:, 3]).all()  # the class without samples
    assert penalty > 0
