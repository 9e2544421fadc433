"""Steady states that are unique, of a charger that leaks and a battery that decays.

The error is that of the energy, |E - E_ref| / N. The reference solves L rho = 0, Tr rho = 1 with
QuTiP's Liouvillian by SuperLU and refines it once; for the largest N that does not fit, and there
is no error. The residual |L rho| / |rho| (largest elements) stands beside it.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import qutip
import scipy.sparse.linalg

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "Unique steady states (F/g = 2, kappa = 0.1, Gamma_down = 0.01)"
ERROR = "|E - E_ref| / N"
F, KAPPA, DOWN = 2.0, 0.1, 0.01
LARGEST_REFERENCE = 128


def by_qbjax(N: int, method: str) -> Any:
    """Return the state in QuTiP's order."""
    model = qb.StarBattery(N=N, F=F, kappa=KAPPA, Gamma_down=DOWN)
    rho = np.asarray(qb.steady_state(model, method=method).rho)
    return rho[::-1, ::-1, ::-1, ::-1].reshape(2 * (N + 1), -1)


def by_qutip(N: int, **how: Any) -> Any:
    """Return the state."""
    charging = Charging(N, F, 1.0, KAPPA, DOWN)
    return qutip.steadystate(charging.H, charging.jumps, **how).full()


def reference(charging: Charging) -> Any:
    """Return the state by one LU decomposition and a step of refinement."""
    d = charging.H.shape[0]
    L = charging.liouvillian.tolil()
    right = np.zeros(d * d, complex)
    right[0] = 1.0
    # The first equation follows from the others: it makes room for the trace.
    L[0] = 0
    L[0, np.arange(d) * (d + 1)] = 1.0
    L = L.tocsc()
    solver = scipy.sparse.linalg.splu(L)
    x = solver.solve(right)
    return (x + solver.solve(right - L @ x)).reshape(d, d, order="F")


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    contest = Contest(1 if smoke else 3)
    for N in (2,) if smoke else (8, 16, 32, 64, 128, 256):
        charging = Charging(N, F, 1.0, KAPPA, DOWN)
        n = charging.n.diag().real
        known = N <= LARGEST_REFERENCE
        energy = float(n @ reference(charging).diagonal().real) if known else None

        def error(rho: Any, N: int = N, n: Any = n, energy: float | None = energy) -> float | None:
            return None if energy is None else float(abs(n @ rho.diagonal().real - energy) / N)

        def figures(rho: Any, charging: Charging = charging) -> dict[str, float]:
            residual = np.abs(charging.liouvillian @ rho.ravel(order="F")).max()
            return {"residual": float(residual / np.abs(rho).max())}

        direct = functools.partial(by_qutip, N, method="direct")
        contenders = {
            'qbjax "auto"': functools.partial(by_qbjax, N, "auto"),
            'qbjax "direct"': functools.partial(by_qbjax, N, "direct"),
            "QuTiP direct (default)": direct,
            "QuTiP direct, splu": functools.partial(direct, solver="splu", csc=True),
            "QuTiP power": functools.partial(by_qutip, N, method="power"),
            "QuTiP power, splu": functools.partial(
                by_qutip, N, method="power", solver="splu", csc=True
            ),
            "QuTiP gmres, preconditioned": functools.partial(
                direct, solver="gmres", use_precond=True, rtol=1e-10
            ),
        }
        yield from contest.rows({"N": N}, contenders, error, figures)
