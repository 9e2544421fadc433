"""Evolution by a series of exp(h L), from group to group of the times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.evolution import faber_series
from qbjax.evolution.general import ConstantInTime, Run
from qbjax.evolution.method import Options
from qbjax.evolution.observe import Problem
from qbjax.model.star_battery import StarBattery

if TYPE_CHECKING:
    from diffrax import AbstractProgressMeter


class Chebyshev(ConstantInTime):
    """The series of `qbjax.evolution.faber_series`."""

    name = "chebyshev"

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        return "a series of exp(h L), since the equation does not depend on time"

    def run(self, problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Run:
        """Go from group to group of the times."""
        end = jnp.maximum(ts[-1], jnp.finfo(ts.dtype).tiny)
        # A tenth, so that the trace, which the series does not keep, stays far inside the
        # tolerance.
        series = faber_series.Series(problem.generator(ts[0]), 0.1 * options.rtol / end)
        kind: faber_series.Kind = "checkpointed" if options.gradient == "reverse" else "lax"
        observe, bar = options.observe, _meter(options)
        # See `map_batch` on batched linear algebra.
        many = jax.lax.map if jax.default_backend() == "cpu" else lambda f, x: jax.vmap(f)(x)

        @jax.checkpoint
        def group(
            progress: faber_series.Progress, plan: faber_series.Plan
        ) -> tuple[faber_series.Progress, PyTree]:
            progress, views = faber_series.advance(
                series,
                progress,
                plan,
                lambda stored: observe.view(ts[0], stored, problem),
                kind=kind,
                max_steps=options.max_steps,
            )
            return progress, many(lambda view: observe.finish(ts[0], view, problem), views)

        def forward(carry: tuple[PyTree, PyTree], plan: faber_series.Plan) -> tuple[PyTree, PyTree]:
            progress, saved = group(carry[0], plan)
            if bar is None:
                return (progress, None), saved
            part = jax.lax.stop_gradient(plan.times[-1] / end)
            return (progress, bar.step(carry[1], part)), saved

        def block(
            carry: tuple[PyTree, PyTree], groups: tuple[jax.Array, jax.Array]
        ) -> tuple[PyTree, PyTree]:
            plans = faber_series.plans(series, *groups, options.max_steps)
            return jax.lax.scan(forward, carry, plans)

        first = faber_series.Progress(start, jnp.zeros_like(ts[-1]), jnp.zeros((), int))
        begin = first, None if bar is None else bar.init()
        (last, meter_state), saved = jax.lax.scan(block, begin, faber_series.grouped(ts))
        if bar is not None:
            bar.close(meter_state)
        saved = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:])[: len(ts)], saved)
        return saved, last.state, jnp.broadcast_to(last.error, ts.shape), (last.steps, jnp.array(0))


def _meter(options: Options) -> AbstractProgressMeter | None:
    """Return a progress bar, or None."""
    if not options.progress:
        return None
    from diffrax import TqdmProgressMeter

    return TqdmProgressMeter()
