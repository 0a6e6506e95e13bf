"""What is held against open_clip: with its additions off, every tower is CLIP's own; losses and short texts agree.

Beside it: `test_text_encoder.py` (the text tower that shares prefixes), `test_losses.py` (HTCA of two towers against
`ClipLoss`), `tests/clip/test_backbone.py` (weights as they are loaded).
"""

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss

from eclip_lib.clip import load_clip, normalize_images
from eclip_lib.config import ModelConfig
from eclip_lib.model import EClip
from eclip_lib.model.event_encoder import attend
from eclip_lib.model.losses import info_nce
from eclip_lib.pretraining.texts import encode_short_text
from tests.support.models import NAMES, plain_mean


def test_workbench_starts_as_clip(clip, frames, valid):
    model = EClip(ModelConfig(), clip).eval()
    assert torch.allclose(model.encode_events(frames, valid), plain_mean(clip, frames, valid), atol=1e-5)
    text_emb = clip.encode_text(clip.tokenizer([f"A sketch image of a {n}." for n in NAMES]), normalize=True)
    assert torch.allclose(model.encode_text(NAMES), text_emb, atol=1e-5)
    assert torch.allclose(
        model.encode_text(NAMES, model.encode_events(frames, valid)), text_emb.expand(4, -1, -1), atol=1e-5
    )


@pytest.mark.parametrize("template", ["{} in a sketch.", "a {}", "A sketch image of a {}."])
def test_any_template_reads_as_written(clip, template):
    model = EClip(ModelConfig(template=template, text_prompts="handcrafted"), clip)
    text_emb = clip.encode_text(clip.tokenizer([template.format(n) for n in NAMES]), normalize=True)
    assert torch.allclose(model.encode_text(NAMES), text_emb, atol=1e-5)


def test_without_additions_the_paper_is_clip(clip, frames, valid):
    off = {"temporal_embedding": False, "cross_frame_prompts": False, "event_prompts": 0}
    model = EClip(ModelConfig(recipe="paper", text_prompts="handcrafted", content_prompts="none", **off), clip).eval()
    assert torch.allclose(model.encode_events(frames, valid), plain_mean(clip, frames, valid, False), atol=1e-5)


def test_attention_equals_running_the_block_on_the_concatenation(clip):
    block, x, prompts = clip.visual.transformer.resblocks[0], torch.randn(6, 37, 128), torch.randn(6, 5, 128)
    y = x + attend(block, x, prompts, None)
    y = y + block.mlp(block.ln_2(y))
    assert torch.allclose(y, block(torch.cat([x, prompts], 1))[:, :37], atol=1e-5)


def test_one_frame_without_additions_is_encode_image(clip, frames):
    model = EClip(ModelConfig(), clip).eval()
    image_emb = clip.encode_image(normalize_images(clip, frames[:, 0]), normalize=True)
    one = model.encode_events(frames[:, :1], torch.ones(4, 1, dtype=torch.bool))
    assert torch.allclose(one, image_emb, atol=1e-5)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32-quickgelu"])
def test_a_published_architecture_is_a_drop_in(name, valid):
    torch.manual_seed(0)
    big = load_clip(name, "random")
    model = EClip(ModelConfig(backbone=name, pretrained="random"), big).eval()
    frames = torch.rand(1, 3, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(model.encode_events(frames, valid[1:2]), plain_mean(big, frames, valid[1:2]), atol=1e-5)
        text_emb = big.encode_text(big.tokenizer(["A sketch image of a dog."]), normalize=True)
        assert torch.allclose(model.encode_text(["dog"]), text_emb, atol=1e-5)


def test_info_nce_equals_open_clip():
    a, b = (F.normalize(torch.randn(8, 16), dim=-1) for _ in range(2))
    assert torch.allclose(info_nce(a, b, 50.0), ClipLoss()(a, b, torch.tensor(50.0)), atol=1e-5)


def test_short_text_equals_open_clip(clip):
    tokens = clip.tokenizer(["a cat", "A sketch image of a tennis racket."])
    short = tokens[:, : int(tokens.argmax(1).max()) + 1]
    assert torch.allclose(encode_short_text(clip, short), clip.encode_text(tokens, normalize=True), atol=1e-5)
