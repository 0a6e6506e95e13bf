import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from eclip_lib.frames.resizing import resize

SIDES = st.integers(1, 90)


def torch_resize(images, height, width):
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


@given(height=SIDES, width=SIDES, size=SIDES, seed=st.integers(0, 99))
def test_a_square_equals_what_torch_makes(height, width, size, seed):
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(resize(images, size), torch_resize(images, size, size), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("sensor", "size"), [((180, 240), 224), ((34, 34), 224), ((480, 640), 224), ((720, 1280), 336)]
)
def test_the_sensors_of_the_field_equal_what_torch_makes(sensor, size):
    images = (torch.rand(1, 3, *sensor, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    assert torch.allclose(resize(images, size), torch_resize(images, size, size), atol=1e-6, rtol=0)


def test_by_hand():
    """Two pixels to four: centers at 1/4, 3/4, 5/4, 7/4 of the old grid; and back, the mean of neighbors and more."""
    two = torch.tensor([0.0, 1.0]).expand(1, 2, 2)
    assert torch.allclose(resize(two, 4)[0, 0], torch.tensor([0, 0.25, 0.75, 1]))
    assert torch.allclose(resize(torch.eye(2)[None], 1), torch.tensor(0.5))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("size", [7, 48, 224])
def test_a_plain_image_stays_plain_to_the_last_bit(value, size):
    white = resize(torch.full((3, 34, 34), value), size)
    assert white.max() <= 1 and torch.allclose(white, torch.tensor(value), atol=1e-6)


def test_the_same_size_changes_nothing():
    images = torch.rand(2, 3, 20, 20)
    assert torch.equal(resize(images, 20), images)


@pytest.mark.parametrize(
    ("sensor", "box"), [((10, 20), (10, 30, 0, 40)), ((20, 10), (0, 40, 10, 30)), ((3, 40), (18, 21, 0, 40))]
)
def test_kept_aspect_fits_the_image_in_the_middle(sensor, box):
    top, bottom, left, right = box
    out = resize(torch.zeros(1, *sensor), 40, keep_aspect=True, background=0.25)[0]
    inside = torch.zeros(40, 40, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    assert torch.equal(out == 0, inside) and torch.all(out[~inside] == 0.25)


def test_any_leading_shape_and_layout_gives_the_same():
    images = torch.rand(2, 5, 3, 12, 9)
    expected = resize(images, 8)
    assert expected.shape == (2, 5, 3, 8, 8)
    assert torch.equal(resize(images.flatten(0, 1), 8), expected.flatten(0, 1))
    turned = images.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert torch.equal(resize(turned, 8), expected)


def test_the_images_are_not_modified():
    images = torch.rand(3, 12, 9)
    before = images.clone()
    resize(images, 12)
    resize(images, 4, keep_aspect=True)
    assert torch.equal(images, before)
