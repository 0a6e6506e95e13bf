import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from eclip_lib.config import LossConfig
from eclip_lib.losses import htca, info_nce, query_conditioned


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


def test_info_nce_equals_open_clip():
    a, b = unit(8, 16), unit(8, 16)
    assert torch.allclose(info_nce(a, b, 50.0), ClipLoss()(a, b, torch.tensor(50.0)), atol=1e-5)


def test_info_nce_by_hand():
    """Three orthogonal pairs at scale 1: every row has its own pair at cosine 1 and two others at 0."""
    eye = torch.eye(3)
    assert math.isclose(info_nce(eye, eye, 1.0).item(), math.log(math.e + 2) - 1, rel_tol=1e-6)


def test_labels_take_the_floor_away():
    """Two samples of one class with one text: the diagonal cannot go below log 2, labels can."""
    a = torch.eye(2)[[0, 0, 1]]
    labels = torch.tensor([5, 5, 9])
    assert info_nce(a, a, 100.0).item() > 0.4
    assert info_nce(a, a, 100.0, labels).item() == pytest.approx(2 / 3 * math.log(2), abs=1e-4)


def test_distinct_labels_are_the_diagonal():
    a, b = unit(6, 8), unit(6, 8)
    assert torch.equal(info_nce(a, b, 10.0, torch.arange(6)), info_nce(a, b, 10.0))


def test_query_conditioned_equals_plain_when_text_ignores_the_event():
    events, texts, labels = unit(5, 8), unit(5, 8), torch.arange(5)
    same = query_conditioned(events, texts[None].expand(5, -1, -1), labels, 20.0)
    assert torch.allclose(same, info_nce(events, texts, 20.0), atol=1e-6)


def test_htca_sums_its_weighted_terms():
    event, image, event_text, image_text = (unit(4, 8) for _ in range(4))
    labels = torch.tensor([0, 1, 1, 2])
    cfg = LossConfig(recipe="paper", event_image=2.0, text_text=0.5)
    terms = htca(event, image, event_text, image_text, labels, cfg)
    by_hand = 2 * info_nce(image, event) + info_nce(event, event_text) + 0.5 * info_nce(image_text, event_text)
    assert torch.allclose(terms["total"], by_hand)
    assert set(terms) == {"event_image", "event_text", "text_text", "total"}


def test_htca_leaves_out_what_has_no_weight_or_no_still():
    event, text = unit(4, 8), unit(4, 8)
    labels = torch.arange(4)
    assert set(htca(event, None, text, None, labels, LossConfig())) == {"event_text", "total"}
    with pytest.raises(ValueError, match="no term is left"):
        htca(event, None, text, None, labels, LossConfig(event_text=0))


def test_htca_is_indifferent_to_the_order_of_the_batch():
    event, image, image_text, labels = unit(5, 8), unit(5, 8), unit(5, 8), torch.tensor([3, 1, 3, 0, 1])
    event_text = unit(5, 3, 8)
    order = torch.tensor([4, 2, 0, 1, 3])
    first = htca(event, image, event_text, image_text, labels, LossConfig(), 30.0)
    second = htca(event[order], image[order], event_text[order], image_text[order], labels[order], LossConfig(), 30.0)
    assert torch.allclose(first["total"], second["total"], atol=1e-5)
