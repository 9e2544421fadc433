r"""The slow part of the generator: a classical rate equation, solved.

With little noise what relaxes slowly are populations: those of the eigenstates of H where the
charger alone is damped (the secular, or Pauli, master equation), and those of the pairs |g, v_i>,
|e, u_i> of singular vectors of K for noise on single qubits. Jumps move them within a ladder and to
its neighbours, so the rates are a block-tridiagonal matrix. The steady state of these rates is a
good start for the whole equation, and their inverse takes care of the modes that `Lyapunov` and
`Pairs` leave.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.basis.operators import Operator
from qbjax.common.types import Array
from qbjax.generator.bounds import spectral_box
from qbjax.generator.lindblad import Generator
from qbjax.steady.elimination import Factors, Tridiagonal, factor
from qbjax.steady.preconditioners import matrix_elements, product

# The shift of the rate equation over the norm of L, which keeps it regular, and the steps of
# inverse iteration to its rest state.
_SHIFT, _STEPS = 1e-13, 3


class Populations(eqx.Module):
    """The rate equation of the populations of basis states, solved.

    Attributes
    ----------
    vectors
        The bases as columns, (blocks, c, n, n) with c n = d: c vectors stand together, and share
        their population.
    rates
        Minus the rate matrix, with a small shift, eliminated.
    rest
        The populations at rest, shape (blocks, n).
    unit
        What the equation that is solved multiplies the trace by.
    """

    vectors: jax.Array
    rates: "Factors"
    rest: jax.Array
    unit: jax.Array

    def __call__(self, matrices: jax.Array) -> jax.Array:
        """Return the state that the populations of a right-hand side (blocks, d, d) lead to."""
        blocks, c, n, _ = self.vectors.shape
        square = matrices.reshape(blocks, c, n, c, n)
        diagonal = jnp.stack([square[:, i, :, i] for i in range(c)], axis=1)
        right = product(_transposed(self.vectors).conj(), diagonal)
        traced = jnp.sum(right * _transposed(self.vectors), axis=(1, 3)).real
        source = jnp.sum(traced)
        populations = self.rates.solve(traced - source * self.rest)
        populations = populations + (source / self.unit - jnp.sum(populations)) * self.rest
        return self.state(populations, matrices)

    def state(self, populations: jax.Array, like: jax.Array) -> jax.Array:
        """Return the matrices with these populations, real where `like` is."""
        blocks, c, n, _ = self.vectors.shape
        weighted = self.vectors * populations[:, None, None] / c
        parts = product(weighted, _transposed(self.vectors).conj())
        parts = parts.real if jnp.isrealobj(like) else parts
        square = jnp.zeros((blocks, c, n, c, n), parts.dtype)
        for i in range(c):
            square = square.at[:, i, :, i].set(parts[:, i])
        return square.reshape(like.shape)


def populations(
    generator: Generator, vectors: jax.Array, live: Array, unit: ArrayLike = 1.0
) -> Populations:
    """Set up the rate equation, W_jk = sum_m r_m |<j|L_m|k>|^2 for j != k."""
    blocks, c, n, _ = vectors.shape
    d = c * n

    def elements(operator: Operator, step: int) -> jax.Array:
        """Return the mean of |<a j|A|b k>|^2 over b, summed over a, shape (blocks, n, n)."""
        inside = matrix_elements(operator, vectors, jnp.roll(vectors, step, axis=0))
        return jnp.sum(jnp.abs(inside) ** 2, axis=(1, 3)) / c

    rates = {step: jnp.zeros((blocks, n, n)) for step in (-1, 0, 1)}
    for jump in generator.jumps:
        brought = jump.rate * elements(jump.left, jump.shift)
        rates[jump.shift] = rates[jump.shift] + brought
    # What leaves a state arrives somewhere.
    arrives = jnp.sum(rates[0], axis=1)
    arrives = arrives + jnp.roll(jnp.sum(rates[1], axis=1), -1, axis=0)
    arrives = arrives + jnp.roll(jnp.sum(rates[-1], axis=1), 1, axis=0)
    tiled = jnp.tile(live, d // live.shape[-1]) if c == 1 else live
    there = jnp.sum(jnp.abs(vectors[:, -1]) ** 2 * tiled[..., None], axis=-2) > 0.5
    decay, width = spectral_box(generator)
    # What is not there comes out as it goes in.
    loss = arrives + jnp.where(there, _SHIFT * (decay + width), 1.0)
    diagonal = loss[:, None] * jnp.eye(n) - rates[0]
    solved = factor(Tridiagonal(-rates[1], diagonal, -rates[-1]))

    def settle(_: int, rest: jax.Array) -> jax.Array:
        rest = solved.solve(rest)
        return rest / jnp.sum(rest)

    rest = jax.lax.fori_loop(0, _STEPS, settle, there / jnp.sum(there))
    return Populations(vectors, solved, rest, jnp.asarray(unit))


def _transposed(matrices: jax.Array) -> jax.Array:
    return matrices.swapaxes(-1, -2)
