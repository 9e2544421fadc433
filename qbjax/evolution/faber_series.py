r"""exp(h L) applied to a state, by a Faber series on an ellipse around the spectrum.

The eigenvalues of L lie in a box [-D, 0] x i[-W, W] (`spectral_box`), hence in an ellipse
around s = -D/2 with semi-axes a along the real axis and b along the imaginary one, where
(D/2a)^2 + (W/b)^2 = 1. What makes an ellipse of the unit circle is

    z(w) = s + (a + b)/2 w + (a - b)/2 / w.

On it exp(h z(w)) has the Laurent series sum_k c_k w^k, and

    exp(h L) = sum_{k >= 0} c_k F_k,   F_0 = 1,   F_1 = A = 2 (L - s)/(a + b),
    F_{k+1} = A F_k - q F_{k-1},       q = (a - b)/(a + b),

with 2 in place of F_0 in the last line. This is the Chebyshev series of a segment where a or b
vanishes and the Taylor series where a = b; the F_k of a normal L are at most 2. How fast the
coefficients fall says which h a given number of them serves. Decay costs the square root of its
rate only, where an explicit Runge-Kutta step is bounded by the rate itself.

The F_k do not depend on h: one long step serves all the output times inside it, each with its own
coefficients, and only what is linear in the state and wanted of it is kept of the F_k.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.generator.bounds import spectral_box
from qbjax.generator.lindblad import Generator

# Coefficients c_0 ... c_95, applied in blocks that a short step leaves out.
BLOCK, BLOCKS = 8, 12
DEGREE = BLOCK * BLOCKS
# How many coefficients are looked at for what those leave out.
_ORDERS = 256
# L is not normal: the ellipse is a little wider than its eigenvalues need.
_STRETCH = 1.02


class Ellipse(eqx.Module):
    """Centre s and semi-axes a (real) and b (imaginary), shape () each."""

    centre: jax.Array
    real: jax.Array
    imaginary: jax.Array

    @property
    def recurrence(self) -> tuple[jax.Array, jax.Array]:
        """2/(a + b) and q, shape () each."""
        total = self.real + self.imaginary
        return 2 / total, (self.real - self.imaginary) / total


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


@jax.custom_jvp
def coefficients(around: Ellipse, lengths: jax.Array) -> jax.Array:
    r"""Return c_0 ... c_255 of exp(h L) for steps of some lengths h, shape (lengths, 256).

    With p = h (a + b)/2 and q = (a - b)/(a + b), w d/dw of exp(h z(w)) says

        k c_k = p (c_{k-1} - q c_{k+1}),    c_{-k} = q^k c_k,    sum_{k} c_k = exp(h z(1)),

    which are those of Bessel functions, and as theirs are followed downwards, from where the
    coefficients vanish, by r_k = c_k / c_{k-1} = p / (k + p q r_{k+1}).
    """
    total = around.real + around.imaginary
    p, q = lengths * total / 2, (around.real - around.imaginary) / total
    orders = jnp.arange(1.0, _ORDERS)

    def down(ratio: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        below = k + p * q * ratio
        # A coefficient that vanishes to the last digit has a neighbour that does not.
        ratio = p / jnp.where(below == 0, jnp.finfo(p.dtype).eps, below)
        return ratio, ratio

    def up(product: jax.Array, ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
        return product * ratio, product * ratio

    _, ratios = jax.lax.scan(down, jnp.zeros_like(p), orders, reverse=True)
    _, above = jax.lax.scan(up, jnp.ones_like(p), ratios)
    shares = jnp.concatenate([jnp.ones_like(p)[None], above]).T
    both = jnp.concatenate([jnp.ones(1), 1 + q**orders])
    at_one = jnp.exp(lengths * (around.centre + around.real))
    return shares * (at_one / (shares @ both))[:, None]


@coefficients.defjvp
def _coefficients_jvp(primals: PyTree, tangents: PyTree) -> tuple[jax.Array, jax.Array]:
    """Return the derivative in h: exp(h z) times z, since the ellipse has none."""
    around, lengths = primals
    total, gap = around.real + around.imaginary, around.real - around.imaginary
    c = coefficients(around, lengths)
    below = jnp.concatenate([gap / total * c[:, 1:2], c[:, :-1]], axis=1)
    above = jnp.pad(c[:, 1:], ((0, 0), (0, 1)))
    slopes = around.centre * c + total / 2 * below + gap / 2 * above
    return c, slopes * tangents[1][:, None]


def omissions(c: jax.Array) -> jax.Array:
    """Return what a cut at 8 j omits, j = 0 ... 12, of coefficients with their k last.

    That is 2 sum_{k >= 8 j} |c_k|, with the rounding of the terms that are kept.
    """
    blocks = jnp.sum(jnp.abs(c).reshape(*c.shape[:-1], -1, BLOCK), axis=-1)
    tails = 2 * jnp.cumsum(blocks[..., ::-1], axis=-1)[..., ::-1]
    return tails[..., : BLOCKS + 1] + jnp.finfo(c.dtype).eps * tails[..., :1]


def longest_step(around: Ellipse, tolerance: jax.Array) -> jax.Array:
    """Return a step that omits at most tolerance (per unit of time) of the series, and is long.

    On circles |w| = r > 1 Re z(w) is at most Z(r) = z(r), so that after Cauchy |c_k| is at most
    exp(h Z(r)) / r^k, and the best of some circles says how long h may be.
    """
    circles = 1 + np.geomspace(0.01, 10.0, 64)
    total, gap = around.real + around.imaginary, around.real - around.imaginary
    largest = around.centre + (total * circles + gap / circles) / 2
    # So long are steps at least: short enough for oscillation b h and decay a h.
    short = BLOCK / jnp.maximum(around.real, around.imaginary)

    def reach(known: jax.Array) -> jax.Array:
        """Return how long a step may be that is longer than a known one."""
        allowed = jnp.maximum(tolerance * known, rounding(known))
        powers = DEGREE * jnp.log(circles) + jnp.log(allowed * (1 - 1 / circles) / 2)
        return jnp.maximum(jnp.max(powers / largest), short)

    # The longer it is, the more it may omit.
    return reach(reach(short))


class Series(eqx.Module):
    """The series for one generator.

    Attributes
    ----------
    generator
        L.
    tolerance
        Largest part of the series to omit, per unit of time, shape ().
    around, longest
        The ellipse, and the longest step.
    """

    generator: Generator
    tolerance: jax.Array
    around: Ellipse
    longest: jax.Array

    def __init__(self, generator: Generator, tolerance: jax.Array):
        """Find the ellipse and the longest step."""
        self.generator, self.tolerance = generator, tolerance
        self.around = ellipse(generator)
        self.longest = jax.lax.stop_gradient(longest_step(self.around, tolerance))


def rounding(like: jax.Array) -> PyTree:
    """Return where the tails of the coefficients drown in rounding."""
    return DEGREE * jnp.finfo(like.dtype).eps
