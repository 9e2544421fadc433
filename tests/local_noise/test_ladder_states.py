"""Figures of merit on all ladders against those of the 2^N matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
import scipy.optimize
from space_of_qubits import excitations, product

import qbjax as qb
from qbjax.basis.ladders import Ladders


def random_state(N, seed, real=False, levels=None):
    """Mixed blocks whose ladders hold about the same."""
    rng = np.random.default_rng(seed)
    basis = Ladders(levels or N + 1)
    blocks = []
    for live in np.asarray(basis.live(N)):
        x = rng.normal(size=2 * (basis.levels,)) + (0 if real else 1j) * rng.normal()
        x = x * live[:, None] * live
        blocks.append(x @ x.conj().T)
    blocks = np.array(blocks)
    return qb.LadderState(blocks / np.trace(blocks.sum(0)).real, N)


def sorted_energy(rho, N):
    return np.sort(np.linalg.eigvalsh(rho))[::-1] @ np.sort(excitations(N))


@pytest.mark.parametrize(("N", "seed"), [(1, 0), (2, 1), (3, 2), (4, 3), (7, 4)])
def test_all_unitaries(N, seed):
    state = random_state(N, seed)
    rho, number = state.full(), excitations(N)
    passive, stored = sorted_energy(rho, N), np.diag(rho).real @ number
    np.testing.assert_allclose(qb.passive_energy(state, 2.0), 2 * passive, rtol=1e-12)
    np.testing.assert_allclose(qb.energy(state), stored, rtol=1e-13)
    np.testing.assert_allclose(qb.ergotropy(state), stored - passive, atol=1e-12)
    np.testing.assert_allclose(qb.ergotropy_ratio(state), 1 - passive / stored, atol=1e-12)
    active = np.sort(np.linalg.eigvalsh(rho)) @ np.sort(number)
    np.testing.assert_allclose(qb.capacity(state), active - passive, atol=1e-12)
    same = number[:, None] == number
    # Ladders of one energy keep their coherences apart, so the diagonal of each is what is left.
    assert qb.incoherent_ergotropy(state) <= qb.ergotropy(state) + 1e-12
    dephased = sorted_energy(rho * same, N)
    np.testing.assert_allclose(qb.incoherent_ergotropy(state), stored - dephased, atol=1e-12)
    np.testing.assert_allclose(qb.coherent_ergotropy(state), dephased - passive, atol=1e-12)


@pytest.mark.parametrize("N", [2, 3, 5])
def test_unitaries_of_ladders(N):
    """A permutation-invariant unitary turns each ladder by itself, and all its copies alike."""
    state = random_state(N, N)
    expected = 0.0
    for k, block in enumerate(np.asarray(state.blocks)):
        levels = np.arange(k, N - k + 1)
        eta = np.linalg.eigvalsh(block[k : N - k + 1, k : N - k + 1])[::-1]
        expected += eta @ levels
    np.testing.assert_allclose(qb.passive_energy(state, space="symmetric"), expected, rtol=1e-13)


@pytest.mark.parametrize("N", [1, 2, 3])
def test_unitaries_of_qubits(N):
    """Turns of all qubits alike, tried out."""
    state = random_state(N, 10 + N)
    rho, number = state.full(), np.diag(excitations(N))

    def left(angles):
        theta, phi = angles
        c, s = np.cos(theta / 2), np.sin(theta / 2)
        turn = product([np.array([[c, -s * np.exp(-1j * phi)], [s * np.exp(1j * phi), c]])] * N)
        return np.trace(turn @ rho @ turn.conj().T @ number).real

    starts = [(a, b) for a in (0.5, 2.5) for b in (0.0, 2.0, 4.0)]
    least = min(scipy.optimize.minimize(left, x, tol=1e-12).fun for x in starts)
    np.testing.assert_allclose(qb.passive_energy(state, space="local"), least, atol=1e-8)


@pytest.mark.parametrize("space", ["full", "symmetric", "local"])
def test_one_ladder_is_a_special_case(space):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 5)) + 1j * rng.normal(size=(5, 5))
    rho = x @ x.conj().T / np.trace(x @ x.conj().T).real
    blocks = np.concatenate([rho[None], np.zeros((2, 5, 5))])
    for figure in (qb.ergotropy, qb.passive_energy, qb.capacity):
        on_ladder, on_all = (figure(s, space=space) for s in (rho, qb.LadderState(blocks)))
        np.testing.assert_allclose(on_all, on_ladder, atol=1e-13)
    np.testing.assert_allclose(qb.purity(qb.LadderState(blocks)), qb.purity(rho), rtol=1e-13)
    np.testing.assert_allclose(qb.entropy(qb.LadderState(blocks)), qb.entropy(rho), rtol=1e-12)


def test_the_number_of_qubits_of_a_capacity_is_the_states():
    state = random_state(3, 0)
    assert qb.capacity(state, N=3) == qb.capacity(state)
    with pytest.raises(qb.ArgumentError, match="Argument `N` must be that of the state, 3, but is"):
        qb.capacity(state, N=2)
    assert np.isnan(jax.jit(lambda N: qb.capacity(state, N=N))(2))


@pytest.mark.parametrize("N", [1, 3, 4])
def test_mixedness_and_closeness(N):
    one, other = random_state(N, 20 + N), random_state(N, 30 + N)
    rho, sigma = (qutip.Qobj(state.full()) for state in (one, other))
    np.testing.assert_allclose(qb.purity(one), rho.purity(), rtol=1e-12)
    np.testing.assert_allclose(qb.entropy(one), qutip.entropy_vn(rho), rtol=1e-11)
    np.testing.assert_allclose(qb.fidelity(one, other), qutip.fidelity(rho, sigma), atol=1e-7)


def test_padding_and_batches_change_nothing():
    alone = [random_state(N, N, real=True) for N in (1, 3, 4)]
    padded = [random_state(4, 0, levels=6)]
    for state in alone:
        blocks = np.zeros((3, 6, 6))
        K, L, _ = state.blocks.shape
        blocks[:K, :L, :L] = state.blocks
        padded.append(blocks)
    batch = qb.LadderState(np.array(padded[1:]), np.array([1, 3, 4]))
    for figure in (qb.energy, qb.ergotropy, qb.capacity, qb.purity, qb.entropy):
        np.testing.assert_allclose(figure(batch), [figure(x) for x in alone], atol=1e-12)
    jitted = jax.jit(qb.ergotropy)(batch)
    np.testing.assert_allclose(jitted, qb.ergotropy(batch), atol=1e-13)


def test_derivatives_where_eigenvalues_meet():
    """In the state of equal populations of all 2^N states every eigenvalue is the same."""
    N = 4
    basis = Ladders(N + 1)
    live = np.asarray(basis.live(N))
    many = np.asarray(qb.LadderState(np.zeros((3, 5, 5)) + np.eye(5) / 15).copies)
    mixed = live[:, :, None] * np.eye(5) * many[:, None, None] / 2**N

    def moved(x, figure):
        weights = jnp.asarray(mixed) * (1 + x * (jnp.arange(5) - 2))
        return figure(qb.LadderState(weights, N))

    for figure in (qb.ergotropy, qb.passive_energy, qb.entropy, qb.purity):
        assert np.isfinite(jax.grad(moved)(0.0, figure))
    # Populations that grow with the energy are all to be had: 2 x <(n - 2)^2>, from one side.
    h = 1e-6
    growth = (moved(h, qb.ergotropy) - moved(0.0, qb.ergotropy)) / h
    np.testing.assert_allclose(growth, 2.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["trace", "hermitian", "negative"])
def test_what_is_no_state_is_refused_or_flagged(name):
    blocks = np.array(random_state(3, 0, real=True).blocks)
    if name == "trace":
        blocks *= 1.1
    elif name == "hermitian":
        blocks[0, 0, 1] += 0.1
    else:
        blocks[1, 1, 1] -= 0.9
        blocks[0, 0, 0] += 0.9
    with pytest.raises(qb.ArgumentError, match="Argument `rho_B` must be"):
        qb.ergotropy(qb.LadderState(blocks))
    figures = (qb.energy, qb.ergotropy, qb.passive_energy, qb.capacity, qb.purity, qb.entropy)
    figures += (qb.ergotropy_ratio, qb.coherent_ergotropy, qb.incoherent_ergotropy)

    @jax.jit
    def traced(x):
        return [figure(qb.LadderState(x)) for figure in figures]

    assert np.all(np.isnan(traced(blocks)))
    assert not np.any(np.isnan(traced(np.array(random_state(3, 0, real=True).blocks))))


def test_levels_that_a_ladder_has_not_are_empty():
    blocks = np.zeros((2, 4, 4))
    blocks[1, 0, 0] = 1.0
    with pytest.raises(qb.ArgumentError, match="`rho_B` must be empty outside the ladders of N"):
        qb.energy(qb.LadderState(blocks))
    blocks = np.zeros((2, 4, 4))
    blocks[0, 3, 3] = 1.0
    with pytest.raises(qb.ArgumentError, match="`rho_B` must be empty outside the ladders of N"):
        qb.energy(qb.LadderState(blocks, 2))
    assert np.isnan(jax.jit(lambda x: qb.energy(qb.LadderState(x, 2)))(blocks))


@pytest.mark.parametrize("N", [0, 4, -1, 2.0, "a", [1, 2]])
def test_the_number_of_qubits_is_looked_at(N):
    with pytest.raises(qb.ArgumentError, match="Argument `N` must be"):
        qb.LadderState(np.zeros((2, 4, 4)), N)


def test_a_number_of_qubits_out_of_range_is_flagged():
    blocks = np.zeros((2, 4, 4))
    blocks[0, 0, 0] = 1.0
    energies = jax.jit(jax.vmap(lambda N: qb.energy(qb.LadderState(blocks, N))))(np.arange(5))
    np.testing.assert_array_equal(np.isnan(energies), [True, False, False, False, True])


def test_states_of_other_numbers_of_qubits_are_not_compared():
    blocks = np.zeros((2, 4, 4))
    blocks[0, 0, 0] = 1.0
    with pytest.raises(qb.ArgumentError, match="`sigma` must be of as many qubits as rho"):
        qb.fidelity(qb.LadderState(blocks, 2), qb.LadderState(blocks, 3))
    # One of a ladder is a battery of as many levels.
    np.testing.assert_allclose(qb.fidelity(qb.LadderState(blocks), blocks[0]), 1.0, rtol=1e-12)


def test_one_out_of_a_batch():
    batch = qb.LadderState(np.stack([random_state(3, i).blocks for i in (0, 1)]))
    np.testing.assert_allclose(qb.energy(batch[1]), qb.energy(batch)[1], rtol=1e-14)
    with pytest.raises(qb.ArgumentError, match="Argument `index` must be for a batch"):
        batch[0][0]


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (3, 4, 4), (2, 4, 5), ()])
def test_blocks_have_one_shape(shape):
    with pytest.raises(qb.ArgumentError, match="Argument `blocks` must be of shape"):
        qb.LadderState(np.ones(shape))


def test_it_prints_itself():
    text = repr(random_state(3, 0))
    assert text.startswith("LadderState: a battery on 2 ladders")
    assert "weights" in text


def test_matrices_of_many_qubits_are_refused():
    blocks = np.zeros((6, 12, 12))
    blocks[0, 0, 0] = 1.0
    with pytest.raises(qb.ArgumentError, match="at most 10"):
        qb.LadderState(blocks).full()


def test_a_passive_state_is_one_of_one_ladder():
    with pytest.raises(qb.ArgumentError, match="`rho_B` must be a state of one ladder"):
        qb.passive_state(random_state(2, 0))
