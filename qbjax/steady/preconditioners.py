r"""Approximate inverses of the generator, which make Krylov iterations for steady states short.

Without its jump terms the generator is X -> G X + X G^dagger, and that is inverted exactly in the
eigenbasis of G: with G = V diag(w) V^-1, the solution of s X - G X - X G^dagger = B is

    X = V Y V^dagger,    Y_jk = (V^-1 B V^-dagger)_jk / (s - w_j - w_k*).

Where the charger alone is damped, what relaxes slowly are the populations of the eigenstates of H,
by a classical rate equation of d = d_c L variables (the secular, or Pauli, master equation). Its
steady state is a good start, and its inverse takes care of just those modes that the first leaves.

All matrices here are those of one ladder in the gauge of `qbjax.generator.lindblad`, shape (d, d).
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.common import linalg
from qbjax.generator.lindblad import Generator


class Lyapunov(eqx.Module):
    """The inverse of X -> s X - G X - X G^dagger."""

    vectors: jax.Array
    inverse: jax.Array
    denominators: jax.Array

    def __call__(self, matrix: jax.Array) -> jax.Array:
        """Return the solution for one right-hand side: real where that is real."""
        inside = _sandwich(self.inverse, matrix) / self.denominators
        solved = _sandwich(self.vectors, inside)
        return solved.real if jnp.isrealobj(matrix) else solved


def lyapunov(generator: Generator, live: jax.Array, shift: jax.Array) -> Lyapunov:
    """Diagonalise G; `live` is the mask of the ladder levels that are no padding."""
    drift = generator.basis.joined(generator.matrix(generator.drift))
    if generator.is_real:
        drift = drift.real
    # Padding gets eigenvalues of its own, so that it mixes with nothing.
    drift = drift - jnp.diag(_sentinels(generator, drift, live))
    eigenvalues, vectors = linalg.eig(drift)
    denominators = shift - eigenvalues[:, None] - eigenvalues.conj()
    return Lyapunov(vectors, linalg.inv(vectors), denominators)


class Secular(eqx.Module):
    """The rate equation of the populations of the eigenstates of H, solved.

    Attributes
    ----------
    vectors
        Eigenvectors of H as columns, shape (d, d).
    inverse
        Inverse of minus the rate matrix, made regular by the trace, shape (d, d).
    populations
        Its steady state, shape (d,).
    """

    vectors: jax.Array
    inverse: jax.Array
    populations: jax.Array

    def __call__(self, matrix: jax.Array) -> jax.Array:
        """Return the diagonal state that the populations of the right-hand side lead to."""
        right = _product(self.vectors.conj().T, matrix)
        source = jnp.sum(right * self.vectors.T, axis=1).real
        return self.state(self.inverse @ source, matrix)

    def state(self, populations: jax.Array, like: jax.Array) -> jax.Array:
        """Return the matrix with these populations of the eigenstates, real where `like` is."""
        matrix = _product(self.vectors * populations, self.vectors.conj().T)
        return matrix.real if jnp.isrealobj(like) else matrix


def secular(generator: Generator, live: jax.Array) -> Secular:
    """Set up the rate equation, W_jk = sum_m r_m |<j|L_m|k>|^2 for j != k."""
    drift = generator.basis.joined(generator.matrix(generator.drift))
    hamiltonian = 0.5j * (drift - drift.conj().T)
    sentinels = _sentinels(generator, hamiltonian, live)
    _, vectors = linalg.eigh(hamiltonian + jnp.diag(sentinels))
    padding = jnp.sum(jnp.abs(vectors) ** 2 * (sentinels > 0)[:, None], axis=0)
    rates = jnp.zeros(drift.shape)
    for jump in generator.jumps:
        matrix = generator.basis.joined(generator.matrix(jump.left))
        inside = _sandwich(vectors.conj().T, matrix)
        rates = rates + jump.rate * jnp.abs(inside) ** 2
    loss = jnp.diag(jnp.sum(rates, axis=0) + padding)
    trace = (1 - padding) / len(drift)
    inverse = linalg.inv(loss - rates + trace[:, None] * (1 - padding))
    return Secular(vectors, inverse, inverse @ trace)


def _sentinels(generator: Generator, matrix: jax.Array, live: jax.Array) -> jax.Array:
    """Return distinct numbers above the norm of a matrix for the padded levels, zero elsewhere."""
    bound = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    padded = jnp.tile(~live, generator.charger_levels)
    return jnp.where(padded, bound * (1.5 + jnp.arange(len(matrix)) / len(matrix)), 0.0)


def _sandwich(a: jax.Array, x: jax.Array) -> jax.Array:
    """Return a x a^dagger."""
    return _product(_product(a, x), a.conj().T)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a b of a complex a, by products of real matrices, which are faster on the CPU."""
    if jnp.isrealobj(b):
        return jax.lax.complex(a.real @ b, a.imag @ b)
    # Three products do for the four of the definition.
    first, second = a.real @ b.real, a.imag @ b.imag
    both = (a.real + a.imag) @ (b.real + b.imag)
    return jax.lax.complex(first - second, both - first - second)
