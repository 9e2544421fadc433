"""The trial states of Eqs. (9)-(13) against NumPy, SciPy and QuTiP."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
import scipy.linalg
import scipy.optimize

from qbjax.common.checks import ArgumentError
from qbjax.states.trial_states import (
    _fidelity,
    _kets,
    bose_einstein_populations,
    coherent_mixture,
    fit_bose_einstein,
    fit_coherent_mixture,
)

N = 8
# The fits run for a moment: most of the time is LLVM optimising their programs.
UNOPTIMISED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
KNOWN_XI = (-0.3 + 0.1j, 0.2 - 0.4j)
TRUE = {"alpha": 0.08, "beta": 0.6, "mu": -0.4}


def steady_battery(F):
    """Return the exact steady state of the battery, by the sectors of PHYSICS.md section 3."""
    n = np.arange(N + 1)
    K = np.diag(np.full(N + 1, F)) + np.diag(np.sqrt(n[1:] * (N - n[1:] + 1) / N), 1)
    _, u = np.linalg.eigh(K[:, ::-1])
    v = u[::-1]
    weights = v[0] ** 2
    return 0.5 * ((v * weights) @ v.T + (u * weights) @ u.T)


def numpy_populations(alpha, beta, mu, zeta):
    """Eq. (10), as it is printed."""
    n = np.arange(N + 1)
    upper = alpha / (np.exp(beta * (n - mu)) - 1)
    lower = alpha / (np.exp(beta * ((N - n) - mu)) - 1)
    return zeta + upper + lower


def numpy_mixture(xi_1, xi_2):
    """Eqs. (11)-(13), with e^{xi J+}|0> = sum_n xi^n sqrt(C(N, n)) |n>."""
    n = np.arange(N + 1)
    root = np.sqrt([comb(N, k) for k in n])
    kets = [xi_1 ** (N - n) * root, xi_2**n * root]
    kets = [ket / np.linalg.norm(ket) for ket in kets]
    return sum(np.outer(ket, ket.conj()) for ket in kets) / 2


def exponential_mixture(xi_1, xi_2):
    """Eqs. (11)-(13), as they are printed."""
    n = np.arange(1, N + 1)
    J_minus = np.diag(np.sqrt(n * (N - n + 1)), 1)
    bottom, top = np.eye(N + 1)[0], np.eye(N + 1)[N]
    kets = [scipy.linalg.expm(xi_1 * J_minus) @ top, scipy.linalg.expm(xi_2 * J_minus.T) @ bottom]
    kets = [ket / np.linalg.norm(ket) for ket in kets]
    return sum(np.outer(ket, ket.conj()) for ket in kets) / 2


def numpy_fidelity(rho, sigma):
    values, vectors = np.linalg.eigh(sigma)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.conj().T
    return np.sum(np.sqrt(np.clip(np.linalg.eigvalsh(root @ rho @ root), 0, None)))


def known_populations():
    bare = numpy_populations(**TRUE, zeta=0.0)
    return bare + (1 - bare.sum()) / (N + 1)


@pytest.fixture(scope="module")
def strong():
    return np.diag(steady_battery(10.0))


@pytest.fixture(scope="module")
def strong_fit(strong):
    return fit_bose_einstein(strong)


@pytest.fixture(scope="module")
def mixture_fits():
    """One compiled batch: the steady state, the same turned about z, a known mixture."""
    rho = steady_battery(0.5)
    turn = np.exp(0.7j * np.arange(N + 1))
    states = [rho, turn[:, None] * rho * turn.conj(), numpy_mixture(*KNOWN_XI)]
    fits = jax.jit(fit_coherent_mixture, compiler_options=UNOPTIMISED)(jnp.stack(states)[:, None])
    return [jax.tree.map(lambda leaf, k=k: leaf[k, 0], fits) for k in range(3)]


@pytest.fixture(scope="module")
def intermediate_fit(mixture_fits):
    return mixture_fits[0]


@pytest.mark.parametrize("beta", [1e-4, 0.3, 5.0])
def test_populations_are_those_of_equation_10(beta):
    ours = bose_einstein_populations(0.1 * beta, beta, -0.6, 0.03, N)
    # The printed form loses eps / (beta y) as beta -> 0.
    np.testing.assert_allclose(ours, numpy_populations(0.1 * beta, beta, -0.6, 0.03), rtol=1e-11)


def test_populations_keep_their_digits_as_beta_vanishes():
    n = np.arange(N + 1)
    limit = 0.1 / (n + 0.6) + 0.1 / (N - n + 0.6)
    ours = bose_einstein_populations(0.1e-12, 1e-12, -0.6, 0.0, N)
    np.testing.assert_allclose(ours, limit, rtol=1e-11)


def test_populations_broadcast_and_differentiate():
    ours = bose_einstein_populations(jnp.ones(3), 2.0, -0.5, jnp.zeros((2, 1)), N)
    assert ours.shape == (2, 3, N + 1)
    # 8 * 200 overflows e^z, of value and derivative.
    slope = jax.grad(lambda beta: bose_einstein_populations(1.0, beta, -0.5, 0.0, N).sum())(200.0)
    assert np.isfinite(slope)


def test_known_populations_are_recovered():
    zeta = (1 - numpy_populations(**TRUE, zeta=0.0).sum()) / (N + 1)
    fit = fit_bose_einstein(known_populations())
    assert fit.converged
    assert fit.max_error < 1e-8
    for name, value in (TRUE | {"zeta": zeta}).items():
        np.testing.assert_allclose(getattr(fit, name), value, rtol=2e-3, err_msg=name)
    np.testing.assert_allclose(fit.alpha_over_beta, fit.alpha / fit.beta, rtol=1e-12)


def test_flat_populations_fit_with_no_amplitude():
    fit = fit_bose_einstein(np.full(N + 1, 1 / (N + 1)))
    assert fit.converged
    np.testing.assert_allclose([fit.alpha, fit.zeta], [0, 1 / (N + 1)], atol=1e-12)
    assert np.all(np.isfinite(fit.hessian_eigenvalues))


def test_strong_driving_agrees_with_scipy(strong, strong_fit):
    def residuals(x):
        ratio, log_beta, log_mu, offset = x
        beta, mu = np.exp(log_beta), -np.exp(log_mu)
        return numpy_populations(ratio * beta, beta, mu, offset + ratio * beta) - strong

    theirs = scipy.optimize.least_squares(
        residuals, [0.1, -5.0, 0.0, 0.05], xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    assert strong_fit.converged
    # beta moves both fits by its fourth power; the rest is determined to the gradients' tolerance.
    np.testing.assert_allclose(strong_fit.alpha_over_beta, theirs.x[0], rtol=1e-3)
    np.testing.assert_allclose(strong_fit.mu, -np.exp(theirs.x[2]), rtol=1e-3)
    np.testing.assert_allclose(strong_fit.max_error, np.abs(theirs.fun).max(), rtol=1e-3)
    ours = np.asarray(strong_fit.populations) - strong
    assert ours @ ours <= theirs.fun @ theirs.fun * (1 + 1e-5)


def test_strong_driving_agrees_with_the_paper(strong_fit):
    """Fig. 4(b): alpha .001, beta .011, mu -.637, zeta .034, to the printed digits."""
    assert abs(strong_fit.mu + 0.637) < 5e-4
    assert abs(strong_fit.zeta - 0.034) < 5e-4
    # alpha / beta from one printed digit of alpha: between 0.0005 / 0.0115 and 0.0015 / 0.0105.
    assert 0.043 < strong_fit.alpha_over_beta < 0.143
    np.testing.assert_allclose(strong_fit.max_error, 1.7e-4, rtol=0.02)
    np.testing.assert_allclose(strong_fit.zeta - strong_fit.alpha, 0.0335, atol=5e-5)


def test_beta_is_reported_as_the_flat_direction(strong, strong_fit):
    eigenvalues = strong_fit.hessian_eigenvalues
    assert abs(eigenvalues[0]) < 1e-9 * eigenvalues[1]
    np.testing.assert_allclose(strong_fit.flat_direction, [0, 1, 0], atol=1e-6)
    # And so it is: ten times the paper's beta, the rest following, fits to the same error.
    beta, ratio = 0.1, strong_fit.alpha_over_beta
    moved = numpy_populations(ratio * beta, beta, strong_fit.mu, 0.0)
    moved += np.mean(strong - moved)
    np.testing.assert_allclose(np.abs(moved - strong).max(), strong_fit.max_error, rtol=0.05)


@pytest.mark.slow
def test_bose_einstein_jit_and_batch_are_each_fit(strong, strong_fit):
    known = known_populations()
    together = jax.jit(fit_bose_einstein, compiler_options=UNOPTIMISED)(
        jnp.stack([strong, known])[:, None]
    )
    assert together.mu.shape == (2, 1)
    assert together.hessian_eigenvalues.shape == (2, 1, 3)
    for k, alone in enumerate([strong_fit, fit_bose_einstein(known)]):
        for name in ("mu", "alpha_over_beta", "max_error"):
            ours, theirs = getattr(together, name)[k, 0], getattr(alone, name)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(("xi_1", "xi_2"), [(0.0, 0.0), (-0.3, 2.0), (0.4 - 0.2j, 1.5j)])
def test_mixture_is_that_of_equations_11_to_13(xi_1, xi_2):
    np.testing.assert_allclose(
        coherent_mixture(xi_1, xi_2, N), exponential_mixture(xi_1, xi_2), atol=1e-12
    )


def test_mixture_broadcasts():
    rho = coherent_mixture(jnp.array([0.1, 0.2j]), 0.5, N)
    np.testing.assert_allclose(rho[1], coherent_mixture(0.2j, 0.5, N), atol=1e-15)


@pytest.mark.parametrize("F", [0.5, 10.0])
def test_fidelity_is_that_of_qutip(F):
    rho = steady_battery(F)
    angles = jnp.array([[0.7, 0.4], [1.9, -2.0]])
    xi_1, xi_2 = np.tan(angles[:, 0] / 2) * np.exp(1j * angles[:, 1])
    sigma = numpy_mixture(xi_1, xi_2)
    ours = _fidelity(jnp.asarray(rho), _kets(angles, N))
    np.testing.assert_allclose(ours, numpy_fidelity(rho, sigma), rtol=1e-7)
    np.testing.assert_allclose(ours, qutip.fidelity(qutip.Qobj(rho), qutip.Qobj(sigma)), rtol=1e-6)


def test_fidelity_has_a_finite_gradient_at_a_pure_trial():
    # |psi_1> = |psi_2>: the determinant is rounding noise of either sign.
    theta = jnp.linspace(0.1, 3.0, 30)
    phi = jnp.linspace(-3.0, 3.0, 30)
    angles = jnp.stack([jnp.stack([jnp.pi - theta, -phi], -1), jnp.stack([theta, phi], -1)], 1)
    rho = jnp.asarray(steady_battery(0.5))
    gradient = jax.vmap(jax.grad(lambda a: _fidelity(rho, _kets(a, N))))
    slopes = jax.jit(gradient, compiler_options=UNOPTIMISED)(angles)
    assert np.all(np.abs(slopes) < 10)


def test_known_mixture_is_recovered(mixture_fits):
    xi_1, xi_2 = KNOWN_XI
    fit = mixture_fits[2]
    assert fit.converged
    np.testing.assert_allclose([fit.xi_1, fit.xi_2], [xi_1, xi_2], atol=1e-6)
    np.testing.assert_allclose(fit.fidelity, 1.0, atol=1e-9)
    # The other name of the same mixture.
    np.testing.assert_allclose(numpy_mixture(1 / xi_2, 1 / xi_1), fit.rho, atol=1e-6)


@pytest.mark.slow
def test_intermediate_driving_agrees_with_scipy(intermediate_fit):
    rho = steady_battery(0.5)

    def infidelity(x):
        return 1 - numpy_fidelity(rho, numpy_mixture(x[0] + 1j * x[1], x[2] + 1j * x[3]))

    # The regions of both minima that compete: the states far apart, and close together.
    starts = [[-0.3, 0.1, -0.1, 0.1], [-0.5, 0.1, -1.5, 0.2]]
    options = {"xatol": 1e-6, "fatol": 1e-10, "maxiter": 3000}
    theirs = [
        scipy.optimize.minimize(infidelity, x, method="Nelder-Mead", options=options)
        for x in starts
    ]
    best = min(theirs, key=lambda end: end.fun)
    np.testing.assert_allclose(intermediate_fit.fidelity, 1 - best.fun, atol=1e-7)
    xi = [intermediate_fit.xi_1, intermediate_fit.xi_2]
    np.testing.assert_allclose(
        xi, [best.x[0] + 1j * best.x[1], best.x[2] + 1j * best.x[3]], atol=1e-4
    )


def test_intermediate_driving_agrees_with_the_paper(intermediate_fit):
    """Fig. 5(a): fidelity 0.923; the paper's xi multiply operators twice as large."""
    fit = intermediate_fit
    assert fit.converged
    np.testing.assert_allclose(fit.fidelity, 0.9248, atol=5e-5)
    np.testing.assert_allclose([1 / fit.xi_1, 1 / fit.xi_2], [-5.319, -5.319], atol=1e-3)
    np.testing.assert_allclose(
        numpy_fidelity(steady_battery(0.5), fit.rho), fit.fidelity, rtol=1e-7
    )
    # The paper's drive has another phase, which turns the battery about z.
    turn = np.exp(-0.5j * np.pi * np.arange(N + 1))
    sigma = numpy_mixture(2 * (0.054 + 2.603j), 2 * (0.047 - 1.960j))
    paper = numpy_fidelity(steady_battery(0.5), turn[:, None] * sigma * turn.conj())
    np.testing.assert_allclose(paper, 0.9185, atol=5e-5)


