r"""The charging time of Eq. (6): a fit of E_B(t) ~ E_inf [1 - e^{-t/tau} cos(omega t + phi)].

The definition. E_inf = N omega_B / 2 and the amplitude 1 are fixed; (tau, omega, phi) minimise the
mean squared residual over 2000 uniform samples of [0, 10/r], where r is the slowest rate of the
energy's modes above 1e-3 of the largest weight. omega is bounded to 60 r, well below the sampling
rate. A coarse-graining window w replaces E_B(t) by its mean over [t - w/2, t + w/2], cut off at the
ends of the samples.

Several local minima compete, so that the branch is part of the definition. "continuous" follows the
best minimum at gamma_C = 0.1 omega, far below the frequency omega of the slowest of those modes,
upwards to the gamma_C asked for. "lowest" takes the least cost over a grid of starts.

Within a fit, times are in units of 1/r and the parameters are p = (ln tau, omega, phi).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.common import linalg
from qbjax.common.first_order import first_order
from qbjax.exact.curves import Curve

SAMPLES = 2000
SPAN = 10.0
MAX_OMEGA = 60.0
# Steps from gamma_C = 0.1 omega up to the one asked for: 3 % each up to gamma_C = 4 omega.
LADDER = 120
# tau changes by a few per cent a step along a branch, in proportion to gamma_C.
_JUMP = 0.1


class LocalFit(eqx.Module):
    """A local minimum of the cost.

    Attributes
    ----------
    p
        (ln tau, omega, phi) in the unit of 1/r, shape (3,).
    cost
        Mean squared residual, shape ().
    slope
        Largest component of its gradient, shape ().
    curvature
        Smallest eigenvalue of its Hessian, shape ().
    """

    p: jax.Array
    cost: jax.Array
    slope: jax.Array
    curvature: jax.Array

    @property
    def converged(self) -> jax.Array:
        """Whether this is a minimum inside the bounds."""
        return (self.slope < 1e-8) & (self.curvature > 0) & _inside(self.p)


def _inside(p: jax.Array) -> jax.Array:
    """Tell whether parameters are where a fit can mean something: omega below the bound."""
    return (jnp.abs(p[..., 1]) < MAX_OMEGA) & (jnp.abs(p[..., 0]) < 10.0)


def sample(
    curve: Curve, gamma: ArrayLike, log_rate: jax.Array, window: ArrayLike | None
) -> jax.Array:
    """Return the deficit 1 - E/E_inf on the samples of a fit, coarse-grained, shape (SAMPLES,)."""
    times = jnp.linspace(0.0, SPAN, SAMPLES)
    values = curve(gamma, times * jnp.exp(-log_rate))
    if window is None:
        return values
    half = jnp.asarray(window) * jnp.exp(log_rate) / 2
    trapezia = (values[1:] + values[:-1]) / 2 * times[1]
    integral = jnp.concatenate([jnp.zeros(1), jnp.cumsum(trapezia)])
    first, last = jnp.clip(times - half, 0.0, SPAN), jnp.clip(times + half, 0.0, SPAN)
    return (jnp.interp(last, times, integral) - jnp.interp(first, times, integral)) / (last - first)


def _derivatives(p: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the cost and its gradient and Hessian with respect to p = (ln tau, omega, phi)."""
    t = jnp.linspace(0.0, SPAN, SAMPLES)[:: SAMPLES // values.size]
    decay = t * jnp.exp(-p[0])
    envelope, phase = jnp.exp(-decay), p[1] * t + p[2]
    c, s = envelope * jnp.cos(phase), envelope * jnp.sin(phase)
    residual = values - c
    slopes = jnp.stack([c * decay, -s * t, -s])
    # Second derivatives of the model c, each summed against the residual.
    second = jnp.stack([c * decay * (decay - 1), -s * decay * t, -s * decay, -c * t**2, -c * t, -c])
    aa, ao, ap, oo, op, pp = second @ residual
    curved = jnp.array([[aa, ao, ap], [ao, oo, op], [ap, op, pp]])
    mean = 2 / values.size
    return jnp.mean(residual**2), -mean * slopes @ residual, mean * (slopes @ slopes.T - curved)


def minimum(values: jax.Array, start: jax.Array, most_steps: int = 80) -> LocalFit:
    """Return the local minimum that damped Newton steps reach from a start.

    The residuals are large, so that Gauss-Newton steps would crawl, and a branch must not be left
    for another: every step is short, lowers the cost, and uses the exact 3 x 3 Hessian with its
    negative curvatures turned round. The derivative is that of the implicit function.
    """
    fixed = jax.lax.stop_gradient(values)
    p = jax.lax.stop_gradient(_newton(fixed, jax.lax.stop_gradient(start), most_steps))
    cost, slope, hessian = _derivatives(p, values)
    curvature, vectors = linalg.eigh(jax.lax.stop_gradient(hessian))
    regular = jnp.abs(curvature) > 1e-14
    inverse = jnp.where(regular, 1 / jnp.where(regular, curvature, 1.0), 0.0)
    refined = first_order(p - vectors @ (inverse * (vectors.T @ slope)))
    size = jnp.max(jnp.abs(jax.lax.stop_gradient(slope)))
    return LocalFit(refined, cost, size, curvature[0])


def _newton(values: jax.Array, start: jax.Array, most_steps: int) -> jax.Array:
    def step(state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        p, (cost, slope, hessian), damping, count, _ = state
        curvature, vectors = linalg.eigh(hessian)
        along = vectors.T @ slope
        # A symmetric saddle has no slope: leave it along its negative curvature.
        saddle = (curvature < 0) & (jnp.abs(along) < 1e-7)
        scale = jnp.abs(curvature) + damping * jnp.max(jnp.abs(curvature))
        move = vectors @ jnp.where(saddle, 0.05, -along / scale)
        move = move * jnp.minimum(1.0, 0.3 / jnp.max(jnp.abs(move)))
        trial = _derivatives(p + move, values)
        better = trial[0] < cost
        p = jnp.where(better, p + move, p)
        now = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, state[1])
        done = (jnp.max(jnp.abs(move)) < 1e-10) | (jnp.max(jnp.abs(slope)) < 1e-12)
        done = done | (damping > 1e8) | ~_inside(p)
        damping = jnp.where(better, damping / 5, jnp.maximum(damping, 1e-3) * 4)
        return p, now, damping, count + 1, done

    def unfinished(state: tuple[PyTree, ...]) -> jax.Array:
        return (state[3] < most_steps) & ~state[4]

    begun = (jnp.asarray(1e-3), jnp.asarray(0), jnp.asarray(False))
    return jax.lax.while_loop(unfinished, step, (start, _derivatives(start, values), *begun))[0]


def survey(values: jax.Array, frequencies: jax.Array) -> LocalFit:
    """Return the minima reached from a grid of starts, on every eighth sample, shape (starts,).

    The grid is tau in 0.03, 0.08, 0.2, 0.5, 1, 3, phi in -1, 0, 1 and omega in 0, 0.3, 1, 3, 10, 30
    and the given frequencies. Of each omega and phi the best tau is followed down, for 30 steps at
    most: a minimum is reached in some ten.
    """
    thinned, frequencies = jax.lax.stop_gradient((values[::8], frequencies))
    omegas = jnp.concatenate([jnp.array([0.0, 0.3, 1.0, 3.0, 10.0, 30.0]), frequencies])
    log_taus = jnp.log(jnp.array([0.03, 0.08, 0.2, 0.5, 1.0, 3.0]))
    phis = jnp.array([-1.0, 0.0, 1.0])
    grid = jnp.meshgrid(jnp.minimum(omegas, MAX_OMEGA), phis, log_taus, indexing="ij")
    starts = jnp.stack([grid[2], grid[0], grid[1]], axis=-1).reshape(-1, log_taus.size, 3)
    costs = jax.vmap(jax.vmap(lambda p: _derivatives(p, thinned)[0]))(starts)
    best = jnp.argmin(costs, axis=1)
    chosen = jnp.take_along_axis(starts, best[:, None, None], axis=1)[:, 0]
    return jax.vmap(lambda start: minimum(thinned, start, most_steps=30))(chosen)


def lowest(values: jax.Array, minima: LocalFit) -> LocalFit:
    """Return the minimum of least cost, of those that `survey` gives."""
    # The cost on all samples decides between minima that every eighth one cannot tell apart.
    costs = jax.vmap(lambda p: _derivatives(p, values)[0])(minima.p)
    best = jnp.argmin(jnp.where(minima.converged, costs, jnp.inf))
    return minimum(values, minima.p[best])


class Rivals(eqx.Module):
    """The other minima of a fit: how many minima there are, and the best besides the given one."""

    minima: jax.Array
    second_log_tau: jax.Array
    second_cost: jax.Array


def rivals(minima: LocalFit, chosen: LocalFit) -> Rivals:
    """Compare a minimum with those that `survey` gives."""
    log_tau, omega = minima.p[:, 0], jnp.abs(minima.p[:, 1])
    order = jnp.arange(log_tau.size)

    def same(log_tau_2: jax.Array, omega_2: jax.Array) -> jax.Array:
        return (jnp.abs(log_tau - log_tau_2) < 0.02) & (jnp.abs(omega - omega_2) < 0.02)

    repeats = jax.vmap(same)(log_tau, omega) & minima.converged & (order < order[:, None])
    distinct = minima.converged & ~jnp.any(repeats, axis=1)
    other = minima.converged & ~same(chosen.p[0], jnp.abs(chosen.p[1]))
    cost = jnp.where(other, minima.cost, jnp.inf)
    best = jnp.argmin(cost)
    second = jnp.where(jnp.any(other), log_tau[best], jnp.nan)
    return Rivals(jnp.sum(distinct), second, cost[best])


class Branch(eqx.Module):
    """A branch of minima along increasing gamma_C; see `follow`."""

    fit: LocalFit
    log_rate: jax.Array
    ended: jax.Array

    @property
    def log_tau(self) -> jax.Array:
        """The natural logarithm of tau."""
        return self.fit.p[..., 0] - self.log_rate


def follow(
    values_at: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    log_gammas: jax.Array,
    start: LocalFit,
    log_rate: jax.Array,
) -> Branch:
    """Follow a minimum along a ladder of dephasing rates; `ended` says from where on it jumped.

    `values_at(log_gamma)` returns the samples and ln r. The axes of the result run along the
    ladder.
    """

    def step(
        before: tuple[jax.Array, jax.Array], log_gamma: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[LocalFit, jax.Array]]:
        values, log_rate = values_at(log_gamma)
        fit = minimum(values, rescale(*before, log_rate))
        return (fit.p, log_rate), (fit, log_rate)

    initial = jax.lax.stop_gradient((start.p, log_rate))
    fits, log_rates = jax.lax.scan(step, initial, log_gammas)[1]
    log_taus = jnp.where(fits.converged, fits.p[:, 0], jnp.inf) - log_rates
    return Branch(fits, log_rates, _jumped(log_taus))


def _jumped(log_taus: jax.Array) -> jax.Array:
    """Tell from where on ln tau has jumped along a ladder; a lone outlier is none.

    (At small gamma_C a fast mode can alias onto the slow one on a single rung.)
    """
    padded = jnp.concatenate([log_taus[:1], log_taus, log_taus[-1:]])
    medians = jnp.median(jnp.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
    # Written so that infinities count as jumps.
    steady = jnp.abs(jnp.diff(medians, prepend=medians[:1])) <= _JUMP
    return jnp.cumsum(~steady) > 0


def rescale(p: jax.Array, log_rate: jax.Array, new_log_rate: jax.Array) -> jax.Array:
    """Return parameters in the unit of another r."""
    change = new_log_rate - log_rate
    return jnp.stack([p[0] + change, p[1] * jnp.exp(-change), p[2]])
