"""Steady states by the exact solution."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.basis import ladder
from qbjax.common.checks import Status
from qbjax.exact import ends, rates, sectors
from qbjax.exact.ends import Size
from qbjax.exact.method import ExactMethod
from qbjax.model.star_battery import StarBattery
from qbjax.steady import nullspace
from qbjax.steady.method import Method
from qbjax.steady.result import Solution

# With more levels, a state is told by the ends of the ladder where they lie apart.
MANY = 512


class Exact(ExactMethod, Method):
    """The exact solution.

    Attributes
    ----------
    size
        Of the ends of the ladder that it goes by; None: it goes by all levels.
    """

    def __init__(self, size: Size | None = None, gives_state: bool = True):
        """Take the size, and whether to give the state."""
        self.size, self.gives_state = size, gives_state

    def from_empty(self, model: StarBattery, state: bool) -> Method:
        """Return the method that goes by the ends of the ladder, where it gains by it."""
        gains = model.levels > MANY or not state
        size = ends.size_for(model) if gains else None
        return _by_ends(size, state or size is None)

    def solve(self, model: StarBattery, start: PyTree, tolerance: jax.Array) -> Solution:
        """Return the steady state of one model that a start leads to."""
        if self.size is None:
            return solution(model, start)
        return solution_by_ends(model, self.size, self.gives_state)


@functools.cache
def _by_ends(size: Size | None, gives_state: bool) -> Exact:
    # One object of each: programs are looked up by it.
    return Exact(size, gives_state)


def solution_by_ends(model: StarBattery, size: Size, state: bool) -> Solution:
    """Return the state that the empty battery charges to, or its figures of merit."""
    parts = ends.ends(model.F, model.g, model.N, size)
    status = rates.existence(model)
    mask = jnp.where(status == Status.OK, 1.0, jnp.nan)
    n = jnp.arange(size.half)
    populations = jnp.zeros(model.levels).at[n].set(parts.populations)
    populations = populations.at[model.N - n].set(parts.populations)
    # The empty battery occupies every sector: no rate is below that of 2 sigma_min.
    log_omega = jnp.log(2.0) + parts.log_smallest
    lost = (status == Status.OK) & ~(parts.error <= ends.CUT)
    rho = battery = None
    if state:
        ground, excited = ends.states(model, size)
        rho, battery = _together(ground, excited) * mask, (ground + excited) * mask
    return Solution(
        rho=rho,
        battery=battery,
        populations=populations * mask,
        largest=parts.largest * mask,
        smallest=jnp.zeros(()) * mask,
        residual=parts.error * mask,
        nullity=jnp.asarray(nullspace.nullity_on_resonance(model)),
        log_relaxation_time=-rates.log_rate(model, log_omega) * mask,
        status=jnp.where(lost, Status.NOT_CONVERGED, status),
    )


def _together(ground: jax.Array, excited: jax.Array) -> jax.Array:
    """Return the state of charger and battery from its blocks beside |g> and |e>."""
    zero = jnp.zeros_like(ground)
    return jnp.stack([jnp.stack([ground, zero], 1), jnp.stack([zero, excited], 1)])


def solution(model: StarBattery, rho0: jax.Array | None) -> Solution:
    """Return the exact steady state of one model; NaN where there is none."""
    spectrum = sectors.diagonalise(model)
    coordinates = None if rho0 is None else sectors.project(spectrum, rho0)
    weights = spectrum.v[0] ** 2 if coordinates is None else jnp.diagonal(coordinates[0]).real
    status = rates.existence(model)
    # A factor, so that derivatives are NaN, too. It comes in last, so that over a batch in gamma_C
    # what does not depend on it is computed once.
    mask = jnp.where(status == Status.OK, 1.0, jnp.nan)
    ground = spectrum.v * (weights / 2) @ spectrum.v.T
    excited = spectrum.u * (weights / 2) @ spectrum.u.T
    battery = ground + excited
    largest, smallest = ladder.extreme_eigenvalues(battery, model.N)
    slowest = rates.state_rate(model, spectrum, coordinates)
    return Solution(
        rho=_together(ground, excited) * mask,
        battery=battery * mask,
        largest=largest * mask,
        smallest=smallest * mask,
        residual=residual(model, ground, excited) * mask,
        nullity=jnp.asarray(nullspace.nullity_on_resonance(model)),
        log_relaxation_time=-slowest.log_rate * mask,
        status=status,
    )


def residual(model: StarBattery, ground: jax.Array, excited: jax.Array) -> jax.Array:
    """Return max |K rho_gg - rho_ee K|; the other blocks of L rho vanish identically."""
    above = jnp.roll(model.couplings, -1)
    left = model.F * ground + above[:, None] * jnp.roll(ground, -1, axis=0)
    right = model.F * excited + jnp.roll(excited * above, 1, axis=1)
    return jnp.max(jnp.abs(left - right)) / jnp.max(jnp.abs(ground))
