"""The independent real numbers of a Hermitian matrix on the levels that there may be.

As a vector, with weights that make its norm that of Hilbert and Schmidt. A stored state has room
for more: both triangles of its diagonal blocks, and levels that a ladder does not have.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from qbjax.basis.basis import Basis
from qbjax.generator import stored_states
from qbjax.generator.lindblad import Generator, charger_pairs


class Coordinates(eqx.Module):
    """Between stored states of a shape and vectors.

    Attributes
    ----------
    generator
        A generator on these states, of which the structure alone counts.
    parts
        The parts of the stored states, 1 or 2.
    """

    generator: Generator
    parts: int = eqx.field(static=True)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return _size(self.generator.charger_levels, self.generator.basis, self._shape)

    def vector(self, stored: jax.Array) -> jax.Array:
        """Return a stored state as a vector."""
        places, weights = self._places
        return stored.ravel()[places] * weights

    def stored(self, vector: jax.Array) -> jax.Array:
        """Return a vector as a stored state."""
        places, weights = self._places
        flat = (
            jnp.zeros(int(np.prod(self._shape)))
            .at[places]
            .set(vector / weights, unique_indices=True)
        )
        upper = flat.reshape(self._shape)
        signs = np.array([1.0, -1.0])[: self.parts, None, None, None, None]
        below = np.tri(self.generator.levels, k=-1, dtype=bool)
        mirrored = jnp.where(below, signs * upper.swapaxes(-1, -2), upper)
        return jnp.where(self.generator.on_diagonal[:, None, None, None], mirrored, upper)

    def trace(self, vector: jax.Array) -> jax.Array:
        """Return the trace."""
        ones = np.zeros(self._shape)
        diagonal = self.generator.on_diagonal[:, None, None, None]
        ones[0] = diagonal * np.eye(self.generator.levels)
        places, weights = self._places
        return jnp.dot(ones.ravel()[places] / weights, vector)

    @property
    def _shape(self) -> tuple[int, ...]:
        return stored_states.shape(self.generator, self.parts)

    @property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return _places(self.generator.charger_levels, self.generator.basis, self._shape)


@functools.cache
def _size(charger_levels: int, basis: Basis, shape: tuple[int, ...]) -> int:
    return len(_places(charger_levels, basis, shape)[0])


def _places(
    charger_levels: int, basis: Basis, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where in a stored state the numbers are, and sqrt(how often each counts).

    Of a diagonal block these are the upper triangle, without the diagonal in the imaginary part.
    """
    levels, support = basis.levels, basis.support
    used = np.array(np.broadcast_to(support[:, :, None] & support[:, None], shape))
    counts = np.full(shape, 2.0)
    a, b = charger_pairs(charger_levels).T
    used[0, a == b] &= np.triu(np.ones((levels, levels), bool))
    counts[0, a == b] = 2.0 - np.eye(levels)
    # There may be no imaginary part.
    used[1:, a == b] &= np.triu(np.ones((levels, levels), bool), 1)
    # Made anew each time: JAX knows arrays by identity, and not by the precision they are used in.
    places = np.flatnonzero(used)
    return places, np.sqrt(counts.ravel()[places])
