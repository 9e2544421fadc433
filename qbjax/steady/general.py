"""What "direct" and "iterative" share: any generator, and the evidence for its stationary state."""

import functools
from abc import abstractmethod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.basis.states import battery_state
from qbjax.common.checks import Status, is_concrete
from qbjax.generator import stored_states
from qbjax.generator.lindblad import Generator, generator
from qbjax.generator.stored_states import CUT
from qbjax.model.chargers import qubit
from qbjax.model.star_battery import StarBattery
from qbjax.states.passive import extreme_eigenvalues
from qbjax.steady import exact, nullspace
from qbjax.steady.method import Method
from qbjax.steady.result import Solution
from qbjax.steady.stationary import Stationary


@functools.cache
def _informed(kind: type["General"]) -> "General":
    # One object of each: programs are looked up by it.
    return kind(is_unique=True)


class Outcome(NamedTuple):
    """A stationary state, whether the start may reach another one, and the iterations."""

    stationary: Stationary
    is_ambiguous: jax.Array
    iterations: jax.Array | None


class General(Method):
    """A method for any generator, from a stored state.

    Attributes
    ----------
    is_unique
        Whether there is one stationary state, as the numbers of the model say.
    """

    needs_tolerance = True

    def __init__(self, is_unique: bool = False):
        """Take what is known of the model."""
        self.is_unique = is_unique

    def informed(self, model: StarBattery) -> "Method":
        """Return the method that knows what the numbers of a model, or of a batch, tell."""
        known = is_concrete(model) and bool(np.all(nullspace.nullity(jax.device_get(model)) == 1))
        return _informed(type(self)) if known else self

    def start(self, model: StarBattery, rho0: object) -> tuple[jax.Array, PyTree]:
        """Return the start as a stored state."""
        return stored_states.stored_start(model, rho0)

    @abstractmethod
    def outcome(
        self, model: StarBattery, generator: Generator, start: jax.Array, tolerance: jax.Array
    ) -> Outcome:
        """Return the stationary state of one model."""

    def solve(self, model: StarBattery, start: PyTree, tolerance: jax.Array) -> Solution:
        """Return the stationary state of one model with the evidence."""
        made = generator(model)
        stationary, ambiguous, iterations = self.outcome(model, made, start, tolerance)
        nullity, error = nullspace.nullity(model), stationary.error
        status = nullspace.existence(model)
        status = jnp.where((status == Status.OK) & ambiguous, Status.NOT_UNIQUE, status)
        told_apart = nullspace.promises_one(model) and iterations is not None
        told_apart |= self.is_unique or model.has_local_noise
        known = model.charger == qubit() and model.battery is None
        if known and not (told_apart or nullspace.has_own_terms(model)):
            # With several stationary states rates may be too slow for any solver but the exact one.
            fixed = jax.lax.stop_gradient((model, stored_states.restore(made, start)))
            off = stored_states.restore(made, stationary.stored) - exact.solution(*fixed).rho
            error = jnp.where(nullity > 1, jnp.linalg.norm(off), error)
        return judged(
            model,
            made,
            stationary.stored,
            tolerance,
            status=status,
            nullity=nullity,
            log_relaxation_time=jnp.log(stationary.relaxation_time),
            error_estimate=jax.lax.stop_gradient(error),
            iterations=iterations,
        )


def judged(
    model: StarBattery,
    generator: Generator,
    stored: jax.Array,
    tolerance: jax.Array,
    *,
    status: jax.Array,
    error_estimate: jax.Array,
    **evidence: PyTree,
) -> Solution:
    """Return a stored state of one model as a solution, with its status."""
    battery = stored_states.battery(generator, stored)
    lowest, highest = extreme_eigenvalues(battery_state(model.basis, battery, model.N))
    levels = stored_states.populations(generator, stored)
    truncated = model.charger.truncated or model.basis.truncated
    # Written so that NaN counts as not converged.
    is_state = (error_estimate <= tolerance) & (lowest >= -tolerance)
    status = jnp.where((status == Status.OK) & ~is_state, Status.NOT_CONVERGED, status)
    top, spilled = stored_states.cut(generator, levels, model.charger.truncated)
    overflown = truncated & (spilled > CUT)
    status = jnp.where((status == Status.OK) & overflown, Status.CUT_TOO_LOW, status)
    return Solution(
        rho=stored_states.restore(generator, stored),
        battery=battery,
        largest=highest,
        smallest=lowest,
        residual=jnp.max(jnp.abs(generator(stored))) / jnp.max(jnp.abs(stored)),
        top_population=top if truncated else None,
        status=status,
        error_estimate=error_estimate,
        **evidence,
    )
