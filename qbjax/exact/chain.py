r"""The eigenproblem of K P as a tridiagonal chain: O(N^2), without LAPACK, with small splittings.

K P joins the levels n and N - n by F, and n and N - 1 - n by c_{n+1}, with c_j = g sqrt(j (N - j +
1) / N). So in the order of levels N, 0, N - 1, 1, N - 2, 2, ... it is tridiagonal: position i = 0
... N holds the level N - i/2 where i is even and (i - 1)/2 where it is odd. The couplings e_i of
i - 1 and i are F for odd i and c_{i/2} for even i, and the diagonal is zero but for its last entry
beta: F for even N, c_{(N+1)/2} for odd N. It is the middle of the ladder.

Eigenvalues are bracketed by the signs of the pivots of T - lambda (Sturm) and bisected; vectors
are products of pivots from either end (the twisted factorisation of I. S. Dhillon and B. N.
Parlett, Linear Algebra Appl. 387, 1 (2004)), which keeps their small components to relative
precision. F and g are positive here.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbjax.common.linalg import in_turn

# Points that a bracket is divided by at once, by the number of levels: more of them make fewer and
# wider steps.
_POINTS = ((16, 15), (100, 7), (np.inf, 3))
# So many vectors at once, which fit into the cache.
_TOGETHER = 128
# Under a drive so strong, in the unit of g times 1/eps, eigenvalues near F and -F are so close that
# their vectors have to be made orthogonal.
_CLOSE = 1e-11
# The least coupling that vectors are computed with, in the unit of F times eps.
_LEAST = 4e3


class Chain(NamedTuple):
    """The tridiagonal matrix, padded: beyond N nothing couples, and the diagonal is a sentinel.

    Attributes
    ----------
    diagonal, couplings
        T_ii, and e_i between i - 1 and i (e_0 is zero), shape (levels,).
    last
        beta, shape ().
    bound
        A bound of the norm; the sentinels lie above it, shape ().
    """

    diagonal: jax.Array
    couplings: jax.Array
    last: jax.Array
    bound: jax.Array


class Spectrum(NamedTuple):
    """Eigenvalues in ascending order, sentinels last, and the vectors that belong to them.

    Attributes
    ----------
    eigenvalues
        Right to the absolute precision of the norm, shape (levels,).
    vectors
        Over the positions of the chain, as columns, shape (levels, levels).
    log_last, sign_last
        ln and sign of the components at position N, where they underflow, too, shape (levels,).
    """

    eigenvalues: jax.Array
    vectors: jax.Array
    log_last: jax.Array
    sign_last: jax.Array


def chain(F: jax.Array, g: jax.Array, N: jax.Array, levels: int) -> Chain:
    """Return the matrix."""
    i = jnp.arange(levels)

    def coupling(j: jax.Array) -> jax.Array:
        squared = j * (N - j + 1) / N
        positive = squared > 0
        return g * jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)

    bonds = jnp.where(i % 2 == 1, F, coupling(i // 2))
    last, bound = last_entry(F, g, N), F + _largest_coupling(g, N)
    diagonal = jnp.where(i > N, bound * (1.5 + i / levels), jnp.where(i == N, last, 0.0))
    return Chain(diagonal, jnp.where((i == 0) | (i > N), 0.0, bonds), last, bound)


def last_entry(F: jax.Array, g: jax.Array, N: jax.Array) -> jax.Array:
    """Return beta, shape ()."""
    return jnp.where(N % 2 == 0, F, _largest_coupling(g, N))


def _largest_coupling(g: jax.Array, N: jax.Array) -> jax.Array:
    """Return c_{(N+1)/2} of an odd N, a bound of the c_j for an even one."""
    return g * (N + 1) / (2 * jnp.sqrt(N))


def positions(N: jax.Array, levels: int) -> jax.Array:
    """Return at which position of the chain each level of the ladder is, shape (levels,)."""
    n = jnp.arange(levels)
    return jnp.where(n > N, n, jnp.where(2 * n < N, 2 * n + 1, 2 * (N - n)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def spectrum(
    F: jax.Array, g: jax.Array, N: jax.Array, levels: int, columns: range | None = None
) -> Spectrum:
    """Return the spectrum of one model, with its derivatives to any order in forward mode.

    In reverse mode there is the first one. They are NaN where F vanishes, or g beside F.

    Parameters
    ----------
    F, g, N
        Of the model, shape ().
    levels
        Positions of the chain: N + 1, more where it is padded, or fewer where it is cut.
    columns
        Which eigenvalues, counted from below; None: all.
    """
    eps = jnp.finfo(F.dtype).eps
    # Below it vectors are those of g -> 0, and eigenvalues differ from F and -F by so much less.
    drive = jnp.where((F == 0) & (g == 0), 1.0, F)
    coupling = jnp.maximum(g, least_coupling(drive))
    matrix = chain(drive, coupling, N, levels)
    numbers = np.arange(levels) if columns is None else np.asarray(columns)
    eigenvalues = _bisected(matrix, numbers)
    vectors, *last = _vectors(matrix, N, eigenvalues)
    if columns is None:
        vectors = _orthogonal_where(matrix.bound * eps > _CLOSE * coupling, vectors)
    middle = jnp.where(eigenvalues < 0, -F, F)
    ends = jnp.where(eigenvalues < 0, -drive, drive)
    scaled = middle + (eigenvalues - ends) * (g / coupling)
    scaled = jnp.where(coupling == g, eigenvalues, scaled)
    return Spectrum(scaled, vectors, *last)


@spectrum.defjvp
def _jvp(
    levels: int, columns: range | None, primals: tuple, tangents: tuple
) -> tuple[Spectrum, Spectrum]:
    F, g, N = primals
    known = spectrum(F, g, N, levels, columns)

    def matrix(F: jax.Array) -> Chain:
        return chain(F, g, N, levels)

    def vectors(F: jax.Array, eigenvalues: jax.Array) -> tuple[jax.Array, ...]:
        return _vectors(matrix(F), N, eigenvalues)

    _, slope = jax.jvp(matrix, (F,), (jnp.ones_like(F),))
    z = known.vectors
    below = jnp.roll(z, 1, axis=0)
    # Hellmann and Feynman.
    moved = slope.diagonal @ z**2 + 2 * slope.couplings @ (below * z)
    _, turned = jax.jvp(vectors, (F, known.eigenvalues), (jnp.ones_like(F), moved))
    # All but a scale is a function of F/g, so that one derivative tells the other.
    regular = jnp.where((F == 0) | (g < least_coupling(F)), jnp.nan, 1.0)
    along, scale = tangents[0] * regular, tangents[1] / jnp.where(g == 0, jnp.nan, g)
    along = along - F * scale
    dots = [along * moved + scale * known.eigenvalues, *(along * x for x in turned)]
    return known, Spectrum(*dots)


def least_coupling(F: jax.Array) -> jax.Array:
    """Return the coupling below which vectors are those of g -> 0."""
    return _LEAST * jnp.finfo(F.dtype).eps * F


def _guarded(pivot: jax.Array) -> jax.Array:
    """Return a pivot that can be divided by, of the same sign."""
    tiny = float(jnp.finfo(pivot.dtype).tiny) ** 0.45
    return jnp.where(jnp.abs(pivot) < tiny, jnp.where(pivot < 0, -tiny, tiny), pivot)


def _below(matrix: Chain, x: jax.Array) -> jax.Array:
    """Return how many eigenvalues lie below each of some numbers: the negative pivots (Sturm)."""

    def step(carry: tuple[jax.Array, jax.Array], row: tuple) -> tuple[tuple, None]:
        pivot, count = carry
        diagonal, squared = row
        pivot = _guarded(diagonal - x - squared / pivot)
        return (pivot, count + (pivot < 0)), None

    start = jnp.ones_like(x), jnp.zeros(x.shape, int)
    return jax.lax.scan(step, start, (matrix.diagonal, matrix.couplings**2))[0][1]


def _bisected(matrix: Chain, k: np.ndarray) -> jax.Array:
    """Return the eigenvalues k, counted from below, each bracket divided by several points."""
    points = next(points for most, points in _POINTS if len(k) <= most)
    inside = jnp.arange(1, points + 1)[:, None] / (points + 1)

    def narrow(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, width = ends
        place = jnp.sum(_below(matrix, low + width * inside) <= jnp.asarray(k), axis=0)
        return low + place * (width / (points + 1)), width / (points + 1)

    # The sentinels end at 2.5 times the bound.
    start = -matrix.bound + jnp.zeros(len(k)), 3.6 * matrix.bound
    digits = jnp.finfo(matrix.bound.dtype).nmant + 2
    passes = math.ceil(digits / math.log2(points + 1))
    low, width = jax.lax.fori_loop(0, passes, narrow, start)
    return low + width / 2


@in_turn
def _orthogonal_where(condition: jax.Array, vectors: jax.Array) -> jax.Array:
    """Return the orthogonal matrix next to one that is nearly so, under a condition (Newton)."""

    def improve(_: int, z: jax.Array) -> jax.Array:
        return 1.5 * z - z @ (z.T @ z) / 2

    return jax.lax.fori_loop(0, jnp.where(condition, 5, 0), improve, vectors)


def _vectors(
    matrix: Chain, N: jax.Array, eigenvalues: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return vectors, and ln and sign of their last components, of given eigenvalues."""
    if len(eigenvalues) <= _TOGETHER:
        return _vectors_together(matrix, N, eigenvalues)
    columns = jax.lax.map(
        lambda x: _vectors_together(matrix, N, x[None]), eigenvalues, batch_size=_TOGETHER
    )
    vectors, log_last, sign_last = columns
    return vectors[:, :, 0].T, log_last[:, 0], sign_last[:, 0]


