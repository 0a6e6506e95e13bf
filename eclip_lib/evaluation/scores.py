"""What a model makes of recordings: embeddings, class scores, and the figures of merit that follow from them.

Model and frames -> `(N, D)` embeddings and `(N, K)` scores -> dicts of metrics. Results come back to the CPU.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eclip_lib.data import FrameSet
from eclip_lib.evaluation.metrics import (
    confusion_matrix,
    expected_calibration_error,
    mean_average_precision,
    per_class_accuracy,
    recall_at_k,
    topk_accuracy,
)
from eclip_lib.model import EClip

CHUNK = 64
QUERIES = 256  # ranked at a time; a gallery of 50,000 recordings then takes some 100 MB


@torch.no_grad()
def embed_events(model: EClip, inputs: FrameSet) -> Float[Tensor, "N D"]:
    """Embed recordings in batches, model in eval mode, on its device."""
    model.eval()
    device = next(model.parameters()).device
    rows = [slice(i, i + CHUNK) for i in range(0, len(inputs), CHUNK)]
    parts = [model.encode_events(inputs.frames(part).to(device), inputs.valid[part].to(device)).cpu() for part in rows]
    return torch.cat(parts)


@torch.no_grad()
def class_scores(model: EClip, event_emb: Float[Tensor, "N D"], class_names: Sequence[str]) -> Float[Tensor, "N K"]:
    """Score every class for embedded recordings in batches, each with text conditioned on its own event."""
    model.eval()
    device = next(model.parameters()).device
    return torch.cat([model.score(part.to(device), class_names).cpu() for part in event_emb.split(CHUNK)])


def recognition(scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"]) -> dict[str, float]:
    """Return what class scores are worth: accuracies, calibration, and text -> event retrieval.

    `top1`, `top5`: shares of recordings. `class_mean`: top-1 of each class that has recordings, averaged over classes.
    `ece`: expected calibration error over 15 bins. `text_to_event_recall@1/5/10` and `..._mAP`: one query a class,
    class-level: hit if any of the k recordings that score best for it is of that class.

    Source: E-CLIP, recognition, and its retrieval protocol (class-level hit@k); the rest is our choice.
    """
    classes = torch.arange(scores.shape[1])
    confusion = confusion_matrix(scores.argmax(1), labels, scores.shape[1])
    found = topk_accuracy(scores, labels)
    found["class_mean"] = per_class_accuracy(confusion).nanmean().item()
    found["ece"] = expected_calibration_error(scores, labels)
    by_text = scores.t()
    return found | _retrieval("text_to_event", len(classes), lambda rows: by_text[rows], classes, labels)


def image_retrieval(
    image_emb: Float[Tensor, "Q D"],
    event_emb: Float[Tensor, "N D"],
    labels: Int[Tensor, " N"],
    own: Int[Tensor, " Q"] | None = None,
) -> dict[str, float]:
    """Return recall@1/5/10 and mAP of stills that ask for recordings, and of recordings that ask for stills.

    Image -> event: every still queries all recordings. Class-level (`image_to_event_...`): hit if any of the k
    nearest is of the still's class. Instance-level (`image_to_event_instance_...`): if its own is among them; mAP is
    then the mean of 1/rank. Event -> image (`event_to_image_...`): every recording queries all stills; instance-level
    those that have a still.

    Args:
        image_emb: unit embeddings of stills.
        event_emb: unit embeddings of recordings.
        labels: classes of the recordings.
        own: the recording each still belongs to; None where still i belongs to recording i.

    Returns:
        The figures; nothing where there are no stills.

    Raises:
        ValueError: the numbers of stills and of their recordings differ.
    """
    own = torch.arange(len(labels)) if own is None else own
    if len(own) != len(image_emb):
        raise ValueError(f"{len(image_emb)} stills, but {len(own)} recordings they belong to")
    if not len(own):
        return {}
    each = torch.arange(len(labels))
    found: dict[str, float] = {}
    for name, queries, gallery, asked, items in (
        ("image_to_event", image_emb, event_emb, own, each),
        ("event_to_image", event_emb, image_emb, each, own),
    ):
        score = _scorer(queries, gallery)
        found |= _retrieval(name, len(queries), score, labels[asked], labels[items])
        found |= _retrieval(f"{name}_instance", len(queries), score, asked, items)
    return found


def _scorer(queries: Float[Tensor, "Q D"], gallery: Float[Tensor, "N D"]) -> Callable[[slice], Tensor]:
    return lambda rows: queries[rows] @ gallery.t()


def _retrieval(
    name: str,
    queries: int,
    score: Callable[[slice], Tensor],
    asked: Int[Tensor, " Q"],
    items: Int[Tensor, " N"],
) -> dict[str, float]:
    """Return recall and mAP, some queries at a time; those without an answer are left out."""
    sums: dict[str, float] = {}
    total = 0
    for start in range(0, queries, QUERIES):
        rows = slice(start, start + QUERIES)
        relevant: Bool[Tensor, "B N"] = asked[rows, None] == items[None]
        answerable = int(relevant.any(1).sum())
        if answerable:
            scores = score(rows)
            found = recall_at_k(scores, relevant) | {"mAP": mean_average_precision(scores, relevant)}
            sums = {kind: sums.get(kind, 0.0) + answerable * value for kind, value in found.items()}
            total += answerable
    return {f"{name}_{kind}": value / total for kind, value in sums.items()}
