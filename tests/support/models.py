"""Models that the tests of the method share."""

import torch
import torch.nn.functional as F

from eclip_lib.clip import normalize_images
from eclip_lib.config import ModelConfig
from eclip_lib.model import EClip

NAMES = ["dog", "ice cream", "tennis racket", "car"]


def full(clip, **fields):
    """Return a model of which every part does something, in eval mode."""
    torch.manual_seed(1)
    model = EClip(ModelConfig(**fields), clip).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith("event_encoder.visual."):
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def plain_mean(clip, frames, valid, normalize=True):
    """Return the mean of open_clip's image features over valid frames, at unit length."""
    frames = normalize_images(clip, frames) if normalize else frames
    return torch.stack(
        [F.normalize(clip.encode_image(f[v]).mean(0), dim=-1) for f, v in zip(frames, valid, strict=True)]
    )
