"""Plain CLIP on the frames, without training."""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def zero_shot_scores(
    event_emb: Float[Tensor, "N D"], text_emb: Float[Tensor, "K D"], scale: Tensor
) -> Float[Tensor, "N K"]:
    """Score recordings by CLIP's own unit embeddings, of frames and of class names in a template, and its scale."""
    return scale * event_emb @ text_emb.t()
