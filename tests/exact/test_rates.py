"""Singular values against mpmath, rates against dense Liouvillians, roots against numpy."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import coupling_operator, liouvillian, mp_log_smallest, mp_singular_vectors

import qbjax as qb
from qbjax.exact import rates, sectors

# Among them F = g, N = 1, and ln sigma = -574 (2e-250).
SMALLEST = [
    *((1, F) for F in (0.05, 0.2, 1.0, 10.0)),
    *((2, F) for F in (0.05, 0.5, 1.0, 10.0)),
    *((8, F) for F in (0.2, 0.7, 1.0, 10.0)),
    *((40, F) for F in (0.05, 0.2, 1.0, 3.0, 10.0)),
    *((130, F) for F in (0.1, 0.2, 0.5, 1.0, 2.0, 10.0)),
]
SIZES, DRIVES = (np.array(column) for column in zip(*SMALLEST, strict=True))


@pytest.fixture(scope="module")
def spectra():
    """All in one padded batch: log_smallest, the eigenvalues, and the drive's derivative."""
    models = qb.StarBattery(N=SIZES, F=DRIVES, N_max=130)

    def solve(model):
        spectrum = sectors.diagonalise(model)
        return spectrum.log_smallest, spectrum.eigenvalues, spectrum.norm

    return jax.jit(jax.vmap(solve))(models)


@pytest.mark.parametrize("k", range(len(SMALLEST)), ids=lambda k: f"{SMALLEST[k]}")
def test_the_smallest_singular_value_against_mpmath(spectra, k):
    N, F = SMALLEST[k]
    # 1e-11 relative in sigma; eps |ln sigma| is 1e-13 at the smallest of them.
    assert abs(float(spectra[0][k]) - mp_log_smallest(N, F, 1)) < 1e-11


def test_the_range_of_the_smallest_singular_values():
    assert mp_log_smallest(130, 0.1, 1) < np.log(1e-200)


def test_padding_does_not_change_the_spectrum(spectra):
    solve = jax.jit(sectors.diagonalise)
    for k, (N, _) in enumerate(SMALLEST):
        if N not in (1, 8):
            continue
        alone = solve(qb.StarBattery(N=N, F=DRIVES[k]))
        np.testing.assert_allclose(spectra[0][k], alone.log_smallest, atol=1e-13)
        ours, theirs = spectra[1][k, : N + 1], alone.eigenvalues
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14 * float(alone.norm))
        np.testing.assert_allclose(spectra[2][k], alone.norm, rtol=1e-13)


def test_all_singular_values_and_the_scale_of_g():
    model = qb.StarBattery(N=8, F=2.1, g=3.0)
    spectrum = jax.jit(sectors.diagonalise)(model)
    with mpmath.workdps(40):
        sigma = np.sort([float(s) for s in mp_singular_vectors(8, 2.1, 3)[0]])
    np.testing.assert_allclose(np.sort(np.abs(spectrum.eigenvalues)), sigma, rtol=1e-12)
    K = coupling_operator(8, 2.1, 3.0).full().real
    signed = spectrum.u * spectrum.eigenvalues
    np.testing.assert_allclose(K @ spectrum.v, signed, atol=1e-13)
    np.testing.assert_allclose(np.exp(spectrum.log_smallest), sigma.min(), rtol=1e-13)


# Relaxation times


def slowest_dense_rate(N, F, gamma, delta):
    decay = -np.linalg.eigvals(liouvillian(N, F, 1.0, gamma, delta)).real
    # The null space is N + 1 zeros; nothing else lies below 1e-9 at these parameters.
    return np.min(decay[decay > 1e-9])


def slowest_frequency(N, F):
    sigma = np.linalg.svd(coupling_operator(N, F, 1.0).full(), compute_uv=False)
    pairs = [abs(a - b) for i, a in enumerate(sigma) for b in sigma[:i]]
    return min(*pairs, 2 * sigma.min())


