"""HTCA: the contrastive terms that align event, image and text. Pure functions of tensors.

event-image: a recording's embedding and its still's     event-text: and the text of its class
text-text: the text of its class conditioned on the recording, and on the still
unit embeddings and labels -> each term and their weighted total.
"""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eclip_lib.config import LossConfig

TERMS = ("event_image", "event_text", "text_text", "image_text", "text_mse")
STILL_TERMS = ("event_image", "text_text", "image_text")  # those that need a still


def cosine_logits(
    a: Float[Tensor, "R D"], b: Float[Tensor, "C D"] | Float[Tensor, "R C D"], scale: float | Tensor
) -> Float[Tensor, "R C"]:
    """Scale the cosines of unit embeddings, in float32 also under autocast.

    With `b` of three dimensions, row i of `a` meets the C rows of `b[i]`. Our choice of precision: at a scale of 100
    the 8 bits of bfloat16 would round the logits to steps of a half.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        return scale * (a @ b.t() if b.ndim == 2 else torch.einsum("rd,rcd->rc", a, b))


def cross_entropy(logits: Float[Tensor, "R C"], positive: Bool[Tensor, "R C"]) -> Float[Tensor, ""]:
    """Average the cross-entropy of the rows against the uniform distribution over their positives."""
    target = positive.float() / positive.sum(1, keepdim=True)
    return -(target * F.log_softmax(logits, dim=1)).sum(1).mean()


def symmetric_cross_entropy(logits: Float[Tensor, "R C"], positive: Bool[Tensor, "R C"]) -> Float[Tensor, ""]:
    """Average the cross-entropy of rows and of columns; every row and column needs a positive."""
    return (cross_entropy(logits, positive) + cross_entropy(logits.t(), positive.t())) / 2


def info_nce(
    a: Float[Tensor, "B D"],
    b: Float[Tensor, "B D"],
    scale: float | Tensor = 100.0,
    labels: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Contrast paired unit embeddings in both directions.

    Args:
        a: one side of the pairs, L2-normalized.
        b: the other side, L2-normalized; row i belongs to row i of `a`.
        scale: factor of the cosines (an inverse temperature).
        labels: with labels, all rows of one class are positives of each other, so that none is a negative.

    Source: E-CLIP, the contrastive term of HTCA (= CLIP's loss); labels are our choice: two recordings of a class
    share their text, so calling one a negative of the other sets a floor under the loss.
    """
    own = torch.eye(len(a), dtype=torch.bool, device=a.device)
    positive = own if labels is None else labels[:, None] == labels[None]
    return symmetric_cross_entropy(cosine_logits(a, b, scale), positive)


def query_conditioned(
    event_emb: Float[Tensor, "B D"],
    text_emb: Float[Tensor, "B U D"],
    index: Int[Tensor, " B"],
    scale: float | Tensor,
) -> Float[Tensor, ""]:
    """Contrast every event with the text of every class of the batch, conditioned on that very event.

    Logit (i, u) takes class u's text conditioned on event i, which is what happens at test time; with text
    conditioned on its own event the diagonal could be solved by recognizing the instance.

    Args:
        event_emb: unit event embeddings.
        text_emb: unit text embeddings of the U classes of the batch, for each event.
        index: the class of each event, as an index into U.
        scale: factor of the cosines.

    Source: our choice (recipe `workbench`).
    """
    logits = cosine_logits(event_emb, text_emb, scale)
    classes = torch.arange(text_emb.shape[1], device=index.device)
    return symmetric_cross_entropy(logits, index[:, None] == classes[None])


def contrastive_terms(
    event_emb: Tensor,
    image_emb: Tensor | None,
    event_text_emb: Tensor,
    image_text_emb: Tensor | None,
    labels: Tensor,
    cfg: LossConfig,
    scale: float | Tensor,
) -> dict[str, Tensor]:
    """Return the contrastive terms of HTCA that have a weight; the arguments are those of `htca`."""
    shared = labels if cfg.targets == "label" else None
    index = labels.unique(return_inverse=True)[1]
    query = event_text_emb.ndim == 3
    own_text = event_text_emb[torch.arange(len(index)), index] if query else event_text_emb
    terms = {}
    if cfg.event_image and image_emb is not None:
        terms["event_image"] = info_nce(image_emb, event_emb, scale, shared)
    if cfg.event_text:
        terms["event_text"] = (
            query_conditioned(event_emb, event_text_emb, index, scale)
            if query
            else info_nce(event_emb, own_text, scale, shared)
        )
    if cfg.text_text and image_text_emb is not None:
        terms["text_text"] = info_nce(image_text_emb, own_text, scale, shared)
    if cfg.image_text and image_emb is not None and image_text_emb is not None:
        terms["image_text"] = info_nce(image_emb, image_text_emb, scale, shared)
    return terms


def htca(
    event_emb: Float[Tensor, "B D"],
    image_emb: Float[Tensor, "B D"] | None,
    event_text_emb: Float[Tensor, "B D"] | Float[Tensor, "B U D"],
    image_text_emb: Float[Tensor, "B D"] | None,
    labels: Int[Tensor, " B"],
    cfg: LossConfig,
    scale: float | Tensor = 100.0,
    text_pairs: Sequence[tuple[Tensor, Tensor]] = (),
) -> dict[str, Tensor]:
    """Sum the three terms of hierarchical triple contrastive alignment (HTCA), and what a config adds to them.

    The text-text term reaches the event tower only through the content prompt: neither of its sides holds the event
    embedding itself, so without content prompts from events it trains nothing but the text prompts.

    Args:
        event_emb: unit event embeddings f^e.
        image_emb: unit embeddings f^i of the paired stills; None leaves the term out.
        event_text_emb: f^{t,e}. (B, D): the text of recording j's class conditioned on its own event. (B, U, D): the
            text of every class of the batch, in the order of `labels.unique()`, conditioned on event i.
        image_text_emb: f^{t,i}, the text of recording j's class conditioned on its still; None leaves the term out.
        labels: class of each recording.
        cfg: weights of the terms, and which pairs are positives.
        scale: factor of the cosines, unless `cfg.scale` sets it.
        text_pairs: handcrafted and learnable unit text embeddings of equal shape, a pair for each modality m that
            conditions them; the MSE is the mean over the pairs.

    Returns:
        The unweighted terms `event_image`, `event_text`, `text_text`, `image_text`, `text_mse` that have a weight, and
        their weighted `total`.

    Source: E-CLIP, HTCA: L = L(f^i, f^e) + L(f^e, f^{t,e}) + L(f^{t,i}, f^{t,e}); there is no image-text term;
    `image_text` adds L(f^i, f^{t,i}) to test why.
    EventBind adds MSE(f^{t,m}_l, f^{t,m}_h); its code compares event- and image-conditioned text instead, which we
    do not follow.
    """
    scale = scale if cfg.scale is None else cfg.scale
    terms = contrastive_terms(event_emb, image_emb, event_text_emb, image_text_emb, labels, cfg, scale)
    if cfg.text_mse and text_pairs:
        errors = (F.mse_loss(learned, fixed) for fixed, learned in text_pairs)
        terms["text_mse"] = reduce(torch.add, errors) / len(text_pairs)
    if not terms:
        raise ValueError("htca: no term is left; the stills are missing and the event-text weight is 0")
    terms["total"] = sum(getattr(cfg, name) * value for name, value in terms.items())
    return terms
