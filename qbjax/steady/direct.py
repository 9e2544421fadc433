"""Steady states by elimination of blocks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from qbjax.basis import ladder
from qbjax.common.gmres import LinearMap
from qbjax.generator.lindblad import Generator, structure
from qbjax.generator.residual import Refined, refined
from qbjax.model.star_battery import StarBattery
from qbjax.steady import nullspace
from qbjax.steady.elimination import Tridiagonal, factor, from_blocks, to_blocks, tridiagonal
from qbjax.steady.general import General, Outcome
from qbjax.steady.stationary import (
    Stationary,
    as_matrix,
    from_matrix,
    lopsided,
    norm_bound,
    probe_state,
    relaxation_time,
    state_norm,
)


class PseudoTime(NamedTuple):
    """Steps x <- s (s - L)^-1 x: the shift s over the norm of L, and the number of steps."""

    shift: float
    steps: int


# Where the trace alone is conserved: a tiny shift blows up nothing but the norm of the state.
ONE_STATE = PseudoTime(1e-15, 4)
# Where more is: the shift is large enough for rounding not to mix conserved quantities.
SEVERAL_STATES = PseudoTime(1e-5, 60)
# Tells what moves on after that.
LATER = PseudoTime(1e-7, 30)
# Steps of refinement: each gains the digits that elimination has, four at the least where it is of
# use.
_REFINEMENTS = 6
# Corrections below so many times the machine epsilon are those of rounding.
_ROUNDING = 500
# Two starts have led to the same state where the two are no further apart.
_SAME = 1e-6
# "auto" solves directly where elimination takes at most so many operations: N = 18 for a qubit.
_MOST_OPERATIONS = 1e7


class Direct(General):
    """Elimination of blocks, one ladder level after the other; see `qbjax.steady.elimination`."""

    name = "direct"

    def refuses(self, model: StarBattery) -> str | None:
        """Refuse terms that couple blocks that are no neighbours."""
        if structure(model).reach(1) > 1:
            return "a term moves the battery by two levels or more"
        return None

    def defers(self, model: StarBattery) -> str | None:
        """Leave large systems to iteration."""
        block = self.block(model)
        if model.levels * block**3 <= _MOST_OPERATIONS:
            return None
        return f"blocks of {block} numbers take long to eliminate"

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        return f"blocks of {self.block(model)} numbers, eliminated one by one"

    def block(self, model: StarBattery) -> int:
        """Return how many numbers a block has."""
        return model.charger.levels**2 * model.levels

    def outcome(
        self, model: StarBattery, generator: Generator, start: jax.Array, tolerance: jax.Array
    ) -> Outcome:
        """Return the stationary state of one model; it is never ambiguous."""
        live = ladder.live_levels(model.N, model.levels)
        nullity = nullspace.nullity(model)
        stationary = direct(generator, refined(model), start, live, nullity)
        return Outcome(stationary, jnp.asarray(False), None)


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
    norm = jax.lax.stop_gradient(norm_bound(generator))
    to_one, inverse = _relaxation(matrix, norm, ONE_STATE)

    def blocks(stored: jax.Array) -> jax.Array:
        return to_blocks(generator, as_matrix(generator, stored))

    def alone(start: jax.Array) -> jax.Array:
        # Complex, since rounding along the state itself, which a tiny shift blows up, has a phase.
        x = to_one(start)
        return x / _trace(generator, x)

    one = alone(blocks(start))
    other = jax.lax.stop_gradient(alone(blocks(lopsided(generator, live, start))))
    same = jnp.linalg.norm(jax.lax.stop_gradient(one) - other) < _SAME
    unique = (nullity == 1) | ((nullity == 0) & same)
    probe = blocks(probe_state(generator, start, live))

    def of_one(start: jax.Array, probe: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        time = _slowest_by(inverse, lambda y: y - _trace(generator, y) * one, probe)
        # The value is refined, the derivative is that of pseudo-time.
        x, error = _refined(generator, exact, inverse, jax.lax.stop_gradient(one))
        x = jax.lax.stop_gradient(x - one) + one
        # A time that the shift cuts off was not found.
        return x, jnp.where(time < 0.1 / (ONE_STATE.shift * norm), time, 0.0), error

    def of_several(start: jax.Array, probe: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        to_several, inverse = _relaxation(matrix, norm, SEVERAL_STATES)
        x = to_several(start)
        x = x / _trace(generator, x)
        time = _slowest_by(inverse, lambda y: y - to_several(y), probe)
        fixed = jax.lax.stop_gradient(x)
        later = jax.lax.stop_gradient(_relaxation(matrix, norm, LATER)[0](fixed))
        return x, time, jnp.linalg.norm(later - fixed)

    x, time, moved = jax.lax.cond(unique, of_one, of_several, blocks(start), probe)
    stored = from_matrix(generator, from_blocks(generator, x), len(start))
    residual, time = state_norm(generator, generator(stored)), relaxation_time(time)
    known = unique & jnp.isfinite(time)
    error = jnp.where(known, moved, jnp.maximum(residual * time, moved))
    return Stationary(stored, residual, jnp.asarray(0), time, error)


def _trace(generator: Generator, x: jax.Array) -> jax.Array:
    """Return the trace of a matrix in blocks."""
    return jnp.trace(from_blocks(generator, x))


def _relaxation(
    matrix: Tridiagonal, norm: jax.Array, pseudo: PseudoTime
) -> tuple[LinearMap, LinearMap]:
    """Return what steps of pseudo-time lead to, and (s - L)^-1, as maps of matrices in blocks."""
    inverse = _shifted_inverse(matrix, pseudo.shift * norm)

    def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + inverse(matrix @ x), None

    return lambda x: jax.lax.scan(step, x, length=pseudo.steps)[0], inverse


def _refined(
    generator: Generator, exact: Refined, inverse: LinearMap, x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return a state, in blocks, after iterative refinement, and the norm of the last correction.

    Infinite where corrections do not shrink and are no rounding: they tell nothing of the error.
    """
    shape = 2 * (generator.charger_levels, generator.levels)

    def refine(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        rho = from_blocks(generator, x)
        rho = (rho + rho.conj().T) / 2
        rho = rho / jnp.trace(rho)
        change = to_blocks(generator, exact(rho.reshape(shape)).reshape(rho.shape))
        x = to_blocks(generator, rho)
        change = inverse(change)
        change = change - _trace(generator, change) * x
        return x + change, jnp.linalg.norm(change)

    x, changes = jax.lax.scan(refine, x, length=_REFINEMENTS)
    before, last = changes[-2], changes[-1]
    rounding = _ROUNDING * jnp.finfo(last.dtype).eps
    return x, jnp.where((last < before / 2) | (last < rounding), last, jnp.inf)


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
