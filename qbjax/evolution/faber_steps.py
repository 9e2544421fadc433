"""From output time to output time by the series of exp(h L): which steps, and the steps.

The derivative of a step in reverse is written out. With y = sum_k c_k F_k and what is seen of the
F_k, the derivatives G_k by the F_k follow from the last to the first one by the transposed
recurrence, and those by the numbers of L from all pairs (F_k, G_{k+1}) of a block at once.
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.packed import Packed
from qbjax.common.repeat import repeat
from qbjax.evolution.faber_series import (
    BLOCK,
    BLOCKS,
    DEGREE,
    Ellipse,
    Series,
    coefficients,
    omissions,
    rounding,
)
from qbjax.generator.lindblad import Generator

View = Callable[[jax.Array], PyTree]

# Output times that one step serves at most, and groups of them that are planned at once.
_TOGETHER, _PLANNED = 24, 16


class Plan(eqx.Module):
    """How a group of T output times is served, each by the step in which it lies.

    Attributes
    ----------
    times, which
        The times, and the numbers of their steps, shape (T,) each.
    count
        The number of equal steps to the last of the times, shape (); one of length zero where
        there is no time between.
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


def grouped(ts: jax.Array, together: int = _TOGETHER) -> tuple[jax.Array, jax.Array]:
    """Return ascending times in groups of few enough to be served together, and where these begin.

    Groups that are planned at once stand together: shapes (blocks, groups, T) and (blocks, groups).
    The last time is repeated to fill the last group; the first group begins at 0.
    """
    groups = -(-len(ts) // together)
    blocks = -(-groups // _PLANNED)
    groups = -(-groups // blocks)
    width = -(-len(ts) // (blocks * groups))
    times = jnp.pad(ts, (0, blocks * groups * width - len(ts)), mode="edge")
    times = times.reshape(blocks, groups, width)
    begins = jnp.pad(times[..., -1].ravel()[:-1], (1, 0)).reshape(blocks, groups)
    return times, begins


def plan(series: Series, max_steps: int, begin: jax.Array, times: jax.Array) -> Plan:
    """Return the plan of a group of times, (T,), from where it begins."""
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
    is_enough = tails <= jnp.maximum(series.tolerance * h, rounding(tails))
    omitted = jnp.max(jnp.where(is_enough.at[-1].set(True), tails, 0.0))
    return Plan(times, which, count, c[:, :DEGREE], is_enough[:-1], omitted)


def advance(
    series: Series,
    progress: Progress,
    plan: Plan,
    view: View,
    *,
    gradient: str,
    max_steps: int,
) -> tuple[Progress, PyTree]:
    """Go to the last of a group of times in equal steps and look at the state at all of them.

    Parameters
    ----------
    series, progress, plan
        The series, where the run is, and how to go on.
    view
        What is wanted of a state: a linear function of it, as a pytree.
    gradient
        "reverse" or "forward", the direction of derivatives.
    max_steps
        Where to give up.

    Returns
    -------
    The progress, and the views with T in front.
    """
    arrives = progress.steps + plan.count <= max_steps
    count = jnp.where(arrives, plan.count, 0)
    like = jax.eval_shape(view, progress.state)
    views = jax.tree.map(lambda x: jnp.zeros((len(plan.times), *x.shape), x.dtype), like)
    state, (views, error) = repeat(
        _FORWARD,
        count,
        Packed((series, plan, view)),
        progress.state,
        (views, progress.error),
        gradient=gradient,
        reverse=_REVERSE,
    )
    state, views = jax.tree.map(lambda x: jnp.where(arrives, x, jnp.nan), (state, views))
    taken = jnp.where(plan.c[0, 0] == 1, 0, count)
    return Progress(state, error, progress.steps + taken), views


def _step(
    terms: Callable[..., tuple[jax.Array, PyTree, jax.Array]],
    given: tuple[Series, Plan, View],
    i: jax.Array,
    state: jax.Array,
    total: PyTree,
) -> tuple[jax.Array, PyTree]:
    """Return the state after a step, and add the views inside it and what was left out."""
    (series, plan, view), (views, error) = given, total
    generator, around = series.generator, series.around
    after, seen, last = terms(generator, around, view, state, plan.c[0], plan.is_enough)
    inside = plan.which == i

    def add(views: PyTree) -> PyTree:
        here = jnp.where(inside[:, None], plan.c[1:], 0.0)
        return jax.tree.map(lambda x, y: x + jnp.tensordot(here, y, 1), views, seen)

    views = jax.lax.cond(jnp.any(inside), add, lambda views: views, views)
    error = error + plan.omitted * jnp.linalg.norm(jax.lax.stop_gradient(last).ravel())
    return after, (views, error)


def _terms(
    generator: Generator,
    around: Ellipse,
    view: View,
    start: jax.Array,
    c: jax.Array,
    is_enough: jax.Array,
) -> tuple[jax.Array, PyTree, jax.Array]:
    """Return sum_k c_k F_k start, the views of all F_k start, and the last F_k start.

    Blocks of terms are left out where there is enough of them.
    """
    scale, q = around.recurrence

    def term(carry: PyTree, c_k: jax.Array) -> tuple[PyTree, PyTree]:
        total, before, now, (q_k, q_after) = carry
        after = scale * (generator(now) - around.centre * now) - q_k * before
        return (total + c_k * now, now, after, (q_after, q)), view(now)

    def block(carry: PyTree, entry: PyTree) -> tuple[PyTree, PyTree]:
        skip, c = entry
        like = jax.eval_shape(view, start)
        none = jax.tree.map(lambda x: jnp.zeros((BLOCK, *x.shape), x.dtype), like)
        run = functools.partial(jax.lax.scan, term)
        return jax.lax.cond(skip, lambda carry, _: (carry, none), run, carry, c)

    # F_2 = A F_1 - 2 q F_0.
    zero = jnp.zeros_like(start)
    entries = is_enough, c.reshape(BLOCKS, BLOCK)
    (total, _, last, _), seen = jax.lax.scan(block, (zero, zero, start, (q, 2 * q)), entries)
    return total, jax.tree.map(lambda x: x.reshape(DEGREE, *x.shape[2:]), seen), last


def _terms_in_reverse(
    generator: Generator, around: Ellipse, view: View, *series: jax.Array
) -> tuple[jax.Array, PyTree, jax.Array]:
    """Return the same, with the derivative that is written out."""
    return _pulled(Packed((generator, view)), around, *series)


@jax.custom_vjp
def _pulled(
    given: Packed, around: Ellipse, start: jax.Array, c: jax.Array, is_enough: jax.Array
) -> tuple[jax.Array, PyTree, jax.Array]:
    generator, view = given.tree
    return _terms(generator, around, view, start, c, is_enough)


def _out(
    given: Packed, around: Ellipse, start: jax.Array, c: jax.Array, is_enough: jax.Array
) -> tuple[PyTree, PyTree]:
    generator, view = given.tree
    total, vectors, last = _terms(generator, around, lambda x: x, start, c, is_enough)
    known = given, around, start, c, is_enough, vectors
    return (total, jax.vmap(view)(vectors), last), known


def _back(known: PyTree, slopes: tuple[jax.Array, PyTree, jax.Array]) -> tuple[PyTree, ...]:
    """Return the derivatives by the arguments from those by the results; none by the last F_k."""
    given, around, start, c, is_enough, vectors = known
    numbers = given.numbers
    scale, q = around.recurrence

    def generator(numbers: jax.Array, state: jax.Array) -> jax.Array:
        return given.at(numbers)[0](state)

    def views(numbers: jax.Array, vectors: jax.Array) -> PyTree:
        return jax.vmap(given.at(numbers)[1])(vectors)

    by_total, by_seen, _ = slopes
    _, back = jax.vjp(views, numbers, vectors)
    by_numbers, by_vectors = back(by_seen)
    # What was left out was not seen either.
    used = jnp.repeat(~is_enough, BLOCK)
    direct = by_vectors + jnp.tensordot(jnp.where(used, c, 0.0), by_total, 0)
    transposed = jax.linear_transpose(functools.partial(generator, numbers), start)

    def term(carry: PyTree, entry: PyTree) -> tuple[PyTree, jax.Array]:
        # G_k = direct + A^T G_{k+1} - q_{k+1} G_{k+2}.
        after, beyond = carry
        direct, q_after = entry
        by = direct + scale * (transposed(after)[0] - around.centre * after) - q_after * beyond
        return (by, after), after

    def block(carry: PyTree, entry: PyTree) -> tuple[PyTree, None]:
        skip, direct, q_after, vectors = entry

        def run(carry: PyTree) -> PyTree:
            by, by_numbers = carry
            by, after = jax.lax.scan(term, by, (direct, q_after), reverse=True)
            _, back = jax.vjp(lambda x: jax.vmap(functools.partial(generator, x))(vectors), numbers)
            return by, by_numbers + back(scale * after)[0]

        return jax.lax.cond(skip, lambda carry: carry, run, carry), None

    blocks = jax.tree.map(
        lambda x: x.reshape(BLOCKS, BLOCK, *x.shape[1:]),
        (direct, jnp.full(DEGREE, q).at[0].set(2 * q), vectors),
    )
    zero = jnp.zeros_like(start)
    carry = (zero, zero), by_numbers
    ((by_start, _), by_numbers), _ = jax.lax.scan(block, carry, (is_enough, *blocks), reverse=True)
    by_c = jnp.tensordot(vectors, by_total, start.ndim)
    return given.slopes(by_numbers), None, by_start, by_c, None


_pulled.defvjp(_out, _back)
_FORWARD = functools.partial(_step, _terms)
_REVERSE = functools.partial(_step, _terms_in_reverse)
