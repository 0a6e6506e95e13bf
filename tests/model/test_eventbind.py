"""Checkpoints of the official EventBind code: a file in its layout gives the features of a recomputation."""

import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer

from eclip_lib.config import FrameConfig, LossConfig, Run
from eclip_lib.model.eventbind import load_eventbind_checkpoint
from eclip_lib.training.checkpoints import load_checkpoint, save_checkpoint

T, M, WIDTH, TEXT, EMBED, LAYERS = 3, 4, 128, 64, 32, 2


def small_clip(quick_gelu=True):
    torch.manual_seed(3)
    vision = {"layers": LAYERS, "width": WIDTH, "patch_size": 8, "image_size": 32}
    text = {"context_length": 40, "vocab_size": 49408, "width": TEXT, "heads": 1, "layers": 2}
    clip = CLIP(EMBED, vision, text, quick_gelu=quick_gelu).eval()
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    clip.tokenizer = SimpleTokenizer(context_length=40)
    return clip


def linear(name, rows, columns):
    return {f"{name}.weight": 0.1 * torch.randn(rows, columns), f"{name}.bias": 0.1 * torch.randn(rows)}


def official_state(clip):
    """Return known tensors in the layout of the official training script's checkpoint."""
    frozen = clip.state_dict()
    visual = {n.removeprefix("visual."): v for n, v in frozen.items() if n.startswith("visual.")}
    text = {n: v for n, v in frozen.items() if n.startswith(("transformer.", "ln_final.", "positional", "text_proj"))}
    state = {f"event_encoder.visual.{n}": v + 0.02 * torch.randn_like(v) for n, v in visual.items()}
    state["event_encoder.time_embed"] = torch.randn(T, WIDTH)
    for i in range(LAYERS):
        block = f"event_encoder.InsertEventPrompt.{i}."
        state[block + "event_modality_prompts"] = torch.randn(M, WIDTH)
        state |= linear(block + "cls_proj", WIDTH, WIDTH)
        state[block + "cross_frame_prompts_ln.weight"] = 1 + 0.1 * torch.randn(WIDTH)
        state[block + "cross_frame_prompts_ln.bias"] = 0.1 * torch.randn(WIDTH)
        for part in ("q", "k", "v", "out"):
            state |= linear(f"{block}cross_frame_prompts_attn_layer.{part}_proj", WIDTH, WIDTH)
    for learner, length in (("prompt_init", 5), ("prompt_leranable", 6)):
        state[f"{learner}.ctx"] = 0.1 * torch.randn(length, TEXT)
        state |= linear(f"{learner}.meta_net.linear1", EMBED // 16, EMBED)
        state |= linear(f"{learner}.meta_net.linear2", TEXT, EMBED // 16)
        state |= {f"{learner}.clip_model.{n}": v for n, v in frozen.items()}
    state |= {f"image_encoder.visual.{n}": v for n, v in visual.items()}
    state |= {f"image_encoder.{n}": v for n, v in visual.items()} | {f"text_encoder.{n}": v for n, v in text.items()}
    unused = ("event_encoder.cls_token", "event_encoder.pos_embed", "event_encoder.ln_low_level.0.weight")
    state |= {name: torch.randn(3) for name in (*unused, "image_encoder.low_ln.0.bias")}
    return {name: value.clone() for name, value in state.items()}


def heads_apart(x):
    return x.unflatten(-1, (WIDTH // 64, 64)).transpose(-2, -3)


def official_event_features(state, clip, frames):
    """Recompute the event features as the official code does: insert, append, run the block, drop both."""
    tower = small_clip().visual
    prefix = "event_encoder.visual."
    tower.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    x = tower.conv1(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
    x = torch.cat([tower.class_embedding.expand(len(x), 1, -1), x], 1) + tower.positional_embedding
    x = tower.ln_pre(x + state["event_encoder.time_embed"].repeat(len(frames), 1)[:, None])
    for i, block in enumerate(tower.transformer.resblocks):
        own = {
            n.removeprefix(f"event_encoder.InsertEventPrompt.{i}."): v
            for n, v in state.items()
            if n.startswith(f"event_encoder.InsertEventPrompt.{i}.")
        }

        def layer(name, value, own=own):
            return F.linear(value, own[f"{name}.weight"], own[f"{name}.bias"])

        cls = layer("cls_proj", x[:, 0].unflatten(0, (len(frames), T)))
        normed = F.layer_norm(cls, (WIDTH,), *(own[f"cross_frame_prompts_ln.{k}"] for k in ("weight", "bias")))
        attention = "cross_frame_prompts_attn_layer."
        q, k, v = (heads_apart(layer(f"{attention}{part}_proj", normed)) for part in "qkv")
        mixed = ((q @ k.transpose(-1, -2)) / 8).softmax(-1) @ v
        cross = cls + layer(f"{attention}out_proj", mixed.transpose(-2, -3).flatten(-2))
        modality = own["event_modality_prompts"].expand(len(x), -1, -1)
        x = block(torch.cat([x[:, :1], modality, x[:, 1:], cross.flatten(0, 1)[:, None]], 1))[:, :-1]
        x = torch.cat([x[:, :1], x[:, M + 1 :]], 1)
    return (tower.ln_post(x[:, 0]) @ tower.proj).unflatten(0, (len(frames), T)).mean(1)


@pytest.fixture(scope="module")
def official():
    with torch.no_grad():
        clip = small_clip()
        return clip, official_state(clip)


def written(state, folder):
    torch.save(state, folder / "eventbind.bin")
    return folder / "eventbind.bin"


@pytest.mark.parametrize("given", [True, False], ids=["clip given", "clip from the file"])
@pytest.mark.parametrize("prefix", ["", "module."])
@torch.no_grad()
def test_event_features_equal_the_official_order_of_work(official, tmp_path, given, prefix):
    clip, state = official
    path = written({prefix + name: value for name, value in state.items()}, tmp_path)
    model = load_eventbind_checkpoint(path, clip if given else None)
    frames = torch.rand(2, T, 3, 32, 32)
    expected = official_event_features(state, clip, frames)
    features = model.event_encoder(frames, torch.ones(2, T, dtype=torch.bool))
    assert torch.allclose(features, expected, atol=1e-4)
    assert (features - features.flip(0)).abs().max() > 0.01  # the frames do matter


@torch.no_grad()
def test_both_kinds_of_text_use_the_file(official, tmp_path):
    clip, state = official
    model = load_eventbind_checkpoint(written(state, tmp_path), clip)
    assert torch.equal(model.trained_state()["prompts.handcrafted.context"], state["prompt_init.ctx"])
    event_emb = F.normalize(torch.randn(1, EMBED), dim=-1)
    ids = torch.tensor([*clip.tokenizer.encode("dog."), clip.tokenizer.eot_token_id])
    kinds = []
    for learner in ("prompt_init", "prompt_leranable"):
        weights = {n.removeprefix(f"{learner}."): v for n, v in state.items() if n.startswith(learner)}
        hidden = F.linear(event_emb, weights["meta_net.linear1.weight"], weights["meta_net.linear1.bias"]).relu()
        delta = F.linear(hidden, weights["meta_net.linear2.weight"], weights["meta_net.linear2.bias"])
        start = clip.token_embedding(torch.tensor([clip.tokenizer.sot_token_id]))
        x = torch.cat([start, weights["ctx"] + delta, clip.token_embedding(ids)])
        x = x + clip.positional_embedding[: len(x)]
        x = clip.transformer(x[None], attn_mask=clip.attn_mask[: len(x), : len(x)])
        kinds.append(F.normalize(clip.ln_final(x[0, -1]) @ clip.text_projection, dim=-1))
    text_emb = model.encode_text(["dog"], event_emb)[0, 0]
    assert torch.allclose(text_emb, F.normalize(kinds[0] + kinds[1], dim=-1), atol=1e-4)


@torch.no_grad()
def test_it_is_saved_and_loaded_as_any_other_model(official, tmp_path):
    """The frozen CLIP comes from the official file again: no name stands for it."""
    path = written(official[1], tmp_path)
    model = load_eventbind_checkpoint(path)
    run = Run(model=model.cfg, loss=LossConfig(recipe="eventbind"), frames=FrameConfig(size=32, frames=T))
    save_checkpoint(tmp_path / "ours", model, run, ["dog", "cat"], {})
    again, *_ = load_checkpoint(tmp_path / "ours", load_eventbind_checkpoint(path).clip)
    frames, valid = torch.rand(2, T, 3, 32, 32), torch.ones(2, T, dtype=torch.bool)
    assert torch.equal(*(m.classify(frames, valid, ["dog", "cat"]) for m in (model, again)))
    other = load_eventbind_checkpoint(path).clip
    torch.nn.init.zeros_(other.visual.conv1.weight)
    with pytest.raises(ValueError, match="was trained on another"):
        load_checkpoint(tmp_path / "ours", other)
    with pytest.raises(ValueError, match=r"the context has shape \(5, 7\), but the text tower's width is 64"):
        again.prompts.handcrafted.set_context(torch.zeros(5, 7))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text_encoder.ln_final.weight": torch.zeros(TEXT)}, r"text_encoder\.ln_final\.weight differs"),
        ({"event_encoder.extra": torch.zeros(2)}, r"belong to no part .* event_encoder\.extra"),
        ({"image_encoder.extra": torch.zeros(2)}, r"image_encoder\.extra is no tensor"),
        ({"prompt_init.ctx": None}, r"prompt_init\.ctx is missing"),
        ({"event_encoder.visual.conv1.weight": None}, "do not belong to this model"),
        ({"event_encoder.time_embed": torch.zeros(T, 7)}, "do not belong to this model"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(official, tmp_path, change, says):
    clip, state = official
    state = {name: value for name, value in (state | change).items() if value is not None}
    with pytest.raises(ValueError, match=says):
        load_eventbind_checkpoint(written(state, tmp_path), clip)


def test_a_file_that_needs_code_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no plain state dict"):
        load_eventbind_checkpoint(written({"a": SimpleTokenizer}, tmp_path))
    with pytest.raises(ValueError, match="expected a dict of tensors"):
        load_eventbind_checkpoint(written({"epoch": 3}, tmp_path))


def test_a_clip_with_gelu_is_refused(official, tmp_path):
    with pytest.raises(ValueError, match="needs QuickGELU"):
        load_eventbind_checkpoint(written(official[1], tmp_path), small_clip(quick_gelu=False))
