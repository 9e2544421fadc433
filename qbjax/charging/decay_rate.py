"""The charging time as the inverse of a decay rate."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.charging.definition import ClosedOptimum, Definition, Measured, Modes, is_no_share, share
from qbjax.common.checks import Status
from qbjax.common.types import Condition
from qbjax.exact import rates, sectors
from qbjax.model.star_battery import StarBattery


class DecayRate(Definition):
    """1 / (slowest rate among the modes of E_B(t) above `min_weight` of the largest)."""

    min_weight: jax.Array
    name: ClassVar[str] = "decay_rate"

    def __init__(self, min_weight: ArrayLike = 1e-3):
        """Check the option."""
        self.min_weight = share(min_weight, "min_weight")

    def out_of_range(self) -> Condition:
        """Tell whether the option is what the constructor refuses where it can see it."""
        return is_no_share(self.min_weight)

    def by_modes(self, curve: Modes, log_gamma: jax.Array) -> Measured:
        """Return the charging time, and the frequency of the slowest mode."""
        slowest = curve.slowest(log_gamma, self.min_weight)
        status = jnp.where(slowest.resolved, Status.OK, Status.SPLITTINGS_LOST)
        return -slowest.log_rate, status, {"omega": jnp.exp(slowest.log_omega)}

    def closed_optimum(self, model: StarBattery) -> ClosedOptimum | None:
        """Return the cusp, on charger resonance."""
        return self._cusp if model.Delta_C is None else None

    def _cusp(self, model: StarBattery) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return gamma_C* = 4 omega_min and tau* = 1 / omega_min in logarithms, and the status."""
        slowest = rates.energy_rate(model, sectors.diagonalise(model), self.min_weight)
        status = jnp.where(slowest.resolved, Status.OK, Status.SPLITTINGS_LOST)
        return jnp.log(4.0) + slowest.log_omega, -slowest.log_omega, status
