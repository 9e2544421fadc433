"""The spectrum of K P from its chain, against numpy's eigh and against mpmath at 120 digits."""

import functools
import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import qbjax as qb
from qbjax.exact import rates, sectors

DRIVES = (0.05, 0.2, 0.5, 1.0, 3.0, 10.0)
solve = jax.jit(sectors.diagonalise)


def coupling_matrix(N, F, g=1.0):
    n = np.arange(1, N + 1)
    return F * np.eye(N + 1) + np.diag(g * np.sqrt(n * (N - n + 1) / N), 1)


def assert_is_decomposition(spectrum, N, F, g):
    live = slice(0, N + 1)
    K, scale = coupling_matrix(N, F, g), abs(F) + abs(g) * (N + 1) / (2 * np.sqrt(N)) + 1e-300
    # Vectors of a coupling below 1e-12 F are those of the limit g -> 0.
    rounding = 1e-14 if abs(g) > 1e-11 * abs(F) else 1e-12
    u, v = (np.asarray(x)[live, live] for x in (spectrum.u, spectrum.v))
    eigenvalues = np.asarray(spectrum.eigenvalues)[live]
    np.testing.assert_allclose(K @ v, u * eigenvalues, rtol=0, atol=rounding * scale * np.sqrt(N))
    np.testing.assert_allclose(u.T @ u, np.eye(N + 1), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(v, u[::-1])
    expected = np.linalg.svd(K, compute_uv=False)
    ours = np.sort(np.abs(eigenvalues))[::-1]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-14 * scale)
    assert float(spectrum.norm) == pytest.approx(expected[0], rel=1e-14)


def test_every_size_to_40_against_dense_matrices():
    sizes = np.arange(1, 41)
    for F in DRIVES:
        batch = jax.jit(jax.vmap(sectors.diagonalise))(qb.StarBattery(N=sizes, F=F, N_max=41))
        for i, N in enumerate(sizes):
            one = jax.tree.map(lambda x, i=i: x[i], batch)
            assert_is_decomposition(one, N, F, 1.0)


@pytest.mark.parametrize(("N", "padding"), [(1, 0), (2, 0), (7, 0), (8, 3), (13, 4)])
def test_signs_and_what_is_absent(N, padding):
    for F, g in itertools.product((0.5, -0.5, 0.0, 1.0, 1e20), (1.0, -0.7, 0.0, 1e-9)):
        model = qb.StarBattery(np.array(N), F, g, N_max=N + padding)
        spectrum = solve(model)
        assert_is_decomposition(spectrum, N, F, g)
        minus, plus = (np.asarray(x)[: N + 1, : N + 1] for x in sectors.frequencies(spectrum))
        eigenvalues = np.asarray(spectrum.eigenvalues)[: N + 1]
        sums, gaps = eigenvalues[:, None] + eigenvalues, eigenvalues[:, None] - eigenvalues
        rounding = 1e-14 * (N + 1) * max(abs(F), 1.0)
        np.testing.assert_allclose(plus, sums, rtol=0, atol=rounding)
        np.testing.assert_allclose(minus, gaps, rtol=0, atol=rounding)


def test_single_precision():
    with jax.enable_x64(False):
        spectrum = solve(qb.StarBattery(N=8, F=0.5))
        assert spectrum.u.dtype == jnp.float32
    K = coupling_matrix(8, 0.5)
    u, eigenvalues = np.asarray(spectrum.u, float), np.asarray(spectrum.eigenvalues, float)
    np.testing.assert_allclose(K @ u[::-1], u * eigenvalues, rtol=0, atol=3e-6)


# Splittings, which mpmath takes from the singular values of K


@functools.cache
def mp_singular_values(N, F, digits=120):
    with mpmath.workdps(digits):
        square = mpmath.zeros(N + 1)
        couplings = [mpmath.sqrt(mpmath.mpf(n * (N - n + 1)) / N) for n in range(1, N + 1)]
        for n in range(N + 1):
            square[n, n] = mpmath.mpf(F) ** 2 + (couplings[n - 1] ** 2 if n else 0)
            if n < N:
                square[n, n + 1] = square[n + 1, n] = mpmath.mpf(F) * couplings[n]
        return sorted(mpmath.sqrt(s) for s in mpmath.eigsy(square, eigvals_only=True))


@functools.cache
def mp_log_splittings(N, F):
    """ln of 2 sigma_0 and of sigma_{j+1} - sigma_j, in ascending order of the sigma."""
    with mpmath.workdps(120):
        sigma = mp_singular_values(N, F)
        gaps = [2 * sigma[0], *(b - a for a, b in itertools.pairwise(sigma))]
        return np.array([float(mpmath.log(gap)) for gap in gaps])


