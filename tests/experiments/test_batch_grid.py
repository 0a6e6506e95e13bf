"""The grid: names and values are checked before anything runs, and each variant is what its name says."""

import json
from dataclasses import replace

import pytest

from eclip_lib.config import RECIPES, FrameConfig, LossConfig, ModelConfig
from eclip_lib.experiments.batch.grid import (
    ablation_base,
    change_base,
    differences,
    make_grid,
    plan_grid,
    preset_variants,
    read_grid,
    with_seed,
)
from eclip_lib.experiments.batch.variants import FULL, PAPER_STEPS, PRESETS, WORKBENCH_STEPS
from eclip_lib.experiments.overrides import override

BASE = ablation_base()
FOLDERS = {"icons100": None, "n-mnist": "n-mnist"}


@pytest.mark.parametrize("dataset", FOLDERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_run_of_each_variant_and_seed_the_full_model_first(preset, dataset):
    base = ablation_base(dataset, FOLDERS[dataset])
    grid = make_grid(base, preset_variants([preset]), range(3))
    names = [run.variant for run in grid.runs]
    assert names[:3] == [FULL] * 3
    assert sorted(set(names) | set(grid.left_out)) == sorted({FULL, *PRESETS[preset]})
    assert [run.train.seed for run in grid.runs] == [0, 1, 2] * (len(names) // 3)
    assert len({replace(run, variant=None) for run in grid.runs}) == len(names), "no config twice"
    assert all(other == FULL for other in grid.left_out.values())


def test_a_field_that_has_each_of_its_values_leaves_out_the_base_alone():
    left_out = make_grid(BASE, preset_variants(["prompts", "input"]), [0]).left_out
    same = ["hybrid text", "content of both", "4 event prompts", "4 text prompts", "color count", "3 windows"]
    assert left_out == dict.fromkeys([*same, "300 events a window"], FULL)
    digits = make_grid(ablation_base("n-mnist", "n-mnist"), preset_variants(["prompts", "input"]), [0]).left_out
    assert digits == dict.fromkeys([*same, "all events"], FULL)
    longer = override(BASE, {"model.context_length": 8})
    assert "8 text prompts" in make_grid(longer, preset_variants(["prompts"]), [0]).left_out


@pytest.mark.parametrize("name", [FULL, "no event-text"])
def test_a_name_that_means_another_variant_is_refused(name):
    with pytest.raises(ValueError, match=f"variant '{name}': the name is taken by one that changes "):
        make_grid(BASE, {FULL: {}, name: {"loss.event_text": 0.5}}, [0])
    assert len(make_grid(BASE, {FULL: {}, "no event-text": {"loss.event_text": 0.0}}, [0]).runs) == 2


def test_claims_need_a_base_that_trains_on_all_classes():
    base = override(BASE, {"data.protocol": "base-to-new"})
    with pytest.raises(ValueError, match="preset 'claims' with a base of the protocol 'base-to-new'"):
        plan_grid(base, ["claims"], {}, [0])
    runs = plan_grid(
        override(BASE, {"data.protocol": "fine-tune", "data.shots": None}), ["claims", "htca"], {}, [0]
    ).runs
    assert len(set(runs)) == len(runs) and {run.data.shots for run in runs} == {None}


def test_each_term_is_removed_alone_halved_and_doubled():
    terms = dict.fromkeys([FULL, "HTCA alone", "with image-text"], (1.0, 1.0, 1.0))
    for place, term in enumerate(("event-image", "event-text", "text-text")):
        for word, weight in (("no", 0.0), ("half", 0.5), ("double", 2.0)):
            terms[f"{word} {term}"] = tuple(weight if other == place else 1.0 for other in range(3))
        terms[f"{term} alone"] = tuple(float(other == place) for other in range(3))
    runs = make_grid(BASE, preset_variants(["htca"]), [0]).runs
    found = {run.variant: (run.loss.event_image, run.loss.event_text, run.loss.text_text) for run in runs}
    assert found == terms
    assert {run.variant for run in runs if run.loss.image_text} == {"with image-text"}


def test_the_steps_are_all_in_which_the_recipes_differ():
    ours, theirs = (
        replace(
            BASE, model=replace(BASE.model, recipe=name, **dict.fromkeys(RECIPES[name]["model"])), loss=LossConfig(name)
        )
        for name in ("workbench", "paper")
    )
    differ = differences(theirs, ours)
    assert differ.pop("model.recipe") == differ.pop("loss.recipe") == "paper"
    assert differ == {name: value for changes in PAPER_STEPS.values() for name, value in changes.items()}
    assert list(WORKBENCH_STEPS) == list(PAPER_STEPS)


def test_a_step_back_from_the_paper_differs_from_it_in_one_field():
    runs = {run.variant: run for run in make_grid(BASE, preset_variants(["recipes"]), [0]).runs}
    for step, other in WORKBENCH_STEPS.items():
        differ = differences(runs[f"paper, but {other}"], runs["paper"])
        kept = {name for name in differ if name not in ("variant", "model.recipe", "loss.recipe")}
        assert kept == set(PAPER_STEPS[step])
        assert differences(runs[f"paper, but {other}"], runs[FULL]).keys() - {"variant"} == {
            name for one, changes in PAPER_STEPS.items() if one != step for name in changes
        }


def test_the_grid_names_every_color_and_kind_of_prompt():
    runs = make_grid(BASE, preset_variants(["input", "prompts"]), [0]).runs
    for part, name, kinds in (
        ("frames", "color", FrameConfig.__annotations__["color"].__args__),
        ("model", "text_prompts", ModelConfig.__annotations__["text_prompts"].__args__),
        ("model", "content_prompts", ModelConfig.__annotations__["content_prompts"].__args__),
    ):
        assert {getattr(getattr(run, part), name) for run in runs} == set(kinds)


def test_five_seeds_of_n_mnist_test_each_recording_once():
    base = ablation_base("n-mnist", "n-mnist")
    assert [with_seed(base, seed).data.fold for seed in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    assert with_seed(base, 6).train.seed == 6
    assert with_seed(BASE, 6).data == BASE.data


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss.event_txt": 0.0}, r"variant 'mine': a run has no field 'loss.event_txt'; perhaps loss.event_text"),
        ({"loss.event_text": -1.0}, "variant 'mine': LossConfig.event_text = -1.0: must be at least 0"),
        ({"frames.color": "red"}, "variant 'mine': FrameConfig.color = 'red': expected one of 'rgb'"),
        ({"model.recipe": "paper"}, "variant 'mine': Run: model recipe 'paper' but loss recipe 'workbench'"),
        ({"train.seed": 3}, "variant 'mine': 'mine' changes train.seed, which the batch sets itself"),
        ({"method": "linear-probe"}, "changes method"),
    ],
)
def test_a_variant_that_cannot_be_is_refused_by_its_name(changes, told):
    with pytest.raises(ValueError, match=told):
        make_grid(BASE, {FULL: {}, "mine": changes}, [0])


def test_an_unknown_preset_is_refused_with_what_is_near():
    with pytest.raises(ValueError, match=r"no preset 'prompt'; perhaps prompts"):
        preset_variants(["prompt"])


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_are_some_and_different(seeds):
    with pytest.raises(ValueError, match="seeds = "):
        make_grid(BASE, {FULL: {}}, seeds)


def test_a_grid_of_ones_own_is_toml_or_json(tmp_path):
    toml, plain = tmp_path / "grid.toml", tmp_path / "grid.json"
    toml.write_text('[base]\n"data.shots" = 10\n\n[variants."no event-text"]\n"loss.event_text" = 0.0\n')
    wanted = {"data.shots": 10}, {"no event-text": {"loss.event_text": 0.0}}
    plain.write_text(json.dumps({"base": wanted[0], "variants": wanted[1]}))
    assert read_grid(toml) == read_grid(plain) == wanted
    assert change_base(BASE, wanted[0]).data.shots == 10
    with pytest.raises(ValueError, match=r"'base' changes train\.seed"):
        change_base(BASE, {"train.seed": 1})


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("g.toml", "[variants", "neither TOML nor"),
        ("g.json", "[variants]", "neither TOML nor"),
        ("g.toml", "x = 1", "expected a table 'variants'"),
        ("g.toml", "[variants]\nmine = 3", "a variant is a table"),
        ("g.json", '{"variants": [1]}', "a variant is a table"),
        ("g.toml", "[variant.mine]\na = 1", "expected a table 'variants'"),
        ("g.json", "{}", "expected a table 'variants'"),
    ],
)
def test_a_file_that_is_no_grid_is_refused_by_its_name(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name}: {told}"):
        read_grid(tmp_path / name)


def test_a_grid_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.toml: no such grid file"):
        read_grid(tmp_path / "none.toml")
