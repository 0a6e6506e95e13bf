import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from eclip_lib import presets
from eclip_lib.config import LossConfig, ModelConfig, Run, TrainConfig
from eclip_lib.experiment import Experiment, run
from eclip_lib.inputs import FrameSet
from eclip_lib.model import EClip
from eclip_lib.results import read_results
from eclip_lib.training import fit, load_checkpoint, save_checkpoint, schedule, shift_frames

NAMES = ["cat", "dog", "car"]


def toy_frames(n=12, seed=0):
    """Return frames of three easily told classes: a dark band in one of three places."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pixels = rng.integers(180, 255, (n, 3, 3, 48, 48)).astype(np.uint8)
    for row, label in zip(pixels, labels, strict=True):
        row[..., 16 * label : 16 * label + 12, :] = 0
    return FrameSet(pixels, torch.ones(n, 3, dtype=torch.bool), torch.from_numpy(labels))


def toy_fit(clip, recipe="workbench", **train):
    torch.manual_seed(0)
    model = EClip(ModelConfig(recipe=recipe, event_prompts=2, context_length=2), clip)
    own = torch.Generator().manual_seed(0)  # the same stills, however many numbers the model draws for its start
    stills = torch.nn.functional.normalize(torch.randn(12, 2, 128, generator=own), dim=-1)
    cfg = TrainConfig(**({"epochs": 6, "batch_size": 6, "flip": False, "shift": 0} | train))
    records = list(fit(model, toy_frames(), toy_frames(6, 1), stills, NAMES, cfg, LossConfig(recipe=recipe)))
    return model, records


@pytest.mark.parametrize("recipe", ["paper", "eventbind", "workbench"])
def test_the_loss_falls_and_the_classes_are_learned(clip, recipe):
    _, records = toy_fit(clip, recipe)
    assert [r["epoch"] for r in records] == list(range(1, 7))
    assert records[-1]["event_text"] < records[0]["event_text"]
    assert records[-1]["val_top1"] == 1.0


def test_the_same_seed_gives_the_same_history(clip):
    first, second, other = (toy_fit(clip, epochs=2, seed=seed, shift=2, flip=True)[1] for seed in (0, 0, 1))
    assert first == second
    assert first != other


def test_frozen_towers_stay_as_they_were(clip):
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    model, _ = toy_fit(clip, epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in model.clip.state_dict().items())
    assert not torch.equal(model.event_encoder.visual.conv1.weight, clip.visual.conv1.weight)


def test_a_loss_that_is_not_finite_stops_the_run(clip):
    with pytest.raises(FloatingPointError, match=r"loss is .* at epoch 1, recordings \["):
        toy_fit(clip, tower_rate=1e8, additions_rate=1e8, clip_gradient=1e8)


def test_schedule_rises_then_falls():
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1.0 and rates[-1] < 0.01
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)


def test_shifted_frames_are_white_where_nothing_was(clip):
    frames = torch.zeros(2, 3, 3, 8, 8)
    moved = shift_frames(frames, 3)
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(shift_frames(frames, 0), frames)
    lost = [(shift_frames(frames, 3) == 1).float().mean().item() for _ in range(50)]
    assert max(lost) == pytest.approx(1 - (5 / 8) ** 2)


def test_checkpoint_round_trip(clip, tmp_path):
    model, _ = toy_fit(clip, epochs=1)
    frames, valid = torch.rand(2, 3, 3, 48, 48), torch.ones(2, 3, dtype=torch.bool)
    cfg = Run(model=model.cfg)
    save_checkpoint(tmp_path / "whole", model, cfg, NAMES, {"note": "x"})
    again, run_again, facts = load_checkpoint(tmp_path / "whole")
    assert run_again == cfg and facts.pop("versions")["torch"] == torch.__version__.split("+")[0]
    assert facts == {"class_names": NAMES, "note": "x"}
    expected = model.eval().classify(frames, valid, NAMES)
    assert torch.equal(again.classify(frames, valid, NAMES), expected)
    save_checkpoint(tmp_path / "half", model, cfg, NAMES, {}, half=True)
    assert torch.allclose(load_checkpoint(tmp_path / "half")[0].classify(frames, valid, NAMES), expected, atol=0.05)


def test_a_checkpoint_that_does_not_fit_is_refused(clip, tmp_path):
    model, _ = toy_fit(clip, epochs=1)
    save_checkpoint(tmp_path, model, Run(model=model.cfg), NAMES, {})
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        load_checkpoint(tmp_path / "nowhere")
    description = json.loads((tmp_path / "checkpoint.json").read_text())
    description["run"]["model"]["event_prompts"] = 5
    (tmp_path / "checkpoint.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="do not belong to this model"):
        load_checkpoint(tmp_path)


def test_a_run_leaves_a_row_and_its_predictions(tmp_path):
    base = presets.smoke(presets.quickstart_run())
    ledger = tmp_path / "results.jsonl"
    rows = [run(runs[0], ledger) for runs in presets.comparison(base, 1).values()]
    table = read_results(ledger)
    assert table.method.tolist() == ["clip-zero-shot", "linear-probe", "e-clip"]
    assert table.smoke.all() and table.simulated.all() and table.top1.between(0, 1).all()
    for line in rows:
        kept = np.load(tmp_path / line["predictions"])
        assert (kept["predicted"] == kept["labels"]).mean() == pytest.approx(line["metrics"]["top1"])
        assert Run.from_dict(line["config"]).id in line["run_id"]


def test_the_same_run_gives_the_same_numbers(tmp_path):
    cfg = presets.smoke(presets.quickstart_run())
    first, second = (run(cfg, tmp_path / "results.jsonl") for _ in range(2))
    assert first["metrics"] == second["metrics"]
    assert first["split_hash"] == second["split_hash"]


def test_an_interrupted_run_writes_nothing(tmp_path, monkeypatch):
    cfg = presets.smoke(presets.quickstart_run())
    ledger = tmp_path / "results.jsonl"

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("eclip_lib.experiment.recognition", stop)
    with pytest.raises(KeyboardInterrupt):
        run(cfg, ledger)
    assert not ledger.exists()
    monkeypatch.undo()
    assert 0 <= run(cfg, ledger)["metrics"]["top1"] <= 1


def test_frames_of_another_size_are_refused():
    cfg = presets.smoke(presets.quickstart_run())
    with pytest.raises(ValueError, match="sees 48 pixels"):
        Experiment(replace(cfg, frames=replace(cfg.frames, size=224)))
