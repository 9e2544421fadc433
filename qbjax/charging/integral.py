r"""The charging time as an integral of the squared deficit, int_0^inf y(t)^2 dt.

With y = sum_a W_a f(t; omega_a) on charger resonance it is, in closed form,

    sum_ab W_a W_b gamma [gamma^2 + 2 (omega_a^2 + omega_b^2)]
                   / [2 gamma^2 (omega_a^2 + omega_b^2) + 4 (omega_a^2 - omega_b^2)^2].
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from qbjax.charging import sampled
from qbjax.charging.definition import Measured, Modes, OfSamples
from qbjax.common.checks import ArgumentError, Status
from qbjax.exact.applies import is_exact
from qbjax.exact.curves import energy_modes
from qbjax.model.star_battery import StarBattery


class Integral(OfSamples):
    """int_0^inf y(t)^2 dt."""

    name: ClassVar[str] = "integral"
    is_smooth: ClassVar[bool] = True

    def require(self, model: StarBattery) -> None:
        """Refuse a charger detuning beside dephasing alone, which has no closed form."""
        if is_exact(model) and model.Delta_C is not None:
            raise ArgumentError(
                "Arguments `omega_C` and `omega_d` must be None (charger resonance) for the closed "
                'form of the "integral" definition, but are given; use "settling".'
            )

    def by_modes(self, curve: Modes, log_gamma: jax.Array) -> Measured:
        """Return the charging time in closed form."""
        omega, weights = energy_modes(curve.model, curve.spectrum)
        gamma, squares = jnp.exp(log_gamma), omega**2

        def row(mode: tuple[jax.Array, jax.Array]) -> jax.Array:
            total, gap = mode[0] + squares, mode[0] - squares
            below = 2 * gamma**2 * total + 4 * gap**2
            present = below > 0
            kernel = gamma * (gamma**2 + 2 * total) / jnp.where(present, below, 1.0)
            return mode[1] * jnp.sum(jnp.where(present, kernel * weights, 0.0))

        # Row by row: the square of the number of modes does not fit in memory at large N.
        integral = jnp.sum(jax.lax.map(row, (squares, weights), batch_size=64))
        slowest = curve.slowest(log_gamma, 1e-12)
        # Slow modes rule the integral, so that the square of none may underflow.
        trusted = slowest.log_omega > -300.0
        return jnp.log(integral), jnp.where(trusted, Status.OK, Status.SPLITTINGS_LOST), {}

    def by_samples(self, model: StarBattery) -> Measured:
        """Return the charging time from samples."""
        return sampled.integral(model)
