"""The colors of count maps.

Count maps (..., 2, H, W), channel 0 = ON -> images (..., 3, H, W) in [0, 1]; in torch, on any device.
"""

from collections.abc import Callable
from typing import get_args

import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

from eclip_lib.config import Color

_GRAY = 127 / 255  # of the official code and of EventCLIP
_ROBUST_PERCENT = 99  # of the nonzero counts; a few hot pixels must not fade all others
_LARGE = 4096  # a hot pixel's count; a histogram that goes on to it would take memory for each number in between
_HOT_SIGMAS = 10.0  # EventCLIP's threshold
Counts = Float[Tensor, "*N 2 H W"]
Images = Float[Tensor, "*N 3 H W"]


def color_maps(maps: Shaped[Tensor, "*N 2 H W"], color: str = "rgb") -> Float32[Tensor, "*N 3 H W"]:
    """Turn count maps into images in [0, 1]; each frame by itself, on the device of the maps.

    A pixel without events is white, except in the two formula colors, where it is black (`background`).

    - "rgb": red where there is an ON event, blue for OFF, black for both; one event saturates.
    - "gray": each event of either polarity darkens by 127/255, so the third changes nothing.
    - "rgb-formula": the formula as printed, on [0, 255] / 255: ON cyan, OFF yellow, both white, on black. One event
      saturates, so it is the exact negative of "rgb".
    - "gray-formula": [127, 127, 0] for both polarities as printed: dark yellow, then yellow, on black; the third
      event changes nothing.
    - "count": the hues of "rgb" with a strength of log(1 + count) / log(1 + m), at most 1, where m is the 99th
      percentile of the nonzero counts of the frame (our choice: several events stay distinguishable from one).
    - "signed": d = ON - OFF, white at 0, towards red above and blue below with a strength of |d| / m, at most 1,
      where m is the 99th percentile of the nonzero |d| of the frame (our choice; balanced pixels look empty).
    - "eventclip": counts above mean + 10 standard deviations of the frame's 2 H W counts are hot pixels and removed,
      the rest is divided by the frame's largest; s = ON + OFF of that in [0, 2] darkens white by w = min(s, 1):
      1 - w + w s 127/255. (As its code has it, both polarities at their peak are nearly white again.) Where every
      count is above the threshold, none is hot (our choice: a frame of a few events would vanish).

    Args:
        maps: counts of any number type; not modified.
        color: one of those.

    Raises:
        ValueError: unknown color, or maps of another shape.

    Example:
        >>> one_on = torch.tensor([[[1, 0]], [[0, 0]]])
        >>> color_maps(one_on, "rgb").flatten(1).T.tolist()
        [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]

    Source: E-CLIP, supplement eq. 1, I = ON [0, 255, 255] + OFF [255, 255, 0], for the formula colors; its code,
        clip(1 - I / 255) and clip(1 - (ON + OFF) 127/255), for "rgb" and "gray"; EventCLIP's event histogram.
    """
    if color not in _COLORS:
        raise ValueError(f"color {color!r}: expected one of {', '.join(_COLORS)}")
    if maps.ndim < 3 or maps.shape[-3] != 2:
        raise ValueError(f"maps of shape {tuple(maps.shape)}: expected (..., 2, H, W), channel 0 = ON")
    return _COLORS[color](maps.float())


def background(color: str) -> float:
    """Return the gray level of a pixel without events in a color of `color_maps`: 1 white, 0 black."""
    return 0.0 if color.endswith("-formula") else 1.0


def _hues(strength: Counts) -> Images:
    """Mix red for ON and blue for OFF, on white."""
    on, off = strength.unbind(-3)
    return torch.stack([1 - off, 1 - on - off, 1 - on], -3).clamp_(0, 1)


def _gray(counts: Counts) -> Images:
    """Darken with every event."""
    return _as_rgb((1 - counts.sum(-3) * _GRAY).clamp_(0, 1))


def _rgb_formula(counts: Counts) -> Images:
    """Add cyan and yellow, on black."""
    on, off = counts.unbind(-3)
    return torch.stack([off, on + off, on], -3).clamp_(0, 1)


