"""The event prompts: event modality prompts and cross-frame prompts of every block.

class tokens (B, T, D) and valid (B, T) -> prompt tokens (BT, M, D). Source: E-CLIP, event encoder.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eclip_lib.config import ModelConfig


class CrossFramePrompt(nn.Module):
    """One prompt token a frame that carries what the other frames saw.

    z = Linear(cls); c = z + MHSA(LN(z)), self-attention over T. Invalid frames are no keys. Source: E-CLIP, event
    encoder (cross-frame prompts).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, cls: Float[Tensor, "B T D"], valid: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        """Exchange the class tokens `cls` of the frames of each recording."""
        z = self.project(cls)
        n = self.norm(z)
        return z + self.attention(n, n, n, key_padding_mask=~valid, need_weights=False)[0]


class BlockPrompts(nn.Module):
    """The additions before one CLIP block: event modality prompts, the cross-frame prompt, and their gate.

    Both kinds of prompt are dropped after the block, so they act only as keys and values of its attention.
    """

    def __init__(self, cfg: ModelConfig, width: int, heads: int, patch_size: int):
        super().__init__()
        bound = (6 / (3 * patch_size**2 + width)) ** 0.5
        self.modality = (
            nn.Parameter(torch.empty(cfg.event_prompts, width).uniform_(-bound, bound)) if cfg.event_prompts else None
        )
        self.cross_frame = CrossFramePrompt(width, heads) if cfg.cross_frame_prompts else None
        # At 0 the block is CLIP's own, at 1 it is the paper's; the gradient at 0 is finite.
        self.gate = nn.Parameter(torch.zeros(())) if cfg.additions == "gated" else None

    def forward(self, x: Float[Tensor, "BT N D"], valid: Bool[Tensor, "B T"]) -> Float[Tensor, "BT M D"] | None:
        """Return the prompt tokens of each frame, or None when both kinds are off."""
        prompts: list[Tensor] = []
        if self.modality is not None:
            prompts.append(repeat(self.modality, "m d -> bt m d", bt=len(x)))
        if self.cross_frame is not None:
            cls = rearrange(x[:, 0], "(b t) d -> b t d", b=len(valid))
            prompts.append(rearrange(self.cross_frame(cls, valid), "b t d -> (b t) 1 d"))
        return torch.cat(prompts, dim=1) if prompts else None
