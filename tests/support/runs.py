"""What the tests of resuming and of several processes share: one small run, done in processes of their own."""

import os
from multiprocessing import get_context
from pathlib import Path

from eclip_lib.config import Run
from eclip_lib.experiments import presets


def small_run(**train) -> Run:
    """Return a run of seconds: 5 classes, 2 shots, hence 10 recordings in 3 batches an epoch."""
    base = presets.smoke(presets.quickstart_run()).to_dict()
    return Run.from_dict(base | {"train": base["train"] | {"epochs": 3, "batch_size": 4} | train})


def do_run(cfg: dict, folder: Path, kept: Path, every: float = 0.0, environment: dict[str, str] | None = None) -> None:
    """Do a run in this process, its ledger in `folder`, its cache in `kept`; its state is kept `every` seconds."""
    os.environ.update(environment or {})
    import torch

    from eclip_lib import cache
    from eclip_lib.experiments.runs import run
    from eclip_lib.training import keeper

    torch.set_num_threads(1)
    cache.CACHE = kept
    keeper.EVERY = every
    run(Run.from_dict(cfg), folder / "results.jsonl")


def start(function, *arguments):
    """Start a function in a clean process, from a server that has the imports done."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["torch", "open_clip", "lightning_fabric", "eclip_lib.experiments.experiment"])
    process = context.Process(target=function, args=arguments)
    process.start()
    return process
