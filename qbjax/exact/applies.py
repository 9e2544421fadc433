"""Whether the exact solution is that of a model: asked here, and nowhere else."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp

from qbjax.common.checks import ArgumentError, is_concrete
from qbjax.model.chargers import qubit
from qbjax.model.parameters import LOSSES
from qbjax.model.star_battery import StarBattery


@dataclass(frozen=True)
class Obstacle:
    """What in a model's structure the exact solution cannot take.

    Attributes
    ----------
    parameter
        The argument of `StarBattery` that brings it, or "" for a dependence on time.
    text
        The same in words.
    """

    parameter: str
    text: str

    def __str__(self) -> str:
        """Say it."""
        return self.text


def obstacle(model: StarBattery) -> Obstacle | None:
    """Return the first thing that the exact solution cannot take; None where it applies.

    Only what is there counts, not its value, so the answer is the same for traced parameters.
    """
    charger = model.charger
    if charger != qubit():
        return Obstacle("charger", f"the charger is a {charger.name} of {charger.levels} levels")
    if model.battery is not None:
        return Obstacle("battery", "the battery is an oscillator")
    for name in LOSSES:
        if getattr(model, name) is not None:
            return Obstacle(name, f"`{name}` is given")
    for name in ("hamiltonian", "jumps"):
        if getattr(model, name):
            return Obstacle(name, f"`{name}` has terms")
    if model.depends_on_time:
        return Obstacle("", "the equation of motion depends on time")
    return None if model.omega_d is None else Obstacle("omega_d", "`omega_d` is given")


def is_exact(model: StarBattery) -> bool:
    """Tell whether the exact solution is that of a model."""
    return obstacle(model) is None


def without_idle_drive(model: StarBattery) -> StarBattery:
    """Return the model without a drive frequency that can be seen to equal omega_B."""
    first = None if model.omega_d is None else obstacle(model)
    off = None if first is None or first.parameter != "omega_d" else model.Delta_B
    if off is None or not is_concrete(off) or jnp.any(off):
        return model
    return eqx.tree_at(lambda m: m.omega_d, model, None, is_leaf=lambda leaf: leaf is None)


def require_exact(model: StarBattery, what: str) -> None:
    """Raise `ArgumentError` where the exact solution does not apply."""
    first, off = obstacle(model), model.Delta_B
    if first is None:
        return
    text = first.text
    if first.parameter == "omega_d" and off is not None and is_concrete(off):
        text = f"omega_d is off omega_B by {-off}"
    raise ArgumentError(
        f"Argument `model` must be dephasing on battery resonance alone for {what}, but {text}."
    )
