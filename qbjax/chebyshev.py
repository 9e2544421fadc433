r"""exp(h L) applied to a state, by a Faber series on an ellipse around the spectrum.

The eigenvalues of L lie in a box [-D, 0] x i[-W, W] (`lindblad.spectral_box`), hence in an ellipse
around s = -D/2 with semi-axes a along the real axis and b along the imaginary one, where
(D/2a)^2 + (W/b)^2 = 1. What makes an ellipse of the unit circle is

    z(w) = s + (a + b)/2 w + (a - b)/2 / w.

On it exp(h z(w)) has the Laurent series sum_k c_k w^k, and

    exp(h L) = sum_{k >= 0} c_k F_k,   F_0 = 1,   F_1 = A = 2 (L - s)/(a + b),
    F_{k+1} = A F_k - q F_{k-1},       q = (a - b)/(a + b),

with 2 in place of F_0 in the last line. This is the Chebyshev series of a segment where a or b
vanishes and the Taylor series where a = b; the F_k of a normal L are at most 2. The coefficients
come from one Fourier transform around the circle, and how fast they fall says which h a given
number of them serves. Decay costs the square root of its rate only, where an explicit Runge-Kutta
step is bounded by the rate itself.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.lindblad import Generator, spectral_box

# Coefficients c_0 ... c_63, applied in blocks that a short step leaves out.
_BLOCK, _BLOCKS = 8, 8
_DEGREE = _BLOCK * _BLOCKS
_SAMPLES = 4 * _DEGREE
# L is not normal: the ellipse is a little wider than its eigenvalues need.
_STRETCH = 1.02


class Ellipse(eqx.Module):
    """Centre s and semi-axes a (real) and b (imaginary), shape () each."""

    centre: jax.Array
    real: jax.Array
    imaginary: jax.Array


def ellipse(generator: Generator) -> Ellipse:
    """Return the ellipse of least a + b around the box of the eigenvalues.

    exp(h L) does not depend on it, so it has no derivative.
    """
    decay, width = jax.lax.stop_gradient(spectral_box(generator))
    half, width = decay / 2, jnp.maximum(width, jnp.sqrt(jnp.finfo(width.dtype).tiny))
    # a + b = (D/2)/cos(phi) + W/sin(phi) is least where tan(phi)^3 = W/(D/2).
    thirds = jnp.cbrt(half), jnp.cbrt(width)
    scale = _STRETCH * jnp.hypot(*thirds)
    return Ellipse(-half, scale * thirds[0] ** 2, scale * thirds[1] ** 2)


def coefficients(around: Ellipse, h: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return c_0 ... c_63, and for j = 0 ... 8 what a cut at 8 j omits: 2 sum_{k >= 8 j} |c_k|."""
    angle = 2 * jnp.pi * jnp.arange(_SAMPLES) / _SAMPLES
    real = around.centre + around.real * jnp.cos(angle)
    values = jnp.exp(h * real) * jnp.exp(1j * h * around.imaginary * jnp.sin(angle))
    c = jnp.fft.fft(values)[: _SAMPLES // 2].real / _SAMPLES
    tails = 2 * jnp.cumsum(jnp.abs(c[::-1]))[::-1]
    return c[:_DEGREE], tails[: _DEGREE + 1 : _BLOCK]


def longest_step(around: Ellipse, tolerance: jax.Array) -> jax.Array:
    """Return the longest step that omits at most tolerance (per unit of time) of the series."""
    # Oscillation b h needs a degree above b h, decay a h one of about sqrt(a h).
    reach = jnp.geomspace(_DEGREE / 12, _DEGREE**2 / 8, 64)
    steps = reach / jnp.maximum(around.real, around.imaginary)
    omitted = jax.vmap(lambda h: coefficients(around, h)[1][-1])(steps)
    fits = omitted <= jnp.maximum(tolerance * steps, _rounding(omitted))
    return jnp.max(jnp.where(fits, steps, steps[0]))


class Chebyshev(diffrax.AbstractSolver):
    """A step of the series as a diffrax solver, for a vector field that is linear and constant.

    Attributes
    ----------
    around
        The ellipse.
    tolerance
        Largest part of the series to omit, per unit of time, shape ().
    """

    around: Ellipse
    tolerance: jax.Array

    term_structure: ClassVar[Any] = diffrax.AbstractTerm
    # Steps end on the times that are asked for: nothing is interpolated.
    interpolation_cls: ClassVar[Callable[..., Any]] = diffrax.LocalLinearInterpolation

    def order(self, terms: Any) -> int:
        """Return the degree of the polynomial."""
        return _DEGREE

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        """Keep nothing from step to step."""

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """Return the vector field."""
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple[Any, ...]:
        """Return the state at t1 and the part of the series that is left out."""
        around, h = self.around, t1 - t0
        total_axes = around.real + around.imaginary
        q = (around.real - around.imaginary) / total_axes
        c, tails = coefficients(around, h)
        enough = tails <= jnp.maximum(self.tolerance * h, _rounding(tails))

        def term(carry: Any, factors: Any) -> tuple[Any, None]:
            total, before, now = carry
            c_k, q_k = factors
            after = 2 / total_axes * (terms.vf(t0, now, args) - around.centre * now)
            return (total + c_k * now, now, after - q_k * before), None

        def block(carry: Any, entry: Any) -> tuple[Any, None]:
            skip, factors = entry
            keep = lambda carry, factors: carry  # noqa: E731
            more = lambda carry, factors: jax.lax.scan(term, carry, factors)[0]  # noqa: E731
            return jax.lax.cond(skip, keep, more, carry, factors), None

        zero = jnp.zeros_like(y0)
        # F_2 = A F_1 - 2 q F_0.
        factors = c, jnp.full(_DEGREE, q).at[1].multiply(2)
        blocks = jax.tree.map(lambda x: x.reshape(_BLOCKS, _BLOCK), factors)
        (y1, _, last), _ = jax.lax.scan(block, (zero, zero, y0), (enough[:-1], blocks))
        # Tails fall with the degree: the largest one omitted is where the series was cut.
        omitted = jnp.max(jnp.where(enough.at[-1].set(True), tails, 0.0))
        return y1, omitted * last, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful


def _rounding(like: jax.Array) -> Any:
    """Return where the tails of the coefficients drown in rounding."""
    return _DEGREE * jnp.finfo(like.dtype).eps
