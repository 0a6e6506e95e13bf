import numpy as np
import pytest
import torch
import torch.nn.functional as F

from eclip_lib.config import ModelConfig
from eclip_lib.data.inputs import FrameSet, frame_features, text_features
from eclip_lib.evaluation import scores as evaluation
from eclip_lib.evaluation.scores import class_scores, embed_events, image_retrieval, recognition
from eclip_lib.model.eclip import EClip
from eclip_lib.rivals.probe import probe_scores
from eclip_lib.rivals.zero_shot import zero_shot_scores

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


def test_recognition_by_hand():
    """Class 0: two of three right; class 1: its one recording right; class 2 has none and does not count."""
    scores = torch.log(torch.tensor([[0.9, 0.05, 0.05], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]]))
    found = recognition(scores, torch.tensor([0, 0, 0, 1]))
    assert (found["top1"], found["top5"]) == (0.75, 1.0)
    assert found["class_mean"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["text_to_event_recall@1"] == 0.5  # "1" finds recording 2 first
    assert found["text_to_event_mAP"] == pytest.approx(((1 + 1 + 3 / 4) / 3 + 1 / 2) / 2)  # "0": ranks 1, 2 and 4
    assert found["ece"] == pytest.approx((0.1 + (0.7 * 2 - 2) * -1 + 0.8) / 4)


def test_stills_of_some_recordings_ask_for_all():
    """Recordings 0 and 2 have stills; the still of 2 is nearest to recording 1, of its class."""
    events = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    images, labels, own = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]), torch.tensor([0, 2])
    found = image_retrieval(images, events, labels, own)
    assert (found["image_to_event_recall@1"], found["image_to_event_instance_recall@1"]) == (1.0, 0.5)
    assert found["image_to_event_instance_mAP"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["event_to_image_recall@1"] == found["event_to_image_instance_recall@1"] == 1.0
    assert image_retrieval(images[:0], events, labels, own[:0]) == {}
    with pytest.raises(ValueError, match="2 stills, but 3 recordings"):
        image_retrieval(images, events, labels)


def test_retrieval_in_pieces_is_retrieval_at_once(monkeypatch):
    torch.manual_seed(0)
    images, events = F.normalize(torch.randn(2, 30, 8), dim=-1)
    labels = torch.randint(4, (30,))
    whole = image_retrieval(images, events, labels) | recognition(images @ events.t(), torch.randint(30, (30,)))
    torch.manual_seed(0)
    torch.randn(2, 30, 8), torch.randint(4, (30,))
    monkeypatch.setattr(evaluation, "QUERIES", 7)
    pieces = image_retrieval(images, events, labels) | recognition(images @ events.t(), torch.randint(30, (30,)))
    assert pieces == pytest.approx(whole)


def test_an_untrained_workbench_scores_as_plain_clip(clip):
    """The rival and E-CLIP's starting point are one thing, computed on two ways."""
    inputs = frame_set()
    model = EClip(ModelConfig(), clip)
    mine = class_scores(model, embed_events(model, inputs), NAMES)
    texts = text_features(clip, [model.cfg.template.format(name) for name in NAMES])
    plain = zero_shot_scores(frame_features(clip, inputs), texts, clip.logit_scale.exp())
    assert torch.allclose(mine, plain, atol=1e-3)


def test_probe_learns_what_is_separable():
    rng = np.random.default_rng(0)
    centers = 4 * rng.standard_normal((3, 6))
    sides = [(centers[labels] + rng.standard_normal((len(labels), 6)), labels) for labels in (np.arange(60) % 3,) * 3]
    scores, penalty = probe_scores(sides[0], sides[1], sides[2][0], classes=4)
    assert (scores.argmax(1).numpy() == sides[2][1]).mean() > 0.95
    assert torch.isinf(scores[:, 3]).all()  # the class without samples
    assert penalty > 0
