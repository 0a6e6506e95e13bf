from typing import get_args

import numpy as np
import pytest
import torch

from eclip_lib.config import Color
from eclip_lib.frames.colors import background, color_maps
from eclip_lib.frames.drawing import colorize

COLORS = get_args(Color)
ON = torch.tensor([[2, 0, 0, 1], [0, 0, 1, 3]])
OFF = torch.tensor([[1, 1, 0, 0], [0, 2, 0, 0]])
MAPS = torch.stack([ON, OFF])
G = 127 / 255


def drawn(color, on, off):
    """Return the pixels of two rows of counts, as (H, W) lists of (red, green, blue)."""
    maps = torch.tensor([on, off])
    return color_maps(maps, color).permute(1, 2, 0)


@pytest.fixture
def maps():
    """Return seeded maps of 4 frames, the last of them empty, the third with a hot pixel."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(0.4, (4, 2, 9, 7)).astype(np.uint16)
    counts[3] = 0
    counts[2, 0, 4, 4] = 60_000
    return counts


# Worked by hand


def test_rgb_by_hand():
    expected = [
        # ON and OFF: black, OFF: blue, none: white, ON: red; how many does not matter
        [[0, 0, 0], [0, 0, 1], [1, 1, 1], [1, 0, 0]],
        [[1, 1, 1], [0, 0, 1], [1, 0, 0], [1, 0, 0]],
    ]
    assert color_maps(MAPS, "rgb").permute(1, 2, 0).tolist() == expected


def test_gray_by_hand():
    """One event leaves 128/255, two leave 1/255, three nothing."""
    expected = torch.tensor([[0, 128 / 255, 1, 128 / 255], [1, 1 / 255, 128 / 255, 0]])
    assert torch.allclose(color_maps(MAPS, "gray"), expected.expand(3, 2, 4), atol=1e-6)


def test_rgb_formula_by_hand():
    """As printed: [0, 255, 255] for each ON, [255, 255, 0] for each OFF, cut at 255."""
    cyan, yellow, white, black = [0, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]
    expected = [[white, yellow, black, cyan], [black, yellow, cyan, cyan]]
    assert color_maps(MAPS, "rgb-formula").permute(1, 2, 0).tolist() == expected


def test_gray_formula_by_hand():
    """As printed: [127, 127, 0] for each event; 127, 254, then cut at 255."""
    expected = torch.tensor([[1, G, 0, G], [0, 2 * G, G, 1]])
    red, green, blue = color_maps(MAPS, "gray-formula")
    assert torch.allclose(red, expected) and torch.equal(red, green) and not blue.any()


def test_count_by_hand():
    """Nonzero counts 1, 1, 1, 1, 2, 2, 3: their 99th percentile is at rank 0.99 x 6 = 5.94, hence 2.94."""
    one, two, three = (np.log(1 + n) / np.log(1 + 2.94) for n in (1, 2, 3))
    assert three > 1, "is cut"
    red, green, blue = color_maps(MAPS, "count")
    assert torch.allclose(red, torch.tensor([[1 - one, 1 - one, 1, 1], [1, 1 - two, 1, 1]], dtype=torch.float32))
    assert torch.allclose(blue, torch.tensor([[1 - two, 1, 1, 1 - one], [1, 1, 1 - one, 0]], dtype=torch.float32))
    green_by_hand = [[max(0, 1 - one - two), 1 - one, 1, 1 - one], [1, 1 - two, 1 - one, 0]]
    assert torch.allclose(green, torch.tensor(green_by_hand, dtype=torch.float32))


def test_signed_by_hand():
    """Differences 1, -1, 0, 1 / 0, -2, 1, 3; sizes 1, 1, 1, 1, 2, 3: percentile at rank 4.95, hence 2.95."""
    one, two = 1 / 2.95, 2 / 2.95
    expected = [
        [[1, 1 - one, 1 - one], [1 - one, 1 - one, 1], [1, 1, 1], [1, 1 - one, 1 - one]],
        [[1, 1, 1], [1 - two, 1 - two, 1], [1, 1 - one, 1 - one], [1, 0, 0]],
    ]
    assert torch.allclose(color_maps(MAPS, "signed").permute(1, 2, 0), torch.tensor(expected))


def test_eventclip_by_hand():
    """The frame's largest count is 3; s = (ON + OFF) / 3 darkens by w = min(s, 1) to 1 - w + w s 127/255."""
    third, two, full = 1 - 1 / 3 + G / 9, 1 - 2 / 3 + 4 * G / 9, G
    expected = torch.tensor([[full, third, 1, third], [1, two, third, full]])
    assert torch.allclose(color_maps(MAPS, "eventclip"), expected.expand(3, 2, 4))


