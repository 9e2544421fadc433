"""Charging times and the optimal dephasing, against scipy, dense scans and direct integrals."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import qutip
import scipy.integrate
import scipy.optimize
from helpers import EXCITED, GROUND, hamiltonian, jump, mean_excitations, qutip_states, reduced

import qbjax as qb
from qbjax.charging import dephasing, local_fits
from qbjax.common.checks import ArgumentError, SolveError, Status
from qbjax.exact import curves, sectors


def damped(omega, gamma, t):
    """f'' + (gamma/2) f' + omega^2 f = 0 by a complex square root."""
    quarter, nu = gamma / 4, np.sqrt(gamma**2 / 16 - omega**2 + 0j)
    rise, fall = np.exp((nu - quarter) * t), np.exp(-(nu + quarter) * t)
    return ((rise + fall) / 2 + quarter / nu * (rise - fall) / 2).real


def modes(N, F, g=1.0):
    """Frequencies and weights of 1 - E/E_inf by numpy's SVD-free route: eigh of K P."""
    K = F * np.eye(N + 1)
    n = np.arange(1, N + 1)
    K[n - 1, n] = g * np.sqrt(n * (N - n + 1) / N)
    eigenvalues, q = np.linalg.eigh(K[:, ::-1])
    v = q[::-1]
    weights = -2 / N * np.outer(v[0], v[0]) * (v.T @ np.diag(np.arange(N + 1) - N / 2) @ v)
    return np.abs(eigenvalues[:, None] + eigenvalues).ravel(), weights.ravel()


def deficit(N, F, gamma, ts):
    omega, weights = modes(N, F)
    return sum(a * damped(w, gamma, ts) for w, a in zip(omega, weights, strict=True))


def slow_rate(N, F, gamma):
    omega, weights = modes(N, F)
    slow = omega[np.abs(weights) > 1e-3 * np.abs(weights).max()].min()
    return (gamma / 4 - np.sqrt(gamma**2 / 16 - slow**2 + 0j)).real


def eq_6_cost(N, F, gamma):
    """The definition's cost as a function of (tau, omega, phi), written out."""
    ts = np.linspace(0, 10 / slow_rate(N, F, gamma), 2000)
    values = deficit(N, F, gamma, ts)

    def cost(p):
        return np.mean((values - np.exp(-ts / p[0]) * np.cos(p[1] * ts + p[2])) ** 2)

    return cost


@pytest.mark.parametrize(("N", "F", "gamma"), [(3, 0.5, 0.2), (4, 10.0, 1.2)])
def test_fit_is_a_minimum_that_scipy_finds(N, F, gamma):
    result = qb.charging_time(qb.StarBattery(N=N, F=F, gamma_C=gamma, N_max=4))
    cost = eq_6_cost(N, F, gamma)
    p = [float(result.tau), float(result.evidence["omega"]), float(result.evidence["phi"])]
    assert cost(p) == pytest.approx(float(result.evidence["cost"]), rel=1e-9)
    nudged = np.array(p) * [1.01, 0.99, 1.0]
    options = {"xatol": 1e-9, "fatol": 1e-16, "maxiter": 4000}
    reference = scipy.optimize.minimize(cost, nudged, method="Nelder-Mead", options=options)
    # The simplex stops at the square root of the rounding in its cost.
    np.testing.assert_allclose(p[0], reference.x[0], rtol=1e-6)
    assert reference.fun >= cost(p) * (1 - 1e-9)


@pytest.mark.slow
def test_lowest_branch_has_the_least_cost_of_a_dense_search():
    N, F, gamma = 3, 0.5, 0.3
    result = qb.charging_time(qb.StarBattery(N=N, F=F, gamma_C=gamma), branch="lowest")
    cost, rate = eq_6_cost(N, F, gamma), slow_rate(N, F, gamma)
    bounds = [(0.03 / rate, 5 / rate), (0, 20 * rate), (-np.pi, np.pi)]
    search = scipy.optimize.differential_evolution(cost, bounds, seed=1, popsize=30, tol=1e-10)
    assert float(result.evidence["cost"]) <= search.fun * (1 + 1e-6)
    np.testing.assert_allclose(result.tau, search.x[0], rtol=1e-3)


