"""Steady states by elimination."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from qbjax.common.gmres import LinearMap
from qbjax.common.types import Array
from qbjax.generator.lindblad import Generator, structure
from qbjax.generator.residual import Refined, refined
from qbjax.model.star_battery import StarBattery
from qbjax.steady import nullspace
from qbjax.steady.coordinates import Coordinates
from qbjax.steady.general import General, Outcome
from qbjax.steady.stationary import (
    Stationary,
    lopsided,
    norm_bound,
    probe_state,
    relaxation_time,
    state_norm,
)
from qbjax.steady.systems import Blocks, Packed, System


class PseudoTime(NamedTuple):
    """Steps x <- s (s - L)^-1 x: the shift s over the norm of L, and the number of steps."""

    shift: float
    steps: int


# Where the trace alone is conserved: a tiny shift blows up nothing but the norm of the state. Each
# step gains the digits that elimination has, four at the least where it is of use.
ONE_STATE = PseudoTime(1e-15, 10)
# Where more is: the shift is large enough for rounding not to mix conserved quantities.
SEVERAL_STATES = PseudoTime(1e-5, 60)
# Tells what moves on after that.
LATER = PseudoTime(1e-7, 30)
# Corrections below so many times the machine epsilon are those of rounding.
_ROUNDING = 500
# Steps of pseudo-time that carry the derivative: each gains the factor shift / (slowest rate).
_OF_DERIVATIVE = 2
# Steps of inverse iteration: a slow mode that the probe has little of may show in the last ones.
_ITERATIONS = 10
# Two starts have led to the same state where the two are no further apart.
_SAME = 1e-6
# "auto" solves directly where elimination takes at most so many operations: N = 18 for a qubit.
_MOST_OPERATIONS = 1e7
# So many times as many for an oscillator: to 60 levels for a qubit.
_OF_AN_OSCILLATOR = 100
# One matrix is of use up to so many numbers, and quicker than blocks, whose operations come in
# smaller pieces, while it takes so many times as many of them (measured: up to N = 13 for a qubit).
_LARGEST_PACKED, _QUICKER = 800, 30

# A vector, two numbers of which one is the earlier, and how many steps there were.
Loop = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


class Direct(General):
    """Elimination, by one matrix or by blocks; see `qbjax.steady.systems`."""

    name = "direct"

    def refuses(self, model: StarBattery) -> str | None:
        """Refuse terms that couple blocks that are no neighbours."""
        known = structure(model)
        if known.reach(1) > 1:
            return "a term moves the battery by two levels or more"
        if known.basis.blocks > 1 and not _fits_one_matrix(known):
            return "the ladders of noise on single qubits do not fit into one matrix"
        return None

    def defers(self, model: StarBattery) -> str | None:
        """Leave large systems to iteration."""
        block = self.block(model)
        if _fits_one_matrix(structure(model)):
            return None
        # An oscillator whose losses are all zero keeps what iteration cannot tell.
        most = _MOST_OPERATIONS * (1 if model.battery is None else _OF_AN_OSCILLATOR)
        if model.levels * block**3 <= most:
            return None
        return f"blocks of {block} numbers take long to eliminate"

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        known = structure(model)
        if _fits_one_matrix(known):
            size = Coordinates(known, 1 if known.is_real else 2).size
            return f"one matrix of {size} numbers, eliminated"
        return f"blocks of {self.block(model)} numbers, eliminated one by one"

    def block(self, model: StarBattery) -> int:
        """Return how many numbers a block has."""
        return model.charger.levels**2 * model.levels

    def outcome(
        self, model: StarBattery, generator: Generator, start: jax.Array, tolerance: jax.Array
    ) -> Outcome:
        """Return the stationary state of one model; it is never ambiguous."""
        live = generator.basis.live(model.N)
        nullity = None if self.is_unique else jnp.asarray(nullspace.nullity(model))
        stationary = direct(generator, refined(model), start, live, nullity)
        return Outcome(stationary, jnp.asarray(False), None)


def _fits_one_matrix(generator: Generator, parts: int | None = None) -> bool:
    """Tell whether one matrix is quickest, or the only way."""
    parts = parts or (1 if generator.is_real else 2)
    size = Coordinates(generator, parts).size
    block = generator.charger_levels**2 * generator.levels
    by_blocks = (1 if generator.is_real else 4) * generator.levels * block**3
    quicker = size**3 <= _QUICKER * by_blocks or generator.basis.blocks > 1
    return quicker and size <= _LARGEST_PACKED


def direct(
    generator: Generator,
    exact: Refined,
    start: jax.Array,
    live: Array,
    nullity: jax.Array | None,
) -> Stationary:
    """Solve by elimination, for operators of reach one.

    Parameters
    ----------
    generator, start
        The generator and the stored state that it starts from, of two parts where the generator is
        not real.
    live
        Mask of the levels that are no padding, shape (blocks, levels).
    nullity
        The number of stationary states, 0 where it is not known, shape (). Where there is but one,
        the shift of pseudo-time is tiny, which only the norm of the state would mind; else it is
        large enough for rounding to leave conserved quantities alone. Where it is not known, there
        is one if two starts lead to it. None: one, known when the program is made.
    """
    parts = len(start)
    system = (Packed if _fits_one_matrix(generator, parts) else Blocks)(generator, parts)
    norm = jax.lax.stop_gradient(norm_bound(generator))
    inverse, solve = system.inverse(ONE_STATE.shift * norm)
    begin, probe = (system.vector(x) for x in (start, probe_state(generator, start, live)))

    def alone(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, moved = _refined(system, exact, solve, start, ONE_STATE.steps)
        return _with_derivative(system, inverse, x), moved

    def time_of_one(one: jax.Array, probe: jax.Array) -> jax.Array:
        fixed = jax.lax.stop_gradient(one)
        time = _slowest_by(solve, lambda y: y - system.trace(y) * fixed, probe)
        # A time that the shift cuts off was not found.
        return jnp.where(time < 0.1 / (ONE_STATE.shift * norm), time, 0.0)

    def of_several(start: jax.Array, probe: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        x = _relaxation(system, norm, SEVERAL_STATES)[0](start)
        x = x / system.trace(x)
        fixed, still = jax.lax.stop_gradient((x, system))
        settle, solve = _relaxation(still, norm, SEVERAL_STATES)
        time = _slowest_by(solve, lambda y: y - settle(y), probe)
        later = _relaxation(still, norm, LATER)[0](fixed)
        return x, time, jnp.linalg.norm(later - fixed)

    if nullity is None:
        unique = jnp.asarray(True)
        x, moved = alone(begin)
        time = time_of_one(x, probe)
    else:
        starts = begin, system.vector(lopsided(generator, live, start))
        (one, other), moves = jax.lax.map(alone, jnp.stack(starts))
        same = jnp.linalg.norm(jax.lax.stop_gradient(one - other)) < _SAME
        unique = (nullity == 1) | ((nullity == 0) & same)
        x, time, moved = jax.lax.cond(
            unique,
            lambda _, probe: (one, time_of_one(one, probe), moves[0]),
            of_several,
            begin,
            probe,
        )
    stored = system.stored(x)
    residual, time = state_norm(generator, generator(stored)), relaxation_time(time)
    known = unique & jnp.isfinite(time)
    error = jnp.where(known, moved, jnp.maximum(residual * time, moved))
    return Stationary(stored, residual, jnp.asarray(0), time, error)


def _relaxation(system: System, norm: jax.Array, pseudo: PseudoTime) -> tuple[LinearMap, LinearMap]:
    """Return what steps of pseudo-time lead to, and (s - L)^-1 without derivatives."""
    inverse, solve = system.inverse(pseudo.shift * norm)

    def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + inverse(system @ x), None

    return lambda x: jax.lax.scan(step, x, length=pseudo.steps)[0], solve


def _refined(
    system: System, exact: Refined, solve: LinearMap, start: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array]:
    """Return where steps of pseudo-time lead to, refined, and the norm of the last correction.

    The norm is infinite where corrections do not shrink and are no rounding: they tell nothing of
    the error.
    """
    fixed, exact, start = jax.lax.stop_gradient((system, exact, start))
    eps = jnp.finfo(start.dtype).eps

    def moves(state: Loop) -> jax.Array:
        _, _, last, count = state
        return (count < steps) & (last > eps)

    def step(state: Loop) -> Loop:
        x, _, last, count = state
        after = x + solve(fixed.refined(exact, x))
        after = fixed.hermitian(after / fixed.trace(after))
        return after, last, jnp.linalg.norm(after - x), count + 1

    begin = start, jnp.asarray(jnp.inf), jnp.asarray(jnp.inf), jnp.asarray(0)
    x, before, last, _ = jax.lax.while_loop(moves, step, jax.lax.stop_gradient(begin))
    moved = jnp.where((last < before / 2) | (last < _ROUNDING * eps), last, jnp.inf)
    return x, moved


def _with_derivative(system: System, inverse: LinearMap, x: jax.Array) -> jax.Array:
    """Return a stationary state with the derivative of steps of pseudo-time, which leave it."""

    def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        slope = system @ x
        x = x + inverse(slope - jax.lax.stop_gradient(slope))
        return system.hermitian(x / system.trace(x)), None

    return jax.lax.scan(step, x, length=_OF_DERIVATIVE)[0]


def _slowest_by(solve: LinearMap, decaying: LinearMap, probe: jax.Array) -> jax.Array:
    """Return |Y| / |L Y| after inverse iteration from what decays of the probe."""

    def iterate(y: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        solved = decaying(solve(y))
        size = jnp.linalg.norm(solved)
        time = size / jnp.maximum(jnp.linalg.norm(y), 1e-300)
        return solved / jnp.maximum(size, 1e-300), time

    first = jax.lax.stop_gradient(decaying(probe))
    return jax.lax.stop_gradient(jax.lax.scan(iterate, first, length=_ITERATIONS)[1][-1])
