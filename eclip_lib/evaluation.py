"""Protocols as functions: model and data in, metrics and per-sample predictions out."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eclip_lib.inputs import FrameSet
from eclip_lib.metrics import recall_at_k, topk_accuracy
from eclip_lib.model import EClip

CHUNK = 64


@torch.no_grad()
def embed_events(model: EClip, inputs: FrameSet) -> Float[Tensor, "N D"]:
    """Embed recordings in batches, model in eval mode."""
    model.eval()
    rows = range(0, len(inputs), CHUNK)
    parts = [model.encode_events(inputs.frames(slice(i, i + CHUNK)), inputs.valid[i : i + CHUNK]) for i in rows]
    return torch.cat(parts)


@torch.no_grad()
def class_scores(model: EClip, event_emb: Float[Tensor, "N D"], class_names: Sequence[str]) -> Float[Tensor, "N K"]:
    """Score every class for embedded recordings in batches, each with text conditioned on its own event."""
    model.eval()
    return torch.cat([model.score(part, class_names) for part in event_emb.split(CHUNK)])


def recognition(scores: Float[Tensor, "N K"], labels: Int[Tensor, " N"]) -> dict[str, float]:
    """Return top-1 and top-5 accuracy and, from the same scores, class-level text -> event recall@1/5/10.

    Text -> event: one query a class, hit if any of the k recordings that score best for it is of that class.
    Source: E-CLIP, retrieval protocol (class-level hit@k).
    """
    classes = torch.arange(scores.shape[1])
    recall = recall_at_k(scores.t(), classes[:, None] == labels[None])
    return topk_accuracy(scores, labels) | {f"text_to_event_{name}": value for name, value in recall.items()}


def image_retrieval(
    image_emb: Float[Tensor, "N D"], event_emb: Float[Tensor, "N D"], labels: Int[Tensor, " N"]
) -> dict[str, float]:
    """Return class-level and instance-level image -> event recall@1/5/10; every still queries all recordings.

    Class-level: hit if any of the k nearest recordings is of the still's class. Instance-level: if its own is among
    them.
    """
    scores = image_emb @ event_emb.t()
    same, own = labels[:, None] == labels[None], torch.eye(len(labels), dtype=torch.bool)
    result = {f"image_to_event_{k}": v for k, v in recall_at_k(scores, same).items()}
    return result | {f"image_to_event_instance_{k}": v for k, v in recall_at_k(scores, own).items()}