def in_order_of_size(spectrum, N):
    """ln of the same from the splittings of neighbours in size, k + l = N or N - 1."""
    order = np.argsort(np.abs(np.arange(N + 1) - (N // 2) + (0.25 if N % 2 == 0 else -0.25)))
    k = np.concatenate([[order[0]], order])
    _, plus = sectors.log_frequencies(spectrum)
    return np.array([plus[a, b] for a, b in itertools.pairwise(k)])


@pytest.mark.parametrize(
    ("N", "F"), [(1, 0.5), (8, 0.5), (20, 0.1), (21, 0.5), (30, 1.0), (40, 0.2), (40, 10.0)]
)
def test_splittings_to_relative_precision(N, F):
    ours = in_order_of_size(solve(qb.StarBattery(N=N, F=F)), N)
    np.testing.assert_allclose(ours, mp_log_splittings(N, F), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("N", "F"),
    [
        (8, 0.5),
        *(pytest.param(*at, marks=pytest.mark.slow) for at in ((21, 0.5), (20, 1.0), (20, 0.2))),
    ],
)
def test_derivatives_of_splittings_by_F_and_g(N, F):
    def of_F(F):
        return in_order(sectors.diagonalise(qb.StarBattery(N=N, F=F)))

    def of_g(g):
        return in_order(sectors.diagonalise(qb.StarBattery(N=N, F=F, g=g)))

    def in_order(spectrum):
        return spectrum.splittings.log_size[:, : N + 1]

    forward = jax.jacfwd(of_F)(F)
    np.testing.assert_allclose(jax.jacrev(of_F)(F), forward, rtol=1e-12, atol=1e-12)
    # ln omega(F, g) = ln g + f(F/g), so that g times one slope and F times the other add up to 1;
    # the row k + l = N - 1 ends at N - 1.
    total = F * forward + jax.jacfwd(of_g)(1.0)
    inside = np.stack([np.full(N + 1, True), np.arange(N + 1) < N])
    np.testing.assert_allclose(total[inside], 1.0, rtol=0, atol=1e-11)
    # Differences of sixth order of what mpmath gives.
    h, weights = 1e-3 * F, np.array([-1, 9, -45, 0, 45, -9, 1]) / 60
    values = [mp_log_splittings(N, float(F + i * h)) for i in range(-3, 4)]
    spectrum = jax.jvp(lambda F: sectors.diagonalise(qb.StarBattery(N=N, F=F)), (F,), (1.0,))[1]
    filled = jnp.zeros((N + 1, N + 1))
    k = np.arange(N + 1)
    slopes = spectrum.splittings.log_size
    filled = filled.at[k, N - k].set(slopes[0]).at[k[:-1], N - 1 - k[:-1]].set(slopes[1, :-1])
    order = np.argsort(np.abs(k - (N // 2) + (0.25 if N % 2 == 0 else -0.25)))
    ours = [filled[a, b] for a, b in itertools.pairwise([order[0], *order])]
    np.testing.assert_allclose(ours, weights @ np.array(values) / h, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_second_derivatives_and_none_without_drive_or_coupling():
    def smallest(F):
        return sectors.diagonalise(qb.StarBattery(N=4, F=F)).log_smallest

    h = 1e-4
    slope = jax.grad(smallest)
    second = (slope(0.5 + h) - slope(0.5 - h)) / (2 * h)
    assert float(jax.jacfwd(jax.jacfwd(smallest))(0.5)) == pytest.approx(float(second), rel=1e-6)

    def norm(F, g):
        return sectors.diagonalise(qb.StarBattery(N=4, F=F, g=g)).norm

    for point in ((0.0, 1.0), (0.5, 0.0)):
        for derivative in (jax.jacfwd, jax.jacrev):
            assert np.all(np.isnan(derivative(norm, (0, 1))(*point)))


@pytest.mark.slow
def test_the_slowest_weighty_mode_beyond_what_dense_eigenvalues_resolve():
    """At F/g = 3 from N = 350 on the splitting is e^-40 and less, with sigma of order one."""
    N, F = 350, 3.0
    log_omega = rates.energy_rate(qb.StarBattery(N=N, F=F), solve(qb.StarBattery(N=N, F=F)), 1e-3)
    # Which pair it is, told by the weights of dense vectors, which splittings do not disturb.
    _, q = np.linalg.eigh(coupling_matrix(N, F)[:, ::-1])
    v = q[::-1]
    inside = v.T @ ((np.arange(N + 1) - N / 2)[:, None] * v)
    weights = np.abs(-4 / N * v[0][:, None] * v[0] * inside)
    np.fill_diagonal(weights, np.diag(weights) / 2)
    order = np.argsort(np.abs(np.arange(N + 1) - N / 2 + 0.25))
    pairs = itertools.pairwise([order[0], *order])
    heavy = [j for j, (a, b) in enumerate(pairs) if weights[a, b] >= 1e-3 * np.max(weights)]
    # The smaller the singular values, the slower.
    with mpmath.workdps(220):
        expected = float(mpmath.log(mp_gap(N, F, heavy[0])))
    assert expected < -36
    assert float(log_omega.log_omega) == pytest.approx(expected, abs=1e-10)


def mp_gap(N, F, j):
    """sigma_j - sigma_{j-1} (2 sigma_0 for j = 0) by bisection on Sturm counts of K^T K."""
    couplings = [mpmath.mpf(n * (N - n + 1)) / N for n in range(1, N + 1)]
    F2 = mpmath.mpf(F) ** 2

    def below(x):
        count, pivot = 0, mpmath.mpf(1)
        for n in range(N + 1):
            entry = F2 + (couplings[n - 1] if n else 0) - x
            pivot = entry - (F2 * couplings[n - 1] / pivot if n else 0)
            count += pivot < 0
        return count

    def singular_value(k):
        near = np.sort(np.linalg.svd(coupling_matrix(N, F), compute_uv=False))[k]
        low, high = ((mpmath.mpf(near) + s * mpmath.mpf(10) ** -12) ** 2 for s in (-1, 1))
        assert below(low) <= k < below(high)
        while high - low > mpmath.mpf(10) ** -200:
            middle = (low + high) / 2
            low, high = (low, middle) if below(middle) > k else (middle, high)
        return mpmath.sqrt(low)

    return 2 * singular_value(0) if j == 0 else singular_value(j) - singular_value(j - 1)
