"""The charging time as the inverse of a decay rate."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.charging.definition import (
    ClosedOptimum,
    Definition,
    Measured,
    Modes,
    Problem,
    is_no_share,
    modes,
    share,
)
from qbjax.common.checks import Status
from qbjax.common.types import Condition
from qbjax.exact import ends, rates
from qbjax.exact.ends import Size
from qbjax.exact.rates import SlowestRate
from qbjax.model.star_battery import StarBattery

# With more levels, the slowest mode is told by the ends of the ladder.
_MANY = 2000


class DecayRate(Definition):
    """1 / (slowest rate among the modes of E_B(t) above `min_weight` of the largest)."""

    min_weight: jax.Array
    size: Size | None = eqx.field(static=True)
    name: ClassVar[str] = "decay_rate"

    def __init__(self, min_weight: ArrayLike = 1e-3, size: Size | None = None):
        """Check the option, and take the size of the ends of the ladder that it goes by."""
        self.min_weight = share(min_weight, "min_weight")
        self.size = size

    def informed(self, model: StarBattery) -> Definition:
        """Return the definition that goes by the ends of the ladder, where levels are many."""
        is_large = model.levels > _MANY and model.Delta_C is None
        return DecayRate(self.min_weight, ends.size_for(model)) if is_large else self

    def out_of_range(self) -> Condition:
        """Tell whether the option is what the constructor refuses where it can see it."""
        return is_no_share(self.min_weight)

    def modes(self, model: StarBattery) -> "Modes | AtEnds":
        """Return the curve of one model by its modes, or what is known of it from the ends."""
        return modes(self, model) if self.size is None else AtEnds(self, model, self.size)

    def by_modes(self, curve: "Modes | AtEnds", log_gamma: jax.Array) -> Measured:
        """Return the charging time, and the frequency of the slowest mode."""
        slowest = curve.slowest(log_gamma, self.min_weight)
        omega = jnp.exp(slowest.log_omega)
        return -slowest.log_rate, _status(slowest.log_omega), {"omega": omega}

    def closed_optimum(self, model: StarBattery) -> ClosedOptimum | None:
        """Return the cusp, on charger resonance."""
        return self._cusp if model.Delta_C is None else None

    def _cusp(self, model: StarBattery) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return gamma_C* = 4 omega_min and tau* = 1 / omega_min in logarithms, and the status."""
        log_omega = self.modes(model).slowest(jnp.zeros(()), self.min_weight).log_omega
        return jnp.log(4.0) + log_omega, -log_omega, _status(log_omega)


def _status(log_omega: jax.Array) -> jax.Array:
    """Return the status of the slowest frequency, NaN where the ends do not tell it."""
    return jnp.where(jnp.isnan(log_omega), Status.NOT_CONVERGED, Status.OK)


class AtEnds(Problem):
    """The slowest mode of one model with many qubits, and nothing else of its curve.

    Attributes
    ----------
    size
        Of the ends of the ladder.
    """

    definition: DecayRate
    size: Size = eqx.field(static=True)
    rungs: ClassVar[int] = 200
    scan_from: ClassVar[float] = 0.0

    def measure(self, log_gamma: jax.Array) -> Measured:
        """Return ln tau at a dephasing rate, its status and the evidence."""
        return self.definition.by_modes(self, log_gamma)

    def mistrust(self, log_gamma: jax.Array, status: jax.Array) -> jax.Array:
        """Return the status: nothing was left out."""
        return status

    def charges(self) -> jax.Array:
        """Return the status that says whether there is drive and coupling to charge by."""
        return rates.charges(self.model)

    def frequencies(self) -> jax.Array:
        """Return the frequency of the slowest mode, twice: the optimum has a closed form."""
        log_omega = self.slowest(jnp.zeros(()), jnp.asarray(1e-3)).log_omega
        return jnp.exp(jnp.stack([log_omega, log_omega]))

    def slowest(self, log_gamma: jax.Array, min_weight: ArrayLike = 1e-3) -> SlowestRate:
        """Return the slowest rate of the modes above a share of the largest weight."""
        log_omega = ends.log_slowest_splitting(self.model, self.size, jnp.asarray(min_weight))
        return SlowestRate(rates.log_rate(self.at(log_gamma), log_omega), log_omega)
