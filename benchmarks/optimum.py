"""Locating the best dephasing rate, the one with the least integral of (1 - E/E_inf)^2.

The reference is the root of the derivative of the integral's closed form, written here by NumPy.
By QuTiP the number of samples of a curve and the minimiser's tolerance stand in the name.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from scipy.optimize import brentq, minimize_scalar

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "The best dephasing rate (F/g = 0.5)"
ERROR = "relative error of gamma_C*"
F = 0.5
LOW, HIGH = 0.05, 20.0


def reference(N: int) -> float:
    """Return the minimum of the closed form."""
    n = np.arange(N + 1)
    KP = np.zeros((N + 1, N + 1))
    KP[n, N - n] = F
    KP[n[:-1], N - n[1:]] = np.sqrt((n[:-1] + 1) * (N - n[:-1]) / N)
    values, q = np.linalg.eigh(KP)
    start = q[N]
    weights = np.einsum("k,l,nk,nl,n->kl", start, start, q, q, (N - n) - N / 2).ravel()
    frequencies = np.add.outer(values, values).ravel()
    one, other = np.meshgrid(frequencies**2, frequencies**2)

    def slope(gamma: float) -> float:
        above = gamma**2 + 2 * (one + other)
        below = 2 * gamma**2 * (one + other) + 4 * (one - other) ** 2
        rise = (above + 2 * gamma**2) / below
        fall = 4 * gamma**2 * (one + other) * above / below**2
        return float(weights @ (rise - fall) @ weights)

    # The integral has one valley here.
    return float(brentq(slope, LOW, HIGH, xtol=1e-15, rtol=1e-14))


class Counted:
    """The integral by QuTiP, and how often it was asked for."""

    def __init__(self, N: int, samples: int):
        """Take the size and begin to count."""
        self.charging, self.calls = Charging(N, F, 1.0), 0
        self.ts = np.linspace(0.0, 50.0 * 4**N, samples)

    def __call__(self, log_gamma: float) -> float:
        """Return the integral of one curve, sampled until it has settled."""
        self.calls += 1
        energies = self.charging.curve(float(np.exp(log_gamma)), self.ts, "diag", 0.0)
        return float(np.trapezoid((1 - energies / (self.charging.N / 2)) ** 2, self.ts))


def by_scan(N: int, samples: int, count: int) -> dict[str, float]:
    """Return the best of so many rates."""
    integral, grid = Counted(N, samples), np.linspace(*np.log([LOW, HIGH]), count)
    best = grid[np.argmin([integral(x) for x in grid])]
    return {"gamma_C*": float(np.exp(best)), "solver calls": integral.calls}


def by_scipy(N: int, samples: int, xatol: float) -> dict[str, float]:
    """Return what Brent's derivative-free method finds."""
    integral, options = Counted(N, samples), {"xatol": xatol}
    bounds = np.log([LOW, HIGH])
    found = minimize_scalar(integral, bounds=bounds, method="bounded", options=options)
    return {"gamma_C*": float(np.exp(found.x)), "solver calls": integral.calls}


def by_qbjax(N: int) -> dict[str, float]:
    """Return what derivatives find."""
    found = qb.optimal_dephasing(qb.StarBattery(N=N, F=F), "integral")
    calls = found.scan_gamma_C.size + int(np.sum(np.isfinite(found.history)))
    return {"gamma_C*": float(found.gamma_C), "solver calls": calls}


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    contest = Contest(1 if smoke else 3)
    methods: dict[str, Callable[[int], dict[str, float]]] = {
        "qbjax optimal_dephasing": by_qbjax,
        "QuTiP, scan of 60 rates": functools.partial(
            by_scan, samples=1001, count=2 if smoke else 60
        ),
    }
    for samples in (101,) if smoke else (101, 401, 1001, 4001):
        for xatol in (1e-3, 1e-5):
            name = f"QuTiP, minimize_scalar, {samples} samples, xatol {xatol:g}"
            methods[name] = functools.partial(by_scipy, samples=samples, xatol=xatol)
    for N in (1,) if smoke else (1, 2, 3):
        best = reference(N)
        yield from contest.rows(
            {"N": N},
            {name: lambda f=f, N=N: f(N) for name, f in methods.items()},
            lambda found, best=best: abs(found["gamma_C*"] / best - 1),
            dict,
        )
