"""Locks: one holder at a time, freed by whatever ends it, and told apart from what is no lock at all."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import Timeout

from eclip_lib import locks
from eclip_lib.ledger import append_row
from eclip_lib.locks import free, hold
from eclip_lib.paths import ROOT
from eclip_lib.training.keeper import Keeper

HOLDER = "import sys; from eclip_lib.locks import hold; held = hold(sys.argv[1]); print('held', flush=True); input()"


def test_a_killed_holder_holds_nothing(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a.lock")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Timeout):
            hold(tmp_path / "a.lock", wait=False)
        other.kill()
    hold(tmp_path / "a.lock", wait=False).release()


def test_whoever_waits_for_a_file_that_is_taken_away_is_still_alone(tmp_path):
    """Each frees the lock with its file, so that all others hold or make a new one."""
    count = tmp_path / "count"
    count.write_text("0")

    def add(_):
        lock = hold(tmp_path / "a.lock")
        count.write_text(str(int(count.read_text()) + 1))
        free(lock)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(100)))
    assert count.read_text() == "100"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


@pytest.fixture
def no_flock(monkeypatch):
    """A file system without locks, as some network ones are."""

    def refuse(_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("filelock._unix.lock_fd_nonblocking", refuse)


def test_a_file_system_without_locks_is_no_other_process(tmp_path, no_flock):
    (tmp_path / "results.jsonl").write_text("{}\n")
    for use in (lambda: Keeper(tmp_path / "run", {}), lambda: append_row({"run_id": "a"}, tmp_path / "results.jsonl")):
        with pytest.raises(OSError, match=r"lock cannot be locked \(No locks available\): .*has no locks"):
            use()
    assert (tmp_path / "results.jsonl").read_text() == "{}\n"


def test_a_folder_that_cannot_be_written_is_no_other_process(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(locks.FileLock, "_acquire", refuse)
    with pytest.raises(OSError, match=r"a.lock cannot be locked \(Permission denied\): its folder cannot be written"):
        hold(tmp_path / "a.lock", wait=False)
