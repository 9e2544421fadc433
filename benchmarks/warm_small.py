"""Everyday calls of small systems, compiled already, of the paper's model and of one with losses.

Steady states, and charging curves of one dephasing rate and of 32.

The model is made beforehand but where the task says so; QuTiP's Liouvillian and dynamiqs' operators
are, too. The errors are those of the energy. The reference of a steady state is one by LU with a
step of refinement, that of a curve `qutip.mesolve` at rtol 1e-12.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import qutip

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging, dynamiqs_energies, qutip_energies
from benchmarks.steady_unique import reference

TITLE = "Small systems, compiled already (F/g = 0.5; losses: kappa = 0.1, Gamma_down = 0.01)"
ERROR = "largest error of the energies, over N"
F, KAPPA, DOWN = 0.5, 0.1, 0.01
TS = np.linspace(0.0, 50.0, 201)


def settled(model: qb.StarBattery) -> Any:
    """Return the energy of the steady state by qbjax."""
    return qb.steady_state(model).energy


def made_and_settled(N: int) -> Any:
    """Return the same, the model made within the time."""
    return qb.steady_state(qb.StarBattery(N=N, F=F)).energy


def curves(models: qb.StarBattery, method: str, rtol: float) -> Any:
    """Return energies over the times by qbjax."""
    return qb.evolve(models, TS, method=method, rtol=rtol, save="energy").energy


def settled_by_qutip(charging: Charging, L: qutip.Qobj, **how: Any) -> float:
    """Return the energy of the steady state by QuTiP."""
    return charging.energy(qutip.steadystate(L, **how))


def steady_states(smoke: bool, rounds: int) -> Iterator[Row]:
    """Return the rows of steady states."""
    contest = Contest(rounds)
    N = 4
    model = qb.StarBattery(N=N, F=F)
    ours = {
        "qbjax": functools.partial(settled, model),
        "qbjax, model made": functools.partial(made_and_settled, N),
    }
    # The battery is half full in the paper's steady state: by symmetry.
    error = functools.partial(_off, N, N / 2)
    yield from contest.rows({"N": N, "task": "the paper's steady state"}, ours, error)
    contest = Contest(rounds)
    for N in (2,) if smoke else (1, 2, 4, 8, 16, 24, 32, 64):
        charging = Charging(N, F, 1.0, KAPPA, DOWN)
        exact = float(charging.n.diag().real @ reference(charging).diagonal().real)
        L = qutip.liouvillian(charging.H, charging.jumps)
        direct = functools.partial(settled_by_qutip, charging, L, method="direct")
        contenders = {
            "qbjax": functools.partial(
                settled, qb.StarBattery(N=N, F=F, kappa=KAPPA, Gamma_down=DOWN)
            ),
            "QuTiP direct (default)": direct,
            "QuTiP direct, splu": functools.partial(direct, solver="splu", csc=True),
            "QuTiP power, splu": functools.partial(
                settled_by_qutip, charging, L, method="power", solver="splu", csc=True
            ),
        }
        at = {"N": N, "task": "steady state with losses"}
        yield from contest.rows(at, contenders, functools.partial(_off, N, exact))


def evolutions(smoke: bool, rounds: int) -> Iterator[Row]:
    """Return the rows of charging curves."""
    for count in (2,) if smoke else (1, 32):
        rates = np.geomspace(0.05, 5.0, count) if count > 1 else np.array([1.0])
        contest = Contest(rounds)
        sizes = (1, 2, 4, 8, 16, 32) if count == 1 else (1, 2, 8)
        for N in (2,) if smoke else sizes:
            charging = Charging(N, F, 1.0, KAPPA, DOWN)
            models = qb.StarBattery(N=N, F=F, gamma_C=rates, kappa=KAPPA, Gamma_down=DOWN)
            contenders = {
                f'qbjax "{method}", rtol {rtol:g}': functools.partial(curves, models, method, rtol)
                for method in ("auto", "chebyshev", "propagator")
                for rtol in (1e-6, 1e-8)
                if method != "propagator" or N <= 2
            }
            for method in ("adams", "tsit5", "vern9"):
                contenders[f"QuTiP {method}, rtol 1e-07"] = functools.partial(
                    qutip_energies, charging, rates, TS, method, 1e-7
                )
            if N <= 2:
                contenders["QuTiP diag"] = functools.partial(
                    qutip_energies, charging, rates, TS, "diag", 0.0
                )
            energies = dynamiqs_energies(charging, TS, "Dopri8", 1e-6, batched=count > 1)
            contenders["dynamiqs Dopri8, rtol 1e-06"] = functools.partial(energies, rates)
            exact = qutip_energies(charging, rates, TS, "tsit5", 1e-12)
            at = {"N": N, "task": f"charging curve with losses, dephasing rates: {count}"}
            yield from contest.rows(at, contenders, functools.partial(_off, N, exact))


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    rounds = 1 if smoke else 5
    yield from steady_states(smoke, rounds)
    yield from evolutions(smoke, rounds)


def _off(N: int, exact: Any, energies: Any) -> float:
    """Return the largest error of the energies, over N."""
    return float(np.max(np.abs(np.asarray(energies) - exact)) / N)
