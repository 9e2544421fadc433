"""What results say of themselves: residuals, statuses and identities, each against its meaning."""

import functools
import json

import jax
import numpy as np
import pytest
import qutip

import qbjax as qb
from qbjax.__main__ import main
from qbjax.exact.rates import slowest_root
from qbjax.model.batching import enable_x64
from qbjax.steady import iterative
from qbjax.sweeps import provenance


def state_and_change(rho, F, gamma_C, kappa):
    """A state of N = 1 and L rho, by QuTiP, as matrices."""
    lower, one = qutip.sigmam(), qutip.qeye(2)
    C, B = qutip.tensor(lower, one), qutip.tensor(one, lower)
    H = F * (C + C.dag()) + C.dag() * B + B.dag() * C
    jumps = [np.sqrt(kappa) * C, np.sqrt(gamma_C) * (C.dag() * C - 0.5)]
    # QuTiP's topmost level is the first.
    rho = np.asarray(rho)[::-1, ::-1, ::-1, ::-1].reshape(4, 4)
    L = qutip.liouvillian(H, jumps).full()
    return rho, (L @ rho.flatten(order="F")).reshape(4, 4, order="F")


def test_residual_of_a_state_at_a_time():
    F, kappa, gamma_C = 0.5, 0.3, 0.2
    ss = qb.steady_state(qb.StarBattery(1, F, gamma_C=gamma_C, kappa=kappa), time=2.0, throw=False)
    rho, change = state_and_change(ss.rho, F, gamma_C, kappa)
    # The parts of complex numbers are looked at apart, in the gauge where they are.
    parts = np.abs([change.real, change.imag]).max(), np.abs([rho.real, rho.imag]).max()
    np.testing.assert_allclose(ss.residual, parts[0] / parts[1], rtol=1e-6)


def test_a_charger_that_leaks_empties_the_battery_without_drive():
    rho0 = np.array([0.6, 0.0, 0.8])
    for method in ("direct", "iterative"):
        model = qb.StarBattery(2, 0.0, kappa=0.4)
        ss = qb.steady_state(model, rho0=rho0, method=method)
        assert ss.status == qb.Status.OK
        empty = np.zeros((2, 3, 2, 3))
        empty[0, 0, 0, 0] = 1
        np.testing.assert_allclose(ss.rho, empty, atol=1e-8)


@pytest.mark.slow
def test_derivatives_from_a_start_that_is_steady_already():
    N = 2
    mixed = np.einsum("ab,nm->anbm", np.eye(2), np.eye(N + 1)) / (2 * N + 2)

    def ergotropy(rate, method):
        model = qb.StarBattery(N, 0.5, Gamma_down=rate, Gamma_up=0.1)
        return qb.steady_state(model, rho0=mixed, method=method).energy

    direct, iterative = (
        jax.grad(lambda rate, method=method: ergotropy(rate, method))(0.1)
        for method in ("direct", "iterative")
    )
    assert abs(direct) > 0.1
    np.testing.assert_allclose(iterative, direct, rtol=1e-6)


@pytest.mark.parametrize("band", [0.003, 0.05])
def test_the_settling_time_is_where_the_curve_last_leaves_the_band(band):
    model = qb.StarBattery(2, 1.0, gamma_C=0.8)
    time = float(qb.charging_time(model, "settling", band=band).tau)
    ts = np.concatenate([[time], time * np.linspace(1.001, 4, 400)])
    off = np.abs(1 - qb.evolve(model, ts, save=("energy",)).energy / 1.0)
    np.testing.assert_allclose(off[0], band, rtol=1e-5)
    assert np.all(off[1:] < band)


def test_arrays_of_many_numbers_are_told_apart_by_their_numbers():
    numbers = np.arange(30.0)
    changed = numbers + (np.arange(30) == 17)
    assert provenance.text(numbers) != provenance.text(changed)
    assert provenance.text(numbers) == provenance.text(numbers.copy())


