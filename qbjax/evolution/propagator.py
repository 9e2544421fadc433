"""Evolution by the exponential of L as a matrix."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.evolution.general import ConstantInPieces, Run
from qbjax.evolution.method import Options
from qbjax.evolution.observe import Problem
from qbjax.evolution.pieces import Intervals, inside
from qbjax.generator.lindblad import Generator
from qbjax.model.star_battery import StarBattery

# The most real numbers of a state where there is a square matrix on them.
LARGEST_DENSE = 1024


class Propagator(ConstantInPieces):
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
        """Step from time to time, and from jump to jump."""
        constant = _matrix(problem.constant, start) if problem.constant is not None else None

        def advance(carry: tuple[jax.Array, jax.Array], interval: PyTree) -> tuple[PyTree, PyTree]:
            stored, error = carry
            begin, end = interval
            matrix = constant
            if matrix is None:
                matrix = _matrix(problem.generator(inside(begin, end)), start)
            exponential = jax.scipy.linalg.expm(matrix * (end - begin), max_squarings=64)
            stored = (exponential @ stored.ravel()).reshape(start.shape)
            # Repeated squaring adds up rounding in proportion to the time.
            size = jnp.linalg.norm(jax.lax.stop_gradient(matrix), 1)
            error = error + jnp.finfo(matrix.dtype).eps * size * jax.lax.stop_gradient(end - begin)
            return (stored, error), (error, options.observe(end, stored, problem))

        intervals = Intervals(problem.model, ts)
        edges = intervals.begins, intervals.ends
        (last, _), curve = jax.lax.scan(advance, (start, jnp.zeros_like(ts[-1])), edges)
        error, saved = jax.tree.map(lambda x: x[intervals.asked], curve)
        return saved, last, error, (None, None)


def _matrix(generator: Generator, start: jax.Array) -> jax.Array:
    """Return L as a matrix on the numbers of a stored state."""
    units = jnp.eye(start.size).reshape(start.size, *start.shape)
    return jax.vmap(lambda unit: generator(unit).ravel())(units).T
