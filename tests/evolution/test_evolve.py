"""Trajectories against QuTiP's mesolve, and late times against mpmath."""

import functools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
from helpers import (
    assert_eager_is_jit_is_vmap,
    coupling_operator,
    ergotropy_2N,
    general_model,
    mean_excitations,
    mp_energy,
    mp_log_smallest,
    pad_state,
    qutip_states,
    random_density,
    random_ket,
    reduced,
)

import qbjax as qb

EVERYTHING = ("energy", "ergotropy", "power", "populations", "battery", "rho")
TS = np.array([0.0, 0.3, 1.0, 4.0, 11.0, 40.0])
LEVELS = 9

# N, F, g, gamma_C, Delta_C. One padded size, so that each kind of start compiles once.
CASES = {
    "weak": (8, 0.3, 1.0, 0.5, 0.0),
    "equal": (5, 1.0, 1.0, 1.7, 0.0),
    "strong": (2, 4.0, 1.3, 9.0, 0.0),
    "qubit": (1, 0.6, 0.9, 0.2, 0.0),
    "unitary": (4, 0.7, 1.0, 0.0, 0.0),
    "negative drive": (3, -0.7, 1.0, 0.4, 0.0),
    "detuned": (8, 0.7, 1.0, 0.5, 0.6),
    "detuned below": (3, 0.4, 1.3, 3.0, -1.4),
    "detuned unitary": (4, 0.7, 1.0, 0.0, 0.3),
    "no drive": (4, 0.0, 1.0, 0.5, 0.0),
    "no drive, odd": (3, 0.0, 1.0, 0.5, 0.4),
    "no coupling": (3, 0.7, 0.0, 0.5, 0.0),
    "no coupling, detuned": (4, 0.7, 0.0, 0.5, 0.4),
}


def padded_model(N, F, g, gamma, delta):
    # Without detuning the closed form runs, with it the matrix exponential.
    omega_C = 1 + delta if delta else None
    return qb.StarBattery(
        N=jnp.array(N), F=F, g=g, gamma_C=gamma, omega_C=omega_C, N_max=LEVELS - 1
    )


@functools.cache
def start(kind, N):
    if kind == "empty":
        return None
    return random_density(N, seed=N) if kind == "mixed" else random_ket(N, seed=N)


@pytest.mark.parametrize("kind", ["empty", "mixed", "ket"])
@pytest.mark.parametrize("case", CASES)
def test_trajectories_against_qutip(case, kind):
    N, F, g, gamma, delta = CASES[case]
    rho0 = start(kind, N)
    density = np.multiply.outer(rho0, rho0.conj()) if kind == "ket" else rho0
    expected = qutip_states(N, F, g, gamma, TS, delta, density)
    padded = None if rho0 is None else pad_state(rho0, LEVELS)
    model = padded_model(N, F, g, gamma, delta)
    traj = qb.evolve(model, TS, rho0=padded, save=EVERYTHING)

    # QuTiP's own error, at the tolerances of the helper, is about 1e-9 here.
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-7)
    close(traj.rho[:, :, : N + 1, :, : N + 1], expected)
    battery = reduced(expected)
    close(traj.battery[:, : N + 1, : N + 1], battery)
    close(traj.populations[:, : N + 1], np.einsum("tnn->tn", battery).real)
    close(traj.energy, mean_excitations(battery))
    for i in (1, 4) if N <= 5 else ():
        close(traj.ergotropy[i], ergotropy_2N(battery[i]))
    # n' = i [H, n] and [K, n] = g/sqrt(N) J_-, so dE/dt = i g/sqrt(N) Tr(J_- rho_ge) + c.c.
    lowering = coupling_operator(N, 0.0, g).full()
    flow = np.einsum("nm,tmn->t", lowering, expected[:, 0, :, 1, :])
    close(traj.power, 2 * (1j * flow).real)
    # Nothing leaks into the padding.
    assert np.all(np.asarray(traj.populations)[:, N + 1 :] == 0)
    np.testing.assert_array_equal(traj.status, 0)
    assert np.all(traj.error_estimate < 1e-9)


