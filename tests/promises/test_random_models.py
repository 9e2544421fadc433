"""Random models, starts and times: what comes back is a state or flagged, in a batch as alone."""

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import qbjax as qb

N_MAX = 3
RATES = ("gamma_C", "kappa", "Gamma_down", "Gamma_up", "Gamma_z")
LOCAL = ("gamma_down", "gamma_up", "gamma_z")
TS = np.array([0.0, 0.5, 2.0])
rate = some.one_of(some.sampled_from([0.0, 1e-9, 1.0]), some.floats(1e-9, 10.0))
models = some.fixed_dictionaries(
    {
        "N": some.integers(1, N_MAX),
        "F": some.floats(0.0, 3.0),
        "g": some.floats(0.0, 2.0),
        "omega_C": some.floats(0.5, 2.0),
        "omega_d": some.floats(0.5, 2.0),
        **dict.fromkeys(RATES, rate),
    }
)
pairs = some.tuples(models, models)
kets = some.lists(some.floats(-1, 1), min_size=2, max_size=2).filter(
    lambda ket: np.linalg.norm(ket) > 0.1
)


def build(parameters):
    return qb.StarBattery(**parameters, N_max=N_MAX)


def start(ket):
    """A start that every N has room for."""
    both = np.zeros((2, N_MAX + 1))
    both[0, :2] = np.asarray(ket) / np.linalg.norm(ket)
    return both


@jax.jit
def stationary(model, rho0):
    return qb.steady_state(model, rho0=rho0, method="direct")


@jax.jit
def charge(model, rho0):
    return qb.evolve(model, TS, rho0=rho0, save=("energy", "rho"))


def check_state(rho, status, energy, N):
    """A state to tolerance, or a status other than OK."""
    if status != qb.Status.OK:
        return
    blocks = rho.reshape(-1, 2, N_MAX + 1, 2, N_MAX + 1)
    flat = blocks.reshape(len(blocks), 2 * N_MAX + 2, -1)
    np.testing.assert_allclose(flat, flat.conj().swapaxes(1, 2), atol=1e-7)
    np.testing.assert_allclose(np.trace(flat.sum(0)), 1, atol=1e-7)
    assert np.linalg.eigvalsh(flat).min() > -1e-6
    populations = np.einsum("kanan->n", blocks).real
    np.testing.assert_allclose(energy, populations @ np.arange(N_MAX + 1), atol=1e-6)
    np.testing.assert_allclose(populations[N + 1 :], 0, atol=1e-12)


def check_pair(pair, ket):
    """Compare a batch of two with each alone; the solvers see the same numbers."""
    together = build({name: np.array([one[name] for one in pair]) for name in pair[0]})
    rho0 = start(ket)
    steady, path = stationary(together, rho0), charge(together, rho0)
    for i, parameters in enumerate(pair):
        check_state(steady.rho[i], steady.status[i], steady.energy[i], parameters["N"])
        for k in range(len(TS)):
            check_state(path.rho[i, k], path.status[i, k], path.energy[i, k], parameters["N"])
        alone, curve = stationary(build(parameters), rho0), charge(build(parameters), rho0)
        assert alone.status == steady.status[i]
        assert np.all(curve.status == path.status[i])
        if alone.status == qb.Status.OK:
            np.testing.assert_allclose(alone.energy, steady.energy[i], atol=1e-7)
        well = np.asarray(curve.status) == qb.Status.OK
        np.testing.assert_allclose(curve.energy[well], path.energy[i][well], atol=1e-6)


options = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


@pytest.mark.slow
@settings(max_examples=8, **options)
@given(pairs, kets)
def test_random_models(pair, ket):
    check_pair(pair, ket)


@pytest.mark.slow
@settings(max_examples=400, **options)
@given(pairs, kets)
def test_many_random_models(pair, ket):
    check_pair(pair, ket)


@pytest.mark.slow
@settings(max_examples=100, **options)
@given(some.tuples(*[some.fixed_dictionaries(dict.fromkeys(LOCAL, rate))] * 2), pairs, kets)
def test_many_random_models_with_noise_on_single_qubits(noise, pair, ket):
    check_pair([one | more for one, more in zip(pair, noise, strict=True)], ket)


# What a user may type, right or wrong.
anything = some.one_of(
    some.floats(), some.integers(-3, 5), some.none(), some.text(max_size=3), some.booleans()
)
wrong = some.fixed_dictionaries(
    {}, optional=dict.fromkeys(("N", "F", "g", *RATES, *LOCAL), anything)
)


def refusal(parameters):
    """What is said of what is typed; any other error passes through."""
    try:
        qb.StarBattery(**({"N": 1, "F": 0.5} | parameters))
    except qb.ArgumentError as error:
        return str(error)
    return "`"


@settings(max_examples=60, **options)
@given(wrong)
def test_what_is_typed_is_taken_or_refused_in_one_line(parameters):
    said = refusal(parameters)
    assert "`" in said
    assert "\n" not in said