DEPHASING = (0.05, 0.7, 40.0)


@pytest.mark.parametrize("delta", [None, 0.0, 0.45, -3.0])
def test_relaxation_time_against_the_dense_liouvillian(delta):
    cases = [(N, F, gamma) for N, F in ((1, 0.5), (2, 1.0), (3, 0.5)) for gamma in DEPHASING]
    # Exact critical damping, where the slow eigenvalue is defective.
    cases += [(N, 0.5, 4 * slowest_frequency(N, 0.5)) for N in (1, 2, 3)]
    N, F, gamma = (np.array(column) for column in zip(*cases, strict=True))
    models = qb.StarBattery(
        N=N, F=F, gamma_C=gamma, omega_C=None if delta is None else 1 + delta, N_max=3
    )
    ss = qb.steady_state(models)
    expected = [slowest_dense_rate(*case, delta or 0.0) for case in cases]
    # numpy's eig finds a defective eigenvalue to the square root of eps, others to eps.
    critical = np.arange(len(cases)) >= len(cases) - 3
    tolerance = np.where(critical, 3e-7, 1e-9)
    error = np.abs(1 / np.asarray(ss.relaxation_time) / expected - 1)
    assert np.all(error < tolerance), error
    np.testing.assert_allclose(np.exp(ss.log_relaxation_time), ss.relaxation_time, rtol=1e-13)


@pytest.mark.parametrize("delta", [None, 0.45])
def test_relaxation_time_knows_which_sectors_the_start_occupies(delta):
    """A start in one right singular vector swings at its 2 sigma alone."""
    N, F, gamma = 3, 0.5, 0.7
    _, sigma, vh = np.linalg.svd(coupling_operator(N, F, 1.0).full().real)
    model = qb.StarBattery(N=N, F=F, gamma_C=gamma, omega_C=None if delta is None else 1 + delta)
    for k in range(N + 1):
        ss = qb.steady_state(model, rho0=vh[k])
        # -mu solves mu [(mu + gamma/2)^2 + delta^2] + omega^2 (mu + gamma/2) = 0.
        omega, shift = 2 * sigma[k], (delta or 0.0) ** 2
        cubic = [1, gamma, gamma**2 / 4 + shift + omega**2, omega**2 * gamma / 2]
        roots = np.array([0.0j]) + np.roots(cubic)
        if delta is None:
            # mu + gamma/2 = 0 belongs to the oscillator that stands still here.
            roots = np.roots([1, gamma / 2, omega**2])
        np.testing.assert_allclose(ss.relaxation_time, 1 / np.min(-roots.real), rtol=1e-7)


@pytest.mark.parametrize("N", [12, 30, 64])
def test_relaxation_time_beyond_the_reach_of_eigh(N):
    """Slow and overdamped, r = omega^2 (gamma/2) / (gamma^2/4 + Delta^2) with omega = 2 sigma."""
    gamma, delta, F = 0.8, np.array([0.0, 0.3, 2.0]), 0.3
    log_omega = np.log(2) + mp_log_smallest(N, F, 1)
    expected = np.log(gamma**2 / 4 + delta**2) - np.log(gamma / 2) - 2 * log_omega
    models = qb.StarBattery(N=jnp.array(N), F=F, gamma_C=gamma, omega_C=1 + delta, N_max=64)
    # At N = 12 the next order is (omega / gamma)^2, 1e-9.
    atol = max(1e-10, 40 * float(np.exp(2 * log_omega)))
    np.testing.assert_allclose(qb.steady_state(models).log_relaxation_time, expected, atol=atol)
    resonant = qb.StarBattery(N=jnp.array(N), F=F, gamma_C=gamma, N_max=64)
    ours = qb.steady_state(resonant).log_relaxation_time
    np.testing.assert_allclose(ours, expected[0], atol=atol)


# Roots of polynomials


def polynomial(roots):
    return np.poly(roots).real[1:]


