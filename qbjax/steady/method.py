"""What a method for steady states is."""

from abc import abstractmethod

import jax
from jaxtyping import PyTree

from qbjax.model import method
from qbjax.model.star_battery import StarBattery
from qbjax.steady.result import Solution


class Method(method.Method):
    """A method for steady states.

    Attributes
    ----------
    needs_tolerance
        Whether it flags what exceeds the tolerance.
    gives_state
        Whether it gives the state, and not figures of merit alone.
    """

    needs_tolerance = False
    gives_state = True

    def informed(self, model: StarBattery) -> "Method":
        """Return the method that knows what the numbers of a model, or of a batch, tell."""
        return self

    def from_empty(self, model: StarBattery, state: bool) -> "Method":
        """Return the method for an empty start that gives the state, or figures of merit alone."""
        return self

    @abstractmethod
    def solve(self, model: StarBattery, start: PyTree, tolerance: jax.Array) -> Solution:
        """Return the steady state of one model that a start leads to."""