def test_the_command_line_reports_the_worst_status(capsys):
    arguments = "evolve --N 2 --F 2 --kappa 0.1 --charger cavity:3 --times 0,5 --json"
    main(arguments.split())
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "CUT_TOO_LOW"


def late_energy(model, steady, trajectory):
    """The last energy."""
    return trajectory.energy[-1]


@pytest.mark.slow
def test_a_function_of_the_trajectory_has_the_status_of_all_its_times():
    # A cavity that is cut too low for what the drive makes of it in time.
    fixed = functools.partial(qb.StarBattery, 1, kappa=0.1, charger=qb.cavity(3))
    model, ts = fixed(0.5), [1e-3, 5.0]
    statuses = [qb.Status(int(status)).name for status in qb.evolve(model, ts).status]
    assert statuses[0] == "OK" != statuses[1]
    data = qb.sweep(fixed, {"F": [0.5]}, late_energy, ts=ts, progress=False)
    assert data.late_energy_status == qb.Status[statuses[1]]
    assert np.isnan(data.late_energy)


def energy_modes(N, F):
    """|weight| and omega of the modes of 1 - E/E_inf, from K P = X Lambda X^T (P flips the ladder).

    With v = P x and u = x, K v = lambda u; E - N/2 is tr[V^T (n - N/2) V (rho_gg - rho_ee)], of
    which the element k, l oscillates with lambda_k + lambda_l.
    """
    n = np.arange(N + 1)
    K = F * np.eye(N + 1) + np.diag(np.sqrt(n[1:] * (N - n[1:] + 1) / N), 1)
    values, x = np.linalg.eigh(K[:, ::-1])
    v = x[::-1]
    weights = np.outer(v[0], v[0]) * (v.T * (n - N / 2) @ v)
    pairs = np.triu_indices(N + 1)
    double = np.where(pairs[0] == pairs[1], 1, 2)
    return np.abs(2 / N * double * weights[pairs]), np.abs(values[:, None] + values)[pairs]


@pytest.mark.parametrize("min_weight", [0.3, 1e-1, 1e-3, 1e-6])
def test_the_modes_that_a_decay_rate_counts(min_weight):
    N, F, gamma_C = 12, 3.0, 3.0
    weights, omegas = energy_modes(N, F)
    omega = omegas[weights >= min_weight * weights.max()].min()
    quarter = gamma_C / 4
    rate = quarter - np.sqrt(max(quarter**2 - omega**2, 0))
    model, options = qb.StarBattery(N, F, gamma_C=gamma_C), {"min_weight": min_weight}
    np.testing.assert_allclose(qb.decay_rate(model, min_weight), rate, rtol=1e-8)
    best = qb.optimal_dephasing(model, "decay_rate", **options)
    np.testing.assert_allclose([best.gamma_C, best.tau], [4 * omega, 1 / omega], rtol=1e-8)


def test_the_modes_above_different_weights_differ():
    weights, omegas = energy_modes(12, 3.0)
    slowest = [omegas[weights >= w * weights.max()].min() for w in (0.3, 1e-1, 1e-3, 1e-6)]
    assert len(np.unique(np.round(slowest, 6))) == 4


def test_the_error_estimate_of_iteration_is_what_it_says():
    kappa, gamma_C, F = 0.01, 0.2, 3.0
    ss = qb.steady_state(qb.StarBattery(1, F, gamma_C=gamma_C, kappa=kappa), method="iterative")
    change = np.linalg.norm(state_and_change(ss.rho, F, gamma_C, kappa)[1])
    # L rho of the same rho is all rounding, which the two sum in another order.
    assert 0.2 < change * ss.relaxation_time / ss.error_estimate < 5


def test_the_error_estimate_beside_the_exact_solution_is_the_distance():
    model = qb.StarBattery(6, 0.5, gamma_C=0.3)
    other = qb.steady_state(model, method="iterative", throw=False)
    distance = np.linalg.norm(np.asarray(other.rho) - qb.steady_state(model).rho)
    assert distance > 1e-10
    np.testing.assert_allclose(other.error_estimate, distance, rtol=1e-6)


