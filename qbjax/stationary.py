r"""The stationary state of a generator that is reached from a start.

Steps of implicit pseudo-time, X <- s (s - L)^-1 X, lead there from the start and keep every
conserved quantity. Each adds D to X, with

    (s - L) D = L X,

a regular linear system that is solved by elimination (`direct`) or by preconditioned GMRES
(`iterative`) and differentiated as such. Where the generator L has one stationary state, the shift
s may be as small as rounding allows; GMRES does without it and with one step, from any X of trace
1, once the trace is added:

    (-L + X Tr) D = L X.

Where there are several, a Krylov space of L X holds no conserved quantity, and the Lyapunov
preconditioner brings none in where sum_k r_k L_k^dagger L_k is a multiple of one, as for dephasing
of a qubit.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax import lindblad
from qbjax.krylov import LinearMap, gmres
from qbjax.lindblad import Generator
from qbjax.lyapunov import Lyapunov, Secular, lyapunov, secular
from qbjax.residual import Refined
from qbjax.tridiagonal import Tridiagonal, factor, from_blocks, to_blocks, tridiagonal

# Steps of refinement of the direct solver: each gains the digits that elimination has, four at the
# least where it is of use.
_REFINEMENTS = 6
# Corrections below are those of rounding.
_ROUNDING = 1e-13
# Pseudo-time of the direct solver, the shift over the norm of L and the number of steps: where the
# trace alone is conserved, and where more is.
_TINY, _FEW = 1e-15, 4
_SMALL, _MANY = 1e-5, 60
# The same of a look at what moves on after that.
_SMALLER, _MORE = 1e-7, 30
# How far apart what two starts lead to may be for one stationary state.
_SAME = 1e-6
# The same for GMRES, with the number of steps.
_SHIFT, _STEPS = 3e-5, 8
# Shift of the preconditioner over the norm of L: keeps it regular where nothing damps a level.
_SOFT = 1e-3
# Residual that GMRES aims at, over the norm of L times that of the state: rounding, with a margin.
_TARGET = 1e-13
# The same over the norm of the right-hand side, at most.
_RELATIVE = 1e-10
# GMRES: steps in a cycle, and the most cycles.
_CYCLE, _CYCLES = 80, 12
# Relaxation time: applications of the preconditioner, and steps of GMRES after them.
_PICKS, _SHORT = 6, 8


class Stationary(eqx.Module):
    """A stationary state and its evidence.

    Attributes
    ----------
    stored
        The state, stored as in `qbjax.lindblad`.
    residual
        |L rho| (the Hilbert-Schmidt norm).
    iterations
        Steps of GMRES; 0 for elimination.
    relaxation_time
        |Y| / |L Y| of something that decays, Y: a lower bound of the norm of L^-1, which is close
        to 1 / (slowest rate). After ten steps of inverse iteration of the direct solver it is
        within a factor of 2 mostly; that of the iterative solver was short by up to 5 where they
        were compared. Infinite where it was not found.
    error
        Estimate of the distance from the true one (the Hilbert-Schmidt norm). Where elimination
        found the only stationary state, it is the last correction, which knows in which direction
        the residual lies; else |L rho| times the relaxation time, or how far the state moved on in
        later pseudo-time, if that is more.
    """

    stored: jax.Array
    residual: jax.Array
    iterations: jax.Array
    relaxation_time: jax.Array
    error: jax.Array


def direct(
    generator: Generator,
    exact: Refined,
    start: jax.Array,
    live: jax.Array,
    nullity: jax.Array,
) -> Stationary:
    """Solve by elimination of blocks, for operators of reach one.

    Parameters
    ----------
    generator, start
        The generator and the stored state that it starts from, of two parts where the generator is
        not real.
    live
        Mask of the ladder levels that are no padding, shape (levels,).
    nullity
        The number of stationary states, 0 where it is not known, shape (). Where there is but one,
        the shift of pseudo-time is tiny, which only the norm of the state would mind; else it is
        large enough for rounding to leave conserved quantities alone. Where it is not known, there
        is one if two starts lead to it.
    """
    matrix = tridiagonal(generator)
    norm = jax.lax.stop_gradient(_norm(generator))
    inverse = _shifted_inverse(matrix, _TINY * norm)

    def blocks(stored: jax.Array) -> jax.Array:
        return to_blocks(generator, _matrix(generator, stored))

    def trace(x: jax.Array) -> jax.Array:
        return jnp.trace(from_blocks(generator, x))

    shape = 2 * (generator.charger_levels, generator.levels)

    def alone(start: jax.Array) -> jax.Array:
        # Complex, since rounding along the state itself, which a tiny shift blows up, has a phase.
        x = _relaxed(matrix, inverse, start, _FEW)
        return x / trace(x)

    one = alone(blocks(start))
    other = jax.lax.stop_gradient(alone(blocks(lopsided(generator, live, start))))
    same = jnp.linalg.norm(jax.lax.stop_gradient(one) - other) < _SAME
    unique = (nullity == 1) | ((nullity == 0) & same)
    probe = blocks(_probe(generator, start, live))

    def refine(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        rho = from_blocks(generator, x)
        rho = (rho + rho.conj().T) / 2
        rho = rho / jnp.trace(rho)
        change = to_blocks(generator, exact(rho.reshape(shape)).reshape(rho.shape))
        x = to_blocks(generator, rho)
        change = inverse(change)
        change = change - trace(change) * x
        return x + change, jnp.linalg.norm(change)

    def of_one(start: jax.Array, probe: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        time = _slowest_by(inverse, lambda y: y - trace(y) * one, probe)
        # The value is refined, the derivative is that of pseudo-time.
        x, changes = jax.lax.scan(refine, jax.lax.stop_gradient(one), length=_REFINEMENTS)
        x = jax.lax.stop_gradient(x - one) + one
        # Corrections that do not shrink, and are no rounding, tell nothing.
        before, last = changes[-2], changes[-1]
        error = jnp.where((last < before / 2) | (last < _ROUNDING), last, jnp.inf)
        # A time that the shift cuts off was not found.
        return x, jnp.where(time < 0.1 / (_TINY * norm), time, 0.0), error

    def of_several(start: jax.Array, probe: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        inverse = _shifted_inverse(matrix, _SMALL * norm)
        x = _relaxed(matrix, inverse, start, _MANY)
        x = x / trace(x)
        time = _slowest_by(inverse, lambda y: y - _relaxed(matrix, inverse, y, _MANY), probe)
        fixed = jax.lax.stop_gradient(x)
        later = _relaxed(matrix, _shifted_inverse(matrix, _SMALLER * norm), fixed, _MORE)
        return x, time, jnp.linalg.norm(jax.lax.stop_gradient(later) - fixed)

    x, time, moved = jax.lax.cond(unique, of_one, of_several, blocks(start), probe)
    stored = _from_matrix(generator, from_blocks(generator, x), len(start))
    residual, time = _size(generator, generator(stored)), _time(time)
    known = unique & jnp.isfinite(time)
    error = jnp.where(known, moved, jnp.maximum(residual * time, moved))
    return Stationary(stored, residual, jnp.asarray(0), time, error)


def _relaxed(matrix: Tridiagonal, inverse: LinearMap, x: jax.Array, steps: int) -> jax.Array:
    """Return what steps of pseudo-time lead to."""

    def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + inverse(matrix @ x), None

    return jax.lax.scan(step, x, length=steps)[0]


def _slowest_by(inverse: LinearMap, decaying: LinearMap, probe: jax.Array) -> jax.Array:
    """Return |Y| / |L Y| after inverse iteration from what decays of the probe."""

    def iterate(y: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        solved = decaying(inverse(y))
        size = jnp.linalg.norm(solved)
        time = size / jnp.maximum(jnp.linalg.norm(y), 1e-300)
        return solved / jnp.maximum(size, 1e-300), time

    return jax.lax.stop_gradient(jax.lax.scan(iterate, decaying(probe), length=10)[1][-1])


def _shifted_inverse(matrix: Tridiagonal, shift: jax.Array) -> LinearMap:
    """Return (s - L)^-1 on vectors (L, m)."""
    fixed = jax.lax.stop_gradient(matrix)
    diagonal = shift * jnp.eye(fixed.diagonal.shape[1]) - fixed.diagonal
    shifted = Tridiagonal(-fixed.lower, diagonal, -fixed.upper)
    factors, transposed = factor(shifted), factor(shifted.transpose)

    def inverse(b: jax.Array) -> jax.Array:
        return jax.lax.custom_linear_solve(
            lambda x: shift * x - matrix @ x,
            b,
            lambda _, b: factors.solve(b),
            transpose_solve=lambda _, b: transposed.solve(b),
        )

    return inverse


def _probe(generator: Generator, start: jax.Array, live: jax.Array) -> jax.Array:
    """Return a stored state that slow modes take part in, also those that the start is without."""
    return jax.lax.stop_gradient((start + lopsided(generator, live, start)) / 2)


def lopsided(generator: Generator, live: jax.Array, like: jax.Array) -> jax.Array:
    """Return a stored state, shaped as another one, that no symmetry is likely to know."""
    weights = jnp.where(live, 1.0 + jnp.arange(live.size), 0.0)
    weights = weights / (jnp.sum(weights) * generator.charger_levels)
    diagonal = generator.on_diagonal[:, None, None]
    state = jnp.where(diagonal, jnp.diag(weights), 0.0)
    return jnp.zeros_like(like).at[0].set(state)


def _time(time: jax.Array) -> jax.Array:
    """Return a relaxation time; one that could not be found is infinite."""
    return jax.lax.stop_gradient(jnp.where(time > 0, time, jnp.inf))


def iterative(
    generator: Generator, start: jax.Array, live: jax.Array, unique: bool, populations: bool
) -> Stationary:
    """Solve by preconditioned GMRES, matrix-free.

    Parameters
    ----------
    generator, start, live
        As for `direct`.
    unique
        Whether there is but one stationary state, as the structure says.
    populations
        Whether to correct the populations of the eigenstates of H, too, and start from those.
        Takes a unique stationary state.
    """
    norm = jax.lax.stop_gradient(_norm(generator))
    fixed = jax.lax.stop_gradient(generator)
    shift = jnp.zeros(()) if unique else _SHIFT * norm
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
    x = x / _trace(generator, x)
    probe = _probe(fixed, start, live) - jax.lax.stop_gradient(x)
    time = _time(_slowest(jax.lax.stop_gradient(system), probe))
    residual = _size(fixed, generator(x))
    return Stationary(x, residual, iterations, time, residual * time)


def _slowest(system: "_System", decaying: jax.Array) -> jax.Array:
    """Return |Y| / |L Y| of a Y that decays slowly: a lower bound of the norm of L^-1.

    The preconditioner, an approximate inverse, picks the slow modes out of what decays, and one
    short cycle of GMRES refines them.
    """

    def traceless(x: jax.Array) -> jax.Array:
        return x - _trace(system.generator, x) * system.anchor

    def pick(_: int, x: jax.Array) -> jax.Array:
        x = traceless(system.precondition(x))
        return x / jnp.maximum(_size(system.generator, x), 1e-300)

    slow = traceless(system.solve_roughly(jax.lax.fori_loop(0, _PICKS, pick, decaying)))
    return _size(system.generator, slow) / _size(system.generator, system.apply(slow))


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

    def solve(self, b: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the solution and the steps it took; `target` is the residual's norm."""
        size = _size(self.generator, jax.lax.stop_gradient(b))
        target = jax.lax.stop_gradient(target)
        # What is small enough already counts as zero, though not its derivative. The right-hand
        # sides of derivatives, whose size is another, are met to a relative tolerance.
        small = size <= target
        b = b - jax.lax.stop_gradient(jnp.where(small, b, 0.0))
        relative = jnp.minimum(target / jnp.where(small, 1.0, size), _RELATIVE)
        relative = jnp.where(small, _RELATIVE, relative)
        matvec, precondition = self._maps()

        def solver(precondition: LinearMap) -> Callable[..., tuple[jax.Array, jax.Array]]:
            def run(matvec: LinearMap, b: jax.Array) -> tuple[jax.Array, jax.Array]:
                target = relative * jnp.linalg.norm(b)
                limits = {"cycle": _CYCLE, "most_cycles": _CYCLES}
                found = gmres(matvec, precondition, b, target=target, **limits)
                return found.x, found.steps

            return run

        def transposed(y: jax.Array) -> jax.Array:
            return jax.linear_transpose(precondition, y)(y)[0]

        metric = _metric(self.generator)
        y, steps = jax.lax.custom_linear_solve(
            matvec,
            metric * b,
            solver(precondition),
            transpose_solve=solver(transposed),
            has_aux=True,
        )
        return y / metric, steps

    def solve_roughly(self, b: jax.Array) -> jax.Array:
        """Return the solution to two digits, or what one short cycle gives; without derivatives."""
        metric = _metric(self.generator)
        target = 1e-2 * _size(self.generator, b)
        found = gmres(*self._maps(), metric * b, target=target, cycle=_SHORT, most_cycles=1)
        return found.x / metric

    def _maps(self) -> tuple[LinearMap, LinearMap]:
        """Return the system and its approximate inverse where the dot product is the matrices'."""
        metric = _metric(self.generator)

        def within(system: "_System", linear: LinearMap) -> LinearMap:
            def on_coordinates(y: jax.Array) -> jax.Array:
                return _on_hermitian(system.generator, lambda x: linear(x / metric) * metric, y)

            return on_coordinates

        fixed = jax.lax.stop_gradient(self)
        return within(self, self.apply), within(fixed, fixed.precondition)


def _on_hermitian(generator: Generator, linear: LinearMap, stored: jax.Array) -> jax.Array:
    """Apply a map to the Hermitian part of a stored matrix, and one to the rest.

    The diagonal blocks of a stored matrix have room for more than a Hermitian one. Cotangents use
    it, and there the generator need not be regular.
    """
    diagonal = generator.on_diagonal[:, None, None]
    signs = jnp.array([1.0, -1.0])[: len(stored), None, None, None]
    hermitian = jnp.where(diagonal, (stored + signs * stored.swapaxes(-1, -2)) / 2, stored)
    return linear(hermitian) + stored - hermitian


def _norm(generator: Generator) -> jax.Array:
    """Return a bound of the norm of L."""
    decay, width = lindblad.spectral_box(generator)
    return decay + width


def _metric(generator: Generator) -> jax.Array:
    """Return the square roots of how often a stored block stands in the matrix."""
    counts = jnp.where(generator.on_diagonal, 1.0, 2.0)
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
    return lindblad.from_gauge(generator, matrix.reshape(d_c, levels, d_c, levels), parts)
