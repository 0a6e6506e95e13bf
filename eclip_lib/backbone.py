"""CLIP itself: any open_clip model with a plain ViT image tower, or the embedded tiny one.

name (and weights) -> open_clip model, with its tokenizer. The only file that builds CLIP; it also owns mean and std.
"""

from pathlib import Path
from pickle import UnpicklingError

import open_clip
from jaxtyping import Float
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor

from eclip_lib.config import ASSETS, TINY, find_path

RANDOM = "random"


def load_clip(name: str = TINY, pretrained: str | None = None) -> CLIP:
    """Load a CLIP model in float32 and eval mode; the model carries its `tokenizer`.

    Args:
        name: `"eclip-tiny"`, an open_clip architecture such as `"ViT-B-16"`, or a folder in open_clip's format.
        pretrained: open_clip tag (`"openai"`, needs a network or its cache) or a local file of weights; `"random"`
            leaves an architecture untrained. A file of OpenAI's own weights needs the architecture's name with
            `-quickgelu`; for a tag the activation follows by itself. The tiny one and a folder bring their own weights.

    Raises:
        ValueError: the name is unknown, weights are not named, or the model is not a CLS-pooled ViT with CLIP's text
            tower.
        FileNotFoundError: the weights cannot be found or fetched.
    """
    folder = clip_folder(name)
    if folder is not None:
        clip = open_clip.create_model(f"local-dir:{folder}")
        clip.tokenizer = _folder_tokenizer(folder, clip)
    else:
        clip = _load_architecture(name, pretrained)
        clip.tokenizer = open_clip.get_tokenizer(name)
    _check_towers(clip, name)
    return clip.eval()


def clip_folder(name: str) -> Path | None:
    """Return the folder in open_clip's format that a name stands for; None for an architecture."""
    folder = ASSETS / "eclip_tiny" if name == TINY else Path(name)
    if name != TINY and name not in open_clip.list_models() and ("/" in name or folder.is_dir()):
        folder = find_path(name)
    return folder if (folder / "open_clip_config.json").is_file() else None


def _folder_tokenizer(folder: Path, clip: CLIP) -> SimpleTokenizer:
    merges = folder / "bpe.txt.gz"
    if merges.is_file():
        return SimpleTokenizer(bpe_path=str(merges), context_length=clip.context_length)
    return open_clip.get_tokenizer(f"local-dir:{folder}")


def _load_architecture(name: str, pretrained: str | None) -> CLIP:
    if name not in open_clip.list_models():
        raise ValueError(
            f"backbone {name!r}: not {TINY!r}, not a folder with open_clip_config.json, not a model of open_clip"
        )
    if pretrained is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        raise ValueError(f"backbone {name!r} needs pretrained=...: a local file of weights, or one of {tags}")
    try:
        tag = open_clip.get_pretrained_cfg(name, pretrained) or {}
        weights = None if pretrained == RANDOM else pretrained if tag else str(find_path(pretrained))
        return open_clip.create_model(name, pretrained=weights, force_quick_gelu=tag.get("quick_gelu", False))
    except FileNotFoundError:
        raise
    except (RuntimeError, OSError, ValueError, UnpicklingError) as error:
        raise FileNotFoundError(
            f"weights {pretrained!r} of {name} could not be loaded ({error}). Without a network, download the file "
            "elsewhere and give its path as pretrained"
        ) from error


def _check_towers(clip: CLIP, name: str) -> None:
    """Refuse every model whose blocks the event encoder could not wrap exactly."""
    visual = getattr(clip, "visual", None)
    plain = isinstance(clip, CLIP) and isinstance(visual, VisionTransformer)
    plain = plain and visual.attn_pool is None and visual.pool_type == "tok"
    plain = plain and clip.text_pool_type == "argmax" and clip.attn_mask is not None
    if not plain or not all(isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks):
        raise ValueError(
            f"backbone {name!r}: E-CLIP needs a ViT image tower pooled at its class token and CLIP's own causal "
            "text tower (ViT-B-32, ViT-B-16, ViT-L-14 and their like)"
        )


def normalize_images(clip: CLIP, images: Float[Tensor, "*B 3 S S"]) -> Float[Tensor, "*B 3 S S"]:
    """Apply the model's own mean and standard deviation to images in [0, 1]."""
    cfg = clip.visual.preprocess_cfg
    mean, std = (images.new_tensor(cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (images - mean) / std
