"""Steady states against long QuTiP runs, mpmath, brute-force null spaces and 2^N spectra."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_eager_is_jit_is_vmap,
    ergotropy_2N,
    liouvillian,
    mean_excitations,
    mp_largest_eigenvalue,
    pad_state,
    qutip_states,
    random_density,
    random_ket,
    reduced,
)

import qbjax as qb
from qbjax.steady import exact

SIZES = np.arange(1, 65)
DRIVES = np.geomspace(0.05, 50, 8)


@pytest.fixture(scope="module")
def grid():
    """64 N x 8 F/g in one compiled call."""
    models = qb.StarBattery(N=SIZES[:, None], F=DRIVES, gamma_C=0.7, N_max=64)
    return models, jax.jit(qb.steady_state)(models)


@functools.cache
def start(kind, N, levels):
    if kind == "empty":
        return None
    state = random_density(N, seed=N) if kind == "mixed" else random_ket(N, seed=N)
    return pad_state(state, levels)


def as_density(state):
    if state is None or state.ndim == 4:
        return state
    return np.multiply.outer(state, state.conj())


# Fast relaxation: the slowest rate is above 0.06, so 400 leaves e^-24.
@pytest.mark.parametrize("delta", [0.0, 0.6])
@pytest.mark.parametrize("kind", ["empty", "mixed", "ket"])
@pytest.mark.parametrize("N", [1, 3])
def test_long_qutip_runs_end_in_the_steady_state(N, kind, delta):
    F, g, gamma = 2.0, 1.0, 2.0
    rho0 = start(kind, N, 4)
    unpadded = as_density(start(kind, N, N + 1))
    expected = qutip_states(N, F, g, gamma, [400.0], delta, unpadded)[0]
    model = qb.StarBattery(N=jnp.array(N), F=F, g=g, gamma_C=gamma, omega_C=1 + delta, N_max=3)
    ss = qb.steady_state(model, rho0=rho0)
    assert ss.relaxation_time < 16
    rho = np.zeros((2, 4, 2, 4), complex)
    rho[:, : N + 1, :, : N + 1] = expected
    np.testing.assert_allclose(ss.rho, rho, atol=1e-8)
    np.testing.assert_allclose(ss.battery, reduced(rho), atol=1e-8)
    np.testing.assert_allclose(ss.populations, np.diag(reduced(rho)), atol=1e-8)
    np.testing.assert_allclose(ss.energy, mean_excitations(reduced(rho)), atol=1e-8)
    np.testing.assert_allclose(ss.ergotropy, ergotropy_2N(reduced(expected)), atol=1e-8)


def test_the_charger_does_not_matter():
    """Neither its dephasing rate nor its detuning, from an entangled start."""
    rho0 = start("ket", 3, 4)
    chargers = [(0.01, 1.0), (1.0, 1.0), (30.0, 1.0), (0.01, 7.0), (1.0, 0.3), (30.0, 7.0)]
    models = [qb.StarBattery(N=3, F=0.4, gamma_C=r, omega_C=w) for r, w in chargers]
    rho = np.stack([qb.steady_state(model, rho0=rho0).rho for model in models])
    np.testing.assert_allclose(rho, np.broadcast_to(rho[0], rho.shape), atol=1e-14)
    # ... nor whether the detuning is there at all; but the start does.
    alone = qb.steady_state(qb.StarBattery(N=3, F=0.4), rho0=rho0)
    np.testing.assert_allclose(alone.rho, rho[0], atol=1e-14)
    empty = qb.steady_state(qb.StarBattery(N=3, F=0.4))
    assert np.abs(empty.rho - alone.rho).max() > 0.05


def test_omega_B_is_the_unit_of_energy_alone():
    one, other = (qb.steady_state(qb.StarBattery(N=3, F=0.4, omega_B=w)) for w in (1.0, 2.5))
    np.testing.assert_allclose(other.energy, 2.5 * one.energy, rtol=1e-14)
    np.testing.assert_allclose(other.ergotropy, 2.5 * one.ergotropy, rtol=1e-14)
    np.testing.assert_allclose(other.ratio, one.ratio, rtol=1e-14)
    np.testing.assert_allclose(other.rho, one.rho, atol=1e-15)


def test_a_battery_ket_starts_beside_an_unexcited_charger():
    model = qb.StarBattery(N=3, F=0.4)
    ket = random_ket(3, seed=5)[0]
    ket /= np.linalg.norm(ket)
    short = qb.steady_state(model, rho0=ket)
    long = qb.steady_state(model, rho0=np.stack([ket, 0 * ket]))
    np.testing.assert_array_equal(short.rho, long.rho)


def test_energy_is_half_of_the_maximum_everywhere(grid):
    models, ss = grid
    np.testing.assert_array_equal(ss.status, 0)
    np.testing.assert_allclose(ss.energy, models.N / 2, rtol=1e-10)
    np.testing.assert_allclose(ss.ratio, ss.ergotropy / ss.energy, rtol=1e-14)
    np.testing.assert_array_equal(ss.nullity, models.N + 1)


def test_the_evidence_of_the_grid_is_sound(grid):
    models, ss = grid
    assert ss.rho.shape == (64, 8, 2, 65, 2, 65)
    assert np.all(ss.residual < 1e-13)
    np.testing.assert_allclose(ss.populations.sum(-1), 1, rtol=1e-13)
    np.testing.assert_allclose(ss.battery, np.swapaxes(ss.battery, -1, -2), atol=1e-15)
    # Padded levels are empty.
    above = np.arange(65) > np.asarray(models.N)[..., None]
    assert np.all(np.asarray(ss.populations)[above] == 0)
    assert np.all(ss.smallest_eigenvalue > -1e-15)
    for N, j in ((1, 0), (2, 7), (9, 3), (64, 4)):
        matrix = ss.battery[N - 1, j, : N + 1, : N + 1]
        eta = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(ss.smallest_eigenvalue[N - 1, j], eta[0], atol=1e-15)
        # The passive energy of ladder states over the 2^N space is 1 - eta_0.
        np.testing.assert_allclose(ss.ergotropy[N - 1, j], N / 2 - 1 + eta[-1], rtol=1e-12)
        rho = ss.rho[N - 1, j].reshape(130, 130)
        assert np.linalg.eigvalsh(rho)[0] > -1e-14


def test_the_steady_state_is_in_the_null_space_of_the_liouvillian(grid):
    _, ss = grid
    for N in (1, 3):
        rho = np.asarray(ss.rho[N - 1, 3, :, : N + 1, :, : N + 1])
        for delta in (0.0, 0.8):
            L = liouvillian(N, DRIVES[3], 1.0, 0.7, delta)
            np.testing.assert_allclose(L @ rho.ravel(), 0, atol=1e-14)


def test_the_residual_is_that_of_the_liouvillian():
    # On a state that is not steady, where neither vanishes.
    N, F = 3, 0.8
    blocks = np.random.default_rng(3).normal(size=(2, N + 1, N + 1))
    ground, excited = blocks @ blocks.swapaxes(1, 2)
    rho = np.zeros((2, N + 1, 2, N + 1))
    rho[0, :, 0], rho[1, :, 1] = ground, excited
    expected = np.abs(liouvillian(N, F, 1.0, 0.7, 0.0) @ rho.ravel()).max() / ground.max()
    found = exact.residual(qb.StarBattery(N=N, F=F), jnp.asarray(ground), jnp.asarray(excited))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("N", [1, 9, 64])
def test_the_padded_batch_is_each_one_alone(grid, N):
    _, together = grid
    for j in (0, 3, 7):
        alone = qb.steady_state(qb.StarBattery(N=N, F=DRIVES[j], gamma_C=0.7))
        for name in ("energy", "ergotropy", "ratio", "log_relaxation_time"):
            ours, theirs = getattr(together, name)[N - 1, j], getattr(alone, name)
            np.testing.assert_allclose(ours, theirs, rtol=1e-11, err_msg=name)
        battery = together.battery[N - 1, j, : N + 1, : N + 1]
        np.testing.assert_allclose(battery, alone.battery, rtol=0, atol=1e-11)


def test_eager_is_jit_is_vmap():
    models = qb.StarBattery(N=np.array([1, 3, 2]), F=[0.2, 1.0, 10.0], gamma_C=0.4, N_max=3)

    def summary(model):
        ss = qb.steady_state(model)
        return ss.battery, ss.energy, ss.ergotropy, ss.log_relaxation_time, ss.nullity

    assert_eager_is_jit_is_vmap(summary, models, rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def paper_grid():
    sizes, drives = np.array([1, 2, 8, 14]), np.array([0.1, 0.5, 1.0, 2.0, 10.0])
    # g = 2: only F/g matters.
    models = qb.StarBattery(N=sizes[:, None], F=2 * drives, g=2.0, N_max=14)
    return sizes, drives, qb.steady_state(models)


@pytest.mark.parametrize("i", range(4))
def test_ergotropy_against_mpmath(paper_grid, i):
    sizes, drives, ss = paper_grid
    N = int(sizes[i])
    for j, drive in enumerate(drives):
        eta = float(mp_largest_eigenvalue(N, drive, 1))
        np.testing.assert_allclose(ss.ergotropy[i, j], N / 2 - 1 + eta, atol=1e-13)
        # Eq. (7): ratio = 1 - a/N. Multiplication by N costs a digit.
        np.testing.assert_allclose(N * (1 - ss.ratio[i, j]), 2 * (1 - eta), atol=1e-12)


def test_ergotropy_against_the_spectrum_of_all_qubits(paper_grid):
    for i, N in enumerate((1, 2)):
        for j in range(5):
            battery = np.asarray(paper_grid[2].battery[i, j, : N + 1, : N + 1])
            np.testing.assert_allclose(
                paper_grid[2].ergotropy[i, j], ergotropy_2N(battery), atol=1e-14
            )


@pytest.mark.parametrize("N", [3, 4])
def test_ergotropy_of_other_starts_against_the_spectrum_of_all_qubits(N):
    model = qb.StarBattery(N=jnp.array(N), F=0.7, N_max=4)
    ss = qb.steady_state(model, rho0=start("mixed", N, 5))
    battery = np.asarray(ss.battery)[: N + 1, : N + 1]
    np.testing.assert_allclose(ss.ergotropy, ergotropy_2N(battery), atol=1e-14)
    np.testing.assert_allclose(ss.energy, N / 2, rtol=1e-13)


def test_a_large_battery():
    ss = qb.steady_state(qb.StarBattery(N=300, F=0.5))
    np.testing.assert_allclose(ss.energy, 150, rtol=1e-10)
    assert ss.residual < 1e-13
    # ln tau is large, and finite where tau overflows.
    assert ss.log_relaxation_time > 700
    assert ss.relaxation_time == np.inf
    # PHYSICS: eta_0 tends to max(p_0/2 + p_1/4, ...) over a Poisson law of mean (F/g)^2. The
    # correction is O(1/N).
    x = 0.25
    p = [math.exp(-x) * x**k / math.factorial(k) for k in range(3)]
    limit = 2 * (1 - max(p[0] / 2 + p[1] / 4, (p[1] + p[2]) / 4))
    np.testing.assert_allclose(300 * (1 - ss.ratio), limit, atol=1 / 300)


# The null space


NULLITY_CASES = {
    "generic": {"F": 0.7, "g": 1.1},
    "equal": {"F": 1.0, "g": 1.0},
    "no drive": {"F": 0.0, "g": 1.1},
    "no coupling": {"F": 0.7, "g": 0.0},
    "neither": {"F": 0.0, "g": 0.0},
}


@pytest.mark.parametrize("case", NULLITY_CASES)
@pytest.mark.parametrize("delta", [None, 0.37])
def test_nullity_against_the_dense_null_space(case, delta):
    parameters = NULLITY_CASES[case] | {"gamma_C": 0.9}
    omega_C = None if delta is None else 1 + delta
    models = [
        qb.StarBattery(N=jnp.array(N), **parameters, omega_C=omega_C, N_max=3) for N in (1, 2, 3)
    ]
    ours = [qb.steady_state(model, throw=False).nullity for model in models]
    dense = [liouvillian(N, parameters["F"], parameters["g"], 0.9, delta or 0.0) for N in (1, 2, 3)]
    # At these sizes and rates nothing but the null space lies below 1e-9.
    singular = [np.linalg.svd(L, compute_uv=False) for L in dense]
    np.testing.assert_array_equal(ours, [np.sum(s < 1e-9) for s in singular])
    assert all(np.min(s[s >= 1e-9]) > 1e-4 for s in singular)


def test_one_of_a_batch_without_an_answer_is_an_error_on_the_host():
    with pytest.raises(qb.SolveError, match="Argument `F` must be nonzero"):
        qb.steady_state(qb.StarBattery(N=2, F=jnp.array([0.5, 0.0])))
