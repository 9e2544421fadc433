r"""The stationary state of a generator that is reached from a start.

Where the generator L has one stationary state, that is A + D for any A of trace 1, with

    (-L + A Tr) D = L A.                                                          (unique)

Where it has several, steps of implicit pseudo-time lead there from the start and keep every
conserved quantity: X <- s (s - L)^-1 X, which is X + D with

    (s - L + X_0 Tr) D = L X.                                                     (not unique)

Either way D comes from a regular linear system, solved densely or by preconditioned GMRES, and is
differentiated as the solution of that system. A Krylov space of L X holds no conserved quantity,
and the Lyapunov preconditioner brings none in where sum_k r_k L_k^dagger L_k is a multiple of one,
as for dephasing of a qubit.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax import lindblad
from qbjax.krylov import Solution, gmres
from qbjax.lindblad import Generator
from qbjax.lyapunov import Lyapunov, Secular, lyapunov, secular

# Pseudo-time: the shift over the norm of L, and the number of steps.
_SHIFT, _STEPS = 3e-5, 4
# Doublings of the dense pseudo-time step.
_DOUBLINGS = 16
# Shift of the preconditioner over the norm of L: keeps it regular where nothing damps a level.
_SOFT = 1e-3
# Residual that GMRES aims at, over the norm of L times that of the state: rounding, with a margin.
_TARGET = 1e-13
# GMRES: steps in a cycle, and the most cycles.
_CYCLE, _CYCLES = 80, 12


class Stationary(eqx.Module):
    """A stationary state and its evidence.

    Attributes
    ----------
    stored
        The state, stored as in `qbjax.lindblad`.
    residual
        |L rho| (the Hilbert-Schmidt norm).
    iterations
        Steps of GMRES; 0 for a dense solve.
    relaxation_time
        A lower bound of 1 / (slowest rate that the start takes part in): |L^-1 Y| / |Y| for what
        decays, Y.
    """

    stored: jax.Array
    residual: jax.Array
    iterations: jax.Array
    relaxation_time: jax.Array


def direct(
    generator: Generator, start: jax.Array, live: jax.Array, unique: bool
) -> Stationary:
    """Solve densely: for small systems, d^4 numbers with d = d_c L.

    Parameters
    ----------
    generator, start
        The generator and the stored state of two parts that it starts from.
    live
        Mask of the ladder levels that are no padding, shape (levels,).
    unique
        Whether there is but one stationary state; else pseudo-time is doubled again and again.
    """
    a = _vector(generator, start)
    d = generator.charger_levels * generator.levels
    one = jnp.eye(d * d)
    matrix = jax.vmap(lambda e: _vector(generator, generator(_stored(generator, e))))(one).T
    trace = jnp.eye(d).ravel()
    norm = jax.lax.stop_gradient(_norm(generator))
    # Padding, where L vanishes, must not make the matrix singular.
    inside = jnp.tile(live, generator.charger_levels)
    matrix = matrix - norm * jnp.diag(~(inside[:, None] & inside).ravel())
    if unique:
        regular = a[:, None] * trace - matrix
        x = a + jnp.linalg.solve(regular, matrix @ a)
    else:
        regular = _SHIFT * norm * one - matrix
        step = jnp.linalg.inv(regular) * (_SHIFT * norm)
        for _ in range(_DOUBLINGS):
            step = step @ step
        x = step @ a
    time = _slowest(regular, jnp.zeros_like(one) if unique else step, a - x)
    stored = _stored(generator, x)
    return Stationary(stored, _size(generator, generator(stored)), jnp.asarray(0), time)


def _slowest(regular: jax.Array, asymptotic: jax.Array, decaying: jax.Array) -> jax.Array:
    """Return |L^-1 Y| / |Y| after a few steps of inverse iteration from what decays."""
    factors = jax.scipy.linalg.lu_factor(regular)
    time = jnp.zeros(())
    for _ in range(4):
        solved = jax.scipy.linalg.lu_solve(factors, decaying)
        solved = solved - asymptotic @ solved
        size = jnp.linalg.norm(decaying)
        time = jnp.linalg.norm(solved) / jnp.where(size == 0, 1.0, size)
        decaying = solved / jnp.where(time == 0, 1.0, time)
    return time


def iterative(
    generator: Generator, start: jax.Array, live: jax.Array, unique: bool, populations: bool
) -> Stationary:
    """Solve by preconditioned GMRES, matrix-free.

    Parameters
    ----------
    generator, start, unique
        As for `direct`; the start may have one part.
    live
        Mask of the ladder levels that are no padding, shape (levels,).
    populations
        Whether to correct the populations of the eigenstates of H, too, and start from those.
        Takes a unique stationary state.
    """
    norm = jax.lax.stop_gradient(_norm(generator))
    fixed = jax.lax.stop_gradient(generator)
    shift = 0.0 if unique else _SHIFT * norm
    inverse = lyapunov(fixed, live, shift + _SOFT * norm)
    coarse = secular(fixed, live) if populations else None
    x = start
    if coarse is not None:
        x = _from_matrix(fixed, coarse.state(coarse.populations, _matrix(fixed, start)), len(start))
        x = jax.lax.stop_gradient(x / _trace(fixed, x))
    system = _System(generator, jax.lax.stop_gradient(x), shift, inverse, coarse)
    iterations = jnp.asarray(0)
    for _ in range(1 if unique else _STEPS):
        correction, taken = system.solve(generator(x), _TARGET * norm * _size(fixed, x))
        x, iterations = x + correction, iterations + taken
    decaying = jax.lax.stop_gradient(start - x)
    rough = 1e-2 * _size(fixed, decaying)
    solved, _ = jax.lax.stop_gradient(system).solve(decaying, rough)
    time = _size(fixed, solved) / _size(fixed, decaying)
    return Stationary(x, _size(fixed, generator(x)), iterations, time)


class _System(eqx.Module):
    """The regular system (s - L + A Tr) X = B on stored states, and its approximate inverse."""

    generator: Generator
    anchor: jax.Array
    shift: jax.Array
    inverse: Lyapunov
    coarse: Secular | None

    def apply(self, x: jax.Array) -> jax.Array:
        return self.shift * x - self.generator(x) + _trace(self.generator, x) * self.anchor

    def precondition(self, b: jax.Array) -> jax.Array:
        x = jnp.zeros_like(b)
        if self.coarse is not None:
            x = self._by(self.coarse, b)
            b = b - self.apply(x)
        return x + self._by(self.inverse, b)

    def _by(self, approximate: Lyapunov | Secular, b: jax.Array) -> jax.Array:
        return _from_matrix(self.generator, approximate(_matrix(self.generator, b)), len(b))

    def solve(self, b: jax.Array, target: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Return the solution and the steps it took; `target` is the residual's norm."""
        # In coordinates whose dot product is that of the matrices.
        metric = _metric(self.generator)
        fixed = jax.lax.stop_gradient(self)
        relative = jax.lax.stop_gradient(target / jnp.maximum(_size(self.generator, b), 1e-300))

        def matvec(y: jax.Array) -> jax.Array:
            return metric * self.apply(y / metric)

        def precondition(y: jax.Array) -> jax.Array:
            return metric * fixed.precondition(y / metric)

        def run(matvec: Callable, b: jax.Array) -> tuple[jax.Array, jax.Array]:
            return _found(matvec, precondition, b, relative)

        def run_transposed(matvec: Callable, b: jax.Array) -> tuple[jax.Array, jax.Array]:
            transposed = jax.linear_transpose(precondition, b)
            return _found(matvec, lambda y: transposed(y)[0], b, relative)

        y, steps = jax.lax.custom_linear_solve(
            matvec, metric * b, run, transpose_solve=run_transposed, has_aux=True
        )
        return y / metric, steps


