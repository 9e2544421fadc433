"""Time and memory against N and against the batch, and the share of what the machine can do.

The exponent is fitted to the second half of the sizes so far, beside the expected one. The
generator is bound by memory where a state exceeds the caches: its share is the time of a copy of
its argument over its own. An iteration of the iterative solver is bound by products of matrices:
its share is the time of the eight that it needs over its own. Results are awaited where they are.
GB are those of the host, and of a process of its own with all that it imports.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import qbjax as qb
from benchmarks.measure import Contest, Row
from qbjax import linalg, lindblad

TITLE = "Scaling with N and with the batch"
ERROR = "none is measured here"
LEAKY = {"kappa": 0.1, "Gamma_down": 0.01}
MEMORY = """
import resource
import jax.numpy as jnp
import qbjax as qb
model = qb.StarBattery({arguments})
print(qb.steady_state(model, method="{method}").ratio.size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(method: str, arguments: str) -> float:
    """Return the peak memory of steady states in GB, in a process of its own."""
    call = MEMORY.format(arguments=arguments, method=method)
    done = subprocess.run([sys.executable, "-c", call], check=True, capture_output=True, text=True)
    # Linux counts kilobytes, macOS bytes.
    return float(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024) / 1e9


Calls = Mapping[str, Callable[[], Any]]


def series(
    name: str, sizes: tuple[int, ...], make: Callable[[int], Calls], expected: float, rounds: int
) -> Iterator[list[Row]]:
    """Return rows at growing sizes, with the fitted exponents."""
    contest = Contest(rounds, fetched=False)
    known: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        found = contest.rows({name: size}, make(size), lambda value: None, _iterations)
        for row in found:
            if row.seconds is None:
                continue
            points = known.setdefault(row.who, [])
            points.append((size, row.seconds))
            half = points[len(points) // 2 :] if len(points) > 2 else points
            if len(half) > 1:
                slope = np.polyfit(*np.log(np.transpose(half)), 1)[0]
                row.more |= {"exponent": float(slope), "expected": expected}
        yield found


def _iterations(value: Any) -> dict[str, float]:
    return {"iterations": int(value[1])} if isinstance(value, tuple) else {}


def exact(N: int) -> Calls:
    """Return a call of the exact solution."""
    solve = jax.jit(lambda F: qb.steady_state(qb.StarBattery(N=N, F=F)).ratio)
    return {'steady_state "exact"': lambda: solve(0.5)}


def batch(size: int) -> Calls:
    """Return a call of the exact solution for a batch at N = 16."""
    solve = jax.jit(lambda F: qb.steady_state(qb.StarBattery(N=16, F=F)).ratio)
    drives = jnp.linspace(0.3, 3.0, size)
    return {'batch of "exact" at N = 16': lambda: solve(drives)}


def eigen(N: int) -> Calls:
    """Return calls of the eigen-decomposition that the exact solution stands on, and of 16."""
    one = jnp.asarray(np.random.default_rng(0).normal(size=(16, N + 1, N + 1)))
    one = one + one.swapaxes(1, 2)
    solve = jax.jit(lambda matrix: linalg.eigh(matrix)[1])
    return {"eigh": lambda: solve(one[0]), "eigh, batch of 16": lambda: solve(one)}


def generator(N: int) -> Calls:
    """Return calls of the Lindblad generator, and of a copy of the state that it acts on."""
    model = qb.StarBattery(N=N, F=0.5, **LEAKY)
    made = lindblad.generator(model)
    shape = lindblad.stored_start(model, None).shape
    rho = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    apply, copy = jax.jit(lambda x: made(x)), jax.jit(lambda x: x + 1.0)
    return {"generator": lambda: apply(rho), "copy of its argument": lambda: copy(rho)}


def iterative(N: int) -> Calls:
    """Return calls of the iterative solver, and of one product of matrices of that size."""

    @jax.jit
    def solve(F: jax.Array) -> Any:
        found = qb.steady_state(qb.StarBattery(N=N, F=F, **LEAKY), method="iterative")
        return found.energy, found.iterations

    rng = np.random.default_rng(0)
    d = 2 * (N + 1)
    a = jnp.asarray(rng.normal(size=(d, d)))
    product = jax.jit(lambda x: x @ x)
    return {'steady_state "iterative"': lambda: solve(0.5), "one product": lambda: product(a)}


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    rounds = 1 if smoke else 5

    def cut(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return (2,) if smoke else sizes

    for found in series("N", cut((64, 128, 256, 512, 1024)), exact, 3.0, rounds):
        found[0].more["GB"] = peak("exact", "N={N}, F=0.5".format(**found[0].at))
        yield from found
    for found in series("batch", cut((16, 64, 256, 1024, 4096)), batch, 1.0, rounds):
        drives = "jnp.linspace(0.3, 3.0, {batch})".format(**found[0].at)
        found[0].more["GB"] = peak("exact", f"N=16, F={drives}")
        yield from found
    for found in series("N", cut((64, 128, 256, 512)), eigen, 3.0, rounds):
        yield from found
    for found in series("N", cut((128, 256, 512, 1024, 2048)), generator, 2.0, rounds):
        _share(found, 1.0)
        yield from found
    for found in series("N", cut((32, 64, 128, 256)), iterative, 3.0, min(rounds, 3)):
        _share(found, 8 * found[0].more.get("iterations", 0))
        losses = ", ".join(f"{name}={rate}" for name, rate in LEAKY.items())
        if not smoke:
            found[0].more["GB"] = peak("iterative", "N={N}, F=0.5, ".format(**found[0].at) + losses)
        yield from found


def _share(found: list[Row], times: float) -> None:
    """Note the share of so many runs of the second contender in the time of the first one."""
    if len(found) == 2 and found[0].seconds and found[1].seconds:
        found[0].more["share"] = times * found[1].seconds / found[0].seconds
