"""Exact causal text encoding that computes a shared prompt prefix once.

prefix embeddings (P, n, d) and class-name suffixes -> text features (P, K, D).
A token of CLIP's text tower sees only what comes before it, so the prefix [SOT, context] of P prompts is encoded P
times, not P x K times. Suffixes of all lengths lie packed in one row: nothing after an end token is computed.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from open_clip.model import CLIP
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

QUERY, KEY_VALUE, QUERY_KEY_VALUE = slice(0, 1), slice(1, 3), slice(0, 3)  # parts of an attention's input projection
TOKENS = 2048  # computed at a time: enough to fill a matrix product, and an MLP of 2048 then takes 16 MB


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


def _unique_pairs(suffix: Int[Tensor, "P K m"]) -> tuple[Int[Tensor, "N w"], Int[Tensor, " PK"]]:
    """List each suffix once per prefix, shortest first, as (length, prefix, tokens), and where each came from."""
    rows = rearrange(suffix, "p k m -> (p k) m")
    length = rows.argmax(-1) + 1  # the end token has the highest id
    owner = torch.arange(len(suffix), device=suffix.device).repeat_interleave(suffix.shape[1])
    return torch.cat([length[:, None], owner[:, None], rows], dim=1).unique(dim=0, return_inverse=True)


def _chunks(pairs: Int[Tensor, "N w"]) -> tuple[Tensor, ...]:
    """Split pairs into runs of about `TOKENS` suffix tokens."""
    number = (pairs[:, 0].cumsum(0) - 1) // TOKENS
    return pairs.split(number.unique_consecutive(return_counts=True)[1].tolist())


def _buckets(pairs: Int[Tensor, "N w"]) -> list[tuple[Tensor, Tensor]]:
    """Return tokens (n, m) and prefix (n) of the pairs of each length m."""
    lengths, counts = pairs[:, 0].unique_consecutive(return_counts=True)
    parts = zip(lengths.tolist(), pairs.split(counts.tolist()), strict=True)
    return [(part[:, 2 : 2 + m], part[:, 1]) for m, part in parts]


def _linear(block: ResidualAttentionBlock, x: Tensor, parts: slice) -> tuple[Tensor, ...]:
    """Project normalized tokens (..., d) to some of queries, keys and values, heads split off: (..., h, d/h)."""
    rows = slice(parts.start * x.shape[-1], parts.stop * x.shape[-1])
    y = F.linear(x, block.attn.in_proj_weight[rows], block.attn.in_proj_bias[rows])
    return rearrange(y, "... (c h e) -> c ... h e", c=parts.stop - parts.start, h=block.attn.num_heads).unbind()


def _finish(block: ResidualAttentionBlock, x: Tensor, attended: Tensor) -> Tensor:
    """Close a block: output projection, MLP, residuals."""
    x = x + block.ls_1(block.attn.out_proj(attended.flatten(-2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _encode_prefix(clip: CLIP, prefix: Float[Tensor, "P n d"]) -> list[tuple[Tensor, Tensor]]:
    """Return keys and values (P, n, h, e) of the prefix in every block; of the last, nothing else is needed."""
    x, cached = prefix + clip.positional_embedding[: prefix.shape[1]], []
    blocks = clip.transformer.resblocks
    for block in blocks[:-1]:
        q, k, v = _linear(block, block.ln_1(x), QUERY_KEY_VALUE)
        cached.append((k, v))
        q, k, v = (rearrange(part, "p n h e -> p h n e") for part in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = _finish(block, x, rearrange(attended, "p h n e -> p n h e"))
    k, v = _linear(blocks[-1], blocks[-1].ln_1(x), KEY_VALUE)
    return [*cached, (k, v)]


def _attend(q: Tensor, own: tuple[Tensor, Tensor], shared: tuple[Tensor, Tensor], owner: Tensor) -> Tensor:
    """Attend from the last tokens (N q, h, e) of N suffixes to what comes before: own (N m, h, e) and the prefix."""
    q, own_k, own_v = (rearrange(part, "(n q) h e -> n q h e", n=len(owner)) for part in (q, *own))
    k, v = (
        rearrange(torch.cat([before.index_select(0, owner), part], dim=1), "n s h e -> n h s e")
        for before, part in zip(shared, (own_k, own_v), strict=True)
    )
    queries, keys = q.shape[1], k.shape[2]
    seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    attended = F.scaled_dot_product_attention(rearrange(q, "n q h e -> n h q e"), k, v, attn_mask=seen)
    return rearrange(attended, "n h q e -> (n q) h e")


def _encode_suffixes(
    clip: CLIP, cached: list[tuple[Tensor, Tensor]], pairs: Int[Tensor, "N w"]
) -> Float[Tensor, "N d"]:
    """Return the last block's end tokens of suffixes; the tokens of all lengths lie packed in one row."""
    buckets, start = _buckets(pairs), cached[0][0].shape[1]
    places = [clip.positional_embedding[start : start + tokens.shape[1]] for tokens, _ in buckets]
    x = torch.cat(
        [(clip.token_embedding(b[0]) + place).flatten(0, 1) for b, place in zip(buckets, places, strict=True)]
    )
    sizes, counts = [tokens.numel() for tokens, _ in buckets], [len(tokens) for tokens, _ in buckets]
    ends = pairs[:, 0].cumsum(0) - 1
    blocks = clip.transformer.resblocks
    for block, shared in zip(blocks, cached, strict=True):
        inner = block.ln_1(x)
        k, v = _linear(block, inner, KEY_VALUE)
        if block is blocks[-1]:  # only the end tokens ask
            x, inner, asking = x.index_select(0, ends), inner.index_select(0, ends), counts
        else:
            asking = sizes
        (q,) = _linear(block, inner, QUERY)
        parts = zip(*(part.split(size) for part, size in ((q, asking), (k, sizes), (v, sizes))), buckets, strict=True)
        attended = [_attend(q, (k, v), shared, owner) for q, k, v, (_, owner) in parts]
        x = _finish(block, x, torch.cat(attended))
    return x


