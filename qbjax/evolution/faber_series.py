r"""exp(h L) applied to a state, by a Faber series on an ellipse around the spectrum.

The eigenvalues of L lie in a box [-D, 0] x i[-W, W] (`spectral_box`), hence in an ellipse
around s = -D/2 with semi-axes a along the real axis and b along the imaginary one, where
(D/2a)^2 + (W/b)^2 = 1. What makes an ellipse of the unit circle is

    z(w) = s + (a + b)/2 w + (a - b)/2 / w.

On it exp(h z(w)) has the Laurent series sum_k c_k w^k, and

    exp(h L) = sum_{k >= 0} c_k F_k,   F_0 = 1,   F_1 = A = 2 (L - s)/(a + b),
    F_{k+1} = A F_k - q F_{k-1},       q = (a - b)/(a + b),

with 2 in place of F_0 in the last line. This is the Chebyshev series of a segment where a or b
vanishes and the Taylor series where a = b; the F_k of a normal L are at most 2. How fast the
coefficients fall says which h a given number of them serves. Decay costs the square root of its
rate only, where an explicit Runge-Kutta step is bounded by the rate itself.

The F_k do not depend on h: one long step serves all the output times inside it, each with its own
coefficients, and only what is linear in the state and wanted of it is kept of the F_k.
"""

import functools
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.generator.bounds import spectral_box
from qbjax.generator.lindblad import Generator

# Coefficients c_0 ... c_95, applied in blocks that a short step leaves out.
_BLOCK, _BLOCKS = 8, 12
_DEGREE = _BLOCK * _BLOCKS
# How many coefficients are looked at for what those leave out.
_ORDERS = 256
# L is not normal: the ellipse is a little wider than its eigenvalues need.
_STRETCH = 1.02
# Output times that one step serves at most, and groups of them that are planned at once.
_TOGETHER, _PLANNED = 24, 16
# Recomputing between 100 stored states repeats a run of 1e5 steps three times.
CHECKPOINTS = 100

Kind = Literal["checkpointed", "lax"]


class Ellipse(eqx.Module):
    """Centre s and semi-axes a (real) and b (imaginary), shape () each."""

    centre: jax.Array
    real: jax.Array
    imaginary: jax.Array


def ellipse(generator: Generator) -> Ellipse:
    """Return the ellipse of least a + b around the box of the eigenvalues.

    exp(h L) does not depend on it, so it has no derivative.
    """
    decay, width = jax.lax.stop_gradient(spectral_box(generator))
    half, width = decay / 2, jnp.maximum(width, jnp.sqrt(jnp.finfo(width.dtype).tiny))
    # a + b = (D/2)/cos(phi) + W/sin(phi) is least where tan(phi)^3 = W/(D/2).
    thirds = jnp.cbrt(half), jnp.cbrt(width)
    scale = _STRETCH * jnp.hypot(*thirds)
    return Ellipse(-half, scale * thirds[0] ** 2, scale * thirds[1] ** 2)


