"""Whole runs on a GPU: they end, agree with the CPU's, go on after an interruption, in each precision."""

import pytest
import torch

from eclip_lib.experiments import Experiment, run
from eclip_lib.ledger import read_results
from tests.support.runs import small_run

pytestmark = pytest.mark.gpu


def test_a_run_ends_near_that_of_the_cpu(tmp_path):
    rows = {device: run(small_run(device=device), tmp_path / device / "results.jsonl") for device in ("cpu", "cuda")}
    assert rows["cuda"]["provenance"]["device"] != rows["cpu"]["provenance"]["device"]
    assert rows["cuda"]["losses"] == pytest.approx(rows["cpu"]["losses"], rel=0.05)
    assert rows["cuda"]["metrics"]["top1"] == pytest.approx(rows["cpu"]["metrics"]["top1"], abs=0.1)


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_mixed_precision_trains(tmp_path, precision):
    records = list(Experiment(small_run(device="cuda", precision=precision, epochs=4)).fit())
    losses = [record["loss"] for record in records]
    assert all(loss == loss for loss in losses) and losses[-1] < losses[0]


def test_auto_takes_the_gpu(tmp_path):
    assert Experiment(small_run(device="auto")).fabric.device.type == "cuda"


@pytest.mark.parametrize("method", ["clip-zero-shot", "linear-probe"])
def test_rivals_run_there_too(tmp_path, method):
    cfg = small_run(device="cuda").to_dict() | {"method": method}
    if method == "clip-zero-shot":
        cfg["data"] |= {"protocol": "zero-shot", "shots": None}
    row = run(type(small_run()).from_dict(cfg), tmp_path / "results.jsonl")
    assert 0 <= row["metrics"]["top1"] <= 1
    assert len(read_results(tmp_path / "results.jsonl")) == 1


def test_a_stopped_run_goes_on_there(tmp_path):
    cfg = small_run(device="cuda", epochs=3)
    whole = list(Experiment(cfg).fit())
    trial = Experiment(cfg)
    stopped = trial.fit(keeper=(keeper := trial.keeper(tmp_path)))
    assert next(stopped)["loss"] == pytest.approx(whole[0]["loss"], rel=1e-3)
    stopped.close()
    keeper.close()
    trial = Experiment(cfg)
    again = list(trial.fit(keeper=trial.keeper(tmp_path)))
    assert [record["epoch"] for record in again] == [1, 2, 3]
    assert again[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=0.02)


def test_memory_of_the_gpu_is_given_back(tmp_path):
    list(Experiment(small_run(device="cuda", epochs=1)).fit())
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() < 2**30