@pytest.mark.parametrize(("N", "F", "gamma"), [(1, 0.5, 0.3), (3, 0.5, 0.2), (4, 10.0, 1.2)])
def test_the_local_fit_is_where_scipy_gets_from_the_same_start(N, F, gamma):
    model = qb.StarBattery(N=N, F=F, gamma_C=gamma)
    result = qb.charging_time(model, branch="local")
    cost, rate = eq_6_cost(N, F, gamma), slow_rate(N, F, gamma)
    p = [float(result.tau), float(result.evidence["omega"]), float(result.evidence["phi"])]
    start = [1 / rate, float(qb.charging_time(model, "decay_rate").evidence["omega"]), 0.0]
    found = scipy.optimize.minimize(cost, start, method="BFGS", options={"gtol": 1e-10})
    # A descent lowers the cost, and ends where none nearby is lower.
    assert cost(p) <= cost(start)
    assert cost(p) == pytest.approx(found.fun, rel=1e-6)
    assert result.status == Status.OK
    assert set(result.evidence) == {"omega", "phi", "cost"}
    best = qb.optimal_dephasing(qb.StarBattery(N=N, F=F), "fit", branch="local", throw=False)
    assert np.isfinite(best.tau)


def test_branches_differ_and_say_so():
    model = qb.StarBattery(N=4, F=0.5, gamma_C=0.0635)
    followed = qb.charging_time(model)
    lowest = qb.charging_time(model, branch="lowest")
    assert followed.tau > 1.3 * lowest.tau
    assert followed.evidence["cost"] > lowest.evidence["cost"]
    for result in (followed, lowest):
        assert result.status == Status.AMBIGUOUS
        assert result.evidence["minima"] >= 2
    np.testing.assert_allclose(followed.evidence["second_tau"], lowest.tau, rtol=0.01)


