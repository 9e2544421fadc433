"""A store of a sweep: what must be the same for it to go on, and that nothing in it is lost."""

import errno
import functools
import os
import shutil
import threading
import time

import numpy as np
import pytest

import qbjax as qb
from qbjax.model.batching import enable_x64
from qbjax.sweeps import store

ONE, RATES = functools.partial(qb.StarBattery, 2), {"F": [0.4, 0.5, 0.6, 0.7, 0.8]}


def sweep(path=None, build=ONE, **more):
    return qb.sweep(build, RATES, ("energy", "ergotropy"), store=path, progress=False, **more)


def check_same(data, whole):
    for name in whole.data_vars:
        np.testing.assert_array_equal(data[name], whole[name], err_msg=str(name))


def test_the_last_chunk_of_a_sweep_may_be_short():
    check_same(sweep(chunk_size=3), sweep())


def test_a_chunk_whose_writing_failed_is_computed_again(tmp_path, monkeypatch):
    import zarr

    write, whole = zarr.Array.__setitem__, sweep()
    names = []

    def fails(array, where, values):
        names.append(array.basename)
        if len(names) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(array, where, values)

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Array, "__setitem__", fails)
        with pytest.raises(OSError, match="make room"):
            sweep(tmp_path / "s.zarr", chunk_size=5)
    # What failed is the first write after the store was made.
    assert "done" not in names
    check_same(sweep(tmp_path / "s.zarr"), whole)


def test_precision_belongs_to_a_sweep(tmp_path):
    with enable_x64(False):
        sweep(tmp_path / "s.zarr")
    with pytest.raises(qb.ArgumentError, match="precision is single, not double"):
        sweep(tmp_path / "s.zarr")


def from_outside(F):
    return qb.StarBattery(2, F, gamma_C=float(os.environ["QBJAX_TEST_RATE"]))


def test_models_that_a_function_makes_otherwise_belong_to_a_sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("QBJAX_TEST_RATE", "0.5")
    sweep(tmp_path / "s.zarr", from_outside)
    monkeypatch.setenv("QBJAX_TEST_RATE", "0.6")
    with pytest.raises(qb.ArgumentError, match="model at the ends"):
        sweep(tmp_path / "s.zarr", from_outside)


def test_two_that_start_the_same_fresh_store_at_once_lose_nothing(tmp_path, monkeypatch):
    path, whole, fill = tmp_path / "s.zarr", sweep(), store._fill
    both, results = threading.Barrier(2, timeout=60), []

    def together(*given):
        fill(*given)
        # Each has made a store of its own, before either is moved to its place.
        both.wait()

    monkeypatch.setattr(store, "_fill", together)
    threads = [
        threading.Thread(target=lambda: results.append(sweep(path, chunk_size=2).load()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for data in results:
        check_same(data, whole)
    assert os.listdir(tmp_path) == ["s.zarr"]


def test_only_old_litter_beside_a_store_is_removed(tmp_path):
    """What is young may belong to a process that lives."""
    for name, days in (("old", 3), ("young", 0.5)):
        for what in ("making", "discarded"):
            litter = tmp_path / f"s.zarr.{name}.{what}"
            litter.mkdir()
            then = time.time() - 86400 * days
            os.utime(litter, (then, then))
    sweep(tmp_path / "s.zarr")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"s.zarr", "s.zarr.young.making", "s.zarr.young.discarded"}


def test_a_store_that_another_sweep_took_is_left_to_it(tmp_path, monkeypatch):
    """A sweep at work says so; what it has computed does not come into the other one."""
    path = tmp_path / "s.zarr"
    write, seen = store.Store.write, []

    def replaced(kept, number, parts):
        seen.append(number)
        if len(seen) == 2:
            monkeypatch.setattr(store.Store, "write", write)
            # By hand, for such a sweep is refused.
            shutil.rmtree(path)
            sweep(path, functools.partial(qb.StarBattery, 3))
        write(kept, number, parts)

    monkeypatch.setattr(store.Store, "write", replaced)
    with pytest.raises(qb.ArgumentError, match="`store` must be left in its place"):
        sweep(path, chunk_size=1)
    fresh = sweep(None, functools.partial(qb.StarBattery, 3))
    again = sweep(path, functools.partial(qb.StarBattery, 3))
    np.testing.assert_array_equal(again.ergotropy, fresh.ergotropy)


def test_a_chunk_that_is_undone_meanwhile_is_computed_again(tmp_path, monkeypatch):
    """As by another sweep, that fails to write it, while this one is at its last chunk."""
    import zarr

    path, write, seen = tmp_path / "s.zarr", store.Store.write, []

    def undoing(kept, number, parts):
        write(kept, number, parts)
        seen.append(number)
        if len(seen) == len(kept.done):
            zarr.open_group(path)["done"][0] = 0

    monkeypatch.setattr(store.Store, "write", undoing)
    check_same(sweep(path, chunk_size=1), sweep())
    assert seen == [*range(len(seen) - 1), 0]


def test_a_link_to_an_empty_directory_is_a_store(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    first = sweep(tmp_path / "link")
    assert store.is_sweep(tmp_path / "real")
    np.testing.assert_array_equal(sweep(tmp_path / "link").energy, first.energy)


def test_times_of_several_calls_add_up(tmp_path):
    path = tmp_path / "s.zarr"
    first = sweep(path, chunk_size=1).attrs["wall_time"]
    (path / "done" / "c" / "1").unlink()
    assert sweep(path, chunk_size=1).attrs["wall_time"] > first
