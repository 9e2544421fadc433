"""Steady states by preconditioned GMRES, matrix-free."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.common.gmres import LinearMap, gmres
from qbjax.common.types import Array
from qbjax.generator import stored_states
from qbjax.generator.lindblad import Generator
from qbjax.model.chargers import qubit
from qbjax.model.parameters import COLLECTIVE
from qbjax.model.star_battery import StarBattery
from qbjax.steady import nullspace
from qbjax.steady.coordinates import Coordinates
from qbjax.steady.general import General, Outcome
from qbjax.steady.populations import Populations, populations
from qbjax.steady.preconditioners import (
    Lyapunov,
    Pairs,
    eigenvectors,
    lyapunov,
    pairs,
    singular_vectors,
)
from qbjax.steady.stationary import (
    Stationary,
    as_matrices,
    from_matrices,
    lopsided,
    norm_bound,
    probe_state,
    relaxation_time,
    state_norm,
    trace,
)

# Where there may be several states: shift of pseudo-time over the norm of L, and the steps.
_SHIFT, _STEPS = 3e-5, 8
# Shift of the preconditioner over the norm of L: keeps it regular where nothing damps a level.
_SOFT = 1e-3
# The same for the pairs of all ladders, over the larger of F and g.
_SOFT_PAIRS = 1e-3
# Residual that GMRES aims at, over the norm of L times that of the state: rounding, with a margin.
_TARGET = 1e-13
# The same over the norm of the right-hand side, at most.
_RELATIVE = 1e-10
# GMRES: steps in a cycle, and the most cycles.
_CYCLE, _CYCLES = 80, 12
# Relaxation time: steps of inverse iteration, and how far each is solved, over the norm of b.
_INVERSE, _ROUGH = 2, 0.1


# Which approximate inverse; see `iterative`.
Plan = Literal["lyapunov", "populations", "pairs"]


class Iterative(General):
    """Preconditioned GMRES."""

    name = "iterative"

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        return "preconditioned GMRES"

    def outcome(
        self, model: StarBattery, generator: Generator, start: jax.Array, tolerance: jax.Array
    ) -> Outcome:
        """Return the stationary state; ambiguous where what was assumed for it may be wrong."""
        live = generator.basis.live(model.N)
        has_own_terms = nullspace.has_own_terms(model)
        one = nullspace.promises_one(model) or bool(model.jumps)
        collective = any(getattr(model, name) is not None for name in COLLECTIVE)
        others = has_own_terms or collective
        plan: Plan = "populations" if one and not others else "lyapunov"
        if model.has_local_noise and nullspace.promises_one(model):
            resonant = model.charger == qubit() and model.omega_d is None and model.kappa is None
            plan = "pairs" if resonant and not others else "populations"

        def solve(start: jax.Array) -> Stationary:
            unit = jnp.maximum(jnp.abs(model.F), jnp.abs(model.g))
            unit = jax.lax.stop_gradient(jnp.where(unit > 0, unit, 1.0))
            return iterative(generator, start, live, model.N, unit, one, plan)

        if not has_own_terms:
            # Structure promised one stationary state, but the values may be zero; where it did not,
            # modes that are too slow for the shift go unseen, unless the exact solution is at hand.
            nullity = nullspace.nullity(model)
            first = solve(start)
            return Outcome(first, nullity != 1 if one else nullity == 0, first.iterations)
        # Nothing is promised: another start tells whether there are others.
        starts = jnp.stack([start, lopsided(generator, live, start)])
        both = jax.lax.map(solve, starts)
        first, other = (jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1))
        apart = jnp.max(jnp.abs(first.stored - other.stored)) > 10 * tolerance
        return Outcome(first, apart, first.iterations)


def iterative(
    generator: Generator,
    start: jax.Array,
    live: Array,
    N: jax.Array,
    unit: jax.Array,
    unique: bool,
    plan: Plan,
) -> Stationary:
    """Solve by preconditioned GMRES, matrix-free.

    Parameters
    ----------
    generator, start, live, N
        As for `direct`, and the number of qubits.
    unit
        The unit of frequency: that of F and g.
    unique
        Whether there is but one stationary state, as the structure says.
    plan
        The approximate inverse: "lyapunov" alone; that and "populations" of the eigenstates of H,
        to start from, too; or "pairs" of singular vectors and their populations. The last two take
        a unique stationary state.
    """
    norm = jax.lax.stop_gradient(norm_bound(generator))
    fixed = jax.lax.stop_gradient(generator)
    shift = jnp.zeros(()) if unique else _SHIFT * norm
    inverse: Lyapunov | Pairs
    coarse = None
    if plan == "pairs":
        vectors = singular_vectors(fixed, live, N)
        inverse = pairs(fixed, vectors, shift + _SOFT_PAIRS * unit)
        coarse = populations(fixed, vectors, live, unit)
    else:
        inverse = lyapunov(fixed, live, shift + _SOFT * norm)
        if plan == "populations":
            coarse = populations(fixed, eigenvectors(fixed, live), live, unit)
    x = start
    if coarse is not None:
        at_rest = coarse.state(coarse.rest, as_matrices(fixed, start))
        x = from_matrices(fixed, at_rest, len(start))
        x = jax.lax.stop_gradient(x / trace(fixed, x))
    system = _System(generator, jax.lax.stop_gradient(unit * x), shift, live, inverse, coarse)
    probe = probe_state(fixed, start, live)

    def move(x: jax.Array, _: None) -> tuple[jax.Array, Correction]:
        target = _TARGET * norm * state_norm(fixed, x)
        correction = _correction(system, generator(x), jax.lax.stop_gradient(target), probe)
        return x + correction.x, correction

    x, corrections = jax.lax.scan(move, x, length=1 if unique else _STEPS)
    iterations, time = jnp.sum(corrections.steps), corrections.time[-1]
    x = x / trace(generator, x)
    time = relaxation_time(time)
    residual = state_norm(fixed, generator(x))
    return Stationary(x, residual, iterations, time, residual * time)


class Correction(eqx.Module):
    """The solution of a system, the steps of GMRES, and |Y| / |L Y| of a Y that decays slowly."""

    x: jax.Array
    steps: jax.Array
    time: jax.Array


@eqx.filter_custom_jvp
def _correction(system: "_System", b: jax.Array, target: jax.Array, probe: jax.Array) -> Correction:
    """Solve a system for b to a norm of the residual, and find a slow mode.

    The slow mode is what inverse iteration makes of what decays of the probe. Its systems are
    solved to one digit, by the same GMRES one after the other, which so is in the program once.
    """
    length = state_norm(system.generator, b)

    def decaying(x: jax.Array) -> jax.Array:
        share = trace(system.generator, x) / trace(system.generator, system.anchor)
        x = x - share * system.anchor
        return x / jnp.maximum(state_norm(system.generator, x), 1e-300)

    def solve(right: jax.Array, number: jax.Array) -> tuple[jax.Array, tuple]:
        first = number == 0
        small = first & (length <= target)
        relative = jnp.where(first, jnp.minimum(target / length, _RELATIVE), _ROUGH)
        right = jnp.where(small, 0.0, right)
        most_cycles = jnp.where(first, _CYCLES, 1)
        solved, steps = system.gmres(right, relative, most_cycles)
        return decaying(jnp.where(first, probe, solved)), (solved, steps)

    slow, (solutions, steps) = jax.lax.scan(solve, b, jnp.arange(1 + _INVERSE))
    time = state_norm(system.generator, slow) / state_norm(system.generator, system.apply(slow))
    return Correction(solutions[0], steps[0], time)


@_correction.def_jvp
def _correction_jvp(primals: tuple, tangents: tuple) -> tuple[Correction, Correction]:
    system, b, *rest = primals
    correction = _correction(system, b, *rest)
    moved, db = tangents[:2]

    def image(system: "_System") -> jax.Array:
        return system.apply(correction.x)

    db = jnp.zeros_like(b) if db is None else db
    if jax.tree.leaves(moved):
        db = db - eqx.filter_jvp(image, (system,), (moved,))[1]
    # The steps and the time have no derivative.
    nothing = jax.tree.map(lambda _: None, correction)
    return correction, eqx.tree_at(
        lambda c: c.x, nothing, system.inverse(db), is_leaf=lambda leaf: leaf is None
    )


class _System(eqx.Module):
    """The regular system (s - L + A Tr) X = B on stored states, and its approximate inverse.

    A is a state times the unit of frequency, so that no part is lost beside another.
    """

    generator: Generator
    anchor: jax.Array
    shift: jax.Array
    live: Array
    approximate: Lyapunov | Pairs
    coarse: Populations | None

    def apply(self, x: jax.Array) -> jax.Array:
        return self.shift * x - self.generator(x) + trace(self.generator, x) * self.anchor

    def precondition(self, b: jax.Array) -> jax.Array:
        x = jnp.zeros_like(b)
        if self.coarse is not None:
            x = self._by(self.coarse, b)
            b = b - self.apply(x)
        return x + self._by(self.approximate, b)

    def _by(self, approximate: LinearMap, b: jax.Array) -> jax.Array:
        return from_matrices(self.generator, approximate(as_matrices(self.generator, b)), len(b))

    def gmres(
        self, b: jax.Array, relative: jax.Array, most_cycles: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the solution to a norm of the residual relative to b's, and the steps."""
        matvec, precondition = self._maps(len(b))
        coordinates = Coordinates(self.generator, len(b))
        right = coordinates.vector(b)
        target = relative * jnp.linalg.norm(right)
        solution = gmres(
            matvec, precondition, right, target=target, cycle=_CYCLE, most_cycles=most_cycles
        )
        return coordinates.stored(solution.x), solution.steps

    def inverse(self, b: jax.Array) -> jax.Array:
        """Return the solution for the right-hand side of a derivative, itself differentiable."""
        matvec, precondition = self._maps(len(b))
        coordinates = Coordinates(self.generator, len(b))

        def solver(precondition: LinearMap) -> Callable[..., jax.Array]:
            def run(matvec: LinearMap, b: jax.Array) -> jax.Array:
                target = _RELATIVE * jnp.linalg.norm(b)
                limits = {"cycle": _CYCLE, "most_cycles": _CYCLES}
                return gmres(matvec, precondition, b, target=target, **limits).x

            return run

        def transposed(y: jax.Array) -> jax.Array:
            return jax.linear_transpose(precondition, y)(y)[0]

        x = jax.lax.custom_linear_solve(
            matvec,
            coordinates.vector(b),
            solver(precondition),
            transpose_solve=solver(transposed),
        )
        return coordinates.stored(x)

    def _maps(self, parts: int) -> tuple[LinearMap, LinearMap]:
        """Return the system and its approximate inverse on vectors.

        Where a padded battery has no level, both leave a vector as it is: cotangents have numbers
        there, and the generator is not regular.
        """
        coordinates = Coordinates(self.generator, parts)
        square = self.live[:, :, None] & self.live[:, None]
        everywhere = jnp.broadcast_to(square, stored_states.shape(self.generator, parts))
        there = coordinates.vector(jnp.where(everywhere, 1.0, 0.0)) > 0

        def on_vectors(linear: LinearMap) -> LinearMap:
            def apply(y: jax.Array) -> jax.Array:
                image = coordinates.vector(linear(coordinates.stored(jnp.where(there, y, 0.0))))
                return jnp.where(there, image, y)

            return apply

        fixed = jax.lax.stop_gradient(self)
        return on_vectors(self.apply), on_vectors(fixed.precondition)
