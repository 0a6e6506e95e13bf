"""What training moved, and what each part of the event encoder is worth to its embeddings."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from eclip_lib.config import FrameConfig, Run
from eclip_lib.frames import event_frames
from eclip_lib.model import EClip, EventEncoder
from eclip_lib.views.samples import embedded_sample


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
    stills = [torch.from_numpy(np.array(sample.still)).permute(2, 0, 1)[None].float() / 255 for sample in samples]
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
    for _, prompts in encoder.blocks:
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
