"""What the methods for any generator share: a stored state, and the evidence for a trajectory."""

from abc import abstractmethod

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common import linalg
from qbjax.common.checks import Status
from qbjax.common.types import Array
from qbjax.evolution.method import Method, Options
from qbjax.evolution.observe import Problem
from qbjax.evolution.pieces import changes_in_steps
from qbjax.evolution.result import Trajectory, completed
from qbjax.generator import stored_states
from qbjax.generator.lindblad import Generator
from qbjax.model.star_battery import StarBattery

# What was observed at each time, the last stored state, its error, steps and rejected steps.
Run = tuple[dict[str, PyTree], jax.Array, jax.Array, tuple[jax.Array | None, jax.Array | None]]


class General(Method):
    """A method for any generator, from a stored state."""

    def start(self, model: StarBattery, rho0: object) -> tuple[jax.Array, PyTree]:
        """Return the start as a stored state."""
        return stored_states.stored_start(model, rho0)

    @abstractmethod
    def run(self, problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Run:
        """Go from time to time."""

    def solve(
        self, model: StarBattery, ts: jax.Array, start: PyTree, options: Options
    ) -> Trajectory:
        """Return the trajectory of one model."""
        # Time stands still for what is refused: an integrator might never get through it.
        until = jnp.where(options.refused, 0.0, ts)
        problem = Problem(model)
        return _judged(problem, ts, self.run(problem, until, start, options), options)


class ConstantInPieces(General):
    """A method for generators that do not depend on time, or are constant between jumps."""

    def refuses(self, model: StarBattery) -> str | None:
        """Refuse what depends on time otherwise."""
        if not model.depends_on_time or changes_in_steps(model):
            return None
        return "the equation of motion depends on time"


def _judged(problem: Problem, ts: jax.Array, run: Run, options: Options) -> Trajectory:
    """Return the trajectory of a run with its evidence; NaN where it did not arrive."""
    saved, last, error, counts = run
    model = problem.model
    trace, top, spilled = (saved.pop(name) for name in ("trace", "top", "spilled"))
    arrived = jnp.isfinite(trace)
    saved = jax.tree.map(lambda x: jnp.where(_along(arrived, x), x, jnp.nan), saved)
    drift = jnp.max(jnp.where(arrived, jnp.abs(trace - 1), jnp.nan))
    live = model.basis.live(model.N)
    lowest = _smallest_eigenvalue(problem.generator(ts[-1]), live, last, arrived[-1])
    # The trace tells of rounding, and is NaN with all that was not reached.
    error = jnp.maximum(error, jax.lax.stop_gradient(jnp.abs(trace - 1)))
    # What is no state came from a generator that is none.
    sound = ~((drift > options.tolerance) | (lowest < -options.tolerance))
    status = jnp.where(
        arrived & sound & (error <= options.tolerance), Status.OK, Status.NOT_CONVERGED
    )
    truncated = model.charger.truncated or model.basis.truncated
    if truncated:
        overflown = (status == Status.OK) & (spilled > stored_states.CUT)
        status = jnp.where(overflown, Status.CUT_TOO_LOW, status)
    return completed(
        ts,
        saved,
        error_estimate=model.most_excitations * model.omega_B * error,
        trace_drift=drift,
        smallest_eigenvalue=lowest,
        steps=counts[0],
        rejected_steps=counts[1],
        top_population=jnp.max(jnp.where(arrived, top, jnp.nan)) if truncated else None,
        status=status,
        method=options.method.name,
        why=options.why,
        model=model,
    )


def _smallest_eigenvalue(
    generator: Generator, live: Array, stored: jax.Array, arrived: jax.Array
) -> jax.Array:
    """Return the smallest eigenvalue of a stored state; NaN where it is not that of the end."""
    size = generator.charger_levels * generator.levels
    gauged = stored_states.in_gauge(generator, stored).reshape(-1, size, size)
    # A level that is not there is none that is empty.
    padding = jnp.where(jnp.tile(live, generator.charger_levels), 0.0, 1.0)
    gauged = gauged + padding[..., None] * jnp.eye(size)
    lowest = jnp.min(linalg.eigvalsh(jax.lax.stop_gradient(jnp.where(arrived, gauged, 0.0))))
    return jnp.where(arrived, lowest, jnp.nan)


def _along(times: jax.Array, values: jax.Array) -> jax.Array:
    """Return a mask over the times with axes for the rest of the values."""
    return times.reshape(times.shape + (1,) * (values.ndim - 1))
