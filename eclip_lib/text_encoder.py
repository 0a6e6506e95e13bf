"""Exact causal text encoding that computes a shared prompt prefix once.

prefix embeddings (P, n, d) and class-name suffixes -> text features (P, K, D).
A token of CLIP's text tower sees only what comes before it, so the prefix [SOT, context] of P prompts is encoded P
times, not P x K times, and padding after the end token costs nothing.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from open_clip.model import CLIP
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor


def suffix_tokens(clip: CLIP, texts: Sequence[str], room: int) -> Int[Tensor, "K m"]:
    """Tokenize what follows the context, end token included, cut to the longest.

    Raises:
        ValueError: a text does not fit in the `room` positions that the context leaves.
    """
    tokenizer = clip.tokenizer
    rows = [[*tokenizer.encode(text), tokenizer.eot_token_id] for text in texts]
    longest = max(rows, key=len)
    if len(longest) > room:
        raise ValueError(
            f"class name {texts[rows.index(longest)]!r} takes {len(longest)} tokens, but the prompt leaves {room}; "
            "use fewer context vectors or a shorter name"
        )
    tokens = torch.zeros(len(rows), len(longest), dtype=torch.long)
    for row, values in zip(tokens, rows, strict=True):
        row[: len(values)] = torch.tensor(values)
    return tokens.to(clip.token_embedding.weight.device)


def _project(block: ResidualAttentionBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of tokens (..., n, d), heads split off: (..., h, n, d/h)."""
    qkv = F.linear(block.ln_1(x), block.attn.in_proj_weight, block.attn.in_proj_bias)
    heads = block.attn.num_heads
    return tuple(rearrange(part, "... n (h d) -> ... h n d", h=heads) for part in qkv.chunk(3, dim=-1))


def _finish(block: ResidualAttentionBlock, x: Tensor, attended: Tensor) -> Tensor:
    """Close a block: output projection, MLP, residuals."""
    x = x + block.ls_1(block.attn.out_proj(rearrange(attended, "... h n d -> ... n (h d)")))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _attend_suffix(q: Tensor, own: tuple[Tensor, Tensor], shared: tuple[Tensor, Tensor]) -> Tensor:
    """Attend from suffix tokens (P, K, h, m, e) to their prefix (P, h, n, e) and, causally, to themselves."""
    (k, v), (prefix_k, prefix_v) = own, shared
    scale, length = q.shape[-1] ** -0.5, q.shape[-2]
    to_prefix = torch.einsum("pkhme,phne->pkhmn", q, prefix_k) * scale
    to_own = (q @ k.transpose(-1, -2)) * scale
    future = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    scores = torch.cat([to_prefix, to_own.masked_fill(future, float("-inf"))], dim=-1).softmax(-1)
    n = prefix_k.shape[-2]
    return torch.einsum("pkhmn,phne->pkhme", scores[..., :n], prefix_v) + scores[..., n:] @ v


def encode_prompts(
    clip: CLIP, prefix: Float[Tensor, "P n d"], suffix: Int[Tensor, "P K m"] | Int[Tensor, "1 K m"]
) -> Float[Tensor, "P K D"]:
    """Encode every suffix after every prefix to the feature at its end token (not normalised).

    Args:
        clip: the model; gradients flow to `prefix`, and to CLIP where it is not frozen.
        prefix: embeddings of the start token and the context, without positional embedding.
        suffix: tokens of class name and end token, padded with 0; with a leading 1, the same for every prefix.
    """
    start = prefix.shape[1]
    x = prefix + clip.positional_embedding[:start]
    y = clip.token_embedding(suffix) + clip.positional_embedding[start : start + suffix.shape[-1]]
    y = y.expand(len(prefix), -1, -1, -1)  # (P, K, m, d)
    for block in clip.transformer.resblocks:
        q, k, v = _project(block, x)
        y_q, *own = _project(block, y)
        y = _finish(block, y, _attend_suffix(y_q, tuple(own), (k, v)))
        x = _finish(block, x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
    end = suffix.argmax(-1).expand(len(prefix), -1)  # the end token has the highest id
    picked = y.gather(2, end[..., None, None].expand(-1, -1, 1, y.shape[-1]))[:, :, 0]
    projection = clip.text_projection
    features = clip.ln_final(picked)
    return projection(features) if isinstance(projection, torch.nn.Linear) else features @ projection
