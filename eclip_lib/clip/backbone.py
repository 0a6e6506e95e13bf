"""CLIP itself: any open_clip model with a plain ViT image tower, or the embedded tiny one.

name (and weights) -> open_clip model, with its tokenizer. The only file that builds CLIP; it also owns mean and std.
"""

import warnings
from pathlib import Path

import open_clip
from huggingface_hub.constants import HF_HUB_CACHE
from jaxtyping import Float
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor

from eclip_lib.clip.weights import CONFIG, WEIGHTS, check_fit, hub_snapshot, read_weights, weights_file
from eclip_lib.config import TINY
from eclip_lib.paths import ASSETS, find_path

RANDOM = "random"
NEEDS = (
    "E-CLIP needs a ViT image tower pooled at its class token and CLIP's own causal text tower (ViT-B-32, ViT-B-16, "
    "ViT-L-14 and their like)"
)


def load_clip(name: str = TINY, pretrained: str | None = None) -> CLIP:
    """Load a CLIP model in float32 and eval mode; the model carries its `tokenizer`.

    Args:
        name: `"eclip-tiny"`, an open_clip architecture such as `"ViT-B-16"`, or a folder in open_clip's format (with
            its config), as it lies in the hub's cache too.
        pretrained: open_clip tag (`"openai"`, needs a network or its cache), or a local file of weights or folder with
            one, as it lies in the hub's cache too; `"random"` leaves an architecture untrained. OpenAI's own files and
            tags bring their QuickGELU, and so does a config beside the file; any other file is read with the activation
            of the architecture's name (`-quickgelu` or not), and warns where that is GELU. The tiny one and a folder
            given as name bring their own weights.

    Raises:
        ValueError: the name is unknown, weights are not named or would be ignored, or the model is not a CLS-pooled
            ViT with CLIP's text tower.
        FileNotFoundError: the weights cannot be found or fetched.
    """
    folder = clip_folder(name)
    if folder is not None and pretrained is not None:
        raise ValueError(f"backbone {name!r} brings its own weights; leave pretrained = {pretrained!r} out")
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
        folder = hub_snapshot(find_path(name))
    return folder if (folder / CONFIG).is_file() else None


def _folder_tokenizer(folder: Path, clip: CLIP) -> SimpleTokenizer:
    merges = folder / "bpe.txt.gz"
    if merges.is_file():
        return SimpleTokenizer(bpe_path=str(merges), context_length=clip.context_length)
    return open_clip.get_tokenizer(f"local-dir:{folder}")


def _load_architecture(name: str, pretrained: str | None) -> CLIP:
    if name not in open_clip.list_models():
        raise ValueError(f"backbone {name!r}: not {TINY!r}, not a folder with {CONFIG}, not a model of open_clip")
    if pretrained is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        raise ValueError(f"backbone {name!r} needs pretrained=...: a local file of weights, or one of {tags}")
    _check_architecture(name)
    if pretrained == RANDOM:
        return open_clip.create_model(name)
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        return _load_file(name, find_path(pretrained))
    try:
        return open_clip.create_model(name, pretrained=pretrained, force_quick_gelu=tag.get("quick_gelu", False))
    except (RuntimeError, OSError, ValueError) as error:
        raise FileNotFoundError(
            f"weights {pretrained!r} of {name} could not be fetched ({error}). Without a network, {_where(tag)}"
        ) from error


def _where(tag: dict) -> str:
    """Say which file of weights to fetch elsewhere, and where to put it."""
    ways = [f"fetch {tag['url']} elsewhere and give the path of that file as pretrained"] if tag.get("url") else []
    if tag.get("hf_hub"):
        repo, _, file = tag["hf_hub"].rpartition("/")
        folder = f"models--{repo.replace('/', '--')}"
        ways.append(
            f"download {file or WEIGHTS[0]} of the hub's {repo} elsewhere and copy the folder {folder} of that "
            f"machine's cache to {HF_HUB_CACHE}, or give its path as pretrained"
        )
    return "; or ".join(ways)


def _load_file(name: str, path: Path) -> CLIP:
    """Build an architecture and fill it from local weights, strictly; OpenAI's own force QuickGELU."""
    path, configured = weights_file(path)
    state, openai = read_weights(path)
    named = open_clip.get_model_config(name).get("quick_gelu", False)
    quick = openai or (named if configured is None else configured)
    if not quick and configured is None:
        warnings.warn(
            f"{path} does not say its activation, so {name} uses GELU; weights trained with QuickGELU (OpenAI's and "
            f"those fine-tuned from them) need {name}-quickgelu",
            stacklevel=4,
        )
    clip = open_clip.create_model(name, force_quick_gelu=quick)
    check_fit(state, clip.state_dict(), path, name)
    clip.load_state_dict(state)
    return clip


def _check_architecture(name: str) -> None:
    """Refuse by its config, before it is built, an architecture whose towers the event encoder cannot wrap."""
    cfg = open_clip.get_model_config(name)
    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    reasons = {
        "its image tower is a ResNet": isinstance(vision.get("layers"), list | tuple),
        "its image tower is timm's": "timm_model_name" in vision,
        "it is a CoCa with a captioning decoder": "multimodal_cfg" in cfg,
        "its text tower is HuggingFace's": "hf_model_name" in text,
        "its image tower averages its patches (CLIPA)": vision.get("pool_type", "tok") != "tok",
        "its image tower pools by attention": vision.get("attentional_pool", False),
        "its text tower is not causal": text.get("no_causal_mask", False),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"backbone {name!r}: {reason}; {NEEDS}")


def _check_towers(clip: CLIP, name: str) -> None:
    """Refuse every model whose blocks the event encoder could not wrap exactly."""
    plain = isinstance(clip, CLIP) and isinstance(visual := clip.visual, VisionTransformer)
    plain = plain and visual.attn_pool is None and visual.pool_type == "tok"
    plain = plain and clip.text_pool_type == "argmax" and clip.attn_mask is not None
    if not plain or not all(isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks):
        raise ValueError(f"backbone {name!r}: {NEEDS}")


def normalize_images(clip: CLIP, images: Float[Tensor, "*B 3 S S"]) -> Float[Tensor, "*B 3 S S"]:
    """Apply the model's own mean and standard deviation to images in [0, 1]."""
    cfg = clip.visual.preprocess_cfg
    mean, std = (images.new_tensor(cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (images - mean) / std
