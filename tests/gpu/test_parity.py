"""A GPU computes what the CPU computes: features, texts, losses and their gradients, within stated bounds."""

from copy import deepcopy

import pytest
import torch

from eclip_lib.clip import load_clip
from eclip_lib.config import LossConfig, ModelConfig
from eclip_lib.model import EClip
from eclip_lib.training.objective import batch_losses

pytestmark = pytest.mark.gpu
NAMES = ["accordion", "airplane", "bonsai", "ceiling fan", "cup", "dalmatian", "guitar", "octopus"]
CLOSE = 2e-5  # of cosines and losses in float32, without TF32
CLOSE_BF16 = 3e-2


@pytest.fixture(scope="module", params=["eclip-tiny", "ViT-B-32"])
def clip(request):
    torch.manual_seed(0)
    return load_clip(request.param, None if request.param == "eclip-tiny" else "random")


@pytest.fixture(autouse=True)
def full_float32():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def pair(clip, recipe):
    """Return one model on the CPU and the same on the GPU."""
    torch.manual_seed(1)
    model = EClip(ModelConfig(recipe=recipe), clip, 3).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith("event_encoder.visual."):
                parameter.add_(0.02 * torch.randn_like(parameter))
    return model, deepcopy(model).cuda()


def batch(clip, number=4):
    torch.manual_seed(2)
    size = clip.visual.image_size[0]
    valid = torch.tensor([[True, True, True], [True, False, False]]).repeat(number // 2, 1)
    return torch.rand(number, 3, 3, size, size), valid


@pytest.mark.parametrize("recipe", ["paper", "eventbind", "workbench"])
@torch.no_grad()
def test_embeddings_and_scores_are_those_of_the_cpu(clip, recipe):
    model, on_gpu = pair(clip, recipe)
    frames, valid = batch(clip)
    event_emb = model.encode_events(frames, valid)
    emb_gpu = on_gpu.encode_events(frames.cuda(), valid.cuda())
    assert (emb_gpu.cpu() - event_emb).abs().max() < CLOSE
    text_emb, text_gpu = model.encode_text(NAMES, event_emb), on_gpu.encode_text(NAMES, emb_gpu)
    assert (text_gpu.cpu() - text_emb).abs().max() < CLOSE
    scores, scores_gpu = model.score(event_emb, NAMES), on_gpu.score(emb_gpu, NAMES).cpu()
    assert torch.allclose(scores_gpu, scores, atol=100 * CLOSE)


@pytest.mark.parametrize("recipe", ["paper", "workbench"])
def test_losses_and_gradients_are_those_of_the_cpu(clip, recipe):
    found = {}
    for name, model in zip(("cpu", "gpu"), pair(clip, recipe), strict=True):
        device = next(model.parameters()).device
        frames, valid = (part.to(device) for part in batch(clip))
        labels = torch.arange(len(frames), device=device)
        with torch.no_grad():
            image_emb = model.encode_image(frames[:, 0])
        losses = batch_losses(model, frames, valid, labels, image_emb, NAMES, LossConfig(recipe=recipe))
        losses["total"].backward()
        grads = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
        found[name] = {n: value.item() for n, value in losses.items()}, grads
    (losses, grads), (losses_gpu, grads_gpu) = found["cpu"], found["gpu"]
    assert losses_gpu == pytest.approx(losses, rel=1e-3, abs=1e-4)
    assert grads.keys() == grads_gpu.keys()
    largest = max(float(grad.norm()) for grad in grads.values())
    off = {name: float((grads_gpu[name] - grads[name]).norm()) / largest for name in grads}
    assert max(off.values()) < 2e-3, max(off, key=off.get)


@torch.no_grad()
def test_bfloat16_stays_near(clip):
    model, on_gpu = pair(clip, "workbench")
    frames, valid = batch(clip)
    with torch.autocast("cuda", torch.bfloat16):
        found = on_gpu.encode_events(frames.cuda(), valid.cuda())
    assert (found.float().cpu() - model.encode_events(frames, valid)).abs().max() < CLOSE_BF16


def test_gradient_checkpointing_changes_memory_alone(clip):
    frames, valid = (part.cuda() for part in batch(clip, 8))
    peaks, grads = {}, {}
    for checkpointing in (False, True):
        torch.manual_seed(1)
        model = EClip(ModelConfig(gradient_checkpointing=checkpointing), clip, 3).cuda().train()
        torch.cuda.reset_peak_memory_stats()
        model.encode_events(frames, valid).sum().backward()
        peaks[checkpointing] = torch.cuda.max_memory_allocated()
        grads[checkpointing] = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-3) for a, b in zip(grads[False], grads[True], strict=True))
    assert peaks[True] < peaks[False]
