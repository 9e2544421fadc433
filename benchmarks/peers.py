"""The model with QuTiP and with dynamiqs, called as their documentation recommends.

QuTiP gets sparse operators in its diagonal format where it evolves, and its Liouvillian once for
all dephasing rates; dynamiqs gets its diagonal layout and a batch over the dephasing rates.
"""

import functools
from typing import Any

import numpy as np
import qutip
import scipy.sparse
import scipy.sparse.linalg


class Charging:
    """N battery qubits around a driven charger by QuTiP, in the order charger, battery.

    Spins up come first in QuTiP: level 0 is |e>, and a full battery.
    """

    def __init__(self, N: int, F: float, gamma_C: float, kappa: float = 0.0, down: float = 0.0):
        self.N, self.F, self.gamma_C = N, F, gamma_C
        self.lower = qutip.tensor(qutip.sigmam(), qutip.qeye(N + 1))
        self.J_minus = qutip.tensor(qutip.qeye(2), qutip.jmat(N / 2, "-"))
        coupling = self.lower.dag() * self.J_minus / np.sqrt(N)
        self.H = F * (self.lower + self.lower.dag()) + coupling + coupling.dag()
        self.excited = self.lower.dag() * self.lower
        losses = [(kappa, self.lower), (down, self.J_minus)]
        self.losses = [np.sqrt(rate) * operator for rate, operator in losses if rate]
        self.jumps = [np.sqrt(gamma_C) * self.excited, *self.losses]
        self.n = qutip.tensor(qutip.qeye(2), qutip.jmat(N / 2, "z") + N / 2)
        self.start = qutip.tensor(qutip.fock_dm(2, 1), qutip.fock_dm(N + 1, N))

    @functools.cached_property
    def _parts(self) -> tuple[Any, Any]:
        rest = qutip.liouvillian(self.H.to("dia"), [jump.to("dia") for jump in self.losses])
        return rest, qutip.lindblad_dissipator(self.excited.to("dia"))

    def curve(self, gamma_C: float, ts: np.ndarray, method: str, rtol: float) -> np.ndarray:
        """Return the energies at a dephasing rate by `qutip.mesolve`; "diag" needs no tolerance."""
        rest, dephasing = self._parts
        options: dict[str, Any] = {"method": method}
        if method != "diag":
            options |= {"rtol": rtol, "atol": 1e-2 * rtol, "nsteps": 10_000_000}
        L = rest + gamma_C * dephasing
        done = qutip.mesolve(L, self.start, ts, e_ops=[self.n], options=options)
        return np.real(done.expect[0])

    @functools.cached_property
    def liouvillian(self) -> Any:
        """The Liouvillian as a SciPy matrix by columns."""
        return qutip.liouvillian(self.H, self.jumps).data.as_scipy().tocsc()

    def energy(self, rho: Any) -> float:
        """Return the energy of the battery in a state."""
        return float(qutip.expect(self.n, rho))

    def battery(self, rho: Any) -> dict[str, float]:
        """Return energy, and ergotropy over energy, of the battery in a state."""
        rho = (rho + rho.dag()) / 2
        energy = self.energy(rho)
        # On 2^N states there is one level at 0, and N are at 1.
        passive = 1 - np.linalg.eigvalsh(rho.ptrace(1).full())[-1]
        return {"energy": energy, "ratio": float((energy - passive) / energy)}

    def figures(self, rho: Any) -> dict[str, float]:
        """Return those of the battery, and what tells that a matrix is no steady state."""
        residual = self.liouvillian @ rho.full().ravel(order="F")
        lowest = np.linalg.eigvalsh(((rho + rho.dag()) / 2).full())[0]
        return {
            **self.battery(rho),
            "smallest eigenvalue": float(lowest),
            "residual": float(np.abs(residual).max()),
        }

    def resolvent(self, s: float) -> Any:
        """Return s (s - L)^-1 rho(0), which for small s is what the charging ends in."""
        one = scipy.sparse.identity(self.liouvillian.shape[0], format="csc")
        solver = scipy.sparse.linalg.splu(s * one - self.liouvillian)
        rho = s * solver.solve(self.start.full().ravel(order="F"))
        return qutip.Qobj(rho.reshape(self.H.shape, order="F"), dims=self.H.dims)


def qutip_energies(
    charging: Charging, rates: np.ndarray, ts: np.ndarray, method: str, rtol: float
) -> np.ndarray:
    """Return energies over dephasing rates and times, shape (G, T), by `qutip.mesolve`."""
    return np.array([charging.curve(rate, ts, method, rtol) for rate in rates])


def dynamiqs_energies(
    charging: Charging, ts: np.ndarray, method: str, rtol: float, batched: bool
) -> Any:
    """Return a function from dephasing rates to energies, shape (G, T), by `dynamiqs.mesolve`."""
    import dynamiqs as dq
    import jax
    import jax.numpy as jnp

    dq.set_precision("double")
    dims = (2, charging.N + 1)

    def operator(of_qutip: Any) -> Any:
        return dq.asqarray(of_qutip.full(), dims=dims, layout=dq.dia)

    H, n, excited = (operator(x) for x in (charging.H, charging.n, charging.excited))
    losses = [operator(x) for x in charging.losses]
    start = dq.asqarray(charging.start.full(), dims=dims)
    solver = getattr(dq.method, method)(rtol=rtol, atol=1e-2 * rtol)

    @jax.jit
    def evolve(scale: Any) -> Any:
        done = dq.mesolve(
            H,
            [excited * scale, *losses],
            start,
            jnp.asarray(ts),
            exp_ops=[n],
            method=solver,
            save_states=False,
            progress_meter=False,
            cartesian_batching=False,
        )
        return done.expects.real[..., 0, :]

    def energies(rates: np.ndarray) -> Any:
        scale = jnp.sqrt(jnp.asarray(rates))
        if batched:
            return evolve(scale[:, None, None])
        return jnp.stack([evolve(each) for each in scale])

    return energies
