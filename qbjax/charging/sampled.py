r"""Charging times of any model that is constant in time, from samples of its charging curve.

Where no closed form of y(t) = 1 - E_B(t)/E_B(inf) is at hand, `qbjax.evolve` gives it with its
slope at 2049 times and `qbjax.steady_state` gives E_B(inf). A curve may turn fast at first and
creep at last, so that the times grow ever faster: t(s) = T (e^{6 s} - 1) / (e^6 - 1) for equal
steps of s in [0, 1]. The window T follows from the relaxation time, an estimate, and is made longer
or shorter until the curve is quiet in the later half of it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.charging.definition import Measured
from qbjax.common.checks import Status
from qbjax.common.first_order import first_order
from qbjax.common.types import Array
from qbjax.evolution.evolve import evolve
from qbjax.model.star_battery import StarBattery
from qbjax.steady.steady_state import steady_state

# Intervals of s, and the exponent 6 of the above.
_INTERVALS, _GROWTH = 2048, 6.0
# The first window, over the time in which the slowest decay falls silent; the most that are tried.
_FIRST, _WINDOWS = 2.2, 6
# What counts as quiet for the integral. At the end of the window y is about the square of it.
_QUIET = 1e-4
# Points of the interpolated curve in each interval.
_FINER = 8


class _Samples(eqx.Module):
    """The deficit and its slope on a window.

    Attributes
    ----------
    ts, deficit, slope
        Times, y and dy/dt, shape (2049,).
    fits
        Whether the window suits the curve, and the trajectory can be trusted, shape ().
    """

    ts: jax.Array
    deficit: jax.Array
    slope: jax.Array
    fits: jax.Array


# What an interpolated function has at the two ends of intervals.
Ends = tuple[jax.Array, jax.Array]


def settling(model: StarBattery, band: jax.Array) -> Measured:
    """Return ln of the last time with |y| > band; the derivative is of the implicit function."""
    steady = steady_state(model, throw=False)
    samples = _search(model, steady.energy, steady.relaxation_time, band)
    ts, fine = _interpolated(samples)
    last = jnp.max(jnp.where(jnp.abs(fine) > band, jnp.arange(fine.size), 0))
    near = ts[last] + _part(fine, last, band) * (ts[last + 1] - ts[last])
    deficit, slope, trusted = _curve(model, steady.energy, near[None])
    side = jnp.sign(jax.lax.stop_gradient(deficit[0]))
    step = (side * deficit[0] - band) / jax.lax.stop_gradient(side * slope[0])
    time = first_order(near - step)
    # Where every second sample predicts those between, all of them leave nothing out.
    missed = jnp.where(samples.ts[1::2] > near / 2, jnp.abs(_unforeseen(samples)), 0.0)
    is_resolved = samples.fits & trusted[0] & (jnp.max(missed) < band / 2) & (time > 0)
    # The last step is one of Newton's from an interpolated curve that is nearly right.
    return _result(steady.status, is_resolved & (jnp.abs(step) < 1e-2 * near), time)


def integral(model: StarBattery) -> Measured:
    """Return ln int_0^inf y^2 dt by the trapezoidal rule in s, with its end corrections."""
    steady = steady_state(model, throw=False)
    samples = _search(model, steady.energy, steady.relaxation_time, jnp.asarray(_QUIET))
    deficit, slope, trusted = _curve(model, steady.energy, samples.ts)
    # y^2 dt/ds, with dt/ds = rate, and its derivative with respect to s.
    rate = _GROWTH * (samples.ts + samples.ts[-1] / jnp.expm1(_GROWTH))
    values = deficit**2 * rate
    slopes = deficit * (2 * slope * rate + _GROWTH * deficit) * rate
    fine, coarse = (_trapezia(values[::k], slopes[::k]) for k in (1, 2))
    resolved = jnp.abs(fine - coarse) < 1e-3 * fine
    return _result(steady.status, samples.fits & jnp.all(trusted) & resolved, fine)


def _result(steady: jax.Array, is_resolved: jax.Array, tau: jax.Array) -> Measured:
    """Return ln tau, NaN where it was not found, and the status; there is no further evidence."""
    status = jnp.where(is_resolved, Status.OK, Status.NOT_CONVERGED)
    log_tau = jnp.where(is_resolved, jnp.log(jnp.where(is_resolved, tau, 1.0)), jnp.nan)
    return log_tau, jnp.where(steady == Status.OK, status, steady), {}


def _curve(
    model: StarBattery, limit: jax.Array, ts: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return y, dy/dt and whether they can be trusted at the times."""
    trajectory = evolve(model, ts, save=("energy", "power"))
    energy, power = jnp.asarray(trajectory.energy), jnp.asarray(trajectory.power)
    return 1 - energy / limit, -power / limit, trajectory.status == Status.OK


