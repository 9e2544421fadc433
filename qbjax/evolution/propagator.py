"""Evolution by the exponential of L as a matrix."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.evolution.general import ConstantInTime, Run
from qbjax.evolution.method import Options
from qbjax.evolution.observe import Problem
from qbjax.model.star_battery import StarBattery

# The most real numbers of a state where there is a square matrix on them.
LARGEST_DENSE = 1024


class Propagator(ConstantInTime):
    """The exponential of L on stored states, from time to time."""

    name = "propagator"
    most_numbers = LARGEST_DENSE

    def defers(self, model: StarBattery) -> str | None:
        """Leave it to the series, unless asked for."""
        return "its matrix takes long"

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        return "the exponential of L as a matrix"

    def run(self, problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Run:
        """Step from time to time."""
        generator = problem.generator(ts[0])
        units = jnp.eye(start.size).reshape(start.size, *start.shape)
        matrix = jax.vmap(lambda unit: generator(unit).ravel())(units).T

        def advance(stored: jax.Array, interval: jax.Array) -> tuple[jax.Array, PyTree]:
            exponential = jax.scipy.linalg.expm(matrix * interval, max_squarings=64)
            stored = (exponential @ stored.ravel()).reshape(start.shape)
            return stored, options.observe(ts[0], stored, problem)

        last, saved = jax.lax.scan(advance, start, jnp.diff(ts, prepend=0.0))
        # Repeated squaring adds up rounding in proportion to the time.
        error = jnp.finfo(matrix.dtype).eps * jnp.linalg.norm(matrix, 1) * ts
        return saved, last, jax.lax.stop_gradient(error), (None, None)
