"""Steady states by the exact solution."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.basis import ladder
from qbjax.common.checks import Status
from qbjax.exact import rates, sectors
from qbjax.exact.method import ExactMethod
from qbjax.model.star_battery import StarBattery
from qbjax.steady import nullspace
from qbjax.steady.method import Method
from qbjax.steady.result import Solution


class Exact(ExactMethod, Method):
    """The exact solution."""

    def solve(self, model: StarBattery, start: PyTree, tolerance: jax.Array) -> Solution:
        """Return the steady state of one model that a start leads to."""
        return solution(model, start)


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
    zero = jnp.zeros_like(ground)
    rho = jnp.stack([jnp.stack([ground, zero], 1), jnp.stack([zero, excited], 1)])
    battery = ground + excited
    largest, smallest = ladder.extreme_eigenvalues(battery, model.N)
    slowest = rates.state_rate(model, spectrum, coordinates)
    return Solution(
        rho=rho * mask,
        battery=battery * mask,
        largest=largest * mask,
        smallest=smallest * mask,
        residual=residual(model, ground, excited) * mask,
        nullity=jnp.asarray(nullspace.nullity_on_resonance(model)),
        log_relaxation_time=jnp.where(slowest.resolved, -slowest.log_rate, jnp.nan) * mask,
        status=status,
    )


def residual(model: StarBattery, ground: jax.Array, excited: jax.Array) -> jax.Array:
    """Return max |K rho_gg - rho_ee K|; the other blocks of L rho vanish identically."""
    above = jnp.roll(model.couplings, -1)
    left = model.F * ground + above[:, None] * jnp.roll(ground, -1, axis=0)
    right = model.F * excited + jnp.roll(excited * above, 1, axis=1)
    return jnp.max(jnp.abs(left - right)) / jnp.max(jnp.abs(ground))
