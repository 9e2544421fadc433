"""Evolution by a series of exp(h L), from group to group of the times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.packed import Packed
from qbjax.evolution import faber_series, faber_steps
from qbjax.evolution.general import ConstantInPieces, Run
from qbjax.evolution.method import Options
from qbjax.evolution.observe import Problem, View
from qbjax.evolution.pieces import Intervals, inside
from qbjax.model.star_battery import StarBattery

if TYPE_CHECKING:
    from diffrax import AbstractProgressMeter


class Chebyshev(ConstantInPieces):
    """The series of `qbjax.evolution.faber_series`."""

    name = "chebyshev"

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        if model.depends_on_time:
            return "a series of exp(h L), since the equation is constant between jumps"
        return "a series of exp(h L), since the equation does not depend on time"

    def run(self, problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Run:
        """Go from group to group of the times, each with one generator."""
        if not problem.model.depends_on_time:
            groups, asked = faber_steps.grouped(ts), jnp.arange(len(ts))
        else:
            intervals = Intervals(problem.model, ts)
            groups, asked = faber_steps.grouped(intervals.ends, together=1), intervals.asked
        saved, last = _run(problem, groups, start, options)
        saved = jax.tree.map(lambda x: x[asked], saved)
        return saved, last.state, jnp.broadcast_to(last.error, ts.shape), (last.steps, jnp.array(0))


def _run(
    problem: Problem, groups: tuple[jax.Array, jax.Array], start: jax.Array, options: Options
) -> tuple[PyTree, faber_steps.Progress]:
    """Return what was observed at the times of all groups, and where the run ended."""
    end = jnp.maximum(groups[0][-1, -1, -1], jnp.finfo(groups[0].dtype).tiny)
    bar = _meter(options)
    # See `map_batch` on batched linear algebra.
    many = jax.lax.map if jax.default_backend() == "cpu" else lambda f, x: jax.vmap(f)(x)

    def made(t: jax.Array) -> faber_series.Series:
        # A tenth, so that the trace, which the series does not keep, stays far inside the
        # tolerance.
        return faber_series.Series(problem.generator(t), 0.1 * options.rtol / end)

    shared = made(end) if problem.constant is not None else None

    def group(progress: faber_steps.Progress, given: Packed) -> tuple[PyTree, PyTree]:
        series, plan = given.tree
        t = plan.times[-1]
        progress, views = faber_steps.advance(
            shared or series,
            progress,
            plan,
            View(options.observe, problem.generator(t)),
            gradient=options.gradient,
            max_steps=options.max_steps,
        )
        return progress, many(lambda view: options.observe.finish(t, view, problem), views)

    def forward(carry: tuple[PyTree, PyTree], given: Packed) -> tuple[PyTree, PyTree]:
        progress, saved = group(carry[0], given)
        if bar is None:
            return (progress, None), saved
        part = jax.lax.stop_gradient(given.tree[1].times[-1] / end)
        return (progress, bar.step(carry[1], part)), saved

    def planned(times: jax.Array, begin: jax.Array) -> Packed:
        series = shared or made(inside(begin, times[-1]))
        plan = faber_steps.plan(series, options.max_steps, begin, times)
        return Packed((None if shared else series, plan))

    def block(carry: tuple[PyTree, PyTree], groups: PyTree) -> tuple[PyTree, PyTree]:
        return jax.lax.scan(forward, carry, jax.vmap(planned)(*groups))

    first = faber_steps.Progress(start, jnp.zeros_like(end), jnp.zeros((), int))
    begin = first, None if bar is None else bar.init()
    (last, meter_state), saved = jax.lax.scan(block, begin, groups)
    if bar is not None:
        bar.close(meter_state)
    saved = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), saved)
    return saved, last


def _meter(options: Options) -> AbstractProgressMeter | None:
    """Return a progress bar, or None."""
    if not options.progress:
        return None
    from diffrax import TqdmProgressMeter

    return TqdmProgressMeter()