def test_every_start_and_the_curvature_are_reported(intermediate_fit):
    fit = intermediate_fit
    assert fit.fidelity == fit.start_fidelities.max()
    # The second minimum is there: one start would be a gamble.
    assert np.any(np.abs(fit.start_fidelities - 0.6925) < 1e-4)
    rho, xi = steady_battery(0.5), np.array([fit.xi_1, fit.xi_2])

    def infidelity(x):
        moved = np.tan(x[::2] / 2) * np.exp(1j * x[1::2])
        return 1 - numpy_fidelity(rho, numpy_mixture(*moved))

    x = np.stack([2 * np.arctan(np.abs(xi)), np.angle(xi)], axis=-1).ravel()
    step = 1e-2 * np.eye(4)
    hessian = [
        [
            sum(i * j * infidelity(x + i * a + j * b) for i in (1, -1) for j in (1, -1)) / 4e-4
            for a in step
        ]
        for b in step
    ]
    # The differences are off by the square of the step.
    np.testing.assert_allclose(fit.hessian_eigenvalues, np.linalg.eigvalsh(hessian), rtol=1e-2)


def test_a_turn_about_z_turns_the_parameters(mixture_fits):
    # In a batch, so that this shows also that its members are fitted one by one.
    alone, turned = mixture_fits[:2]
    np.testing.assert_allclose(turned.fidelity, alone.fidelity, rtol=1e-9)
    np.testing.assert_allclose(turned.xi_1, alone.xi_1 * np.exp(-0.7j), atol=1e-6)
    np.testing.assert_allclose(turned.xi_2, alone.xi_2 * np.exp(0.7j), atol=1e-6)


