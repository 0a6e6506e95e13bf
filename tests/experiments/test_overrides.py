import pytest

from eclip_lib.config import RECIPES, LossConfig, Run
from eclip_lib.experiments import presets
from eclip_lib.experiments.overrides import field_names, override, read_overrides


def test_only_what_is_named_changes():
    base = presets.quickstart_run()
    changed = override(base, {"loss.event_text": 0.0, "train.epochs": 3, "model.content_prompts": "none"})
    before, after = base.to_dict(), changed.to_dict()
    assert (after["loss"]["event_text"], after["train"]["epochs"], after["model"]["content_prompts"]) == (0, 3, "none")
    for part, name in (("loss", "event_text"), ("train", "epochs"), ("model", "content_prompts")):
        after[part][name] = before[part][name]
    assert after == before
    assert override(base, {}) == base


def test_a_change_of_the_recipe_brings_its_values_and_later_changes_stand():
    base = presets.quickstart_run()
    paper = override(base, {"model.recipe": "paper", "loss.recipe": "paper"})
    assert paper.model == presets.quickstart_run(recipe="paper").model
    assert paper.loss == LossConfig(recipe="paper")
    mixed = override(base, {"model.additions": "gated", "model.recipe": "paper", "loss.recipe": "paper"})
    assert mixed.model.additions == "gated" and mixed.model.text_condition == "own"


def test_the_differences_of_two_recipes_make_one_of_the_other():
    base = presets.quickstart_run()
    changes = {f"{part}.{k}": v for part in ("model", "loss") for k, v in RECIPES["paper"][part].items()}
    changed, paper = override(base, changes), presets.quickstart_run(recipe="paper")
    assert changed.model.to_dict() | {"recipe": "paper"} == paper.model.to_dict()
    assert changed.loss.to_dict() | {"recipe": "paper"} == paper.loss.to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss.event_txt": 0}, "no field 'loss.event_txt'; perhaps loss.event_text"),
        ({"event_text": 0}, "no field 'event_text'"),
        ({"loss": 0}, "no field 'loss'"),
        ({"loss.event_text": -1}, "must be at least 0"),
        ({"train.epochs": "3"}, "TrainConfig.epochs = '3'"),
        ({"frames.color": "blue"}, "FrameConfig.color = 'blue'"),
        ({"model.recipe": "paper"}, "model recipe 'paper' but loss recipe 'workbench'"),
        ({"model.recipe": "papr"}, "model.recipe = 'papr': expected one of paper"),
        ({"model.recipe": ["paper"]}, r"model.recipe = \['paper'\]: expected one of paper"),
    ],
)
def test_wrong_changes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        override(presets.quickstart_run(), changes)


def test_texts_are_json_objects():
    assert read_overrides(None) == {} == read_overrides("")
    assert read_overrides('{"loss.event_text": 0, "model.text_prompts": "learnable"}') == {
        "loss.event_text": 0,
        "model.text_prompts": "learnable",
    }
    with pytest.raises(ValueError, match="is no JSON"):
        read_overrides("loss.event_text=0")
    with pytest.raises(ValueError, match="expected an object"):
        read_overrides("[1]")


def test_every_field_has_a_name():
    names = field_names(Run())
    assert {"method", "smoke", "data.shots", "loss.event_image", "train.rotate", "frames.color"} <= set(names)
    assert len(names) == len(set(names))
