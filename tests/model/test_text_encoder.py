"""Text encoded once per prefix equals open_clip's text tower over all its positions."""

import pytest
import torch

from eclip_lib.config import ModelConfig
from eclip_lib.evaluation.scores import class_scores
from eclip_lib.model import text_encoder
from eclip_lib.model.eclip import EClip
from eclip_lib.model.text_encoder import encode_prompts, suffix_tokens
from eclip_lib.training.checkpoints import load_checkpoint
from tests.benchmarks.bench_text import CALTECH, full_way, trimmed_way

NAMES = ["cat", "a bicycle", "cat", "red traffic light at night", "sunflower", "a very old grand piano"]


def prefix_of(clip, prompts, n=9):
    """Return prefixes that differ by a shift of their context, as content prompts make them; leaves of autograd."""
    start = clip.token_embedding(torch.tensor([clip.tokenizer.sot_token_id])).detach()
    context = 0.1 * torch.randn(n - 1, start.shape[1]) + 0.1 * torch.randn(prompts, 1, start.shape[1])
    return torch.cat([start.expand(prompts, 1, -1), context], dim=1).requires_grad_()


def assert_equal(clip, prefix, suffix, atol=1e-4):
    ours, expected = encode_prompts(clip, prefix, suffix), full_way(clip, prefix, suffix)
    assert ours.shape == expected.shape and expected.std() > 0.01
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


def test_every_length_alone_and_all_mixed(clip):
    prefix, longest = prefix_of(clip, 2), clip.context_length - 9
    words = clip.tokenizer.encode("cat")
    rows = torch.zeros(longest, longest, dtype=torch.long)
    for row, length in zip(rows, range(longest), strict=True):
        row[:length], row[length] = torch.tensor(words[:1]), clip.tokenizer.eot_token_id
        assert_equal(clip, prefix, row[None, None, : length + 1])
    assert_equal(clip, prefix, rows[torch.randperm(longest)][None])


