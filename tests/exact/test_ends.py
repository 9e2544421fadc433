"""Many qubits by the ends of the ladder: against all levels, closed forms, and mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import mp_log_smallest

import qbjax as qb
from qbjax.exact import ends, rates, sectors
from qbjax.paper.laws import deficit_limit
from qbjax.steady import exact

SIZES = [(600, 0.5, 1.0), (601, 0.5, 1.0), (600, -0.5, 1.0), (601, 1.0, -0.7), (600, -2.0, -1.1)]


def deficit(state):
    """a_N = N (1 - ratio), with all its digits."""
    return 2 * (1 - float(state.largest_eigenvalue))


@pytest.mark.parametrize(("N", "F", "g"), SIZES)
def test_the_ends_are_all_there_is(N, F, g):
    model = qb.StarBattery(N=N, F=F, g=g, gamma_C=0.3)
    ours = qb.steady_state(model)
    whole = jax.jit(lambda model: exact.solution(model, None))(model)
    np.testing.assert_allclose(ours.rho, whole.rho, rtol=0, atol=1e-14)
    np.testing.assert_allclose(ours.battery, whole.battery, rtol=0, atol=1e-14)
    np.testing.assert_allclose(ours.populations, np.diag(whole.battery), rtol=0, atol=1e-14)
    assert float(ours.largest_eigenvalue) == pytest.approx(float(whole.largest), abs=1e-14)
    expected = float(whole.log_relaxation_time)
    assert float(ours.log_relaxation_time) == pytest.approx(expected, rel=1e-12)
    assert ours.residual < 1e-13
    without = qb.steady_state(model, state=False)
    assert without.rho is without.battery is None
    for name in ("energy", "ergotropy", "ratio", "log_relaxation_time", "nullity"):
        assert float(getattr(without, name)) == float(getattr(ours, name)), name


@pytest.mark.parametrize("F", [0.2, 0.5, 1.0, 5.0, 10.0])
def test_a_million_qubits_against_the_limit_in_closed_form(F):
    state = qb.steady_state(qb.StarBattery(N=10**6, F=F), state=False)
    assert float(state.energy) == pytest.approx(5e5, rel=1e-13)
    # N (a_N - a_infinity) tends to a constant below 40 for these drives.
    assert deficit(state) == pytest.approx(deficit_limit(F), abs=1e-4)
    assert float(state.ratio) == pytest.approx(1 - deficit(state) / 1e6, abs=1e-15)
    assert float(jnp.sum(state.populations)) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_array_equal(state.populations[:50], state.populations[-1:-51:-1])
    assert state.status == qb.Status.OK


def test_how_the_limit_is_approached():
    """From independent arithmetic at many digits: N (a_N - a_infinity) at F/g = 0.2, 0.5, 1, 2."""
    limits = {0.2: 0.0023, 0.5: 0.0761, 1.0: 0.644, 2.0: 2.64}
    for F, expected in limits.items():
        N = 20_000
        state = qb.steady_state(qb.StarBattery(N=N, F=F), state=False)
        assert N * (deficit(state) - deficit_limit(F)) == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize(("N", "F"), [(1000, 1.0), (1001, 1.0), (3000, 2.0)])
def test_the_slowest_time_against_mpmath(N, F):
    model = qb.StarBattery(N=N, F=F, gamma_C=0.7)
    ours = float(qb.steady_state(model, state=False).log_relaxation_time)
    log_omega = mpmath.log(2) + mp_log_smallest(N, F, 1, digits=N)
    # Overdamped: r = omega^2 / (gamma_C / 2).
    expected = float(mpmath.log(mpmath.mpf("0.35")) - 2 * log_omega)
    assert ours == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("N", "F", "weight"), [(401, 0.5, 1e-3), (1000, 3.0, 1e-3), (999, 3.0, 1e-6)]
)
def test_the_slowest_weighty_mode_against_all_levels(N, F, weight):
    model = qb.StarBattery(N=N, F=F)
    ours = ends.log_slowest_splitting(model, ends.size_for(model), jnp.asarray(weight))
    whole = rates.energy_rate(model, jax.jit(sectors.diagonalise)(model), weight)
    assert float(ours) == pytest.approx(float(whole.log_omega), rel=1e-13)


@pytest.mark.slow
def test_charging_times_of_many_qubits_and_their_derivatives():
    def log_tau(F, g=1.0):
        model = qb.StarBattery(N=3000, F=F, g=g)
        return qb.charging_time(model, "decay_rate").log_tau

    F, h, weights = 3.0, 3e-3, np.array([-1, 9, -45, 0, 45, -9, 1]) / 60
    difference = weights @ [float(log_tau(F + i * h)) for i in range(-3, 4)] / h
    slope, by_g = (float(x) for x in jax.grad(log_tau, (0, 1))(F, 1.0))
    assert slope == pytest.approx(difference, rel=1e-7)
    assert float(jax.jvp(log_tau, (F,), (1.0,))[1]) == pytest.approx(slope, rel=1e-13)
    # tau g is a function of F/g and gamma_C/g; overdamped it goes as gamma_C.
    assert F * slope + by_g == pytest.approx(-2.0, abs=1e-6)
    best = qb.optimal_dephasing(qb.StarBattery(N=10**6, F=3.0), "decay_rate")
    assert float(best.log_gamma_C + best.log_tau) == pytest.approx(np.log(4.0), abs=1e-8)
    assert best.status == qb.Status.OK


@pytest.mark.slow
def test_figures_of_merit_have_derivatives_and_batches():
    def energy_lost(F):
        state = qb.steady_state(qb.StarBattery(N=10**4, F=F), state=False)
        return state.energy - state.ergotropy

    h = 1e-4
    difference = (energy_lost(0.5 + h) - energy_lost(0.5 - h)) / (2 * h)
    assert float(jax.grad(energy_lost)(0.5)) == pytest.approx(float(difference), rel=1e-6)
    batch = qb.steady_state(
        qb.StarBattery(N=np.array([3000, 4000]), F=[[0.5], [1.0]], N_max=4000), state=False
    )
    for i, F in enumerate((0.5, 1.0)):
        for k, N in enumerate((3000, 4000)):
            one = qb.steady_state(qb.StarBattery(N=N, F=F), state=False)
            np.testing.assert_allclose(batch.ratio[i, k], one.ratio, rtol=1e-14)


def test_what_does_not_fit_is_refused_or_flagged():
    with pytest.raises(qb.ArgumentError, match="`N` must be small enough for a state"):
        qb.steady_state(qb.StarBattery(N=10**6, F=0.5))
    # Traced, the drive is taken for no stronger than 10 g.
    status = jax.jit(
        lambda F: qb.steady_state(qb.StarBattery(N=10**6, F=F), state=False, throw=False).status
    )
    assert status(9.0) == qb.Status.OK
    assert status(40.0) == qb.Status.NOT_CONVERGED

    def slowest(F):
        model = qb.StarBattery(N=10**6, F=F)
        time, best = (f(model, "decay_rate") for f in (qb.charging_time, qb.optimal_dephasing))
        return time.status, time.log_tau, best.status, best.log_tau

    right, wrong = (jax.jit(slowest)(F) for F in (9.0, 40.0))
    assert right[0] == right[2] == qb.Status.OK
    assert wrong[0] == wrong[2] == qb.Status.NOT_CONVERGED
    assert np.isnan(wrong[1])
    assert np.isnan(wrong[3])
    stuck = qb.steady_state(qb.StarBattery(N=10**6, F=0.0), state=False, throw=False)
    assert stuck.status == qb.Status.NO_DRIVE
    assert np.isnan(stuck.energy)


@pytest.mark.slow
def test_sweeps_go_by_the_ends_where_no_state_is_asked_for():
    grid = {"N": [2, 700, 10**6], "F": [0.5]}
    dataset = qb.sweep(qb.StarBattery, grid, ["ratio", "energy"])
    for i, N in enumerate(grid["N"]):
        one = qb.steady_state(qb.StarBattery(N=N, F=0.5), state=False)
        assert float(dataset.ratio[i, 0]) == pytest.approx(float(one.ratio), rel=1e-13)
