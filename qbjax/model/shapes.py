"""Shapes of pulses to optimise, and what they cost.

A shape is a `qbjax.PiecewiseConstant` or a `qbjax.Pulse`: `qbjax.optimize` takes it as it is.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from qbjax.common.checks import (
    as_number,
    as_real,
    as_seed,
    is_concrete,
    number_where,
    require,
    require_known,
)
from qbjax.common.types import ArrayLike, Scalar
from qbjax.model.pulses import PiecewiseConstant, Pulse, is_pulse

# Parts between stops, and the nodes and weights of Gauss' rule in each.
_PARTS = 64
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def piecewise_constant(end: ArrayLike, values: ArrayLike) -> PiecewiseConstant:
    """Return a pulse of K pieces of equal length between 0 and an end.

    Where few levels alternate ("bang-bang"), the times are what is optimised: `qbjax.optimize`
    takes them as "F.times".

    Parameters
    ----------
    end
        The last time, positive, shape ().
    values
        The values of the pieces, shape (K,).

    Raises
    ------
    ArgumentError
        Where the end is not positive, or the values are no row.

    Examples
    --------
    The drive of at most g that fills one qubit soonest is on and off; the best time to switch:

    >>> import qbjax as qb
    >>> drive = qb.shapes.piecewise_constant(2.5250071, [1.0, 0.0])
    >>> def stored(model):
    ...     return qb.evolve(model, [2.5250071], save=("energy",)).energy[0]
    >>> model = qb.StarBattery(N=1, F=drive, gamma_C=0.0)
    >>> best = qb.optimize(model, stored, {"F.times": (0.0, 2.5250071)})
    >>> print(f"{best.value:.6f} with the switch at {best.parameters['F.times'][0]:.4f}")
    1.000000 with the switch at 1.9084
    """
    last, row = _checked_end(end), _checked_row(values, "values", 1)
    return PiecewiseConstant(last * jnp.arange(1, row.size) / row.size, row)


def cubic_spline(end: ArrayLike, values: ArrayLike) -> Pulse:
    """Return the natural cubic spline through values at equal distances between 0 and an end.

    Before 0 and after the end it keeps the first and the last value.

    Parameters
    ----------
    end
        The last time, positive, shape ().
    values
        The values at the times end * k / (K - 1), k = 0 ... K - 1, shape (K,), K > 1. These are
        optimised.

    Raises
    ------
    ArgumentError
        Where the end is not positive, or the values are no row of at least two.

    Examples
    --------
    >>> import qbjax as qb
    >>> drive = qb.shapes.cubic_spline(4.0, [0.0, 1.0, 0.0])
    >>> print(drive(1.0), drive(2.0), drive(9.0))
    0.6875 1.0 0.0
    """
    row = _checked_row(values, "values", 2)
    return Pulse(_Spline(_fixed_end(end), row.size), row)


def fourier(end: ArrayLike, cosines: ArrayLike, sines: ArrayLike, crab: int | None = None) -> Pulse:
    """Return a sum of waves, sum_k a_k cos(w_k t) + b_k sin(w_k t) with w_k = 2 pi k / end.

    Parameters
    ----------
    end
        The last time, positive, shape ().
    cosines, sines
        The a_k, k = 0 ... K, and the b_k, k = 1 ... K, shapes (K + 1,) and (K,). These are
        optimised.
    crab
        A seed: every w_k is drawn between those of k - 1/2 and k + 1/2, as the "chopped random
        basis" of Caneva, Calarco and Montangero, Phys. Rev. A 84, 022326 (2011) has it.

    Raises
    ------
    ArgumentError
        Where the end is not positive, or there is not one cosine more than sines.

    Examples
    --------
    >>> import qbjax as qb
    >>> drive = qb.shapes.fourier(4.0, [0.5, 0.2], [0.1])
    >>> print(drive(0.0), drive(1.0).round(4))
    0.7 0.6
    """
    last = _fixed_end(end)
    cosines, sines = _checked_row(cosines, "cosines", 1), _checked_row(sines, "sines", 0)
    fits = cosines.size == sines.size + 1
    require(fits, "cosines", f"{sines.size + 1} numbers, one more than sines", cosines.size)
    orders = np.arange(1.0, sines.size + 1)
    if crab is not None:
        orders = orders + np.random.default_rng(as_seed(crab, "crab")).uniform(
            -0.5, 0.5, sines.size
        )
    return Pulse(_Waves(tuple(2 * np.pi * orders / last)), cosines, sines)


def fluence(pulse: Pulse | PiecewiseConstant, end: ArrayLike) -> jax.Array:
    """Return the integral of the square of a pulse from 0 to an end.

    A pulse is looked at in 64 parts between its stops: what is sharper than these needs stops.

    Parameters
    ----------
    pulse
        What depends on time.
    end
        The last time, positive, shape ().

    Raises
    ------
    ArgumentError
        Where the pulse is none, or the end is not positive.

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.shapes.fluence(qb.shapes.piecewise_constant(4.0, [0.5, 1.0]), 4.0).round(12))
    2.5
    """
    require(is_pulse(pulse), "pulse", "a Pulse or a PiecewiseConstant", type(pulse).__name__)
    last = _checked_end(end)
    stops = jnp.zeros(0) if pulse.stops is None else jnp.sort(pulse.stops)
    edges = jnp.concatenate([jnp.zeros(1), jnp.clip(stops, 0.0, last), last[None]])
    parts = jnp.linspace(edges[:-1], edges[1:], _PARTS + 1)
    # The nodes are inside, so that a jump at an edge is none.
    middles, halves = (parts[1:] + parts[:-1]) / 2, (parts[1:] - parts[:-1]) / 2
    times = middles[..., None] + halves[..., None] * _NODES
    squares = jax.vmap(pulse)(times.ravel()).reshape(times.shape) ** 2
    return jnp.sum(halves * (squares @ _WEIGHTS))


def roughness(pulse: PiecewiseConstant) -> jax.Array:
    """Return the sum of the squares of the jumps of a pulse.

    Parameters
    ----------
    pulse
        A pulse of pieces.

    Raises
    ------
    ArgumentError
        Where the pulse has no pieces.

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.shapes.roughness(qb.shapes.piecewise_constant(4.0, [0.5, 1.0, 0.0])))
    1.25
    """
    pieces = isinstance(pulse, PiecewiseConstant)
    require(pieces, "pulse", "a PiecewiseConstant", type(pulse).__name__)
    return jnp.sum(jnp.diff(pulse.values) ** 2)


@dataclasses.dataclass(frozen=True)
class _Spline:
    """A spline as a function of time and values; equal where end and number of knots are."""

    end: float
    knots: int

    def __call__(self, t: Scalar, values: jax.Array) -> jax.Array:
        """Return the value at a time."""
        place = jnp.clip(t / self.end, 0.0, 1.0) * (self.knots - 1)
        left = jnp.clip(jnp.floor(place), 0, self.knots - 2).astype(int)
        b = place - left
        a = 1 - b
        bends = _bends(self.knots) @ values
        line = a * values[left] + b * values[left + 1]
        return line + ((a**3 - a) * bends[left] + (b**3 - b) * bends[left + 1]) / 6


@functools.cache
def _bends(knots: int) -> np.ndarray:
    """Return the matrix of second derivatives at knots at distance 1, zero at the ends."""
    matrix = np.eye(knots)
    second = np.zeros((knots, knots))
    for i in range(1, knots - 1):
        matrix[i, i - 1 : i + 2] = 1 / 6, 2 / 3, 1 / 6
        second[i, i - 1 : i + 2] = 1, -2, 1
    return np.linalg.solve(matrix, second)


@dataclasses.dataclass(frozen=True)
class _Waves:
    """A sum of waves as a function of time and coefficients; equal where the frequencies are."""

    frequencies: tuple[float, ...]

    def __call__(self, t: Scalar, cosines: jax.Array, sines: jax.Array) -> jax.Array:
        """Return the value at a time."""
        angles = np.asarray(self.frequencies) * t
        return cosines[0] + cosines[1:] @ jnp.cos(angles) + sines @ jnp.sin(angles)


def _checked_end(end: ArrayLike) -> jax.Array:
    """Return an end; NaN where it is out of range and traced."""
    last = jnp.asarray(as_number(end, "end"))
    allowed = (last > 0) & jnp.isfinite(last)
    require_known(allowed, "end", "a positive, finite number", end)
    return number_where(allowed, last)


def _fixed_end(end: ArrayLike) -> float:
    """Return an end that is part of a function: no parameter of it, or it would be optimised."""
    require(is_concrete(end), "end", "a number, not traced", end)
    return float(_checked_end(end))


def _checked_row(values: ArrayLike, name: str, least: int) -> jax.Array:
    row = jnp.asarray(as_real(values, name))
    fits = row.ndim == 1 and row.size >= least
    require(fits, name, f"at least {least} in one row", f"of shape {row.shape}")
    return row