@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_the_error_estimate_of_chebyshev_covers_the_error_of_its_step(rtol):
    # One step serves all three times; at the first one nothing but the estimate tells of it, while
    # at the last one the trace does, too.
    model, ts = qb.StarBattery(3, 1.0, gamma_C=0.5), [1.0, 5.0, 20.0]
    rough = qb.evolve(model, ts, method="chebyshev", rtol=rtol, tolerance=1.0, save=("rho",))
    fine = qb.evolve(model, ts, method="propagator", save=("rho",))
    error = np.linalg.norm((rough.rho - fine.rho).reshape(3, -1), axis=1)
    assert error[0] < 1e-14 < error[2]
    assert np.all(rough.error_estimate / 3 > error[2])
    assert np.all(rough.error_estimate / 3 < 10 * error[2])


@pytest.mark.slow
def test_padded_batteries_are_each_one_alone_by_iteration():
    N = [1, 4]
    batch = qb.steady_state(qb.StarBattery(N, 0.5, kappa=0.3, N_max=4), method="iterative")
    for i, each in enumerate(N):
        one = qb.steady_state(qb.StarBattery(each, 0.5, kappa=0.3), method="iterative")
        np.testing.assert_allclose(batch.energy[i], one.energy, rtol=1e-8)
        assert batch.iterations[i] <= 2 * one.iterations + 5


def test_a_charger_apart_from_the_battery_settles_by_its_own_damping_alone():
    for F, gamma_C, status in ((0.5, 0.0, "NO_COUPLING"), (0.5, 0.3, "OK"), (0.0, 0.0, "OK")):
        model = qb.StarBattery(2, F, g=0.0, gamma_C=gamma_C, Gamma_down=0.1)
        ss = qb.steady_state(model, method="direct", throw=False)
        assert qb.Status(int(ss.status)).name == status


def test_the_derivative_of_the_slowest_root():
    roots = np.array([0.2, 1.0, 3.0])
    a, b, c = roots
    coefficients = [np.array([x]) for x in np.poly(roots)[1:]]
    slopes = jax.grad(lambda given: slowest_root(given)[0])(coefficients)
    # dr/dc_j = -r^(3 - j) / p'(r).
    expected = -np.array([a**2, a, 1.0]) / ((a - b) * (a - c))
    np.testing.assert_allclose(np.ravel(slopes), expected, rtol=1e-10)


def test_the_error_estimate_of_a_state_at_a_time_does_not_go_with_omega_B():
    estimates = [
        qb.steady_state(qb.StarBattery(2, 0.5, kappa=0.2, omega_B=w), time=3.0).error_estimate
        for w in (1.0, 1e3)
    ]
    assert estimates[0] > 0
    np.testing.assert_allclose(estimates[1], estimates[0], rtol=1e-6)


def test_iterations_are_those_of_all_steps_of_pseudo_time(monkeypatch):
    """More steps take more; each number of steps has a padded size of its own to compile."""
    counts = {}
    for N_max, steps in ((2, 1), (3, 2)):
        monkeypatch.setattr(iterative, "_STEPS", steps)
        model = qb.StarBattery(np.array(2), 0.5, gamma_C=0.3, N_max=N_max)
        found = qb.steady_state(model, method="iterative", throw=False)
        counts[steps] = int(found.iterations)
    assert 0 < counts[1] < counts[2]


@pytest.mark.parametrize("loss", ["kappa", "Gamma_down"])
def test_single_precision_reaches_its_own_rounding(loss):
    model = qb.StarBattery(2, 0.5, **{loss: 0.2})
    double = qb.steady_state(model)
    with enable_x64(False):
        single = qb.steady_state(qb.StarBattery(2, 0.5, **{loss: 0.2}), tolerance=1e-3)
        assert single.method == "direct"
        assert single.rho.dtype == np.complex64
        assert single.status == qb.Status.OK
        assert single.error_estimate < 1e-4
    np.testing.assert_allclose(single.energy, double.energy, atol=1e-5)