def _found(matvec: Callable, precondition: Callable, b: jax.Array, relative: jax.Array):
    found = gmres(
        matvec,
        precondition,
        b,
        target=relative * jnp.linalg.norm(b),
        cycle=_CYCLE,
        most_cycles=_CYCLES,
    )
    return found.x, found.steps


def _norm(generator: Generator) -> jax.Array:
    """Return a bound of the norm of L."""
    decay, width = lindblad.spectral_box(generator)
    return decay + width


def _metric(generator: Generator) -> jax.Array:
    """Return the square roots of how often a stored block stands in the matrix."""
    counts = jnp.array([1.0 if a == b else 2.0 for a, b in generator.pairs])
    return jnp.sqrt(counts)[:, None, None]


def _size(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the Hilbert-Schmidt norm of a stored matrix."""
    return jnp.linalg.norm(_metric(generator) * stored)


def _trace(generator: Generator, stored: jax.Array) -> jax.Array:
    return jnp.sum(lindblad.charger_populations(generator, stored))


def _matrix(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the matrix (d, d) in the gauge: real for a stored state of one part."""
    d = generator.charger_levels * generator.levels
    return lindblad.in_gauge(generator, stored).reshape(d, d)


def _from_matrix(generator: Generator, matrix: jax.Array, parts: int) -> jax.Array:
    """Return the matrix (d, d) in the gauge as a stored state."""
    d_c, levels = generator.charger_levels, generator.levels
    rho = matrix.reshape(d_c, levels, d_c, levels)
    blocks = jnp.stack([rho[a, :, b, :] for a, b in generator.pairs])
    return jnp.stack([blocks.real, blocks.imag][:parts])


def _vector(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the d^2 real coordinates Re + Im of a stored Hermitian matrix of two parts."""
    matrix = _matrix(generator, stored)
    return (matrix.real + matrix.imag).ravel()


def _stored(generator: Generator, vector: jax.Array) -> jax.Array:
    """Return the stored state of two parts that has these coordinates."""
    d = generator.charger_levels * generator.levels
    both = vector.reshape(d, d)
    matrix = jax.lax.complex(both + both.T, both - both.T) / 2
    return _from_matrix(generator, matrix, 2)
