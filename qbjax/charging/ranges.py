r"""The ranges that parameters are searched in: changes of variables p(x), and random starts.

Bounds are kept by a change of variables after MINUIT: between a and b, in the middle at x = 0,

    p = a + (b - a) (1 + sin x) / 2,      one-sided:  p = a + s (sqrt(1 + x^2) - 1),

with s the distance of the start from the bound; without bounds p = p_0 + s x. A bound is reached at
a finite x, where dp/dx = 0, so that an optimum on the boundary is a smooth one in x. Where the
lower bound is positive, ln p takes the place of p: rates are searched decade by decade.

Of times at which a pulse jumps, the shares of the intervals between them are exp(x) to 1.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import ArgumentError, require, require_known
from qbjax.model.parameters import PARAMETERS
from qbjax.model.pulses import PiecewiseConstant, Pulse
from qbjax.model.star_battery import StarBattery

Bounds = tuple[PyTree, PyTree]

# A parameter this close to a bound, as a share of the range in p or ln p, is on it. In x the
# distance is the square root: far more than the descent leaves.
_ON_BOUND = 1e-8
# x at the start where one side is bounded.
_INSIDE = math.sqrt(3)
# Waves that a smooth curve to start from is made of.
_WAVES = 6


@dataclasses.dataclass(frozen=True)
class Range:
    """The bounds of one array, infinite where there is none, and its change of variables."""

    low: float
    high: float

    def _scaled(self, p: jax.Array) -> jax.Array:
        return jnp.log(p) if self.low > 0 else p

    def _ends(self) -> tuple[float, float]:
        return (math.log(self.low), math.log(self.high)) if self.low > 0 else (self.low, self.high)

    def variable(self, start: jax.Array) -> jax.Array:
        """Return x at the start; NaN where that is out of bounds."""
        (a, b), u = self._ends(), self._scaled(start)
        if math.isfinite(a) and math.isfinite(b):
            return jnp.arcsin(2 * (u - a) / (b - a) - 1)
        bounded = math.isfinite(a) or math.isfinite(b)
        inside = (a < u) & (u < b)
        return jnp.where(inside, _INSIDE if bounded else 0.0, jnp.nan)

    def parameter(self, x: jax.Array, start: jax.Array) -> jax.Array:
        """Return p at x."""
        (a, b), u = self._ends(), self._scaled(start)
        if math.isfinite(a) and math.isfinite(b):
            moved = a + (b - a) * (1 + jnp.sin(x)) / 2
        elif math.isfinite(a):
            moved = a + (u - a) * (jnp.sqrt(1 + x**2) - 1)
        elif math.isfinite(b):
            moved = b - (b - u) * (jnp.sqrt(1 + x**2) - 1)
        else:
            moved = u + jnp.maximum(jnp.abs(u), 1.0) * x
        return jnp.exp(moved) if self.low > 0 else moved

    def side(self, p: jax.Array, start: jax.Array) -> jax.Array:
        """Return -1 on the lower bound, 1 on the upper one, else 0."""
        (a, b), u, u_0 = self._ends(), self._scaled(p), self._scaled(start)
        below, above = u - a, b - u
        if not (math.isfinite(a) and math.isfinite(b)):
            # Where one bound is infinite, the start is the length to compare with.
            return jnp.where(below < _ON_BOUND * (u_0 - a), -1, 0) + (above < _ON_BOUND * (b - u_0))
        return jnp.where(below < _ON_BOUND * (b - a), -1, 0) + (above < _ON_BOUND * (b - a))

    def random(self, shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
        """Return other variables x to start from, of a shape.

        Of a row of values between two bounds that is a smooth curve or random signs, as the values
        of a pulse may be.
        """
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            bounded = math.isfinite(self.low) or math.isfinite(self.high)
            return (_INSIDE if bounded else 0.0) + draw.normal(size=shape)
        if len(shape) != 1 or shape[0] == 0:
            return np.arcsin(draw.uniform(-1, 1, shape))
        if draw.integers(2):
            return np.arcsin(draw.choice([-1, 1], shape) * draw.uniform(0.5, 0.99, shape))
        places = (np.arange(shape[0]) + 0.5) / shape[0]
        curve = np.cos(np.outer(places, np.pi * np.arange(_WAVES))) @ (
            draw.normal(size=_WAVES) / (1 + np.arange(_WAVES))
        )
        return np.arcsin(curve / np.abs(curve).max() * draw.uniform(0.3, 0.99))


@dataclasses.dataclass(frozen=True)
class Jumps:
    """The range of the times at which a pulse jumps, in their order, and the same of these."""

    low: float
    high: float

    def variable(self, start: jax.Array) -> jax.Array:
        """Return x of the times; NaN where they are out of order or range."""
        shares = jnp.diff(start, prepend=self.low, append=self.high)
        return jnp.where(jnp.all(shares > 0), jnp.log(shares[:-1] / shares[-1]), jnp.nan)

    def parameter(self, x: jax.Array, start: jax.Array) -> jax.Array:
        """Return the times at x."""
        shares = jax.nn.softmax(jnp.append(x, 0.0))
        return self.low + (self.high - self.low) * jnp.cumsum(shares)[:-1]

    def side(self, p: jax.Array, start: jax.Array) -> jax.Array:
        """Return 0: no time is on a bound."""
        return jnp.zeros(p.shape, int)

    def random(self, shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
        """Return other variables x to start from, of a shape (K,)."""
        return draw.normal(size=shape)


def leaves(model: StarBattery, name: str) -> PyTree:
    """Return what is optimised of a parameter: an array, or the parameters of a pulse.

    "F.times" are the times at which the pulse F jumps.
    """
    owner, *part = name.split(".")
    parameter = getattr(model, owner)
    if isinstance(parameter, PiecewiseConstant):
        return parameter.times if part else parameter.values
    return parameter.parameters if isinstance(parameter, Pulse) else parameter


def ranges_of(model: StarBattery, name: str, bounds: Bounds) -> PyTree:
    """Check one entry of `parameters`; return a range for each leaf."""
    owner, *part = name.split(".") if isinstance(name, str) else [name]
    known = owner in PARAMETERS and part in ([], ["times"])
    words = f"by name out of {', '.join(PARAMETERS)}, or of a PiecewiseConstant by F.times"
    require(known, "parameters", words, f'"{name}"')
    words = "without what is absent from the model"
    require(getattr(model, owner) is not None, "parameters", words, f'given with "{name}"')
    pair = isinstance(bounds, tuple | list) and len(bounds) == 2
    require(pair, "parameters", f"given with a pair (low, high) for `{name}`", bounds)
    start = leaves(model, name)
    if part:
        return _jumps(model, name, bounds, start)
    low, high = (_spread(name, bound, start) for bound in bounds)
    ranges = jax.tree.map(lambda a, b: _range(name, a, b), low, high, is_leaf=_is_none)
    signed = PARAMETERS[name].range == "real"
    if not signed and not isinstance(getattr(model, name), Pulse):
        words = f"given with bounds of at least 0 for `{name}`"
        require(ranges.low >= 0, "parameters", words, bounds)

    def check(one: Range, leaf: jax.Array) -> None:
        inside = one.side(leaf, leaf) == 0
        inside &= (one.low < leaf) & (leaf < one.high)
        words = (
            f"strictly between its bounds, {one.low:g} and {one.high:g}, where the ascent starts"
        )
        # Where it is traced, the ascent starts from NaN.
        require_known(inside, name, words, leaf)

    jax.tree.map(check, ranges, start)
    return ranges


def _jumps(model: StarBattery, name: str, bounds: Bounds, times: jax.Array) -> Jumps:
    """Return the range of the times of a pulse, once it is one that jumps."""
    pulse = getattr(model, name.split(".")[0])
    jumps = isinstance(pulse, PiecewiseConstant)
    require(jumps, "parameters", f'without "{name}" where it is no PiecewiseConstant', f'"{name}"')
    one = _range(name, *bounds)
    finite = math.isfinite(one.low) and math.isfinite(one.high)
    require(finite, "parameters", f'given with two numbers for "{name}"', bounds)
    words = f"strictly between their bounds, {one.low:g} and {one.high:g}, where the ascent starts"
    require_known((one.low < times) & (times < one.high), name, words, times)
    return Jumps(one.low, one.high)


def _is_none(value: object) -> bool:
    return value is None


def _spread(name: str, bound: PyTree, leaves: PyTree) -> PyTree:
    """Return one bound for every leaf: one for all of them, or a tuple with one for each."""
    try:
        return jax.tree.broadcast(bound, leaves, is_leaf=_is_none)
    except ValueError:
        words = f"given with one bound for all parameters of the pulse `{name}` or one for each"
        raise ArgumentError(f"Argument `parameters` must be {words}, but is {bound}.") from None


def _range(name: str, low: Any, high: Any) -> Range:
    try:
        bounds = Range(
            -math.inf if low is None else float(low), math.inf if high is None else float(high)
        )
    except (TypeError, ValueError):
        bounds = Range(math.nan, math.nan)
    words = f"given with numbers low < high, or None, for `{name}`"
    require(bounds.low < bounds.high, "parameters", words, f"{low}, {high}")
    return bounds
