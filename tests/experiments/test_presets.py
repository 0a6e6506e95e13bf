"""Presets of published tables, against the numbers of their sources."""

from dataclasses import replace

import pytest

from eclip_lib.config import DataConfig, Run
from eclip_lib.experiments import presets
from eclip_lib.experiments.paper_presets import NAMES, preset, preset_name


@pytest.mark.parametrize(
    ("name", "backbone", "events", "epochs", "rate", "decay", "batch", "mse"),
    [
        ("eventbind-code-n-caltech101", "ViT-L-14", 15_000, 30, 1e-6, 0.05, 64, 2.0),
        ("eventbind-code-n-imagenet", "ViT-L-14", 40_000, 30, 1e-6, 0.05, 64, 1.0),
        ("eventbind-code-n-mnist", "ViT-L-14", 1_000, 30, 1e-6, 0.05, 60, 0.1),
        ("eventbind-paper-n-caltech101-vit-b-16", "ViT-B-16", 150_000, 30, 1e-5, 2e-4, 64, 2.0),
        ("eventbind-paper-n-imagenet-vit-l-14", "ViT-L-14", 400_000, 30, 1e-6, 2e-4, 64, 1.0),
        ("eventbind-paper-n-mnist-vit-b-32", "ViT-B-32", 400, 30, 1e-6, 2e-4, 60, 0.1),
        ("e-clip-n-imagenet", "ViT-B-16", 40_000, 3, 1e-6, 2e-4, 64, 0.0),
    ],
)
def test_presets_are_the_sources(name, backbone, events, epochs, rate, decay, batch, mse):
    run = preset(name)
    assert (run.model.backbone, run.model.pretrained, run.frames.events_per_frame) == (backbone, "openai", events)
    assert (run.frames.size, run.frames.frames, run.frames.color, run.frames.windows) == (224, 5, "rgb", "first")
    train = run.train
    assert (train.epochs, train.tower_rate, train.additions_rate, train.weight_decay) == (epochs, rate, rate, decay)
    assert (train.batch_size, run.loss.text_mse, run.loss.scale) == (batch, mse, 100.0)
    assert (run.model.event_prompts, run.model.context_length, train.warmup, train.shift) == (16, 16, 0.0, 0)
    assert run.model.template == f"A {'sketch' if name.startswith('e-clip') else 'drafted'} image of a {{}}."
    assert train.flip == ("caltech" in name)
    assert run.data.dataset in name and run.experiment == name


def test_no_preset_chooses_on_test():
    assert {preset(name).train.select for name in NAMES} == {"val"}


def test_a_preset_takes_protocol_and_folders():
    run = preset("e-clip-n-mnist", DataConfig(root="digits", protocol="few-shot", shots=10, fold=1), seed=3)
    assert (run.data.dataset, run.data.root, run.data.shots, run.data.fold) == ("n-mnist", "digits", 10, 1)
    assert run.train.seed == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_run_knows_its_preset(name):
    run = preset(name, seed=4)
    assert preset_name(run) == name
    assert preset_name(Run.from_dict(run.to_dict())) == name
    assert preset_name(replace(run, train=replace(run.train, epochs=7))) is None


def test_other_runs_have_none():
    assert preset_name(Run()) is None
    with pytest.raises(ValueError, match=r"preset 'e-clip-n-cars' is unknown; there are eventbind-code-n-caltech101"):
        preset("e-clip-n-cars")


def test_a_comparison_on_another_data_set_has_its_methods():
    """Data sets without a list of methods of their own are compared by seeds, zero-shot once."""
    base = presets.quickstart_run("n-caltech101", data_root="somewhere", shots=5)
    runs = presets.comparison(base, seeds=2)
    assert {method: len(each) for method, each in runs.items()} == {"clip-zero-shot": 1, "linear-probe": 2, "e-clip": 2}


def test_a_training_run_takes_what_is_given_and_keeps_what_fits():
    data = DataConfig(dataset="n-mnist", root="digits", protocol="few-shot", shots=1, fold=2)
    run = presets.training_run(data, recipe="paper", seed=4, epochs=None, precision="bf16")
    fits = presets.quickstart_run("n-mnist", "digits", recipe="paper")
    assert run.data == data and (run.train.seed, run.train.precision) == (4, "bf16")
    assert run.train.epochs == 300 and run.train.rotate and not run.train.flip and run.model == fits.model
    every = presets.training_run(replace(data, protocol="fine-tune", shots=None), recipe="paper")
    assert every.train == fits.train  # with all recordings, none of them is turned
    assert presets.training_run(DataConfig(), epochs=3).train.epochs == 3


def test_a_training_run_by_a_preset():
    data = DataConfig(dataset="n-mnist", root="digits", protocol="fine-tune", shots=None)
    run = presets.training_run(data, preset="e-clip-n-mnist", pretrained="weights.pt", seed=2)
    assert (run.model.recipe, run.model.backbone, run.model.pretrained) == ("paper", "ViT-B-16", "weights.pt")
    assert run.data == data and run.train.seed == 2 and run.frames == preset("e-clip-n-mnist").frames
    with pytest.raises(ValueError, match="'e-clip-n-mnist' is for n-mnist, not for n-caltech101"):
        presets.training_run(replace(data, dataset="n-caltech101"), preset="e-clip-n-mnist")
    with pytest.raises(ValueError, match="TrainConfig has no field epoch; its fields are"):
        presets.training_run(data, epoch=3)


def test_smoke_keeps_protocols_that_are_not_of_shots():
    data = DataConfig(protocol="base-to-new", shots=4)
    small = presets.smoke(presets.training_run(data))
    assert (small.data.protocol, small.data.shots, small.data.subset, small.train.epochs) == (
        "base-to-new",
        4,
        "icons5",
        1,
    )
    assert presets.smoke(presets.training_run(DataConfig())).data.shots == 2


def test_the_comparison_on_real_recordings_tests_each_once_and_gives_all_methods_the_same():
    for shots in presets.REAL_SHOTS:
        runs = presets.real_comparison("digits", shots)
        assert list(runs) == list(presets.REAL_METHODS)
        for repeat in zip(*runs.values(), strict=True):
            assert len({(run.data, run.train, run.frames) for run in repeat}) == 1
        assert [run.data.fold for run in runs["e-clip paper"]] == [0, 1, 2, 3, 4]
        assert [run.train.seed for run in runs["e-clip paper"]] == [0, 1, 2, 3, 4]
        recipes = {run.model.recipe for run in runs["e-clip paper"]}, {run.loss.recipe for run in runs["linear-probe"]}
        assert recipes == ({"paper"}, {"workbench"})
    epochs = [presets.real_comparison("digits", k)["e-clip paper"][0].train.epochs for k in (1, 2, 3, 5, 20, 50)]
    assert epochs == sorted(epochs, reverse=True)
    with pytest.raises(ValueError, match="repeats = 6"):
        presets.real_comparison("digits", 1, repeats=6)
