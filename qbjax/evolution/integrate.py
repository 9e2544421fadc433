"""Adaptive integration by diffrax.

The adaptive integrators are a solver and a controller of step sizes for `diffrax.diffeqsolve`,
which brings the derivatives, the counts of steps and the progress bar. Their steps end on the times
that are asked for and on the stops of pulses, so nothing is interpolated; and they stay within the
intervals that `qbjax.evolution.features` tells, so no pulse is passed over.
"""

from collections.abc import Callable
from typing import cast

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.repeat import KEPT
from qbjax.common.types import Array, Scalar
from qbjax.evolution.features import Intervals, intervals
from qbjax.evolution.general import Run
from qbjax.evolution.method import Options
from qbjax.evolution.observe import Problem
from qbjax.model.pulses import pulses_of
from qbjax.model.star_battery import StarBattery

Solver = diffrax.AbstractAdaptiveSolver


def integrate(
    problem: Problem, ts: jax.Array, start: jax.Array, options: Options, name: str
) -> Run:
    """Return what was observed, the last state, its error, and the counts of steps."""
    solver = _SOLVERS[name](options)
    controller = _controller(problem, start, ts, options, solver)
    meter = diffrax.TqdmProgressMeter() if options.progress else diffrax.NoProgressMeter()
    adjoint: diffrax.AbstractAdjoint = diffrax.ForwardMode()
    if options.gradient == "reverse":
        adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=KEPT)
    # Where a pulse jumps at the last time, its value there is that before the jump.
    end = jnp.nextafter(jax.lax.stop_gradient(ts[-1]), 0.0)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, problem: problem.generator(jnp.minimum(t, end))(y)),
        solver,
        t0=jnp.zeros_like(ts[-1]),
        t1=ts[-1],
        dt0=None,
        y0=start,
        args=problem,
        saveat=diffrax.SaveAt(
            subs=(diffrax.SubSaveAt(ts=ts, fn=options.observe), diffrax.SubSaveAt(t1=True)),
            controller_state=True,
        ),
        stepsize_controller=controller,
        adjoint=adjoint,
        max_steps=options.max_steps,
        progress_meter=meter,
        throw=False,
    )
    saved, last = solution.ys
    error = jnp.broadcast_to(solution.controller_state[1], ts.shape)
    counts = solution.stats["num_steps"], solution.stats["num_rejected_steps"]
    return saved, last[0], error, counts


def _controller(
    problem: Problem,
    start: jax.Array,
    ts: jax.Array,
    options: Options,
    solver: Solver,
) -> diffrax.AbstractStepSizeController:
    """Return the controller of the steps."""
    jumps = _jump_times(problem.model)
    planned = diffrax.PIDController(options.rtol, options.atol, dtmax=options.max_step)
    resolved = None
    if problem.model.depends_on_time:
        resolved = intervals(problem.model, start, ts, options.rtol, solver)
    inner: diffrax.AbstractStepSizeController = Stops(planned, ts, resolved)
    if jumps:
        inner = diffrax.ClipStepSizeController(inner, jump_ts=jnp.sort(jnp.concatenate(jumps)))
    return Recorded(inner)


def _jump_times(model: StarBattery) -> list[jax.Array]:
    """Return the times at which the pulses of one model may jump."""
    return [pulse.stops for pulse in pulses_of(model) if pulse.stops is not None]


