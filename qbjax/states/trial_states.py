"""The paper's trial states for the steady battery, Eqs. (9)-(13), and their fits.

Both fits start from a fixed grid of points at once and keep the best end. What the data leave
undetermined is reported, not hidden: the Hessian of the cost at the optimum comes along, and an
eigenvalue near zero is a direction in which the parameters can move without spoiling the fit.

In Eq. (10) the inverse temperature is often such a direction. With y = n - mu,

    1 / (e^(beta y) - 1) = 1 / (beta y) - 1/2 + beta y / 12 - (beta y)^3 / 720 + ...,

and summed over both ends of the ladder the second and the third term do not depend on n: zeta
absorbs them. At fixed alpha / beta, then, beta changes the shape of the populations first at its
fourth power.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.basis import ladder
from qbjax.common import linalg, types
from qbjax.common.checks import as_array, blank, refusal, require
from qbjax.common.minimise import Minimum, minimise
from qbjax.common.printing import Line, Printed
from qbjax.states.density_matrix import as_one_ladder

# How far populations and states may be from what they must be.
_ATOL = 1e-6

Fit = TypeVar("Fit")


class BoseEinsteinFit(Printed):
    """The least-squares fit of Eq. (10) to populations; shapes are those of a single fit.

    Attributes
    ----------
    alpha, beta, mu, zeta
        The parameters of Eq. (10), shape (). alpha is negative where the edges are depleted.
    alpha_over_beta
        The amplitude that stays determined where beta is not, shape ().
    populations
        The trial populations, shape (N + 1,).
    max_error
        The largest |trial - given| over the levels, shape ().
    hessian_eigenvalues
        Ascending eigenvalues of the Hessian of the cost, the sum of squared errors over the sum of
        squared deviations from the mean population, shape (3,). Its coordinates are
        (ln|alpha / beta|, ln beta, ln(-mu)); zeta follows them, at its best.
    flat_direction
        The unit vector of the smallest eigenvalue in these coordinates, shape (3,).
    converged
        Whether the best start converged, shape ().
    """

    alpha: jax.Array
    beta: jax.Array
    mu: jax.Array
    zeta: jax.Array
    alpha_over_beta: jax.Array
    populations: jax.Array
    max_error: jax.Array
    hessian_eigenvalues: jax.Array
    flat_direction: jax.Array
    converged: jax.Array

    def _lines(self) -> list[Line]:
        names = ("alpha", "beta", "mu", "zeta", "max_error", "converged", "populations")
        return [(name, getattr(self, name), "") for name in names]


class CoherentMixtureFit(Printed):
    """The mixture of Eqs. (11)-(13) closest to a state; shapes are those of a single fit.

    Attributes
    ----------
    xi_1, xi_2
        The parameters of Eqs. (12)-(13), complex, shape (), with |xi_1 xi_2| <= 1: the pair
        (1 / xi_2, 1 / xi_1) is the same mixture. Where the state is a real matrix, the complex
        conjugate pair fits equally well.
    fidelity
        Tr sqrt(sqrt(sigma) rho_B sqrt(sigma)), the root convention, shape ().
    rho
        The trial state sigma, shape (N + 1, N + 1).
    hessian_eigenvalues
        Ascending eigenvalues of the Hessian of 1 - fidelity in (theta_1, phi_1, theta_2, phi_2)
        with xi = tan(theta / 2) e^(i phi), shape (4,).
    flat_direction
        The unit vector of the smallest eigenvalue in these coordinates, shape (4,).
    start_fidelities
        The fidelity that each start reached, shape (starts,).
    converged
        Whether the best start converged, shape ().
    """

    xi_1: jax.Array
    xi_2: jax.Array
    fidelity: jax.Array
    rho: jax.Array
    hessian_eigenvalues: jax.Array
    flat_direction: jax.Array
    start_fidelities: jax.Array
    converged: jax.Array

    def _lines(self) -> list[Line]:
        names = ("xi_1", "xi_2", "fidelity", "converged", "hessian_eigenvalues", "start_fidelities")
        return [(name, getattr(self, name), "") for name in names]


def bose_einstein_populations(
    alpha: ArrayLike, beta: ArrayLike, mu: ArrayLike, zeta: ArrayLike, N: int
) -> jax.Array:
    """Return the trial populations of Eq. (10) of the paper.

    Parameters
    ----------
    alpha
        Amplitude of the enhancement at the edges.
    beta
        Inverse temperature, positive.
    mu
        Shift of the edges, negative.
    zeta
        Baseline. The parameters have no units and are broadcast together to the shape (...).
    N
        Number of battery qubits.

    Returns
    -------
    Populations, shape (..., N + 1); their sum is not normalised.

    Raises
    ------
    ArgumentError
        Where beta is not positive or mu is not negative.

    Examples
    --------
    >>> from qbjax.states.trial_states import bose_einstein_populations
    >>> print(bose_einstein_populations(0.1, 1.0, -0.5, 0.2, N=2).round(4))
    [0.3631 0.2574 0.3631]
    """
    beta, mu = jnp.asarray(beta, float), jnp.asarray(mu, float)
    beta = blank(refusal(beta > 0, "beta", "positive", beta), beta)
    mu = blank(refusal(mu < 0, "mu", "negative", mu), mu)
    alpha, beta, mu, zeta = (jnp.asarray(p)[..., None] for p in (alpha, beta, mu, zeta))
    z = beta * (jnp.arange(N + 1) - mu)
    # e^{-z} / (1 - e^{-z}) keeps its digits at small z and its derivative at large z.
    occupation = -jnp.exp(-z) / jnp.expm1(-z)
    return zeta + alpha * (occupation + occupation[..., ::-1])


def fit_bose_einstein(populations: types.ArrayLike) -> BoseEinsteinFit:
    """Fit the trial populations of Eq. (10) of the paper by least squares.

    For given beta and mu the best alpha and zeta are a linear regression, so the search is over
    ln beta and ln(-mu) alone.

    Parameters
    ----------
    populations
        Populations of the ladder levels, shape (..., N + 1); leading axes are fitted one by one.

    Returns
    -------
    The fit, every attribute with the leading axes in front.

    Raises
    ------
    ArgumentError
        Where the populations are negative or do not sum to 1.

    Examples
    --------
    >>> from qbjax.states.trial_states import fit_bose_einstein
    >>> fit = fit_bose_einstein([0.4, 0.1, 0.0, 0.1, 0.4])
    >>> print(fit.max_error < 1e-6, fit.converged)
    True True
    """
    p = jnp.asarray(as_array(populations, "populations"), float)
    require(p.ndim >= 1 and p.shape[-1] >= 2, "populations", "of shape (..., N + 1)", p.shape)
    refused = refusal(jnp.all(p >= -_ATOL, -1), "populations", "not negative", p.min())
    total = p.sum(-1)
    refused |= refusal(jnp.abs(total - 1) <= _ATOL, "populations", "of sum 1", total)
    return blank(refused, _over_leading_axes(_fit_populations, p, 1))


def coherent_mixture(xi_1: ArrayLike, xi_2: ArrayLike, N: int) -> jax.Array:
    """Return the even mixture of two spin-coherent states, Eqs. (11)-(13) of the paper.

    |psi_1> is started at the top of the ladder, |psi_2> at the bottom. The ladder operators are the
    usual J_- and J_+; with the sums of Pauli matrices of Eq. (8), which are twice as large, the
    same states have half the xi.

    Parameters
    ----------
    xi_1, xi_2
        Complex parameters without units, broadcast together to the shape (...).
    N
        Number of battery qubits.

    Returns
    -------
    Density matrices, shape (..., N + 1, N + 1).

    Examples
    --------
    >>> from qbjax.states.trial_states import coherent_mixture
    >>> print(coherent_mixture(0.0, 1.0, N=1).real.round(3))
    [[0.25 0.25]
     [0.25 0.75]]
    """
    xi = jnp.stack(jnp.broadcast_arrays(xi_1, xi_2), axis=-1)
    angles = jnp.stack([2 * jnp.arctan(jnp.abs(xi)), jnp.angle(xi)], axis=-1)
    kets = jnp.vectorize(functools.partial(_kets, N=N), signature="(s,a)->(n,s)")(angles)
    return kets @ jnp.conj(jnp.swapaxes(kets, -1, -2))


def fit_coherent_mixture(rho_B: types.ArrayLike) -> CoherentMixtureFit:
    """Find the mixture of Eqs. (11)-(13) of the paper with the largest fidelity to a state.

    Parameters
    ----------
    rho_B
        States of the battery on its ladder, shape (..., N + 1, N + 1); leading axes are fitted one
        by one.

    Returns
    -------
    The fit, every attribute with the leading axes in front.

    Raises
    ------
    ArgumentError
        Where rho_B is no state.

    Examples
    --------
    >>> from qbjax.states.trial_states import coherent_mixture, fit_coherent_mixture
    >>> fit = fit_coherent_mixture(coherent_mixture(-0.2, 0.5j, N=3))
    >>> print(abs(fit.xi_1).round(4), abs(fit.xi_2).round(4), fit.fidelity.round(6))
    0.2 0.5 1.0
    """
    rho = as_one_ladder(rho_B)
    # One program for real and complex states.
    return _over_leading_axes(_fit_mixture, rho.astype(jnp.result_type(rho.dtype, 1j)), 2)


@eqx.filter_jit
def _over_leading_axes(fit: Callable[[jax.Array], Fit], data: jax.Array, core: int) -> Fit:
    for _ in range(data.ndim - core):
        fit = jax.vmap(fit)
    return fit(data)


def _fit_populations(p: jax.Array) -> BoseEinsteinFit:
    N = p.shape[0] - 1
    loss = functools.partial(_populations_cost, p=p)
    best = _best_of(_minimise_all(lambda x, aux: (loss(x), aux), _populations_starts(N)))
    beta, mu = jnp.exp(best.x[0]), -jnp.exp(best.x[1])
    ratio, zeta = _regress(p, beta, mu)
    fitted = bose_einstein_populations(ratio * beta, beta, mu, zeta, N)

    def cost(x: jax.Array) -> jax.Array:
        b, r = beta * jnp.exp(x[1]), ratio * jnp.exp(x[0])
        trial = bose_einstein_populations(r * b, b, mu * jnp.exp(x[2]), 0.0, N)
        return jnp.sum((trial - trial.mean() - (p - p.mean())) ** 2) / _spread(p)

    return BoseEinsteinFit(
        ratio * beta,
        beta,
        mu,
        zeta,
        ratio,
        fitted,
        jnp.abs(fitted - p).max(),
        *_curvature(cost, jnp.zeros(3)),
        best.converged,
    )


def _populations_starts(N: int) -> jax.Array:
    """Return the starts (ln beta, ln(-mu)), from a classical to a frozen ladder, shape (9, 2)."""
    grid = np.meshgrid(np.log([0.1 / N, 2 / N, 10 / N]), np.log([0.1, 0.6, 3.0]))
    return jnp.stack([jnp.asarray(g.ravel()) for g in grid], axis=-1)


def _populations_cost(x: jax.Array, p: jax.Array) -> jax.Array:
    beta, mu = jnp.exp(x[0]), -jnp.exp(x[1])
    ratio, zeta = _regress(p, beta, mu)
    trial = bose_einstein_populations(ratio * beta, beta, mu, zeta, p.shape[0] - 1)
    return jnp.sum((trial - p) ** 2) / _spread(p)


def _regress(p: jax.Array, beta: jax.Array, mu: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the best alpha / beta and zeta at given beta and mu, each of shape ()."""
    # With alpha = beta the shape stays finite as beta -> 0.
    shape = bose_einstein_populations(beta, beta, mu, 0.0, p.shape[0] - 1)
    deviation = shape - shape.mean()
    ratio = jnp.sum(deviation * (p - p.mean())) / _positive(jnp.sum(deviation**2))
    return ratio, p.mean() - ratio * shape.mean()


