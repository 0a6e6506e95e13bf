"""Random movements of a batch's frames: shifts, turns and zooms, on white. The stills are not moved.

frames (B, T, 3, S, S) in [0, 1] and `TrainConfig` -> frames of the same shape and range.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from eclip_lib.config import TrainConfig


def move_frames(
    frames: Float[Tensor, "B T 3 S S"], cfg: TrainConfig, rng: torch.Generator, rows: Int[Tensor, " B"], count: int
) -> Float[Tensor, "B T 3 S S"]:
    """Move frames as a config says: with `rotate` or `zoom` each recording in its own way, else all by one shift.

    Args:
        frames: of those recordings of a batch that this process holds.
        cfg: `shift`, `rotate`, `zoom`.
        rng: draws the same, whichever rows are held.
        rows: their places in the whole batch.
        count: recordings in the whole batch.

    Source: our choice.
    """
    if not (cfg.rotate or cfg.zoom):
        return shift_frames(frames, cfg.shift, rng)
    return affine_frames(frames, cfg, torch.rand(count, 4, generator=rng)[rows])


def shift_frames(
    frames: Float[Tensor, "B T 3 S S"], most: int, rng: torch.Generator | None = None
) -> Float[Tensor, "B T 3 S S"]:
    """Move all frames of a batch by one random offset of up to `most` pixels, on white."""
    if not most:
        return frames
    dx, dy = torch.randint(-most, most + 1, (2,), generator=rng).tolist()
    size = frames.shape[-1]
    moved = torch.ones_like(frames)
    to_y, to_x = slice(max(dy, 0), size + min(dy, 0)), slice(max(dx, 0), size + min(dx, 0))
    from_y, from_x = slice(max(-dy, 0), size + min(-dy, 0)), slice(max(-dx, 0), size + min(-dx, 0))
    moved[..., to_y, to_x] = frames[..., from_y, from_x]
    return moved


def affine_frames(
    frames: Float[Tensor, "B T 3 S S"], cfg: TrainConfig, draws: Float[Tensor, "B 4"]
) -> Float[Tensor, "B T 3 S S"]:
    """Turn, zoom and shift the frames of each recording alike, about the middle, on white.

    Args:
        frames: in [0, 1].
        cfg: `rotate` in degrees, `zoom` as a share of the size, `shift` in pixels: the largest change to either side.
        draws: in [0, 1): where between these largest changes the turn, the zoom and the shift in x and y lie.
    """
    size = frames.shape[-1]
    turn, zoom, *shift = ((2 * draws - 1) * torch.tensor([cfg.rotate, cfg.zoom, cfg.shift, cfg.shift])).unbind(1)
    angle, reach = turn * math.pi / 180, 1 / (1 + zoom)  # the grid says where a pixel comes from
    cos, sin = reach * angle.cos(), reach * angle.sin()
    x, y = (-2 * part / size for part in shift)
    matrix = torch.stack([cos, -sin, x, sin, cos, y], dim=1).view(-1, 2, 3).to(frames.device)
    ink = rearrange(1 - frames, "b t c h w -> b (t c) h w")
    moved = F.grid_sample(ink, F.affine_grid(matrix, list(ink.shape), align_corners=False), align_corners=False)
    return 1 - moved.view_as(frames)
