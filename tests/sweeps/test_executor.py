"""Sweeps on the processes of executors are the sweep of one process."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import xarray

import qbjax as qb

GRID = {"N": [1, 2, 5], "F": [0.3, 1.0], "gamma_C": [0.1, 1.0]}
MODEL = functools.partial(qb.StarBattery, kappa=0.1)


def coherence(model, steady):
    """An observable of the user's own."""
    return abs(steady.battery[0, 1])


WANTED = ("energy", qb.grad_of("energy", "F"), coherence)


def spawned(workers=2):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def slow(model, steady):
    """An observable that marks the process that computes it, and takes long in it."""
    mark = os.environ.get("QBJAX_TEST_MARK")
    if mark and multiprocessing.parent_process() is not None:
        with open(mark, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(600)
    return steady.energy


def kill_whoever_is_in(mark):
    while not (mark.exists() and mark.read_text().strip()):
        time.sleep(0.1)
    os.kill(int(mark.read_text().split()[0]), signal.SIGKILL)


@pytest.fixture(scope="module")
def alone():
    return qb.sweep(MODEL, GRID, WANTED, progress=False)


def test_a_spawned_pool_computes_the_same(alone, tmp_path):
    with spawned() as pool:
        found = qb.sweep(MODEL, GRID, WANTED, executor=pool, chunk_size=4, progress=False)
        xarray.testing.assert_equal(found, alone)
        store = tmp_path / "a.zarr"
        kept = qb.sweep(MODEL, GRID, WANTED, executor=pool, store=store, progress=False)
        xarray.testing.assert_equal(kept.load(), alone)
    # Nothing is left to do, and no worker is asked.
    again = qb.sweep(MODEL, GRID, WANTED, executor=pool, store=store, progress=False)
    xarray.testing.assert_equal(again.load(), alone)


def test_a_worker_that_dies_leaves_a_store_that_goes_on(tmp_path, monkeypatch):
    mark, store = tmp_path / "mark", tmp_path / "a.zarr"
    monkeypatch.setenv("QBJAX_TEST_MARK", str(mark))
    grid = {"F": [0.3, 0.5, 1.0]}
    model = functools.partial(qb.StarBattery, 2, kappa=0.1)
    with spawned(1) as pool, ThreadPoolExecutor(1) as watcher:
        killed = watcher.submit(kill_whoever_is_in, mark)
        with pytest.raises(RuntimeError, match="A worker of `executor` died"):
            qb.sweep(model, grid, slow, executor=pool, store=store, progress=False)
        killed.result(timeout=10)
    monkeypatch.delenv("QBJAX_TEST_MARK")
    found = qb.sweep(model, grid, slow, store=store, progress=False)
    assert np.all(np.isfinite(found["slow"]))


def first_one_waits(model, steady):
    """An observable whose first worker waits to be killed, and says who it is."""
    mark = os.environ.get("QBJAX_TEST_MARK")
    if mark and multiprocessing.parent_process() is not None:
        with contextlib.suppress(FileExistsError), open(mark, "x") as file:
            file.write(f"{os.getpid()}\n")
            file.flush()
            time.sleep(600)
    return steady.energy


def test_dask_takes_up_what_a_killed_worker_was_at(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    mark = tmp_path / "mark"
    monkeypatch.setenv("QBJAX_TEST_MARK", str(mark))
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client, ThreadPoolExecutor(1) as watcher:
        killed = watcher.submit(kill_whoever_is_in, mark)
        found = qb.sweep(
            MODEL,
            GRID,
            first_one_waits,
            executor=client.get_executor(),
            store=tmp_path / "a.zarr",
            chunk_size=2,
            progress=False,
        )
        killed.result(timeout=10)
    monkeypatch.delenv("QBJAX_TEST_MARK")
    energy = qb.sweep(MODEL, GRID, "energy", progress=False).energy
    np.testing.assert_array_equal(found.first_one_waits, energy)


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (3, "a concurrent.futures.Executor of processes, but is int"),
        (ThreadPoolExecutor(1), "of processes, but is ThreadPoolExecutor"),
        (
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")),
            'get_context."spawn"., but is one that forks',
        ),
    ],
    ids=["a number", "threads", "forks"],
)
def test_what_is_no_executor_of_processes_is_refused(executor, message):
    with pytest.raises(qb.ArgumentError, match=f"`executor` must be .*{message}"):
        qb.sweep(MODEL, GRID, executor=executor, progress=False)


def test_what_no_worker_can_be_sent_is_said(monkeypatch):
    def hidden(F, gamma_C):
        return qb.StarBattery(2, F, gamma_C=gamma_C)

    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    grid = {"F": [0.3], "gamma_C": [0.1]}
    with spawned(1) as pool, pytest.raises(qb.ArgumentError, match="that pickle takes"):
        qb.sweep(hidden, grid, executor=pool, progress=False)
