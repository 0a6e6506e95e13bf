"""Presets of published tables, against the fact sheet's numbers."""

from dataclasses import replace

import pytest

from eclip_lib import presets
from eclip_lib.config import DataConfig, Run
from eclip_lib.paper_presets import NAMES, preset, preset_name


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
