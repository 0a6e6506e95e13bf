import numpy as np
import pytest

from eclip_lib import cache
from eclip_lib.cache import atomic_path, cache_path, cached_array, content_key, parallel_map


def test_computes_once():
    calls = []
    for _ in range(3):
        array = cached_array("kind", {"a": 1}, lambda: calls.append(1) or np.arange(5))
    assert len(calls) == 1
    assert np.array_equal(array, np.arange(5))


def test_keys_tell_contents_apart():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert len({content_key(value) for value in ({"a": 1}, {"a": 2}, [1], "1", b"1")}) == 5


def test_a_damaged_file_is_computed_again():
    cached_array("kind", "key", lambda: np.arange(1000))
    path = cache_path("kind", "key", ".npy")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.warns(UserWarning, match="computed again"):
        assert len(cached_array("kind", "key", lambda: np.arange(1000))) == 1000


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_an_interrupt_leaves_no_file(tmp_path, stop):
    def fail():
        raise stop

    with pytest.raises(stop):
        cached_array("kind", "key", fail)
    with pytest.raises(stop), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise stop
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_atomic_path_keeps_the_old_file_until_the_new_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_parallel_map_keeps_order_and_passes_errors_on():
    assert parallel_map(lambda i: i * i, range(200), "squares") == [i * i for i in range(200)]
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda i: 1 / (i - 3), range(10), "fails")


def test_the_cache_is_private_here(tmp_path):
    assert tmp_path / "cache" == cache.CACHE
