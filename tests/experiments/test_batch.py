"""Batches: no cell is lost or counted twice, whoever is killed and whatever fails."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread

import nbformat
import pytest
from click.testing import CliRunner
from distributed import LocalCluster

from eclip_lib import __version__
from eclip_lib.cli.program import main
from eclip_lib.experiments import batch
from eclip_lib.experiments.batch import cells as batch_cells
from eclip_lib.experiments.batch import execution
from eclip_lib.experiments.batch import workers as batch_workers
from eclip_lib.experiments.batch.cells import (
    NOTEBOOK,
    Outcome,
    cell_parameters,
    cell_seconds,
    make_cells,
    set_aside,
    split_done,
)
from eclip_lib.experiments.batch.execution import summary
from eclip_lib.experiments.batch.grid import ablation_base, make_grid, preset_variants
from eclip_lib.experiments.batch.workers import THREADS, open_workers, slurm_cluster
from eclip_lib.experiments.experiment import run_id
from eclip_lib.experiments.notebooks.headless import PARAMETERS_TAG
from eclip_lib.experiments.runs import run
from eclip_lib.ledger import append_row, read_results
from eclip_lib.paths import ROOT
from tests.support.ablation_batch import do_batch, starts, stub_cells

NOTHING = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def workers():
    with open_workers(2) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_preparation(monkeypatch):
    monkeypatch.setattr(execution, "prepare", lambda cells: None)


def rows(folder: Path) -> list[str]:
    return sorted(read_results(folder / "results.jsonl").run_id)


def wait_for(condition, seconds: float = 240):
    """Return what a condition gives once that is true, and fail if it is not in time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found


def alive(process: str | int) -> bool:
    return Path(f"/proc/{process}").exists()


# --- a batch ---