def test_power_is_the_slope_of_the_energy():
    h = 1e-3
    ts = np.concatenate([t + h * np.arange(-2, 3) for t in (0.6, 2.0, 9.0)])
    for delta in (0.0, 0.5):
        model = padded_model(5, 0.6, 1.1, 0.8, delta)
        traj = qb.evolve(model, ts, save=("energy", "power"))
        slope = np.reshape(traj.energy, (3, 5)) @ np.array([1, -8, 0, 8, -1]) / (12 * h)
        # Fourth order: h^4 and eps/h are both below 1e-11 here.
        np.testing.assert_allclose(traj.power[2::5], slope, rtol=0, atol=1e-10)
        assert np.max(np.abs(slope)) > 0.05


def test_energies_are_in_the_unit_of_omega_B():
    names = ("energy", "ergotropy", "power")
    one, other = (
        qb.evolve(qb.StarBattery(N=3, F=0.4, omega_B=w), TS, save=names) for w in (1.0, 2.5)
    )
    for name in names:
        np.testing.assert_allclose(getattr(other, name), 2.5 * getattr(one, name), atol=1e-13)


def test_only_what_was_asked_for_is_saved():
    traj = qb.evolve(qb.StarBattery(N=3, F=0.4), TS, save=("populations",))
    assert traj.populations.shape == (6, 4)
    assert all(getattr(traj, name) is None for name in EVERYTHING if name != "populations")
    assert traj.error_estimate.shape == traj.status.shape == traj.ts.shape == (6,)


def test_eager_is_jit_is_vmap():
    models = qb.StarBattery(N=np.array([1, 3, 2]), F=[0.2, 1.0, 10.0], gamma_C=0.4, N_max=3)

    def summary(model):
        traj = qb.evolve(model, TS, save=("energy", "populations"))
        return traj.energy, traj.populations, traj.error_estimate, traj.status

    assert_eager_is_jit_is_vmap(summary, models, rtol=1e-12, atol=1e-13)


# Splittings below rounding


def late_times(N, F, gamma, factors):
    """Times around 1 / r(2 sigma_min), the slowest rate."""
    omega = 2 * math.exp(mp_log_smallest(N, F, 1))
    rate = omega**2 / (gamma / 4 + math.sqrt((gamma / 4) ** 2 - omega**2))
    return np.asarray(factors) / rate


