"""The event encoder looked into: its stages one by one, what prompts change, where attention goes, what training moved.

a model and the frames of a recording → `Trace` → arrays and tables to draw.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor

from eclip_lib.backbone import normalize_images
from eclip_lib.config import RECIPES, FrameConfig, Run
from eclip_lib.ecm import event_frames
from eclip_lib.event_encoder import BlockPrompts, EventEncoder, apply_block
from eclip_lib.model import EClip
from eclip_lib.samples import embedded_sample

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
    for block, prompts in zip(encoder.visual.transformer.resblocks, encoder.prompts, strict=True):
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


def prompt_effects(seen: Trace) -> pd.DataFrame:
    """Return for each block and kind of prompt how far it moves the class tokens of valid frames.

    Columns: `block` (from 1), `prompts` (kind), `gate`, `change` = |with - without| / |without|, `cosine` of the two,
    and `block_change` = |after - before| / |before|, what the whole block does. Means over valid frames.
    """
    rows, valid = [], seen.valid[0]
    for number, block in enumerate(seen.blocks, start=1):
        before, after = block.before[valid, 0], block.after[valid, 0]
        for kind, without in block.without.items():
            row = {"block": number, "prompts": kind, "gate": block.gate}
            row["change"] = _relative(without[valid, 0], after)
            row["cosine"] = float(F.cosine_similarity(without[valid, 0], after, dim=-1).mean())
            rows.append(row | {"block_change": _relative(before, after)})
    return pd.DataFrame(rows)


def _relative(start: Tensor, end: Tensor) -> float:
    return float(((end - start).norm(dim=-1) / start.norm(dim=-1)).mean())


def attention_shares(seen: Trace) -> pd.DataFrame:
    """Return for each block what share the class token gives itself, patches and prompts, before and after the gate.

    The first three columns sum to 1; `after_gate` is g times the share of prompts, so it has the sign of g.
    """
    rows = []
    for number, block in enumerate(seen.blocks, start=1):
        tokens = block.before.shape[1]
        mixed = block.mixed[seen.valid[0]].mean(0)
        own, patches, prompts = float(mixed[0]), float(mixed[1:tokens].sum()), float(mixed[tokens:].sum())
        row = {"block": number, "class token": own, "patches": patches, "prompts": prompts}
        rows.append(row | {"after_gate": block.gate * prompts})
    return pd.DataFrame(rows).set_index("block")


def patch_maps(seen: Trace) -> Float[np.ndarray, "L T G G"]:
    """Return the effective attention of the class token over the patches, block by block and frame by frame."""
    grid, tokens = seen.patches.shape[-1], seen.embedded.shape[1]
    maps = [rearrange(block.effective[:, 1:tokens], "t (g h) -> t g h", h=grid) for block in seen.blocks]
    return torch.stack(maps).numpy()


def cross_maps(seen: Trace) -> Float[np.ndarray, "L T T"] | None:
    """Return the attention over the frames of each block; None for a model without cross-frame prompts."""
    maps = [block.cross for block in seen.blocks]
    return None if maps[0] is None else torch.stack(maps).numpy()


def untrained(model: EClip, run: Run, seed: int = 0) -> EClip:
    """Return the model as training found it: of the same CLIP, with fresh additions.

    Args:
        model: lends its frozen CLIP, and is not modified.
        run: the one that trained it.
        seed: of what starts at random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EClip(run.model, model.clip, run.frames.frames).eval()


@dataclass(frozen=True)
class Pairs:
    """Recordings and stills of some classes, one of each.

    Attributes:
        names: the K classes.
        frames: (K, T, 3, S, S) in [0, 1].
        valid: (K, T) bool.
        images: (K, 3, S, S) in [0, 1].
    """

    names: tuple[str, ...]
    frames: Tensor
    valid: Tensor
    images: Tensor


def sample_pairs(names: Sequence[str], cfg: FrameConfig) -> Pairs:
    """Record one still of each class, of a family that no training has seen.

    Raises:
        ValueError: there is no such class, or there are fewer than two.
    """
    if len(names) < 2:
        raise ValueError(f"classes = {list(names)}: one class has no other to be compared with; name at least two")
    samples = [embedded_sample(name) for name in names]
    frames, valid = zip(*(event_frames(sample.recording, cfg) for sample in samples), strict=True)
    stills = [torch.from_numpy(sample.still.copy()).permute(2, 0, 1)[None].float() / 255 for sample in samples]
    images = [F.interpolate(still, (cfg.size, cfg.size), mode="bilinear", antialias=True) for still in stills]
    return Pairs(tuple(names), torch.stack(frames), torch.stack(valid), torch.cat(images).clamp(0, 1))


