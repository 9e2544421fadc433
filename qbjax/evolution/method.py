"""What a method of evolution is, and what it is told."""

from abc import abstractmethod

import equinox as eqx
import jax
from jaxtyping import PyTree

from qbjax.evolution.observe import Observe
from qbjax.evolution.result import Trajectory
from qbjax.model import method
from qbjax.model.star_battery import StarBattery


class Method(method.Method):
    """A method of evolution.

    Attributes
    ----------
    is_adaptive
        Whether it adapts its steps, and takes `max_step`.
    most_numbers
        The most real numbers that a state may have; None where there is no limit.
    """

    is_adaptive = False
    most_numbers: int | None = None

    @abstractmethod
    def solve(
        self, model: StarBattery, ts: jax.Array, start: PyTree, options: "Options"
    ) -> Trajectory:
        """Return the trajectory of one model."""


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
