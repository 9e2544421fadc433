"""Time and memory against N and against the batch, and the share of what the machine can do.

The exponent is fitted to the second half of the sizes so far, beside the expected one. The
generator is bound by memory where a state exceeds the caches: its share is the time of a copy of
its argument over its own. The iterative solver is bound by products of matrices: its share is the
time of the ten that an iteration needs over that of the whole solve, with its set-up and evidence.
Results are awaited where they are. GB are those of the host, of a process of its own, beyond what
one takes that solves N = 1.
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
from qbjax.common import linalg
from qbjax.generator import lindblad, stored_states

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
    """Return the peak memory of a process that solves for steady states in GB; NaN if it fails."""
    call = MEMORY.format(arguments=arguments, method=method)
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=False)
    if done.returncode:
        return float("nan")
    # Linux counts kilobytes, macOS bytes.
    return float(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024) / 1e9


class Memory:
    """The peak memory of a method at growing sizes, with the fitted exponent."""

    def __init__(self, method: str, arguments: str, expected: float):
        """Take what makes a model of a size, and measure what is needed for the smallest."""
        self.method, self.arguments, self.expected = method, arguments, expected
        self.least = peak(method, arguments.format(1))
        self.known: list[tuple[float, float]] = []

    def note(self, row: Row, size: int) -> None:
        """Measure a size, and note it."""
        used = peak(self.method, self.arguments.format(size)) - self.least
        if not np.isfinite(used):
            return
        row.more["GB"] = used
        # Less than that is what processes differ by.
        if used > 0.02:
            self.known.append((size, used))
        if len(self.known) > 1:
            slope = np.polyfit(*np.log(np.transpose(self.known[-3:])), 1)[0]
            row.more |= {"GB exponent": float(slope), "GB expected": self.expected}


Calls = Mapping[str, Callable[[], Any]]


def series(
    name: str, sizes: tuple[int, ...], make: Callable[[int], Calls], expected: float, rounds: int
) -> Iterator[list[Row]]:
    """Return rows at growing sizes, with the fitted exponents."""
    contest = Contest(rounds, fetched=False)
    known: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        calls = make(size)
        if contest.out & {next(iter(calls))}:
            return
        found = contest.rows({name: size}, calls, lambda value: None, _iterations)
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
    count = getattr(value, "iterations", None)
    return {} if count is None else {"iterations": int(count)}


def exact(N: int) -> Calls:
    """Return a call of the exact solution."""
    solve = jax.jit(lambda F: qb.steady_state(qb.StarBattery(N=N, F=F)))
    return {'steady_state "exact"': lambda: solve(0.5)}


def batch(size: int) -> Calls:
    """Return a call of the exact solution for a batch at N = 16."""
    solve = jax.jit(lambda F: qb.steady_state(qb.StarBattery(N=16, F=F)))
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
    shape = stored_states.stored_start(model, None)[0].shape
    rho = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    apply, copy = jax.jit(lambda x: made(x)), jax.jit(lambda x: x + 1.0)
    return {"generator": lambda: apply(rho), "copy of its argument": lambda: copy(rho)}


def iterative(N: int) -> Calls:
    """Return calls of the iterative solver, and of one product of matrices of that size."""

    @jax.jit
    def solve(F: jax.Array) -> Any:
        return qb.steady_state(qb.StarBattery(N=N, F=F, **LEAKY), method="iterative")

    rng = np.random.default_rng(0)
    d = 2 * (N + 1)
    a = jnp.asarray(rng.normal(size=(d, d)))
    product = jax.jit(lambda x: x @ x)
    return {'steady_state "iterative"': lambda: solve(0.5), "one product": lambda: product(a)}


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    rounds = 1 if smoke else 3
    losses = ", ".join(f"{name}={rate}" for name, rate in LEAKY.items())
    plan = [
        ("N", (64, 128, 256, 512, 1024), exact, 3.0, Memory("exact", "N={}, F=0.5", 2.0)),
        (
            "batch",
            (16, 64, 256, 1024, 4096),
            batch,
            1.0,
            Memory("exact", "N=16, F=jnp.linspace(0.3, 3.0, {})", 1.0),
        ),
        ("N", (64, 128, 256, 512), eigen, 3.0, None),
        ("N", (128, 256, 512, 1024, 2048), generator, 2.0, None),
        (
            "N",
            (32, 64, 128, 256),
            iterative,
            3.0,
            None if smoke else Memory("iterative", "N={}, F=0.5, " + losses, 2.0),
        ),
    ]
    for name, sizes, make, expected, memory in plan:
        for found in series(name, (2,) if smoke else sizes, make, expected, rounds):
            if memory and found[0].seconds:
                memory.note(found[0], found[0].at[name])
            if make in (generator, iterative):
                _share(found, 1.0 if make is generator else 10 * found[0].more.get("iterations", 0))
            yield from found


def _share(found: list[Row], times: float) -> None:
    """Note the share of so many runs of the second contender in the time of the first one."""
    if len(found) == 2 and found[0].seconds and found[1].seconds:
        found[0].more["share"] = times * found[1].seconds / found[0].seconds
