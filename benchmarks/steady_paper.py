"""The steady state of the paper's model against N.

`qutip.steadystate` is timed although its answers are no states (see `correctness`). The error is
that of the energy, |E - N/2| / N.
"""

from collections.abc import Iterator

import qutip

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "The paper's steady state against N (F/g = 0.5)"
ERROR = "|E - N/2| / N"
F = 0.5


def by_qbjax(N: int) -> dict[str, float]:
    """Return the figures of the steady state."""
    found = qb.steady_state(qb.StarBattery(N=N, F=F))
    return {"energy": float(found.energy), "ratio": float(found.ratio)}


def by_qutip(N: int) -> dict[str, float]:
    """Return the energy of what QuTiP takes for the steady state."""
    charging = Charging(N, F, 1.0)
    rho = qutip.steadystate(charging.H, charging.jumps, method="direct", solver="spsolve")
    return {"energy": charging.energy(rho)}


def by_resolvent(N: int) -> dict[str, float]:
    """Return the energy of s (s - L)^-1 rho(0)."""
    charging = Charging(N, F, 1.0)
    return {"energy": charging.energy(charging.resolvent(1e-9))}


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    contest = Contest(1 if smoke else 3)
    for N in (2,) if smoke else (4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000):
        contenders = {
            'qbjax "exact"': lambda N=N: by_qbjax(N),
            "QuTiP steadystate direct": lambda N=N: by_qutip(N),
            "QuTiP's Liouvillian, resolvent": lambda N=N: by_resolvent(N),
        }
        yield from contest.rows(
            {"N": N}, contenders, lambda found, N=N: abs(found["energy"] - N / 2) / N, dict
        )