def _encode_group(clip: CLIP, prefix: Float[Tensor, "P n d"], suffix: Int[Tensor, "P K m"]) -> Float[Tensor, "P K D"]:
    """Encode as `encode_prompts`, for as many prefixes as are kept in memory at a time."""
    cached = _encode_prefix(clip, prefix)
    pairs, back = _unique_pairs(suffix)
    ends = torch.cat([_encode_suffixes(clip, cached, chunk) for chunk in _chunks(pairs)])
    projection, features = clip.text_projection, clip.ln_final(ends)
    features = projection(features) if isinstance(projection, torch.nn.Linear) else features @ projection
    return rearrange(features.index_select(0, back), "(p k) d -> p k d", p=len(prefix))


def encode_prompts(
    clip: CLIP, prefix: Float[Tensor, "P n d"], suffix: Int[Tensor, "P K m"] | Int[Tensor, "1 K m"]
) -> Float[Tensor, "P K D"]:
    """Encode every suffix after every prefix to the feature at its end token (not normalized).

    Equal to running CLIP's text tower over all its positions. A suffix that a prefix has twice is encoded once. Without
    gradients, the memory needed beyond the result is bounded by `TOKENS`, whatever P and K.

    Args:
        clip: the model; gradients flow to `prefix`, and to CLIP where it is not frozen.
        prefix: embeddings of the start token and the context, without positional embedding.
        suffix: tokens of class name and end token, padded with 0; with a leading 1, the same for every prefix.

    Source: our choice: the exact value of E-CLIP's content prompts at a cost that allows one prompt per event.
    """
    rows = max(1, TOKENS // prefix.shape[1])
    groups = zip(prefix.split(rows), suffix.expand(len(prefix), -1, -1).split(rows), strict=True)
    return torch.cat([_encode_group(clip, *group) for group in groups])