def _spread(p: jax.Array) -> jax.Array:
    return _positive(jnp.sum((p - p.mean()) ** 2))


def _positive(x: jax.Array) -> jax.Array:
    # Flat populations, and any at N = 1, vary by nothing: what is divided by this is zero, too.
    return jnp.where(x > 0, x, 1.0)


def _fit_mixture(rho: jax.Array) -> CoherentMixtureFit:
    N = rho.shape[0] - 1

    def infidelity(angles: jax.Array) -> jax.Array:
        return 1 - _fidelity(rho, _kets(angles, N))

    ends = _minimise_all(lambda x, aux: (infidelity(x), aux), _mixture_starts())
    best = _best_of(ends)
    angles = _upper_first(best.x)
    xi = jnp.tan(angles[:, 0] / 2) * jnp.exp(1j * angles[:, 1])
    kets = _kets(angles, N)
    return CoherentMixtureFit(
        xi[0],
        xi[1],
        1 - best.value,
        kets @ jnp.conj(kets.T),
        *_curvature(lambda x: infidelity(x.reshape(2, 2)), angles.ravel()),
        1 - ends.value,
        best.converged,
    )


def _mixture_starts() -> jax.Array:
    """Return the starts ((theta_1, phi_1), (theta_2, phi_2)), shape (starts, 2, 2)."""
    thetas = np.array([0.6, 1.6])
    # Off the axes: a search that starts in the real states cannot leave them.
    phis = 2 * np.pi * np.arange(3) / 3 + 0.3
    grid = np.meshgrid(thetas, phis, thetas, phis + 0.4)
    return jnp.asarray(np.stack([g.ravel() for g in grid], axis=-1).reshape(-1, 2, 2))