def test_a_window_makes_the_mean_over_its_width():
    """Of cos t over [a, b], cut off at the ends, it is (sin b - sin a) / (b - a)."""
    rate, window = 0.5, 1.3
    end = local_fits.SPAN / rate
    ts = np.linspace(0.0, end, local_fits.SAMPLES)
    a, b = np.clip(ts - window / 2, 0.0, end), np.clip(ts + window / 2, 0.0, end)
    found = local_fits.sample(lambda gamma, ts: jnp.cos(ts), 1.0, jnp.log(rate), window)
    # The trapezia and the straight lines between them are off by the square of the step of 0.01.
    np.testing.assert_allclose(found, (np.sin(b) - np.sin(a)) / (b - a), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_coarse_graining_is_a_centred_mean():
    N, F, gamma, window = 2, 2.0, 1.5, 1.3
    result = qb.charging_time(qb.StarBattery(N=N, F=F, gamma_C=gamma), window=window)
    end = 10 / slow_rate(N, F, gamma)
    ts = np.linspace(0, end, 2000)
    omega, weights = modes(N, F)

    def integral(t):
        fine = np.linspace(0, end, 40_001)
        values = sum(a * damped(w, gamma, fine) for w, a in zip(omega, weights, strict=True))
        return np.interp(t, fine, scipy.integrate.cumulative_trapezoid(values, fine, initial=0))

    low, high = np.clip(ts - window / 2, 0, end), np.clip(ts + window / 2, 0, end)
    smooth = (integral(high) - integral(low)) / (high - low)
    p = [float(result.evidence["omega"]), float(result.evidence["phi"])]
    model = np.exp(-ts / float(result.tau)) * np.cos(p[0] * ts + p[1])
    # The trapezia of 2000 samples against those of 40001.
    np.testing.assert_allclose(result.evidence["cost"], np.mean((smooth - model) ** 2), rtol=1e-3)
    plain = qb.charging_time(qb.StarBattery(N=N, F=F, gamma_C=gamma))
    assert abs(result.tau / plain.tau - 1) > 1e-3


@pytest.mark.slow
def test_a_single_mode_has_its_optimum_where_it_should():
    # At strong drive and N = 1 all weight lies at omega = g, to (g/F)^2. One mode alone has
    # tau* omega = 2.1975 at gamma/omega = 2.630.
    best = qb.optimal_dephasing(qb.StarBattery(N=1, F=20.0))
    np.testing.assert_allclose(best.tau, 2.1975, rtol=2e-3)
    np.testing.assert_allclose(best.gamma_C, 2.630, rtol=5e-3)
    assert best.converged
    assert best.status == Status.OK


def followed_branch(N, F, gammas):
    """tau along the branch that starts at the slow mode, by scipy from rung to rung."""
    omega, weights = modes(N, F)
    slow = omega[np.abs(weights) > 1e-3 * np.abs(weights).max()].min()
    times, p, rate = [], None, None
    for gamma in gammas:
        previous, rate = rate, slow_rate(N, F, gamma)
        # In units of 1/r, as (ln tau, omega, phi), so that one step size suits all three.
        if p is None:
            p = np.array([np.log(4 / gamma * rate), slow / rate, 0.0])
        else:
            p = np.array([p[0] + np.log(rate / previous), p[1] * previous / rate, p[2]])
        values = deficit(N, F, gamma, np.linspace(0, 10 / rate, 2000))
        ts = np.linspace(0, 10, 2000)

        def residual(p, values=values, ts=ts):
            return np.exp(-ts * np.exp(-p[0])) * np.cos(p[1] * ts + p[2]) - values

        p = scipy.optimize.least_squares(residual, p, xtol=1e-12, ftol=1e-12, gtol=1e-12).x
        times.append(np.exp(p[0]) / rate)
    return np.array(times)


@pytest.mark.parametrize(
    ("N", "F"),
    [(4, 0.5), (1, 0.5), (6, 10.0)],
)
@pytest.mark.slow
def test_optimal_dephasing_of_the_fit_against_a_scan(N, F):
    best = qb.optimal_dephasing(qb.StarBattery(N=N, F=F))
    assert best.converged
    # Whether the fit has a rival there is for `charging_time` to say: at N = 4 it has.
    there = qb.charging_time(qb.StarBattery(N=N, F=F, gamma_C=best.gamma_C))
    assert best.status == there.status == (Status.AMBIGUOUS if N == 4 else Status.OK)
    np.testing.assert_allclose(best.tau, there.tau, rtol=1e-6)
    omega, weights = modes(N, F)
    slow = omega[np.abs(weights) > 1e-3 * np.abs(weights).max()].min()
    gammas = slow * np.geomspace(0.1, 3.9, 120)
    times = followed_branch(N, F, gammas)
    # A parabola through the lowest rung and its neighbours.
    k = times.argmin()
    x, y = np.log(gammas[k - 1 : k + 2]), np.log(times[k - 1 : k + 2])
    a, b, c = np.polyfit(x - x[1], y, 2)
    np.testing.assert_allclose(best.tau, np.exp(c - b**2 / (4 * a)), rtol=1e-3)
    np.testing.assert_allclose(best.gamma_C, np.exp(x[1] - b / (2 * a)), rtol=1e-2)


@pytest.mark.slow
def test_any_optax_optimizer_finds_the_same_optimum():
    model = qb.StarBattery(N=1, F=0.5)
    best = qb.optimal_dephasing(model)
    adam = qb.optimal_dephasing(model, optimizer=optax.adam(0.01), max_steps=150)
    np.testing.assert_allclose(adam.tau, best.tau, rtol=1e-6)
    assert np.isfinite(adam.history).sum() > np.isfinite(best.history).sum()
    assert best.history.shape == (201,)


@pytest.mark.slow
def test_a_branch_that_ends_is_flagged():
    best = qb.optimal_dephasing(qb.StarBattery(N=2, F=0.5))
    assert best.status == Status.AMBIGUOUS
    assert not best.converged
    # tau goes on falling up to the fold of the branch.
    assert 5.7 < best.tau < 6.4


@pytest.mark.parametrize(("N", "F"), [(1, 0.5), (4, 0.2), (8, 0.5), (9, 2.0)])
def test_closed_form_of_the_decay_rate(N, F):
    best = qb.optimal_dephasing(qb.StarBattery(N=N, F=F), "decay_rate")
    omega, weights = modes(N, F)
    slow = omega[np.abs(weights) > 1e-3 * np.abs(weights).max()].min()
    # eigh knows the small splittings to 1e-15 absolute.
    np.testing.assert_allclose(best.gamma_C, 4 * slow, rtol=1e-9)
    np.testing.assert_allclose(best.tau, 1 / slow, rtol=1e-9)
    gammas = best.gamma_C * jnp.geomspace(0.5, 2.0, 41)
    times = qb.charging_time(qb.StarBattery(N=N, F=F, gamma_C=gammas), "decay_rate").tau
    np.testing.assert_allclose(times.min(), best.tau, rtol=1e-6)
    assert times.argmin() == 20


@pytest.mark.slow
def test_descent_agrees_with_the_closed_form_of_the_decay_rate():
    # A detuning of zero that is there takes the general path: scan, then descent to the cusp.
    model = qb.StarBattery(N=3, F=0.5, omega_C=1.0)
    found = qb.optimal_dephasing(model, "decay_rate")
    best = qb.optimal_dephasing(qb.StarBattery(N=3, F=0.5), "decay_rate")
    assert (found.method, best.method) == ("descent", "closed form")
    np.testing.assert_allclose(found.gamma_C, best.gamma_C, rtol=1e-5)
    np.testing.assert_allclose(found.tau, best.tau, rtol=1e-4)


@pytest.mark.slow
def test_far_detuned_optimum():
    # Delta_C >> omega: gamma* = 2 |Delta_C| and tau* = 2 |Delta_C| / omega^2, to O(omega/Delta).
    model = qb.StarBattery(N=1, F=0.5, omega_C=21.0)
    best = qb.optimal_dephasing(model, "decay_rate")
    omega = float(qb.charging_time(qb.StarBattery(N=1, F=0.5), "decay_rate").evidence["omega"])
    np.testing.assert_allclose(best.gamma_C, 40.0, rtol=1e-2)
    np.testing.assert_allclose(best.tau, 40.0 / omega**2, rtol=1e-2)


@pytest.mark.parametrize(("N", "F", "gamma"), [(3, 0.5, 0.3), (4, 10.0, 0.1), (2, 0.2, 5.0)])
def test_settling_and_integral_against_the_curve(N, F, gamma):
    # Padded alike, so that one program serves all.
    model = qb.StarBattery(N=N, F=F, gamma_C=gamma, N_max=4)
    settling = float(qb.charging_time(model, "settling").tau)
    ts = np.linspace(0, 1.5 * settling, 200_001)
    values = deficit(N, F, gamma, ts)
    last = ts[np.abs(values) > 0.01].max()
    np.testing.assert_allclose(settling, last, atol=ts[1])
    end = 40 / slow_rate(N, F, gamma)
    exact = scipy.integrate.quad(
        lambda t: deficit(N, F, gamma, t) ** 2, 0, end, limit=5000, epsabs=1e-12
    )[0]
    np.testing.assert_allclose(qb.charging_time(model, "integral").tau, exact, rtol=1e-7)


def test_detuned_times_against_qutip():
    N, F, gamma, delta = 2, 0.5, 0.4, 0.3
    model = qb.StarBattery(N=N, F=F, gamma_C=gamma, omega_C=1 + delta)
    settling = float(qb.charging_time(model, "settling").tau)
    ts = np.linspace(0, 1.2 * settling, 4001)[1:]
    energy = mean_excitations(reduced(qutip_states(N, F, 1.0, gamma, ts, delta)))
    last = ts[np.abs(1 - energy / (N / 2)) > 0.01].max()
    np.testing.assert_allclose(settling, last, atol=ts[0])
    with pytest.raises(ArgumentError, match=r"`omega_C` and `omega_d` must be None"):
        qb.charging_time(model, "integral")


@pytest.mark.parametrize(
    "definition",
    [pytest.param("fit", marks=pytest.mark.slow), "decay_rate", "settling", "integral"],
)
def test_gradients(definition):
    def log_tau(x):
        model = qb.StarBattery(N=3, F=x[0], gamma_C=x[1])
        # The derivative is that of the minimum, whichever way it was found.
        options = {"branch": "lowest"} if definition == "fit" else {}
        return qb.charging_time(model, definition, **options).log_tau

    x, h = jnp.array([0.5, 0.21]), 1e-5
    compiled = jax.jit(log_tau)
    reverse, forward = jax.jit(jax.jacrev(log_tau))(x), jax.jit(jax.jacfwd(log_tau))(x)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)
    steps = h * jnp.eye(2)
    differences = [(compiled(x + e) - compiled(x - e)) / (2 * h) for e in steps]
    np.testing.assert_allclose(reverse, differences, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("definition", ["integral", "fit"])
def test_derivatives_of_an_optimum(definition):
    def optimum(F):
        best = qb.optimal_dephasing(qb.StarBattery(N=1, F=F), definition)
        return jnp.stack([best.log_gamma_C, best.log_tau])

    F, h = 0.5, 1e-3
    reverse, forward = (jax.jit(d(optimum))(F) for d in (jax.jacrev, jax.jacfwd))
    np.testing.assert_allclose(reverse, forward, rtol=1e-9)
    at = [np.asarray(optimum(F + k * h)) for k in (-2, -1, 1, 2)]
    differences = (8 * (at[2] - at[1]) - (at[3] - at[0])) / (12 * h)
    # The descent knows ln tau to 1e-8, and ln gamma_C to about as much.
    np.testing.assert_allclose(reverse, differences, rtol=5e-5)


@pytest.mark.slow
def test_a_kink_has_no_derivative():
    def tau(F):
        return qb.optimal_dephasing(qb.StarBattery(N=1, F=F), "settling").tau

    value, slope = jax.value_and_grad(tau)(0.5)
    assert np.isfinite(value)
    assert np.isnan(slope)


@pytest.mark.slow
def test_batches_equal_single_models():
    batch = qb.StarBattery(N=jnp.arange(1, 5), F=0.5, gamma_C=0.3, N_max=4)
    together = qb.charging_time(batch, "settling")
    assert together.tau.shape == (4,)
    alone = qb.charging_time(qb.StarBattery(N=3, F=0.5, gamma_C=0.3), "settling")
    np.testing.assert_allclose(together.tau[2], alone.tau, rtol=1e-8)
    best = qb.optimal_dephasing(batch)
    for k, N in ((0, 1), (3, 4)):
        alone = qb.optimal_dephasing(qb.StarBattery(N=N, F=0.5))
        np.testing.assert_allclose(best.tau[k], alone.tau, rtol=1e-8)


@pytest.mark.slow
def test_what_has_no_answer_is_nan_and_flagged():
    stuck = qb.StarBattery(N=2, F=jnp.array([0.0, 0.5]), gamma_C=0.3)
    result = qb.charging_time(stuck, "settling", throw=False)
    assert list(result.status) == [Status.NO_DRIVE, Status.OK]
    assert np.isnan(result.tau[0])
    assert np.isfinite(result.tau[1])
    # At N = 600 and F/g = 3 the slowest weighty mode takes e^1322, which settling does not reach.
    slow = qb.StarBattery(N=600, F=3.0)
    known = qb.charging_time(slow, "decay_rate")
    assert (known.status, np.isinf(known.tau)) == (Status.OK, True)
    assert known.log_tau == pytest.approx(1322.31, abs=0.01)
    lost = qb.charging_time(slow, "settling")
    assert lost.status == Status.NOT_CONVERGED
    assert np.isnan(lost.tau)


@pytest.mark.slow
def test_beyond_the_limits_nothing_is_made_up():
    # The slowest mode's ln tau is 1151.8, far past the times that settling and integral can reach.
    slow = qb.StarBattery(N=150, F=0.1)
    assert qb.charging_time(slow, "decay_rate").log_tau == pytest.approx(1151.8, abs=0.1)
    for definition in ("settling", "integral"):
        result = qb.charging_time(slow, definition)
        assert result.status in (Status.NOT_CONVERGED, Status.SPLITTINGS_LOST)
        assert np.isnan(result.tau)


def test_what_the_modes_that_are_left_out_weigh():
    N, F = 100, 3.0
    weights = modes(N, F)[1].reshape(N + 1, N + 1)
    joined = (np.triu(weights) + np.triu(weights, 1))[np.triu_indices(N + 1)]
    lightest = np.sort(np.abs(joined))[:-512]
    model = qb.StarBattery(N, F)
    curve = curves.charging_curve(model, sectors.diagonalise(model))
    np.testing.assert_allclose(curve.left_out, lightest.sum(), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: qb.charging_time(m, "half"), ArgumentError, 'one of "fit", "decay_rate"'),
        (lambda m: qb.charging_time(m, branch="upper"), ArgumentError, "`branch` must be one of"),
        (lambda m: qb.charging_time(m, band=0.1), ArgumentError, "`band` must be left out"),
        (lambda m: qb.charging_time(m, "settling", band=2.0), ArgumentError, "`band` must be"),
        (lambda m: qb.charging_time(m, window=-1.0), ArgumentError, "`window` must be positive"),
    ],
)
def test_wrong_options_are_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call(qb.StarBattery(N=2, F=0.5))