def _vectors_together(
    matrix: Chain, N: jax.Array, eigenvalues: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    i = jnp.arange(len(matrix.diagonal))[:, None]
    after = jnp.roll(matrix.couplings, -1)
    shifted = matrix.diagonal[:, None] - eigenvalues

    def both_ways(step: Callable, start: jax.Array, *rows: tuple) -> tuple[jax.Array, jax.Array]:
        """Scan rows from the first position, and others from the last one, side by side."""
        paired = [jnp.stack([forward, backward[::-1]], axis=1) for forward, backward in rows]
        forward, backward = jax.lax.scan(step, jnp.stack([start] * 2), paired)[1].swapaxes(0, 1)
        return forward, backward[::-1]

    def pivot(last: jax.Array, row: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
        entry, coupling = row
        now = _guarded(entry - coupling[:, None] ** 2 / last)
        return now, now

    couplings = matrix.couplings, after
    forward, backward = both_ways(pivot, jnp.ones_like(eigenvalues), (shifted, shifted), couplings)
    # Where a vector is large: from there on its components are products of pivots.
    twist = jnp.argmin(jnp.abs(forward + backward - shifted), axis=0)

    def component(last: jax.Array, row: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
        at_twist, ratio = row
        now = jnp.where(at_twist, 1.0, ratio * last)
        return now, now

    onwards = jnp.where(i > twist, -matrix.couplings[:, None] / backward, 0.0)
    back = jnp.where(i < twist, -after[:, None] / forward, 0.0)
    at_twist = i == twist
    sides = both_ways(component, jnp.zeros_like(eigenvalues), (at_twist, at_twist), (onwards, back))
    vectors = jnp.where(i < twist, sides[1], sides[0])
    size = jnp.sqrt(jnp.sum(vectors**2, axis=0))
    past = jnp.where((i > twist) & (i <= N), onwards, 1.0)
    log_last = jnp.sum(jnp.log(jnp.abs(past)), axis=0) - jnp.log(size)
    # The first component is never zero, but may underflow.
    sign = jnp.where(vectors[0] < 0, -1.0, 1.0)
    return sign * vectors / size, log_last, sign * jnp.prod(jnp.sign(past), axis=0)
