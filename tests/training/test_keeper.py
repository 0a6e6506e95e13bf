import json
import os
import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file

from eclip_lib.config import Run
from eclip_lib.experiments.experiment import Experiment, run_id
from eclip_lib.experiments.runs import run
from eclip_lib.ledger import read_results
from eclip_lib.training import keeper as keepers
from eclip_lib.training.checkpoints import load_checkpoint
from eclip_lib.training.keeper import Keeper
from tests.support.runs import do_run, small_run, start


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def recorded_once(private_runs, shared_cache, monkeypatch):
    """The recordings are simulated for the first test alone."""
    monkeypatch.setattr("eclip_lib.cache.CACHE", shared_cache)


def weights_of(folder):
    """Return the finished weights of the one run that a ledger's folder has."""
    (last,) = folder.glob("checkpoints/*/last")
    return load_file(last / json.loads((last / "checkpoint.json").read_text())["weights"]["file"])


def outcome(folder):
    """Return metrics of the last row, and the weights."""
    return read_results(folder / "results.jsonl").metrics.iloc[-1], weights_of(folder)


def states(folder):
    """Return the time at which the last state was kept, or 0."""
    found = [path.stat().st_mtime_ns for path in folder.glob("checkpoints/*/last/checkpoint.json")]
    return max(found, default=0)


def kill_and_go_on(cfg, folder, cache, kills, rng):
    """Do a run that is killed `kills` times, each time at some moment after a further state was kept."""
    done = 0
    while True:
        process, before, given = start(do_run, cfg.to_dict(), folder, cache), states(folder), time.monotonic()
        while process.is_alive() and (states(folder) == before or done >= kills):
            time.sleep(0.002)
            assert time.monotonic() - given < 300
        if done < kills:
            time.sleep(rng.uniform(0, 0.15))
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode == 0:
            return done
        assert process.exitcode == -signal.SIGKILL
        done += 1


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, shared_cache, kills):
    cfg = small_run(epochs=kills + 2, select="val")
    whole = start(do_run, cfg.to_dict(), tmp_path / "whole", shared_cache, 1e9)
    whole.join()
    assert whole.exitcode == 0
    assert kill_and_go_on(cfg, tmp_path / "killed", shared_cache, kills, random.Random(kills)) == kills
    (metrics, weights), (again, weights_again) = (outcome(tmp_path / name) for name in ("whole", "killed"))
    assert metrics == again
    assert weights.keys() == weights_again.keys()
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    assert not list(tmp_path.glob("*/checkpoints/*/last/training*"))


class Stop(Exception):
    """Stands for an interruption."""


def interrupted(cfg, ledger, monkeypatch, after):
    """Do a run that stops when the state has been kept `after` times; every step is kept."""
    kept, save = [], Keeper.save

    def counting(self, *state):
        save(self, *state)
        kept.append(state[2])
        if len(kept) == after:
            raise Stop

    monkeypatch.setattr(keepers, "EVERY", 0.0)
    monkeypatch.setattr(Keeper, "save", counting)
    with pytest.raises(Stop):
        run(cfg, ledger)
    monkeypatch.setattr(Keeper, "save", save)
    return kept


@pytest.mark.parametrize(
    "train",
    [{}, {"accumulate": 2, "precision": "bf16"}, {"drop_events": 0.5, "workers": 1}, {"rotate": 20, "zoom": 0.2}],
)
def test_every_part_of_the_state_is_taken_up(tmp_path, monkeypatch, train):
    cfg = small_run(epochs=2, **train)
    whole = run(cfg, tmp_path / "whole" / "results.jsonl")
    kept = interrupted(cfg, tmp_path / "cut" / "results.jsonl", monkeypatch, after=2)
    assert kept[-1]["batch"] or kept[-1]["records"]  # in the middle of an epoch, or at the end of one
    again = run(cfg, tmp_path / "cut" / "results.jsonl")
    assert again["metrics"] == whole["metrics"]
    weights, weights_again = (weights_of(tmp_path / name) for name in ("whole", "cut"))
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


def test_the_records_before_an_interruption_come_again(tmp_path, monkeypatch):
    cfg = small_run(epochs=2)
    expected = list(Experiment(cfg).fit())
    experiment = Experiment(cfg)
    stopped = experiment.fit(keeper=experiment.keeper(tmp_path))
    assert next(stopped) == expected[0]
    stopped.close()
    experiment = Experiment(cfg)
    keeper = Keeper(tmp_path, json.loads((tmp_path / "last" / "checkpoint.json").read_text()), writes=False)
    assert keeper.load() is not None
    assert list(experiment.fit(keeper=keeper)) == expected


