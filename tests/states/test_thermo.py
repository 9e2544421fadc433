"""Figures of merit against closed forms, brute force in the 2^N space, scipy and QuTiP."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
import scipy.linalg

import qbjax as qb
from qbjax.common.checks import ArgumentError

SPACES = ("full", "symmetric")
# Programs that run once and for a moment: most of the time is LLVM optimising them.
UNOPTIMISED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick_jit = functools.partial(jax.jit, compiler_options=UNOPTIMISED)


def random_state(levels, seed, rank=None):
    rng = np.random.default_rng(seed)
    rank = levels if rank is None else rank
    a = rng.normal(size=(levels, rank)) + 1j * rng.normal(size=(levels, rank))
    rho = a @ a.conj().T
    return rho / np.trace(rho).real


def embedding(N):
    """Dicke states as columns over the 2^N product states, and the excitations of those."""
    excitations = np.array([bin(i).count("1") for i in range(2**N)])
    columns = [(excitations == n) / np.sqrt(math.comb(N, n)) for n in range(N + 1)]
    return np.stack(columns, axis=1), excitations


def brute_force(rho, space):
    """Energy, passive and active energy, and the passive energy once dephased: numpy alone."""
    N = rho.shape[0] - 1
    if space == "full":
        vectors, levels = embedding(N)
        rho = vectors @ rho @ vectors.T
    else:
        levels = np.arange(N + 1)
    # Dephasing in the energy basis removes every coherence between different energies.
    dephased = np.where(levels[:, None] == levels[None, :], rho, 0)
    eta, populations = (np.linalg.eigvalsh(x)[::-1] for x in (rho, dephased))
    up = np.sort(levels)
    return np.diag(rho).real @ levels, eta @ up, eta @ up[::-1], populations @ up


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("N", [1, 3, 6])
@pytest.mark.parametrize("rank", [1, 2, None])
def test_brute_force(N, rank, space):
    rho = random_state(N + 1, seed=N, rank=rank)
    energy, passive, active, dephased = brute_force(rho, space)
    w = 1.7
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-13)
    close(qb.energy(rho, w), w * energy)
    close(qb.passive_energy(rho, w, space), w * passive)
    close(qb.ergotropy(rho, w, space), w * (energy - passive))
    close(qb.ergotropy_ratio(rho, space), (energy - passive) / energy)
    close(qb.incoherent_ergotropy(rho, w, space), w * (energy - dephased))
    close(qb.coherent_ergotropy(rho, w, space), w * (dephased - passive))
    close(qb.capacity(rho, w, space), w * (active - passive))


@pytest.mark.parametrize("N", [1, 3])
def test_pure_states_give_all_their_energy(N):
    rho = random_state(N + 1, seed=0, rank=1)
    for space in SPACES:
        np.testing.assert_allclose(qb.ergotropy_ratio(rho, space), 1, atol=1e-14)
        np.testing.assert_allclose(qb.capacity(rho, 2.0, space), 2.0 * N, atol=1e-13)
    np.testing.assert_allclose(qb.purity(rho), 1, atol=1e-14)
    expected = np.diag(np.eye(N + 1)[0])
    np.testing.assert_allclose(qb.passive_state(rho), expected, atol=1e-15)


@pytest.mark.parametrize("N", [1, 3, 6])
def test_maximally_mixed_ladder(N):
    rho = np.eye(N + 1) / (N + 1)
    np.testing.assert_allclose(qb.energy(rho), N / 2)
    np.testing.assert_allclose(qb.passive_energy(rho), N / (N + 1), atol=1e-14)
    np.testing.assert_allclose(qb.ergotropy(rho, space="symmetric"), 0, atol=1e-14)
    np.testing.assert_allclose(qb.capacity(rho), N - 2 + 2 / (N + 1), atol=1e-14)
    np.testing.assert_allclose(qb.capacity(rho, space="symmetric"), 0, atol=1e-14)
    np.testing.assert_allclose(qb.purity(rho), 1 / (N + 1))


def test_thermal_ladder_is_passive_only_in_the_ladder():
    p = np.exp(-0.7 * np.arange(4))
    p /= p.sum()
    np.testing.assert_allclose(qb.ergotropy(np.diag(p), space="symmetric"), 0, atol=1e-15)
    np.testing.assert_allclose(qb.passive_state(np.diag(p)), np.diag(p), atol=1e-15)
    stranded = p @ np.arange(4) - (1 - p[0])
    np.testing.assert_allclose(qb.ergotropy(np.diag(p)), stranded, atol=1e-14)
    np.testing.assert_allclose(qb.coherent_ergotropy(np.diag(p)), 0, atol=1e-15)
    inverted = np.diag(p[::-1])
    np.testing.assert_allclose(
        qb.incoherent_ergotropy(inverted, space="symmetric"),
        qb.capacity(np.diag(p), space="symmetric"),
        atol=1e-14,
    )


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("bloch", [(0.3, -0.4, 0.5), (0.0, 0.6, -0.2), (0.0, 0.0, 0.0)])
def test_single_qubit(bloch, space):
    # rho = (1 + r.sigma)/2 with z up towards |1>: ergotropy (|r| + z)/2, capacity |r|.
    x, y, z = bloch
    r = np.linalg.norm(bloch)
    rho = np.array([[1 - z, x + 1j * y], [x - 1j * y, 1 + z]]) / 2
    np.testing.assert_allclose(qb.ergotropy(rho, 1.0, space), (r + z) / 2, atol=1e-14)
    np.testing.assert_allclose(qb.capacity(rho, 1.0, space), r, atol=1e-14)
    np.testing.assert_allclose(qb.incoherent_ergotropy(rho, 1.0, space), max(z, 0), atol=1e-14)
    np.testing.assert_allclose(qb.purity(rho), (1 + r**2) / 2, atol=1e-14)


def test_passive_state_keeps_the_spectrum_and_precision_is_what_is_worked_in():
    rho = random_state(4, seed=1)
    passive = qb.passive_state(rho)
    eta = np.diag(passive)
    np.testing.assert_allclose(eta, np.linalg.eigvalsh(rho)[::-1], atol=1e-15)
    np.testing.assert_allclose(
        qb.energy(passive), qb.passive_energy(rho, space="symmetric"), atol=1e-14
    )
    for f in (
        qb.passive_state,
        qb.ergotropy,
        qb.purity,
        qb.capacity,
    ):
        assert f(rho.real).dtype == f(rho).dtype == jnp.float64
    assert qb.fidelity(rho.real, rho).dtype == jnp.float64
    assert qb.ergotropy(rho.real.astype(np.float32)).dtype == jnp.float64


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_padding_changes_nothing(rank, space):
    rho = random_state(4, seed=2, rank=rank)
    padded = np.zeros((7, 7), complex)
    padded[:4, :4] = rho
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-14)
    for f in (
        qb.passive_energy,
        qb.ergotropy,
        qb.incoherent_ergotropy,
        qb.coherent_ergotropy,
    ):
        close(f(padded, 1.3, space), f(rho, 1.3, space))
    close(qb.ergotropy_ratio(padded, space), qb.ergotropy_ratio(rho, space))
    close(qb.capacity(padded, 1.3, space, N=3), qb.capacity(rho, 1.3, space))
    close(qb.passive_state(padded)[:4, :4], qb.passive_state(rho))
    close(qb.fidelity(padded, padded), 1)


# Fidelity


def scipy_fidelity(rho, sigma):
    root = scipy.linalg.sqrtm(rho)
    return np.trace(scipy.linalg.sqrtm(root @ sigma @ root)).real


@pytest.mark.parametrize("levels", [2, 4])
def test_fidelity_against_scipy_and_qutip(levels):
    rho, sigma = random_state(levels, seed=3), random_state(levels, seed=4)
    value = qb.fidelity(rho, sigma)
    np.testing.assert_allclose(value, scipy_fidelity(rho, sigma), atol=1e-12)
    # QuTiP, too, takes the root convention.
    expected = qutip.fidelity(qutip.Qobj(rho), qutip.Qobj(sigma))
    np.testing.assert_allclose(value, expected, atol=1e-12)
    np.testing.assert_allclose(qb.fidelity(sigma, rho), value, atol=1e-14)
    np.testing.assert_allclose(qb.fidelity(rho, sigma, squared=True), value**2, atol=1e-14)


def test_fidelity_closed_forms():
    sigma = random_state(4, seed=5)
    psi = random_state(4, seed=6, rank=1)
    overlap = np.trace(psi @ sigma).real
    np.testing.assert_allclose(qb.fidelity(psi, sigma), np.sqrt(overlap), atol=1e-14)
    # Round-off in the empty eigenvalues would show at the 1e-8 level if they were not cut.
    low = random_state(4, seed=7, rank=2)
    np.testing.assert_allclose(qb.fidelity(low, low), 1, atol=1e-13)
    p, q = np.array([0.1, 0.4, 0.5, 0.0]), np.array([0.6, 0.0, 0.4, 0.0])
    expected = np.sum(np.sqrt(p * q))
    np.testing.assert_allclose(qb.fidelity(np.diag(p), np.diag(q)), expected, atol=1e-14)
    np.testing.assert_allclose(qb.fidelity(np.diag(p), np.diag([0, 0, 0, 1.0])), 0)


def unitary(x, levels, seed):
    """Return exp(i x A) for a fixed A: its eigenvectors are constants, so it compiles fast."""
    eigenvalues, vectors = np.linalg.eigh(levels * random_state(levels, seed))
    return (vectors * jnp.exp(1j * x * eigenvalues)) @ vectors.conj().T


def low_rank_fidelity(x, rho):
    """Fidelity of two states whose rank stays 2 while their spectrum and basis change."""
    p = jnp.stack([0.5 + 0.2 * jnp.sin(x), 0.5 - 0.2 * jnp.sin(x), 0 * x, 0 * x])
    u = unitary(x, 4, seed=8)
    return qb.fidelity((u * p) @ u.conj().T, random_state(4, seed=16, rank=2))


def degenerate_fidelity(x, rho):
    # Three equal eigenvalues at every x: the derivatives of their eigenvectors would be NaN.
    return qb.fidelity(random_state(4, seed=14), jnp.diag(jnp.stack([(1 - x) / 3] * 3 + [x])))


# Transforms


def smooth_state(x):
    """Return a full-rank complex state that depends smoothly on x."""
    u = unitary(x, 4, seed=15)
    return (u * jax.nn.softmax(jnp.arange(4) * (0.3 + x))) @ u.conj().T


# Functions of x and of smooth_state(x).
FUNCTIONS = {
    "energy": lambda x, rho: qb.energy(rho, 1.0 + x),
    "passive_state": lambda x, rho: jnp.sum(qb.passive_state(rho) ** 3),
    "ergotropy_ratio": lambda x, rho: qb.ergotropy_ratio(rho),
    "purity": lambda x, rho: qb.purity(rho),
    "average_power": lambda x, rho: qb.average_power(x**2, 1.0 + x),
    "power": lambda x, rho: qb.instantaneous_power(rho.reshape(2, 2, 2, 2), 0.7, 1.0 + x),
    "low-rank fidelity": low_rank_fidelity,
    "full-rank fidelity": lambda x, rho: qb.fidelity(rho, STATES[0], squared=True),
    "degenerate fidelity": degenerate_fidelity,
} | {
    f"{f.__name__} {space}": lambda x, rho, f=f, space=space: f(rho, 1.0 + x, space)
    for f, space in (
        (qb.passive_energy, "symmetric"),
        (qb.ergotropy, "full"),
        (qb.ergotropy, "symmetric"),
        (qb.incoherent_ergotropy, "full"),
        (qb.coherent_ergotropy, "symmetric"),
        (qb.capacity, "full"),
    )
}


@functools.cache
def all_derivatives():
    """Forward, reverse and central differences of every function, compiled together for speed."""

    def evaluate(x):
        rho = smooth_state(x)
        return {name: f(x, rho) for name, f in FUNCTIONS.items()}

    x, h = 0.31, 1e-5
    compiled = quick_jit(evaluate)
    above, below = compiled(x + h), compiled(x - h)
    difference = jax.tree.map(lambda a, b: (a - b) / (2 * h), above, below)
    return quick_jit(jax.jacfwd(evaluate))(x), quick_jit(jax.jacrev(evaluate))(x), difference


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name):
    forward, reverse, difference = (d[name] for d in all_derivatives())
    assert abs(forward) > 1e-3
    np.testing.assert_allclose(forward, difference, rtol=0, atol=1e-6)
    np.testing.assert_allclose(reverse, forward, rtol=0, atol=1e-12)


STATES = np.stack([random_state(4, seed) for seed in range(20, 23)])
STARS = np.stack([random_state(8, seed) for seed in range(23, 26)]).reshape(3, 2, 4, 2, 4)
FREQUENCIES = np.array([0.5, 1.0, 2.0])
QUBITS = np.array([1, 2, 3])
BATCHED = {
    "energy": (qb.energy, (STATES, FREQUENCIES)),
    "passive_state": (qb.passive_state, (STATES,)),
    "passive_energy": (qb.passive_energy, (STATES, FREQUENCIES)),
    "ergotropy": (qb.ergotropy, (STATES, FREQUENCIES)),
    "ergotropy_ratio": (qb.ergotropy_ratio, (STATES,)),
    "incoherent": (qb.incoherent_ergotropy, (STATES, FREQUENCIES)),
    "coherent": (qb.coherent_ergotropy, (STATES, FREQUENCIES)),
    "capacity": (lambda r, w, n: qb.capacity(r, w, N=n), (STATES, FREQUENCIES, QUBITS)),
    "purity": (qb.purity, (STATES,)),
    "fidelity": (qb.fidelity, (STATES, STATES[::-1])),
    "average_power": (qb.average_power, (FREQUENCIES, np.array([0.0, 1.0, 2.0]))),
    "power": (qb.instantaneous_power, (STARS, FREQUENCIES, FREQUENCIES, QUBITS)),
}


def evaluate_batched(arguments, transform=lambda f: f):
    return {name: transform(f)(*arguments[name]) for name, (f, _) in BATCHED.items()}


@functools.cache
def compiled_batches():
    """The whole batch under jit, and vmap over its elements under jit: two compilations."""
    arguments = {name: arguments for name, (_, arguments) in BATCHED.items()}
    jit = quick_jit(evaluate_batched)(arguments)
    return jit, quick_jit(functools.partial(evaluate_batched, transform=jax.vmap))(arguments)


@pytest.mark.parametrize("name", BATCHED)
def test_eager_is_jit_is_vmap(name):
    f, arguments = BATCHED[name]
    eager = f(*arguments)
    for other in (batch[name] for batch in compiled_batches()):
        assert other.shape == eager.shape
        np.testing.assert_allclose(other, eager, rtol=0, atol=1e-13)


def test_fidelity_broadcasts_its_batches():
    values = qb.fidelity(STATES[:, None], STATES[None, :])
    np.testing.assert_allclose(values, values.T, atol=1e-13)
    np.testing.assert_allclose(np.diag(values), 1, atol=1e-13)
    np.testing.assert_allclose(values[0, 1], qb.fidelity(STATES[0], STATES[1]), atol=1e-13)


# Where a naive derivative would be NaN


@pytest.mark.parametrize("space", SPACES)
def test_empty_battery_has_ratio_zero_and_a_finite_gradient(space):
    empty = jnp.diag(jnp.array([1.0, 0.0, 0.0, 0.0]))
    ratio = functools.partial(qb.ergotropy_ratio, space=space)
    value, gradient = quick_jit(jax.value_and_grad(ratio))(empty)
    assert value == 0
    assert jnp.all(gradient == 0)


@pytest.mark.parametrize("space", SPACES)
def test_gradients_are_finite_at_degenerate_eigenvalues(space):
    def evaluate(rho):
        functions = (qb.ergotropy, qb.coherent_ergotropy, qb.capacity)
        return jnp.stack([f(rho, 1.0, space) for f in functions])

    for transform in (jax.jacrev, jax.jacfwd):
        compiled = quick_jit(transform(evaluate))
        for state in (np.diag([1.0, 0, 0, 0]), np.eye(4) / 4):
            assert jnp.all(jnp.isfinite(compiled(state)))


def test_fidelity_gradient_is_finite_for_pure_equal_and_orthogonal_states():
    psi, sigma = random_state(4, 30, rank=1), random_state(4, 31, rank=2)
    orthogonal = np.diag([1.0, 0, 0, 0]), np.diag([0, 0, 0.5, 0.5])
    gradient = quick_jit(jax.grad(qb.fidelity, (0, 1)))
    for pair in ((psi, psi), (psi, sigma), (sigma, psi), (sigma, sigma), orthogonal):
        for slope in gradient(*(p.astype(complex) for p in pair)):
            # Of order one: a round-off eigenvalue that is not cut would give 1e7 and more.
            assert jnp.max(jnp.abs(slope)) < 10


def test_average_power_starts_at_zero():
    value, slopes = jax.value_and_grad(qb.average_power, (0, 1))(0.0, 0.0)
    assert value == 0
    assert slopes == (0, 0)
    assert qb.average_power(3.0, 2.0) == 1.5


# Instantaneous power


@pytest.mark.parametrize("N", [1, 3])
def test_power_is_the_slope_of_the_energy_in_qutip(N):
    F, g, w, gamma = 0.8, 1.3, 1.7, 0.6
    lower = qutip.Qobj(np.diag(np.sqrt([n * (N - n + 1.0) for n in range(1, N + 1)]), 1))
    excited, up = qutip.fock_dm(2, 1), qutip.basis(2, 1) * qutip.basis(2, 0).dag()
    half = qutip.tensor(up, F + g / np.sqrt(N) * lower)
    detuned = 0.4 * qutip.tensor(excited, qutip.qeye(N + 1))
    detuned += 0.3 * qutip.tensor(qutip.qeye(2), qutip.num(N + 1))
    dephasing = np.sqrt(gamma) * qutip.tensor(excited, qutip.qeye(N + 1))
    h = 1e-3
    times = np.concatenate([[0.0], *(t + h * np.arange(-2, 3) for t in (0.6, 1.5, 4.0))])
    start = qutip.tensor(qutip.basis(2, 0), qutip.basis(N + 1, 0))
    options = {"atol": 1e-13, "rtol": 1e-11, "nsteps": 10**5}
    states = qutip.mesolve(
        half + half.dag() + detuned, start, times, [dephasing], options=options
    ).states[1:]
    rho = np.stack([s.full() for s in states]).reshape(3, 5, 2, N + 1, 2, N + 1)
    energies = np.asarray(qb.energy(np.einsum("ijamak->ijmk", rho), w))
    difference = energies @ np.array([1, -8, 0, 8, -1]) / (12 * h)
    power = qb.instantaneous_power(rho[:, 2], g, w)
    assert np.max(np.abs(power)) > 0.1
    np.testing.assert_allclose(power, difference, rtol=0, atol=1e-8)
    padded = np.zeros((3, 2, N + 3, 2, N + 3), complex)
    padded[:, :, : N + 1, :, : N + 1] = rho[:, 2]
    np.testing.assert_allclose(qb.instantaneous_power(padded, g, w, N=N), power, atol=1e-14)


# Refusals


BAD_STATES = [
    (np.ones((2, 3, 4)), r"a square matrix of at least two levels, but is of shape \(2, 3, 4\)"),
    (np.ones(4), r"a state of trace 1, but is of trace 4"),
    ("charged", r"an array of numbers, but is of type str"),
    ([[1.0], [1.0, 2.0]], r"an array of numbers, but is of type list"),
    (np.array([[0.5, 0.1], [0.3, 0.5]]), r"Hermitian, but is off by 0\.2\b"),
    (np.diag([0.75, 0.22]), r"a state of trace 1, but is of trace 0\.97\b"),
    (np.diag([np.nan, 1.0]), r"of finite numbers, but is one with NaN"),
    (np.diag([1.25, -0.25]), r"a state without negative eigenvalues, but is one with .* -0\.25\b"),
    (np.stack([np.eye(2) / 2, np.eye(2)]), r"a state of trace 1, but is of trace 2\b"),
]


@pytest.mark.parametrize(("state", "message"), BAD_STATES)
def test_refuses_what_is_no_state(state, message):
    for f in (
        qb.energy,
        qb.passive_state,
        qb.capacity,
        qb.ergotropy_ratio,
    ):
        with pytest.raises(ArgumentError, match=r"Argument `rho_B` must be " + message):
            f(state)
    with pytest.raises(ArgumentError, match=r"Argument `rho` must be " + message):
        qb.purity(state)
    with pytest.raises(ArgumentError, match=r"Argument `sigma` must be " + message):
        qb.fidelity(np.eye(2) / 2, state)


def test_tolerance_follows_the_precision_and_traced_values_that_are_no_state_give_nan():
    near = np.diag([0.6 + 5e-7, 0.4])
    with pytest.raises(ArgumentError, match="trace 1"):
        qb.energy(near)
    qb.energy(near.astype(np.float32))
    qb.energy(np.diag([1 + 5e-9, -5e-9]))
    # What single precision rounds is a state; what is off by more than its rounding is none.
    single = np.float32([0.6, 0.8])
    np.testing.assert_allclose(qb.energy(single), 0.64, rtol=1e-7)
    with pytest.raises(ArgumentError, match=r"trace 1\.0002"):
        qb.energy(single * np.float32(1.0001))
    energies = quick_jit(jax.vmap(qb.energy))(np.stack([np.eye(2) / 2, np.diag([0.0, 3.0])]))
    np.testing.assert_array_equal(energies, [0.5, np.nan])
    with pytest.raises(ArgumentError, match="square"):
        quick_jit(qb.energy)(np.ones((2, 3, 4)))


def test_refuses_other_arguments():
    rho = np.eye(3) / 3
    for f in (
        qb.passive_energy,
        qb.ergotropy,
        qb.ergotropy_ratio,
        qb.capacity,
    ):
        with pytest.raises(ArgumentError, match=r'`space` must be one of "full", "sym'):
            f(rho, space="ful")
    with pytest.raises(ArgumentError, match=r"`omega_B` must be positive, but is -1\.0"):
        qb.energy(rho, -1.0)
    with pytest.raises(ArgumentError, match=r"`N` must be between 1 and 2, but is 3"):
        qb.capacity(rho, N=3)
    with pytest.raises(ArgumentError, match=r"`sigma` must be as large as rho, 3 levels.*\(2, 2\)"):
        qb.fidelity(rho, np.eye(2) / 2)
    with pytest.raises(
        ArgumentError, match=r"`rho` must be of shape \(\.\.\., 2, N \+ 1.*\(3, 3\)"
    ):
        qb.instantaneous_power(rho)
    with pytest.raises(ArgumentError, match=r"`rho` must be a state of trace 1"):
        qb.instantaneous_power(np.eye(6).reshape(2, 3, 2, 3))


def test_the_ratio_of_energies_that_are_round_off_is_zero():
    assert qb.ergotropy_ratio(jnp.diag(jnp.array([1.0, 0.0, 1e-17]))) == 0.0