@torch.no_grad()
def cosines(model: EClip, pairs: Pairs) -> dict[str, Float[np.ndarray, "K K"]]:
    """Return the cosines (K, K) of event to image, event to text and image to text; rows are the first of the two.

    Texts are those that the model compares at test time, conditioned on the row where its content prompts are.
    """
    event, image = model.encode_events(pairs.frames, pairs.valid), model.encode_image(pairs.images)
    content = model.cfg.content_prompts
    texts = {
        "event": model.encode_text(pairs.names, event if content in ("event", "both") else None),
        "image": model.encode_text(pairs.names, image if content in ("image", "both") else None),
    }
    found = {"event to image": event @ image.T}
    for kind, emb in (("event", event), ("image", image)):
        found[f"{kind} to text"] = torch.einsum("bd,bkd->bk", emb, texts[kind].expand(len(emb), -1, -1))
    return {name: table.numpy() for name, table in found.items()}


def cosine_table(tables: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Summarize `cosines` of several models: mean of the own class, of the others, the gap, and how often own wins."""
    rows = []
    for when, pairs in tables.items():
        for pair, table in pairs.items():
            number = len(table)
            own, other = np.trace(table) / number, (table.sum() - np.trace(table)) / (number * (number - 1))
            wins = int((table.argmax(1) == np.arange(number)).sum())
            row = {"model": when, "pair": pair, "own class": own, "other classes": other, "gap": own - other}
            rows.append(row | {"own class first": f"{wins} of {number}"})
    return pd.DataFrame(rows)


@torch.no_grad()
def removals(model: EClip, pairs: Pairs) -> pd.DataFrame:
    """Return what the event embeddings lose when a part is taken out of the encoder, all else staying as it is.

    Columns: `without`, `cosine` to the embeddings of the intact encoder (mean), and `own class first`, how many of
    the recordings score their own class highest. The last row puts CLIP's own tower in the place of the trained one.
    """
    intact = model.encode_events(pairs.frames, pairs.valid)
    rows = []
    for name, take_out in TAKE_OUT.items():
        encoder = deepcopy(model.event_encoder)
        take_out(encoder, model)
        event = F.normalize(encoder(model._prepare(pairs.frames), pairs.valid), dim=-1)
        right = int((model.score(event, pairs.names).argmax(1) == torch.arange(len(event))).sum())
        rows.append((name, float((event * intact).sum(-1).mean()), f"{right} of {len(event)}"))
    return pd.DataFrame(rows, columns=["without", "cosine", "own class first"])


def _drop_prompts(encoder: EventEncoder, modality: bool, cross_frame: bool) -> None:
    """Take prompts out of an encoder, in place."""
    for prompts in encoder.prompts:
        prompts.modality = None if modality else prompts.modality
        prompts.cross_frame = None if cross_frame else prompts.cross_frame


TAKE_OUT = {
    "nothing": lambda encoder, model: None,
    "event modality prompts": lambda encoder, model: _drop_prompts(encoder, True, False),
    "cross-frame prompts": lambda encoder, model: _drop_prompts(encoder, False, True),
    "both kinds of prompt": lambda encoder, model: _drop_prompts(encoder, True, True),
    "temporal embedding": lambda encoder, model: setattr(encoder, "time_embedding", None),
    "training of the tower": lambda encoder, model: setattr(encoder, "visual", model.clip.visual),
}


PARTS = {  # how the names of weights begin, or what they hold
    "clip.visual.": "image tower (CLIP)",
    "clip.logit_scale": "logit scale (CLIP)",
    "clip.": "text tower (CLIP)",
    "event_encoder.visual.": "event tower (copy of the image tower)",
    "event_encoder.time_embedding": "temporal embedding",
    ".modality": "event modality prompts",
    ".cross_frame.": "cross-frame prompts",
    ".gate": "gates",
    ".content.": "content MLPs",
    ".context": "learnable text context",
    "prompts.mix": "mix of the two kinds of text",
}


def parameter_table(model: EClip) -> pd.DataFrame:
    """Count the parameters of each part, trained and frozen; every parameter is in one part.

    Raises:
        ValueError: a parameter belongs to no part.
    """
    counts = {part: [0, 0] for part in PARTS.values()}
    for name, parameter in model.named_parameters():
        part = next(
            (part for key, part in PARTS.items() if name.startswith(key) or (key[0] == "." and key in name)), None
        )
        if part is None:
            raise ValueError(f"parameter {name!r} belongs to no part; add it to PARTS")
        counts[part][not parameter.requires_grad] += parameter.numel()
    table = pd.DataFrame(counts, index=["trained", "frozen"]).T
    return table[table.sum(axis=1) > 0].rename_axis("part").reset_index()


def recipe_table() -> pd.DataFrame:
    """Return every field that a recipe sets, one row a field, one column a recipe."""
    columns = {
        name: {f"{part}.{key}": value for part, fields in recipe.items() for key, value in fields.items()}
        for name, recipe in RECIPES.items()
    }
    fields = list(dict.fromkeys(key for column in columns.values() for key in column))
    shown = {name: [_shown(column.get(field)) for field in fields] for name, column in columns.items()}
    return pd.DataFrame({"field": fields, **shown})


def _shown(value: object) -> str:
    return "CLIP's own" if value is None else str(value)


def stagewise_error(encoder: EventEncoder, seen: Trace) -> float:
    """Return the largest difference between the stage-wise feature and the one of the encoder's own forward."""
    with torch.no_grad():
        return float((encoder(seen.frames, seen.valid) - seen.feature).abs().max())
