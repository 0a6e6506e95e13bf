"""Scores of recordings, each computed by one of the processes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor

from eclip_lib.data import FrameSet
from eclip_lib.evaluation import class_scores, embed_events
from eclip_lib.model import EClip
from eclip_lib.training.distributed import gather_rows, own_rows


def shared_scores(
    model: EClip, inputs: FrameSet, class_names: Sequence[str], fabric: Fabric
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N K"]]:
    """Embed and score recordings, each on one of the processes; all get all rows in order, in the CPU's memory."""
    rows = own_rows(torch.arange(len(inputs)), fabric)
    part = inputs if fabric.world_size == 1 else inputs.select(rows)
    event_emb = embed_events(model, part)
    scores = class_scores(model, event_emb, class_names)
    event_emb, scores = (gather_rows(one.to(fabric.device), len(inputs), fabric).cpu() for one in (event_emb, scores))
    return event_emb, scores
