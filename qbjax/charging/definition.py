r"""What a definition of the charging time is, and the charging curve that it is applied to.

The curve y(t) = 1 - E_B(t)/E_B(inf) from the empty battery is known by its modes where the exact
solution applies, and by samples elsewhere; a definition takes it from either.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.common.checks import Status, as_number, number_where, require_known
from qbjax.common.types import Condition
from qbjax.exact import rates, sectors
from qbjax.exact.applies import is_exact
from qbjax.exact.curves import Curve, charging_curve
from qbjax.exact.sectors import Sectors
from qbjax.model.star_battery import StarBattery

# ln tau, its status, and what the definition gives besides.
Measured = tuple[jax.Array, jax.Array, dict[str, jax.Array]]
# ln tau on each rung of a ladder, what a descent starts warm from there, and where a branch ended.
Climb = tuple[jax.Array, PyTree, jax.Array]
# ln gamma_C* and ln tau* of one model, and the status.
ClosedOptimum = Callable[[StarBattery], tuple[jax.Array, jax.Array, jax.Array]]


class Definition(eqx.Module):
    """How long charging takes, by one definition; its fields are its options.

    Attributes
    ----------
    name
        What the argument `definition` calls it.
    is_smooth
        Whether the minimum over gamma_C is a smooth one.
    needs_all_modes
        Whether it is wrong where modes of some weight are left out or lost in rounding.
    """

    name: ClassVar[str]
    is_smooth: ClassVar[bool] = False
    needs_all_modes: ClassVar[bool] = False

    def require(self, model: StarBattery) -> None:
        """Raise `ArgumentError` where it has no formula for the curve of a model."""

    def out_of_range(self) -> Condition:
        """Tell whether an option that JAX is tracing is what the constructor refuses."""
        return False

    def informed(self, model: StarBattery) -> "Definition":
        """Return the definition that knows what the numbers of a model, or of a batch, tell."""
        return self

    def modes(self, model: StarBattery) -> "Problem":
        """Return the curve of one model by its modes."""
        return modes(self, model)

    @abstractmethod
    def by_modes(self, curve: "Modes", log_gamma: jax.Array) -> Measured:
        """Return the charging time from the modes of the curve, at a dephasing rate."""

    def closed_optimum(self, model: StarBattery) -> ClosedOptimum | None:
        """Return the best dephasing rate in closed form; None where there is none.

        A function of one model; whether there is one hangs on structure alone.
        """
        return None

    def lowest_rung(self, curve: "Problem", lowest: jax.Array) -> jax.Array:
        """Return where a scan begins, in ln gamma_C, for optima above the lowest one."""
        return lowest

    def climb(self, curve: "Problem", ladder: jax.Array) -> Climb:
        """Return the charging times on a ladder of ln gamma_C, NaN where there is none."""

        def rung(log_gamma: jax.Array) -> tuple[jax.Array, PyTree]:
            log_tau, status, _ = curve.measure(log_gamma)
            return jnp.where(status == Status.OK, log_tau, jnp.nan), None

        return *jax.lax.map(rung, ladder), jnp.zeros(ladder.size, dtype=bool)

    def valley(self, log_taus: jax.Array, allowed: jax.Array) -> jax.Array:
        """Return the rung to descend from, of those that are allowed."""
        return jnp.argmin(jnp.where(allowed, log_taus, jnp.inf))

    def near(
        self, curve: "Problem", log_gamma: jax.Array, warm: PyTree
    ) -> tuple[jax.Array, PyTree]:
        """Return ln tau beside another dephasing rate, and what the next one starts warm from."""
        return curve.measure(log_gamma)[0], None


class OfSamples(Definition):
    """A definition that can do with samples of the curve."""

    @abstractmethod
    def by_samples(self, model: StarBattery) -> Measured:
        """Return the charging time of a model from samples of its curve."""


def positive(value: ArrayLike, name: str, requirement: str) -> jax.Array:
    """Return an option that must be positive; its twin is `Definition.out_of_range`."""
    option = as_number(value, name)
    require_known(option > 0, name, requirement, value)
    return jnp.asarray(option)


def share(value: ArrayLike, name: str) -> jax.Array:
    """Return an option between 0 and 1; its twin is `Definition.out_of_range`."""
    option = as_number(value, name)
    require_known((option > 0) & (option < 1), name, "between 0 and 1", value)
    return jnp.asarray(option)


def is_no_share(option: jax.Array) -> jax.Array:
    """Tell what `share` refuses where it can see it."""
    return ~((option > 0) & (option < 1))


class Problem(eqx.Module):
    """A definition and the charging curve of one model, at any dephasing rate.

    Attributes
    ----------
    definition, model
        The definition, and the model, whose own gamma_C plays no role.
    rungs
        How many dephasing rates a scan looks at.
    scan_from
        Where a scan begins, over the heaviest frequency, if not higher.
    """

    definition: Definition
    model: StarBattery
    rungs: ClassVar[int]
    scan_from: ClassVar[float]

    def at(self, log_gamma: jax.Array) -> StarBattery:
        """Return the model at a dephasing rate."""
        return eqx.tree_at(lambda m: m.gamma_C, self.model, jnp.exp(log_gamma))

    @abstractmethod
    def measure(self, log_gamma: jax.Array) -> Measured:
        """Return ln tau at a dephasing rate, its status and the evidence."""

    @abstractmethod
    def mistrust(self, log_gamma: jax.Array, status: jax.Array) -> jax.Array:
        """Return the status with the reasons against the curve itself."""

    @abstractmethod
    def charges(self) -> jax.Array:
        """Return the status that says whether there is drive and coupling to charge by."""

    @abstractmethod
    def frequencies(self) -> jax.Array:
        """Return the frequencies of the slowest and of the heaviest weighty mode."""

    def trusted(self, log_gamma: jax.Array) -> Measured:
        """Return what `measure` does; else the status says why not, and the time is NaN.

        A time that is `AMBIGUOUS` stands.
        """
        log_tau, status, evidence = self.measure(log_gamma)
        status = self.mistrust(log_gamma, status)
        known = (status == Status.OK) | (status == Status.AMBIGUOUS)
        return number_where(known, log_tau), status, evidence


class Modes(Problem):
    """The curve by its modes, with all that does not depend on gamma_C.

    Attributes
    ----------
    spectrum, curve
        The sectors of the exact solution, and the curve that they make.
    """

    spectrum: Sectors
    curve: Curve
    rungs: ClassVar[int] = 200
    scan_from: ClassVar[float] = 0.0

    def measure(self, log_gamma: jax.Array) -> Measured:
        """Return ln tau at a dephasing rate, its status and the evidence."""
        return self.definition.by_modes(self, log_gamma)

    def mistrust(self, log_gamma: jax.Array, status: jax.Array) -> jax.Array:
        """Return the status with what was left out of the modes."""
        if self.definition.needs_all_modes:
            status = jnp.where(self.curve.left_out > 1e-4, Status.TRUNCATED, status)
        return status

    def charges(self) -> jax.Array:
        """Return the status that says whether there is drive and coupling to charge by."""
        return rates.charges(self.model)

    def frequencies(self) -> jax.Array:
        """Return the frequencies of the slowest and of the heaviest weighty mode."""
        return _frequencies(self.model, self.spectrum)

    def slowest(self, log_gamma: jax.Array, min_weight: ArrayLike = 1e-3) -> rates.SlowestRate:
        """Return the slowest rate of the modes above a share of the largest weight."""
        return rates.energy_rate(self.at(log_gamma), self.spectrum, min_weight)


class Samples(Problem):
    """The curve by its samples; where a scan begins goes by the modes of the model without more."""

    definition: OfSamples
    rungs: ClassVar[int] = 48
    scan_from: ClassVar[float] = 1e-3

    def measure(self, log_gamma: jax.Array) -> Measured:
        """Return ln tau at a dephasing rate, its status and the evidence."""
        return self.definition.by_samples(self.at(log_gamma))

    def mistrust(self, log_gamma: jax.Array, status: jax.Array) -> jax.Array:
        """Return the status: samples tell of themselves."""
        return status

    def charges(self) -> jax.Array:
        """Return `OK`: the steady state tells."""
        return jnp.asarray(Status.OK)

    def frequencies(self) -> jax.Array:
        """Return the frequencies of the slowest and of the heaviest weighty mode."""
        return _frequencies(self.model, sectors.diagonalise(self.model))


def modes(definition: Definition, model: StarBattery) -> Modes:
    """Return a definition with the modes of the curve of one model."""
    spectrum = sectors.diagonalise(model)
    return Modes(definition, model, spectrum, charging_curve(model, spectrum))


def problem(definition: Definition, model: StarBattery) -> Problem:
    """Return a definition with the charging curve of one model."""
    if not is_exact(model):
        # Others were refused at the door.
        assert isinstance(definition, OfSamples)
        return Samples(definition, model)
    return definition.modes(model)


def _frequencies(model: StarBattery, spectrum: Sectors) -> jax.Array:
    weights = jnp.abs(rates.energy_weights(model, spectrum))
    _, plus = sectors.frequencies(spectrum)
    slowest = rates.energy_rate(model, spectrum, 1e-3).log_omega
    heaviest = jnp.abs(plus).ravel()[jnp.argmax(weights)]
    # The one that carries the recursion's digits where eigh has none left.
    return jnp.stack([jnp.exp(slowest), jnp.maximum(heaviest, jnp.exp(slowest))])
