"""Steady states that are unique, of a charger that leaks and a battery that decays.

The error is the residual |L rho| / |rho| (largest elements) with QuTiP's Liouvillian, the energy
per qubit shows whether the contenders agree.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import qutip

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "Unique steady states (F/g = 0.5, kappa = 0.1, Gamma_down = 0.01)"
ERROR = "|L rho| / |rho|"
F, KAPPA, DOWN = 0.5, 0.1, 0.01


def by_qbjax(N: int, method: str) -> Any:
    """Return the state in QuTiP's order."""
    model = qb.StarBattery(N=N, F=F, kappa=KAPPA, Gamma_down=DOWN)
    rho = np.asarray(qb.steady_state(model, method=method).rho)
    return rho[::-1, ::-1, ::-1, ::-1].reshape(2 * (N + 1), -1)


def by_qutip(N: int, **how: Any) -> Any:
    """Return the state."""
    charging = Charging(N, F, 1.0, KAPPA, DOWN)
    return qutip.steadystate(charging.H, charging.jumps, **how).full()


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    contest = Contest(1 if smoke else 3)
    for N in (2,) if smoke else (8, 16, 32, 64, 128, 256):
        charging = Charging(N, F, 1.0, KAPPA, DOWN)

        def residual(rho: Any, charging: Charging = charging) -> float:
            return np.abs(charging.liouvillian @ rho.ravel(order="F")).max() / np.abs(rho).max()

        def figures(rho: Any, charging: Charging = charging, N: int = N) -> dict[str, float]:
            return {"E/N": float(np.trace(charging.n.full() @ rho).real) / N}

        direct = functools.partial(by_qutip, N, method="direct")
        contenders = {
            'qbjax "auto"': functools.partial(by_qbjax, N, "auto"),
            'qbjax "direct"': functools.partial(by_qbjax, N, "direct"),
            "QuTiP direct (default)": direct,
            "QuTiP direct, splu": functools.partial(direct, solver="splu", csc=True),
            "QuTiP power": functools.partial(by_qutip, N, method="power"),
            "QuTiP gmres, preconditioned": functools.partial(
                direct, solver="gmres", use_precond=True, rtol=1e-10
            ),
        }
        yield from contest.rows({"N": N}, contenders, residual, figures)