class Stops(diffrax.AbstractAdaptiveStepSizeController):
    """A controller whose steps end on times that are asked for, and where intervals end.

    Attributes
    ----------
    inner
        The controller that plans the steps.
    ts
        Times on which a step ends, ascending.
    intervals
        No step leaves one; None where nothing depends on time.
    rtol, atol, norm
        Those of the inner controller, as a controller that is clipped at jumps must have them.
    """

    inner: diffrax.PIDController
    ts: jax.Array
    intervals: Intervals | None
    rtol: Scalar
    atol: Scalar
    norm: Callable[[PyTree], Scalar]

    def __init__(self, inner: diffrax.PIDController, ts: jax.Array, intervals: Intervals | None):
        """Take the controller and the times."""
        self.inner, self.ts, self.intervals = inner, ts, intervals
        self.rtol, self.atol, self.norm = inner.rtol, inner.atol, inner.norm

    def wrap(self, direction: int | Array) -> "Stops":
        """Return itself: time runs forwards only."""
        return self

    def init(
        self,
        terms: PyTree,
        t0: Scalar,
        t1: Scalar,
        y0: jax.Array,
        dt0: Scalar | None,
        args: PyTree,
        func: Callable[..., PyTree],
        order: Scalar | None,
    ) -> tuple[Scalar, PyTree]:
        """Return the end of the first step."""
        end, state = self.inner.init(terms, t0, t1, y0, dt0, args, func, order)
        return self._cut(t0, end), (state, end - t0)

    def adapt_step_size(
        self,
        t0: Scalar,
        t1: Scalar,
        y0: jax.Array,
        y1: jax.Array,
        args: PyTree,
        y_error: jax.Array | None,
        order: Scalar,
        state: PyTree,
    ) -> tuple[PyTree, ...]:
        """Plan the next step, and cut it."""
        inner, planned = state
        keep, start, end, jumped, inner, result = self.inner.adapt_step_size(
            t0, t1, y0, y1, args, y_error, order, inner
        )
        # A step that was cut short and is good says nothing against the plan.
        planned = jnp.where(keep, jnp.maximum(end - start, planned), end - start)
        return keep, start, self._cut(start, start + planned), jumped, (inner, planned), result

    def _cut(self, start: Scalar, end: Scalar) -> jax.Array:
        ahead = jnp.searchsorted(self.ts, start, side="right")
        end = jnp.where(ahead < len(self.ts), jnp.minimum(end, self.ts[ahead]), end)
        return end if self.intervals is None else jnp.minimum(end, self.intervals.boundary(start))


class Recorded(diffrax.AbstractStepSizeController):
    """A controller that judges a state by its norm, and adds up the errors of the steps it keeps.

    Judged element by element, a state would be held to the precision of its empty levels; averaged
    over its elements, those would hide the error of the others.
    """

    inner: diffrax.AbstractStepSizeController

    def wrap(self, direction: int | Array) -> "Recorded":
        """Return the controller with the direction of time."""
        return Recorded(self.inner.wrap(direction))

    def init(
        self,
        terms: PyTree,
        t0: Scalar,
        t1: Scalar,
        y0: jax.Array,
        dt0: Scalar | None,
        args: PyTree,
        func: Callable[..., PyTree],
        order: Scalar | None,
    ) -> tuple[Scalar, PyTree]:
        """Return the end of the first step."""
        end, state = self.inner.init(terms, t0, t1, y0, dt0, args, func, order)
        return end, (state, jnp.zeros((), y0.dtype))

    def adapt_step_size(
        self,
        t0: Scalar,
        t1: Scalar,
        y0: jax.Array,
        y1: jax.Array,
        args: PyTree,
        y_error: jax.Array | None,
        order: Scalar,
        state: PyTree,
    ) -> tuple[PyTree, ...]:
        """Judge the step by norms."""
        inner, total = state
        assert y_error is not None
        norms = [jax.lax.stop_gradient(jnp.linalg.norm(x.ravel())) for x in (y0, y1, y_error)]
        keep, start, end, jumped, inner, result = self.inner.adapt_step_size(
            t0, t1, norms[0], norms[1], args, norms[2], order, inner
        )
        # The error is that of the embedded solution, one order below the one that goes on.
        total = total + jnp.where(keep, norms[2] ** (1 + 1 / order), 0.0)
        return keep, start, end, jumped, (inner, total), result


def _implicit(options: Options) -> Solver:
    """Return a stiff solver, with the Jacobian as a matrix.

    The Jacobian is that of the step's beginning: where L does not depend on time the first
    iteration is the solution, and a pulse takes several.
    """
    # diffrax declares floats there, and takes arrays.
    tolerance = cast(float, options.rtol)
    finder = diffrax.VeryChord(rtol=tolerance, atol=tolerance)
    return diffrax.Kvaerno5(root_finder=finder, root_find_max_steps=50)


_SOLVERS: dict[str, Callable[[Options], Solver]] = {
    "dopri8": lambda _: diffrax.Dopri8(),
    "tsit5": lambda _: diffrax.Tsit5(),
    "kvaerno5": _implicit,
}
