r"""Approximate inverses of the generator, which make Krylov iterations for steady states short.

Two of them leave out what jumps bring in, or what leads away from a few numbers at a time:

- `Lyapunov`: without its jump terms the generator is X -> G X + X G^dagger, and that is inverted
  exactly in the eigenbasis of G: with G = V diag(w) V^-1, the solution of
  s X - G X - X G^dagger = B is X = V Y V^dagger, Y_jk = (V^-1 B V^-dagger)_jk / (s - w_j - w_k*).
- `Pairs`, for a qubit on battery resonance: in the singular vectors of K, K v_i = s_i u_i, the
  equation without noise falls into systems of four numbers, one for each pair (i, j): those of
  |g, v_i>, |e, u_i> on the left and |g, v_j>, |e, u_j> on the right. Noise and further losses are
  kept where they act within such a system.

What relaxes slowly is left to `qbjax.steady.populations`. All matrices here are those of the blocks
of the basis in the gauge of `qbjax.generator.lindblad`, shape (blocks, d, d) with d = d_c L.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.basis import ladder
from qbjax.basis.operators import Operator
from qbjax.common import linalg
from qbjax.common.types import Array
from qbjax.generator.lindblad import Generator


class Lyapunov(eqx.Module):
    """The inverse of X -> s X - G X - X G^dagger; arrays (blocks, d, d)."""

    vectors: jax.Array
    inverse: jax.Array
    denominators: jax.Array

    def __call__(self, matrices: jax.Array) -> jax.Array:
        """Return the solution for one right-hand side: real where that is real."""
        inside = _sandwich(self.inverse, matrices) / self.denominators
        solved = _sandwich(self.vectors, inside)
        return solved.real if jnp.isrealobj(matrices) else solved


def lyapunov(generator: Generator, live: Array, shift: jax.Array) -> Lyapunov:
    """Diagonalise G; `live` is the mask (blocks, L) of the levels that are no padding."""
    drift = generator.matrix(generator.drift)
    if generator.is_real:
        drift = drift.real
    # Padding gets eigenvalues of its own, so that it mixes with nothing.
    drift = drift - _on_padding(drift, jnp.tile(live, generator.charger_levels))
    eigenvalues, vectors = jax.vmap(linalg.eig)(drift)
    denominators = shift - eigenvalues[:, :, None] - eigenvalues[:, None].conj()
    return Lyapunov(vectors, jax.vmap(linalg.inv)(vectors), denominators)


class Pairs(eqx.Module):
    """The systems of the pairs (i, j), solved.

    Attributes
    ----------
    vectors
        The bases of the ladders for each charger level, as columns, shape (blocks, d_c, L, L).
    inverses
        Shape (blocks, L, L, d_c^2, d_c^2).
    """

    vectors: jax.Array
    inverses: jax.Array

    def __call__(self, matrices: jax.Array) -> jax.Array:
        """Return the solution for one right-hand side."""
        blocks, d_c, levels, _ = self.vectors.shape
        rho = matrices.reshape(blocks, d_c, levels, d_c, levels)
        half = jnp.einsum("kcni,kcndm->kcidm", self.vectors, rho)
        inside = jnp.einsum("kcidm,kdmj->kijcd", half, self.vectors)
        inside = inside.reshape(blocks, levels, levels, d_c**2)
        solved = jnp.einsum("kijab,kijb->kija", self.inverses, inside)
        solved = solved.reshape(blocks, levels, levels, d_c, d_c)
        half = jnp.einsum("kcni,kijcd->kcnjd", self.vectors, solved)
        return jnp.einsum("kcnjd,kdmj->kcndm", half, self.vectors).reshape(matrices.shape)


def pairs(generator: Generator, vectors: jax.Array, shift: jax.Array) -> Pairs:
    """Set up the systems of a qubit in the bases of `singular_vectors`."""
    blocks, d_c, levels, _ = vectors.shape

    def within(operator: Operator) -> jax.Array:
        """Return <c, i| A |d, i>, shape (blocks, L, d_c, d_c)."""
        elements = matrix_elements(operator, vectors, vectors)
        return jnp.diagonal(elements, axis1=2, axis2=4).transpose(0, 3, 1, 2)

    def systems(left: jax.Array, right: jax.Array) -> jax.Array:
        product = jnp.einsum("kiab,kjcd->kijacbd", left, right.conj())
        return product.reshape(blocks, levels, levels, d_c**2, d_c**2)

    drift = within(generator.drift)
    one = jnp.broadcast_to(jnp.eye(d_c), drift.shape)
    kept = systems(drift, one) + systems(one, drift)
    for jump in generator.jumps:
        if jump.shift == 0:
            inside = within(jump.left)
            kept = kept + jump.rate * systems(inside, inside)
    return Pairs(vectors, _inverse(shift * jnp.eye(d_c**2) - kept))


def matrix_elements(operator: Operator, left: jax.Array, right: jax.Array) -> jax.Array:
    """Return <a, i| A |b, j> of an operator, shape (blocks, c, n, c, n), between two bases.

    A basis is an array (blocks, c, n, n) with c n = d. With c = d_c the vector (a, i) is one of the
    charger's level a; with c = 1 it is one of both.
    """
    blocks, c, n, _ = left.shape
    levels, d_c = _shape_of(operator)
    one = jnp.eye(c)[:, None, :, None]
    columns = (one * right[:, :, :, None]).reshape(blocks, d_c, levels, c * n)
    moved = operator.on(columns.astype(complex) if _has_phase(operator) else columns)
    moved = moved.reshape(blocks, c, n, c * n)
    inside = jnp.einsum("kcni,kcnm->kcim", left.conj(), moved)
    return inside.reshape(blocks, c, n, c, n)


def _shape_of(operator: Operator) -> tuple[int, int]:
    weights = next(iter(operator.entries.values()))
    return weights.shape[-1], weights.shape[0]


def _has_phase(operator: Operator) -> bool:
    return any(phase for *_, phase in operator.entries)


def singular_vectors(generator: Generator, live: Array, N: jax.Array) -> jax.Array:
    """Return v and u of a qubit as columns, (blocks, 2, L, L), from the eigenvectors of K P."""
    levels = generator.levels
    drift = generator.matrix(generator.drift).reshape(-1, 2, levels, 2, levels)
    K = ladder.reverse(drift[:, 1, :, 0].real, N, axis=-1)
    # Own terms may leave it without its symmetry.
    symmetric = (K + K.swapaxes(-1, -2)) / 2
    u = linalg.eigh(symmetric + _on_padding(symmetric, live))[1]
    return jnp.stack([ladder.reverse(u, N, axis=-2), u], axis=1)


def eigenvectors(generator: Generator, live: Array) -> jax.Array:
    """Return the eigenvectors of H as columns, shape (blocks, 1, d, d)."""
    drift = generator.matrix(generator.drift)
    hamiltonian = 0.5j * (drift - _adjoint(drift))
    padding = _on_padding(hamiltonian, jnp.tile(live, generator.charger_levels))
    return linalg.eigh(hamiltonian + padding)[1][:, None]


def _on_padding(matrices: jax.Array, live: Array) -> jax.Array:
    """Return diagonal matrices of distinct numbers above the norms, zero on what is live."""
    size = matrices.shape[-1]
    bound = jnp.max(jnp.sum(jnp.abs(matrices), axis=-1), axis=-1)
    numbers = bound[:, None] * (1.5 + jnp.arange(size) / size)
    return jnp.where(live, 0.0, numbers)[..., None] * jnp.eye(size)


def _inverse(matrices: jax.Array) -> jax.Array:
    """Return the inverses of many small matrices, all at once, by elimination without pivots.

    Their Hermitian parts are positive, so that no pivot is small.
    """
    size = matrices.shape[-1]
    one = jnp.broadcast_to(jnp.eye(size), matrices.shape)
    both = jnp.concatenate([matrices, one], axis=-1)

    def eliminate(p: jax.Array, both: jax.Array) -> jax.Array:
        row = both[..., p, :] / both[..., p, p][..., None]
        others = both - both[..., :, p][..., None] * row[..., None, :]
        return others.at[..., p, :].set(row)

    return jax.lax.fori_loop(0, size, eliminate, both)[..., size:]


def _adjoint(matrices: jax.Array) -> jax.Array:
    return matrices.conj().swapaxes(-1, -2)


def _sandwich(a: jax.Array, x: jax.Array) -> jax.Array:
    """Return a x a^dagger."""
    return product(product(a, x), _adjoint(a))


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a b of complex matrices, by products of real ones, which are faster on the CPU."""
    if jnp.isrealobj(a):
        return a @ b
    if jnp.isrealobj(b):
        return jax.lax.complex(a.real @ b, a.imag @ b)
    # Three products do for the four of the definition.
    first, second = a.real @ b.real, a.imag @ b.imag
    both = (a.real + a.imag) @ (b.real + b.imag)
    return jax.lax.complex(first - second, both - first - second)