@pytest.mark.parametrize("name", ["F", "g", "gamma_C"])
def test_models_without_a_charging_time_are_refused(name):
    model = qb.StarBattery(**{"N": 2, "F": 0.5, name: 0.0})
    with pytest.raises(SolveError, match=name):
        qb.charging_time(model, "decay_rate")


@pytest.mark.slow
def test_an_optimum_whose_time_cannot_be_trusted_says_so(monkeypatch):
    # Three modes do not hold the energy of this battery; no other test has its size.
    monkeypatch.setattr(curves, "_MODES", 3)
    best = qb.optimal_dephasing(qb.StarBattery(N=7, F=1.0), "settling")
    assert best.status == Status.TRUNCATED
    assert not best.converged
    assert np.isnan(best.tau)


def test_an_optimum_at_the_edge_of_the_scan_is_flagged(monkeypatch):
    best = qb.optimal_dephasing(qb.StarBattery(2, 0.8), "integral")
    assert best.status == Status.OK
    # A scan that begins just above it, at a padded size that no other test has compiled.
    ladder = best.log_gamma_C + jnp.linspace(0.01, 3.0, 200)
    monkeypatch.setattr(dephasing, "_ladder", lambda *_: (ladder, ladder[0]))
    cut = qb.optimal_dephasing(qb.StarBattery(jnp.array(2), 0.8, N_max=5), "integral")
    np.testing.assert_allclose(cut.gamma_C, best.gamma_C, rtol=1e-6)
    assert cut.status == Status.NOT_CONVERGED
    assert not cut.converged


