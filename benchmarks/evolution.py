"""Charging curves of one dephasing rate and of 32: 41 energies up to t = 20, work and precision.

The reference is `qutip.mesolve` at rtol 1e-12, of three of the rates. The error is the largest one
of the energies, over N.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging, dynamiqs_energies, qutip_energies

TITLE = "Charging curves (F/g = 0.5)"
ERROR = "largest error of the energies, over N"
F, TS = 0.5, np.linspace(0.0, 20.0, 41)
TOLERANCES = (1e-4, 1e-6, 1e-8)


def by_qbjax(N: int, rates: np.ndarray, method: str, rtol: float = 1e-8) -> Any:
    """Return energies, shape (G, T)."""
    models = qb.StarBattery(N=N, F=F, gamma_C=rates)
    return qb.evolve(models, TS, method=method, rtol=rtol, save=("energy",)).energy


def contenders(N: int, rates: np.ndarray, smoke: bool) -> dict[str, Any]:
    """Return the contenders at every tolerance."""
    found: dict[str, Any] = {'qbjax "exact"': functools.partial(by_qbjax, N, rates, "exact")}
    charging = Charging(N, F, 1.0)
    for rtol in TOLERANCES[:1] if smoke else TOLERANCES:
        for method in ("chebyshev", "dopri8"):
            name = f'qbjax "{method}", rtol {rtol:g}'
            found[name] = functools.partial(by_qbjax, N, rates, method, rtol)
        for method in ("adams", "tsit5", "vern9"):
            name = f"QuTiP {method}, rtol {rtol:g}"
            found[name] = functools.partial(qutip_energies, charging, rates, TS, method, rtol)
        for method in ("Tsit5", "Dopri8"):
            for batched in (True, False) if rates.size > 2 else (rates.size > 1,):
                how = "batched" if batched else "looped"
                energies = dynamiqs_energies(charging, TS, method, rtol, batched)
                found[f"dynamiqs {method} {how}, rtol {rtol:g}"] = functools.partial(
                    energies, rates
                )
    return found


def largest_error(N: int, checked: np.ndarray, reference: np.ndarray, found: Any) -> float:
    """Return the largest error of the energies at the rates that are checked, over N."""
    return float(np.abs(np.asarray(found)[checked] - reference).max() / N)


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    for count in (2,) if smoke else (1, 32):
        rates = np.geomspace(0.05, 5.0, count) if count > 1 else np.array([1.0])
        checked = np.unique([0, count // 2, count - 1])
        contest = Contest(1 if smoke else 3)
        for N in (2,) if smoke else (10, 30, 60, 120):
            charging = Charging(N, F, 1.0)
            reference = qutip_energies(charging, rates[checked], TS, "tsit5", 1e-12)

            error = functools.partial(largest_error, N, checked, reference)
            at = {"N": N, "rates": count}
            yield from contest.rows(at, contenders(N, rates, smoke), error)
