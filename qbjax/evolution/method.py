"""What a method of evolution is: an object that can refuse a model, and else solves it."""

from typing import Any

import equinox as eqx
import jax

from qbjax.common.checks import require
from qbjax.evolution.observe import Observe
from qbjax.evolution.result import Trajectory
from qbjax.model.star_battery import StarBattery


class Method:
    """A method; there is one object of each, told apart by identity.

    Attributes
    ----------
    name
        What `evolve(method=...)` calls it.
    is_adaptive
        Whether it adapts its steps, and takes `max_step`.
    side_by_side
        Whether the models of a batch are solved in one program, and not one after the other.
    most_numbers
        The most real numbers that a state may have; None where there is no limit.
    """

    name: str
    is_adaptive = False
    side_by_side = False
    most_numbers: int | None = None

    def refuses(self, model: StarBattery) -> str | None:
        """Say why it cannot solve a model; None where it can. Only structure counts."""
        return None

    def defers(self, model: StarBattery) -> str | None:
        """Say why another method serves better; None where this one does."""
        return None

    def require(self, model: StarBattery) -> None:
        """Raise `ArgumentError` where it refuses the model."""
        reason = self.refuses(model)
        require(reason is None, "method", f"another one where {reason}", f'"{self.name}"')

    def reason(self, model: StarBattery) -> str:
        """Say how it solves a model."""
        raise NotImplementedError

    def start(self, model: StarBattery, rho0: Any) -> tuple[Any, Any]:
        """Return a start in the method's own form, and whether it was refused."""
        raise NotImplementedError

    def solve(
        self, model: StarBattery, ts: jax.Array, start: Any, options: "Options"
    ) -> Trajectory:
        """Return the trajectory of one model."""
        raise NotImplementedError


class Options(eqx.Module):
    """How to solve and what to return; see `qbjax.evolve`."""

    rtol: jax.Array
    atol: jax.Array
    tolerance: jax.Array
    max_step: jax.Array | None
    refused: jax.Array
    observe: Observe
    method: "Method" = eqx.field(static=True)
    why: str = eqx.field(static=True)
    gradient: str = eqx.field(static=True)
    progress: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
