r"""L rho without the rounding that hides slow rates beside fast ones.

Where rates lie a factor R apart, a residual in double precision is wrong by eps R of the slow rates
and no refinement gets below that. Here each product and each sum carries its rounding error along
as a second number ("double-double", T. J. Dekker, Numer. Math. 18, 224 (1971)). The coefficients
are those of a master equation to the same precision: what a jump r J rho J^dagger brings in, the
terms -r/2 J^dagger J rho take away, so that the trace is kept to 1e-24. Rounding of an entry of the
Hamiltonian or of a jump by itself only changes the parameters, by one part in 1e16.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from qbjax.basis.operators import Operator, shift
from qbjax.generator import local_noise
from qbjax.model.equation import local_jumps, terms
from qbjax.model.star_battery import StarBattery
from qbjax.model.terms import total

# A number and its rounding error.
Double = tuple[jax.Array, jax.Array]

# Sign, exponent and the first half of the digits, by the number of bits.
_LEADING: dict[int, np.unsignedinteger] = {
    64: np.uint64(0xFFFFFFFFF8000000),
    32: np.uint32(0xFFFFF000),
}


class Refined(eqx.Module):
    """The generator as L rho = A + A^dagger + B, with sums of weighted shifts A and B.

    Attributes
    ----------
    sides, both
        Weights (terms, K, d_c, L) of A, which act from the left, and (terms, K, d_c, L, d_c, L) of
        B, for K blocks.
    side_shifts, both_shifts
        The steps from block to block, the offsets (s, k, t, m) of charger and ladder on either
        side, and the power of i.
    """

    sides: Double
    both: Double
    side_shifts: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    both_shifts: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __call__(self, rho: jax.Array) -> jax.Array:
        """Return L rho of Hermitian matrices (K, d_c, L, d_c, L) in the gauge, rounded once."""
        sides = _sum(self.sides, (..., None, None), _moved(rho, self.side_shifts))
        # The conjugate of the transpose, of real and imaginary part.
        flipped = [part.transpose(0, 1, 4, 5, 2, 3) for part in sides]
        signs = jnp.array([1.0, -1.0])[: len(flipped[0]), None, None, None, None, None]
        total = _add(sides, (signs * flipped[0], signs * flipped[1]))
        if self.both_shifts:
            total = _add(total, _sum(self.both, (...,), _moved(rho, self.both_shifts)))
        parts = total[0] + total[1]
        return parts[0] + 1j * parts[1] if jnp.iscomplexobj(rho) else parts[0]


def refined(model: StarBattery) -> Refined:
    """Return the generator of one model that does not depend on time, in double-double."""
    hamiltonian, jumps = terms(model, 0.0)
    shape = (model.charger.levels, model.N, model.basis)
    sides, both = [], []

    def act(operator: Operator, power: int) -> None:
        for (s, k, phase), weights in operator.gauged().entries.items():
            sides.append(((0, s, k, 0, 0, phase + power), (weights, jnp.zeros_like(weights))))

    def bring(operator: Operator, rate: jax.Array, step: int, *, lose: bool) -> None:
        entries = operator.gauged().entries.items()
        for ((s, k, p), one), ((t, m, q), other) in itertools.product(entries, entries):
            outer = one.swapaxes(0, 1)[..., None, None], other.swapaxes(0, 1)[:, None, None]
            both.append(((step, s, k, t, m, p - q), _times(_product(*outer), rate)))
            if lose:
                lost = _times(_product(one, other), -rate / 2)
                moved = shift(lost[0], -s, -k), shift(lost[1], -s, -k)
                sides.append(((0, t - s, m - k, 0, 0, q - p), moved))

    # Term by term: a sum would round a small one beside a large one.
    for term in hamiltonian:
        act(term.operator(0.0, *shape), -1)
    for jump in jumps:
        bring(total(jump.terms, 0.0, *shape), jnp.asarray(jump.rate), 0, lose=True)
    # What one qubit loses is rounded with its own rate alone.
    for single in local_jumps(model, 0.0):
        act(local_noise.loss(single, *shape), 0)
        for step, operator in local_noise.gain(single, *shape).items():
            bring(operator, jnp.asarray(single.rate), step, lose=False)
    sides = [(key, (high.swapaxes(0, 1), low.swapaxes(0, 1))) for key, (high, low) in sides]
    return Refined(
        _stacked([weights for _, weights in sides]),
        _stacked([weights for _, weights in both]),
        tuple(key for key, _ in sides),
        tuple(key for key, _ in both),
    )


def _stacked(weights: list[Double]) -> Double:
    high, low = ([pair[i] for pair in weights] for i in (0, 1))
    return (jnp.stack(high), jnp.stack(low)) if weights else (jnp.zeros(0), jnp.zeros(0))


def _moved(rho: jax.Array, shifts: tuple[tuple[int, ...], ...]) -> jax.Array:
    """Return i^power rho, moved: the real part, and the imaginary one where rho has one.

    Shape (terms, parts, K, d_c, L, d_c, L). A real rho meets even powers alone.
    """
    parts = [rho.real, rho.imag] if jnp.iscomplexobj(rho) else [rho]
    moved = []
    for *offsets, power in shifts:
        inside = [
            jax.lax.pad(part, jnp.zeros((), part.dtype), [(o, -o, 0) for o in offsets])
            for part in parts
        ]
        if power % 2:
            inside = [-inside[1], inside[0]]
        moved.append(jnp.stack(inside) * (-1.0 if power % 4 >= 2 else 1.0))
    return jnp.stack(moved)


def _sum(weights: Double, axes: tuple, values: jax.Array) -> Double:
    """Return the sum over terms of weights times values, one after the other."""
    high, low = (part[:, None][(slice(None), slice(None), *axes)] for part in weights)
    products = _times((high, low), values)

    def add(total: Double, term: Double) -> tuple[Double, None]:
        return _add(total, term), None

    zero = jnp.zeros_like(values[0])
    return jax.lax.scan(add, (zero, zero), products)[0]


def _add(a: Double, b: Double) -> Double:
    high, low = _two_sum(a[0], b[0])
    return _two_sum(high, low + (a[1] + b[1]))


def _times(a: Double, b: jax.Array) -> Double:
    high, low = _product(a[0], b)
    return high, low + a[1] * b


def _two_sum(a: jax.Array, b: jax.Array) -> Double:
    """Return a + b and what rounding took from it (D. E. Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _product(a: jax.Array, b: jax.Array) -> Double:
    """Return a b as two numbers: halves of few bits have exact products, fused or not."""
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return _two_sum(a_high * b_high, (a_high * b_low + a_low * b_high) + a_low * b_low)


def _halves(x: jax.Array) -> Double:
    """Return the leading bits of numbers, and the rest."""
    leading = _LEADING[jnp.finfo(x.dtype).bits]
    bits = jax.lax.bitcast_convert_type(x, leading.dtype) & leading
    high = jax.lax.bitcast_convert_type(bits, x.dtype)
    return high, x - high
