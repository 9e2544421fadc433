"""What the structure says of the null space, against null spaces counted densely."""

import itertools

import jax
import numpy as np
import pytest
import qutip
from helpers import general_model

import qbjax as qb
from qbjax.generator import lindblad
from qbjax.steady.populations import populations
from qbjax.steady.preconditioners import eigenvectors
from qbjax.steady.steady_state import nullspace

RATES = ("kappa", "nbar", "Gamma_down", "Gamma_up", "Gamma_z")
OFF = dict.fromkeys(RATES, 0.0)
VALUES = [
    OFF,
    OFF | {"kappa": 0.3},
    OFF | {"kappa": 0.3, "nbar": 0.4},
    OFF | {"Gamma_down": 0.2},
    OFF | {"Gamma_up": 0.2},
    OFF | {"Gamma_z": 0.4},
    OFF | {"omega_d": 0.7},
    OFF | {"omega_d": 0.7, "Gamma_z": 0.4},
    OFF | {"omega_C": 1.4},
]


def counted(N, **given):
    """dim ker L; here no rate is small."""
    L = qutip.liouvillian(*general_model(N, **given)).full()
    singular = np.linalg.svd(L, compute_uv=False)
    assert not np.any((singular > 1e-12) & (singular < 1e-6))
    return np.sum(singular < 1e-12)


@pytest.mark.parametrize("values", VALUES, ids=lambda v: ", ".join(k for k in v if v[k]) or "none")
def test_what_is_told_is_what_is_counted(values):
    told = 0
    for N, F, g, gamma_C in itertools.product((1, 2, 3), (0.0, 0.6), (0.0, 1.1), (0.0, 0.8)):
        given = {"F": F, "g": g, "gamma_C": gamma_C, **values}
        found = int(nullspace.nullity(qb.StarBattery(N, **given)))
        told += found != 0
        assert found in (0, counted(N, **given)), given
    # Of 24 combinations at least those with drive, coupling and dephasing.
    assert told >= 3


def test_what_is_unique_is_told():
    # A detuned charger alone leaves several.
    alone = [values for values in VALUES if {k for k in values if values[k]} - {"omega_C"}]
    assert len(alone) == 7
    for values in alone:
        model = qb.StarBattery(2, 0.6, 1.1, 0.8, **values)
        assert nullspace.nullity(model) == 1


@pytest.mark.parametrize("name", ["kappa", "Gamma_down", "Gamma_up"])
def test_what_moves_by_itself_needs_no_drive_and_no_dephasing(name):
    still = qb.StarBattery(2, 0.0, 1.1, 0.0, **{name: 0.2})
    assert nullspace.existence(still) == qb.Status.OK


@pytest.mark.parametrize("name", ["gamma_C", *RATES, "own"])
def test_rates_that_turn_out_negative_are_flagged(name):
    def status(rate):
        jump = qb.Jump(rate if name == "own" else 0.1, qb.Term(1.0, battery=qb.J_z))
        given = {"gamma_C": 1.0, "kappa": 0.1, "Gamma_down": 0.1}
        rates = given if name == "own" else given | {name: rate}
        return nullspace.existence(qb.StarBattery(2, 0.6, **rates, jumps=jump))

    assert jax.jit(status)(0.1) == qb.Status.OK
    assert jax.jit(status)(-0.1) == qb.Status.NOT_CONVERGED


def test_terms_of_ones_own_and_other_chargers_are_not_known():
    field = qb.Term(0.2, battery=qb.J_z)
    for model in (
        qb.StarBattery(2, 0.6, hamiltonian=(field,)),
        qb.StarBattery(2, 0.6, charger=qb.cavity(3)),
    ):
        assert nullspace.nullity(model) == 0


@pytest.mark.slow
def test_the_populations_of_the_rate_equation_are_its_steady_state():
    """What comes into an eigenstate of H is what leaves it, in a padded battery, too."""
    for N_max in (2, 4):
        model = qb.StarBattery(np.array(2), 0.5, omega_C=1.4, kappa=0.3, N_max=N_max)
        L = lindblad.generator(model)
        live = L.basis.live(model.N)
        found = populations(L, eigenvectors(L, live), live)
        vectors = found.vectors[0, 0]
        rates = np.zeros((2 * N_max + 2,) * 2)
        for jump in L.jumps:
            inside = vectors.conj().T @ L.matrix(jump.left)[0] @ vectors
            rates += jump.rate * np.abs(inside) ** 2
        p = np.ravel(found.rest)
        np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-12)
        np.testing.assert_allclose(rates @ p, rates.sum(0) * p, rtol=0, atol=1e-13)
