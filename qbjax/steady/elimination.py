r"""The generator as a block-tridiagonal matrix, and its direct solution.

Sorted by the ladder level n of its row, a matrix X[(c, n), (c', n')] falls into blocks X_n of d_c d
numbers, d = d_c L. No operator moves the ladder by more than one level, so L couples X_n to its
neighbours alone, and elimination block by block takes O(L (d_c d)^3) operations: much less than the
d^6 of a dense matrix, and it does not mind how fast or slow the relaxation is.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.basis.operators import Operator
from qbjax.common.linalg import in_turn
from qbjax.generator.lindblad import Generator


class Tridiagonal(eqx.Module):
    """A block-tridiagonal matrix, its arrays over n: (T x)_n = l_n x_{n-1} + d_n x_n + u_n x_{n+1}.

    Shapes (L, m, m); l_0 and u_{L-1} are zero.
    """

    lower: jax.Array
    diagonal: jax.Array
    upper: jax.Array

    def __matmul__(self, x: jax.Array) -> jax.Array:
        """Return the product with a vector (L, m)."""
        below = jnp.roll(x, 1, axis=0)
        above = jnp.roll(x, -1, axis=0)
        apply = functools.partial(jnp.einsum, "nij,nj->ni")
        return apply(self.lower, below) + apply(self.diagonal, x) + apply(self.upper, above)


class Factors(eqx.Module):
    """The block LU decomposition of a block-tridiagonal matrix, with the inverses of its pivots.

    A product with an inverse takes a tenth of the time of two triangular solves of that size, and
    what rounding it brings in a step of refinement takes out.
    """

    lower: jax.Array
    inverses: jax.Array
    above: jax.Array

    def solve(self, b: jax.Array) -> jax.Array:
        """Return the solution for one right-hand side (L, m)."""

        def forward(y: jax.Array, row: tuple) -> tuple[jax.Array, jax.Array]:
            lower, inverse, b_n = row
            y = inverse @ (b_n - lower @ y)
            return y, y

        def backward(x: jax.Array, row: tuple) -> tuple[jax.Array, jax.Array]:
            above, y = row
            x = y - above @ x
            return x, x

        zero = jnp.zeros_like(b[0])
        _, y = jax.lax.scan(forward, zero, (self.lower, self.inverses, b))
        return jax.lax.scan(backward, zero, (self.above, y), reverse=True)[1]

    def solve_transposed(self, b: jax.Array) -> jax.Array:
        """Return the solution of the transposed system."""

        def forward(carry: tuple, row: tuple) -> tuple[tuple, jax.Array]:
            above, y = carry
            y = row[1] - y @ above
            return (row[0], y), y

        def backward(carry: tuple, row: tuple) -> tuple[tuple, jax.Array]:
            lower, x = carry
            x = (row[2] - x @ lower) @ row[1]
            return (row[0], x), x

        zero = jnp.zeros_like(self.lower[0]), jnp.zeros_like(b[0])
        _, y = jax.lax.scan(forward, zero, (self.above, b))
        return jax.lax.scan(backward, zero, (self.lower, self.inverses, y), reverse=True)[1]


@in_turn
def factor(matrix: Tridiagonal) -> Factors:
    """Eliminate block by block, without exchanging blocks."""

    def step(above: jax.Array, row: tuple) -> tuple[jax.Array, tuple]:
        lower, diagonal, upper = row
        inverse = jnp.linalg.inv(diagonal - lower @ above)
        above = inverse @ upper
        return above, (inverse, above)

    rows = matrix.lower, matrix.diagonal, matrix.upper
    inverses, above = jax.lax.scan(step, jnp.zeros_like(matrix.diagonal[0]), rows)[1]
    return Factors(matrix.lower, inverses, above)


def tridiagonal(generator: Generator) -> Tridiagonal:
    """Return L in the gauge on X_n, flattened over (c, c', n'): real where the generator is."""
    one = jnp.eye(generator.charger_levels)
    d = generator.charger_levels * generator.levels
    drift = generator.basis.joined(generator.matrix(generator.drift))
    # Each part is a product: rows of the charger at level n, times a matrix on the columns.
    parts = [(_rows(generator, generator.drift), jnp.eye(d))]
    still = {
        k: jnp.where(k == 0, one, 0.0) + jnp.zeros((generator.levels, 1, 1)) for k in (-1, 0, 1)
    }
    parts.append((still, drift.conj()))
    for jump in generator.jumps:
        columns = generator.basis.joined(generator.matrix(jump.right)).conj()
        parts.append((_rows(generator, jump.left), jump.rate * columns))

    def block(k: int) -> jax.Array:
        products = [jnp.einsum("nac,xy->naxcy", rows[k], columns) for rows, columns in parts]
        size = generator.charger_levels * d
        blocks = functools.reduce(jnp.add, products).reshape(generator.levels, size, size)
        return blocks.real if generator.is_real else blocks

    return Tridiagonal(block(1), block(0), block(-1))


def to_blocks(generator: Generator, matrix: jax.Array) -> jax.Array:
    """Return a matrix (d, d) in the gauge as a vector (L, d_c d)."""
    d_c, levels = generator.charger_levels, generator.levels
    return matrix.reshape(d_c, levels, -1).swapaxes(0, 1).reshape(levels, -1)


def from_blocks(generator: Generator, vector: jax.Array) -> jax.Array:
    """Return the matrix (d, d) in the gauge of a vector (L, d_c d)."""
    d_c, levels = generator.charger_levels, generator.levels
    d = d_c * levels
    return vector.reshape(levels, d_c, d).swapaxes(0, 1).reshape(d, d)


def _rows(generator: Generator, operator: Operator) -> dict[int, jax.Array]:
    """Return <a, n| A |c, n - k> over (n, a, c) for the offsets k = -1, 0, 1."""
    d_c, levels = generator.charger_levels, generator.levels
    matrix = generator.basis.joined(generator.matrix(operator))
    matrix = matrix.reshape(d_c, levels, d_c, levels)
    n = jnp.arange(levels)
    rows = {}
    for k in (-1, 0, 1):
        inside = (n - k >= 0) & (n - k < levels)
        picked = matrix[:, n, :, jnp.clip(n - k, 0, levels - 1)]
        rows[k] = jnp.where(inside[:, None, None], picked, 0.0)
    return rows
