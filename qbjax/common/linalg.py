"""Linear algebra that does not hang where several batches of matrices are worked on at once.

On a CPU a batched call of LAPACK waits, on a thread of a pool, for parts of it that it hands to the
same pool. Where as many such calls run side by side as there are threads, in one program or on
several devices, none is left for the parts, and all wait for good (so it is in jaxlib 0.10.1). So
the matrices of a batch are taken there one after the other, by calls that need no pool.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import PyTree


def in_turn(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Return a function whose batches are loops on a CPU. It has no derivative there."""
    sequential = sequential_vmap(function)

    @functools.wraps(function)
    def call(*arguments: PyTree) -> PyTree:
        return (sequential if jax.default_backend() == "cpu" else function)(*arguments)

    return call


@in_turn
def eig(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the eigenvalues of a matrix, shape (n,), and the vectors as columns."""
    eigenvalues, vectors = jnp.linalg.eig(matrix)
    return eigenvalues, vectors


inv = in_turn(jnp.linalg.inv)


def eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the eigenvalues of Hermitian matrices in ascending order, and vectors as columns."""
    return _of_any_shape(matrix)


def eigvalsh(matrix: jax.Array) -> jax.Array:
    """Return the eigenvalues of Hermitian matrices in ascending order, shape (..., n)."""
    return _of_any_shape(matrix)[0]


@in_turn
def _eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    eigenvalues, vectors = jnp.linalg.eigh(matrix)
    return eigenvalues, vectors


@jax.custom_jvp
def _differentiable(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _eigh(matrix)


@_differentiable.defjvp
def _jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    eigenvalues, vectors = _differentiable(*primals)
    tangent = (tangents[0] + tangents[0].conj().T) / 2
    inside = vectors.conj().T @ tangent @ vectors
    one = jnp.eye(eigenvalues.size, dtype=eigenvalues.dtype)
    # Ones on the diagonal, where there is nothing to divide.
    turned = inside * (1 - one) / (eigenvalues - eigenvalues[:, None] + one)
    return (eigenvalues, vectors), (jnp.diag(inside).real, vectors @ turned)


_of_any_shape = jnp.vectorize(_differentiable, signature="(n,n)->(n),(n,n)")
