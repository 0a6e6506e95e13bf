"""Devices, precision and processes through Lightning Fabric; rows that are shared out and come back in order.

`TrainConfig` -> a launched Fabric; the rows of a batch or a test set -> those of one process, and all again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal

import torch
from jaxtyping import Int64
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor
from torch.distributed import is_torchelastic_launched

from eclip_lib.config import TrainConfig

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PRECISION: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
PATIENCE = timedelta(hours=6)  # that processes wait for the first one, which may have a data set to read


def make_fabric(cfg: TrainConfig) -> Fabric:
    """Return a launched Fabric: one process, or under `torchrun` those that it started.

    Raises:
        ValueError: the device is not there, or cannot compute with the precision.
    """
    accelerator = _accelerator(cfg)
    precision = PRECISION[cfg.precision]
    if is_torchelastic_launched():
        strategy = DDPStrategy(
            process_group_backend="nccl" if accelerator == "cuda" else "gloo",
            timeout=PATIENCE,
            find_unused_parameters=True,  # an ablation leaves some without a gradient
            broadcast_buffers=False,  # none of them changes
        )
        local, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=local, num_nodes=nodes, precision=precision)
    else:
        own = LightningEnvironment()  # whatever a scheduler has set
        fabric = Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=[own])
    fabric.launch()
    return fabric


def _accelerator(cfg: TrainConfig) -> str:
    """Return "cpu" or "cuda"."""
    found = torch.cuda.is_available()
    if cfg.device == "cuda" and not found:
        raise ValueError("TrainConfig.device = 'cuda', but there is no CUDA device; use 'cpu', or 'auto' for either")
    accelerator = "cuda" if found and cfg.device != "cpu" else "cpu"
    if accelerator == "cpu" and cfg.precision == "16":
        raise ValueError("TrainConfig.precision = '16' needs a CUDA device; on a CPU use '32' or 'bf16'")
    return accelerator


def device_name(fabric: Fabric) -> str:
    """Describe what computes, for the ledger: "cpu", "2 x cpu", "cuda (name of the card)"."""
    name = fabric.device.type
    if name == "cuda":
        name += f" ({torch.cuda.get_device_name(fabric.device)})"
    return name if fabric.world_size == 1 else f"{fabric.world_size} x {name}"


@contextmanager
def first_alone(fabric: Fabric) -> Iterator[None]:
    """Let the first process of each node do the block, which fills a cache, before the others do."""
    with fabric.rank_zero_first(local=True):
        yield


def own_rows(rows: Int64[Tensor, " N"], fabric: Fabric) -> Int64[Tensor, " n"]:
    """Return this process's part of some rows, of the same length on all.

    What is missing in the last parts is filled up with rows from the front; `gather_rows` takes those out again.
    """
    size = -(-len(rows) // fabric.world_size)
    places = torch.arange(size * fabric.global_rank, size * (fabric.global_rank + 1)) % len(rows)
    return rows[places]


def gather_rows(own: Tensor, count: int, fabric: Fabric) -> Tensor:
    """Join the parts of all processes in the order of `own_rows`, `count` rows; gradients flow back to each part.

    Every process gets the gradient of the sum over the processes' losses. Where all have the same loss, and gradients
    of weights are averaged over the processes, that is the gradient of one process with all rows.

    Args:
        own: (n, ...), this process's part.
        count: N, the rows that there are.
        fabric: of these processes.

    Returns:
        (N, ...) on every process.
    """
    if fabric.world_size == 1:
        return own
    parts = fabric.all_gather(own, sync_grads=own.requires_grad)
    assert isinstance(parts, Tensor)  # a tensor gives a tensor
    return parts.flatten(0, 1)[:count]
