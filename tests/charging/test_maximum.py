"""The best moment, against numbers of another program and against dense samples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import qbjax as qb
from qbjax.charging import maximum

# N, F, figure, time and value, with gamma_C = 0.1 and t_end = 20.
KNOWN = [
    (2, 0.5, "energy", 18.865462713, 1.54206199159),
    (2, 0.5, "ergotropy", 19.356992178, 1.28515362048),
    (2, 0.5, "average_power", 2.861314326, 0.25928936755),
    (4, 2.0, "energy", 6.156496803, 3.52994020918),
    (4, 2.0, "ergotropy", 6.051491013, 3.35998604806),
    (4, 2.0, "average_power", 4.470497061, 0.68777484425),
]


def best(of, t_end=20.0, which="global", **parameters):
    model = qb.StarBattery(**{"gamma_C": 0.1, **parameters})
    return qb.charging_time(model, "maximum", of=of, t_end=t_end, which=which)


@pytest.mark.parametrize(("N", "F", "of", "time", "value"), KNOWN)
def test_known_maxima(N, F, of, time, value):
    found = best(of, N=N, F=F)
    assert found.status == qb.Status.OK
    assert not found.evidence["at_end"]
    np.testing.assert_allclose(found.tau, time, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.value, value, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.log_tau, np.log(time), atol=1e-9)


@pytest.mark.slow
def test_the_first_maximum_is_not_the_highest():
    found = best("energy", which="first", N=2, F=0.5)
    np.testing.assert_allclose(found.tau, 3.742287367, atol=1e-8)
    np.testing.assert_allclose(found.value, 0.84518586183, atol=1e-10)
    # A bump of the ergotropy, and what it leads up to.
    bump = best("ergotropy", which="first", N=4, F=10.0, gamma_C=1.0)
    np.testing.assert_allclose((bump.tau, bump.value), (0.158, 0.0024), atol=5e-4)
    top = best("ergotropy", N=4, F=10.0, gamma_C=1.0)
    np.testing.assert_allclose((top.tau, top.value), (7.131, 1.7499), atol=1e-3)


@pytest.mark.slow
def test_the_power_by_dense_samples():
    found = best("power", N=3, F=0.7)
    model = qb.StarBattery(N=3, F=0.7, gamma_C=0.1)

    def falling(t):
        return -float(qb.evolve(model, [t], save="power").power[0])

    ts = np.linspace(0.0, 20.0, 4001)
    near = ts[np.argmax(np.asarray(qb.evolve(model, ts, save="power").power))]
    top = scipy.optimize.minimize_scalar(falling, (near - 0.01, near, near + 0.01), tol=1e-9)
    np.testing.assert_allclose(found.value, -top.fun, rtol=1e-12)
    np.testing.assert_allclose(found.tau, top.x, rtol=1e-6)


@pytest.mark.slow
def test_where_it_still_rises_the_end_is_the_best():
    found = best("energy", t_end=2.0, N=2, F=0.5)
    assert found.evidence["at_end"]
    assert found.status == qb.Status.OK
    assert found.tau == 2.0
    model = qb.StarBattery(N=2, F=0.5, gamma_C=0.1)
    curve = qb.evolve(model, [2.0], save=("energy", "power"))
    np.testing.assert_allclose(found.value, curve.energy[0], rtol=1e-12)
    along = jax.grad(lambda end: best("energy", t_end=end, N=2, F=0.5).value)(2.0)
    np.testing.assert_allclose(along, curve.power[0], rtol=1e-10)


@pytest.mark.parametrize("beyond", [0.001, 0.01, 0.05, 0.2])
def test_a_top_just_before_the_end(beyond):
    found = best("energy", t_end=18.865462713 + beyond, N=2, F=0.5)
    assert not found.evidence["at_end"]
    np.testing.assert_allclose(found.tau, 18.865462713, atol=1e-8)
    np.testing.assert_allclose(found.value, 1.54206199159, atol=1e-10)


def test_samples_that_do_not_foretell_one_another_are_told():
    ts = jnp.linspace(0.0, 1.0, 129)
    slow, fast = (jnp.sin(2 * jnp.pi * periods * ts) for periods in (8.0, 45.3))
    assert maximum._is_smooth(slow)
    assert not maximum._is_smooth(fast)
    assert not maximum._is_smooth(slow + 0.05 * fast)


@pytest.mark.parametrize(
    ("of", "of_value", "of_time"),
    [
        ("energy", -1.174592, -8.12067),
        pytest.param("ergotropy", -1.546358, 2.85317, marks=pytest.mark.slow),
    ],
)
def test_derivatives(of, of_value, of_time):
    def both(F):
        found = best(of, N=2, F=F)
        return jnp.stack([found.value, found.tau])

    # Known to so many digits.
    for derivative in (jax.jacrev, jax.jacfwd):
        found = derivative(both)(0.5)
        np.testing.assert_allclose(found, (of_value, of_time), rtol=1e-5)


@pytest.mark.parametrize(
    "parameters",
    [
        {"kappa": 0.05, "omega_C": 1.1},
        pytest.param({"F": qb.Pulse(lambda t: 0.8 * jnp.cos(0.4 * t))}, marks=pytest.mark.slow),
        pytest.param({"gamma_down": 0.05}, marks=pytest.mark.slow),
    ],
    ids=["losses", "pulse", "local noise"],
)
@pytest.mark.parametrize("of", ["energy", pytest.param("ergotropy", marks=pytest.mark.slow)])
def test_any_model_by_dense_samples(parameters, of):
    parameters = {"N": 2, "F": 0.8} | parameters
    found = best(of, t_end=12.0, **parameters)
    assert found.status == qb.Status.OK
    model = qb.StarBattery(gamma_C=0.1, **parameters)
    ts = np.linspace(0.0, 12.0, 3001)
    values = np.asarray(getattr(qb.evolve(model, ts, save=of), of))
    top = np.argmax(values)
    np.testing.assert_allclose(found.value, values[top], atol=2e-5)
    assert found.value >= values[top] - 1e-8
    assert abs(found.tau - ts[top]) < 0.01


@pytest.mark.slow
def test_two_maxima_of_one_height_are_ambiguous():
    """Without dephasing a qubit is full at pi, and again at 3 pi."""
    found = best("energy", t_end=10.0, N=1, F=np.sqrt(3) / 2, gamma_C=0.0)
    assert found.status == qb.Status.AMBIGUOUS
    # A full battery falls off as the fourth power of time.
    np.testing.assert_allclose(found.tau, np.pi, atol=1e-3)
    np.testing.assert_allclose(found.value, 1.0, atol=1e-12)
    alone = best("energy", t_end=6.0, N=1, F=np.sqrt(3) / 2, gamma_C=0.0)
    assert alone.status == qb.Status.OK


def test_a_batch_and_jit():
    F = np.array([0.5, 2.0])
    together = best("energy", N=np.array([2, 4]), N_max=4, F=F)
    alone = [best("energy", N=N, F=x).tau for N, x in ((2, 0.5), (4, 2.0))]
    np.testing.assert_allclose(together.tau, alone, rtol=1e-9)
    assert together.value.shape == (2,)
    jitted = jax.jit(lambda F: best("energy", N=2, F=F).tau)(0.5)
    np.testing.assert_allclose(jitted, alone[0], rtol=1e-9)


def test_frequencies_that_nothing_resolves_are_flagged():
    found = jax.jit(functools.partial(best, "energy", 4000.0, N=2, gamma_C=0.1))(F=10.0)
    assert found.status == qb.Status.NOT_CONVERGED
    assert np.isnan(found.tau)
    assert np.isnan(found.value)


def test_wrong_options_are_refused():
    for given, message in (
        ({"of": "work"}, "`of` must be"),
        ({"of": "energy", "which": "last"}, "`which` must be"),
        ({"of": "energy", "t_end": 0.0}, "`t_end` must be positive and finite"),
        ({"of": "energy", "t_end": None}, "`t_end` must be given"),
        ({"of": "energy", "t_end": [1.0, 2.0]}, "`t_end` must be one real number"),
    ):
        with pytest.raises(qb.ArgumentError, match=message):
            best(**given, N=1, F=0.5)
    with pytest.raises(qb.ArgumentError, match='`band` must be left out for "maximum"'):
        qb.charging_time(qb.StarBattery(N=1, F=0.5), "maximum", t_end=1.0, band=0.1)
    traced = jax.jit(lambda end: best("energy", end, N=1, F=0.5))(-1.0)
    assert traced.status == qb.Status.OUT_OF_RANGE
    assert np.isnan(traced.value)
