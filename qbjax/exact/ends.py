r"""The steady state of many qubits, told by the two ends of the ladder alone.

The empty battery is the end of the chain of `qbjax.exact.chain`, and the modes that it occupies
stay near it: w_k tends to a Poisson distribution of mean (F/g)^2 over the modes lambda = 0, +-g
sqrt(1), +-g sqrt(2), ..., which reach sqrt(k) + F/g deep. So a chain cut far behind them gives
every figure of merit, at a cost that does not depend on N. Cut after an odd number of positions it
has the eigenvalues 0 and +-sigma exactly, and z_{-k}(i) = (-1)^i z_k(i).

What the two ends do to each other, the splittings, are products over the whole chain. For the
slowest, 2 sigma_min, they are a closed form: at lambda = 0 the even positions obey z(2j) = -(F/c_j)
z(2j - 2), and c_1 ... c_m = g^m sqrt(m! N! / ((N - m)! N^m)). For others the pivots from the middle
of the ladder tell how z_k and z_{-k} continue behind the cut, each in its own way.
"""

import functools
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from qbjax.common import linalg
from qbjax.common.checks import is_concrete, number_where
from qbjax.common.first_order import first_order
from qbjax.exact import chain
from qbjax.model.star_battery import StarBattery

# What a mode may hold where the chain is cut, and what the modes that are left out may weigh.
CUT = 1e-10
# What a drive that JAX is tracing is taken for, in the unit of g.
_TRACED_DRIVE = 10.0


class Size(NamedTuple):
    """Modes +-k up to `modes`, in a chain of 2 `half` + 1 positions."""

    modes: int
    half: int


def size(F_over_g: float) -> Size:
    """Return how many modes the empty battery occupies under a drive, and how deep they reach.

    Drives that are 19 % apart, a factor 2^(1/4), are taken together to share programs.
    """
    drive = 2.0 ** (math.ceil(4 * math.log2(max(F_over_g, 0.5))) / 4)
    modes = math.ceil(drive**2 + 9 * drive + 16)
    return Size(modes, math.ceil((math.sqrt(modes) + drive + 4) ** 2))


def size_for(model: StarBattery) -> Size | None:
    """Return the size for a model or a batch; None where the two ends do not lie apart.

    Drives that JAX is tracing are taken for no stronger than 10 g, and numbers of qubits for no
    less than half of what they are padded to: `Ends.error` tells.
    """
    drive = _TRACED_DRIVE
    if is_concrete(model.F, model.g):
        F, g = (np.abs(np.asarray(x)) for x in (model.F, model.g))
        drive = float(np.max(np.divide(F, g, out=np.zeros_like(F), where=g != 0)))
    N = int(np.min(np.asarray(model.N))) if is_concrete(model.N) else model.N_max // 2
    best = size(drive)
    # In smaller batteries the modes reach deeper than in the limit.
    return best if max(2 * best.half + 1, 32 * drive**2) < N else None


class Ends(eqx.Module):
    """The steady state that the empty battery charges to, near the ends.

    Attributes
    ----------
    populations
        p(n) = p(N - n) for n = 0 ... half - 1, shape (half,).
    largest
        The largest eigenvalue of the battery state, shape ().
    log_smallest
        ln sigma_min(K), shape ().
    error
        What is left out: the largest amplitude where the chain is cut, or the weight of the modes
        beyond, shape ().
    """

    populations: jax.Array
    largest: jax.Array
    log_smallest: jax.Array
    error: jax.Array


def ends(F: jax.Array, g: jax.Array, N: jax.Array, size: Size) -> Ends:
    """Return the ends for one model; F and g may have any sign."""
    F, g = jnp.abs(F), jnp.abs(g)
    z = _modes(F, g, N, size)
    start = z[0]
    even, odd = z[0:-1:2], z[1::2]
    crossed = even.T @ odd
    overlap = crossed + crossed.T
    one = jnp.eye(len(start))
    blocks = jnp.stack([one + overlap, one - overlap]) * (start[:, None] * start / 2)
    return Ends(
        populations=(even**2 + odd**2) @ start**2 / 2,
        largest=jnp.max(linalg.eigvalsh(blocks)),
        log_smallest=_log_smallest(F, g, N, start[0]),
        error=_left_out(z),
    )


def _left_out(z: jax.Array) -> jax.Array:
    """Return the largest amplitude at the cut, or what the modes lack of the start, if more."""
    at_cut, lacking = jnp.max(jnp.abs(z[0] * z[-1])), jnp.abs(1 - jnp.sum(z[0] ** 2))
    return jax.lax.stop_gradient(jnp.maximum(at_cut, lacking))


