r"""The best moment: when a figure of merit is largest on the way, and how large it is then.

Samples of the curve M(t) on [0, t_end] tell where its maxima are: no frequency of the Hamiltonian
is above a bound, of whose period there are sixteen samples; with a pulse there are 2048 samples or
more. Where samples do not foretell one another the status says so. (An ergotropy is a maximum
over unitaries, so that its kinks are convex and none of its maxima sits on one.) Of the highest
ones M'(t) = 0 is solved, with M' taken exactly along the flow rho' = L rho. The derivative of the
value is that at the time held fixed, that of the time is the implicit function's, -dM'/M''.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.common.checks import (
    Status,
    as_number,
    number_where,
    refusal,
    require,
    require_choice,
)
from qbjax.common.first_order import first_order
from qbjax.evolution.evolve import evolve
from qbjax.evolution.observe import Observe, Problem
from qbjax.evolution.resolution import needed_pieces, pieces
from qbjax.generator import stored_states
from qbjax.model.batching import map_batch
from qbjax.model.star_battery import StarBattery

FIGURES = ("energy", "ergotropy", "average_power", "power")
# Samples of a period of the fastest frequency; how many there are at least and at most, and where
# JAX is tracing what they hang on.
_PER_PERIOD, _FEWEST, _MOST, _TRACED = 16, 128, 2**16, 2048
# How far samples may be from what those around them foretell, over the largest; and how far the
# next step of Newton's method may lead, over the interval.
_ROUGH, _STILL = 2e-2, 1e-5
# The highest maxima that are found exactly, and the steps to each.
_HIGHEST, _STEPS = 3, 12
# Values that differ by less, relatively, are the same, of which the earliest is taken; and where
# they differ by less than the second, a little change of the model moves the time by a leap.
_SAME, _CLOSE = 1e-9, 1e-6


class Question(NamedTuple):
    """What is asked for: the last time, and whether that is refused where JAX is tracing it."""

    t_end: jax.Array
    refused: jax.Array


class Maximum(NamedTuple):
    """The time and the value, whether it is at the end of the interval, and the status."""

    time: jax.Array
    value: jax.Array
    at_end: jax.Array
    status: jax.Array


def maximum(
    model: StarBattery,
    of: str = "energy",
    t_end: ArrayLike | None = None,
    which: str = "global",
) -> Maximum:
    """Return when a figure of merit is largest on [0, t_end], of a model or of each of a batch."""
    require_choice(of, "of", FIGURES)
    require_choice(which, "which", ("global", "first"))
    require(t_end is not None, "t_end", 'given for "maximum": the last time to look at', t_end)
    end = as_number(t_end, "t_end")
    refused = refusal((end > 0) & (end < jnp.inf), "t_end", "positive and finite", t_end)
    question = Question(jnp.asarray(end), jnp.asarray(refused))
    return map_batch(_maximum, model, question, of, which, _samples(model, question))


def _samples(model: StarBattery, question: Question) -> int:
    """Return how many intervals to look at."""
    # A pulse has frequencies of its own.
    fewest = _TRACED if model.depends_on_time else _FEWEST
    return pieces(model, question.t_end, _PER_PERIOD, 0.0, fewest, _MOST, _TRACED)


def _maximum(
    model: StarBattery, question: Question, of: str, which: str, intervals: int
) -> Maximum:
    """Return the maximum of one model."""
    fixed, end = jax.lax.stop_gradient((model, question.t_end))
    top = _top_of_samples(fixed, end, of, which, intervals)
    value, slope, bend = moments(model, top.time, of)
    is_top = ~top.at_end & (bend < 0)
    still, down = jax.lax.stop_gradient((slope, jnp.where(is_top, bend, 1.0)))
    # At the end of the interval the value moves with it.
    time = jnp.where(top.at_end, question.t_end, top.time - (slope - still) / down)
    value = value + jnp.where(top.at_end, still * (question.t_end - end), 0.0)
    # Where the slope leaps, Newton's method does not end.
    is_top &= jnp.abs(slope) <= _STILL * end * jnp.abs(bend)
    resolved = needed_pieces(fixed, end, _PER_PERIOD, 0.0) <= intervals
    resolved &= is_top | top.at_end
    trusted = (top.status == Status.OK) | (top.status == Status.AMBIGUOUS)
    status = jnp.where(trusted & ~resolved, Status.NOT_CONVERGED, top.status)
    status = jnp.where(question.refused, Status.OUT_OF_RANGE, status)
    known = (status == Status.OK) | (status == Status.AMBIGUOUS)
    time, value = (number_where(known, x) for x in (first_order(time), value))
    return Maximum(time, value, top.at_end, status)


def _top_of_samples(
    model: StarBattery, end: jax.Array, of: str, which: str, intervals: int
) -> Maximum:
    """Return the maximum as a constant of differentiation."""
    ts = end * jnp.linspace(0.0, 1.0, intervals + 1)
    curve = evolve(model, ts, save=_saved(of))
    values = jnp.asarray(getattr(curve, _saved(of)))
    if of == "average_power":
        values = values / jnp.where(ts > 0, ts, 1.0)
    places = _candidates(values, which)
    # The end is the best where the curve still rises; else there is a top before it.
    rises = moments(model, end, of)[1] >= 0
    inside = (places > 0) & ~((places == intervals) & rises)
    before, after = ts[jnp.maximum(places - 1, 0)], ts[jnp.minimum(places + 1, intervals)]
    roots = jax.lax.map(lambda bracket: _root(model, of, *bracket), (before, after))
    times = jnp.where(inside, roots, ts[places])
    heights = jax.lax.map(lambda t: moments(model, t, of)[0], times)
    heights = jnp.where(places > 0, heights, -jnp.inf)
    scale = jnp.max(jnp.abs(heights), where=places > 0, initial=0.0)
    best = jnp.argmax(heights >= jnp.max(heights) - _SAME * scale)
    others = jnp.where(jnp.arange(places.size) == best, -jnp.inf, heights)
    is_close = jnp.max(others) > heights[best] - _CLOSE * scale
    status = jnp.where(is_close & (which == "global"), Status.AMBIGUOUS, Status.OK)
    status = jnp.where(_is_smooth(values), status, Status.NOT_CONVERGED)
    status = jnp.where(jnp.all(curve.status == Status.OK), status, jnp.max(curve.status))
    return Maximum(times[best], heights[best], ~inside[best], status)


def _is_smooth(values: jax.Array) -> jax.Array:
    """Tell whether the samples foretell one another: each is near the cubic through four others."""
    near, far = values[2:-4] + values[4:-2], values[:-6] + values[6:]
    foretold = (9 * near - far) / 16
    return jnp.max(jnp.abs(values[3:-3] - foretold)) <= _ROUGH * jnp.max(jnp.abs(values))


def _candidates(values: jax.Array, which: str) -> jax.Array:
    """Return the places of the highest maxima of samples, in order of time; 0 stands for none."""
    before, after = jnp.roll(values, 1), jnp.roll(values, -1)
    number = jnp.arange(values.size)
    inner = (values >= before) & (values > after) & (number > 0) & (number < values.size - 1)
    # The top of the parabola through three samples.
    bend = jnp.where(inner, 2 * values - before - after, 1.0)
    tops = values + jnp.where(inner, (after - before) ** 2 / (8 * bend), 0.0)
    is_maximum = inner | (number == values.size - 1)
    if which == "first":
        return jnp.argmax(is_maximum)[None]
    heights, highest = jax.lax.top_k(jnp.where(is_maximum, tops, -jnp.inf), _HIGHEST)
    return jnp.sort(jnp.where(heights > -jnp.inf, highest, 0))


def _root(model: StarBattery, of: str, low: jax.Array, high: jax.Array) -> jax.Array:
    """Return where the slope falls through zero, by Newton's method within a bracket."""

    def step(_: int, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        low, high, t = state
        slope, bend = moments(model, t, of)[1:]
        low, high = jnp.where(slope > 0, t, low), jnp.where(slope > 0, high, t)
        after = t - slope / jnp.where(bend < 0, bend, -jnp.inf)
        inside = (after >= low) & (after <= high) & (bend < 0)
        return low, high, jnp.where(inside, after, (low + high) / 2)

    return jax.lax.fori_loop(0, _STEPS, step, (low, high, (low + high) / 2))[2]


# A number that hangs on the time and on a stored state.
Function = Callable[[jax.Array, jax.Array], jax.Array]


def moments(
    model: StarBattery, time: jax.Array, of: str, start: PyTree = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return a figure of merit with its first and second derivative in time, at a time."""
    problem, saved = Problem(model), _saved(of)
    observe = Observe((saved,), ())

    def value(t: jax.Array, stored: jax.Array) -> jax.Array:
        figure = observe(t, stored, problem)[saved]
        return figure / t if of == "average_power" else figure

    def along(function: Function) -> Function:
        """Return the derivative along the flow."""

        def slope(t: jax.Array, stored: jax.Array) -> jax.Array:
            flow = problem.generator(t)(stored)
            return jax.jvp(function, (t, stored), (jnp.ones_like(t), flow))[1]

        return slope

    rho = jnp.asarray(evolve(model, time[None], rho0=start, save="rho").rho)[0]
    stored = stored_states.store(problem.generator(time), rho, 2)
    slope = along(value)
    return value(time, stored), slope(time, stored), along(slope)(time, stored)


def _saved(of: str) -> str:
    """Return the name of what `evolve` gives of a figure of merit."""
    return "energy" if of == "average_power" else of