def random_roots(rng, degree):
    real = degree % 2 + 2 * rng.integers(0, degree // 2 + 1)
    pairs = rng.normal(size=(degree - real) // 2) + 1j * rng.normal(size=(degree - real) // 2)
    return np.concatenate([rng.normal(size=real), pairs, pairs.conj()])


slowest_root = jax.jit(lambda c: rates.slowest_root([c[..., j] for j in range(c.shape[-1])]))


@pytest.mark.parametrize("degree", [3, 4])
def test_random_polynomials_against_numpy(degree):
    rng = np.random.default_rng(degree)
    coefficients = np.stack([polynomial(random_roots(rng, degree)) for _ in range(200)])
    expected = [np.min(np.roots([1, *c]).real) for c in coefficients]
    np.testing.assert_allclose(slowest_root(coefficients), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("roots", "rtol"),
    [
        # Widely separated: the slow root keeps its digits, which is what rates are made of.
        ([1e-12, 0.5, 2.0], 1e-12),
        ([1e-30, 1e-3, 1.0], 1e-12),
        ([1e-9, 1e-5, 0.1, 1e3], 1e-12),
        ([1e-8, 1 + 2j, 1 - 2j, 3.0], 1e-12),
        # A double root is known to the square root of eps.
        ([0.3, 0.3, 2.0], 1e-7),
        ([0.3, 0.3, 2.0, 2.0], 1e-7),
        ([1e-6, 0.4, 0.4, 1.0], 1e-12),
        ([0.4 + 1j, 0.4 - 1j, 0.4 + 1j, 0.4 - 1j], 1e-7),
        # A triple root to the cube root.
        ([0.3, 0.3, 0.3], 2e-5),
    ],
)
def test_difficult_polynomials_against_their_roots(roots, rtol):
    exact = min(complex(r).real for r in roots)
    ours = slowest_root(polynomial(roots)[None])
    np.testing.assert_allclose(ours, exact, rtol=rtol)


def test_roots_of_relaxing_sectors_against_numpy():
    """The quartic of the module's docstring, at its exceptional points, too."""
    rng = np.random.default_rng(0)
    A, B, gamma, delta = 10 ** rng.uniform(-2, 1, size=(4, 300))
    gamma[:50] = 4 * np.sqrt(A[:50])
    delta[:50] = 0.0
    middle = gamma**2 / 4 + A + B + delta**2
    coefficients = np.stack([-gamma, middle, -(A + B) * gamma / 2, A * B], -1)
    expected = np.array([np.min(np.roots([1, *c]).real) for c in coefficients])
    error = np.abs(slowest_root(coefficients) / expected - 1)
    assert np.all(error[50:] < 1e-9)
    assert np.all(error[:50] < 1e-6)
    # Every sector relaxes.
    assert np.all(np.asarray(slowest_root(coefficients)) > 0)


def test_a_coherence_relaxes_too_where_all_populations_are_mixed():
    """Between two singular values of one sign it swings at their difference."""
    N, F, gamma = 3, 0.5, 0.7
    u, sigma, vh = np.linalg.svd(coupling_operator(N, F, 1.0).full().real)
    rho = np.einsum("ab,nm->anbm", np.eye(2), np.eye(N + 1) + 0j) / (2 * N + 2)
    # Every second singular value, by size, has the same sign.
    crossed = np.outer(vh[0], u[:, 2]) - np.outer(vh[2], u[:, 0])
    rho[0, :, 1] += 0.05j * crossed
    rho[1, :, 0] -= 0.05j * crossed.T
    ss = qb.steady_state(qb.StarBattery(N, F, gamma_C=gamma), rho0=rho)
    root = np.sqrt(gamma**2 / 16 - (sigma[0] - sigma[2]) ** 2 + 0j).real
    np.testing.assert_allclose(1 / ss.relaxation_time, gamma / 4 - root, rtol=1e-9)
