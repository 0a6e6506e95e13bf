import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from eclip_lib.clip.backbone import load_clip
from eclip_lib.config import LossConfig, ModelConfig, TrainConfig
from eclip_lib.data.inputs import FrameSet
from eclip_lib.ledger import read_results
from eclip_lib.model.eclip import EClip
from eclip_lib.paths import ROOT
from eclip_lib.training.distributed import device_name, gather_rows, make_fabric, own_rows
from eclip_lib.training.objective import BatchLosses
from eclip_lib.training.scoring import shared_scores
from tests.support.runs import do_run, small_run, start

NAMES = ["cat", "dog", "car"]
CASES = {  # of one batch: recipe, changes of the model, of the loss, recordings, which of them have no still
    "workbench": ("workbench", {}, {}, 6, []),
    "paper": ("paper", {}, {}, 6, []),
    "eventbind, an odd batch": ("eventbind", {}, {}, 5, []),
    "fewer recordings than processes": ("workbench", {}, {}, 1, []),
    "no content prompts": ("workbench", {"content_prompts": "none"}, {}, 6, []),
    "parameters without a gradient": ("paper", {}, {"event_text": 0.0, "text_text": 0.0}, 6, []),
    "some without a still": ("workbench", {}, {}, 6, [0, 3]),
    "a process without a still": ("eventbind", {}, {}, 5, [0, 1, 2]),
}


def losses_and_gradients(case, fabric):
    """Return the losses of one batch, and the gradients of all trained weights, with this process's part of it."""
    recipe, model_changes, loss_changes, count, without = CASES[case]
    torch.manual_seed(0)
    model = EClip(ModelConfig(recipe=recipe, event_prompts=2, context_length=2, **model_changes), load_clip())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not name.startswith("event_encoder.visual."):
                parameter += 0.05 * torch.randn_like(parameter)  # gates and last layers off their zero start
    frames, valid = torch.rand(count, 3, 3, 48, 48), torch.ones(count, 3, dtype=torch.bool)
    stills = torch.nn.functional.normalize(torch.randn(count, 128), dim=-1)
    has_still = torch.ones(count, dtype=torch.bool)
    has_still[without] = False
    rows = own_rows(torch.arange(count), fabric)
    batch = frames[rows], valid[rows], (torch.arange(count) % 3)[rows], stills[rows]
    losses = LossConfig(recipe=recipe, **loss_changes)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    module, _ = fabric.setup(BatchLosses(model, NAMES, losses, fabric), optimizer)
    found = module(*batch, has_still if without else None, count)
    fabric.backward(found["total"])
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.item() for name, value in found.items()}, gradients


def every_case(folder, environment):
    """Compute all cases in this process, one of several, and keep what came of them."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    fabric = make_fabric(TrainConfig())
    found = {case: losses_and_gradients(case, fabric) for case in CASES}
    rows = own_rows(torch.arange(5), fabric)
    found["rows"] = rows, gather_rows(rows.float()[:, None], 5, fabric)
    model = EClip(ModelConfig(event_prompts=2, context_length=2), load_clip())
    pixels = np.random.default_rng(0).integers(0, 255, (5, 3, 3, 48, 48)).astype(np.uint8)
    test = FrameSet(pixels, torch.ones(5, 3, dtype=torch.bool), torch.arange(5) % 3)
    found["scores"] = shared_scores(model, test, NAMES, fabric), shared_scores(model, test, NAMES, make_fabric_alone())
    torch.save(found, folder / f"{fabric.global_rank}.pt")


def make_fabric_alone():
    """Return what one process has: all rows, and nothing to gather."""
    from types import SimpleNamespace

    return SimpleNamespace(world_size=1, global_rank=0, device=torch.device("cpu"))


def environments(count=2):
    """Return what torchrun sets, for each of some processes of this machine."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    common |= {"LOCAL_WORLD_SIZE": str(count), "GROUP_WORLD_SIZE": "1", "GROUP_RANK": "0"}
    common |= {"TORCHELASTIC_RUN_ID": "test", "GLOO_SOCKET_IFNAME": "lo"}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def together(function, *arguments):
    """Do a function in two processes that know of each other, and wait for both."""
    processes = [start(function, *arguments, environment) for environment in environments()]
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    together(every_case, folder)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_loss_and_the_gradients_of_one(of_two, case):
    losses, gradients = losses_and_gradients(case, make_fabric(TrainConfig()))
    for found, own in (one[case] for one in of_two):
        assert found == pytest.approx(losses, abs=1e-5)
        assert own.keys() == gradients.keys()
        worst = {name: (own[name] - gradients[name]).abs().max().item() for name in gradients}
        assert max(worst.values()) < 1e-5, max(worst, key=worst.get)


def test_rows_are_shared_out_evenly_and_come_back_in_order(of_two):
    assert [one["rows"][0].tolist() for one in of_two] == [[0, 1, 2], [3, 4, 0]]
    assert all(one["rows"][1].flatten().tolist() == [0, 1, 2, 3, 4] for one in of_two)


def test_scores_are_those_of_one_process(of_two):
    for shared, alone in (one["scores"] for one in of_two):
        for part, whole in zip(shared, alone, strict=True):
            assert part.shape == whole.shape and torch.allclose(part, whole, atol=1e-4)


def test_two_processes_write_one_row_with_every_recording_once(tmp_path):
    cfg = small_run(accumulate=2, select="val")
    together(do_run, cfg.to_dict(), tmp_path / "two", tmp_path / "cache", 1e9)
    start(do_run, cfg.to_dict(), tmp_path / "one", tmp_path / "cache", 1e9).join()
    two, one = (read_results(tmp_path / name / "results.jsonl") for name in ("two", "one"))
    assert len(two) == len(one) == 1
    assert two.n[0] == one.n[0] and two.run_id[0] == one.run_id[0] and two.split_hash[0] == one.split_hash[0]
    assert two.provenance[0]["device"] == "2 x cpu" and one.provenance[0]["device"] == "cpu"
    files = [np.load(tmp_path / name / table.predictions[0]) for name, table in (("two", two), ("one", one))]
    assert files[0]["ids"].tolist() == files[1]["ids"].tolist()
    assert np.allclose(files[0]["scores"], files[1]["scores"], atol=0.05)


@pytest.mark.slow
def test_torchrun_does_a_run(tmp_path):
    code = (
        f"import sys; from pathlib import Path; from tests.support import runs; runs.do_run({small_run().to_dict()!r}, "
    )
    code += f"Path({str(tmp_path)!r}), Path({str(tmp_path / 'cache')!r}), 1e9)"
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run(command, check=True, timeout=300, env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"})
    assert len(read_results(tmp_path / "results.jsonl")) == 1


def test_a_device_or_precision_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device = 'cuda', but there is no CUDA device; use 'cpu', or 'auto'"):
        make_fabric(TrainConfig(device="cuda"))
    with pytest.raises(ValueError, match="precision = '16' needs a CUDA device; on a CPU use '32' or 'bf16'"):
        make_fabric(TrainConfig(precision="16", device="auto"))
    assert device_name(make_fabric(TrainConfig(device="auto"))) == "cpu"