def test_early_and_late_times_of_a_small_battery_are_right_and_unflagged():
    ts = late_times(8, 0.5, 1.0, [1e-3, 0.03, 0.3, 1.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traj = qb.evolve(qb.StarBattery(N=8, F=0.5), ts, save=("energy",))
    error = np.abs(traj.energy - mp_energy(8, 0.5, 1, 1.0, ts))
    np.testing.assert_array_equal(traj.status, 0)
    # PHYSICS section 3: 1e-12 relative to N at its worst; the estimate bounds it up to the
    # rounding of the sum itself.
    assert np.all(error < 8e-11)
    assert np.all(error < 10 * traj.error_estimate + 1e-13)


@pytest.mark.parametrize(("N", "F"), [(16, 0.2), (20, 0.2), (21, 0.5), (24, 1.0)])
def test_late_times_are_right_where_dense_eigenvalues_have_no_digit_left(N, F):
    """The slow splittings are far below rounding: those of `eigh` leave energies off by 0.4."""
    slowest = late_times(N, F, 1.0, [0.1, 1.0, 3.0])
    ts = np.unique([3.0, 1e3, 1e9, *slowest, *(slowest[0] / 1e4, slowest[0] / 1e8)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traj = qb.evolve(qb.StarBattery(N=N, F=F), ts, save=("energy",))
    error = np.abs(traj.energy - mp_energy(N, F, 1, 1.0, ts, digits=140))
    assert np.all(error < 1e-12 * N)
    assert np.all(error < 10 * traj.error_estimate + 1e-13 * N)
    np.testing.assert_array_equal(traj.status, qb.Status.OK)


def test_what_the_tolerance_does_not_allow_is_flagged():
    # Under jit nothing warns, and the status still says it.
    model, ts = qb.StarBattery(N=16, F=0.2), np.array([3.0, 1e17, 3e23])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve = jax.jit(lambda m, rtol: qb.evolve(m, ts, save=("energy",), tolerance=rtol).status)
        strict, loose = solve(model, 1e-17), solve(model, 1e9)
    assert np.any(strict == qb.Status.SPLITTINGS_LOST)
    np.testing.assert_array_equal(loose, qb.Status.OK)
    with pytest.warns(UserWarning, match=r"cannot be told apart.*error_estimate"):
        qb.evolve(model, ts, save=("energy",), tolerance=1e-17)


def test_one_model_on_resonance_leaves_the_others_of_a_batch_detuned():
    drives = np.array([1.0, 0.6])
    batch = qb.StarBattery(2, 0.5, omega_d=drives)
    found = qb.evolve(batch, [5.0]).energy[:, 0]
    for energy, omega_d in zip(found, drives, strict=True):
        H, jumps = general_model(2, F=0.5, omega_d=omega_d)
        empty = qutip.basis([2, 3], [0, 0])
        rho = qutip.mesolve(H, empty, [0.0, 5.0], jumps).states[-1].ptrace(1).full()
        np.testing.assert_allclose(energy, mean_excitations(rho), rtol=0, atol=1e-5)


def test_the_tolerance_goes_with_omega_B():
    def solve(omega_B, tolerance):
        model = qb.StarBattery(8, 0.5, omega_B=omega_B)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return qb.evolve(model, [50.0], tolerance=tolerance)

    share = solve(1.0, 1.0).error_estimate[0] / 8
    for omega_B in (1e-3, 1.0, 1e3):
        assert solve(omega_B, 2 * share).status[0] == qb.Status.OK
        assert solve(omega_B, share / 2).status[0] == qb.Status.SPLITTINGS_LOST


def energies_in_long_doubles(N, F, gamma, dt, steps):
    """The energy at each step, by Taylor series of the master equation in 19 digits."""
    n = np.arange(N + 1, dtype=np.longdouble)
    couplings = np.sqrt(n * (N - n + 1) / N)[:, None]

    def K(x):
        return F * x + np.roll(couplings * x, -1, axis=0)

    def K_adjoint(x):
        return F * x + couplings * np.roll(x, 1, axis=0)

    def slope(state):
        # The blocks rho_gg, rho_ge / i and rho_ee, all of them real.
        ground, across, excited = state
        left, gained = K_adjoint(across.T), K(across)
        between = K(ground).T - K_adjoint(excited) - gamma / 2 * across
        return np.stack([-(left + left.T), between, gained + gained.T])

    state = np.zeros((3, N + 1, N + 1), np.longdouble)
    state[0, 0, 0] = 1
    found = []
    for _ in range(steps):
        term = state
        for order in range(1, 31):
            term = slope(term) * dt / order
            state = state + term
        found.append(n @ (np.diag(state[0]) + np.diag(state[2])))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("F", [0.1, 2.0, 10.0])
def test_many_qubits_in_long_doubles(F):
    N, dt, steps = 200, np.longdouble(1) / 16, 32
    expected = energies_in_long_doubles(N, F, np.longdouble(0.5), dt, steps)
    ts = np.arange(1, steps + 1) / 16
    model = qb.StarBattery(N=N, F=F, gamma_C=0.5)
    found = qb.evolve(model, ts, save="energy", method="exact")
    np.testing.assert_allclose(found.energy, expected.astype(float), rtol=0, atol=1e-12 * N)
    assert expected[-1] > 1e-3