def _gray_formula(counts: Counts) -> Images:
    """Add dark yellow, on black."""
    yellow = (counts.sum(-3) * _GRAY).clamp_(0, 1)
    return torch.stack([yellow, yellow, torch.zeros_like(yellow)], -3)


def _log_count(counts: Counts) -> Images:
    """Color by the logarithm of the count."""
    strength = (1 + counts).log() / (1 + _robust_peak(counts)).log()  # `log1p` is no better here, and slow
    return _hues(strength.clamp_(max=1))


def _signed(counts: Counts) -> Images:
    """Color by the difference of the polarities."""
    difference = counts[..., :1, :, :] - counts[..., 1:, :, :]
    peak = _robust_peak(difference.abs())
    return _hues((torch.cat([difference, -difference], -3) / peak).clamp_(0, 1))


def _eventclip(counts: Counts) -> Images:
    """Draw EventCLIP's normalized histogram."""
    flat = counts.flatten(-3)
    mean = flat.mean(-1, keepdim=True)
    deviation = (flat - mean).square().mean(-1, keepdim=True).sqrt()
    hot = flat > mean + _HOT_SIGMAS * deviation
    kept = flat.masked_fill(hot, 0)
    kept = torch.where(kept.amax(-1, keepdim=True) > 0, kept, flat)
    scaled = kept / kept.amax(-1, keepdim=True).clamp(min=1)
    total = scaled.reshape(counts.shape).sum(-3)
    weight = total.clamp(max=1)
    return _as_rgb(1 - weight + weight * total * _GRAY)


def _as_rgb(gray: Float[Tensor, "*N H W"]) -> Images:
    """Repeat a gray image in three channels."""
    return torch.stack([gray, gray, gray], -3)


def _robust_peak(counts: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N 1 1 1"]:
    """Return a high percentile of the nonzero counts of each frame; 1 for an empty frame.

    Counts are small whole numbers, so their histogram gives the percentile without sorting, for all frames at once.
    Only frames whose percentile is a large count, where the histogram ends, are sorted.
    """
    if not counts.numel():
        return counts.new_ones(*counts.shape[:-3], 1, 1, 1)
    rows = counts.reshape(-1, counts.shape[-3:].numel())
    seen = _seen_up_to(rows)
    last = seen[:, -1:] - 1
    rank, rest = _ROBUST_PERCENT * last // 100, _ROBUST_PERCENT * last % 100
    ranks = (rank, torch.minimum(rank + 1, last))
    below, above = (torch.searchsorted(seen, place + 1) + 1 for place in ranks)
    peak = below + (above - below) * rest / 100
    large = above[:, 0] >= _LARGE
    if large.any():
        ordered = rows[large].sort(1).values  # the nonzero counts come last
        first = rows.shape[1] - 1 - last[large]
        below, above = (ordered.gather(1, first + place[large]) for place in ranks)
        peak[large] = below + (above - below) * rest[large] / 100
    return peak.reshape(*counts.shape[:-3], 1, 1, 1)


def _seen_up_to(rows: Float[Tensor, "M K"]) -> Int64[Tensor, "M L"]:
    """Return how many nonzero counts of each row are at most 1, 2, ...; the last holds all, L is at most `_LARGE`."""
    largest = float(rows.max())
    whole = (rows if largest <= _LARGE else rows.clamp(max=_LARGE)).long()
    histogram = whole.new_zeros(len(whole), int(min(max(largest, 1), _LARGE)) + 1)
    return histogram.scatter_add_(1, whole, whole.new_ones(()).expand_as(whole))[:, 1:].cumsum(1)


_COLORS: dict[str, Callable[[Counts], Images]] = {
    "rgb": _hues,  # any count saturates
    "gray": _gray,
    "rgb-formula": _rgb_formula,
    "gray-formula": _gray_formula,
    "count": _log_count,
    "signed": _signed,
    "eventclip": _eventclip,
}
assert set(_COLORS) == set(get_args(Color)), "FrameConfig.color and color_maps name the same colors"
