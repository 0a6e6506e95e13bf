"""The embedded tiny CLIP: its shape, how it starts, and the folder it ships in.

`PretrainConfig` -> open_clip's own model and folder format, with the recipe and the learning curve beside the weights.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file

from eclip_lib.cache import atomic_path
from eclip_lib.checked import Checked
from eclip_lib.ledger import provenance
from eclip_lib.paths import ASSETS

PREPROCESS = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}


@dataclass(frozen=True)
class PretrainConfig(Checked):
    """The recipe of the embedded tiny CLIP (notebook 90)."""

    seed: int = 0
    steps: int = 4200
    batch: int = 256
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: int = 100
    average: float = 0.998  # decay of the averaged weights, which are the ones that ship
    class_weight: float = 1.0  # cross-entropy against the texts of all basic classes
    teacher_weight: float = 4.0  # cosine to the teacher's features through a small head
    text_teacher_weight: float = 2.0  # the same for texts, towards the mean feature of the stills so named
    relation_weight: float = 1.0  # KL between in-batch similarity rows of teacher and student
    sketch_share: float = 0.3  # of each batch, drawn as event sketches (`event_sketch`)
    ease: float = 0.4  # share of the steps over which views grow from easy to full strength
    extra_share: float = 0.2  # of each batch, stills of the wider set, `pretrain_extra.npz`
    image_size: int = 48
    patch_size: int = 8
    width: int = 128
    layers: int = 6
    heads: int = 4
    patch_dropout: float = 0.25  # regularizes, and a step costs a quarter less; off in the last quarter of training
    text_width: int = 128
    text_layers: int = 2
    context_length: int = 40
    embed_dim: int = 128
    validation_family: str = "streamline"  # its stills are held out of pre-training, for the learning curve

    _at_least: ClassVar = {"steps": 1, "batch": 2, "learning_rate": 0, "image_size": 8, "patch_size": 1, "layers": 1}


def model_config(cfg: PretrainConfig, vocab_size: int) -> dict:
    """Return open_clip's own `model_cfg` of the tiny CLIP."""
    return {
        "embed_dim": cfg.embed_dim,
        "vision_cfg": {
            "image_size": cfg.image_size,
            "patch_size": cfg.patch_size,
            "width": cfg.width,
            "layers": cfg.layers,
            "head_width": cfg.width // cfg.heads,
        },
        "text_cfg": {
            "context_length": cfg.context_length,
            "vocab_size": vocab_size,
            "width": cfg.text_width,
            "heads": cfg.heads,
            "layers": cfg.text_layers,
        },
    }


@torch.no_grad()
def init_mimetic(clip: CLIP) -> None:
    """Start the image tower where trained ViTs end up, which saves a small one most of its early training.

    Positions start as 2-D sines and cosines; in every head, queries and keys start as W_q^T W_k ~ 0.7 Z + 0.7 I
    (tokens look at tokens of like content and place), values and output as W_o W_v ~ 0.4 Z - 0.4 I, with Z random.
    Source: Trockman and Kolter, "Mimetic initialization of self-attention layers", 2023; our choice.
    """
    visual = clip.visual
    width, heads = visual.conv1.out_channels, visual.transformer.resblocks[0].attn.num_heads
    rows, columns = visual.grid_size
    frequency = 1 / 100 ** (torch.arange(width // 4) / (width // 4))
    place = [torch.arange(n)[:, None] * frequency for n in (rows, columns)]
    waves = [torch.cat([p.sin(), p.cos()], 1) for p in place]  # (rows, D/2), (columns, D/2)
    grid = torch.cat([waves[0][:, None].expand(-1, columns, -1), waves[1][None].expand(rows, -1, -1)], 2)
    visual.positional_embedding[1:] = 0.3 * grid.flatten(0, 1)
    for block in visual.transformer.resblocks:
        query, key, value = block.attn.in_proj_weight.chunk(3)
        block.attn.in_proj_bias.zero_()
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            u, s, v = torch.linalg.svd(0.7 * torch.randn(width, width) / width**0.5 + 0.7 * torch.eye(width))
            rank = width // heads
            query[part] = (u[:, :rank] * s[:rank].sqrt()).t()
            key[part] = s[:rank].sqrt()[:, None] * v[:rank]
        u, s, v = torch.linalg.svd(0.4 * torch.randn(width, width) / width**0.5 - 0.4 * torch.eye(width))
        block.attn.out_proj.weight.copy_(u * s.sqrt())
        value.copy_(s.sqrt()[:, None] * v)


def build_clip(cfg: PretrainConfig, vocab_size: int) -> CLIP:
    """Build an untrained tiny CLIP; the caller seeds torch."""
    clip = CLIP(**model_config(cfg, vocab_size))
    clip.visual.preprocess_cfg = PREPROCESS
    init_mimetic(clip)
    return clip


def export_clip(clip: CLIP, tokenizer: SimpleTokenizer, cfg: PretrainConfig, folder: Path) -> None:
    """Write open_clip's folder format: `open_clip_config.json` and half-precision `open_clip_model.safetensors`."""
    weights = {name: value.detach().half().contiguous() for name, value in clip.state_dict().items()}
    with atomic_path(folder / "open_clip_model.safetensors") as temporary:
        save_file(weights, temporary)
    config = {
        "model_cfg": model_config(cfg, tokenizer.vocab_size),
        "preprocess_cfg": PREPROCESS,
    }
    with atomic_path(folder / "open_clip_config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n")


def write_recipe(folder: Path, cfg: PretrainConfig, data: dict, test: dict[str, float], seconds: float) -> None:
    """Write beside the weights what made them: config, data (and teacher), accuracy on test families, provenance."""
    recipe = {
        "id": cfg.id,
        "config": cfg.to_dict(),
        "data": data,
        "test": test,
        "provenance": provenance(seconds),
    }
    with atomic_path(folder / "recipe.json") as temporary:
        temporary.write_text(json.dumps(recipe, indent=1) + "\n")


def read_recipe(folder: Path = ASSETS / "eclip_tiny") -> tuple[dict, pd.DataFrame]:
    """Return the recipe (config, test accuracy, provenance) and the learning curve that ship with the tiny CLIP."""
    return json.loads((folder / "recipe.json").read_text()), pd.read_csv(folder / "curve.csv")
