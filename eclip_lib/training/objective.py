"""What a training minimizes for one batch: HTCA over the recordings of all processes.

frames, labels, still embeddings -> each term and the total.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from eclip_lib.config import LossConfig
from eclip_lib.model import EClip, contrastive_terms, htca
from eclip_lib.training.distributed import gather_rows


def _alone(own: Tensor) -> Tensor:
    """Gather nothing: there is one process."""
    return own


def batch_losses(
    model: EClip,
    frames: Float[Tensor, "B T 3 S S"],
    valid: Tensor,
    labels: Tensor,
    image_emb: Float[Tensor, "B D"],
    class_names: Sequence[str],
    cfg: LossConfig,
    has_still: Bool[Tensor, " A"] | None = None,
    gather: Callable[[Tensor], Tensor] = _alone,
) -> dict[str, Tensor]:
    """Compute HTCA's terms for one batch, with the texts that the model's config asks for.

    Args:
        model: the towers.
        frames: of this process's recordings.
        valid: which frames are there.
        labels: their classes.
        image_emb: of their stills; anything for a recording without a still.
        class_names: the class list that labels index.
        cfg: weights of the terms, and which pairs are positives.
        has_still: which recordings of the whole batch have a still; None: all.
        gather: joins the rows of all processes, with gradient; every process then has the loss of the whole batch.
    """
    content = model.cfg.content_prompts
    event_emb = model.encode_events(frames, valid)
    event_content = event_emb if content in ("event", "both") else None
    image_content = image_emb if content in ("image", "both") else None
    own, all_labels = labels[:, None], gather(labels)
    if model.cfg.text_condition == "query":
        kinds = model.encode_class_branches(class_names, all_labels.unique()[None], event_content)
        kinds = kinds if event_content is None else tuple(gather(kind) for kind in kinds)
        event_text = model.prompts.mixed(*kinds).expand(len(all_labels), -1, -1)
    else:
        kinds = tuple(gather(kind) for kind in model.encode_class_branches(class_names, own, event_content))
        event_text = model.prompts.mixed(*kinds)[:, 0]
    pairs, image_text = [kinds], None
    if cfg.text_text or cfg.image_text or cfg.text_mse:
        image_kinds = model.encode_class_branches(class_names, own, image_content)
        image_kinds = tuple(gather(kind) for kind in image_kinds)
        image_text = model.prompts.mixed(*image_kinds)[:, 0]
        pairs.append(image_kinds if has_still is None else tuple(kind[has_still] for kind in image_kinds))
    pairs = [pair for pair in pairs if len(pair[0])] if len(kinds) == 2 else []
    sides = gather(event_emb), gather(image_emb), event_text, image_text
    return _terms(*sides, all_labels, cfg, model.logit_scale, pairs, has_still)


def _terms(
    event_emb: Tensor,
    image_emb: Tensor,
    event_text: Tensor,
    image_text: Tensor | None,
    labels: Tensor,
    cfg: LossConfig,
    scale: Tensor,
    pairs: list,
    has_still: Tensor | None,
) -> dict[str, Tensor]:
    """Return `htca`; of recordings without a still, only the terms that need none."""
    if has_still is None or has_still.all():
        return htca(event_emb, image_emb, event_text, image_text, labels, cfg, scale, pairs)
    losses = htca(event_emb, None, event_text, None, labels, cfg, scale, pairs)
    if has_still.any() and (cfg.event_image or cfg.text_text or cfg.image_text):
        index = labels.unique(return_inverse=True)[1]
        own_text = event_text[torch.arange(len(index)), index] if event_text.ndim == 3 else event_text
        image_text = None if image_text is None else image_text[has_still]
        rows = event_emb[has_still], image_emb[has_still], own_text[has_still], image_text, labels[has_still]
        paired = contrastive_terms(*rows, replace(cfg, event_text=0.0), scale if cfg.scale is None else cfg.scale)
        losses |= paired | {"total": losses["total"] + sum(getattr(cfg, name) * paired[name] for name in paired)}
    return losses


class BatchLosses(nn.Module):
    """The losses as one module with one forward a step, so that the hooks of a process group see all of it."""

    def __init__(self, model: EClip, class_names: Sequence[str], cfg: LossConfig, fabric: Fabric):
        super().__init__()
        self.model, self.class_names, self.cfg, self.fabric = model, class_names, cfg, fabric

    def forward(
        self,
        frames: Float[Tensor, "B T 3 S S"],
        valid: Tensor,
        labels: Tensor,
        image_emb: Float[Tensor, "B D"],
        has_still: Bool[Tensor, " A"] | None,
        count: int,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch of `count` recordings, of which this process holds a part."""

        def gather(own: Tensor) -> Tensor:
            return gather_rows(own, count, self.fabric)

        own = frames, valid, labels, image_emb
        return batch_losses(self.model, *own, self.class_names, self.cfg, has_still, gather)