@jax.custom_jvp
def coefficients(around: Ellipse, lengths: jax.Array) -> jax.Array:
    r"""Return c_0 ... c_255 of exp(h L) for steps of some lengths h, shape (lengths, 256).

    With p = h (a + b)/2 and q = (a - b)/(a + b), w d/dw of exp(h z(w)) says

        k c_k = p (c_{k-1} - q c_{k+1}),    c_{-k} = q^k c_k,    sum_{k} c_k = exp(h z(1)),

    which are those of Bessel functions, and as theirs are followed downwards, from where the
    coefficients vanish, by r_k = c_k / c_{k-1} = p / (k + p q r_{k+1}).
    """
    total = around.real + around.imaginary
    p, q = lengths * total / 2, (around.real - around.imaginary) / total
    orders = jnp.arange(1.0, _ORDERS)

    def down(ratio: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        below = k + p * q * ratio
        # A coefficient that vanishes to the last digit has a neighbour that does not.
        ratio = p / jnp.where(below == 0, jnp.finfo(p.dtype).eps, below)
        return ratio, ratio

    def up(product: jax.Array, ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        return product * ratio, product * ratio

    _, ratios = jax.lax.scan(down, jnp.zeros_like(p), orders, reverse=True)
    _, above = jax.lax.scan(up, jnp.ones_like(p), ratios)
    shares = jnp.concatenate([jnp.ones_like(p)[None], above]).T
    both = jnp.concatenate([jnp.ones(1), 1 + q**orders])
    at_one = jnp.exp(lengths * (around.centre + around.real))
    return shares * (at_one / (shares @ both))[:, None]


@coefficients.defjvp
def _coefficients_jvp(primals: PyTree, tangents: PyTree) -> tuple[jax.Array, jax.Array]:
    """Return the derivative in h: exp(h z) times z, since the ellipse has none."""
    around, lengths = primals
    total, gap = around.real + around.imaginary, around.real - around.imaginary
    c = coefficients(around, lengths)
    below = jnp.concatenate([gap / total * c[:, 1:2], c[:, :-1]], axis=1)
    above = jnp.pad(c[:, 1:], ((0, 0), (0, 1)))
    slopes = around.centre * c + total / 2 * below + gap / 2 * above
    return c, slopes * tangents[1][:, None]


def omissions(c: jax.Array) -> jax.Array:
    """Return what a cut at 8 j omits, j = 0 ... 12, of coefficients with their k last.

    That is 2 sum_{k >= 8 j} |c_k|, with the rounding of the terms that are kept.
    """
    blocks = jnp.sum(jnp.abs(c).reshape(*c.shape[:-1], -1, _BLOCK), axis=-1)
    tails = 2 * jnp.cumsum(blocks[..., ::-1], axis=-1)[..., ::-1]
    return tails[..., : _BLOCKS + 1] + jnp.finfo(c.dtype).eps * tails[..., :1]


def longest_step(around: Ellipse, tolerance: jax.Array) -> jax.Array:
    """Return a step that omits at most tolerance (per unit of time) of the series, and is long.

    On circles |w| = r > 1 Re z(w) is at most Z(r) = z(r), so that after Cauchy |c_k| is at most
    exp(h Z(r)) / r^k, and the best of some circles says how long h may be.
    """
    circles = 1 + jnp.geomspace(0.01, 10.0, 64)
    total, gap = around.real + around.imaginary, around.real - around.imaginary
    largest = around.centre + (total * circles + gap / circles) / 2
    # So long are steps at least: short enough for oscillation b h and decay a h.
    short = _BLOCK / jnp.maximum(around.real, around.imaginary)

    def reach(known: jax.Array) -> jax.Array:
        """Return how long a step may be that is longer than a known one."""
        allowed = jnp.maximum(tolerance * known, _rounding(known))
        powers = _DEGREE * jnp.log(circles) + jnp.log(allowed * (1 - 1 / circles) / 2)
        return jnp.maximum(jnp.max(powers / largest), short)

    # The longer it is, the more it may omit.
    return reach(reach(short))


class Series(eqx.Module):
    """The series for one generator.

    Attributes
    ----------
    generator
        L.
    tolerance
        Largest part of the series to omit, per unit of time, shape ().
    around, longest
        The ellipse, and the longest step.
    """

    generator: Generator
    tolerance: jax.Array
    around: Ellipse
    longest: jax.Array

    def __init__(self, generator: Generator, tolerance: jax.Array):
        """Find the ellipse and the longest step."""
        self.generator, self.tolerance = generator, tolerance
        self.around = ellipse(generator)
        self.longest = jax.lax.stop_gradient(longest_step(self.around, tolerance))


class Plan(eqx.Module):
    """How a group of T output times is served, each by the step in which it lies.

    Attributes
    ----------
    times, which
        The times, and the numbers of their steps, shape (T,) each.
    count
        The number of equal steps to the last of the times, shape ().
    c
        The coefficients of a whole step, and of those to the times, shape (1 + T, 96).
    is_enough
        Whether the series may be cut before each of its blocks, shape (12,).
    omitted
        What is left out of a step, shape ().
    """

    times: jax.Array
    which: jax.Array
    count: jax.Array
    c: jax.Array
    is_enough: jax.Array
    omitted: jax.Array


class Progress(eqx.Module):
    """How far a run has come.

    Attributes
    ----------
    state
        The state; NaN where the run was given up.
    error
        What was left out of the state so far, in the norm sqrt(sum |rho_ij|^2), shape ().
    steps
        Steps so far, shape ().
    """

    state: jax.Array
    error: jax.Array
    steps: jax.Array


def grouped(ts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return ascending times in groups of few enough to be served together, and where these begin.

    Groups that are planned at once stand together: shapes (blocks, groups, T) and (blocks, groups).
    The last time is repeated to fill the last group; the first group begins at 0.
    """
    groups = -(-len(ts) // _TOGETHER)
    blocks = -(-groups // _PLANNED)
    groups = -(-groups // blocks)
    width = -(-len(ts) // (blocks * groups))
    times = jnp.pad(ts, (0, blocks * groups * width - len(ts)), mode="edge")
    times = times.reshape(blocks, groups, width)
    begins = jnp.pad(times[..., -1].ravel()[:-1], (1, 0)).reshape(blocks, groups)
    return times, begins


def plans(series: Series, times: jax.Array, begins: jax.Array, max_steps: int) -> Plan:
    """Return the plans of groups of times, (groups, T), from where they begin, (groups,)."""
    return jax.vmap(functools.partial(_plan, series, max_steps))(begins, times)


def _plan(series: Series, max_steps: int, begin: jax.Array, times: jax.Array) -> Plan:
    """Return the plan from one time to others."""
    span = times[-1] - begin
    # A count that is whole but for rounding is that whole number.
    count = jnp.ceil(jax.lax.stop_gradient(span) / series.longest * (1 - 1e-6))
    count = jnp.clip(count, 1, max_steps + 1).astype(int)
    h = span / count
    # Each time lies in one step, so far after its beginning.
    position = jax.lax.stop_gradient((times - begin) / jnp.where(h > 0, h, 1))
    which = jnp.clip(jnp.ceil(position).astype(int) - 1, 0, count - 1)
    lengths = jnp.concatenate([h[None], times - begin - which * h])
    c = coefficients(series.around, lengths)
    # Tails fall with the degree: the largest one omitted is where the series is cut.
    tails = jnp.max(jax.lax.stop_gradient(omissions(c)), axis=0)
    is_enough = tails <= jnp.maximum(series.tolerance * h, _rounding(tails))
    omitted = jnp.max(jnp.where(is_enough.at[-1].set(True), tails, 0.0))
    return Plan(times, which, count, c[:, :_DEGREE], is_enough[:-1], omitted)


def advance(
    series: Series,
    progress: Progress,
    plan: Plan,
    view: Callable[[jax.Array], PyTree],
    *,
    kind: Kind,
    max_steps: int,
) -> tuple[Progress, PyTree]:
    """Go to the last of a group of times in equal steps and look at the state at all of them.

    Parameters
    ----------
    series, progress, plan
        The series, where the run is, and how to go on.
    view
        What is wanted of a state: a linear function of it.
    kind
        "checkpointed" for derivatives in reverse, "lax" for those in forward direction.
    max_steps
        Where to give up.

    Returns
    -------
    The progress, and the views with T in front.
    """
    count = plan.count
    arrives = progress.steps + count <= max_steps

    def step(carry: PyTree) -> PyTree:
        i, state, views, error = carry
        after, seen, last = _terms(series, state, plan.c[0], plan.is_enough, view)
        inside = plan.which == i

        def add(views: PyTree) -> PyTree:
            here = jnp.where(inside[:, None], plan.c[1:], 0.0)
            return jax.tree.map(lambda x, y: x + jnp.tensordot(here, y, 1), views, seen)

        views = jax.lax.cond(jnp.any(inside), add, lambda views: views, views)
        error = error + plan.omitted * jnp.linalg.norm(jax.lax.stop_gradient(last).ravel())
        return i + 1, after, views, error

    like = jax.eval_shape(view, progress.state)
    views = jax.tree.map(lambda x: jnp.zeros((len(plan.times), *x.shape), x.dtype), like)
    _, state, views, error = eqxi.while_loop(
        lambda carry: carry[0] < jnp.where(arrives, count, 0),
        step,
        (jnp.zeros_like(count), progress.state, views, progress.error),
        kind=kind,
        checkpoints=CHECKPOINTS if kind == "checkpointed" else None,
    )
    state, views = jax.tree.map(lambda x: jnp.where(arrives, x, jnp.nan), (state, views))
    return Progress(state, error, progress.steps + jnp.where(arrives, count, 0)), views


def _terms(
    series: Series,
    start: jax.Array,
    c: jax.Array,
    is_enough: jax.Array,
    view: Callable[[jax.Array], PyTree],
) -> tuple[jax.Array, PyTree, jax.Array]:
    """Return sum_k c_k F_k start, the views of all F_k start, and the last F_k start.

    Blocks of terms are left out where there is enough of them.
    """
    around = series.around
    total_axes = around.real + around.imaginary
    q = (around.real - around.imaginary) / total_axes

    def term(carry: PyTree, c_k: jax.Array) -> tuple[PyTree, PyTree]:
        total, before, now, (q_k, q_after) = carry
        after = 2 / total_axes * (series.generator(now) - around.centre * now) - q_k * before
        return (total + c_k * now, now, after, (q_after, q)), view(now)

    def block(carry: PyTree, entry: PyTree) -> tuple[PyTree, PyTree]:
        skip, c = entry

        def keep(carry: PyTree, c: jax.Array) -> tuple[PyTree, PyTree]:
            like = jax.eval_shape(view, start)
            return carry, jax.tree.map(lambda x: jnp.zeros((_BLOCK, *x.shape), x.dtype), like)

        return jax.lax.cond(skip, keep, lambda *entry: jax.lax.scan(term, *entry), carry, c)

    # F_2 = A F_1 - 2 q F_0.
    zero = jnp.zeros_like(start)
    entries = is_enough, c.reshape(_BLOCKS, _BLOCK)
    carry = zero, zero, start, (q, 2 * q)
    (total, _, last, _), seen = jax.lax.scan(block, carry, entries)
    return total, jax.tree.map(lambda x: x.reshape(_DEGREE, *x.shape[2:]), seen), last


def _rounding(like: jax.Array) -> PyTree:
    """Return where the tails of the coefficients drown in rounding."""
    return _DEGREE * jnp.finfo(like.dtype).eps
