"""Steady states by preconditioned GMRES, matrix-free."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.basis import ladder
from qbjax.common.gmres import LinearMap, gmres
from qbjax.generator.lindblad import Generator
from qbjax.model.parameters import COLLECTIVE
from qbjax.model.star_battery import StarBattery
from qbjax.steady import nullspace
from qbjax.steady.general import General, Outcome
from qbjax.steady.preconditioners import Lyapunov, Secular, lyapunov, secular
from qbjax.steady.stationary import (
    Stationary,
    as_matrix,
    from_matrix,
    lopsided,
    multiplicities,
    norm_bound,
    probe_state,
    relaxation_time,
    state_norm,
    trace,
)

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
        live = ladder.live_levels(model.N, model.levels)
        has_own_terms = nullspace.has_own_terms(model)
        one = nullspace.promises_one(model) or bool(model.jumps)
        collective = any(getattr(model, name) is not None for name in COLLECTIVE)
        charger_alone = one and not has_own_terms and not collective

        def solve(start: jax.Array) -> Stationary:
            return iterative(generator, start, live, one, charger_alone)

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
    norm = jax.lax.stop_gradient(norm_bound(generator))
    fixed = jax.lax.stop_gradient(generator)
    shift = jnp.zeros(()) if unique else _SHIFT * norm
    inverse = lyapunov(fixed, live, shift + _SOFT * norm)
    coarse = secular(fixed, live) if populations else None
    x = start
    if coarse is not None:
        x = from_matrix(
            fixed, coarse.state(coarse.populations, as_matrix(fixed, start)), len(start)
        )
        x = jax.lax.stop_gradient(x / trace(fixed, x))
    system = _System(generator, jax.lax.stop_gradient(x), shift, inverse, coarse)
    iterations = jnp.asarray(0)
    for _ in range(1 if unique else _STEPS):
        correction, taken = system.solve(generator(x), _TARGET * norm * state_norm(fixed, x))
        x, iterations = x + correction, iterations + taken
    x = x / trace(generator, x)
    probe = probe_state(fixed, start, live) - jax.lax.stop_gradient(x)
    time = relaxation_time(_slowest(jax.lax.stop_gradient(system), probe))
    residual = state_norm(fixed, generator(x))
    return Stationary(x, residual, iterations, time, residual * time)


def _slowest(system: "_System", decaying: jax.Array) -> jax.Array:
    """Return |Y| / |L Y| of a Y that decays slowly: a lower bound of the norm of L^-1.

    The preconditioner, an approximate inverse, picks the slow modes out of what decays, and one
    short cycle of GMRES refines them.
    """

    def traceless(x: jax.Array) -> jax.Array:
        return x - trace(system.generator, x) * system.anchor

    def pick(_: int, x: jax.Array) -> jax.Array:
        x = traceless(system.precondition(x))
        return x / jnp.maximum(state_norm(system.generator, x), 1e-300)

    slow = traceless(system.solve_roughly(jax.lax.fori_loop(0, _PICKS, pick, decaying)))
    return state_norm(system.generator, slow) / state_norm(system.generator, system.apply(slow))


class _System(eqx.Module):
    """The regular system (s - L + A Tr) X = B on stored states, and its approximate inverse."""

    generator: Generator
    anchor: jax.Array
    shift: jax.Array
    inverse: Lyapunov
    coarse: Secular | None

    def apply(self, x: jax.Array) -> jax.Array:
        return self.shift * x - self.generator(x) + trace(self.generator, x) * self.anchor

    def precondition(self, b: jax.Array) -> jax.Array:
        x = jnp.zeros_like(b)
        if self.coarse is not None:
            x = self._by(self.coarse, b)
            b = b - self.apply(x)
        return x + self._by(self.inverse, b)

    def _by(self, approximate: Lyapunov | Secular, b: jax.Array) -> jax.Array:
        return from_matrix(self.generator, approximate(as_matrix(self.generator, b)), len(b))

    def solve(self, b: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the solution and the steps it took; `target` is the residual's norm."""
        length = state_norm(self.generator, jax.lax.stop_gradient(b))
        target = jax.lax.stop_gradient(target)
        # What is small enough already counts as zero, though not its derivative. The right-hand
        # sides of derivatives, whose size is another, are met to a relative tolerance.
        small = length <= target
        b = b - jax.lax.stop_gradient(jnp.where(small, b, 0.0))
        relative = jnp.minimum(target / jnp.where(small, 1.0, length), _RELATIVE)
        relative = jnp.where(small, _RELATIVE, relative)
        matvec, precondition = self._maps()

        def solver(precondition: LinearMap) -> Callable[..., tuple[jax.Array, jax.Array]]:
            def run(matvec: LinearMap, b: jax.Array) -> tuple[jax.Array, jax.Array]:
                target = relative * jnp.linalg.norm(b)
                limits = {"cycle": _CYCLE, "most_cycles": _CYCLES}
                solution = gmres(matvec, precondition, b, target=target, **limits)
                return solution.x, solution.steps

            return run

        def transposed(y: jax.Array) -> jax.Array:
            return jax.linear_transpose(precondition, y)(y)[0]

        metric = multiplicities(self.generator)
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
        metric = multiplicities(self.generator)
        target = 1e-2 * state_norm(self.generator, b)
        solution = gmres(*self._maps(), metric * b, target=target, cycle=_SHORT, most_cycles=1)
        return solution.x / metric

    def _maps(self) -> tuple[LinearMap, LinearMap]:
        """Return the system and its approximate inverse where the dot product is the matrices'."""
        metric = multiplicities(self.generator)

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
    diagonal = generator.on_diagonal[:, None, None, None]
    signs = jnp.array([1.0, -1.0])[: len(stored), None, None, None, None]
    hermitian = jnp.where(diagonal, (stored + signs * stored.swapaxes(-1, -2)) / 2, stored)
    return linear(hermitian) + stored - hermitian