def test_eventclip_is_nearly_white_where_both_polarities_peak():
    assert torch.allclose(color_maps(torch.tensor([[[4]], [[4]]]), "eventclip"), torch.tensor(2 * G))


def test_eventclip_removes_hot_pixels_by_hand():
    """100 and three times 1 among 800 counts: mean 0.129, deviation 3.53; 100 > 35.5 is hot, and 1 becomes the peak."""
    counts = torch.zeros(2, 20, 20, dtype=torch.int32)
    counts[0, 0, 0], counts[1, 5, 5], counts[0, 7, 7], counts[0, 8, 8] = 100, 1, 1, 1
    frame = color_maps(counts, "eventclip")[0]
    assert frame[0, 0] == 1, "the hot pixel is gone"
    assert torch.allclose(frame[[5, 7, 8], [5, 7, 8]], torch.tensor(G))
    busy = counts.clone()
    busy[0, 1:6] = 30  # 100 busy pixels raise mean and deviation to 3.9 and 10.5, so 100 is below the threshold
    assert color_maps(busy, "eventclip")[0, 0, 0] < 0.6


def test_eventclip_keeps_a_frame_of_a_few_events():
    """One event of 800 pixels is above mean + 10 deviations by itself; it must not vanish."""
    counts = torch.zeros(2, 20, 20, dtype=torch.int32)
    counts[1, 3, 3] = 1
    assert torch.allclose(color_maps(counts, "eventclip")[:, 3, 3], torch.tensor(G))


# Laws


@pytest.mark.parametrize("color", COLORS)
def test_every_color_is_in_range_and_plain_without_events(maps, color):
    before = maps.copy()
    frames = colorize(maps, color)
    assert frames.dtype == np.float32 and frames.shape == (4, 3, 9, 7)
    assert frames.min() >= 0 and frames.max() <= 1 and frames[:3].std() > 0.01
    assert np.all(frames[3] == background(color)) and np.array_equal(maps, before)
    empty = maps.sum(1, keepdims=True).repeat(3, 1) == 0
    assert np.all(frames[empty] == background(color))


@pytest.mark.parametrize("color", COLORS)
def test_a_frame_does_not_depend_on_its_batch(maps, color):
    whole = color_maps(torch.from_numpy(maps).reshape(2, 2, 2, 9, 7), color)
    for frame, alone in zip(whole.flatten(0, 1), maps, strict=True):
        assert torch.equal(frame, color_maps(torch.from_numpy(alone), color))


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64, torch.float32])
def test_every_number_type_gives_the_colors_of_the_arrays(maps, color, kind):
    small = np.minimum(maps, 200)
    assert torch.equal(color_maps(torch.from_numpy(small).to(kind), color), torch.from_numpy(colorize(small, color)))


@pytest.mark.parametrize("color", COLORS)
def test_a_mirrored_map_gives_a_mirrored_image(maps, color):
    assert np.array_equal(colorize(maps[..., ::-1], color), colorize(maps, color)[..., ::-1])


def test_flipped_polarity_swaps_the_hues(maps):
    flipped = maps[:, ::-1]
    for color in ("rgb", "rgb-formula", "count", "signed"):
        assert np.array_equal(colorize(flipped, color), colorize(maps, color)[:, ::-1]), color
    for color in ("gray", "gray-formula"):
        assert np.array_equal(colorize(flipped, color), colorize(maps, color)), color
    assert np.allclose(colorize(flipped, "eventclip"), colorize(maps, "eventclip"), atol=1e-6)


def test_the_printed_formula_is_the_negative_of_what_the_code_draws(maps):
    assert np.array_equal(colorize(maps, "rgb-formula"), 1 - colorize(maps, "rgb"))


# Oracles


