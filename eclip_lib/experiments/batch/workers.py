"""Where a batch runs: workers of this machine, those of a running scheduler, or jobs of a SLURM cluster.

options of the command line -> a Dask client, and what a cell asks of its worker.
"""

import difflib
import logging
import os
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
from distributed import Client, Nanny, Scheduler, SpecCluster, Worker

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
CELL_BYTES = 2 * 2**30  # of memory that a cell may need: a kernel with PyTorch and a small data set
LOG = logging.WARNING
DASHBOARD = "127.0.0.1:8787"
CONNECT = 10  # seconds to wait for the answer of a scheduler
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
JOB = {"cpus": "4", "gpus": "0", "memory": "8GB", "walltime": "04:00:00"}  # of one worker, unless options say else
JOB_TEXTS = ("queue", "account", "interface", "log_directory", "job_name", "python")  # handed on as they are


@dataclass(frozen=True)
class Workers:
    """A client of the scheduler, and the resources that each cell takes of its worker."""

    client: Client
    resources: dict[str, int] = field(default_factory=dict)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0))


def default_workers(gpus: int) -> int:
    """Return one worker for each GPU; without, one for each core, as far as the memory goes."""
    return gpus or max(1, min(cores(), psutil.virtual_memory().total // CELL_BYTES))


def count_gpus() -> int:
    """Return the CUDA devices of this machine."""
    import torch

    return torch.cuda.device_count()


def thread_environment(threads: int) -> dict[str, str]:
    """Return the variables that keep a cell to some threads; libraries read them once, when they are loaded.

    Threads that wait are put to sleep: on cores that others use too, threads that spin make training 20 times slower.
    """
    return dict.fromkeys(THREADS, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


@contextmanager
def open_workers(
    workers: int | None = None, scheduler: str | None = None, job: Mapping[str, str] | None = None
) -> Iterator[Workers]:
    """Give the workers of a batch, and end those that were started for it.

    Each runs as many cells at a time as it has threads, one where it is started here. The cores of a machine are shared
    out among its workers, so that they do not fight for them; a GPU is a resource that one cell takes.

    Args:
        workers: how many, of this machine or of a SLURM cluster; None takes what fits.
        scheduler: address of a running scheduler, such as "tcp://127.0.0.1:8786". Its workers see the same project and
            were started by `dask worker ADDRESS --nthreads 1`, with a GPU `--resources GPU=1` besides.
        job: options of a SLURM job (see `slurm_cluster`), for a batch on such a cluster.

    Raises:
        ValueError: no scheduler answers at the address, it has no workers, or there is no SLURM here.
    """
    if scheduler is not None:
        with _connect(scheduler) as client:
            _share_cores(client)
            yield Workers(client, _gpu(client))
        return
    if job is None:
        cluster = local_cluster(workers, count_gpus())
    elif shutil.which("sbatch") is None:
        raise ValueError("there is no command 'sbatch' here; start a batch on a SLURM cluster from its login node")
    else:
        cluster = slurm_cluster(job)
        jobs = workers or 1
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # a job that reaches its walltime is followed by another
    with cluster, Client(cluster) as client:
        yield Workers(client, {"GPU": 1} if int((job or {}).get("gpus", 0)) else _gpu(client))


@contextmanager
def _any_port() -> Iterator[None]:
    """Take another port for the dashboard without a word where Dask's own is taken; it is shown anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port 8787 is already in use")
        yield


@_any_port()
def local_cluster(workers: int | None, gpus: int) -> SpecCluster:
    """Start workers on this machine, each a process with its share of the cores, and of the GPUs if there are any."""
    count = workers or default_workers(gpus)
    share = thread_environment(max(1, cores() // count))

    def worker(place: int) -> dict:
        own = {"CUDA_VISIBLE_DEVICES": str(place % gpus)} if gpus else {}
        options = {"nthreads": 1, "env": share | own, "resources": {"GPU": 1} if gpus else {}, "memory_limit": 0}
        return {"cls": Nanny, "options": {"host": "127.0.0.1", "silence_logs": LOG, **options}}

    return SpecCluster(
        workers={place: worker(place) for place in range(count)},
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": DASHBOARD}},
        silence_logs=LOG,
    )


@_any_port()
def slurm_cluster(job: Mapping[str, str]) -> "SLURMCluster":
    """Make a cluster whose workers are SLURM jobs; none is submitted yet. `job_script()` of it shows what would be.

    Args:
        job: cpus and gpus (0 or 1) of one worker, memory, walltime, queue (the partition), account, interface,
            log_directory, job_name, python. What is left out is read from Dask's own `jobqueue.yaml`, if it is there.

    Raises:
        ValueError: an option is unknown or not a number where it should be.
    """
    interrupt = signal.getsignal(signal.SIGINT)
    from dask_jobqueue import SLURMCluster  # not above: it makes an interrupt end the program without a word

    signal.signal(signal.SIGINT, interrupt)
    known = (*JOB, *JOB_TEXTS)
    for name in job:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or known
            raise ValueError(f"a SLURM job has no option {name!r}; perhaps {', '.join(near)}")
    job = JOB | dict(job)
    cpus, gpus = (_whole(name, job[name], least) for name, least in (("cpus", 1), ("gpus", 0)))
    texts: dict[str, Any] = {name: job[name] for name in JOB_TEXTS if name in job}
    return SLURMCluster(
        cores=1,  # cells at a time
        processes=1,
        job_cpu=cpus,
        memory=job["memory"],
        walltime=job["walltime"],
        job_script_prologue=[f"export {name}={value}" for name, value in thread_environment(cpus).items()],
        job_extra_directives=["--gres=gpu:1"] if gpus else [],
        worker_extra_args=["--resources", "GPU=1"] if gpus else [],
        **texts,
    )


def _whole(name: str, text: str, least: int) -> int:
    if not text.isdigit() or int(text) < least:
        raise ValueError(f"option {name} = {text!r} of a SLURM job: expected a whole number from {least} on")
    return int(text)


def _connect(address: str) -> Client:
    try:
        client = Client(address, timeout=CONNECT)
    except (OSError, ValueError) as error:  # nobody there in time, or no address at all
        raise ValueError(
            f"no scheduler answers at {address!r} ({type(error).__name__}); `dask scheduler` starts one and shows its "
            "address, `dask worker ADDRESS --nthreads 1` gives it a worker"
        ) from error
    try:
        client.wait_for_workers(1, timeout=CONNECT)
    except TimeoutError as error:
        client.close()
        raise ValueError(
            f"the scheduler at {address!r} has no worker; `dask worker {address} --nthreads 1` gives it one"
        ) from error
    return client


def _share_cores(client: Client) -> None:
    """Give the cells of each worker their share of the cores of its machine, if no other scheduler has workers there.

    Workers that join later are as they were started.
    """
    hosts = Counter(worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())
    client.run(_keep_to_share, dict(hosts))


def _keep_to_share(hosts: Mapping[str, int], dask_worker: Worker) -> None:
    cells = hosts.get(urlsplit(dask_worker.address).hostname or "", 1) * dask_worker.state.nthreads
    os.environ.update(thread_environment(max(1, cores() // cells)))  # kernels inherit it


def _gpu(client: Client) -> dict[str, int]:
    """Return the GPU that each cell takes, where workers have them."""
    offered = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    return {"GPU": 1} if any(one.get("GPU") for one in offered) else {}