# Beyond dephasing on battery resonance: sampled curves


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"g": 0.0, "kappa": 0.1}, Status.NO_COUPLING),
        ({"F": 0.0, "gamma_C": 0.2, "Gamma_z": 0.1}, Status.NO_DRIVE),
    ],
)
def test_a_sampled_time_says_why_there_is_no_steady_state(given, status):
    model = qb.StarBattery(**{"N": 1, "F": 0.5, "gamma_C": 0.3} | given)
    found = qb.charging_time(model, "settling", throw=False)
    assert found.status == status
    assert np.isnan(found.tau)
    with pytest.raises(SolveError, match="steady state"):
        qb.charging_time(model, "settling")


def leaky_deficit(N, F, gamma, kappa, ts):
    """1 - E/E_inf of a leaking charger by QuTiP, with E_inf from its own steady state."""
    H, start = hamiltonian(N, F, 1.0), qutip.tensor(GROUND, qutip.basis(N + 1, 0)).proj()
    leak = np.sqrt(kappa) * qutip.tensor(GROUND * EXCITED.dag(), qutip.qeye(N + 1))
    energy = qutip.tensor(qutip.qeye(2), qutip.num(N + 1))
    jumps = [jump(N, gamma), leak]
    options = {"atol": 1e-12, "rtol": 1e-10, "nsteps": 10**6, "method": "vern9"}
    found = qutip.mesolve(H, start, ts, jumps, e_ops=[energy], options=options).expect[0]
    return 1 - found / qutip.expect(energy, qutip.steadystate(H, jumps))


