"""Locks between processes and threads: one file each, held until it is freed or its process ends, however that ends."""

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

POLL = 0.01  # seconds between two tries of one that waits


def hold(path: Path, wait: bool = True) -> FileLock:
    """Hold the lock of a file, which is made if need be; `release` frees it, as the end of a `with` does.

    Args:
        path: of the lock; its folder has to be there.
        wait: until another holder has freed it.

    Raises:
        Timeout: there is another holder, and `wait` is False.
        OSError: the lock cannot be had at all; the message says why.
    """
    lock = FileLock(path, blocking=wait, thread_local=False, poll_interval=POLL)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        why = "its folder cannot be written, or its file system has no locks"
        raise OSError(error.errno, f"{path} cannot be locked ({error.strerror}): {why}") from error
    return lock


def free(lock: FileLock) -> None:
    """Free a lock and take its file away; who waits for it makes another."""
    with suppress(PermissionError):  # Windows removes the file itself, once it is free
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
