"""Chunks of a sweep on the processes of an executor.

What is sent is the call, pickled once, and the number of a chunk; a worker keeps what it made of
the call, so that it compiles once in its life.
"""

import functools
import multiprocessing
import pickle
from collections.abc import Callable, Generator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import jax

from qbjax.common.checks import ArgumentError, require
from qbjax.sweeps.grid import Grid
from qbjax.sweeps.job import Job
from qbjax.sweeps.observables import observable
from qbjax.sweeps.run import Run
from qbjax.sweeps.store import Parts

# Chunks that are with the executor at once, at most.
_AT_ONCE = 64


def require_executor(executor: object) -> None:
    """Refuse what is no executor of processes, and one whose processes are forks."""
    words = "a concurrent.futures.Executor of processes"
    processes = isinstance(executor, Executor) and not isinstance(executor, ThreadPoolExecutor)
    require(processes, "executor", words, type(executor).__name__)
    if isinstance(executor, ProcessPoolExecutor):
        context: Any = getattr(executor, "_mp_context", multiprocessing.get_context())
        spawned = context.get_start_method() != "fork"
        # The threads of JAX are not there in a fork, which waits for them for good.
        words = 'made with mp_context=multiprocessing.get_context("spawn")'
        require(spawned, "executor", words, "one that forks")


def pickled(
    model: Any, grid: Grid, observables: Any, method: str, ts: Any, shape: tuple[int, ...]
) -> bytes:
    """Return a call as bytes, with cloudpickle where that is installed."""
    try:
        import cloudpickle
    except ImportError:
        cloudpickle = pickle
    listed = observables if isinstance(observables, list | tuple) else (observables,)
    doubles = jax.config.read("jax_enable_x64")
    call = (doubles, model, grid.values, grid.together, tuple(listed), method, ts, shape)
    try:
        return bytes(cloudpickle.dumps(call))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        text = " ".join(str(error).split())
        raise ArgumentError(
            "Argument `model` and `observables` must be such that pickle takes them for workers "
            f"(functions at the top of a module; any, with cloudpickle installed), but: {text}"
        ) from None


def solved(
    executor: Executor,
    call: bytes,
    numbers: list[int],
    claimed: Callable[[int], AbstractContextManager[bool]],
) -> Generator[tuple[int, Parts], None, None]:
    """Return chunks as workers have done them, each under a claim from when it is sent.

    Raises
    ------
    RuntimeError
        Where a worker of a pool died.
    """
    rest = iter(numbers)
    waiting: dict[Future[Parts], tuple[int, ExitStack]] = {}

    def send() -> None:
        for number in rest:
            claim = ExitStack()
            if claim.enter_context(claimed(number)):
                waiting[executor.submit(_solve, call, number)] = number, claim
                return
            claim.close()

    try:
        for _ in range(_AT_ONCE):
            send()
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                parts = future.result()
                number, claim = waiting.pop(future)
                with claim:
                    yield number, parts
                send()
    except BrokenExecutor as error:
        raise RuntimeError(
            "A worker of `executor` died. What is done is kept in a store: call again with the "
            "same one."
        ) from error
    finally:
        for future, (_, claim) in waiting.items():
            future.cancel()
            claim.close()


def _solve(call: bytes, number: int) -> Parts:
    return _run(call).solve(number)


@functools.lru_cache(maxsize=4)
def _run(call: bytes) -> Run:
    doubles, model, values, together, observables, method, ts, shape = pickle.loads(call)
    jax.config.update("jax_enable_x64", doubles)
    job = Job(model, Grid(values, together), tuple(map(observable, observables)), method, ts)
    return Run(job, shape)
