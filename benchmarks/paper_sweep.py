"""The charging times of the paper's Figs. 6 and 7, as a user of QuTiP gets them, and with qbjax.

By QuTiP every point is a curve of 400 energies, long enough for the slowest decay on the grid, and
a fit of e^(-t/tau) cos(omega t + phi) by `scipy.optimize.curve_fit`. The fit has several minima, so
that the times need not agree: the error says at what share of the points they differ by more than
a tenth.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import qutip
from scipy.optimize import curve_fit

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "The charging times of Figs. 6 and 7 (F/g = 0.5, 20 dephasing rates for each N)"
ERROR = "share of the points where tau differs from qbjax's by more than a tenth, of those with one"
F = 0.5


def by_qbjax(sizes: tuple[int, ...], rates: np.ndarray) -> np.ndarray:
    """Return tau, shape (N, G)."""
    model = functools.partial(qb.StarBattery, F=F)
    grid = {"N": sizes, "gamma_C": rates}
    return qb.sweep(model, grid, "tau_fit", progress=False).tau_fit.values


def decay(t: np.ndarray, tau: float, omega: float, phi: float) -> np.ndarray:
    """Return the paper's Eq. (6)."""
    return np.exp(-t / tau) * np.cos(omega * t + phi)


def by_qutip(sizes: tuple[int, ...], rates: np.ndarray) -> np.ndarray:
    """Return tau, shape (N, G)."""
    found = np.full((len(sizes), rates.size), np.nan)
    options = {"method": "tsit5", "rtol": 1e-8, "atol": 1e-10, "nsteps": 10_000_000}
    for i, N in enumerate(sizes):
        slow = 10.0 * 4.0 ** (N - 1)
        for j, gamma_C in enumerate(rates):
            charging = Charging(N, F, gamma_C)
            ts = np.linspace(0.0, 8 * max(4 / gamma_C, slow * gamma_C), 400)
            H, jumps = charging.H.to("dia"), [jump.to("dia") for jump in charging.jumps]
            done = qutip.mesolve(H, charging.start, ts, jumps, e_ops=[charging.n], options=options)
            y = 1 - done.expect[0] / (N / 2)
            guess = 4 / gamma_C + slow * gamma_C / 4, 0.5 / slow, 0.0
            try:
                found[i, j] = curve_fit(decay, ts, y, guess, maxfev=5000)[0][0]
            except RuntimeError:
                continue
    return found


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    sizes = (1,) if smoke else (1, 2, 3, 4)
    rates = np.geomspace(0.02, 5.0, 2 if smoke else 20)
    expected = by_qbjax(sizes, rates)

    def error(found: Any) -> float:
        both = np.isfinite(found) & np.isfinite(expected)
        return float(np.mean(np.abs(found / expected - 1)[both] > 0.1))

    def missing(found: Any) -> dict[str, int]:
        return {"points without a time": int(np.sum(~np.isfinite(found)))}

    contenders = {
        "qbjax sweep": functools.partial(by_qbjax, sizes, rates),
        "QuTiP mesolve and curve_fit": functools.partial(by_qutip, sizes, rates),
    }
    at = {"N": max(sizes), "points": expected.size}
    yield from Contest(1 if smoke else 3).rows(at, contenders, error, missing)
