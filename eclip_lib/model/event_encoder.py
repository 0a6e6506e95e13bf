"""The event encoder: CLIP's image tower over frames, with temporal embedding and prompts in every block.

frames (B, T, 3, S, S) in [0, 1] and valid (B, T) -> event feature (B, D). Source: E-CLIP, event encoder.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eclip_lib.config import ModelConfig
from eclip_lib.model.event_prompts import BlockPrompts


def attend(
    block: ResidualAttentionBlock,
    x: Float[Tensor, "BT N D"],
    prompts: Float[Tensor, "BT M D"] | None,
    gate: Float[Tensor, ""] | None,
) -> Float[Tensor, "BT N D"]:
    """Run the block's attention for the tokens that survive it, prompts serving as further keys and values.

    Row by row this equals attention over the concatenation [x, prompts]; the rows of the prompts are never needed.
    With a gate g: (1 - g) x attention over x alone + g x attention over x and prompts (our choice: appended zero tokens
    would still take part in the softmax, so they would not leave CLIP unchanged).
    """
    attn, heads = block.attn, block.attn.num_heads
    tokens = block.ln_1(x)
    qkv = F.linear(tokens, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (rearrange(part, "b n (h d) -> b h n d", h=heads) for part in qkv.chunk(3, dim=-1))
    plain = F.scaled_dot_product_attention(q, k, v) if prompts is None or gate is not None else None
    mixed = plain
    if prompts is not None:
        width = x.shape[-1]
        kv = F.linear(block.ln_1(prompts), attn.in_proj_weight[width:], attn.in_proj_bias[width:])
        more_k, more_v = (rearrange(part, "b m (h d) -> b h m d", h=heads) for part in kv.chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(q, torch.cat([k, more_k], 2), torch.cat([v, more_v], 2))
        if plain is not None and gate is not None:
            mixed = plain + gate * (mixed - plain)
    return attn.out_proj(rearrange(mixed, "b h n d -> b n (h d)"))


def run_block(
    block: ResidualAttentionBlock, prompts: BlockPrompts, x: Float[Tensor, "BT N D"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, "BT N D"]:
    """Run one CLIP block with its prompts; they are gone afterwards."""
    return apply_block(block, x, prompts(x, valid), prompts.gate)


def apply_block(
    block: ResidualAttentionBlock,
    x: Float[Tensor, "BT N D"],
    prompts: Float[Tensor, "BT M D"] | None,
    gate: Float[Tensor, ""] | None,
) -> Float[Tensor, "BT N D"]:
    """Run one CLIP block for prompts that are already made."""
    x = x + block.ls_1(attend(block, x, prompts, gate))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


class EventEncoder(nn.Module):
    """A second copy of CLIP's image tower, taught to read sequences of event frames.

    Args:
        visual: CLIP's image tower; copied, so that the original stays as it is.
        cfg: which additions there are, and how they start.
        frames: T, the length of the temporal embedding.
    """

    def __init__(self, visual: VisionTransformer, cfg: ModelConfig, frames: int):
        super().__init__()
        self.visual = deepcopy(visual).requires_grad_(cfg.train_event_tower)
        width, blocks = visual.conv1.out_channels, visual.transformer.resblocks
        heads, patch = blocks[0].attn.num_heads, visual.patch_size[0]
        self.time_embedding = None
        if cfg.temporal_embedding:
            start = torch.zeros(frames, width) if cfg.additions == "gated" else 0.02 * torch.randn(frames, width)
            self.time_embedding = nn.Parameter(start)
        self.prompts = nn.ModuleList(BlockPrompts(cfg, width, heads, patch) for _ in blocks)
        self.recompute = cfg.gradient_checkpointing

    @property
    def blocks(self) -> list[tuple[ResidualAttentionBlock, BlockPrompts]]:
        """Return the blocks of the tower, each with its prompts."""
        pairs = zip(self.visual.transformer.resblocks, self.prompts, strict=True)
        return list(pairs)  # type: ignore[arg-type]  # a ModuleList does not tell what it holds

    def forward(self, frames: Float[Tensor, "B T 3 S S"], valid: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """Encode normalized frames to the mean over valid frames of the projected class tokens (not normalized).

        Every recording needs a valid frame, which `EClip.encode_events` checks: a look at values would break the graph
        that `torch.compile` makes of this.
        """
        x = self._embed(frames)
        for block, prompts in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(run_block, block, prompts, x, valid, use_reentrant=False)
            else:
                x = run_block(block, prompts, x, valid)
        features = self.visual.ln_post(x[:, 0]) @ self.visual.proj
        features = rearrange(features, "(b t) d -> b t d", b=len(valid))
        weight = valid.float()[..., None]
        return (features * weight).sum(1) / weight.sum(1)

    def _embed(self, frames: Float[Tensor, "B T 3 S S"]) -> Float[Tensor, "BT N D"]:
        """Cut into patches, prepend the class token, add spatial and temporal embedding to every token."""
        visual, steps = self.visual, frames.shape[1]
        x = visual.conv1(rearrange(frames, "b t c h w -> (b t) c h w"))
        x = rearrange(x, "b d h w -> b (h w) d")
        x = torch.cat([repeat(visual.class_embedding, "d -> b 1 d", b=len(x)), x], dim=1)
        x = x + visual.positional_embedding
        if self.time_embedding is not None:
            time: Tensor = self.time_embedding
            if len(time) != steps:  # the paper's nearest-neighbor stretch
                time = F.interpolate(time.t()[None], size=steps, mode="nearest")[0].t()
            x = x + repeat(time, "t d -> (b t) 1 d", b=len(frames))
        return visual.ln_pre(x)
