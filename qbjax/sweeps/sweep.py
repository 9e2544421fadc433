"""The call: from a grid to a labelled dataset."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import Status, require, require_choice
from qbjax.common.printing import is_watched
from qbjax.common.types import ArrayLike
from qbjax.model.star_battery import StarBattery
from qbjax.steady.steady_state import METHODS
from qbjax.sweeps import store as stores
from qbjax.sweeps import workers
from qbjax.sweeps.claims import PATIENCE, Claims
from qbjax.sweeps.grid import Grid
from qbjax.sweeps.job import Job
from qbjax.sweeps.observables import Observable, observable
from qbjax.sweeps.run import Run, status_of
from qbjax.sweeps.store import Memory, Parts, Store

if TYPE_CHECKING:
    from xarray import Dataset

# An observable by its name, from `qbjax.grad_of`, or as a function.
Asked = str | Observable | Callable[..., ArrayLike]

# Bytes of results that are no matter without a store.
_IN_MEMORY = 4e9


def sweep(
    model: Callable[..., StarBattery],
    grid: Mapping[str, ArrayLike | range],
    observables: Asked | Sequence[Asked] = ("energy", "ergotropy"),
    *,
    combine: str = "product",
    method: str = "auto",
    ts: ArrayLike | None = None,
    store: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    chunk_size: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Dataset:
    """Return observables over a grid of parameters, as an `xarray.Dataset`.

    What cannot be trusted is NaN, and `<name>_status` beside every observable says why. N is padded
    to few sizes, so that few programs are compiled. Every local device takes part, and so does
    every process that makes the same call with the same store, at any time and on any machine that
    sees the directory: each computes chunks that no other is at work on, and returns when all are
    done.

    Parameters
    ----------
    model
        `qbjax.StarBattery`, or a function from parameters to a model, such as
        `functools.partial(qbjax.StarBattery, kappa=0.1)`. Over N it must take N_max, the padded
        size, too.
    grid
        Values of parameters by name, one-dimensional: the dimensions of the result, in this order.
    observables
        Names: figures of the steady state ("energy", "ergotropy", "ratio", "relaxation_time",
        "log_relaxation_time"); charging times "tau_<definition>", by the definitions "fit",
        "decay_rate", "settling" and "integral"; the best dephasing rate and its time,
        "gamma_C_star_<definition>" and "tau_star_<definition>", which have no dimension gamma_C
        unless it sets more of the model than its dephasing rate; "tau_maximum_<of>" and
        "max_<of>", when "energy", "ergotropy", "average_power" or "power" is largest up to the last
        of `ts`, and its value.
        Derivatives: `qbjax.grad_of`. Functions of (model, steady state, trajectory) that return a
        number, or an array of the same shape at every padded size of N, by JAX operations (no `if`
        on values); the status is that of what they look at. A model that depends on time has no
        steady state.
    combine
        "product", every combination of values; "zip", the values one by one, along a dimension
        "point".
    method
        Of the steady states: see `qbjax.steady_state`.
    ts
        Times of the trajectories, shape (T,), in 1 / unit of g, for functions that use them and for
        the largest figures on the way; None: no trajectory. Refused where nothing uses them.
    store
        A directory for a Zarr store. A sweep that was interrupted goes on where it was; the store
        of another sweep, also of a larger grid, is refused. Functions are told apart by their
        source and all that they refer to, libraries by name. None keeps everything in memory.
    overwrite
        Discard the sweep that is in the store; refused while a process is at work on it.
    chunk_size
        Points that are computed and kept together, at most; None goes by the memory they need. A
        store that is there keeps its own.
    executor
        Any `concurrent.futures.Executor` of processes computes the chunks: a spawned
        `ProcessPoolExecutor`, `client.get_executor()` of Dask, `MPIPoolExecutor` of mpi4py.
        Each worker compiles once; the store, if there is one, is written here alone. None: this
        process does.
    progress
        Show a bar and say at the end what is missing, in a terminal or a notebook; see
        `qbjax.sweeps.sweep.summary`.

    Returns
    -------
    The dataset: observables with `units` and `long_name`, and what they were made of and with in
    its attributes. With a store its values are read from there when they are used.

    Raises
    ------
    ArgumentError
        Where an argument is not what it must be.
    OSError
        Where the store cannot be written, as on a full disk: what is there is kept.
    RuntimeError
        Where another process of the sweep failed, or a worker of the executor died.

    Examples
    --------
    >>> import functools
    >>> import numpy as np
    >>> import qbjax as qb
    >>> grid = {"N": [2, 4, 8], "gamma_C": np.geomspace(0.1, 10, 3)}
    >>> model = functools.partial(qb.StarBattery, F=0.5)
    >>> dataset = qb.sweep(model, grid, ("ratio", "tau_star_decay_rate"), progress=False)
    >>> print(dict(dataset.sizes), dataset.ratio.sel(N=8, gamma_C=1.0).item().__round__(4))
    {'N': 3, 'gamma_C': 3} 0.8572
    >>> print(dataset.tau_star_decay_rate.values.round(1))
    [   5.2   31.2 3251.1]
    """
    began = time.perf_counter()
    require_choice(combine, "combine", ("product", "zip"))
    require_choice(method, "method", ("auto", *METHODS))
    counted = chunk_size is None or (isinstance(chunk_size, int) and chunk_size >= 1)
    require(counted, "chunk_size", "an integer of at least 1", repr(chunk_size))
    over = Grid(grid, combine == "zip")
    job = Job(model, over, _observables(observables, over), method, _times(ts))
    made_with = job.provenance()
    if executor is not None:
        workers.require_executor(executor)
        alone = jax.process_count() == 1
        require(alone, "executor", "None where several processes share a sweep", "given")
    is_shown = progress and is_watched() and jax.process_index() == 0
    run: Run
    storage: Memory | Store
    if store is None:
        run, storage = _in_memory(job, chunk_size)
    else:
        run, storage = _in_store(job, store, overwrite, chunk_size)
    call = None
    if executor is not None:
        call = workers.pickled(model, over, observables, method, job.ts, run.shape)
    with _together():
        if _finish(run, storage, is_shown, executor, call) or not storage.signed:
            storage.sign(made_with | {"wall_time": time.perf_counter() - began})
    dataset = storage.dataset().set_coords(list(over.values))
    dataset = dataset[
        [name for each in job.observables for name in (each.name, status_of(each.name))]
    ]
    if is_shown:
        print(summary(dataset), file=sys.stderr)
    return dataset


def summary(dataset: Dataset) -> str:
    """Return how many values of a sweep are missing or ambiguous, where, and why.

    Parameters
    ----------
    dataset
        The dataset that `sweep` returned.
    """
    lines, reasons = [], {}
    for name in map(str, dataset.data_vars):
        if status_of(name) not in dataset:
            continue
        codes = dataset[status_of(name)]
        for status in Status:
            there = codes.values == status
            if status is Status.OK or not np.any(there):
                continue
            places = zip(map(str, codes.dims), np.nonzero(np.atleast_1d(there)), strict=False)
            spans = ", ".join(_span(dataset, dim, at) for dim, at in places)
            within = f", within {spans}" if spans else ""
            lines.append(f"{name}: {np.sum(there)} of {codes.size} {status.name}{within}")
            reasons[status] = f"{status.name}: {status.reason}"
    return "\n".join([*lines, *reasons.values()]) or "every value can be trusted"


def _span(dataset: Dataset, dim: str, at: np.ndarray) -> str:
    values = dataset[dim].values[at] if dim in dataset.coords else at
    low, high = np.min(values), np.max(values)
    return f"{dim} = {low:g}" if low == high else f"{dim} = {low:g} ... {high:g}"


def _observables(observables: Asked | Sequence[Asked], grid: Grid) -> tuple[Observable, ...]:
    listed = observables if isinstance(observables, list | tuple) else (observables,)
    require(len(listed) > 0, "observables", "at least one", "none")
    chosen = tuple(observable(each) for each in listed)
    names = [name for each in chosen for name in (each.name, status_of(each.name))]
    taken = {*grid.values, *grid.axes, "done", "chunk"}
    free = len(set(names)) == len(names) and not taken & set(names)
    requirement = "of different names, and others than those of parameters and statuses"
    require(free, "observables", requirement, names[::2])
    return chosen


def _times(ts: ArrayLike | None) -> jax.Array | None:
    if ts is None:
        return None
    times = np.asarray(ts)
    numbers = times.ndim == 1 and times.size > 0 and times.dtype.kind in "iuf"
    require(numbers, "ts", "numbers, of shape (T,)", repr(ts))
    return jnp.asarray(times, float)


def _in_memory(job: Job, chunk_size: int | None) -> tuple[Run, Memory]:
    """Return the run, and where its numbers are kept."""
    alone = jax.process_count() == 1
    require(alone, "store", "given where several processes share a sweep", "None")
    run = Run.of(job, chunk_size)
    requirement = f"given for {run.layout.size / 1e9:.3g} GB of results"
    require(run.layout.size < _IN_MEMORY, "store", requirement, "None")
    run = run if chunk_size else run.fitting()
    return run, Memory(run.layout)


def _in_store(
    job: Job, store: str | os.PathLike[str], overwrite: bool, chunk_size: int | None
) -> tuple[Run, Store]:
    """Return the run, and the store, which process 0 makes; one that is there keeps its chunks."""
    what, made = job.description(), None
    with _together():
        if jax.process_index() == 0:
            path = stores.check_path(store)
            there = stores.which(path)
            idle = not overwrite or not Claims(path).held()
            require(idle, "overwrite", "False while a process is at work on the store", overwrite)
            if overwrite or not stores.is_sweep(path):
                run = Run.of(job, chunk_size)
                made = run if chunk_size else run.fitting()
                stores.prepare(path, made.layout, made.shape, what, there)
    with _together():
        storage = stores.opened(stores.located(store), what)
    if made is None or made.shape != storage.chunk_shape:
        # The store is one that was there, or that of another process that was quicker.
        made = Run(job, storage.chunk_shape)
    return made, storage


def _finish(
    run: Run,
    storage: Memory | Store,
    progress: bool,
    executor: Executor | None,
    call: bytes | None,
) -> bool:
    """Compute the chunks that are not done, with others that do; tell whether there were any."""
    from tqdm.auto import tqdm

    def counted() -> int:
        return sum(map(run.points, np.flatnonzero(storage.done).tolist()))

    numbers = range(len(run.chunks))
    what = f"sweep on {len(jax.devices())} x {jax.devices()[0].device_kind}"
    options: dict[str, PyTree] = {"unit": " points", "disable": not progress}
    computed = False
    with tqdm(total=sum(map(run.points, numbers)), initial=counted(), desc=what, **options) as bar:
        while not np.all(storage.done):
            if executor is not None and call is not None:
                chunks = workers.solved(executor, call, storage.free(), storage.claimed)
            else:
                chunks = _claimed_and_solved(run, storage)
            # Closed, so that no claim is left where writing fails.
            with closing(chunks):
                for number, parts in chunks:
                    storage.write(number, parts)
                    bar.update(run.points(number))
                    computed = True
            if not np.all(storage.done):
                # Others are at work on the rest.
                time.sleep(PATIENCE)
            bar.update(counted() - bar.n)
    return computed


def _claimed_and_solved(
    run: Run, storage: Memory | Store
) -> Generator[tuple[int, Parts], None, None]:
    """Return chunks as this process computes them, each under a claim."""
    for number in storage.free():
        with storage.claimed(number) as ours:
            if ours:
                yield number, run.solve(number)


@contextmanager
def _together() -> Iterator[None]:
    """Do something and wait for the other processes; if one fails, so do all.

    Without this one that fails would leave the others waiting for minutes.
    """
    error = None
    try:
        yield
    except Exception as raised:
        error = raised
    failed = np.asarray(error is not None)
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import process_allgather

        failed = process_allgather(failed)
    if error is not None:
        raise error
    if np.any(failed):
        raise RuntimeError(
            f"Processes {np.flatnonzero(failed).tolist()} of the sweep failed; what is done is "
            "kept: call again with the same store."
        )
