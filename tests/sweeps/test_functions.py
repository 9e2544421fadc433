"""Functions of one's own and derivatives, as observables of a sweep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import mp_energy
from sweeping import ONE, energy_at_ts, late, sweep

import qbjax as qb
from qbjax.sweeps import observables


def test_functions_and_derivatives():
    model = functools.partial(qb.StarBattery, N=3)
    grid = {"F": [0.4, 1.5], "gamma_C": [0.3, 2.0]}
    wanted = (late, qb.grad_of("ergotropy", "F"), qb.grad_of("tau_decay_rate", "gamma_C"))
    found = sweep(model, grid, wanted, ts=[0.0, 7.0])
    assert found.late.attrs["long_name"] == late.__doc__
    assert found.late.shape == (2, 2, 5)
    h = 1e-4
    for i, F in enumerate(grid["F"]):
        for j, gamma_C in enumerate(grid["gamma_C"]):
            left = 1.5 - float(mp_energy(3, F, 1.0, gamma_C, [7.0])[0])
            np.testing.assert_allclose(found.late[i, j, 0], left, rtol=1e-8)
            np.testing.assert_allclose(found.late[i, j, 1:].sum(), 1.0, rtol=1e-12)
            ergotropy = [qb.steady_state(model(F=F + x)).ergotropy for x in (-h, h)]
            slope = (ergotropy[1] - ergotropy[0]) / (2 * h)
            np.testing.assert_allclose(found.d_ergotropy_d_F[i, j], slope, rtol=1e-6)
            tau = [
                qb.charging_time(model(F=F, gamma_C=gamma_C + x), "decay_rate").tau for x in (-h, h)
            ]
            slope = (tau[1] - tau[0]) / (2 * h)
            np.testing.assert_allclose(found.d_tau_decay_rate_d_gamma_C[i, j], slope, rtol=1e-6)


def test_a_masked_point_has_no_derivative():
    def ergotropy(F):
        return qb.steady_state(qb.StarBattery(2, F, gamma_C=0.0), throw=False).ergotropy

    assert np.isnan(jax.jit(jax.grad(ergotropy))(0.5))


def test_only_what_a_function_names_is_solved(monkeypatch):
    def never(*given, **named):
        raise AssertionError

    monkeypatch.setattr(observables, "steady_state", never)
    found = sweep(ONE, {"F": [0.5]}, energy_at_ts, ts=[1.0])
    assert found.energy_at_ts.shape == (1, 1)


def branching(model, steady, trajectory):
    return steady.energy if steady.energy > 0 else 0.0


def misspelled(model, steady, trajectory):
    return steady.energi


def strange(model, steady_state):
    return steady_state.energy


def with_a_word(model, steady, trajectory):
    return "much"


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (branching, "branching, which raises TracerBoolConversionError"),
        (misspelled, "misspelled, which raises AttributeError: 'SteadyState' object has no attr"),
        (strange, "by these names, but is strange(model, steady_state)"),
        (with_a_word, "functions that return one array (with_a_word), but is one that returns str"),
    ],
)
def test_functions_that_cannot_be_used_are_named(function, what):
    with pytest.raises(qb.ArgumentError) as refused:
        sweep(ONE, {"F": [0.5]}, function)
    assert what in str(refused.value)
    assert "\n" not in str(refused.value)


def test_trajectories_where_there_is_no_steady_state():
    ts, grid = [0.0, 1.0, 4.0], {"gamma_C": [0.0, 0.5]}
    model = functools.partial(qb.StarBattery, N=2, F=0.8)
    found = sweep(model, grid, energy_at_ts, ts=ts)
    np.testing.assert_array_equal(found.energy_at_ts_status, 0)
    for i, gamma_C in enumerate(grid["gamma_C"]):
        np.testing.assert_allclose(
            found.energy_at_ts[i], mp_energy(2, 0.8, 1, gamma_C, ts), atol=1e-12
        )
    assert found.attrs["ts"] == ts


@pytest.mark.slow
def test_models_that_depend_on_time():
    def model(first):
        drive = qb.PiecewiseConstant([1.0], jnp.stack([first, jnp.asarray(1.0)]))
        return qb.StarBattery(N=2, F=drive, gamma_C=0.1, kappa=0.1)

    found = sweep(model, {"first": [0.1, 0.4]}, energy_at_ts, ts=[0.5, 2.0])
    assert (found.attrs["method"], found.first.attrs["units"]) == ("dopri8", "")
    for i, first in enumerate((0.1, 0.4)):
        alone = qb.evolve(model(jnp.asarray(first)), [0.5, 2.0])
        np.testing.assert_allclose(found.energy_at_ts[i], alone.energy, rtol=1e-11)
    with pytest.raises(qb.ArgumentError, match="must not depend on time"):
        sweep(model, {"first": [0.1]}, "energy")


@pytest.mark.slow
def test_names_are_what_the_solvers_return():
    model = functools.partial(qb.StarBattery, N=2, gamma_C=0.7)
    found = sweep(model, {"F": [0.5, 2.0]}, tuple(observables.NAMED))
    for i, F in enumerate((0.5, 2.0)):
        expected = {}
        steady = qb.steady_state(model(F=F))
        for name in ("energy", "ergotropy", "ratio", "relaxation_time", "log_relaxation_time"):
            expected[name] = getattr(steady, name)
        for definition in ("fit", "decay_rate", "settling", "integral"):
            time = qb.charging_time(model(F=F), definition, throw=False)
            best = qb.optimal_dephasing(model(F=F), definition, throw=False)
            expected[f"tau_{definition}"] = time.tau
            expected[f"gamma_C_star_{definition}"] = best.gamma_C
            expected[f"tau_star_{definition}"] = best.tau
        assert set(expected) == set(observables.NAMED)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-8, err_msg=name)


@pytest.mark.slow
def test_the_best_moment_by_name():
    model = functools.partial(qb.StarBattery, gamma_C=0.1)
    names = ["tau_maximum_energy", "max_energy"]
    found = qb.sweep(model, {"N": [1, 2], "F": [2.0]}, names, ts=[20.0])
    for N in (2,):
        best = qb.charging_time(model(N=N, F=2.0), "maximum", of="energy", t_end=20.0)
        one = found.sel(N=N, F=2.0)
        np.testing.assert_allclose(one.tau_maximum_energy, best.tau, rtol=1e-7)
        np.testing.assert_allclose(one.max_energy, best.value, rtol=1e-12)
    with pytest.raises(qb.ArgumentError, match="`ts` must be given for the largest energy"):
        qb.sweep(model, {"N": [1], "F": [2.0]}, "max_energy")
    with pytest.raises(qb.ArgumentError, match="Did you mean 'max_energy'"):
        qb.sweep(model, {"N": [1], "F": [2.0]}, "max_enery")
    with pytest.raises(qb.ArgumentError, match="but is a model that is made already"):
        qb.sweep(model(N=1, F=1.0), {"F": [2.0]}, "energy")
