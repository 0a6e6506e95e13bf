"""Content-keyed files under `runs/cache/`: simulated recordings, frames, frozen features.

A key is any plain value that determines the content; the file name is its hash. Files appear whole or not at all, so an
interrupted run leaves a usable cache and processes may share it.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from tqdm.auto import tqdm

from eclip_lib.paths import RUNS

CACHE = RUNS / "cache"
IN_MEMORY = 2 * 2**30  # bytes of an array that is filled in memory; larger ones lie on the disk from the start
T = TypeVar("T")


def content_key(value: Any) -> str:
    """Return 16 hex digits that name a plain value (what JSON can hold, or bytes)."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def cache_path(kind: str, key: Any, suffix: str) -> Path:
    """Return where the content of `key` lies or will lie, in one of 256 folders of its kind."""
    name = content_key(key)
    return CACHE / kind / name[:2] / f"{name}{suffix}"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; it becomes `path` when the block ends well and vanishes otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105  the one call that is atomic by contract
    finally:
        temporary.unlink(missing_ok=True)


def cached_array(kind: str, key: Any, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the array of `key`, memory-mapped from disk; computed and stored if it is not there or unreadable."""
    path = cache_path(kind, key, ".npy")
    if path.is_file():
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError):
            warnings.warn(f"{path} is unreadable and is computed again", stacklevel=2)
    array = compute()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return array


def scratch_array(rows: int, width: int) -> np.ndarray:
    """Return bytes to fill, (rows, width): in memory, or if they are many in a file that is removed with them."""
    if rows * width <= IN_MEMORY:
        return np.empty((rows, width), np.uint8)
    CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=CACHE) as file:
        return np.memmap(file, np.uint8, "w+", shape=(rows, width))


def parallel_map(function: Callable[[int], T], items: Iterable[int], label: str | None) -> list[T]:
    """Apply a function to items in order; one thread a core, so it should release the interpreter's lock.

    A progress bar under `label` appears when it takes more than a second or two; None shows none.
    """
    items = list(items)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in tqdm(futures, desc=label, disable=label is None, delay=2)]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)  # an interrupt does not wait for the whole queue
            raise
