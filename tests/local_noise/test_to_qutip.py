"""Models and states with noise on single qubits in QuTiP's form."""

import numpy as np
import pytest
import qutip
from test_equation import OWN
from test_solvers import GIVEN

import qbjax as qb


def test_a_model_has_the_same_steady_state_there():
    model = qb.StarBattery(N=3, **GIVEN)
    H, jumps = qb.to_qutip(model)
    assert H.dims == [[2, 2, 2, 2], [2, 2, 2, 2]]
    ss = qb.steady_state(model)
    theirs = qutip.steadystate(H, jumps).ptrace([1, 2, 3])
    ours = qb.to_qutip(ss.battery)
    assert ours.dims == theirs.dims
    np.testing.assert_allclose(ours.full(), theirs.full(), rtol=0, atol=1e-9)


def test_a_jump_of_ones_own_has_qutips_order():
    model = qb.StarBattery(N=1, F=0.5, gamma_C=0.0, jumps=qb.LocalJump(0.25, OWN))
    *_, jump = qb.to_qutip(model)[1]
    expected = np.kron(np.eye(2), 0.5 * OWN[::-1, ::-1])
    np.testing.assert_allclose(jump.full(), expected, atol=1e-15)


def test_more_qubits_are_refused():
    with pytest.raises(qb.ArgumentError, match="Argument `N` must be at most 10"):
        qb.to_qutip(qb.StarBattery(N=11, F=0.5, gamma_down=0.1))
