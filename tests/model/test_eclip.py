from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from eclip_lib.clip.backbone import load_clip, normalize_images
from eclip_lib.config import ModelConfig
from eclip_lib.data.inputs import text_features
from eclip_lib.model.eclip import EClip
from eclip_lib.training.checkpoints import load_checkpoint
from eclip_lib.views.inside import sample_pairs
from eclip_lib.views.samples import sample_names
from tests.support.models import NAMES, full


def test_gate_at_one_is_the_paper(clip, frames, valid):
    gated = full(clip, additions="gated")
    paper = full(clip, additions="full")
    state = {k: v for k, v in gated.state_dict().items() if "gate" not in k}
    paper.load_state_dict(state, strict=True)
    with torch.no_grad():
        for prompts in gated.event_encoder.prompts:
            prompts.gate.fill_(1.0)
    assert torch.allclose(gated.encode_events(frames, valid), paper.encode_events(frames, valid), atol=1e-5)


@pytest.mark.parametrize("recipe", ["paper", "eventbind", "workbench"])
def test_a_sample_alone_equals_the_sample_in_a_batch(clip, frames, valid, recipe):
    model = full(clip, recipe=recipe)
    together = model.classify(frames, valid, NAMES)
    alone = torch.cat([model.classify(frames[i : i + 1], valid[i : i + 1], NAMES) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("recipe", ["paper", "eventbind", "workbench"])
def test_permuting_a_batch_permutes_the_output(clip, frames, valid, recipe):
    model, order = full(clip, recipe=recipe), torch.tensor([2, 0, 3, 1])
    straight = model.classify(frames, valid, NAMES)
    assert torch.allclose(model.classify(frames[order], valid[order], NAMES), straight[order], atol=1e-4)


@pytest.mark.parametrize("recipe", ["paper", "workbench"])
def test_gradient_checkpointing_changes_memory_alone(clip, frames, valid, recipe):
    def backward(recompute):
        model = full(clip, recipe=recipe, gradient_checkpointing=recompute).train()
        kept = 0

        def count(tensor):
            nonlocal kept
            kept += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = model.encode_events(frames, valid)[:, 0].sum()
        loss.backward()
        return kept, {n: p.grad for n, p in model.event_encoder.named_parameters()}

    (plain, expected), (less, gradients) = backward(False), backward(True)
    assert less < plain / 3
    assert all(torch.allclose(gradients[n], expected[n], atol=1e-6) for n in expected)


@pytest.mark.parametrize("recipe", ["paper", "workbench"])
def test_the_encoder_compiles_to_one_graph(clip, frames, valid, recipe):
    encoder = full(clip, recipe=recipe).event_encoder
    whole = torch.compile(encoder, backend="eager", fullgraph=True)  # fullgraph: a break is an error
    assert torch.allclose(whole(frames, valid), encoder(frames, valid), atol=1e-5)


def test_bfloat16_autocast_keeps_the_embeddings(clip, frames, valid):
    model = full(clip)
    exact = model.encode_events(frames, valid)
    with torch.autocast("cpu", torch.bfloat16):
        low, logits = model.encode_events(frames, valid), model.classify(frames, valid, NAMES)
    assert F.cosine_similarity(exact, low.float()).min() > 0.999
    assert logits.dtype == torch.float32


@torch.no_grad()
def test_bfloat16_names_the_same_classes():
    """One recording of each class, of a family that no training has seen; at most one of 100 may change."""
    model, run, _ = load_checkpoint()
    names = sample_names()
    pairs = sample_pairs(names, run.frames)
    exact = model.classify(pairs.frames, pairs.valid, names).argmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.classify(pairs.frames, pairs.valid, names).argmax(1)
    assert (low == exact).float().mean() >= 0.99 and len(exact) == 100


def test_invalid_frames_change_nothing(clip, frames, valid):
    model = full(clip, temporal_embedding=False)
    expected = model.encode_events(frames, valid)
    noise = torch.where(valid[..., None, None, None], frames, torch.rand_like(frames))
    assert torch.allclose(model.encode_events(noise, valid), expected, atol=1e-6)
    more = torch.cat([frames, torch.ones(4, 2, 3, 48, 48)], 1)
    flags = torch.cat([valid, torch.zeros(4, 2, dtype=torch.bool)], 1)
    assert torch.allclose(model.encode_events(more, flags), expected, atol=1e-6)


def test_frames_of_a_sample_exchange_information(clip, frames, valid):
    """With cross-frame prompts the event embedding is no mean of independent frames."""
    model, alone = full(clip), full(clip, cross_frame_prompts=False)
    changed = frames.clone()
    changed[0, 2] = 0

    def first_frame_effect(m):
        only = torch.tensor([[True, False, False]])
        both = m.encode_events(frames[:1], valid[:1]) - m.encode_events(changed[:1], valid[:1])
        return both.norm().item(), m.encode_events(frames[:1], only)

    assert first_frame_effect(model)[0] > 0
    steps = alone.event_encoder(normalize_images(clip, frames[:1]), valid[:1])
    singles = [
        alone.event_encoder(normalize_images(clip, frames[:1]), torch.eye(3, dtype=torch.bool)[i : i + 1])
        for i in range(3)
    ]
    assert torch.allclose(steps, sum(singles) / 3, atol=1e-5)
    steps = model.event_encoder(normalize_images(clip, frames[:1]), valid[:1])
    singles = [
        model.event_encoder(normalize_images(clip, frames[:1]), torch.eye(3, dtype=torch.bool)[i : i + 1])
        for i in range(3)
    ]
    assert not torch.allclose(steps, sum(singles) / 3, atol=1e-4)


def test_shared_prefix_equals_the_whole_text(clip):
    """Encoding prefix and suffix apart gives what CLIP's tower gives for the whole sequence."""
    model = full(clip, text_prompts="learnable", context_length=6)
    branch = model.prompts.learnable
    content = F.normalize(torch.randn(2, 128), dim=-1)
    prefix = branch.prefix(content)
    expected = []
    for row in prefix:
        texts = []
        for name in NAMES:
            ids = torch.tensor([*clip.tokenizer.encode(name + "."), clip.tokenizer.eot_token_id])
            x = torch.cat([row, clip.token_embedding(ids)])[None]
            x = x + clip.positional_embedding[: x.shape[1]]
            x = clip.transformer(x, attn_mask=clip.attn_mask[: x.shape[1], : x.shape[1]])
            texts.append(F.normalize(clip.ln_final(x[0, -1]) @ clip.text_projection, dim=-1))
        expected.append(torch.stack(texts))
    assert torch.allclose(model.encode_text(NAMES, content), torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("recipe", ["paper", "eventbind", "workbench"])
def test_class_text_is_a_choice_from_all_text(clip, recipe):
    model = full(clip, recipe=recipe)
    content = F.normalize(torch.randn(3, 128), dim=-1)
    classes = torch.tensor([[1, 3], [0, 0], [2, 1]])
    chosen = model.encode_class_text(NAMES, classes, content)
    everything = model.encode_text(NAMES, content)
    assert torch.allclose(chosen, everything[torch.arange(3)[:, None], classes], atol=1e-5)
    constant = model.encode_class_text(NAMES, classes, None)
    assert torch.allclose(constant, model.encode_text(NAMES)[classes], atol=1e-5)


@pytest.mark.parametrize("recipe", ["paper", "eventbind", "workbench"])
def test_every_parameter_learns_or_is_frozen_on_purpose(clip, frames, valid, recipe):
    model = full(clip, recipe=recipe).train()
    model.classify(frames, valid, NAMES).square().mean().backward()
    for name, parameter in model.named_parameters():
        if name.startswith("clip."):
            assert parameter.grad is None and not parameter.requires_grad
        else:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert not any(module.training for module in model.clip.modules())


def test_gates_move_in_the_first_step_and_every_addition_learns_from_the_second(clip, frames, valid):
    torch.manual_seed(0)
    model = EClip(ModelConfig(), clip).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    for step in range(2):
        optimizer.zero_grad()
        model.classify(frames, valid, NAMES)[:, 0].mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
        grads = {n: p.grad.abs().sum() for n, p in model.named_parameters() if p.requires_grad}
        optimizer.step()
        if step == 0:
            moved = [n for n, p in model.named_parameters() if p.requires_grad and not torch.equal(p, before[n])]
    starters = [n for n in before if "gate" in n or n in ("prompts.mix", "event_encoder.time_embedding")]
    starters += [n for n in before if n.startswith("prompts.handcrafted.content.outer")]
    assert set(starters) <= set(moved)
    assert not [n for n in grads if grads[n] == 0]


def test_gradient_reaches_the_gates_from_zero(clip, frames, valid):
    model = EClip(ModelConfig(), clip)
    model.classify(frames, valid, NAMES).square().mean().backward()
    gates = [p.gate.grad for p in model.event_encoder.prompts]
    assert all(torch.isfinite(g) and g != 0 for g in gates)


@pytest.mark.parametrize(
    "off",
    [
        {"temporal_embedding": False},
        {"cross_frame_prompts": False},
        {"event_prompts": 0},
        {"content_prompts": "none"},
        {"content_prompts": "image"},
        {"text_prompts": "handcrafted"},
        {"text_prompts": "learnable"},
        {"train_event_tower": False},
    ],
)
def test_each_part_can_be_switched_off(clip, frames, valid, off):
    whole, less = full(clip), full(clip, **off)
    count = [sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (whole, less)]
    assert count[1] < count[0] or off == {"content_prompts": "image"}
    assert less.classify(frames, valid, NAMES).shape == (4, 4)


def test_bad_input_is_refused(clip, frames, valid):
    model = EClip(ModelConfig(), clip)
    with pytest.raises(ValueError, match="divide by 255"):
        model.encode_events(frames * 255, valid)
    with pytest.raises(ValueError, match="recording 1 of the batch has no valid frame"):
        model.encode_events(frames, valid & torch.tensor([[True], [False], [True], [True]]))
    with pytest.raises(ValueError, match=r"takes .* tokens"):
        model.encode_text(["antidisestablishmentarianism " * 9])
    with pytest.raises(ValueError, match="do not belong to this model"):
        model.load_trained_state(EClip(ModelConfig(event_prompts=4), clip).trained_state())


@pytest.mark.parametrize(
    ("name", "pretrained", "error", "says"),
    [
        ("ViT-Z", None, ValueError, "not a model of open_clip"),
        ("ViT-B-32", None, ValueError, "needs pretrained"),
        ("ViT-B-32", "missing.pt", FileNotFoundError, "looked for"),
        ("ViT-B-32", str(Path(__file__)), ValueError, "could not be read as weights"),
        ("RN50", "random", ValueError, "needs a ViT image tower"),
    ],
)
def test_unfit_backbones_are_refused(name, pretrained, error, says):
    with pytest.raises(error, match=says):
        load_clip(name, pretrained)


def test_frozen_text_is_encoded_once_and_kept(clip, monkeypatch):
    texts = [f"A sketch image of a {name}." for name in NAMES]
    once = text_features(clip, texts)
    assert torch.allclose(once, clip.encode_text(clip.tokenizer(texts), normalize=True), atol=1e-6)
    monkeypatch.setattr(type(clip), "encode_text", None)  # anything that is not kept fails from here on
    assert torch.equal(text_features(clip, texts), once)
    with pytest.raises(TypeError):
        text_features(clip, texts[:2])
    other = deepcopy(clip)
    other.ln_final.bias.data += 1
    with pytest.raises(TypeError):  # other weights, other text
        text_features(other, texts)


def test_handcrafted_prompts_take_kept_text_only_where_it_holds(clip):
    texts = text_features(clip, [f"A sketch image of a {name}." for name in NAMES])
    event_emb, classes = F.normalize(torch.randn(3, texts.shape[1]), dim=-1), torch.tensor([[0, 2], [1, 1], [3, 0]])
    model = full(clip, text_prompts="handcrafted", content_prompts="none")
    before = model.encode_text(NAMES), model.encode_class_text(NAMES, classes, event_emb)
    model.prompts.handcrafted.remember(NAMES, texts)
    after = model.encode_text(NAMES), model.encode_class_text(NAMES, classes, event_emb)
    assert torch.equal(after[0], texts)
    assert torch.equal(after[1], texts[classes])
    assert all(torch.allclose(old, new, atol=1e-6) for old, new in zip(before, after, strict=True))
    assert not any("known" in name for name in model.state_dict())
    assert torch.equal(model.encode_text(NAMES[::-1]), EClip(model.cfg, clip).encode_text(NAMES[::-1]))
    bent = full(clip, text_prompts="handcrafted", content_prompts="event")
    fresh = bent.encode_text(NAMES, event_emb)
    bent.prompts.handcrafted.remember(NAMES, texts)
    assert torch.equal(bent.encode_text(NAMES, event_emb), fresh)  # content changes it
    context = model.prompts.handcrafted.context
    model.prompts.handcrafted.set_context(context + 0.1 * torch.randn_like(context))
    assert not torch.allclose(model.encode_text(NAMES), texts, atol=1e-3)  # nor does it hold for another context
    with pytest.raises(ValueError, match="changes with every step"):
        EClip(ModelConfig(), clip).prompts.learnable.remember(NAMES, texts)