def states(model: StarBattery, size: Size) -> tuple[jax.Array, jax.Array]:
    """Return the battery's blocks beside |g> and |e>, of a steady state that is zero in between."""
    z = _modes(jnp.abs(model.F), jnp.abs(model.g), model.N, size)
    i = np.arange(2 * size.half)
    # The reversal of the ladder exchanges positions 2j and 2j + 1.
    u, v = z[i] * z[0], z[i ^ 1] * z[0]
    levels = jnp.where(i % 2 == 0, model.N - i // 2, i // 2)
    # See `sectors.diagonalise` for the signs.
    signs = jnp.where(model.F * model.g < 0, (-1.0) ** levels, 1.0)[:, None]

    def spread(vectors: jax.Array) -> jax.Array:
        block = (signs * vectors) @ (signs * vectors).T / 2
        return jnp.zeros(2 * (model.levels,)).at[levels[:, None], levels].set(block)

    return spread(v), spread(u)


def _modes(F: jax.Array, g: jax.Array, N: jax.Array, size: Size) -> jax.Array:
    """Return the modes k = 0, +-1, +-2, ... over the positions of the cut chain, as columns."""
    modes, half = size
    upper = chain.spectrum(F, g, N, 2 * half + 1, range(half, half + modes + 1))
    alternating = (-1.0) ** np.arange(2 * half + 1)[:, None]
    # The mode 0 lives on the even positions.
    return jnp.concatenate([upper.vectors, alternating * upper.vectors[:, 1:]], axis=1)


def _log_smallest(F: jax.Array, g: jax.Array, N: jax.Array, first: jax.Array) -> jax.Array:
    """Return ln sigma_min = ln beta + 2 ln |z(N)| from the first component of the mode 0."""
    half = N // 2
    is_odd = N % 2 == 1
    lgamma_ratio = gammaln(half + 1.0) + gammaln(N + 1.0) - gammaln(N - half + 1.0)
    log_couplings = half * jnp.log(g) + (lgamma_ratio - half * jnp.log(N)) / 2
    log_last = jnp.log(first) + half * jnp.log(F) - log_couplings
    # For odd N there is one more factor, F / beta.
    log_beta = jnp.log(chain.last_entry(F, g, N))
    return 2 * (log_last + jnp.where(is_odd, jnp.log(F) - log_beta, 0.0)) + log_beta


class _Follow(NamedTuple):
    """A mode to follow: its eigenvalue, a place where it is large, and ln |z| there."""

    eigenvalue: jax.Array
    place: jax.Array
    log_there: jax.Array


def log_slowest_splitting(model: StarBattery, size: Size, min_weight: jax.Array) -> jax.Array:
    """Return ln omega_+ of the slowest mode of E_B(t) above `min_weight` of the largest weight.

    NaN where more than `CUT` is left out.

    The weighty modes of small omega_+ are the pairs of k and -k, of the weights 2 w_k (1 - 2 d/N)
    with the depth d of their mode (once for k = 0); the lowest k is the slowest.
    """
    F, g = jnp.abs(model.F), jnp.abs(model.g)
    return _log_slowest_splitting(F, g, model.N, jax.lax.stop_gradient(min_weight), size)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _log_slowest_splitting(
    F: jax.Array, g: jax.Array, N: jax.Array, min_weight: jax.Array, size: Size
) -> jax.Array:
    upper = chain.spectrum(F, g, N, 2 * size.half + 1, range(size.half, size.half + size.modes + 1))
    z = upper.vectors
    error = _left_out(jnp.concatenate([z, z[:, 1:]], axis=1))
    depth = (np.arange(len(z)) // 2) @ z**2
    weights = z[0] ** 2 * (1 - 2 * depth / N)
    weights = weights * jnp.where(jnp.arange(size.modes + 1) == 0, 1.0, 2.0)
    k = jnp.argmax(weights >= min_weight * jnp.max(weights))
    place = jnp.argmax(jnp.abs(z[:, k]))
    log_there = jnp.log(jnp.abs(z[place, k]))
    # z_{-k} has the same sizes near this end.
    eigenvalues = jnp.stack([upper.eigenvalues[k], -upper.eigenvalues[k]])
    last = _log_last(F, g, N, _Follow(eigenvalues, place, log_there))
    followed = jnp.log(2 * chain.last_entry(F, g, N)) + jnp.sum(last)
    smallest = jnp.log(2.0) + _log_smallest(F, g, N, z[0, 0])
    return number_where(error <= CUT, jnp.where(k == 0, smallest, followed))


@_log_slowest_splitting.defjvp
def _jvp(size: Size, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    F, g, N, min_weight = primals

    def of_F(F: jax.Array) -> jax.Array:
        return _log_slowest_splitting.fun(F, g, N, min_weight, size)

    value, slope = jax.jvp(of_F, (F,), (jnp.ones_like(F),))
    # ln omega(F, g) is ln g and a function of F/g.
    return value, first_order(slope) * tangents[0] + first_order(1 - F * slope) / g * tangents[1]


def _log_last(F: jax.Array, g: jax.Array, N: jax.Array, mode: _Follow) -> jax.Array:
    """Return ln |z(N)| of modes by the pivots from position N back to where they are large."""

    def bond(i: jax.Array) -> jax.Array:
        j = i // 2
        return jnp.where(i % 2 == 1, F**2, g**2 * j * (N - j + 1.0) / N)

    def step(back: jax.Array, state: tuple) -> tuple:
        pivot, total = state
        i = N - back
        pivot = -mode.eigenvalue - bond(i + 1) / pivot
        return pivot, total + jnp.log(bond(i)) / 2 - jnp.log(jnp.abs(pivot))

    pivot = chain.last_entry(F, g, N) - mode.eigenvalue
    total = jnp.log(bond(N)) / 2 - jnp.log(jnp.abs(pivot)) + mode.log_there
    return jax.lax.fori_loop(1, N - mode.place, step, (pivot, total))[1]
