from dataclasses import replace

import pytest

from eclip_lib.config import DataConfig, FrameConfig, LossConfig, ModelConfig, Run, TrainConfig


def test_round_trip_keeps_the_id():
    run = Run(data=DataConfig(shots=2), frames=FrameConfig(color="gray"))
    again = Run.from_dict(run.to_dict())
    assert again == run
    assert again.id == run.id


def test_id_depends_on_every_part():
    ids = {Run().id, Run(train=TrainConfig(seed=1)).id, Run(model=ModelConfig(event_prompts=4)).id, Run(smoke=True).id}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Run(method="clip"), "expected one of 'e-clip'"),
        (lambda: ModelConfig(recipe="v7"), "expected one of paper, eventbind, workbench"),
        (lambda: ModelConfig(template="a sketch"), "must hold one {}"),
        (lambda: FrameConfig(frames=0), "must be at least 1"),
        (lambda: FrameConfig(color="red"), "'rgb', 'gray'"),
        (lambda: TrainConfig(epochs=1.5), "expected int"),
        (lambda: TrainConfig(epochs=True), "expected int"),
        (lambda: TrainConfig(tower_rate=float("nan")), "tower_rate = nan: must be a finite number"),
        (lambda: FrameConfig(overlap=float("inf")), "overlap = inf: must be a finite number"),
        (lambda: DataConfig(protocol="fine-tune"), "need shots = None"),
        (lambda: LossConfig(event_image=0, event_text=0, text_text=0), "nothing to train"),
        (lambda: Run(model=ModelConfig(recipe="paper")), "model recipe 'paper' but loss recipe 'workbench'"),
        (
            lambda: Run(method="linear-probe", data=DataConfig(protocol="zero-shot", shots=None)),
            "needs recordings to train on",
        ),
        (lambda: Run.from_dict({"mode": {}}), "no field mode; its fields are experiment"),
        (lambda: Run.from_dict({"train": {"lr": 1.0}}), "TrainConfig has no field lr"),
    ],
)
def test_bad_values_are_refused_with_the_expectation(make, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace("{}", r"\{\}")):
        make()


def test_the_mse_needs_both_kinds_of_text():
    model, loss = ModelConfig(recipe="eventbind", text_prompts="handcrafted"), LossConfig(recipe="eventbind")
    with pytest.raises(ValueError, match=r"text_mse = 1\.0 compares the two kinds of text"):
        Run(model=model, loss=loss)
    assert Run(model=model, loss=LossConfig(recipe="eventbind", text_mse=0.0)).loss.text_mse == 0


def test_recipe_fills_only_what_is_left_out():
    paper = ModelConfig(recipe="paper", clip_normalization=True)
    assert (paper.additions, paper.text_condition, paper.clip_normalization) == ("full", "own", True)
    assert LossConfig(recipe="paper").scale == 100
    assert LossConfig().scale is None
    assert replace(ModelConfig(), event_prompts=4).additions == "gated"