def test_another_config_is_refused_and_the_fields_are_named(tmp_path, monkeypatch):
    cfg = small_run(epochs=2)
    interrupted(cfg, tmp_path / "results.jsonl", monkeypatch, after=1)
    folder = tmp_path / "checkpoints" / run_id(cfg)
    other = small_run(epochs=3, batch_size=5)
    with pytest.raises(
        ValueError, match=r"train\.batch_size is 4 in the checkpoint and 5 here; train\.epochs is 2 .* and 3 here"
    ):
        run(other, tmp_path / "results.jsonl", resume=folder)
    assert run(small_run(epochs=2, workers=1), tmp_path / "results.jsonl", resume=folder)["metrics"]["n"]
    model = cfg.to_dict()["model"] | {"event_prompts": 5}
    asked = Run.from_dict(cfg.to_dict() | {"model": model})
    with pytest.raises(ValueError, match=r"model\.event_prompts is 4 in the checkpoint and 5 here"):
        load_checkpoint(folder / "last", run=asked)
    assert load_checkpoint(folder / "last", run=cfg)[2]["metrics"]


def test_one_run_is_not_trained_twice_at_once(tmp_path):
    first = Keeper(tmp_path, {})
    with pytest.raises(RuntimeError, match="another process trains this run"):
        Keeper(tmp_path, {})
    first.close()
    Keeper(tmp_path, {}).close()


@pytest.mark.parametrize("name", ["notes.txt", ".env", "sub/.env", "last/.env", "best/model.safetensors", "last/x/y"])
def test_a_folder_with_anything_else_in_it_is_refused_and_nothing_of_it_is_lost(tmp_path, name):
    folder = tmp_path / "mine"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("precious")
    with pytest.raises(ValueError, match=r"mine holds .*, which is of no checkpoint; .* name a folder that is empty"):
        run(small_run(), tmp_path / "results.jsonl", resume=folder)
    assert (folder / name).read_text() == "precious"
    assert not (tmp_path / "results.jsonl").exists()


def test_only_files_that_a_keeper_wrote_are_removed(tmp_path):
    keeper = Keeper(tmp_path / "run", {"versions": {}, "run": {}})
    keeper.save({"w": torch.zeros(1)}, {"m": torch.zeros(1)}, {"step": 1})
    keeper.save_best({"w": torch.zeros(1)}, {})
    kept = [tmp_path / "run" / name for name in ("notes.txt", "last/.env", "best/model.safetensors")]
    for path in kept:  # laid there while the run goes on
        path.write_text("precious")
    keeper.save({"w": torch.ones(1)}, {"m": torch.ones(1)}, {"step": 2})
    keeper.remove()
    assert sorted(path for path in (tmp_path / "run").rglob("*") if path.is_file()) == sorted(kept)
    for path in kept:
        path.unlink()
    (tmp_path / "run/last").rmdir()
    (tmp_path / "run/best").rmdir()
    Keeper(tmp_path / "run", {}).remove()
    assert not (tmp_path / "run").exists()


def test_damage_is_told_and_half_written_files_go(tmp_path, monkeypatch):
    cfg, ledger = small_run(epochs=2), tmp_path / "results.jsonl"
    interrupted(cfg, ledger, monkeypatch, after=1)
    last = tmp_path / "checkpoints" / run_id(cfg) / "last"
    (last / f".weights-{'0' * 16}-{'0' * 32}.safetensors").write_bytes(b"half")
    (training,) = last.glob("training-*")
    training.write_bytes(training.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=r"training-\w+\.safetensors is damaged or of another checkpoint"):
        run(cfg, ledger)
    assert not list(last.glob(".*")) and not ledger.exists()
    run(cfg, ledger, resume=False)
    assert len(read_results(ledger)) == 1


def test_other_versions_warn(tmp_path):
    known = {"run": {}, "versions": {"torch": "1"}}
    keeper = Keeper(tmp_path, known)
    keeper.save({"w": torch.zeros(1)}, {}, {"step": 1})
    keeper.known = known | {"versions": {"torch": "2"}}
    with pytest.warns(UserWarning, match="torch is '1' in the checkpoint and '2' here"):
        assert keeper.load()[2] == {"step": 1}


def test_weights_that_are_not_finite_leave_the_last_good_state(tmp_path):
    keeper = Keeper(tmp_path, {"versions": {}, "run": {}})
    keeper.save({"w": torch.zeros(1)}, {}, {"step": 1})
    with pytest.raises(FloatingPointError, match="1 weights are not finite after step 2, the first is w; the last"):
        keeper.save({"w": torch.tensor([float("nan")])}, {}, {"step": 2})
    assert keeper.load()[2] == {"step": 1}


def test_the_folder_of_a_run_points_to_its_checkpoint(tmp_path):
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "checkpoint.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"it is the folder of a run, whose checkpoint is .*last"):
        load_checkpoint(tmp_path)
