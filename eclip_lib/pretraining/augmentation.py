"""Random views of stills for pre-training, among them sketches that look like event frames.

(B, 3, H, W) in [0, 1] -> (B, 3, size, size) in [0, 1]. All randomness comes from one torch generator.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)


def uniform(n: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    """Draw `n` numbers from U(low, high)."""
    return low + (high - low) * torch.rand(n, generator=rng)


def chosen(n: int, probability: float, rng: torch.Generator, dims: int = 4) -> Tensor:
    """Draw `n` booleans, shaped to broadcast over a batch of images."""
    return (torch.rand(n, generator=rng) < probability).view(n, *[1] * (dims - 1))


def random_affine(images: Tensor, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """Turn, scale, stretch, shear, shift and mirror each image on white."""
    n = len(images)
    angle = uniform(n, -0.35, 0.35, rng) * strength
    zoom = torch.exp(uniform(n, -0.25, 0.45, rng) * strength)  # > 1 shrinks the object
    stretch = torch.exp(uniform(n, -0.2, 0.2, rng) * strength)
    shear = uniform(n, -0.2, 0.2, rng) * strength
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([zoom * stretch * cos * mirror, -zoom * sin + shear, uniform(n, -0.2, 0.2, rng) * strength], 1),
            torch.stack([zoom * sin * mirror, zoom / stretch * cos, uniform(n, -0.2, 0.2, rng) * strength], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return 1 - F.grid_sample(1 - images, grid, padding_mode="zeros", align_corners=False)


def random_color(images: Tensor, rng: torch.Generator) -> Tensor:
    """Mix channels, change contrast and brightness; sometimes gray, inverted, or on another background."""
    n = len(images)
    gray = (images * images.new_tensor(LUMINANCE).view(3, 1, 1)).sum(1, keepdim=True).expand_as(images)
    mix = torch.eye(3) + 0.35 * torch.randn(n, 3, 3, generator=rng)
    mix = mix / mix.sum(2, keepdim=True).clamp(min=0.2)  # white stays white
    out = torch.where(chosen(n, 0.6, rng), torch.einsum("bij,bjhw->bihw", mix, images), images)
    out = torch.where(chosen(n, 0.3, rng), gray, out)
    contrast, shift = uniform(n, 0.5, 1.2, rng).view(n, 1, 1, 1), uniform(n, -0.15, 0.15, rng).view(n, 1, 1, 1)
    out = (out - 1) * contrast + 1 + shift * (torch.rand(n, 1, 1, 1, generator=rng) < 0.5)
    tint = torch.rand(n, 3, 1, 1, generator=rng)
    out = torch.where(chosen(n, 0.25, rng), out * tint + (1 - tint) * 0.2, out)
    out = torch.where(chosen(n, 0.12, rng), 1 - out, out)
    return out.clamp(0, 1)


def event_sketch(images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw what a moving event camera would see of each still: red ON, blue OFF on white, or gray.

    A camera that moves with velocity v sees a change of -v . grad(log I); a pixel is colored where that passes a
    threshold. Our choice: a cheap stand-in for the saccade camera, so that pre-training meets the world of events.
    """
    n, _, height, width = images.shape
    light = (images * images.new_tensor(LUMINANCE).view(3, 1, 1)).sum(1)  # (B, H, W)
    log_light = torch.log(light**2.2 + uniform(n, 0.02, 0.3, rng).view(n, 1, 1))
    dx = F.pad(log_light[:, :, 1:] - log_light[:, :, :-1], (0, 1))
    dy = F.pad(log_light[:, 1:] - log_light[:, :-1], (0, 0, 0, 1))
    angle = uniform(n, 0, 2 * math.pi, rng).view(n, 1, 1)
    turn = angle + uniform(n, 1.5, 2.6, rng).view(n, 1, 1)
    both = (torch.rand(n, 1, 1, generator=rng) < 0.5).float()  # windows often hold two directions of motion
    first = torch.cos(angle) * dx + torch.sin(angle) * dy
    second = both * (torch.cos(turn) * dx + torch.sin(turn) * dy)
    reach = 1 + 2 * int(torch.randint(0, 3, (1,), generator=rng))  # the longer the window, the wider the band
    change = torch.stack([first.relu() + second.relu(), (-first).relu() + (-second).relu()], 1)  # (B, 2, H, W)
    change = F.max_pool2d(change, reach, 1, reach // 2)
    threshold = torch.exp(uniform(n, math.log(0.05), math.log(0.6), rng)).view(n, 1, 1, 1)
    soft = torch.rand(n, 1, 1, 1, generator=rng) < 0.4
    shown = torch.where(soft, (change / (threshold * 4)).clamp(max=1), (change > threshold).float())
    shown = shown * (torch.rand(n, 2, height, width, generator=rng) > uniform(n, 0, 0.4, rng).view(n, 1, 1, 1))
    noise = torch.rand(n, 2, height, width, generator=rng) < uniform(n, 0, 0.02, rng).view(n, 1, 1, 1)
    shown = torch.maximum(shown, noise.float())
    on, off = shown[:, 0], shown[:, 1]
    color = torch.stack([1 - off, 1 - (on + off), 1 - on], 1).clamp(0, 1)
    gray = (1 - 0.5 * (on + off)).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)
    return torch.where(chosen(n, 0.25, rng), gray, color)


def random_erase(images: Tensor, rng: torch.Generator, probability: float = 0.3) -> Tensor:
    """Paint a random box of some images white or a random gray: objects are seen in part."""
    n, _, height, width = images.shape
    y, x = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    box = torch.stack([uniform(n, 0.15, 0.5, rng) * height, uniform(n, 0.15, 0.5, rng) * width], 1)
    corner = torch.stack([uniform(n, 0, 1, rng) * height, uniform(n, 0, 1, rng) * width], 1) - box / 2
    inside = (y >= corner[:, :1, None]) & (y < (corner + box)[:, :1, None])
    inside = inside & (x >= corner[:, 1:, None]) & (x < (corner + box)[:, 1:, None])
    fill = torch.where(torch.rand(n, generator=rng) < 0.5, torch.ones(n), torch.rand(n, generator=rng)).view(n, 1, 1, 1)
    return torch.where(inside[:, None] & chosen(n, probability, rng), fill, images)


def random_view(images: Tensor, size: int, sketch_share: float, strength: float, rng: torch.Generator) -> Tensor:
    """Draw one random view of each still, `sketch_share` of them as an event sketch, at `size` pixels.

    `strength` in [0, 1] scales the geometric changes and the share of boxes that are erased.
    """
    views = random_affine(images, rng, strength)
    sketches = round(sketch_share * len(views))
    drawn = event_sketch(views[:sketches], rng)
    shrunk = [F.interpolate(part, (size, size), mode="area") for part in (drawn, views[sketches:])]
    return random_erase(torch.cat([shrunk[0], random_color(shrunk[1], rng)]), rng, 0.3 * strength)


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 `(B, H, W, 3)` to float `(B, 3, H, W)` in [0, 1]."""
    return rearrange(images, "b h w c -> b c h w").float() / 255
