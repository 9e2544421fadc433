"""The seam for another basis: two qubits that decay each for itself, on a triplet and a singlet."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import qbjax as qb
from qbjax.basis.basis import Basis
from qbjax.basis.operators import Operator
from qbjax.generator import lindblad, stored_states
from qbjax.generator.lindblad import Generator, JumpTerm
from qbjax.model.equation import terms
from qbjax.model.terms import total

F, GAMMA_C, GAMMA = 0.7, 0.3, 0.2


class TripletAndSinglet(Basis):
    """Levels n = 0, 1, 2 of the triplet, and n = 1 alone of the singlet."""

    blocks = 2

    def live(self, N):
        return jnp.array([[True, True, True], [False, True, False]])

    def bands(self, make, N):
        triplet, singlet = make(N, 3, 0), make(N - 2, 3, 1)
        return {k: jnp.stack([triplet[k], jnp.roll(singlet[k], 1)]) for k in triplet}

    def split(self, state):
        return state

    def joined(self, blocks):
        return blocks


def generator():
    """The sum over both qubits of sigma^- rho sigma^+ between the ladders, from Clebsch-Gordan."""
    basis = TripletAndSinglet(3)
    hamiltonian, jumps = terms(qb.StarBattery(N=2, F=F, gamma_C=GAMMA_C), 0.0)
    shape = (0.0, 2, 2, basis)
    made = lindblad.generator(qb.StarBattery(N=2, F=F, gamma_C=GAMMA_C))
    dephasing = total(jumps[0].terms, *shape).gauged()
    drift = total(hamiltonian, *shape).gauged().scaled(1.0, power=-1)
    drift = drift + (dephasing.adjoint @ dephasing).scaled(-GAMMA_C / 2)
    n = jnp.broadcast_to(jnp.arange(3.0), (2, 2, 3))
    drift = drift + Operator({(0, 0, 0): -GAMMA / 2 * n})

    def lowering(weights):
        return Operator({(0, -1, 0): jnp.broadcast_to(jnp.array(weights), (2, 2, 3))})

    # By rows: the level that is reached, in the ladder that is reached.
    inside = lowering([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    down = lowering([[0.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    up = lowering([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    jumps = (
        JumpTerm(made.jumps[0].rate, dephasing, dephasing),
        *(JumpTerm(jnp.asarray(GAMMA), x, x, by) for x, by in ((inside, 0), (down, 1), (up, -1))),
    )
    return Generator(drift, jumps, 2, basis)


def brute_force(t):
    """Populations of charger and excitation number at a time, in the space of three qubits."""
    lower, one, excited = np.diag([1.0], 1), np.eye(2), np.diag([0.0, 1.0])

    def on(*factors):
        return np.kron(np.kron(*factors[:2]), factors[2])

    batteries = [on(one, lower, one), on(one, one, lower)]
    K = F * np.eye(8) + sum(batteries) / np.sqrt(2)
    H = on(lower.T, one, one) @ K
    H = H + H.T
    losses = [np.sqrt(GAMMA_C) * on(excited, one, one), *(np.sqrt(GAMMA) * b for b in batteries)]
    identity = np.eye(8)
    L = -1j * (np.kron(H, identity) - np.kron(identity, H))
    for c in losses:
        square = c.T @ c
        L = L + np.kron(c, c) - (np.kron(square, identity) + np.kron(identity, square)) / 2
    rho = np.zeros(64)
    rho[0] = 1.0
    levels = np.diag((scipy.linalg.expm(L * t) @ rho).reshape(8, 8)).real.reshape(2, 4)
    return np.stack([levels[:, 0], levels[:, 1] + levels[:, 2], levels[:, 3]], axis=1)


@pytest.mark.parametrize("written_out", [0, 9])
def test_qubits_that_decay_each_for_itself(written_out, monkeypatch):
    monkeypatch.setattr(lindblad, "_WRITTEN_OUT", written_out)
    L = generator()
    shape = stored_states.shape(L, 1)
    assert shape == (1, 3, 2, 3, 3)
    units = np.eye(int(np.prod(shape)))
    matrix = np.stack([np.ravel(L(jnp.asarray(unit).reshape(shape))) for unit in units], axis=1)
    for t in (0.3, 2.0, 30.0):
        stored = (scipy.linalg.expm(matrix * t) @ units[0]).reshape(shape)
        ours = stored_states.populations(L, jnp.asarray(stored))
        np.testing.assert_allclose(ours, brute_force(t), atol=1e-13)
