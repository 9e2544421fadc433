r"""All ladders of N qubits, which noise on single qubits reaches from the ladder j = N/2.

A state that treats all qubits alike is a sum over ladders of total spin j = N/2 - k, k = 0 ... N/2,
each of which the space of the qubits holds in d_k = C(N, k) - C(N, k - 1) copies:

    rho = sum_k X_k (x) 1/d_k.

A block X_k is the sum over the copies, so that the traces add up to one. Its levels are counted by
the excitations n = k ... N - k in every ladder, so that an operator moves n alike in all of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.basis.basis import Basis, Key, Make
from qbjax.basis.ladder import level_numbers
from qbjax.common.checks import array_module
from qbjax.common.types import Array


class Ladders(Basis):
    """Every ladder j = N/2 - k, as the block k."""

    @property
    def blocks(self) -> int:
        """One ladder for each k = 0 ... N/2 of the largest N."""
        return (self.levels + 1) // 2

    @property
    def support(self) -> np.ndarray:
        """The mask of the levels k <= n <= N - k of the largest N."""
        return np.asarray(self.live(self.levels - 1))

    def live(self, N: ArrayLike) -> Array:
        """Return the mask of the levels k <= n <= N - k, shape (blocks, levels)."""
        # On the host where N is there, also in a function that JAX is tracing.
        k, n = np.arange(self.blocks)[:, None], np.arange(self.levels)
        return (n >= k) & (n <= N - k)

    def bands(self, make: Make, N: ArrayLike) -> dict[Key, jax.Array]:
        """Return the bands of an operator: a ladder is that of N - 2k qubits, moved up by k."""

        def of_one(k: jax.Array) -> dict[Key, jax.Array]:
            bands = make(N - 2 * k, self.levels, k)
            return {key: jnp.roll(band, k) for key, band in bands.items()}

        return jax.vmap(of_one)(jnp.arange(self.blocks))

    def split(self, state: Array) -> Array:
        """Return the blocks (blocks, ...) of a state, or of one of the ladder j = N/2 alone."""
        if state.ndim % 2:
            return state
        rest = [(0, 0)] * state.ndim
        return array_module(state).pad(state[None], [(0, self.blocks - 1), *rest])

    def joined(self, blocks: jax.Array) -> jax.Array:
        """Return the blocks themselves."""
        return blocks

    def hop(self, N: ArrayLike, q: int, step: int) -> jax.Array:
        r"""Return T of sum_i s_q rho s_q^dagger: X_k -> T X_(k - step) T^dagger in the block k.

        With s_q = sigma^-, sigma_z / 2, sigma^+ for q = -1, 0, 1. The sum over all ways to take
        one qubit out of N and couple it again is done by Clebsch-Gordan coefficients; the squared
        elements are ratios of integers, with a = n - k and b = N - k - n of the level that is left.

        Parameters
        ----------
        N
            The number of qubits.
        q, step
            By how much the excitations and the number of the ladder grow: each of -1, 0, 1.

        Returns
        -------
        The elements by the level that is reached, shape (blocks, levels).
        """
        k = jnp.arange(self.blocks)[:, None] - step
        n = level_numbers(self.levels) - q
        a, b = n - k, N - k - n
        spin = a + b
        moves = {
            (0, -1): a * (b + 1),
            (0, 0): (a - b) ** 2 / 4,
            (0, 1): b * (a + 1),
            (1, -1): a * (a - 1),
            (1, 0): a * b,
            (1, 1): b * (b - 1),
            (-1, -1): (b + 1) * (b + 2),
            (-1, 0): (a + 1) * (b + 1),
            (-1, 1): (a + 1) * (a + 2),
        }
        weights = {
            0: (N + 2) / (spin * (spin + 2)),
            1: (N + spin + 2) / (2 * spin * (spin + 1)),
            -1: (N - spin) / (2 * (spin + 1) * (spin + 2)),
        }
        # Ladders of spin zero, which are left upwards alone, divide by zero; so may the padding.
        inside = (k >= 0) & (a >= 0) & (b >= 0) & self.live(N) & ((spin > 0) | (step < 0))
        squared = jnp.where(inside, weights[step] * moves[step, q], 0.0)
        positive = squared > 0
        size = jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)
        negative = (step * q < 0) | ((step == q == 0) & (a < b))
        return jnp.where(negative, -size, size)


def binomials(N: ArrayLike, count: int) -> jax.Array:
    """Return C(N, l) for l = 0 ... count - 1, each from the one before; N may be traced."""
    chosen = jnp.arange(1, count)
    return jnp.cumprod(jnp.concatenate([jnp.ones(1), (N - chosen + 1) / chosen]))


def copies(N: ArrayLike, blocks: int) -> jax.Array:
    """Return how many copies d_k of each ladder the qubits have, zero beyond N/2; (blocks,)."""
    k = jnp.arange(blocks)
    live = 2 * k <= N
    return jnp.where(live, binomials(N, blocks) * (N - 2 * k + 1) / (N - k + 1), 0.0)
