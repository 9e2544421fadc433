"""The rate equation of the iterative solver, against the thermal state of independent qubits."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb
from qbjax.generator import lindblad
from qbjax.steady.populations import populations


@pytest.mark.parametrize("N", [1, 3, 4])
def test_independent_qubits_come_to_rest_in_their_thermal_state(N):
    kappa, nbar, down, up = 0.3, 0.4, 0.2, 0.05
    losses = {"kappa": kappa, "nbar": nbar, "gamma_down": down, "gamma_up": up}
    # In the states |a, n> of charger and ladders every jump moves populations, and no other.
    model = qb.StarBattery(N=N, N_max=4, F=0.5, **losses)
    generator = lindblad.generator(model)
    blocks, size = model.basis.blocks, 2 * model.levels
    vectors = jnp.broadcast_to(jnp.eye(size), (blocks, 1, size, size))
    live = np.asarray(model.basis.live(N))
    rest = populations(generator, vectors, live).rest.reshape(blocks, 2, model.levels)
    charger = np.array([nbar + 1, nbar]) / (2 * nbar + 1)
    expected = np.zeros(rest.shape)
    for j, n in zip(*np.nonzero(live), strict=True):
        # Its levels are told apart by the excitations n, from j to N - j.
        copies = math.comb(N, j) - (math.comb(N, j - 1) if j else 0)
        weight = copies * up**n * down ** (N - n) / (up + down) ** N
        expected[j, :, n] = charger * weight
    assert expected.sum() == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_allclose(rest, expected, atol=1e-12)