@pytest.mark.parametrize("prompts", [1, 2, 3, 4])
def test_mixed_names_and_their_gradients(clip, prompts):
    prefix = prefix_of(clip, prompts)
    suffix = suffix_tokens(clip, NAMES, clip.context_length - 9)[None]
    assert_equal(clip, prefix, suffix)
    aim = torch.randn(prompts, len(NAMES), clip.text_projection.shape[1])
    ours, expected = (
        torch.autograd.grad((way(clip, prefix, suffix) * aim).sum(), prefix)[0] for way in (encode_prompts, full_way)
    )
    torch.testing.assert_close(ours, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


def test_each_prefix_with_its_own_names(clip):
    prefix, suffix = prefix_of(clip, 3), suffix_tokens(clip, NAMES, clip.context_length - 9)
    assert_equal(clip, prefix, suffix[torch.tensor([[0, 3], [4, 4], [5, 1]])])


def test_the_ways_of_the_benchmark_agree(clip):
    prefix, suffix = prefix_of(clip, 2), suffix_tokens(clip, CALTECH, clip.context_length - 9)[None]
    assert len(set(CALTECH)) == len(CALTECH) == 101
    torch.testing.assert_close(trimmed_way(clip, prefix, suffix), full_way(clip, prefix, suffix), atol=1e-4, rtol=0)
    assert_equal(clip, prefix, suffix)


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("tokens", [1, 7, 23])
def test_chunks_of_any_size_change_nothing(clip, monkeypatch, tokens, content):
    prefix = prefix_of(clip, 3 if content else 1)
    suffix = suffix_tokens(clip, NAMES, clip.context_length - 9)[None]
    whole = encode_prompts(clip, prefix, suffix)
    monkeypatch.setattr(text_encoder, "TOKENS", tokens)
    torch.testing.assert_close(encode_prompts(clip, prefix, suffix), whole, atol=1e-5, rtol=0)
    assert_equal(clip, prefix, suffix)


def linear_tokens(clip, prefix, suffix):
    """Return how many tokens each MLP of the text tower computed, and the most at a time."""
    seen = [[] for _ in clip.transformer.resblocks]
    hooks = [
        block.mlp.register_forward_hook(lambda _, args, __, rows=rows: rows.append(args[0][..., 0].numel()))
        for block, rows in zip(clip.transformer.resblocks, seen, strict=True)
    ]
    encode_prompts(clip, prefix, suffix)
    for hook in hooks:
        hook.remove()
    return [sum(rows) for rows in seen], max(max(rows) for rows in seen)


def test_no_padding_no_repeat_and_of_the_last_block_only_end_tokens(clip):
    """Of the names one comes twice; the prefix of 9 tokens is computed once per prompt."""
    prefix, suffix = prefix_of(clip, 2), suffix_tokens(clip, NAMES, clip.context_length - 9)[None]
    own = sum(len(clip.tokenizer.encode(name)) + 1 for name in set(NAMES))
    computed, _ = linear_tokens(clip, prefix, suffix)
    assert computed == [2 * (9 + own)] * (len(computed) - 1) + [2 * len(set(NAMES))]


def test_a_thousand_classes_are_computed_in_bounded_parts(clip):
    names = [f"{a} {b}" for a in CALTECH[:40] for b in CALTECH[40:65]]
    prefix, suffix = prefix_of(clip, 4).detach(), suffix_tokens(clip, names, clip.context_length - 9)[None]
    with torch.no_grad():
        computed, most = linear_tokens(clip, prefix, suffix)
    assert computed[0] > 4 * text_encoder.TOKENS and most < text_encoder.TOKENS + suffix.shape[-1]


def test_a_name_too_long_is_quoted(clip):
    with pytest.raises(ValueError, match="piano' takes 6 tokens, but the prompt leaves 3; use fewer"):
        suffix_tokens(clip, ["cat", "a very old grand piano"], 3)


def content_model(clip, **fields):
    model = EClip(ModelConfig(recipe="paper", **fields), clip).eval()
    return model, torch.nn.functional.normalize(torch.randn(5, clip.text_projection.shape[1]), dim=-1)


@torch.no_grad()
def test_rescored_classes_are_exact_and_the_others_are_out(clip):
    model, emb = content_model(clip)
    exact, scores = model.score(emb, NAMES), model.score(emb, NAMES, rescore=2)
    kept = scores.isfinite()
    assert (kept.sum(1) == 2).all() and (scores[~kept] == -torch.inf).all()
    torch.testing.assert_close(scores[kept], exact[kept], atol=1e-3, rtol=0)
    shared = emb @ model.encode_text(NAMES).T
    assert (shared.where(kept, 9).amin(1) >= shared.where(~kept, -9).amax(1)).all()
    torch.testing.assert_close(model.score(emb, NAMES, rescore=99), exact)


@torch.no_grad()
def test_without_content_all_scores_are_exact_and_stay(clip):
    model, emb = content_model(clip, content_prompts="none")
    assert torch.equal(model.score(emb, NAMES, rescore=1), model.score(emb, NAMES))


def test_rescoring_no_class_is_refused(clip):
    model, emb = content_model(clip)
    with pytest.raises(ValueError, match="rescore is 0; give at least 1, or None to score every class exactly"):
        model.score(emb, NAMES, rescore=0)


@torch.no_grad()
def test_two_stages_agree_with_the_exact_scores_of_the_shipped_checkpoint():
    """Events that lie near class names, as a trained tower puts them; every second of the 101 names of Caltech."""
    model, _, _ = load_checkpoint()
    near = model.encode_text(CALTECH)[torch.arange(0, 101, 2)]
    emb = torch.nn.functional.normalize(near + 0.1 * torch.randn_like(near), dim=-1)
    exact = class_scores(model, emb, CALTECH).argmax(1)
    agree = {m: (model.score(emb, CALTECH, rescore=m).argmax(1) == exact).float().mean() for m in (1, 5)}
    assert agree[5] >= 0.9 and agree[5] >= agree[1], agree
