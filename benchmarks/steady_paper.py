"""The steady state of the paper's model against N.

`qutip.steadystate` is timed although its answers are no states (see `correctness`). The error is
the larger one of |E - N/2| / N and of the error of ergotropy over energy, against 50 digits to
N = 32 and against qbjax "exact" above.
"""

import functools
from collections.abc import Iterator

import qutip

import qbjax as qb
from benchmarks.correctness import exact_ratio
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "The paper's steady state against N (F/g = 0.5)"
ERROR = "largest of the errors of E/N and of ergotropy/energy"
F = 0.5


def by_qbjax(N: int) -> dict[str, float]:
    """Return the figures of the steady state."""
    found = qb.steady_state(qb.StarBattery(N=N, F=F))
    return {"energy": float(found.energy), "ratio": float(found.ratio)}


def by_qutip(N: int) -> dict[str, float]:
    """Return the figures of what QuTiP takes for the steady state."""
    charging = Charging(N, F, 1.0)
    rho = qutip.steadystate(charging.H, charging.jumps, method="direct", solver="spsolve")
    return charging.battery(rho)


def by_resolvent(N: int) -> dict[str, float]:
    """Return the figures of s (s - L)^-1 rho(0)."""
    charging = Charging(N, F, 1.0)
    return charging.battery(charging.resolvent(1e-9))


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    contest = Contest(1 if smoke else 3)
    for N in (2,) if smoke else (4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000):
        ratio = exact_ratio(N, F) if N <= 32 else by_qbjax(N)["ratio"]

        def error(found: dict[str, float], N: int = N, ratio: float = ratio) -> float:
            return max(abs(found["energy"] - N / 2) / N, abs(found["ratio"] - ratio))

        contenders = {
            'qbjax "exact"': functools.partial(by_qbjax, N),
            "QuTiP steadystate direct": functools.partial(by_qutip, N),
            "QuTiP's Liouvillian, resolvent": functools.partial(by_resolvent, N),
        }
        yield from contest.rows({"N": N}, contenders, error, dict)
