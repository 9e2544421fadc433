"""The adaptive methods of Runge-Kutta type; see `qbjax.evolution.integrate`."""

import jax

from qbjax.evolution.general import General, Run
from qbjax.evolution.method import Options
from qbjax.evolution.observe import Problem
from qbjax.evolution.propagator import LARGEST_DENSE
from qbjax.model.star_battery import StarBattery


class RungeKutta(General):
    """An adaptive method of Runge-Kutta type, by diffrax.

    Attributes
    ----------
    name, most_numbers
        As for every method.
    """

    is_adaptive = True

    def __init__(self, name: str, text: str, most_numbers: int | None):
        """Take the name, and what is said of it."""
        self.name, self.text, self.most_numbers = name, text, most_numbers

    def reason(self, model: StarBattery) -> str:
        """Say how it solves."""
        return self.text

    def run(self, problem: Problem, ts: jax.Array, start: jax.Array, options: Options) -> Run:
        """Integrate from the start to the last time."""
        # Imported when it is used: diffrax takes longer to import than all of qbjax.
        from qbjax.evolution.integrate import integrate

        return integrate(problem, ts, start, options, self.name)


# In the order in which "auto" asks them.
METHODS = (
    RungeKutta("dopri8", "adaptive steps of order 8", None),
    RungeKutta("tsit5", "adaptive steps of order 5", None),
    RungeKutta("kvaerno5", "adaptive implicit steps of order 5", LARGEST_DENSE),
)
