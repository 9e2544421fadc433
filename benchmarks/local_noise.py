"""Noise on single qubits, beside a charger: steady states, and evolution from the empty battery.

QuTiP has such noise in `qutip.piqs`, without a charger; here its Lindbladian is put beside one by
`qutip.super_tensor`. The error is that of the energy. The reference of a steady state solves that
Liouvillian with the trace by SuperLU and refines once, that of a curve is `mesolve` at 1e-12.
piqs keeps its coefficients in single precision: errors below 1e-7 say nothing. From N = 40 on
QuTiP's direct solver does not fit into the memory of a laptop.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import qutip
import scipy.sparse.linalg
from qutip import piqs

import qbjax as qb
from benchmarks.measure import Contest, Row

TITLE = "Noise on single qubits (gamma_C = 0.3, gamma_down = gamma_z = 1/128)"
ERROR = "largest |E - E_ref| / N"
# piqs keeps rates in single precision, which holds these as they are.
NOISE = {"gamma_C": 0.3, "gamma_down": 2.0**-7, "gamma_z": 2.0**-7}
TIMES = np.linspace(0.0, 100.0, 51)
# Beyond, QuTiP takes too much memory or too many minutes for a reference.
_LARGEST_SETTLED, _LARGEST_CURVE = 30, 20


class WithCharger:
    """A driven charger beside N qubits in the basis of piqs, ladder by ladder."""

    def __init__(self, N: int, F: float):
        """Put both together."""
        battery = piqs.Dicke(N, emission=NOISE["gamma_down"], dephasing=NOISE["gamma_z"])
        down = piqs.jspin(N, "-", basis="dicke")
        one = qutip.qeye(down.dims[0])
        lower = qutip.tensor(qutip.sigmam(), one)
        coupling = lower.dag() * qutip.tensor(qutip.qeye(2), down) / np.sqrt(N)
        H = F * (lower + lower.dag()) + coupling + coupling.dag()
        excited = np.sqrt(NOISE["gamma_C"]) * lower.dag() * lower
        beside = qutip.super_tensor(qutip.to_super(qutip.qeye(2)), battery.lindbladian())
        self.L = qutip.liouvillian(H, [excited]) + beside
        number = piqs.jspin(N, "z", basis="dicke") + N / 2 * one
        self.number = qutip.tensor(qutip.qeye(2), number)
        ground = qutip.Qobj(piqs.dicke(N, N / 2, -N / 2).full(), dims=down.dims)
        self.start = qutip.tensor(qutip.fock_dm(2, 1), ground)

    def settled(self) -> np.ndarray:
        """Return the energy of the steady state."""
        rho = qutip.steadystate(self.L, method="direct")
        return np.real(qutip.expect(self.number, rho))

    def reference(self) -> float:
        """Return the same by one LU decomposition and a step of refinement."""
        d = self.number.shape[0]
        L = self.L.data.as_scipy().tolil()
        right = np.zeros(d * d, complex)
        right[0] = 1.0
        # The first equation follows from the others: it makes room for the trace.
        L[0] = 0
        L[0, np.arange(d) * (d + 1)] = 1.0
        L = L.tocsc()
        solver = scipy.sparse.linalg.splu(L)
        x = solver.solve(right)
        x = x + solver.solve(right - L @ x)
        return float(np.real(self.number.diag() @ x[np.arange(d) * (d + 1)]))

    def curve(self, rtol: float) -> np.ndarray:
        """Return the energies at the times."""
        options = {"rtol": rtol, "atol": 1e-3 * rtol, "nsteps": 10_000_000}
        done = qutip.mesolve(self.L, self.start, TIMES, e_ops=[self.number], options=options)
        return np.real(done.expect[0])


def settled(model: qb.StarBattery) -> np.ndarray:
    """Return the energy of the steady state by qbjax."""
    return np.asarray(qb.steady_state(model).energy)


def curve(model: qb.StarBattery, rtol: float) -> np.ndarray:
    """Return the energies at the times by qbjax."""
    return np.asarray(qb.evolve(model, TIMES, save="energy", rtol=rtol).energy)


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    rounds = 1 if smoke else 3
    for F in (2.0,) if smoke else (0.5, 2.0):
        contest = Contest(rounds)
        for N in (2,) if smoke else (4, 10, 30, 50, 100):
            model, task = qb.StarBattery(N=N, F=F, **NOISE), f"steady state, F/g = {F:g}"
            ours = {"qbjax": functools.partial(settled, model)}
            if N > _LARGEST_SETTLED:
                yield from contest.rows({"N": N, "task": task}, ours, lambda energy: None)
                continue
            peer = WithCharger(N, F)
            both = {**ours, "QuTiP piqs, direct": peer.settled}
            yield from contest.rows({"N": N, "task": task}, both, _off(peer.reference(), N))
    contest = Contest(rounds)
    for N in (2,) if smoke else (4, 10, 20, 50):
        model, task = qb.StarBattery(N=N, F=2.0, **NOISE), "curve to t = 100/g, F/g = 2"
        ours = {"qbjax": functools.partial(curve, model, 1e-8)}
        if N > _LARGEST_CURVE:
            yield from contest.rows({"N": N, "task": task}, ours, lambda energies: None)
            continue
        peer = WithCharger(N, 2.0)
        both = {**ours, "QuTiP piqs, mesolve": functools.partial(peer.curve, 1e-7)}
        yield from contest.rows({"N": N, "task": task}, both, _off(peer.curve(1e-12), N))


def _off(exact: Any, N: int) -> Callable[[Any], float]:
    """Return what tells the error of an energy, or of several."""
    return lambda energy: float(np.max(np.abs(energy - exact)) / N)
