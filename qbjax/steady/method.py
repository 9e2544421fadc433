"""What a method for steady states is: an object that can refuse a model, and else solves it."""

from typing import Any

import jax

from qbjax.common.checks import require
from qbjax.model.star_battery import StarBattery
from qbjax.steady.result import Solution


class Method:
    """A method; there is one object of each, told apart by identity.

    Attributes
    ----------
    name
        What `steady_state(method=...)` calls it.
    needs_tolerance
        Whether it flags what exceeds the tolerance.
    side_by_side
        Whether the models of a batch are solved in one program, and not one after the other.
    """

    name: str
    needs_tolerance = False
    side_by_side = False

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

    def solve(self, model: StarBattery, start: Any, tolerance: jax.Array) -> Solution:
        """Return the steady state of one model that a start leads to."""
        raise NotImplementedError
