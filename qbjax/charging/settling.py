"""The settling time: the last time at which E_B(t) is outside a band around its steady value."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.charging import sampled
from qbjax.charging.definition import Measured, Modes, OfSamples, is_no_share, share
from qbjax.common.checks import Status
from qbjax.common.first_order import first_order
from qbjax.common.types import Condition
from qbjax.exact.curves import Curve
from qbjax.model.star_battery import StarBattery

# Samples of one window, and of the fastest living oscillation's period. A peak that rises above
# the band between two samples by less than 0.5 % of that oscillation's amplitude can be missed.
_WINDOW = 128
_PER_PERIOD = 32
# ln of the latest time that is looked at: its square does not overflow.
_LATEST = 300.0
# Windows that are searched before giving up.
_MOST_WINDOWS = 20_000


class Settling(OfSamples):
    """The last time with |y(t)| > `band`."""

    band: jax.Array
    name: ClassVar[str] = "settling"
    needs_all_modes: ClassVar[bool] = True

    def __init__(self, band: ArrayLike = 0.01):
        """Check the option."""
        self.band = share(band, "band")

    def out_of_range(self) -> Condition:
        """Tell whether the option is what the constructor refuses where it can see it."""
        return is_no_share(self.band)

    def by_modes(self, curve: Modes, log_gamma: jax.Array) -> Measured:
        """Return the charging time; there is no further evidence."""
        log_tau, settles = log_settling_time(curve.curve, jnp.exp(log_gamma), self.band)
        return log_tau, jnp.where(settles, Status.OK, Status.NOT_CONVERGED), {}

    def by_samples(self, model: StarBattery) -> Measured:
        """Return the charging time from samples."""
        return sampled.settling(model, self.band)


def log_settling_time(
    curve: Curve, gamma: jax.Array, band: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return ln of the last time with |1 - E/E_inf| > band, and whether it was found.

    The modes' sizes never grow, so that past the time at which they add up to the band nothing can
    leave it. From there the search walks back in windows until it meets a sample outside. The
    derivative is that of the implicit function.
    """
    fixed_curve, fixed_gamma = jax.lax.stop_gradient((curve, gamma))
    latest = _last_possible(fixed_curve, fixed_gamma, band)
    step = _resolution(fixed_curve, fixed_gamma, band, latest)
    inside, settles = _walk_back(fixed_curve, fixed_gamma, band, latest, step)
    time = _bisect(fixed_curve, fixed_gamma, band, inside - step, inside)
    one = jnp.ones(1)
    value, slope = jax.jvp(lambda t: curve(gamma, t), (time * one,), (one,))
    side = jnp.sign(jax.lax.stop_gradient(value))
    outside = side * value - band
    # Newton's step vanishes at the crossing; only its derivative is left.
    refined = time - (outside / jax.lax.stop_gradient(side * slope))[0]
    refined = first_order(time + (refined - jax.lax.stop_gradient(refined)))
    # Still outside where the search begins: there is no answer within its limits.
    begun_inside = jnp.abs(fixed_curve(fixed_gamma, latest * one)[0]) <= band
    settles = settles & begun_inside & jnp.isfinite(refined) & (time > 0)
    return jnp.where(settles, jnp.log(jnp.where(settles, refined, 1.0)), jnp.nan), settles


def _last_possible(curve: Curve, gamma: jax.Array, band: jax.Array) -> jax.Array:
    """Bisect in ln t for the time from which on the sizes of all modes add up to the band."""

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = (low + high) / 2
        # Written so that NaN counts as above.
        above = ~(jnp.sum(curve.bound(gamma, jnp.exp(middle))) <= band)
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    limits = (jnp.asarray(-12.0), jnp.asarray(_LATEST))
    return jnp.exp(jax.lax.fori_loop(0, 50, halve, limits)[1])


def _resolution(curve: Curve, gamma: jax.Array, band: jax.Array, latest: jax.Array) -> jax.Array:
    """Return the time step that resolves what is alive when the search begins."""
    alive = curve.bound(gamma, latest) > 1e-6 * band
    oscillating = jnp.abs(curve.omega) > jnp.asarray(gamma) / 4
    fastest = jnp.max(jnp.where(alive & oscillating, jnp.abs(curve.omega), 0.0))
    return jnp.minimum(latest / _WINDOW, 2 * jnp.pi / _PER_PERIOD / jnp.maximum(fastest, 1e-300))


def _walk_back(
    curve: Curve, gamma: jax.Array, band: jax.Array, latest: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the first sample that stays inside the band, just after one outside."""
    offsets = step * jnp.arange(_WINDOW + 1.0)

    def window(state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        end, count, _ = state
        times = jnp.maximum(end - offsets, 0.0)
        outside = jnp.abs(curve(gamma, times)) > band
        has_left = jnp.any(outside)
        inside = times[jnp.maximum(jnp.argmax(outside) - 1, 0)]
        return jnp.where(has_left, inside, times[-1]), count + 1, has_left

    def searching(state: tuple[PyTree, ...]) -> jax.Array:
        return ~state[2] & (state[1] < _MOST_WINDOWS) & (state[0] > 0)

    start = (latest, jnp.asarray(0), jnp.asarray(False))
    end, _, has_left = jax.lax.while_loop(searching, window, start)
    return end, has_left


def _bisect(
    curve: Curve, gamma: jax.Array, band: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
    """Return the crossing between a time outside the band and a later one inside."""

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = (low + high) / 2
        outside = jnp.abs(curve(gamma, middle[None]))[0] > band
        return jnp.where(outside, middle, low), jnp.where(outside, high, middle)

    low, high = jax.lax.fori_loop(0, 60, halve, (jnp.maximum(low, 0.0), high))
    return (low + high) / 2
