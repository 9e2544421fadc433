"""Charging times of any model that is constant in time, from samples of its charging curve.

Where no closed form of y(t) = 1 - E_B(t)/E_B(inf) is at hand, `qbjax.evolve` gives it with its
slope at 1025 times and `qbjax.steady_state` gives E_B(inf). The window is ten relaxation times, an
estimate, and is made longer or shorter until the curve is quiet in the later half of it.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.checks import Status
from qbjax.evolve import evolve
from qbjax.models import StarBattery
from qbjax.steady import steady_state

_INTERVALS = 1024
# Relaxation times in the first window, and the most windows that are tried.
_FIRST, _WINDOWS = 10.0, 6
# What counts as quiet for the integral: its square, over the rest of time, is left out.
_QUIET = 1e-5
# Points of the interpolated curve in each interval.
_FINER = 8


class Sampled(eqx.Module):
    """One model whose charging curve is sampled, with the option of the definition."""

    model: StarBattery
    option: Any

    def at(self, log_gamma: jax.Array) -> StarBattery:
        """Return the model at another dephasing rate."""
        return eqx.tree_at(lambda m: m.gamma_C, self.model, jnp.exp(log_gamma))


class _Samples(eqx.Module):
    """The deficit and its slope on a uniform window.

    Attributes
    ----------
    ts, deficit, slope
        Times, y and dy/dt, shape (1025,).
    trusted
        Whether the trajectory and the steady state can be trusted and the window fits, shape ().
    """

    ts: jax.Array
    deficit: jax.Array
    slope: jax.Array
    trusted: jax.Array

    @property
    def spacing(self) -> jax.Array:
        """The time between two samples."""
        return self.ts[1]


_Measured = tuple[jax.Array, jax.Array, dict[str, jax.Array]]


def _measure_settling(problem: Sampled, log_gamma: jax.Array) -> _Measured:
    """Return ln of the last time with |y| > band: the derivative is of the implicit function."""
    model, band = problem.at(log_gamma), problem.option
    steady = steady_state(model, throw=False)
    samples = _search(model, steady.energy, steady.relaxation_time, band)
    ts, fine = _interpolated(samples)
    last = jnp.max(jnp.where(jnp.abs(fine) > band, jnp.arange(fine.size), 0))
    near = ts[last] + _part(fine, last, band) * ts[1]
    deficit, slope, trusted = _curve(model, steady.energy, near[None])
    side = jnp.sign(jax.lax.stop_gradient(deficit[0]))
    step = (side * deficit[0] - band) / jax.lax.stop_gradient(side * slope[0])
    time = near - step
    # Where every second sample predicts those between, all of them leave nothing out.
    later = samples.ts[1::2] > near / 2
    missed = jnp.max(jnp.where(later, jnp.abs(_between(samples)), 0.0))
    found = (
        samples.trusted & jnp.all(trusted) & (missed < band / 2) & (jnp.abs(step) < samples.spacing)
    )
    found = found & (steady.status == Status.OK) & (time > 0)
    log_tau = jnp.where(found, jnp.log(jnp.where(found, time, 1.0)), jnp.nan)
    return log_tau, _status(steady.status, found), {}


def _measure_integral(problem: Sampled, log_gamma: jax.Array) -> _Measured:
    """Return ln int_0^inf y^2 dt by the trapezoidal rule.

    Its error is of high order here: an empty battery starts with a vanishing slope, and at the end
    of the window the curve is quiet.
    """
    model = problem.at(log_gamma)
    steady = steady_state(model, throw=False)
    samples = _search(model, steady.energy, steady.relaxation_time, jnp.asarray(_QUIET))
    deficit, _, trusted = _curve(model, steady.energy, samples.ts)
    integral, coarse = (_trapezia(deficit[::k] ** 2) * k * samples.spacing for k in (1, 2))
    resolved = jnp.abs(integral - coarse) < 1e-4 * integral
    found = samples.trusted & jnp.all(trusted) & resolved & (steady.status == Status.OK)
    log_tau = jnp.where(found, jnp.log(jnp.where(found, integral, 1.0)), jnp.nan)
    return log_tau, _status(steady.status, found), {}


MEASURES = {"settling": _measure_settling, "integral": _measure_integral}


def _status(steady: jax.Array, found: jax.Array) -> jax.Array:
    measured = jnp.where(found, Status.OK, Status.NOT_CONVERGED)
    return jnp.where(steady == Status.OK, measured, steady)


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
    unit = jnp.linspace(0.0, 1.0, _INTERVALS + 1)

    def sample(end: jax.Array) -> tuple[_Samples, jax.Array]:
        deficit, slope, trusted = _curve(model, limit, end * unit)
        # Written so that NaN counts as loud.
        loud = jnp.max(jnp.where(jnp.abs(deficit) <= quiet, 0.0, unit))
        fits = (loud <= 1 / 2) & (loud >= 1 / 16) & jnp.all(trusted)
        return _Samples(end * unit, deficit, slope, fits), loud

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        count, end, _ = state
        samples, loud = sample(end)
        shorter = jnp.clip(4 * loud, 1 / _INTERVALS, 1.0)
        scale = jnp.where(loud > 1 / 2, 3.0, shorter)
        return count + 1, jnp.where(samples.trusted, end, scale * end), samples

    def goes_on(state: tuple[Any, ...]) -> jax.Array:
        return (state[0] < _WINDOWS) & ~state[2].trusted

    known = jnp.isfinite(relaxation) & (relaxation > 0)
    end = _FIRST * jnp.where(known, relaxation, 1.0)
    none = _Samples(unit, jnp.ones_like(unit), jnp.zeros_like(unit), jnp.asarray(False))
    return jax.lax.while_loop(goes_on, step, (jnp.asarray(0), end, none))[2]


def _interpolated(samples: _Samples) -> tuple[jax.Array, jax.Array]:
    """Return times and deficit of the cubic through the samples with their slopes, finer."""
    h, part = samples.spacing, jnp.arange(_FINER) / _FINER
    y, slope = samples.deficit, h * samples.slope
    values = _cubic(part, *(x[:-1, None] for x in (y, slope)), *(x[1:, None] for x in (y, slope)))
    fine = jnp.append(values.ravel(), y[-1])
    return h / _FINER * jnp.arange(fine.size), fine


def _cubic(part: Any, y0: Any, slope0: Any, y1: Any, slope1: Any) -> Any:
    """Return the cubic at a part of an interval, from values and slopes at its ends."""
    rest = 1 - part
    ends = rest**2 * (1 + 2 * part) * y0 + part**2 * (1 + 2 * rest) * y1
    return ends + part * rest * (rest * slope0 - part * slope1)


def _between(samples: _Samples) -> jax.Array:
    """Return how far every odd sample is from the cubic through the even ones."""
    y, slope = samples.deficit[::2], 2 * samples.spacing * samples.slope[::2]
    return samples.deficit[1::2] - _cubic(0.5, y[:-1], slope[:-1], y[1:], slope[1:])


def _part(fine: jax.Array, last: jax.Array, band: jax.Array) -> jax.Array:
    """Return where, as a part of the interval after the last point outside, the band is entered."""
    before, after = jnp.abs(fine[last]), jnp.abs(fine[last + 1])
    return (before - band) / (before - after)


def _trapezia(values: jax.Array) -> jax.Array:
    return jnp.sum(values) - (values[0] + values[-1]) / 2