def _search(
    model: StarBattery, limit: jax.Array, relaxation: jax.Array, quiet: jax.Array
) -> _Samples:
    """Return samples on a window of which the curve is outside the quiet band in the first half.

    A constant of differentiation.
    """
    model, limit, relaxation = jax.lax.stop_gradient((model, limit, relaxation))
    unit = jnp.expm1(_GROWTH * jnp.linspace(0.0, 1.0, _INTERVALS + 1)) / jnp.expm1(_GROWTH)

    def step(state: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        count, end, _ = state
        deficit, slope, trusted = _curve(model, limit, end * unit)
        # Written so that NaN counts as loud.
        loud = jnp.max(jnp.where(jnp.abs(deficit) <= quiet, 0.0, unit))
        fits = (loud <= 1 / 2) & (loud >= 1 / 64) & jnp.all(trusted)
        scale = jnp.where(loud > 1 / 2, 3.0, jnp.maximum(4 * loud, 1e-3))
        samples = _Samples(end * unit, deficit, slope, fits)
        return count + 1, jnp.where(fits, end, scale * end), samples

    def goes_on(state: tuple[PyTree, ...]) -> jax.Array:
        return (state[0] < _WINDOWS) & ~state[2].fits

    known = jnp.isfinite(relaxation) & (relaxation > 0)
    end = -_FIRST * jnp.log(quiet) * jnp.where(known, relaxation, 1.0)
    none = _Samples(unit, jnp.ones_like(unit), jnp.zeros_like(unit), jnp.asarray(False))
    return jax.lax.while_loop(goes_on, step, (jnp.asarray(0), end, none))[2]


def _interpolated(samples: _Samples) -> tuple[jax.Array, jax.Array]:
    """Return times and deficit of the cubics through the samples with their slopes."""
    part = jnp.arange(_FINER) / _FINER
    ends = [(x[:-1, None], x[1:, None]) for x in (samples.ts, samples.deficit, samples.slope)]
    ts = ends[0][0] + part * (ends[0][1] - ends[0][0])
    fine = _cubic(part, *ends)
    return jnp.append(ts.ravel(), samples.ts[-1]), jnp.append(fine.ravel(), samples.deficit[-1])


def _cubic(part: Array, ts: Ends, values: Ends, slopes: Ends) -> Array:
    """Return the cubic at a part of an interval, from what it has at the two ends."""
    rest, length = 1 - part, ts[1] - ts[0]
    straight = rest**2 * (1 + 2 * part) * values[0] + part**2 * (1 + 2 * rest) * values[1]
    return straight + length * part * rest * (rest * slopes[0] - part * slopes[1])


def _unforeseen(samples: _Samples) -> jax.Array:
    """Return how far every odd sample is from the cubic through the even ones."""
    ends = [(x[:-2:2], x[2::2]) for x in (samples.ts, samples.deficit, samples.slope)]
    before, after = ends[0]
    part = (samples.ts[1::2] - before) / (after - before)
    return samples.deficit[1::2] - _cubic(part, *ends)


def _part(fine: jax.Array, last: jax.Array, band: jax.Array) -> jax.Array:
    """Return where, as a part of the interval after the last point outside, the band is entered."""
    before, after = jnp.abs(fine[last]), jnp.abs(fine[last + 1])
    return (before - band) / (before - after)


def _trapezia(values: jax.Array, slopes: jax.Array) -> jax.Array:
    """Return the integral over [0, 1] to fourth order; in the middle the error is still smaller."""
    h = 1 / (values.size - 1)
    inner = jnp.sum(values) - (values[0] + values[-1]) / 2
    return h * inner + h**2 / 12 * (slopes[0] - slopes[-1])
