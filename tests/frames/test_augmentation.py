import pytest
import torch

from eclip_lib.config import TrainConfig
from eclip_lib.frames.augmentation import affine_frames, move_frames, shift_frames

MIDDLE, MOST = 0.5, 1.0  # draws: no change, and the largest


def moved(frames, draws=(MIDDLE,) * 4, **change):
    """Return frames under one draw for all recordings: turn, zoom, shift in x and y."""
    return affine_frames(frames, TrainConfig(**({"shift": 0} | change)), torch.tensor([draws]).expand(len(frames), 4))


def random_move(frames, cfg, seed=0):
    return move_frames(frames, cfg, torch.Generator().manual_seed(seed), torch.arange(len(frames)), len(frames))


@pytest.fixture
def frames():
    """Return two recordings of three frames, 8 pixels wide, with white borders."""
    frames = torch.ones(2, 3, 3, 8, 8)
    frames[..., 2:6, 2:6] = torch.rand(2, 3, 3, 4, 4)
    return frames


def test_shifted_frames_are_white_where_nothing_was():
    black = torch.zeros(2, 3, 3, 8, 8)
    assert set(shift_frames(black, 3).unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(shift_frames(black, 0), black)
    lost = [(shift_frames(black, 3) == 1).float().mean().item() for _ in range(50)]
    assert max(lost) == pytest.approx(1 - (5 / 8) ** 2)


def test_the_middle_of_every_range_changes_nothing(frames):
    assert torch.allclose(moved(frames, rotate=30, zoom=0.3, shift=3), frames, atol=1e-5)


def test_a_quarter_turn_is_one(frames):
    turned = moved(frames, (MOST, MIDDLE, MIDDLE, MIDDLE), rotate=90)
    assert torch.allclose(turned, frames.rot90(1, (-2, -1)), atol=1e-5) or torch.allclose(
        turned, frames.rot90(-1, (-2, -1)), atol=1e-5
    )
    assert not torch.allclose(turned, frames, atol=0.1)


def test_a_shift_is_one_in_pixels(frames):
    right = moved(frames, (MIDDLE, MIDDLE, MOST, MIDDLE), rotate=1e-3, shift=2)
    assert torch.allclose(right, frames.roll(2, -1), atol=1e-3)
    up = moved(frames, (MIDDLE, MIDDLE, MIDDLE, 0.0), rotate=1e-3, shift=1)
    assert torch.allclose(up, frames.roll(-1, -2), atol=1e-3)


def test_zooming_changes_the_ink_by_the_square():
    frames = torch.ones(1, 1, 3, 64, 64)
    frames[..., 24:40, 24:40] = 0.0
    ink = [(1 - moved(frames, (MIDDLE, draw, MIDDLE, MIDDLE), zoom=0.5)).sum() / 3 / 256 for draw in (0.0, MOST)]
    assert ink == pytest.approx([0.25, 2.25], rel=0.05)


def test_what_leaves_is_lost_and_what_comes_is_white():
    out = moved(torch.zeros(1, 1, 3, 8, 8), (MIDDLE, 0.0, MIDDLE, MIDDLE), zoom=0.5)
    assert out.amin() >= 0 and out.amax() == 1.0
    assert out[..., 0, 0].unique().tolist() == [1.0]


def test_each_recording_moves_in_its_own_way_and_its_frames_alike():
    same = torch.rand(1, 1, 3, 16, 16).expand(4, 3, -1, -1, -1)
    out = random_move(same, TrainConfig(rotate=40, zoom=0.3))
    assert all(torch.equal(out[:, 0], out[:, t]) for t in (1, 2))
    assert not torch.allclose(out[0], out[1], atol=0.05)
    assert torch.equal(out, random_move(same, TrainConfig(rotate=40, zoom=0.3)))
    assert not torch.equal(out, random_move(same, TrainConfig(rotate=40, zoom=0.3), seed=1))


def test_a_part_of_a_batch_moves_as_it_would_in_the_whole(frames):
    cfg, whole = TrainConfig(rotate=30, zoom=0.2), torch.cat([frames, frames.flip(-1)])
    rngs = [torch.Generator().manual_seed(3) for _ in range(3)]
    expected = move_frames(whole, cfg, rngs[0], torch.arange(4), 4)
    parts = [
        move_frames(whole[rows], cfg, rng, rows, 4)
        for rng, rows in zip(rngs[1:], torch.tensor([[0, 1], [2, 3]]), strict=True)
    ]
    assert torch.allclose(torch.cat(parts), expected, atol=1e-6)
    assert len({tuple(rng.get_state().tolist()) for rng in rngs}) == 1  # all go on alike


def test_without_turn_and_zoom_all_are_shifted_alike(frames):
    out = random_move(frames, TrainConfig(shift=2), seed=1)
    assert torch.equal(out, shift_frames(frames, 2, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("change", [{"rotate": -1}, {"rotate": 181}, {"zoom": 1.0}, {"zoom": -0.1}, {"shift": -1}])
def test_impossible_movements_are_refused(change):
    with pytest.raises(ValueError, match="TrainConfig"):
        TrainConfig(**change)
