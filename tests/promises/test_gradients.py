"""Derivatives: reverse = forward = central differences, and never NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import mp_log_smallest

import qbjax as qb

DRIVES = (0.2, 1.0, 10.0)
TS = np.array([0.7, 3.0, 12.0])
G, GAMMA, OMEGA_C = 1.1, 0.6, 1.35


def model_of(p, N, N_max):
    """Build a model from (F, g, gamma_C, omega_C); without the last, it has no detuning at all."""
    return qb.StarBattery(N, *p[:3], omega_C=p[3] if len(p) == 4 else None, N_max=N_max)


def steady_values(p, N, N_max):
    ss = qb.steady_state(model_of(p, N, N_max))
    return jnp.stack([ss.energy, ss.log_relaxation_time, ss.ergotropy, *ss.populations[:2]])


def all_values(p, N, N_max):
    charging = qb.evolve(model_of(p, N, N_max), TS, save=("energy",)).energy
    return jnp.concatenate([steady_values(p, N, N_max), charging])


def derivatives(values, points, N_max):
    """Forward and reverse derivatives and central differences, each in one compiled batch."""
    sizes = jnp.array([N for N, *_ in points])
    p = jnp.array([parameters for _, *parameters in points])

    def batched(transform):
        one = transform(lambda q, N: values(q, N, N_max))
        return jax.jit(jax.vmap(one))

    forward, reverse = batched(jax.jacfwd)(p, sizes), batched(jax.jacrev)(p, sizes)
    plain = batched(lambda f: f)
    # Truncation h^2 t^3 and rounding eps N / h stay below 1e-7. Critical damping may lie at a
    # gamma_C of 1e-7, where the curves, unlike the step, have no such small scale; no rate may be
    # negative, so there the differences look ahead.
    columns = []
    for j in range(p.shape[1]):
        h = 1e-5 * jnp.maximum(p[:, j], 0.1)
        below, here, above, beyond = (plain(p.at[:, j].add(k * h), sizes) for k in (-1, 0, 1, 2))
        central = (above - below) / (2 * h[:, None])
        ahead = (4 * above - 3 * here - beyond) / (2 * h[:, None])
        columns.append(jnp.where((p[:, j] < h)[:, None], ahead, central))
    return tuple(np.asarray(d) for d in (forward, reverse, jnp.stack(columns, -1)))


def regular_points(sizes, *charger):
    return [(N, F, G, *charger) for N in sizes for F in DRIVES]


def awkward_points(*detuned):
    """F = g, N = 1, Delta_C = 0, and to rounding the critical damping of the slowest mode."""
    points = []
    for N, F in ((1, 1.0), (1, 0.2), (3, 1.0), (8, 1.0), (8, 0.2)):
        critical = 8 * np.exp(mp_log_smallest(N, F, 1))
        points += [(N, F, 1.0, critical, *detuned), (N, F, 1.0, 0.3, *detuned)]
    # At N = 1 and F = g = 1 the singular values are (sqrt 5 +- 1)/2: omega = 1 and sqrt 5 are
    # critical here, the first of them exactly.
    return [*points, (1, 1.0, 1.0, 4.0, *detuned), (1, 1.0, 1.0, 4 * np.sqrt(5.0), *detuned)]


RESONANT = regular_points((1, 8), GAMMA)
DETUNED = regular_points((1, 8), GAMMA, OMEGA_C)


@pytest.fixture(scope="module")
def resonant():
    """Steady states and charging curves in one padded batch."""
    return derivatives(all_values, RESONANT + awkward_points(), 8)


@pytest.fixture(scope="module")
def detuned():
    return derivatives(all_values, DETUNED + awkward_points(1.0), 8)


def assert_agree(found, count):
    forward, reverse, difference = (d[:count] for d in found)
    scale = 1 + np.abs(difference)
    np.testing.assert_array_less(np.abs(reverse - forward) / scale, 1e-10)
    np.testing.assert_array_less(np.abs(forward - difference) / scale, 1e-6)


def test_derivatives_on_resonance(resonant):
    assert_agree(resonant, len(RESONANT))
    # No zeros compared with zeros: every charging curve depends on something.
    assert np.all(np.abs(resonant[0][: len(RESONANT), 5:]).max(axis=(1, 2)) > 1e-3)


@pytest.mark.slow
def test_derivatives_with_detuning(detuned):
    assert_agree(detuned, len(DETUNED))
    assert np.all(np.abs(detuned[0][: len(DETUNED), 5:, 3]).max(axis=1) > 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "charger"), [(all_values, (GAMMA,)), (steady_values, (GAMMA, OMEGA_C))]
)
def test_derivatives_at_64_qubits(values, charger):
    assert_agree(derivatives(values, regular_points((64,), *charger), 64), 3)


@pytest.mark.parametrize("charger", ["resonant", pytest.param("detuned", marks=pytest.mark.slow)])
def test_derivatives_are_finite_at_awkward_points(charger, request):
    forward, reverse, difference = request.getfixturevalue(charger)
    assert np.all(np.isfinite(forward))
    assert np.all(np.isfinite(reverse))
    # All but the relaxation time (row 1), which has a cusp at critical damping, are smooth there.
    smooth = [0, 2, 3, 4, 5, 6, 7]
    assert_agree([d[:, smooth] for d in (forward, reverse, difference)], len(forward))


@pytest.mark.slow
def test_derivatives_that_are_known(detuned):
    forward = detuned[0][: len(DETUNED)]
    energy, time, states = forward[:, 0], forward[:, 1], forward[:, 2:5]
    # E = N omega_B/2, and no steady state depends on gamma_C or omega_C.
    np.testing.assert_allclose(energy, 0, atol=1e-10)
    np.testing.assert_allclose(states[..., 2:], 0, atol=1e-12)
    # Only F/g matters: F d/dF + g d/dg = 0, and the slope itself is none of rounding.
    F = np.tile(DRIVES, 2)[:, None]
    assert np.all(np.abs(states[:, 0, 0]) > 1e-8)
    np.testing.assert_allclose(F * states[..., 0] + G * states[..., 1], 0, atol=1e-10)
    # Scaling F, g, gamma_C and Delta_C by s divides the relaxation time by s.
    scaled = np.concatenate([F, F * 0 + G, F * 0 + GAMMA, F * 0 + OMEGA_C - 1], axis=1)
    np.testing.assert_allclose(np.sum(scaled * time, axis=1), -1, rtol=1e-9)


def test_derivative_where_the_singular_value_underflows():
    def log_tau(F):
        return qb.steady_state(qb.StarBattery(N=150, F=F)).log_relaxation_time

    value, slope = jax.jit(jax.value_and_grad(log_tau))(1e-3)
    assert value > 1500
    # sigma_min ~ F^(N+1) at weak drive, and tau ~ sigma^-2; the correction is of order F^2 N.
    np.testing.assert_allclose(1e-3 * slope, -2 * 151, rtol=1e-3)


def exact_energy(F, g=1.0, gamma_C=0.4, **settings):
    model = qb.StarBattery(N=2, F=F, g=g, gamma_C=gamma_C)
    return qb.evolve(model, [5.0], save=("energy",), **settings).energy[0]


def by_series(F):
    return exact_energy(F, method="chebyshev", gradient="forward", rtol=1e-11)


FIRST_ORDER = {
    "detuned": lambda F: qb.decay_rate(qb.StarBattery(N=2, F=F, omega_C=1.3)),
    "settling": lambda F: qb.charging_time(qb.StarBattery(N=2, F=F), "settling").log_tau,
    "fit by gamma_C": lambda gamma_C: (
        qb.charging_time(qb.StarBattery(N=1, F=0.5, gamma_C=gamma_C)).log_tau
    ),
    "best rate": lambda F: qb.optimal_dephasing(qb.StarBattery(N=2, F=F), "integral").gamma_C,
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "settling" else pytest.mark.slow) for n in FIRST_ORDER],
)
def test_second_derivatives_that_are_not_known_are_nan(name):
    function = FIRST_ORDER[name]
    assert np.isfinite(jax.grad(function)(0.5))
    assert np.isnan(jax.jacfwd(jax.jacfwd(function))(0.5))


SECOND_ORDER = {
    "curve by F": exact_energy,
    "curve by g": lambda g: exact_energy(0.5, g),
    "decay rate": lambda F: qb.decay_rate(qb.StarBattery(N=2, F=F)),
    "relaxation time": lambda F: qb.steady_state(qb.StarBattery(N=2, F=F)).log_relaxation_time,
    "integral": lambda F: qb.charging_time(qb.StarBattery(N=2, F=F), "integral").log_tau,
    "curve by gamma_C": lambda gamma_C: exact_energy(0.5, gamma_C=gamma_C),
    "ergotropy": lambda F: qb.steady_state(qb.StarBattery(N=2, F=F)).ergotropy,
    "direct": lambda F: qb.steady_state(qb.StarBattery(N=2, F=F, kappa=0.1)).energy,
    "series": by_series,
}


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_second_derivatives_are_those_of_differences_of_values(name):
    function, h = SECOND_ORDER[name], 2e-3
    found = jax.jacfwd(jax.jacfwd(function))(0.5)
    values = [function(0.5 + i * h) for i in (-2, -1, 0, 1, 2)]
    expected = np.dot([-1, 16, -30, 16, -1], values) / (12 * h**2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_an_optimum_at_the_end_of_a_branch_has_no_derivative():
    def best(F):
        model = qb.StarBattery(N=2, F=F)
        best = qb.optimal_dephasing(model, branch="continuous", throw=False)
        return best.gamma_C, best

    slope, best = jax.grad(best, has_aux=True)(0.5)
    assert best.status == qb.Status.AMBIGUOUS
    assert np.isfinite(best.gamma_C)
    assert np.isnan(slope)