@pytest.mark.parametrize("bad", [[1.5, -0.5], [0.5, 0.4], [np.nan, 1.0], 1.0])
def test_bad_populations_are_refused(bad):
    with pytest.raises(ArgumentError, match="`populations`"):
        fit_bose_einstein(bad)


@pytest.mark.parametrize("bad", [np.eye(3)[:2], np.eye(2), [[0.5, 0.3], [0.1, 0.5]], [0.5, 0.5]])
def test_bad_states_are_refused(bad):
    with pytest.raises(ArgumentError, match="`rho_B`"):
        fit_coherent_mixture(bad)


@pytest.mark.parametrize(("name", "bad"), [("beta", (1.0, 0.0, -1.0)), ("mu", (1.0, 1.0, 0.5))])
def test_bad_parameters_are_refused(name, bad):
    with pytest.raises(ArgumentError, match=f"`{name}`"):
        bose_einstein_populations(*bad, 0.0, N)


@pytest.mark.parametrize(("xi_1", "xi_2", "N"), [(0.3, 2.0, 3), (-0.3, 2.0, 4), (0.7j, -0.2, 5)])
def test_a_fit_gives_the_two_states_in_their_order(xi_1, xi_2, N):
    rho = coherent_mixture(xi_1, xi_2, N)
    fit = fit_coherent_mixture(rho)
    np.testing.assert_allclose(fit.rho, rho, atol=1e-6)
    assert float(fit.fidelity) == pytest.approx(1.0, abs=1e-9)
