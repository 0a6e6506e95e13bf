"""What a training starts from: seeds, groups of parameters with their rates, and how rates rise and fall."""

import math
import random

import numpy as np
import torch

from eclip_lib.config import TrainConfig
from eclip_lib.model import EClip


def seed_everything(seed: int) -> None:
    """Seed every random stream and ask for repeatable kernels."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  libraries still draw from the global stream
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def parameter_groups(model: EClip, cfg: TrainConfig) -> list[dict]:
    """Return the trained parameters: the tower at its own rate, additions at theirs; no decay on vectors and gates."""
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = cfg.tower_rate if name.startswith("event_encoder.visual.") else cfg.additions_rate
            decay = cfg.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), p in groups.items()]


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the peak rate at a step: linear over the `warmup` share of all steps, then cosine to zero."""
    first = max(1, round(warmup * steps))
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))
