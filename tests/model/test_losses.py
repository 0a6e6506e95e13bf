import math

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from eclip_lib.config import LossConfig
from eclip_lib.model.losses import htca, info_nce, query_conditioned


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


def test_info_nce_by_hand():
    """Three orthogonal pairs at scale 1: every row has its own pair at cosine 1 and two others at 0."""
    eye = torch.eye(3)
    assert math.isclose(info_nce(eye, eye, 1.0).item(), math.log(math.e + 2) - 1, rel_tol=1e-6)


def test_htca_by_hand():
    """Three samples in the plane, scale 1, diagonal targets: every term computed with pen and paper.

    Row i of the logits holds the cosines; a term is the mean of -log softmax at the diagonal over rows and columns.
    """
    event = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    event_text = torch.tensor([[0.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    image_text = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    e = math.e

    def row(own, *others):
        return math.log(sum(e**c for c in (own, *others))) - own

    image_rows = (row(1, 0, -1) + row(1, 0, 0) + row(0, 0, -1)) / 3
    image_columns = (row(1, 0, 0) + row(1, 0, -1) + row(0, -1, 0)) / 3
    text_rows = (row(0, 0, -1) + row(1, 1, 0) + row(1, 0, 0)) / 3
    text_columns = (row(0, 1, 0) + row(1, 0, 0) + row(1, -1, 0)) / 3
    both_rows = (row(0, 0, -1) + row(0, 0, -1) + row(1, 0, 0)) / 3
    both_columns = (row(0, 0, 0) + row(0, 0, 0) + row(1, -1, -1)) / 3
    cfg = LossConfig(recipe="paper", scale=1.0)
    terms = htca(event, image, event_text, image_text, torch.arange(3), cfg)
    assert terms["event_image"].item() == pytest.approx((image_rows + image_columns) / 2, abs=1e-6)
    assert terms["event_text"].item() == pytest.approx((text_rows + text_columns) / 2, abs=1e-6)
    assert terms["text_text"].item() == pytest.approx((both_rows + both_columns) / 2, abs=1e-6)
    one_pair = htca(event, image, event_text, None, torch.arange(3), LossConfig(recipe="paper", event_text=0.0))
    assert torch.allclose(one_pair["total"], ClipLoss()(event, image, torch.tensor(100.0)), atol=1e-5)


def test_eventbind_adds_the_mse_of_its_pairs():
    event, image, text, other = (unit(4, 8) for _ in range(4))
    cfg = LossConfig(recipe="eventbind", text_mse=2.0)
    pairs = [(torch.zeros(4, 8), torch.ones(4, 8)), (torch.zeros(4, 8), torch.full((4, 8), 2.0))]
    terms = htca(event, image, text, other, torch.arange(4), cfg, text_pairs=pairs)
    assert terms["text_mse"].item() == 2.5
    without = htca(event, image, text, other, torch.arange(4), LossConfig(recipe="paper"))
    assert torch.allclose(terms["total"], without["total"] + 5)


def test_logits_and_losses_stay_in_float32_under_autocast():
    a, b, texts = unit(4, 64), unit(4, 64), unit(4, 3, 64)
    exact = info_nce(a, b), query_conditioned(a, texts, torch.tensor([0, 1, 2, 0]), 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        low = info_nce(a, b), query_conditioned(a, texts, torch.tensor([0, 1, 2, 0]), 100.0)
    assert all(torch.equal(x, y) and y.dtype == torch.float32 for x, y in zip(exact, low, strict=True))


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


def test_the_image_text_term_contrasts_stills_with_their_own_text():
    image_emb, text_emb = torch.eye(3), torch.eye(3)[[0, 2, 1]]  # the texts of the last two are exchanged
    labels = torch.arange(3)
    without = htca(torch.eye(3), image_emb, torch.eye(3), text_emb, labels, LossConfig(recipe="paper"), 1.0)
    cfg = LossConfig(recipe="paper", image_text=0.5, scale=1.0)
    terms = htca(torch.eye(3), image_emb, torch.eye(3), text_emb, labels, cfg)
    right, wrong = (-torch.log_softmax(torch.eye(3)[0], 0)[k].item() for k in (0, 1))
    assert terms["image_text"].item() == pytest.approx((right + 2 * wrong) / 3, abs=1e-6)
    assert "image_text" not in without
    assert (
        terms["total"]
        == sum(terms[name] for name in ("event_image", "event_text", "text_text")) + 0.5 * terms["image_text"]
    )


def test_htca_is_indifferent_to_the_order_of_the_batch():
    event, image, image_text, labels = unit(5, 8), unit(5, 8), unit(5, 8), torch.tensor([3, 1, 3, 0, 1])
    event_text = unit(5, 3, 8)
    order = torch.tensor([4, 2, 0, 1, 3])
    first = htca(event, image, event_text, image_text, labels, LossConfig(), 30.0)
    second = htca(event[order], image[order], event_text[order], image_text[order], labels[order], LossConfig(), 30.0)
    assert torch.allclose(first["total"], second["total"], atol=1e-5)
