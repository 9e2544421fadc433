"""The general master equation in time: one model, from its generator to a trajectory.

The adaptive integrators are a solver and a controller of step sizes for `diffrax.diffeqsolve`,
which brings the derivatives, the counts of steps and the progress bar. Their steps end on the times
that are asked for and on the stops of pulses, so nothing is interpolated; and they stay within the
intervals that `qbjax.evolution.features` tells, so no pulse is passed over.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.common.checks import refuse
from qbjax.evolution import chebyshev
from qbjax.evolution.features import Intervals, intervals
from qbjax.evolution.trajectory import Observe, Problem, Trajectory, assemble
from qbjax.model.pulses import pulses_of
from qbjax.model.star_battery import StarBattery, out_of_range

# Methods that hold a square matrix on states, of this many real numbers at most.
DENSE, LARGEST_DENSE = ("propagator", "kvaerno5"), 1024


class Options(eqx.Module):
    """How to solve and what to return; see `qbjax.evolve`."""

    rtol: jax.Array
    atol: jax.Array
    tolerance: jax.Array
    max_step: jax.Array | None
    refused: jax.Array
    observe: Observe
    method: str = eqx.field(static=True)
    why: str = eqx.field(static=True)
    gradient: str = eqx.field(static=True)
    progress: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)


def solve(model: StarBattery, ts: jax.Array, start: jax.Array, options: Options) -> Trajectory:
    """Return the trajectory of one model from a stored state."""
    refused = options.refused | out_of_range(model)
    # Time stands still for what is refused: an integrator might never get through it.
    until = jnp.where(refused, 0.0, ts)
    problem = Problem(model)
    run = {"propagator": _propagate, "chebyshev": _series}.get(options.method, _integrate)
    saved, last, error, counts = run(problem, until, start, options)
    named = options.method, options.why
    result = assemble(problem, ts, saved, last, error, options.tolerance, counts, named)
    return refuse(refused, result)


def _integrate(problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Any:
    """Return what was observed, the last state, its error, and the counts of steps."""
    solver, controller = _stepping(problem, start, ts, options)
    adjoint: Any = diffrax.ForwardMode()
    if options.gradient == "reverse":
        adjoint = diffrax.RecursiveCheckpointAdjoint(checkpoints=chebyshev.CHECKPOINTS)
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
        progress_meter=_meter(options),
        throw=False,
    )
    saved, last = solution.ys
    error = jnp.broadcast_to(solution.controller_state[1], ts.shape)
    counts = solution.stats["num_steps"], solution.stats["num_rejected_steps"]
    return saved, last[0], error, counts


def _series(problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Any:
    """Go from group to group of the times by the series of exp(h L)."""
    end = jnp.maximum(ts[-1], jnp.finfo(ts.dtype).tiny)
    # A tenth, so that the trace, which the series does not keep, stays far inside the tolerance.
    series = chebyshev.Series(problem.generator(ts[0]), 0.1 * options.rtol / end)
    kind: chebyshev.Kind = "checkpointed" if options.gradient == "reverse" else "lax"
    observe, meter = options.observe, _meter(options)
    # See `map_batch` on batched linear algebra.
    many = jax.lax.map if jax.default_backend() == "cpu" else lambda f, x: jax.vmap(f)(x)

    @jax.checkpoint
    def group(progress: chebyshev.Progress, times: jax.Array) -> tuple[chebyshev.Progress, Any]:
        progress, views = chebyshev.advance(
            series,
            progress,
            times,
            lambda stored: observe.view(ts[0], stored, problem),
            kind=kind,
            max_steps=options.max_steps,
        )
        return progress, many(lambda view: observe.finish(ts[0], view, problem), views)

    def forward(carry: tuple[Any, Any], times: jax.Array) -> tuple[Any, Any]:
        progress, saved = group(carry[0], times)
        shown = meter.step(carry[1], jax.lax.stop_gradient(times[-1] / end))
        return (progress, shown), saved

    none = jnp.zeros_like(ts[-1])
    first = chebyshev.Progress(start, none, none, jnp.zeros((), int))
    (last, shown), saved = jax.lax.scan(forward, (first, meter.init()), chebyshev.grouped(ts))
    meter.close(shown)
    saved = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[: len(ts)], saved)
    return saved, last.state, jnp.broadcast_to(last.error, ts.shape), (last.steps, jnp.array(0))


def _meter(options: Options) -> Any:
    return diffrax.TqdmProgressMeter() if options.progress else diffrax.NoProgressMeter()


def _propagate(problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Any:
    """Step from time to time with the exponential of L as a matrix on stored states."""
    generator = problem.generator(ts[0])
    units = jnp.eye(start.size).reshape(start.size, *start.shape)
    matrix = jax.vmap(lambda unit: generator(unit).ravel())(units).T

    def advance(stored: jax.Array, interval: jax.Array) -> tuple[jax.Array, Any]:
        exponential = jax.scipy.linalg.expm(matrix * interval, max_squarings=64)
        stored = (exponential @ stored.ravel()).reshape(start.shape)
        return stored, options.observe(ts[0], stored, problem)

    last, saved = jax.lax.scan(advance, start, jnp.diff(ts, prepend=0.0))
    # Repeated squaring adds up rounding in proportion to the time.
    error = jnp.finfo(matrix.dtype).eps * jnp.linalg.norm(matrix, 1) * ts
    return saved, last, jax.lax.stop_gradient(error), (None, None)


def _stepping(
    problem: Problem, start: jax.Array, ts: jax.Array, options: Options
) -> tuple[Any, Any]:
    """Return the solver and the controller of its steps."""
    jumps = _jump_times(problem.model)
    planned = diffrax.PIDController(options.rtol, options.atol, dtmax=options.max_step)
    resolved = None
    solver = _SOLVERS[options.method](options)
    if problem.model.depends_on_time:
        resolved = intervals(problem.model, start, ts[-1], options.rtol, solver)
    inner: Any = Stops(planned, ts, resolved)
    if jumps:
        inner = diffrax.ClipStepSizeController(inner, jump_ts=jnp.sort(jnp.concatenate(jumps)))
    return solver, Recorded(inner)


def _implicit(options: Options) -> Any:
    """Return a stiff solver, with the Jacobian as a matrix.

    The Jacobian is that of the step's beginning: where L does not depend on time the first
    iteration is the solution, and a pulse takes several.
    """
    rtol: Any = options.rtol
    finder = diffrax.VeryChord(rtol=rtol, atol=rtol)
    return diffrax.Kvaerno5(root_finder=finder, root_find_max_steps=50)


_SOLVERS: dict[str, Callable[[Options], Any]] = {
    "tsit5": lambda options: diffrax.Tsit5(),
    "dopri8": lambda options: diffrax.Dopri8(),
    "kvaerno5": _implicit,
}
ADAPTIVE = tuple(_SOLVERS)


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
    rtol: Any
    atol: Any
    norm: Any

    def __init__(self, inner: diffrax.PIDController, ts: jax.Array, intervals: Intervals | None):
        """Take the controller and the times."""
        self.inner, self.ts, self.intervals = inner, ts, intervals
        self.rtol, self.atol, self.norm = inner.rtol, inner.atol, inner.norm

    def wrap(self, direction: Any) -> "Stops":
        """Return itself: time runs forwards only."""
        return self

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, order: Any
    ) -> tuple[Any, Any]:
        """Return the end of the first step."""
        end, state = self.inner.init(terms, t0, t1, y0, dt0, args, func, order)
        return self._cut(t0, end), (state, end - t0)

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1: Any, args: Any, y_error: Any, order: Any, state: Any
    ) -> tuple[Any, ...]:
        """Plan the next step, and cut it."""
        inner, planned = state
        keep, start, end, jumped, inner, result = self.inner.adapt_step_size(
            t0, t1, y0, y1, args, y_error, order, inner
        )
        # A step that was cut short and is good says nothing against the plan.
        planned = jnp.where(keep, jnp.maximum(end - start, planned), end - start)
        return keep, start, self._cut(start, start + planned), jumped, (inner, planned), result

    def _cut(self, start: Any, end: Any) -> jax.Array:
        ahead = jnp.searchsorted(self.ts, start, side="right")
        end = jnp.where(ahead < len(self.ts), jnp.minimum(end, self.ts[ahead]), end)
        return end if self.intervals is None else jnp.minimum(end, self.intervals.boundary(start))


class Recorded(diffrax.AbstractStepSizeController):
    """A controller that judges a state by its norm, and adds up the errors of the steps it keeps.

    Judged element by element, a state would be held to the precision of its empty levels; averaged
    over its elements, those would hide the error of the others.
    """

    inner: diffrax.AbstractStepSizeController

    def wrap(self, direction: Any) -> "Recorded":
        """Return the controller with the direction of time."""
        return Recorded(self.inner.wrap(direction))

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, order: Any
    ) -> tuple[Any, Any]:
        """Return the end of the first step."""
        end, state = self.inner.init(terms, t0, t1, y0, dt0, args, func, order)
        return end, (state, jnp.zeros((), y0.dtype))

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1: Any, args: Any, y_error: Any, order: Any, state: Any
    ) -> tuple[Any, ...]:
        """Judge the step by norms."""
        inner, total = state
        norms = [jax.lax.stop_gradient(jnp.linalg.norm(x.ravel())) for x in (y0, y1, y_error)]
        keep, start, end, jumped, inner, result = self.inner.adapt_step_size(
            t0, t1, norms[0], norms[1], args, norms[2], order, inner
        )
        # The error is that of the embedded solution, one order below the one that goes on.
        total = total + jnp.where(keep, norms[2] ** (1 + 1 / order), 0.0)
        return keep, start, end, jumped, (inner, total), result
