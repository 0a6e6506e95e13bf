"""What prompts change in the event encoder, and where its attention goes: arrays and tables of a `Trace`."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from eclip_lib.views.inside.stages import Trace


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
    maps = [block.cross for block in seen.blocks if block.cross is not None]
    return torch.stack(maps).numpy() if maps else None
