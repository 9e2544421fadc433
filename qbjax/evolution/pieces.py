"""The intervals in which an equation of piecewise constant parameters is constant."""

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.model.pulses import PiecewiseConstant, pulses_of
from qbjax.model.star_battery import StarBattery


def changes_in_steps(model: StarBattery) -> bool:
    """Tell whether the equation of motion depends on time, and is constant between its jumps."""
    steps = [isinstance(pulse, PiecewiseConstant) for pulse in pulses_of(model)]
    return model.frame != "lab" and bool(steps) and all(steps)


class Intervals(eqx.Module):
    """The intervals from 0 to the last of some times, divided at these and where pulses jump.

    Attributes
    ----------
    ends
        Shape (M,), ascending; the first interval begins at 0, and some may be empty.
    asked
        The intervals at whose ends the times are, shape (T,).
    """

    ends: jax.Array
    asked: jax.Array

    def __init__(self, model: StarBattery, ts: jax.Array):
        """Divide at the times, and at the jumps if there are any."""
        pulses = [each for each in pulses_of(model) if isinstance(each, PiecewiseConstant)]
        jumps = [jnp.clip(pulse.times, 0.0, ts[-1]) for pulse in pulses]
        both = jnp.concatenate([ts, *jumps])
        order = jnp.argsort(both, stable=True)
        self.ends = both[order]
        self.asked = jnp.argsort(order, stable=True)[: len(ts)]

    @property
    def begins(self) -> jax.Array:
        """Shape (M,)."""
        return jnp.pad(self.ends[:-1], (1, 0))


def inside(begin: jax.Array, end: jax.Array) -> jax.Array:
    """Return a time within an interval, at which its generator is looked at."""
    return jax.lax.stop_gradient((begin + end) / 2)
