import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from eclip_lib.config import LossConfig, ModelConfig, Run, TrainConfig
from eclip_lib.data.inputs import FrameSet
from eclip_lib.experiments import presets
from eclip_lib.experiments.experiment import Experiment
from eclip_lib.experiments.runs import run
from eclip_lib.frames.augmentation import shift_frames
from eclip_lib.ledger import read_results
from eclip_lib.model.eclip import EClip
from eclip_lib.training.checkpoints import load_checkpoint, save_checkpoint
from eclip_lib.training.loop import fit
from eclip_lib.training.objective import batch_losses
from eclip_lib.training.schedule import parameter_groups, schedule
from eclip_lib.training.tensorboard_logs import logged

NAMES = ["cat", "dog", "car"]


def toy_frames(n=12, seed=0):
    """Return frames of three easily told classes: a dark band in one of three places."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pixels = rng.integers(180, 255, (n, 3, 3, 48, 48)).astype(np.uint8)
    for row, label in zip(pixels, labels, strict=True):
        row[..., 16 * label : 16 * label + 12, :] = 0
    return FrameSet(pixels, torch.ones(n, 3, dtype=torch.bool), torch.from_numpy(labels))


def toy_stills():
    own = torch.Generator().manual_seed(0)  # the same stills, however many numbers the model draws for its start
    return torch.nn.functional.normalize(torch.randn(12, 2, 128, generator=own), dim=-1)


def toy_fit(clip, recipe="workbench", loss=(), ids=None, **train):
    torch.manual_seed(0)
    model = EClip(ModelConfig(recipe=recipe, event_prompts=2, context_length=2), clip)
    cfg = TrainConfig(**({"epochs": 6, "batch_size": 6, "flip": False, "shift": 0} | train))
    losses = LossConfig(recipe=recipe, **dict(loss))
    records = list(fit(model, toy_frames(), toy_frames(6, 1), toy_stills(), NAMES, cfg, losses, ids=ids))
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


def plain_fit(clip, recipe):
    """Train as `toy_fit` does, as plainly as can be: what is published was trained so, bit for bit."""
    torch.manual_seed(0)
    model = EClip(ModelConfig(recipe=recipe, event_prompts=2, context_length=2), clip)
    stills, train, cfg = toy_stills(), toy_frames(), TrainConfig(epochs=2, batch_size=5)
    torch.manual_seed(cfg.seed)
    optimizer = torch.optim.AdamW(parameter_groups(model, cfg))
    records, step = [], 0
    for _ in range(2):
        model.train()
        sums = {}
        for rows in torch.randperm(12).split(5):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step, 6, cfg.warmup)
            mirror = int(torch.rand(()).item() < 0.5)
            frames = shift_frames(train.frames(rows), cfg.shift)
            batch = frames.flip(-1) if mirror else frames, train.valid[rows], train.labels[rows], stills[rows, mirror]
            losses = batch_losses(model, *batch, NAMES, LossConfig(recipe=recipe))
            optimizer.zero_grad()
            losses["total"].backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], cfg.clip_gradient)
            optimizer.step()
            sums = {name: sums.get(name, 0.0) + value.item() * len(rows) for name, value in losses.items()}
            step += 1
        records.append({name: value / 12 for name, value in sums.items()})
    return model, records


@pytest.mark.parametrize("recipe", ["paper", "eventbind", "workbench"])
def test_by_default_the_bits_are_those_of_the_plain_loop(clip, recipe):
    plain, expected = plain_fit(clip, recipe)
    model, records = toy_fit(clip, recipe, epochs=2, batch_size=5, flip=True, shift=2)
    assert [record["loss"] for record in records] == [record["total"] for record in expected]
    assert [record["text_text"] for record in records] == [record["text_text"] for record in expected]
    weights = model.trained_state()
    assert all(torch.equal(value, weights[name]) for name, value in plain.trained_state().items())


def test_looking_on_does_not_change_the_training(clip):
    model, _ = toy_fit(clip, epochs=2, flip=True)
    cfg = TrainConfig(epochs=2, batch_size=6, shift=0)
    torch.manual_seed(0)
    other = EClip(model.cfg, clip)
    for _ in fit(other, toy_frames(), None, toy_stills(), NAMES, cfg, LossConfig()):
        torch.rand(3)  # a notebook that draws random numbers between two epochs
    assert all(torch.equal(value, other.trained_state()[name]) for name, value in model.trained_state().items())


def test_accumulated_batches_take_one_step_along_their_mean_gradient(clip):
    """With the MSE alone, which has no pairs of recordings, two batches of half the size are one whole batch."""
    halves, wholes = (
        toy_fit(clip, "eventbind", {"event_image": 0.0, "event_text": 1e-9, "text_text": 0.0}, epochs=2, **train)[1]
        for train in ({"batch_size": 3, "accumulate": 2}, {"batch_size": 6})
    )
    assert [r["text_mse"] for r in halves] == pytest.approx([r["text_mse"] for r in wholes], rel=1e-4)
    assert halves[0]["text_mse"] != halves[1]["text_mse"]


def test_bfloat16_stays_close_and_its_weights_are_float32(clip):
    exact, rounded = (toy_fit(clip, epochs=2, precision=precision) for precision in ("32", "bf16"))
    assert [r["loss"] for r in rounded[1]] == pytest.approx([r["loss"] for r in exact[1]], rel=0.1)
    assert [r["loss"] for r in rounded[1]] != [r["loss"] for r in exact[1]]
    assert {value.dtype for value in rounded[0].trained_state().values()} == {torch.float32}


def test_recordings_without_a_still_train_by_the_terms_that_need_none(clip):
    def trained(stills, has_still):
        torch.manual_seed(0)
        model = EClip(ModelConfig(event_prompts=2, context_length=2), clip)
        cfg = TrainConfig(epochs=1, batch_size=6)
        given = model, toy_frames(), None, stills, NAMES, cfg, LossConfig()
        return list(fit(*given, has_still=has_still)), model.trained_state()

    has_still = torch.arange(12) % 4 != 0
    other = toy_stills().clone()
    other[~has_still] = 0.5  # of no use to anyone
    (first, weights), (second, again) = trained(toy_stills(), has_still), trained(other, has_still)
    assert first == second and all(torch.equal(weights[name], again[name]) for name in weights)
    assert first != trained(toy_stills(), torch.ones(12, dtype=torch.bool))[0]
    alone, _ = trained(toy_stills(), torch.zeros(12, dtype=torch.bool))
    assert set(alone[0]) == {"epoch", "loss", "event_text"} and alone[0]["loss"] == alone[0]["event_text"]


def test_a_training_without_event_text_needs_all_stills(clip):
    model = EClip(ModelConfig(event_prompts=2, context_length=2), clip)
    given = model, toy_frames(), None, toy_stills(), NAMES, TrainConfig(), LossConfig(event_text=0.0)
    with pytest.raises(ValueError, match=r"11 of 12 training recordings have no still, and LossConfig\.event_text = 0"):
        next(fit(*given, has_still=torch.arange(12) == 0))


@pytest.mark.parametrize("select", ["val", "best-epoch-on-test"])
def test_the_epoch_that_was_best_is_the_result(clip, monkeypatch, select):
    shown = {"val": iter([0.2, 0.9, 0.9, 0.1]), "test": iter([0.5, 0.5, 0.7, 0.6])}
    monkeypatch.setattr("eclip_lib.training.loop.topk_accuracy", lambda *_: {"top1": next(shown[watched.pop(0)])})
    watched = (["val"] if select == "val" else ["val", "test"]) * 4
    torch.manual_seed(0)
    model = EClip(ModelConfig(event_prompts=2, context_length=2), clip)
    cfg = TrainConfig(epochs=4, batch_size=6, select=select)
    weights, records = [], []
    given = model, toy_frames(), toy_frames(6, 1), toy_stills(), NAMES, cfg, LossConfig()
    for record in fit(*given, test=toy_frames(6, 2)):
        records.append(record)
        weights.append({name: value.clone() for name, value in model.trained_state().items()})
    best = 1 if select == "val" else 2  # the first of equals
    assert ("test_top1" in records[0]) == (select != "val")
    final = model.trained_state()
    assert all(torch.equal(final[name], weights[best][name]) for name in final)
    assert not all(torch.equal(final[name], weights[3][name]) for name in final)


def test_a_recording_without_a_frame_is_named(clip):
    model, train = EClip(ModelConfig(event_prompts=2, context_length=2), clip), toy_frames()
    train.valid[[2, 7]] = False
    given = model, train, None, toy_stills(), NAMES, TrainConfig(), LossConfig()
    with pytest.raises(ValueError, match=r"training recordings \['c', 'h'\] have no valid frame"):
        next(fit(*given, ids="abcdefghijkl"))


def test_selecting_without_frames_is_refused(clip):
    model = EClip(ModelConfig(event_prompts=2, context_length=2), clip)
    given = model, toy_frames(), None, toy_stills(), NAMES, TrainConfig(select="val"), LossConfig()
    with pytest.raises(ValueError, match="there are no val frames to select by"):
        next(fit(*given))


def test_frozen_towers_stay_as_they_were(clip):
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    model, _ = toy_fit(clip, epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in model.clip.state_dict().items())
    assert not torch.equal(model.event_encoder.visual.conv1.weight, clip.visual.conv1.weight)


def test_a_loss_that_is_not_finite_stops_the_run(clip):
    ids = [f"cat/{number}.bin" for number in range(12)]
    with pytest.raises(FloatingPointError, match=r"is nan at epoch 1, recordings \['cat/\d+\.bin', ") as told:
        toy_fit(clip, tower_rate=1e8, additions_rate=1e8, clip_gradient=1e8, ids=ids)
    assert str(told.value).count(".bin") == 6


def test_schedule_rises_then_falls():
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == 0.1 and max(rates) == 1.0 and rates[-1] < 0.01
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)


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


@pytest.mark.parametrize(("method", "chosen"), [("count-map-probe", "probe_c"), ("count-map-cnn", "training_steps")])
def test_rivals_on_count_maps_leave_rows_and_what_validation_chose(tmp_path, monkeypatch, method, chosen):
    monkeypatch.setattr("eclip_lib.rivals.small_network.TRAINING_STEPS", (1, 30))
    monkeypatch.setattr("eclip_lib.experiments.experiment.preset_name", lambda cfg: f"that of {cfg.method}")
    base = presets.smoke(presets.quickstart_run())
    row = run(replace(base, method=method), tmp_path / "results.jsonl")
    assert row["preset"] == f"that of {method}"
    assert row["method"] == method and row["recipe"] is None and row["metrics"][chosen] > 0
    assert row["metrics"]["top1"] > 0.2  # chance, of five classes
    with pytest.raises(ValueError, match=f"a {method} needs recordings to train on"):
        replace(base, method=method, data=replace(base.data, protocol="zero-shot", shots=None))


def test_the_same_run_gives_the_same_numbers(tmp_path):
    cfg = presets.smoke(presets.quickstart_run())
    first, second = (run(cfg, tmp_path / "results.jsonl") for _ in range(2))
    assert first["metrics"] == second["metrics"]
    assert first["split_hash"] == second["split_hash"]


def test_workers_do_not_change_a_run(tmp_path):
    base = presets.smoke(presets.quickstart_run())
    runs = [replace(base, train=replace(base.train, workers=workers, drop_events=0.3)) for workers in (1, 2)]
    one, two = (run(cfg, tmp_path / "results.jsonl") for cfg in runs)
    assert one["metrics"] == two["metrics"]


def test_logs_are_written_for_tensorboard(tmp_path, monkeypatch):
    records = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.5, "val_top1": 0.5}]
    assert list(logged(iter(records), None)) == records
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    assert list(logged(iter(records), tmp_path)) == records
    found = accumulator(str(tmp_path)).Reload()
    assert [(point.step, point.value) for point in found.Scalars("loss")] == [(1, 2.0), (2, 1.5)]
    assert [point.step for point in found.Scalars("val_top1")] == [2]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'eclip-workbench\[tensorboard\]'"):
        list(logged(iter(records), tmp_path))


def test_an_interrupted_run_writes_nothing(tmp_path, monkeypatch):
    cfg = presets.smoke(presets.quickstart_run())
    ledger = tmp_path / "results.jsonl"

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("eclip_lib.experiments.experiment.evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        run(cfg, ledger)
    assert not ledger.exists()
    monkeypatch.undo()
    assert 0 <= run(cfg, ledger)["metrics"]["top1"] <= 1


def test_watching_the_validation_part_changes_no_number():
    cfg = presets.smoke(presets.quickstart_run())
    cfg = replace(cfg, train=replace(cfg.train, epochs=2))
    seen, unseen = (Experiment(cfg) for _ in range(2))
    records, bare = list(seen.fit(watch=True)), list(unseen.fit(watch=False))
    assert [set(one) - set(other) for one, other in zip(records, bare, strict=True)] == [{"val_top1"}] * 2
    assert [one["loss"] for one in records] == [one["loss"] for one in bare]
    assert seen.evaluate()["metrics"] == unseen.evaluate()["metrics"]


def test_frames_of_another_size_are_refused():
    cfg = presets.smoke(presets.quickstart_run())
    with pytest.raises(ValueError, match="sees 48 pixels"):
        Experiment(replace(cfg, frames=replace(cfg.frames, size=224)))
