"""The charging times of the paper's Figs. 6 and 7, as a user of QuTiP gets them, and with qbjax.

By QuTiP every point is a curve of 400 energies, long enough for the slowest decay on the grid, and
a fit of e^(-t/tau) cos(omega t + phi) by `scipy.optimize.curve_fit` from one start. The fit has
several minima: qbjax looks for the one with the least cost, and flags what is ambiguous, unless it
is asked for the local one. So the
times need not agree, and the error says at what share of the points they differ by more than a
tenth; it is that of neither.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.optimize import curve_fit

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "The charging times of Figs. 6 and 7 (N = 1 ... 4, 20 dephasing rates each)"
ERROR = "share of the points where tau differs from qbjax's by more than a tenth, of those with one"


def by_qbjax(F: float, sizes: tuple[int, ...], rates: np.ndarray) -> np.ndarray:
    """Return tau, shape (N, G)."""
    model = functools.partial(qb.StarBattery, F=F)
    grid = {"N": sizes, "gamma_C": rates}
    return qb.sweep(model, grid, "tau_fit", progress=False).tau_fit.values


def by_local_fits(F: float, sizes: tuple[int, ...], rates: np.ndarray) -> np.ndarray:
    """Return tau from one start each, shape (N, G)."""
    models = qb.StarBattery(N=np.array(sizes)[:, None], F=F, gamma_C=rates, N_max=sizes[-1])
    return np.asarray(qb.charging_time(models, branch="local", throw=False).tau)


def decay(t: np.ndarray, tau: float, omega: float, phi: float) -> np.ndarray:
    """Return the paper's Eq. (6)."""
    return np.exp(-t / tau) * np.cos(omega * t + phi)


def slowest(N: int, F: float) -> float:
    """Return the smallest frequency 2 sigma_min(K) of the curve, or g / sqrt(N) if that is less."""
    n = np.arange(N + 1)
    K = F * np.eye(N + 1)
    K[n[:-1], n[1:]] = np.sqrt(n[1:] * (N - n[1:] + 1) / N)
    smallest = 2 * np.linalg.svd(K, compute_uv=False)[-1]
    return float(min(smallest, 1 / np.sqrt(N)))


def by_qutip(F: float, sizes: tuple[int, ...], rates: np.ndarray) -> np.ndarray:
    """Return tau, shape (N, G)."""
    found = np.full((len(sizes), rates.size), np.nan)
    for i, N in enumerate(sizes):
        charging, omega = Charging(N, F, 1.0), slowest(N, F)
        for j, gamma_C in enumerate(rates):
            tau = max(4 / gamma_C, gamma_C / (2 * omega**2))
            ts = np.linspace(0.0, 5 * tau, 400)
            y = 1 - charging.curve(gamma_C, ts, "diag", 0.0) / (N / 2)
            try:
                found[i, j] = curve_fit(decay, ts, y, (tau, omega, 0.0), maxfev=5000)[0][0]
            except RuntimeError:
                continue
    return found


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    sizes = (1,) if smoke else (1, 2, 3, 4)
    for F in (0.5,) if smoke else (0.2, 0.5, 10.0):
        rates = np.geomspace(0.02, 5.0, 2 if smoke else 20)
        # qbjax is first.
        seen: list[np.ndarray] = []

        def error(found: Any, seen: list[np.ndarray] = seen) -> float:
            seen.append(found)
            both = np.isfinite(found) & np.isfinite(seen[0])
            return float(np.mean(np.abs(found / seen[0] - 1)[both] > 0.1))

        def missing(found: Any) -> dict[str, int]:
            return {"points without a time": int(np.sum(~np.isfinite(found)))}

        contenders = {
            "qbjax sweep": functools.partial(by_qbjax, F, sizes, rates),
            'qbjax, branch="local"': functools.partial(by_local_fits, F, sizes, rates),
            "QuTiP mesolve and curve_fit": functools.partial(by_qutip, F, sizes, rates),
        }
        at = {"F": F, "points": len(sizes) * rates.size}
        yield from Contest(1 if smoke else 3).rows(at, contenders, error, missing)