def test_a_killed_worker_costs_its_own_cell_a_second_start_and_nothing_else(tmp_path, workers):
    def kill():
        *_, worker = wait_for(lambda: [start for start in starts(tmp_path) if start[0] == "cell-1"])[0]
        os.kill(int(worker), signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    outcomes = do_batch(tmp_path, ["quick", "slow", "quick", "quick"], workers)
    killer.join()
    assert [one.status for one in outcomes] == ["done"] * 4
    assert rows(tmp_path) == ["cell-0", "cell-1", "cell-2", "cell-3"]
    assert [name for name, *_ in starts(tmp_path)] == ["cell-0", "cell-1", "cell-1", "cell-2", "cell-3"]
    wait_for(lambda: not any(alive(kernel) for _, kernel, _ in starts(tmp_path)), 60)
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_cell_that_fails_keeps_its_notebook_and_the_others_go_on(tmp_path, workers):
    outcomes = do_batch(tmp_path, ["fails", "quick", "full disk"], workers)
    assert [one.status for one in outcomes] == ["failed", "done", "failed"]
    assert rows(tmp_path) == ["cell-1"]
    told = summary(outcomes)
    assert "3 cells: 1 done, 0 there before, 2 failed" in told
    assert "failed: stub, 5-shot, seed 0 (cell-0)\n" in told
    assert "ZeroDivisionError: division by zero" in told
    assert "a row could not be added to" in told and "the ledger is as it was before" in told
    kept = Path(outcomes[0].error.rpartition("traceback: ")[2])
    assert kept.parent == tmp_path / "runs" / "notebooks"
    assert "ZeroDivisionError" in kept.read_text()
    again = do_batch(tmp_path, ["quick", "quick", "quick"], workers)
    assert [one.status for one in again] == ["done", "there", "done"], "what failed is tried again"


def test_a_notebook_that_writes_no_row_is_no_cell_that_is_done(tmp_path, workers):
    (cell,) = stub_cells(tmp_path, ["quick"])
    stray = replace(cell, parameters=cell.parameters | {"run_id": "another"})
    (outcome,) = execution.run_batch([stray], workers)
    assert outcome.status == "failed" and "wrote no row cell-0" in outcome.error


def test_a_batch_may_use_the_workers_of_a_running_scheduler(tmp_path, workers):
    with open_workers(scheduler=workers.client.scheduler.address) as opened:
        assert [one.status for one in do_batch(tmp_path, ["quick"], opened)] == ["done"]


SBATCH = """#!/bin/sh
cp "$1" "$0.$$"
setsid sh "$0.$$" > /dev/null 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
for job; do kill -- "-$job"; done
"""


def test_a_batch_on_a_cluster_has_as_many_jobs_as_it_asked_for_and_a_lost_one_is_replaced(tmp_path, monkeypatch):
    """The commands of SLURM are made up: a job is a process of this machine."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with open_workers(2, job={"cpus": "1", "interface": "lo"}) as opened:
        wait_for(lambda: len(opened.client.nthreads()) == 2)
        processes = opened.client.run(os.getpid)
        outcomes = do_batch(tmp_path, ["quick"] * 4, opened)
        assert {worker for *_, worker in starts(tmp_path)} == set(map(str, processes.values()))
        os.killpg(os.getpgid(min(processes.values())), signal.SIGKILL)
        wait_for(lambda: len(found := set(opened.client.nthreads())) == 2 and found != set(processes))
    assert [one.status for one in outcomes] == ["done"] * 4


def test_a_scheduler_without_workers_is_told(monkeypatch):
    monkeypatch.setattr(batch_workers, "CONNECT", 0.5)
    options = {"host": "127.0.0.1", "silence_logs": batch_workers.LOG, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=0, **options) as cluster,
        pytest.raises(ValueError, match=r"has no worker; `dask worker tcp://127.0.0.1:\d+ --nthreads 1` gives it one"),
        open_workers(scheduler=cluster.scheduler_address),
    ):
        pass


def test_a_scheduler_that_dies_costs_what_it_had_not_done(tmp_path):
    options = {"host": "127.0.0.1", "silence_logs": 50, "dashboard_address": ":0"}
    with LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:

        def end():
            wait_for(lambda: [start for start in starts(tmp_path) if start[0] == "cell-1"])
            cluster.close()

        with open_workers(scheduler=cluster.scheduler_address) as opened:
            ender = Thread(target=end)
            ender.start()
            outcomes = do_batch(tmp_path, ["quick", "slow", "quick"], opened)
            ender.join()
    assert [one.status for one in outcomes] == ["done", "failed", "failed"]
    assert "the scheduler is gone; the same call goes on" in summary(outcomes)


def test_workers_of_a_scheduler_share_the_cores_too(monkeypatch):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    options = {"host": "127.0.0.1", "silence_logs": batch_workers.LOG, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster,
        open_workers(scheduler=cluster.scheduler_address) as opened,
    ):
        (limits,) = opened.client.run(lambda: [os.environ[name] for name in THREADS]).values()
    assert limits == [str(batch_workers.cores())] * len(THREADS), "its nanny had set some of them to 1"


def program(folder: Path, cells: int, workers: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.support.ablation_batch", str(folder), str(cells), str(workers)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_a_killed_batch_leaves_nothing_behind_and_goes_on_where_it_was(tmp_path):
    first = program(tmp_path, 3, 1)
    wait_for(lambda: len(starts(tmp_path)) == 2)
    first.kill()
    first.communicate()
    wait_for(lambda: not any(alive(process) for start in starts(tmp_path) for process in start[1:]), 60)
    before = rows(tmp_path)
    assert "cell-0" in before and len(before) < 3
    told = json.loads(program(tmp_path, 3, 1).communicate(timeout=240)[0])
    assert told == ["there" if f"cell-{seed}" in before else "done" for seed in range(3)]
    assert rows(tmp_path) == ["cell-0", "cell-1", "cell-2"]
    assert sum(name == "cell-0" for name, *_ in starts(tmp_path)) == 1


def test_two_batches_on_one_ledger_share_the_cells(tmp_path, workers):
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(do_batch, tmp_path, ["quick"] * 4, workers) for _ in range(2)]
        told = [[one.status for one in batch.result()] for batch in both]
    assert rows(tmp_path) == [name for name, *_ in starts(tmp_path)] == [f"cell-{seed}" for seed in range(4)]
    assert all(set(pair) == {"done", "there"} for pair in zip(*told, strict=True)), told


# --- cells ---


def test_a_cell_is_the_run_that_the_notebook_makes_of_its_parameters(tmp_path):
    """The notebook's own lines, without the training."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (declared,) = (cell.source for cell in code if PARAMETERS_TAG in cell.metadata.get("tags", []))
    imports, making = code[1].source, code[2].source.partition("trial = ")[0]
    for base, size in ((ablation_base(), "smoke"), (ablation_base("n-mnist", "n-mnist"), "full")):
        for cell in make_cells(make_grid(base, preset_variants(["all"]), [1]), tmp_path / "l.jsonl", size):
            names = dict(cell.parameters)
            exec(f"{declared}\nglobals().update(given)\n{imports}\n{making}", scope := {"given": names})
            assert scope["cfg"] == cell.run
            assert run_id(scope["cfg"]) == cell.run_id
            assert scope["ledger"] == str(tmp_path / "l.jsonl")
            assert scope["keep_weights"] is False and scope["watch"] is False  # both save time or space, no number


def test_a_parameter_that_the_notebook_lacks_is_refused_before_anything_runs(tmp_path):
    stub_cells(tmp_path, [])  # writes a notebook that has other parameters
    grid = make_grid(ablation_base(), preset_variants([]), [0])
    with pytest.raises(ValueError, match=r"stub\.ipynb has no parameter 'dataset'"):
        make_cells(grid, tmp_path / "l.jsonl", notebook=tmp_path / "stub.ipynb")


def cells_with_rows(tmp_path, **facts) -> list:
    """Return two cells, of which the first has a row in a ledger that an older version began."""
    ledger = tmp_path / "results.jsonl"
    cells = make_cells(make_grid(ablation_base(), preset_variants([]), range(2)), ledger)
    older = {"run_id": cells[1].run_id, "experiment": "ablation", "metrics": {}, "provenance": {"seconds": 5.0}}
    append_row(older, ledger)
    known = {"versions": {"eclip": __version__}, "code": batch_cells.code_hash(), "seconds": 10.0} | facts
    row = {"run_id": cells[0].run_id, "experiment": "ablation", "smoke": False, "dataset": "icons25", "metrics": {}}
    append_row(row | {"variant": "full", "provenance": known}, ledger)
    return cells


def test_rows_of_an_older_version_are_kept_and_count_for_nothing(tmp_path):
    cells = cells_with_rows(tmp_path)
    there, todo = split_done(cells)
    assert [one.cell for one in there] == cells[:1] and todo == cells[1:]
    assert len(read_results(tmp_path / "results.jsonl")) == 2


def test_the_estimate_is_the_mean_of_such_cells_or_a_rule(tmp_path):
    cells = cells_with_rows(tmp_path)
    assert cell_seconds(cells) == (10.0 + batch_cells.OVERHEAD, "the mean of 1 such cells in results.jsonl")
    other = make_cells(make_grid(ablation_base(), preset_variants([]), [0]), tmp_path / "none.jsonl")
    seconds, told = cell_seconds(other)
    assert seconds == pytest.approx((6 * (125 + 92 / 3) + 266 / 3) / 50 + batch_cells.OVERHEAD)
    assert "50 recordings/s" in told


def test_rows_by_other_sources_are_told_and_can_be_set_aside(tmp_path):
    cells = cells_with_rows(tmp_path, code="another")
    there, _ = split_done(cells)
    assert batch_cells.other_sources(there) == there
    assert "by other sources of this version: 1 of those there" in summary(there)
    set_aside(there)
    assert rows(tmp_path) == [cells[1].run_id], "the older version's stays"
    assert rows_in(tmp_path / "results-replaced.jsonl") == [cells[0].run_id]
    assert split_done(cells) == ([], cells)
    assert batch_cells.other_sources([Outcome(cells[0], "failed", error="x")]) == []


def test_all_rows_of_a_cell_are_set_aside_however_they_are_written(tmp_path):
    cells = cells_with_rows(tmp_path, code="another")
    ledger = tmp_path / "results.jsonl"
    older, first = ledger.read_text().splitlines()
    turned = json.dumps(dict(reversed(json.loads(first).items())))
    ledger.write_text("\n".join([older, first, turned, "no JSON"]) + "\n")
    set_aside(split_done(cells)[0])
    assert split_done(cells) == ([], cells)
    assert ledger.read_text().splitlines() == [older, "no JSON"]
    assert rows_in(tmp_path / "results-replaced.jsonl") == [cells[0].run_id] * 2


def rows_in(ledger: Path) -> list[str]:
    return [json.loads(line)["run_id"] for line in ledger.read_text().splitlines()]


# --- workers ---


def test_workers_share_the_cores_before_anything_is_loaded(workers, monkeypatch):
    wanted = dict.fromkeys(THREADS, str(max(1, batch_workers.cores() // 2))) | {"OMP_WAIT_POLICY": "PASSIVE"}
    assert workers.client.submit(lambda: {name: os.environ[name] for name in wanted}).result() == wanted
    assert sorted(workers.client.nthreads().values()) == [1, 1]
    assert workers.client.dashboard_link.endswith("/status")
    monkeypatch.setattr(batch_workers, "cores", lambda: 64)
    monkeypatch.setattr(batch_workers.psutil, "virtual_memory", lambda: type("M", (), {"total": 20 * 2**30}))
    assert batch_workers.default_workers(gpus=0) == 10
    assert batch_workers.default_workers(gpus=3) == 3


def test_gpus_are_a_resource_that_a_cell_takes():
    with batch_workers.local_cluster(2, gpus=2) as opened, batch_workers.Client(opened) as client:
        assert batch_workers._gpu(client) == {"GPU": 1}
        devices = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(devices.values()) == ["0", "1"]


def test_a_slurm_job_has_its_cores_its_gpu_and_one_cell_at_a_time():
    options = {
        "cpus": "6",
        "gpus": "1",
        "queue": "short",
        "memory": "12GB",
        "walltime": "01:00:00",
        "account": "events",
    }
    interrupt = signal.getsignal(signal.SIGINT)
    with slurm_cluster(options) as cluster:
        script = cluster.job_script()
    assert signal.getsignal(signal.SIGINT) is interrupt, "dask_jobqueue sets its own"
    for line in ("-p short", "-A events", "--cpus-per-task=6", "--mem=12G", "-t 01:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in script
    assert "export OMP_NUM_THREADS=6\n" in script
    assert "--nthreads 1 " in script and "--nanny" in script and "--resources GPU=1" in script
    assert script.index("OMP_NUM_THREADS") < script.index("distributed.cli.dask_worker")
    with slurm_cluster({}) as cluster:
        assert "GPU" not in cluster.job_script() and "gres" not in cluster.job_script()


@pytest.mark.parametrize(
    ("options", "told"),
    [({"queues": "x"}, "perhaps queue"), ({"cpus": "0"}, "cpus = '0'"), ({"gpus": "a"}, "gpus = 'a'")],
)
def test_an_option_that_no_job_has_is_refused(options, told):
    with pytest.raises(ValueError, match=told):
        slurm_cluster(options)


# --- the command line ---


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["ablate", *arguments])
    assert done.exit_code == 2, done.output
    return done.output


def test_mistakes_are_told_in_a_line_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_workers, "CONNECT", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "g.toml").write_text('[variants.mine]\n"loss.event_txt" = 0.0\n')
    ledger = str(tmp_path / "l.jsonl")
    assert "no preset 'htc'; perhaps htca" in refused("--preset", "htc")
    assert "give --preset (htca, recipes" in refused()
    assert "perhaps loss.event_text" in refused("--grid", str(tmp_path / "g.toml"))
    assert "no scheduler answers at" in refused("--preset", "htca", "--scheduler", NOTHING, "--ledger", ledger)
    assert "no command 'sbatch' here" in refused("--preset", "htca", "--cluster", "slurm", "--ledger", ledger)
    assert "--scheduler has workers of its own" in refused("--preset", "htca", "--scheduler", NOTHING, "--workers", "2")
    assert "add --cluster slurm" in refused("--preset", "htca", "--job", "queue", "x")
    assert not Path(ledger).exists()


def test_a_dry_run_shows_variants_changes_what_is_there_and_how_long_it_takes(tmp_path):
    cells_with_rows(tmp_path)
    options = ["--preset", "prompts", "--seeds", "2", "--workers", "2", "--dry-run", "--cluster", "slurm"]
    done = CliRunner().invoke(main, ["ablate", *options, "--ledger", str(tmp_path / "results.jsonl")])
    assert done.exit_code == 0, done.output
    lines = [[part.strip() for part in line.strip("|").split("|")] for line in done.output.splitlines()]
    assert ["full", "nothing", "2", "1"] in lines
    assert ["handcrafted text", "model.text_prompts = 'handcrafted'", "2", "0"] in lines
    assert "left out: '4 text prompts' is the same as 'full'" in done.output
    cells = sum(int(line[2]) for line in lines if len(line) == 4 and line[2].isdigit())
    told = (
        f"{cells - 1} of {cells} cells to do, about {(10 + batch_cells.OVERHEAD) * (cells - 1) / 2 / 60:.0f} min with 2"
    )
    assert told in done.output
    assert "#SBATCH --cpus-per-task=4" in done.output
    alone = CliRunner().invoke(
        main, ["ablate", *options[:4], *options[6:], "--ledger", str(tmp_path / "results.jsonl")]
    )
    assert "min with 1 worker\n" in alone.output, "a job, whatever cores this machine has"


def test_a_failed_cell_is_the_exit_code(tmp_path, monkeypatch, workers):
    ledger = tmp_path / "results.jsonl"
    monkeypatch.setattr(batch, "make_cells", lambda *_: stub_cells(tmp_path, ["fails"]))
    arguments = ["--preset", "htca", "--seeds", "1", "--scheduler", workers.client.scheduler.address]
    done = CliRunner().invoke(main, ["ablate", *arguments, "--ledger", str(ledger)])
    assert done.exit_code == 1
    assert "failed: stub, 5-shot, seed 0 (cell-0)" in done.output
    assert "1 of 1 cells failed" in done.output


def test_what_a_cell_shares_is_there_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.undo()  # the real preparation, in a cache of its own
    monkeypatch.setattr("eclip_lib.cache.CACHE", tmp_path / "cache")
    cells = make_cells(make_grid(ablation_base(), preset_variants([]), [0]), tmp_path / "l.jsonl", "smoke")
    batch_cells.prepare(cells)
    kept = {kind: len(list((tmp_path / "cache" / kind).rglob("*.npy"))) for kind in ("frames", "image_features")}
    assert kept == {"frames": 3, "image_features": 2}
    monkeypatch.setattr("eclip_lib.camera.SaccadeCamera.record", None)  # nothing is recorded anew
    assert run(cells[0].run, tmp_path / "other.jsonl")["run_id"] == cells[0].run_id


def test_parameters_name_what_the_notebook_has_and_override_the_rest():
    (paper,) = make_grid(ablation_base(), {"a": {"model.recipe": "paper", "loss.recipe": "paper"}}, [3]).runs
    given = cell_parameters(paper)
    assert (given["recipe"], given["seed"], given["variant"], given["experiment"]) == ("paper", 3, "a", "ablation")
    assert json.loads(given["overrides"]) == {
        "train.epochs": 6, "train.tower_rate": 2e-4, "frames.events_per_frame": 300
    }  # fmt: skip
    assert given["subset"] == "icons25"
