"""One recording on its way through the event encoder, stage by stage.

a model and the frames of a recording → `Trace`.
"""

from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from eclip_lib.clip import normalize_images
from eclip_lib.model import BlockPrompts, EClip, EventEncoder, apply_block

MODALITY, CROSS, BOTH = "event modality", "cross-frame", "both"


@dataclass(frozen=True)
class BlockTrace:
    """What one block was given and made of it, for a single recording.

    Attributes:
        before: tokens (T, N, D) that go in; the class token is the first.
        after: tokens (T, N, D) that come out.
        prompts: (T, M, D), or None where the model has none; the cross-frame prompt is the last.
        gate: g of the block; 1 without a gate, since prompts then act in full, and 0 without prompts.
        without: tokens (T, N, D) that would come out, for the same input, without some of the prompts; by kind.
        plain: attention (T, N) of the class token over the tokens, as CLIP has it.
        mixed: attention (T, N + M) of the class token over tokens and prompts, before the gate.
        cross: attention (T, T) of each frame over the frames, in the cross-frame prompt; None without one.
    """

    before: Tensor
    after: Tensor
    prompts: Tensor | None
    gate: float
    without: dict[str, Tensor]
    plain: Tensor
    mixed: Tensor
    cross: Tensor | None

    @property
    def effective(self) -> Float[Tensor, "T M"]:
        """Return the weights (T, N + M) that the class token's values are summed with: plain + g (mixed - plain)."""
        padded = F.pad(self.plain, (0, self.mixed.shape[1] - self.plain.shape[1]))
        return padded + self.gate * (self.mixed - padded)


@dataclass(frozen=True)
class Trace:
    """A recording on its way through the encoder.

    Attributes:
        frames: (1, T, 3, S, S) as the encoder gets them, with CLIP's mean and std taken off where the model does so.
        valid: (1, T) bool.
        patches: (T, D, S/P, S/P), the output of the first convolution.
        embedded: tokens (T, N, D) before the first block.
        blocks: one for each block.
        projected: (T, E) class tokens in the space of embeddings.
        feature: (1, E) their mean over valid frames, not normalized; what `EventEncoder.forward` returns.
    """

    frames: Tensor
    valid: Tensor
    patches: Tensor
    embedded: Tensor
    blocks: tuple[BlockTrace, ...]
    projected: Tensor
    feature: Tensor


@torch.no_grad()
def trace(model: EClip, frames: Float[Tensor, "T 3 S S"], valid: Bool[Tensor, " T"]) -> Trace:
    """Run the event encoder stage by stage, by its own pieces, and keep what lies between.

    Args:
        model: any; not modified.
        frames: of one recording, in [0, 1].
        valid: which of the frames hold events.

    Raises:
        ValueError: no frame is valid.

    Source: our choice: E-CLIP shows no intermediate values.
    """
    if not valid.any():
        raise ValueError(f"valid = {valid.tolist()}: no frame holds events; take a recording that is longer")
    encoder = model.event_encoder
    given = normalize_images(model.clip, frames)[None] if model.cfg.clip_normalization else frames[None]
    x = embedded = encoder._embed(given)
    blocks = []
    for block, prompts in encoder.blocks:
        blocks.append(_trace_block(block, prompts, x, valid[None]))
        x = blocks[-1].after
    projected = encoder.visual.ln_post(x[:, 0]) @ encoder.visual.proj
    patches = encoder.visual.conv1(given[0])
    return Trace(given, valid[None], patches, embedded, tuple(blocks), projected, projected[valid].mean(0)[None])


def _trace_block(block: ResidualAttentionBlock, prompts: BlockPrompts, x: Tensor, valid: Tensor) -> BlockTrace:
    """Run one block with all its prompts, and with fewer."""
    tokens = prompts(x, valid)
    number = 0 if prompts.modality is None else len(prompts.modality)
    fewer = {BOTH: None}
    if tokens is not None and 0 < number < tokens.shape[1]:
        fewer |= {MODALITY: tokens[:, number:], CROSS: tokens[:, :number]}
    gate = 0.0 if tokens is None else 1.0 if prompts.gate is None else float(prompts.gate)
    return BlockTrace(
        before=x,
        after=apply_block(block, x, tokens, prompts.gate),
        prompts=tokens,
        gate=gate,
        without={kind: apply_block(block, x, rest, prompts.gate) for kind, rest in fewer.items()},
        plain=class_attention(block, x, None),
        mixed=class_attention(block, x, tokens),
        cross=frame_attention(prompts, x, valid),
    )


def head_weights(
    block: ResidualAttentionBlock, x: Float[Tensor, "T N D"], prompts: Float[Tensor, "T M D"] | None
) -> Float[Tensor, "T H K"]:
    """Return how much each head of the class token takes from every token and prompt; sums to 1 over K = N + M."""
    attn, width = block.attn, x.shape[-1]
    seen = block.ln_1(x if prompts is None else torch.cat([x, prompts], dim=1))
    q = F.linear(seen[:, :1], attn.in_proj_weight[:width], attn.in_proj_bias[:width])
    k = F.linear(seen, attn.in_proj_weight[width : 2 * width], attn.in_proj_bias[width : 2 * width])
    q, k = (rearrange(part, "t n (h d) -> t h n d", h=attn.num_heads) for part in (q, k))
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)[:, :, 0]


def class_attention(
    block: ResidualAttentionBlock, x: Float[Tensor, "T N D"], prompts: Float[Tensor, "T M D"] | None
) -> Float[Tensor, "T K"]:
    """Return `head_weights` as the mean of the heads."""
    return head_weights(block, x, prompts).mean(1)


def frame_attention(
    prompts: BlockPrompts, x: Float[Tensor, "T N D"], valid: Bool[Tensor, "1 T"]
) -> Float[Tensor, "T T"] | None:
    """Return how much each frame's prompt takes from every frame, as the mean of the heads; invalid frames give 0."""
    module = prompts.cross_frame
    if module is None:
        return None
    n = module.norm(module.project(x[:, 0][None]))
    return module.attention(n, n, n, key_padding_mask=~valid, need_weights=True)[1][0]


def stage_table(seen: Trace) -> pd.DataFrame:
    """Return name, meaning of the axes, and shape of what each stage makes."""
    first = seen.blocks[0]
    tokens = tuple(seen.embedded.shape)
    rows = [
        ("frames of the recording", "(B, T, 3, S, S)", tuple(seen.frames.shape)),
        ("patches: one convolution for each frame", "(BT, D, S/P, S/P)", tuple(seen.patches.shape)),
        ("class token + patches, in space and time", "(BT, N, D)", tokens),
        ("prompts of a block, further keys and values", "(BT, M, D)", getattr(first.prompts, "shape", None)),
        ("keys that the tokens of a block attend to", "(BT, N + M, D)", (*first.mixed.shape, tokens[-1])),
        (f"tokens after each of {len(seen.blocks)} blocks", "(BT, N, D)", tuple(seen.blocks[-1].after.shape)),
        ("class tokens, projected", "(BT, E)", tuple(seen.projected.shape)),
        ("event feature: mean over valid frames", "(B, E)", tuple(seen.feature.shape)),
    ]
    shapes = ["none" if shape is None else str(tuple(shape)) for *_, shape in rows]
    return pd.DataFrame([row[:2] for row in rows], columns=["stage", "axes"]).assign(shape=shapes)


def stagewise_error(encoder: EventEncoder, seen: Trace) -> float:
    """Return the largest difference between the stage-wise feature and the one of the encoder's own forward."""
    with torch.no_grad():
        return float((encoder(seen.frames, seen.valid) - seen.feature).abs().max())
