r"""exp(h L) applied to a state, by a Faber series on an ellipse around the spectrum.

The eigenvalues of L lie in a box [-D, 0] x i[-W, W] (`spectral_box`), hence in an ellipse
around s = -D/2 with semi-axes a along the real axis and b along the imaginary one, where
(D/2a)^2 + (W/b)^2 = 1. What makes an ellipse of the unit circle is

    z(w) = s + (a + b)/2 w + (a - b)/2 / w.

On it exp(h z(w)) has the Laurent series sum_k c_k w^k, and

    exp(h L) = sum_{k >= 0} c_k F_k,   F_0 = 1,   F_1 = A = 2 (L - s)/(a + b),
    F_{k+1} = A F_k - q F_{k-1},       q = (a - b)/(a + b),

with 2 in place of F_0 in the last line. This is the Chebyshev series of a segment where a or b
vanishes and the Taylor series where a = b; the F_k of a normal L are at most 2. The coefficients
come from one Fourier transform around the circle, and how fast they fall says which h a given
number of them serves. Decay costs the square root of its rate only, where an explicit Runge-Kutta
step is bounded by the rate itself.

The F_k do not depend on h: one long step serves all the output times inside it, each with its own
coefficients, and only what is linear in the state and wanted of it is kept of the F_k.
"""

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
_SAMPLES = 4 * _DEGREE
# L is not normal: the ellipse is a little wider than its eigenvalues need.
_STRETCH = 1.02
# Output times that one step serves at most.
_TOGETHER = 8
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


def coefficients(around: Ellipse, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return c_0 ... c_95 and, for j = 0 ... 12, what a cut at 8 j omits.

    That is 2 sum_{k >= 8 j} |c_k|, with the rounding of the terms that are kept.
    """
    angle = 2 * jnp.pi * jnp.arange(_SAMPLES) / _SAMPLES
    real = around.centre + around.real * jnp.cos(angle)
    values = jnp.exp(h * real) * jnp.exp(1j * h * around.imaginary * jnp.sin(angle))
    c = jnp.fft.fft(values)[: _SAMPLES // 2].real / _SAMPLES
    tails = 2 * jnp.cumsum(jnp.abs(c[::-1]))[::-1]
    return c[:_DEGREE], tails[: _DEGREE + 1 : _BLOCK] + jnp.finfo(c.dtype).eps * tails[0]


def longest_step(around: Ellipse, tolerance: jax.Array) -> jax.Array:
    """Return the longest step that omits at most tolerance (per unit of time) of the series."""
    # Oscillation b h needs a degree above b h, decay a h one of about sqrt(a h).
    reach = jnp.geomspace(_DEGREE / 12, _DEGREE**2 / 8, 64)
    steps = reach / jnp.maximum(around.real, around.imaginary)
    omitted = jax.vmap(lambda h: coefficients(around, h)[1][-1])(steps)
    fits = omitted <= jnp.maximum(tolerance * steps, _rounding(omitted))
    return jnp.max(jnp.where(fits, steps, steps[0]))


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


class Progress(eqx.Module):
    """How far a run has come.

    Attributes
    ----------
    state, time
        The state and its time; NaN where the run was given up.
    error
        What was left out of the state so far, in the norm sqrt(sum |rho_ij|^2), shape ().
    steps
        Steps so far, shape ().
    """

    state: jax.Array
    time: jax.Array
    error: jax.Array
    steps: jax.Array


def grouped(ts: jax.Array) -> jax.Array:
    """Return the times in rows of few enough to be served together, the last one repeated."""
    groups = -(-len(ts) // _TOGETHER)
    width = -(-len(ts) // groups)
    return jnp.pad(ts, (0, groups * width - len(ts)), mode="edge").reshape(groups, width)


def advance(
    series: Series,
    progress: Progress,
    times: jax.Array,
    view: Callable[[jax.Array], PyTree],
    *,
    kind: Kind,
    max_steps: int,
) -> tuple[Progress, PyTree]:
    """Go to the last of some times in equal steps and look at the state at all of them.

    Parameters
    ----------
    series, progress
        The series, and where the run is.
    times
        Ascending, none before the time of the progress, shape (T,).
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
    around, begin = series.around, progress.time
    span = times[-1] - begin
    # A count that is whole but for rounding is that whole number.
    count = jnp.ceil(jax.lax.stop_gradient(span) / series.longest * (1 - 1e-6))
    count = jnp.clip(count, 1, max_steps + 1).astype(progress.steps.dtype)
    arrives = progress.steps + count <= max_steps
    h = span / count
    # Each time lies in one step, so far after its beginning.
    position = jax.lax.stop_gradient((times - begin) / jnp.where(h > 0, h, 1))
    which = jnp.clip(jnp.ceil(position).astype(count.dtype) - 1, 0, count - 1)
    lengths = jnp.concatenate([h[None], times - begin - which * h])
    c, tails = jax.vmap(lambda h: coefficients(around, h))(lengths)
    # Tails fall with the degree: the largest one omitted is where the series is cut.
    tails = jnp.max(jax.lax.stop_gradient(tails), axis=0)
    enough = tails <= jnp.maximum(series.tolerance * h, _rounding(tails))
    omitted = jnp.max(jnp.where(enough.at[-1].set(True), tails, 0.0))

    def step(carry: PyTree) -> PyTree:
        i, state, views, error = carry
        after, seen, last = _terms(series, state, c[0], enough[:-1], view)
        inside = which == i

        def add(views: PyTree) -> PyTree:
            here = jnp.where(inside[:, None], c[1:], 0.0)
            return jax.tree.map(lambda x, y: x + jnp.tensordot(here, y, 1), views, seen)

        views = jax.lax.cond(jnp.any(inside), add, lambda views: views, views)
        error = error + omitted * jnp.linalg.norm(jax.lax.stop_gradient(last).ravel())
        return i + 1, after, views, error

    like = jax.eval_shape(view, progress.state)
    views = jax.tree.map(lambda x: jnp.zeros((len(times), *x.shape), x.dtype), like)
    _, state, views, error = eqxi.while_loop(
        lambda carry: carry[0] < jnp.where(arrives, count, 0),
        step,
        (jnp.zeros_like(count), progress.state, views, progress.error),
        kind=kind,
        checkpoints=CHECKPOINTS if kind == "checkpointed" else None,
    )
    state, views = jax.tree.map(lambda x: jnp.where(arrives, x, jnp.nan), (state, views))
    steps = progress.steps + jnp.where(arrives, count, 0)
    return Progress(state, times[-1], error, steps), views


def _terms(
    series: Series,
    start: jax.Array,
    c: jax.Array,
    enough: jax.Array,
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
    entries = enough, c.reshape(_BLOCKS, _BLOCK)
    carry = zero, zero, start, (q, 2 * q)
    (total, _, last, _), seen = jax.lax.scan(block, carry, entries)
    return total, jax.tree.map(lambda x: x.reshape(_DEGREE, *x.shape[2:]), seen), last


def _rounding(like: jax.Array) -> PyTree:
    """Return where the tails of the coefficients drown in rounding."""
    return _DEGREE * jnp.finfo(like.dtype).eps
