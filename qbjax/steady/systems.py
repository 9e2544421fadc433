r"""The linear systems of the direct solver: (s - L) X = B, by one of two eliminations.

Small ones take L as one real matrix on the independent numbers of a Hermitian matrix, larger ones
as a block-tridiagonal one: see `qbjax.steady.elimination`.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from qbjax.common.gmres import LinearMap
from qbjax.common.linalg import in_turn
from qbjax.generator.lindblad import Generator
from qbjax.generator.residual import Refined
from qbjax.steady.coordinates import Coordinates
from qbjax.steady.elimination import Tridiagonal, factor, from_blocks, to_blocks, tridiagonal
from qbjax.steady.stationary import as_matrices, from_matrices


class System(eqx.Module):
    """The generator on vectors, whose norm is that of Hilbert and Schmidt.

    Attributes
    ----------
    generator, parts
        The generator, and the parts of the stored states, 1 or 2.
    """

    generator: Generator
    parts: int = eqx.field(static=True)

    @abstractmethod
    def vector(self, stored: jax.Array) -> jax.Array:
        """Return a stored state as a vector."""

    @abstractmethod
    def stored(self, vector: jax.Array) -> jax.Array:
        """Return a vector as a stored state."""

    @abstractmethod
    def trace(self, vector: jax.Array) -> jax.Array:
        """Return the trace."""

    @abstractmethod
    def hermitian(self, vector: jax.Array) -> jax.Array:
        """Return the Hermitian part of a matrix."""

    @abstractmethod
    def refined(self, exact: Refined, vector: jax.Array) -> jax.Array:
        """Return L rho of a Hermitian matrix without its rounding."""

    @abstractmethod
    def __matmul__(self, vector: jax.Array) -> jax.Array:
        """Return L rho."""

    @abstractmethod
    def solver(self, shift: jax.Array) -> tuple[LinearMap, LinearMap]:
        """Return the solution of (s - L) x = b, and of the transposed system, by one elimination.

        They have no derivatives.
        """

    def inverse(self, shift: jax.Array) -> tuple[LinearMap, LinearMap]:
        """Return (s - L)^-1, and the same without derivatives, for loops."""
        solve, transposed = jax.lax.stop_gradient(self).solver(shift)

        def inverse(b: jax.Array) -> jax.Array:
            return jax.lax.custom_linear_solve(
                lambda x: shift * x - self @ x,
                b,
                lambda _, b: solve(b),
                transpose_solve=lambda _, b: transposed(b),
            )

        return inverse, solve


class Blocks(System):
    """Vectors (L, d_c d), one ladder level after the other, of matrices that need not be Hermitian.

    They may be complex where the stored state is real: rounding along the state itself, which a
    tiny shift blows up, has a phase.
    """

    matrix: Tridiagonal

    def __init__(self, generator: Generator, parts: int):
        """Set up the matrix."""
        self.generator, self.parts = generator, parts
        self.matrix = tridiagonal(generator)

    def vector(self, stored: jax.Array) -> jax.Array:
        """Return a stored state as a vector."""
        return to_blocks(self.generator, as_matrices(self.generator, stored)[0])

    def stored(self, vector: jax.Array) -> jax.Array:
        """Return a vector as a stored state."""
        matrix = from_blocks(self.generator, vector)
        return from_matrices(self.generator, matrix[None], self.parts)

    def trace(self, vector: jax.Array) -> jax.Array:
        """Return the trace."""
        return jnp.trace(from_blocks(self.generator, vector))

    def hermitian(self, vector: jax.Array) -> jax.Array:
        """Return the Hermitian part of a matrix."""
        rho = from_blocks(self.generator, vector)
        return to_blocks(self.generator, (rho + rho.conj().T) / 2)

    def refined(self, exact: Refined, vector: jax.Array) -> jax.Array:
        """Return L rho of a Hermitian matrix without its rounding."""
        rho = from_blocks(self.generator, vector)
        shape = 2 * (self.generator.charger_levels, self.generator.levels)
        return to_blocks(self.generator, exact(rho.reshape(1, *shape)).reshape(rho.shape))

    def __matmul__(self, vector: jax.Array) -> jax.Array:
        """Return L rho."""
        return self.matrix @ vector

    def solver(self, shift: jax.Array) -> tuple[LinearMap, LinearMap]:
        """Return the solution of (s - L) x = b, and of the transposed system."""
        diagonal = shift * jnp.eye(self.matrix.diagonal.shape[1]) - self.matrix.diagonal
        shifted = Tridiagonal(-self.matrix.lower, diagonal, -self.matrix.upper)
        factors = factor(shifted)
        return factors.solve, factors.solve_transposed


class Packed(System):
    """Vectors of the independent real numbers of a Hermitian matrix, and L as one real matrix.

    Attributes
    ----------
    matrix
        L, shape (n, n).
    """

    matrix: jax.Array

    def __init__(self, generator: Generator, parts: int):
        """Apply the generator to every unit vector."""
        self.generator, self.parts = generator, parts
        units = jnp.eye(self._coordinates.size)
        columns = jax.vmap(lambda unit: self.vector(generator(self.stored(unit))))(units)
        self.matrix = columns.T

    @property
    def _coordinates(self) -> Coordinates:
        return Coordinates(self.generator, self.parts)

    def vector(self, stored: jax.Array) -> jax.Array:
        """Return a stored state as a vector."""
        return self._coordinates.vector(stored)

    def stored(self, vector: jax.Array) -> jax.Array:
        """Return a vector as a stored state."""
        return self._coordinates.stored(vector)

    def trace(self, vector: jax.Array) -> jax.Array:
        """Return the trace."""
        return self._coordinates.trace(vector)

    def hermitian(self, vector: jax.Array) -> jax.Array:
        """Return the Hermitian part of a matrix."""
        return vector

    def refined(self, exact: Refined, vector: jax.Array) -> jax.Array:
        """Return L rho of a Hermitian matrix without its rounding."""
        rho = as_matrices(self.generator, self.stored(vector))
        shape = 2 * (self.generator.charger_levels, self.generator.levels)
        change = exact(rho.reshape(-1, *shape)).reshape(rho.shape)
        return self.vector(from_matrices(self.generator, change, self.parts))

    def __matmul__(self, vector: jax.Array) -> jax.Array:
        """Return L rho."""
        return self.matrix @ vector

    def solver(self, shift: jax.Array) -> tuple[LinearMap, LinearMap]:
        """Return the solution of (s - L) x = b, and of the transposed system."""
        factors = _factors(shift * jnp.eye(len(self.matrix)) - self.matrix)
        return lambda b: _solve(*factors, b), lambda b: _solve_transposed(*factors, b)


@in_turn
def _factors(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the triangular factors of a matrix, and the order of its rows."""
    lu, _, order = jax.lax.linalg.lu(matrix)
    return lu, order


@in_turn
def _solve(lu: jax.Array, order: jax.Array, b: jax.Array) -> jax.Array:
    y = solve_triangular(lu, b[order], lower=True, unit_diagonal=True)
    return solve_triangular(lu, y)


@in_turn
def _solve_transposed(lu: jax.Array, order: jax.Array, b: jax.Array) -> jax.Array:
    y = solve_triangular(lu, b, trans=1)
    y = solve_triangular(lu, y, trans=1, lower=True, unit_diagonal=True)
    return jnp.zeros_like(y).at[order].set(y)
