"""The steady state of the paper's model against N.

`qutip.steadystate` is timed although its answers are no states (see `correctness`). What can be
right is the diagonalised Liouvillian at a late time, and the resolvent s (s - L)^-1 rho(0) where s
is below the slowest rate. The error is the larger one of |E - N/2| / N and of the error of
ergotropy over energy, against 50 digits to N = 32 and an eigen-decomposition by NumPy above.
"""

import functools
from collections.abc import Iterator

import numpy as np
import qutip

import qbjax as qb
from benchmarks.correctness import exact_ratio
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "The paper's steady state against N"
ERROR = "largest of the errors of E/N and of ergotropy/energy"


def reference(N: int, F: float) -> float:
    """Return ergotropy over energy."""
    if N <= 32:
        return exact_ratio(N, F)
    n = np.arange(N + 1)
    KP = np.zeros((N + 1, N + 1))
    KP[n, N - n] = F
    KP[n[:-1], N - n[1:]] = np.sqrt((n[:-1] + 1) * (N - n[:-1]) / N)
    q = np.linalg.eigh(KP)[1]
    half = (q * q[N] ** 2 / 2) @ q.T
    return float(1 - 2 * (1 - np.linalg.eigvalsh(half + half[::-1, ::-1])[-1]) / N)


def by_qbjax(N: int, F: float) -> dict[str, float]:
    """Return the figures of the steady state."""
    found = qb.steady_state(qb.StarBattery(N=N, F=F))
    return {"energy": float(found.energy), "ratio": float(found.ratio)}


def by_qutip(N: int, F: float) -> dict[str, float]:
    """Return the figures of what QuTiP takes for the steady state."""
    charging = Charging(N, F, 1.0)
    rho = qutip.steadystate(charging.H, charging.jumps, method="direct", solver="spsolve")
    return charging.battery(rho)


def by_diagonalising(N: int, F: float) -> dict[str, float]:
    """Return the figures of the state at a late time, from all eigenvectors of the Liouvillian."""
    charging = Charging(N, F, 1.0)
    how = {"options": {"method": "diag"}}
    done = qutip.mesolve(charging.H, charging.start, [0, 1e12], charging.jumps, **how)
    return charging.battery(done.states[-1])


def by_resolvent(N: int, F: float, s: float) -> dict[str, float]:
    """Return the figures of s (s - L)^-1 rho(0)."""
    charging = Charging(N, F, 1.0)
    return charging.battery(charging.resolvent(s))


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    for F in (0.5,) if smoke else (0.5, 2.0):
        contest = Contest(1 if smoke else 3)
        for N in (2,) if smoke else (4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000):
            ratio = reference(N, F)

            def error(found: dict[str, float], N: int = N, ratio: float = ratio) -> float:
                return max(abs(found["energy"] - N / 2) / N, abs(found["ratio"] - ratio))

            contenders = {
                'qbjax "exact"': functools.partial(by_qbjax, N, F),
                "QuTiP steadystate direct": functools.partial(by_qutip, N, F),
                "QuTiP mesolve, diagonalised": functools.partial(by_diagonalising, N, F),
            }
            for s in (1e-9, 1e-11):
                name = f"QuTiP's Liouvillian, resolvent at s = {s:g}"
                contenders[name] = functools.partial(by_resolvent, N, F, s)
            yield from contest.rows({"N": N, "F": F}, contenders, error, dict)