def test_rgb_and_gray_follow_the_official_formula(maps):
    on, off = maps[:, :1].astype(float), maps[:, 1:].astype(float)
    cyan, yellow = np.array([0, 255, 255]).reshape(3, 1, 1), np.array([255, 255, 0]).reshape(3, 1, 1)
    assert np.allclose(colorize(maps, "rgb"), np.clip(1 - (on * cyan + off * yellow) / 255, 0, 255))
    assert np.allclose(colorize(maps, "gray"), np.clip(1 - (on + off) * 127 / 255, 0, 255).repeat(3, 1), atol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_robust_peak_is_the_percentile_of_the_nonzero_counts(seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.01, 0.3, 5]), (2, 10, 13)) * rng.choice([1, 1, 50])
    peak = np.percentile(counts[counts > 0], 99) if counts.any() else 1.0
    strength = np.minimum(np.log1p(counts[1]) / np.log1p(peak), 1)  # OFF darkens red
    assert np.allclose(colorize(counts[None].astype(np.uint16), "count")[0, 0], 1 - strength, atol=1e-5)


@pytest.mark.parametrize("largest", [4094, 4095, 4096, 4097, 60_000, 2**40])
@pytest.mark.parametrize("share", [0.002, 0.02, 1.0])  # of the pixels, below and above the percent that is left out
def test_the_robust_peak_of_large_counts_needs_no_memory_for_them(largest, share):
    """One number for each count up to 2^40 would be 8.8 TB."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (3, 2, 40, 30)).astype(np.uint64)
    many = rng.random((40, 30)) < share
    counts[1, 0, many] = largest - rng.integers(0, 3, many.sum()).astype(np.uint64)
    counts[1, 0, 0, 0] = largest
    peaks = [np.percentile(frame[frame > 0], 99) for frame in counts.astype(float)]
    for frame, on, peak in zip(colorize(counts, "count"), counts[:, 0], peaks, strict=True):
        assert np.allclose(frame[2], 1 - np.minimum(np.log1p(on) / np.log1p(peak), 1), atol=1e-5)  # ON darkens blue
    difference = counts[:, 0].astype(float) - counts[:, 1]
    for frame, signed in zip(colorize(counts, "signed"), difference, strict=True):
        peak = np.percentile(np.abs(signed[signed != 0]), 99)
        assert np.allclose(frame[2], 1 - np.clip(signed / peak, 0, 1), atol=1e-5)


@pytest.mark.parametrize("color", COLORS)
def test_a_batch_of_no_frames_gives_none(color):
    assert color_maps(torch.zeros(0, 2, 9, 7), color).shape == (0, 3, 9, 7)
    assert color_maps(torch.zeros(4, 0, 2, 9, 7, dtype=torch.uint8), color).shape == (4, 0, 3, 9, 7)


def test_eventclip_follows_its_definition(maps):
    for frame, counts in zip(colorize(maps, "eventclip")[:3], maps[:3].astype(float), strict=True):
        kept = np.where(counts > counts.mean() + 10 * counts.std(), 0, counts)
        total = (kept / kept.max()).sum(0)
        weight = np.clip(total, 0, 1)
        assert np.allclose(frame, total * G * weight + 1 - weight, atol=1e-5)
    assert (maps[2, 0, 4, 4] > 1000) and colorize(maps, "eventclip")[2, 0].min() < 0.6, "a hot pixel hides nothing"


def test_count_tells_one_event_from_several():
    counts = np.zeros((1, 2, 1, 4), np.uint16)
    counts[0, 0, 0] = [0, 1, 3, 9]
    blue = colorize(counts, "count")[0, 2, 0]
    assert blue[0] == 1 and np.all(np.diff(blue) < -0.1)
    assert np.ptp(colorize(counts, "rgb")[0, 2, 0, 1:]) == 0  # the paper's saturates


@pytest.mark.parametrize("color", ["count", "signed"])
def test_a_hot_pixel_does_not_fade_the_others(color):
    counts = np.zeros((1, 2, 20, 20), np.uint16)
    counts[0, 0] = np.arange(400).reshape(20, 20) % 4
    calm = colorize(counts, color)
    counts[0, 0, 0, 0] = 60_000
    assert np.abs(colorize(counts, color) - calm)[..., 1:].max() < 0.01


# Bad input


def test_unknown_color_and_wrong_shape_are_named():
    with pytest.raises(ValueError, match="color 'sepia': expected one of rgb, gray, rgb-formula, gray-formula"):
        colorize(np.zeros((1, 2, 3, 3), np.uint16), "sepia")
    with pytest.raises(ValueError, match=r"maps of shape \(2, 3, 3\): expected \(T, 2, H, W\)"):
        colorize(np.zeros((2, 3, 3), np.uint16))
    with pytest.raises(ValueError, match=r"maps of shape \(1, 3, 3, 3\): expected \(..., 2, H, W\)"):
        color_maps(torch.zeros(1, 3, 3, 3))
