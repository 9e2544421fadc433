"""Models and states with noise on single qubits in QuTiP's form."""

import numpy as np
import pytest
import qutip
from space_of_qubits import equation, slope
from test_equation import EVERYTHING, OWN

import qbjax as qb


def test_a_model_has_the_same_equation_there():
    """With the levels of charger and qubits counted from the other end."""
    given = EVERYTHING | {"omega_C": 1.6, "omega_d": 1.4, "jumps": qb.LocalJump(0.21, OWN)}
    H, jumps = qb.to_qutip(qb.StarBattery(N=3, **given))
    assert H.dims == [[2, 2, 2, 2], [2, 2, 2, 2]]
    rng = np.random.default_rng(0)
    rho = rng.normal(size=(16, 16)) + 1j * rng.normal(size=(16, 16))
    exact = equation(3, Delta_C=0.2, Delta_B=-0.4, own=(0.21, OWN), **EVERYTHING)
    expected = slope(*exact, rho)
    theirs = qutip.liouvillian(H, jumps).full() @ rho[::-1, ::-1].ravel(order="F")
    found = theirs.reshape(16, 16, order="F")[::-1, ::-1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_state_has_qutips_order():
    blocks = np.zeros((2, 3, 3))
    blocks[0, 2, 2] = 1.0
    both = qutip.tensor(qutip.basis(2, 0), qutip.basis(2, 0))
    ours = qb.to_qutip(qb.LadderState(blocks))
    assert ours.dims == [[2, 2], [2, 2]]
    np.testing.assert_allclose(ours.full(), both.proj().full(), atol=1e-14)


def test_a_jump_of_ones_own_has_qutips_order():
    model = qb.StarBattery(N=1, F=0.5, gamma_C=0.0, jumps=qb.LocalJump(0.25, OWN))
    *_, jump = qb.to_qutip(model)[1]
    expected = np.kron(np.eye(2), 0.5 * OWN[::-1, ::-1])
    np.testing.assert_allclose(jump.full(), expected, atol=1e-15)


def test_more_qubits_are_refused():
    with pytest.raises(qb.ArgumentError, match="Argument `N` must be at most 10"):
        qb.to_qutip(qb.StarBattery(N=11, F=0.5, gamma_down=0.1))


def test_a_state_that_has_its_own_number_takes_no_other():
    state = qb.steady_state(qb.StarBattery(N=2, F=0.5, gamma_down=0.1)).battery
    with pytest.raises(qb.ArgumentError, match=r"`N` must be None: a LadderState has its own"):
        qb.to_qutip(state, N=2)
    with pytest.raises(qb.ArgumentError, match=r"`charger` must be None: a StarBattery has its"):
        qb.to_qutip(qb.StarBattery(N=2, F=0.5), charger=qb.qubit())
