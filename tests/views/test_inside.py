"""The encoder seen from inside is the encoder: same feature, weights that add up, prompts that do what is said."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image

from eclip_lib.config import RECIPES, FrameConfig, ModelConfig
from eclip_lib.frames.drawing import event_frames
from eclip_lib.model.eclip import EClip
from eclip_lib.model.event_encoder import attend, run_block
from eclip_lib.paths import ROOT
from eclip_lib.training.checkpoints import load_checkpoint
from eclip_lib.views import inside
from eclip_lib.views.inside import stages
from eclip_lib.views.samples import file_sample
from tests.support.figures import assert_fits_in_a_notebook, texts

VARIANTS = {
    "gated": {},
    "full": {"recipe": "paper"},
    "no cross-frame": {"cross_frame_prompts": False},
    "no event prompts": {"event_prompts": 0},
    "none": {"event_prompts": 0, "cross_frame_prompts": False, "temporal_embedding": False},
}


def make_model(clip, **choices) -> EClip:
    """Return a model whose gates are open, so that prompts matter."""
    torch.manual_seed(1)
    model = EClip(ModelConfig(**{"event_prompts": 4, "context_length": 4} | choices), clip).eval()
    for prompts in model.event_encoder.prompts:
        if prompts.gate is not None:
            prompts.gate.data.fill_(0.3)
    return model


@pytest.fixture
def frames():
    return torch.rand(3, 3, 48, 48), torch.tensor([True, True, False])


@pytest.fixture(scope="module")
def shipped():
    return load_checkpoint()


@pytest.mark.parametrize("choices", VARIANTS.values(), ids=VARIANTS)
def test_the_stages_end_at_the_feature_of_the_encoder(clip, frames, choices):
    model = make_model(clip, **choices)
    seen = inside.trace(model, *frames)
    with torch.no_grad():
        prepared = model._prepare(frames[0])[None]
        expected = model.event_encoder(prepared, frames[1][None])
        emb = model.encode_events(frames[0][None], frames[1][None])
    torch.testing.assert_close(seen.feature, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(F.normalize(seen.feature, dim=-1), emb, atol=1e-5, rtol=0)
    assert inside.stagewise_error(model.event_encoder, seen) <= 1e-5


def test_the_stages_of_the_shipped_checkpoint_end_at_its_feature(shipped, frames):
    model, *_ = shipped
    assert inside.stagewise_error(model.event_encoder, inside.trace(model, *frames)) <= 1e-5


@pytest.mark.parametrize("name", ["gated", "full", "no cross-frame"])
def test_the_weights_shown_are_the_weights_that_attend_uses(clip, frames, name):
    model = make_model(clip, **VARIANTS[name])
    encoder, seen = model.event_encoder, inside.trace(model, *frames)
    for number, block in enumerate(encoder.visual.transformer.resblocks):
        part, gate = seen.blocks[number], encoder.prompts[number].gate
        weights = inside.head_weights(block, part.before, part.prompts)
        if gate is not None:
            plain = F.pad(inside.head_weights(block, part.before, None), (0, part.prompts.shape[1]))
            weights = plain + gate * (weights - plain)
        attn, width = block.attn, part.before.shape[-1]
        given = block.ln_1(torch.cat([part.before, part.prompts], 1))
        v = F.linear(given, attn.in_proj_weight[2 * width :], attn.in_proj_bias[2 * width :])
        mixed = torch.einsum("thk,tkhd->thd", weights, rearrange(v, "t k (h d) -> t k h d", h=attn.num_heads))
        expected = attend(block, part.before, part.prompts, gate)[:, 0]
        torch.testing.assert_close(attn.out_proj(mixed.flatten(1)), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(weights.mean(1), part.effective, atol=1e-6, rtol=0)


def test_attention_sums_to_one_and_invalid_frames_get_none(clip, frames):
    seen = inside.trace(make_model(clip), *frames)
    for block in seen.blocks:
        for weights in (block.plain, block.mixed, block.effective, block.cross):
            torch.testing.assert_close(weights.sum(-1), torch.ones(3))
        assert not block.cross[:, 2].any()
        assert block.cross[:, :2].all()
    shares = inside.attention_shares(seen)
    assert np.allclose(shares[["class token", "patches", "prompts"]].sum(axis=1), 1)
    assert np.allclose(shares.after_gate, 0.3 * shares.prompts)


def test_an_attention_that_must_win_wins(clip, frames):
    """One token whose key is that of the query, magnified, takes all."""
    block = make_model(clip).event_encoder.visual.transformer.resblocks[0]
    with torch.no_grad():
        width = block.attn.in_proj_weight.shape[1]
        block.attn.in_proj_weight[: 2 * width] = torch.eye(width).repeat(2, 1) * 20
        block.attn.in_proj_bias[: 2 * width] = 0
        x = torch.randn(1, 5, width)
        x[:, 3] = x[:, 0]
        weights = inside.class_attention(block, x, None)
    torch.testing.assert_close(weights[0], torch.tensor([0.5, 0, 0, 0.5, 0]), atol=1e-4, rtol=0)


def test_a_closed_gate_leaves_nothing_for_prompts_to_change(clip, frames):
    model = make_model(clip)
    opened = inside.prompt_effects(inside.trace(model, *frames))
    for prompts in model.event_encoder.prompts:
        prompts.gate.data.zero_()
    closed = inside.prompt_effects(inside.trace(model, *frames))
    assert set(closed.prompts) == {stages.BOTH, stages.MODALITY, stages.CROSS}
    assert (closed.change == 0).all()
    assert np.allclose(closed.cosine, 1)
    assert (opened.change > 1e-4).all()
    assert (closed.block_change > 0).all()


def test_a_part_that_does_nothing_can_be_taken_out(clip, frames):
    model = make_model(clip)
    pairs = inside.Pairs(
        ("apple", "key"), torch.rand(2, 3, 3, 48, 48), frames[1].expand(2, 3), torch.rand(2, 3, 48, 48)
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    opened = inside.removals(model, pairs).set_index("without").cosine
    assert (opened.filter(like="prompt") < 1 - 1e-6).all()
    for unchanged in ("nothing", "training of the tower"):  # the tower is a copy as yet
        assert opened[unchanged] == pytest.approx(1, abs=1e-6)
    model.event_encoder.visual.class_embedding.data += torch.randn(128)  # a shift of all alike is normalized away
    assert inside.removals(model, pairs).cosine.iloc[-1] < 0.999
    model.load_state_dict(before)
    for prompts in model.event_encoder.prompts:
        prompts.gate.data.zero_()
    closed = inside.removals(model, pairs)
    assert np.allclose(closed.cosine, 1, atol=1e-6)
    assert closed["own class first"].nunique() == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if "gate" not in name)


def test_the_intact_model_is_right_as_often_as_classify_says(shipped):
    model, run, _ = shipped
    pairs = inside.sample_pairs(["guitar", "apple", "key"], run.frames)
    with torch.no_grad():
        right = int((model.classify(pairs.frames, pairs.valid, pairs.names).argmax(1) == torch.arange(3)).sum())
    assert inside.removals(model, pairs)["own class first"][0] == f"{right} of 3"


@pytest.mark.data
def test_the_committed_picture_is_made_by_the_same_functions(data_folder, shipped, tmp_path):
    model, run, _ = shipped
    sample = file_sample(data_folder / "n-caltech101/Faces_easy/image_0001.bin", (180, 240))
    seen = inside.trace(model, *event_frames(sample.recording, run.frames))
    frames = event_frames(sample.recording, run.frames)[0].numpy()
    title = f"Attention of the class token over patches: {sample.name}"
    figure = inside.plots.attention_over_patches(
        frames, inside.patch_maps(seen), seen.valid[0].numpy(), [1, 3, 6], title
    )
    figure.save(tmp_path / "made.png")
    files = (tmp_path / "made.png", ROOT / "reports" / "inside_attention_n_caltech101.png")
    made, kept = (np.asarray(Image.open(file).convert("RGB"), int) for file in files)
    assert made.shape == kept.shape
    assert np.mean(np.abs(made - kept) > 40) < 0.01  # another font renderer moves a few pixels


def test_each_kind_of_prompt_is_taken_out_under_its_own_name(clip, frames):
    model = make_model(clip)
    first = inside.trace(model, *frames).blocks[0]
    block, prompts = model.event_encoder.visual.transformer.resblocks[0], model.event_encoder.prompts[0]
    for kind, part in ((stages.CROSS, "cross_frame"), (stages.MODALITY, "modality")):
        kept = getattr(prompts, part)
        setattr(prompts, part, None)
        with torch.no_grad():
            expected = run_block(block, prompts, first.before, frames[1][None])
        setattr(prompts, part, kept)
        torch.testing.assert_close(first.without[kind], expected, atol=1e-6, rtol=0)


def test_one_kind_of_prompt_is_not_taken_apart(clip, frames):
    effects = inside.prompt_effects(inside.trace(make_model(clip, cross_frame_prompts=False), *frames))
    assert set(effects.prompts) == {stages.BOTH}
    assert (effects.change > 0).all()
    none = inside.prompt_effects(inside.trace(make_model(clip, **VARIANTS["none"]), *frames))
    assert (none.change == 0).all()
    assert (none.gate == 0).all()


def test_without_valid_frames_there_is_nothing_to_trace(clip, frames):
    with pytest.raises(ValueError, match=r"valid = \[False, False, False\].*longer"):
        inside.trace(make_model(clip), frames[0], torch.zeros(3, dtype=torch.bool))


def test_the_table_of_stages_names_the_shapes(clip, frames):
    table = inside.stage_table(inside.trace(make_model(clip), *frames)).set_index("stage")["shape"]
    assert table.iloc[0] == "(1, 3, 3, 48, 48)"
    assert table.iloc[1:5].tolist() == ["(3, 128, 6, 6)", "(3, 37, 128)", "(3, 5, 128)", "(3, 42, 128)"]
    assert table.iloc[-1] == "(1, 128)"
    bare = inside.stage_table(inside.trace(make_model(clip, **VARIANTS["none"]), *frames))["shape"]
    assert bare[3] == "none"
    assert bare[4] == "(3, 37, 128)"


def test_an_untrained_model_is_clip_and_leaves_the_trained_one_alone(shipped):
    model, run, _ = shipped
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    fresh = inside.untrained(model, run)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    image = torch.rand(2, 3, 48, 48)
    valid = torch.ones(2, 1, dtype=torch.bool)
    with torch.no_grad():
        torch.testing.assert_close(fresh.encode_events(image[:, None], valid), fresh.encode_image(image))


def test_cosines_are_those_the_model_scores_by(shipped):
    model, run, _ = shipped
    pairs = inside.sample_pairs(["guitar", "apple", "key"], run.frames)
    found = inside.cosines(model, pairs)
    with torch.no_grad():
        scores = model.classify(pairs.frames, pairs.valid, pairs.names) / model.logit_scale
    assert np.allclose(found["event to text"], scores, atol=1e-5)
    assert all(table.shape == (3, 3) and np.abs(table).max() <= 1.00001 for table in found.values())


def test_the_table_of_cosines_by_hand():
    table = np.array([[0.9, 0.1], [0.5, 0.3]])
    row = inside.cosine_table({"a": {"event to text": table}}).iloc[0]
    assert np.allclose(row[["own class", "other classes", "gap"]].astype(float), [0.6, 0.3, 0.3])
    assert row["own class first"] == "1 of 2"


def test_one_class_is_not_compared():
    with pytest.raises(ValueError, match=r"classes = \['apple'\].*at least two"):
        inside.sample_pairs(["apple"], FrameConfig())


@pytest.mark.parametrize("choices", [*VARIANTS.values(), {"train_event_tower": False}])
def test_every_parameter_is_counted_once(clip, choices):
    model = make_model(clip, **choices)
    table = inside.parameter_table(model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert table.trained.sum() == trained
    assert table.trained.sum() + table.frozen.sum() == sum(p.numel() for p in model.parameters())
    assert (table[table.part.str.endswith("(CLIP)")].trained == 0).all()


def test_a_part_without_a_name_is_told(clip):
    model = make_model(clip)
    model.surprise = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"'surprise'.*PARTS"):
        inside.parameter_table(model)


def test_the_table_of_recipes_holds_every_field():
    table = inside.recipe_table().set_index("field")
    assert set(table.columns) == set(RECIPES)
    assert table.loc["model.additions"].to_dict() == {"paper": "full", "eventbind": "full", "workbench": "gated"}
    assert table.loc["loss.scale", "workbench"] == "CLIP's own"
    assert len(table) == sum(len(fields) for fields in RECIPES["paper"].values())


def test_the_figures_fit_and_say_what_they_show(clip, frames):
    model = make_model(clip)
    seen = inside.trace(model, *frames)
    valid, maps = seen.valid[0].numpy(), inside.patch_maps(seen)
    tables = {when: {pair: np.eye(3) for pair in ("event to text", "image to text")} for when in ("before", "after")}
    figures = [
        inside.plots.prompts_and_gates(inside.prompt_effects(seen), inside.attention_shares(seen), "prompts"),
        inside.plots.attention_over_patches(frames[0].numpy(), maps, valid, [1, 6], "patches"),
        inside.plots.attention_over_frames(inside.cross_maps(seen), valid, "frames"),
        inside.plots.cosine_matrices(tables, ["a", "b", "c"], "cosines"),
    ]
    for figure in figures:
        assert_fits_in_a_notebook(figure)
    words = [texts(figure) for figure in figures]
    assert "event modality" in words[0]
    assert "missing" in words[1]
    assert "block 6" in words[2]
    assert "event to text, after" in words[3]


def test_a_block_that_is_not_there_is_named():
    maps, valid = np.ones((6, 1, 2, 2)), np.array([True])
    with pytest.raises(ValueError, match=r"blocks = \[7\].*1 to 6"):
        inside.plots.attention_over_patches(np.ones((1, 3, 4, 4)), maps, valid, [7])