@pytest.mark.slow
def test_times_of_a_leaky_battery_against_qutip():
    N, F, gamma, kappa = 2, 0.5, 0.3, 0.2
    model = qb.StarBattery(N=N, F=F, gamma_C=gamma, kappa=kappa)
    settling, integral = (qb.charging_time(model, name) for name in ("settling", "integral"))
    assert settling.status == integral.status == Status.OK
    ts = np.linspace(0, 5 * float(settling.tau), 40_001)
    y = leaky_deficit(N, F, gamma, kappa, ts)
    k = np.flatnonzero(np.abs(y) > 0.01)[-1]
    # The crossing of a straight line, whose error is of second order in the step.
    part = (abs(y[k]) - 0.01) / (abs(y[k]) - abs(y[k + 1]))
    np.testing.assert_allclose(settling.tau, ts[k] + part * ts[1], rtol=1e-6)
    np.testing.assert_allclose(integral.tau, scipy.integrate.simpson(y**2, x=ts), rtol=1e-6)


@pytest.mark.slow
def test_a_leak_of_zero_changes_nothing():
    for definition in ("settling", "integral"):
        exact = qb.charging_time(qb.StarBattery(N=2, F=0.5, gamma_C=0.3), definition)
        found = qb.charging_time(qb.StarBattery(N=2, F=0.5, gamma_C=0.3, kappa=0.0), definition)
        assert found.status == Status.OK
        np.testing.assert_allclose(found.tau, exact.tau, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("definition", ["settling", "integral"])
def test_gradients_of_sampled_times(definition):
    def log_tau(x):
        model = qb.StarBattery(N=2, F=x[0], gamma_C=x[1], kappa=x[2])
        return qb.charging_time(model, definition).log_tau

    x, h = jnp.array([0.5, 0.3, 0.2]), 1e-5
    compiled = jax.jit(log_tau)
    differences = [(compiled(x + e) - compiled(x - e)) / (2 * h) for e in h * jnp.eye(3)]
    np.testing.assert_allclose(jax.jit(jax.grad(log_tau))(x), differences, rtol=1e-6)


@pytest.mark.slow
def test_optimal_dephasing_of_a_leaky_battery_against_a_scan():
    fixed = {"N": 2, "F": 0.5, "kappa": 0.02}
    best = qb.optimal_dephasing(qb.StarBattery(**fixed), "integral")
    assert best.status == Status.OK
    near = float(best.gamma_C) * np.array([0.98, 1.0, 1.02])
    times = qb.charging_time(qb.StarBattery(gamma_C=near, **fixed), "integral").tau
    assert times.argmin() == 1
    np.testing.assert_allclose(best.tau, times[1], rtol=1e-8)


@pytest.mark.parametrize("definition", ["fit", "decay_rate"])
def test_definitions_by_modes_are_refused_where_there_are_none(definition):
    leaky = qb.StarBattery(N=2, F=0.5, kappa=0.1)
    message = '`definition` must be "settling" or "integral" where `kappa` is given, but is "'
    for call in (qb.charging_time, qb.optimal_dephasing):
        with pytest.raises(ArgumentError, match=re.escape(message) + definition):
            call(leaky, definition)


def test_models_that_depend_on_time_are_refused():
    drive = qb.PiecewiseConstant([1.0], [0.5, 0.2])
    with pytest.raises(ArgumentError, match="must be constant in time"):
        qb.charging_time(qb.StarBattery(N=2, F=drive), "settling")


def test_the_integral_where_splittings_are_below_rounding():
    """ln tau of the closed form, by mpmath at 120 digits; the slow splitting is 1e-20."""
    result = qb.charging_time(qb.StarBattery(N=16, F=0.1), "integral")
    assert result.status == Status.OK
    assert result.log_tau == pytest.approx(92.4951, abs=1e-4)


@pytest.mark.parametrize("gamma", [0.02, 0.05, 0.1])
def test_settling_of_weak_damping_is_when_the_curve_last_leaves_the_band(gamma):
    """N = 1: all modes in closed form, on a fine grid of times."""
    K = np.array([[0.5, 1.0], [0.0, 0.5]])
    u, sigma, vh = np.linalg.svd(K)
    m, ts = np.array([-0.5, 0.5]), np.linspace(0, 700, 350_001)

    def damped(omega):
        nu = np.sqrt(np.complex128((gamma / 4) ** 2 - omega**2))
        growth = np.cosh(nu * ts) + gamma / 4 * np.sinh(nu * ts) / nu
        return (np.exp(-gamma * ts / 4) * growth).real

    deficit = np.zeros(ts.size)
    for k in range(2):
        for j in range(2):
            weight = vh[k, 0] * vh[j, 0] / 2
            in_v, in_u = vh[k] * m @ vh[j], u[:, k] * m @ u[:, j]
            d, s = damped(sigma[k] + sigma[j]), damped(sigma[k] - sigma[j])
            deficit -= weight * (d * (in_v - in_u) + (s if k != j else 0) * (in_v + in_u)) / 0.5
    last = ts[np.flatnonzero(np.abs(deficit) > 0.05)[-1]]
    result = qb.charging_time(qb.StarBattery(N=1, F=0.5, gamma_C=gamma), "settling", band=0.05)
    assert float(result.tau) == pytest.approx(last, abs=4e-3)


def test_beyond_the_end_of_its_branch_a_fit_is_ambiguous():
    assert qb.charging_time(qb.StarBattery(N=2, F=0.5, gamma_C=6.0)).status == Status.AMBIGUOUS


def test_an_optimum_moves_as_its_condition_does_and_a_kink_not_at_all():
    from qbjax.charging import dephasing
    from qbjax.charging.decay_rate import DecayRate

    def moved(F, stationary):
        model = qb.StarBattery(N=1, F=F, omega_C=1.3)
        return dephasing._with_derivatives(model, DecayRate(), 0.1, 0.2, None, stationary)[0]

    def log_tau(x, F):
        model = qb.StarBattery(N=1, F=F, omega_C=1.3, gamma_C=np.exp(x))
        return float(qb.charging_time(model, "decay_rate").log_tau)

    # dx/dF = -L_xF / L_xx, here at a point where L_x does not vanish.
    h = 1e-3
    at = {(i, j): log_tau(0.1 + i * h, 0.5 + j * h) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    mixed = (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) / 4
    slope = jax.grad(moved)(0.5, jnp.asarray(True))
    assert slope == pytest.approx(-mixed / (at[1, 0] - 2 * at[0, 0] + at[-1, 0]), rel=1e-4)
    assert np.isnan(jax.grad(moved)(0.5, jnp.asarray(False)))


def test_a_fit_of_fast_oscillations_is_found():
    # They are forty in the time in which they die away, beyond the fixed starts: those at the
    # model's own frequencies find them. One mode at weak dephasing decays at gamma_C / 4.
    fit = qb.charging_time(qb.StarBattery(N=1, F=10.0, gamma_C=0.1), "fit", branch="lowest")
    assert fit.status == qb.Status.OK
    assert fit.tau == pytest.approx(40.0, rel=0.01)
    assert fit.evidence["omega"] == pytest.approx(1.0, rel=0.01)
