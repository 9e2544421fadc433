"""The best parameters for a figure of merit, against scipy and closed forms."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import ergotropy_2N, qutip_states, reduced

import qbjax as qb
from qbjax.common.checks import ArgumentError, SolveError, Status

T = 4.0


def ergotropy(model):
    return qb.evolve(model, [T]).ergotropy[0]


# Cheap figures of merit of the parameters alone, with optima in closed form.


def peak(model):
    """A maximum of 1 at F = 0.7, gamma_C = 0.02, whatever g."""
    return 1 - (model.F - 0.7) ** 2 - jnp.log(model.gamma_C / 0.02) ** 2 / 10


def slope(model):
    return model.F - model.gamma_C


@pytest.mark.slow
def test_the_best_drive_and_dephasing_against_scipy_on_qutip():
    N = 2
    model = qb.StarBattery(N=N, F=0.5, gamma_C=0.8)
    bounds = {"F": (0.1, 3.0), "gamma_C": (0.3, 5.0)}
    best = qb.optimize(model, ergotropy, bounds)

    def theirs(x):
        return -ergotropy_2N(reduced(qutip_states(N, x[0], 1.0, x[1], np.array([T])))[0].real)

    reference = scipy.optimize.minimize(
        theirs, [0.5, 0.8], method="L-BFGS-B", bounds=[*bounds.values()]
    )
    assert best.converged
    np.testing.assert_allclose(best.value, -reference.fun, rtol=1e-7)
    np.testing.assert_allclose(best.parameters["F"], reference.x[0], rtol=1e-3)
    # Dephasing only slows the charging down here.
    assert best.at_bound == {"F": 0, "gamma_C": -1}
    np.testing.assert_allclose(best.parameters["gamma_C"], reference.x[1], rtol=1e-8)


@pytest.mark.parametrize(
    "bounds",
    [
        {"F": (0.1, 10.0), "gamma_C": (1e-3, 1e2)},
        {"F": (None, None), "gamma_C": (0, None)},
        {"F": (-np.inf, 2.0), "gamma_C": (1e-6, np.inf)},
    ],
)
def test_a_maximum_inside_is_found_with_every_kind_of_bounds(bounds):
    best = qb.optimize(qb.StarBattery(N=2, F=1.5, gamma_C=1.0), peak, bounds)
    assert best.converged
    assert best.status == Status.OK
    np.testing.assert_allclose(best.value, 1.0, rtol=1e-12)
    np.testing.assert_allclose(best.parameters["F"], 0.7, rtol=1e-6)
    np.testing.assert_allclose(best.parameters["gamma_C"], 0.02, rtol=1e-6)
    assert best.at_bound == {"F": 0, "gamma_C": 0}
    # The evidence speaks of one point.
    assert best.parameters["F"] == best.model.F
    assert best.value == np.nanmax(best.history)
    np.testing.assert_allclose(best.value, peak(best.model), rtol=1e-15)
    first = peak(qb.StarBattery(N=2, F=1.5, gamma_C=1.0))
    np.testing.assert_allclose(best.history[0], first, rtol=1e-13)
    assert np.isfinite(best.history).sum() == best.steps + 1


@pytest.mark.parametrize(
    "bounds",
    [
        {"F": (0.1, 3.0), "gamma_C": (1e-3, 5.0)},
        {"F": (None, 3.0), "gamma_C": (0, None)},
    ],
)
def test_an_optimum_on_the_boundary_is_named(bounds):
    best = qb.optimize(qb.StarBattery(N=2, F=0.5, gamma_C=0.7), slope, bounds)
    assert best.converged
    assert best.at_bound == {"F": 1, "gamma_C": -1}
    np.testing.assert_allclose(best.parameters["F"], 3.0, rtol=1e-12)
    np.testing.assert_allclose(best.parameters["gamma_C"], bounds["gamma_C"][0], atol=1e-12)


def test_too_few_steps_are_not_hidden():
    model = qb.StarBattery(N=2, F=1.5, gamma_C=1.0)
    best = qb.optimize(model, peak, {"gamma_C": (1e-3, 1e2)}, max_steps=1)
    assert not best.converged
    assert best.status == Status.NOT_CONVERGED
    assert best.value > best.history[0]


def test_every_model_of_a_batch_gets_its_optimum():
    def loaded(model):
        return -((model.F - model.g) ** 2)

    models = qb.StarBattery(N=2, F=jnp.array([0.5, 2.0]), g=jnp.array([0.3, 1.5]))
    bounds = {"F": (0.1, 3.0)}
    best = qb.optimize(models, loaded, bounds)
    assert best.value.shape == best.at_bound["F"].shape == (2,)
    np.testing.assert_allclose(best.parameters["F"], models.g, rtol=1e-6)
    assert best.model.batch_shape == (2,)
    found = jax.jit(jax.vmap(lambda m: qb.optimize(m, loaded, bounds).value))(models)
    np.testing.assert_allclose(found, best.value, atol=1e-14)


def line(t, start, rise):
    return start + rise * t


def test_the_parameters_of_pulses_are_optimised():
    drive = qb.Pulse(line, 0.2, 0.1)
    steps = qb.PiecewiseConstant([1.0, 2.0], [0.5, 0.5, 0.5])
    model = qb.StarBattery(N=2, F=drive, g=steps)

    def fit(model):
        off = jnp.array([model.F(0.0) - 0.4, model.F(1.0) - 1.0])
        return -jnp.sum(off**2) - jnp.sum((model.g.values - jnp.array([0.3, 0.9, 2.0])) ** 2)

    best = qb.optimize(model, fit, {"F": ((0.0, -1.0), (1.0, 1.0)), "g": (0.1, 1.5)})
    assert best.converged
    np.testing.assert_allclose(best.parameters["F"].parameters, [0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(best.parameters["g"].values, [0.3, 0.9, 1.5], rtol=1e-6)
    np.testing.assert_array_equal(best.parameters["g"].times, steps.times)
    np.testing.assert_array_equal(best.at_bound["g"], [0, 0, 1])


@pytest.mark.parametrize(
    ("parameters", "objective", "error", "message"),
    [
        ({}, peak, ArgumentError, "`parameters` must be at least one name"),
        ({"f": (0, 1)}, peak, ArgumentError, "`parameters` must be by name out of F, g"),
        ({"N": (1, 9)}, peak, ArgumentError, "`parameters` must be by name out of F, g"),
        (
            {"kappa": (0, 1)},
            peak,
            ArgumentError,
            'absent from the model, but is given with "kappa"',
        ),
        ({"F": 3.0}, peak, ArgumentError, "a pair (low, high) for `F`"),
        ({"F": (2, 1)}, peak, ArgumentError, "numbers low < high, or None, for `F`"),
        ({"F": ("a", 1)}, peak, ArgumentError, "numbers low < high, or None, for `F`"),
        ({"gamma_C": (None, 3)}, peak, ArgumentError, "bounds of at least 0 for `gamma_C`"),
        ({"F": (1.0, 3)}, peak, ArgumentError, "`F` must be strictly between its bounds, 1 and 3"),
        ({"F": (0.5, 3)}, peak, ArgumentError, "`F` must be strictly between its bounds"),
        ({"F": (0, 3)}, lambda m: m, ArgumentError, "one that returns StarBattery"),
        ({"F": (0, 3)}, lambda m: 1j * m.F, ArgumentError, "a real scalar, but is one that"),
        ({"F": (0, 3)}, lambda m: m.F * jnp.ones(2), ArgumentError, "float64 of shape (2,)"),
        ({"F": (0, 3)}, lambda m: jnp.sqrt(-m.F), SolveError, "NaN at the model's own"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters, objective, error, message):
    with pytest.raises(error, match=re.escape(message)):
        qb.optimize(qb.StarBattery(N=2, F=0.5), objective, parameters)


@pytest.mark.slow
def test_the_best_dephasing_of_a_leaky_steady_state_against_a_scan():
    def steady(model):
        return qb.steady_state(model, throw=False).energy

    fixed = {"N": 1, "F": 0.3, "Gamma_down": 0.1}
    model = qb.StarBattery(gamma_C=0.2, **fixed)
    best = qb.optimize(model, steady, {"gamma_C": (1e-2, 10.0)})
    assert best.converged
    scan = steady(qb.StarBattery(gamma_C=np.geomspace(1e-2, 10.0, 41), **fixed))
    assert scan.max() * (1 - 1e-9) <= best.value <= scan.max() * 1.01