def _kets(angles: jax.Array, N: int) -> jax.Array:
    """Return A of sigma = A A^dagger, shape (N + 1, 2), from the angles of each state."""
    upper = ladder.spin_coherent_state(angles[0, 0], angles[0, 1], N)[::-1]
    lower = ladder.spin_coherent_state(angles[1, 0], angles[1, 1], N)
    return jnp.stack([upper, lower], axis=-1) / jnp.sqrt(2)


def _fidelity(rho: jax.Array, kets: jax.Array) -> jax.Array:
    """Return Tr sqrt(A^dagger rho A), which is the fidelity of rho and sigma = A A^dagger.

    For a 2 x 2 matrix M it is sqrt(Tr M + 2 sqrt(det M)).
    """
    M = jnp.conj(kets.T) @ rho @ kets
    trace = (M[0, 0] + M[1, 1]).real
    determinant = (M[0, 0] * M[1, 1] - M[0, 1] * M[1, 0]).real
    # Below rounding the determinant is noise, which its square root would blow up.
    noise = 4 * jnp.finfo(trace.dtype).eps * trace**2
    return _safe_sqrt(trace + 2 * _safe_sqrt(determinant, noise), 0.0)


def _safe_sqrt(x: jax.Array, noise: ArrayLike) -> jax.Array:
    # The double where keeps the derivative finite.
    positive = x > noise
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def _upper_first(angles: jax.Array) -> jax.Array:
    """Name the two states so that |xi_1 xi_2| <= 1: |psi_1> is the upper one."""
    half = angles[:, 0] / 2
    swap = jnp.abs(jnp.prod(jnp.sin(half))) > jnp.abs(jnp.prod(jnp.cos(half)))
    # |psi_1> at xi is |psi_2> at 1 / xi.
    swapped = jnp.array([jnp.pi, 0.0]) - angles[::-1]
    return jnp.where(swap, swapped, angles)


def _minimise_all(loss: Callable, starts: jax.Array) -> Minimum:
    return jax.vmap(lambda x0: minimise(loss, x0, max_steps=300, tolerance=1e-10))(starts)


def _best_of(ends: Minimum) -> Minimum:
    return jax.tree.map(lambda leaf: leaf[jnp.nanargmin(ends.value)], ends)


def _curvature(cost: Callable, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the ascending eigenvalues of the Hessian, and the eigenvector of the smallest."""
    values, vectors = linalg.eigh(jax.hessian(cost)(x))
    flat = vectors[:, 0]
    # An eigenvector has no sign: its largest entry is made positive.
    return values, flat * jnp.sign(flat[jnp.argmax(jnp.abs(flat))])
