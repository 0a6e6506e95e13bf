"""Plain CLIP on the frames, without training."""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def zero_shot_scores(
    event_feat: Float[Tensor, "N D"], text_feat: Float[Tensor, "K D"], scale: Tensor
) -> Float[Tensor, "N K"]:
    """Score recordings by CLIP's own text embeddings of the class names in a template, and its logit scale."""
    return scale * event_feat @ text_feat.t()
