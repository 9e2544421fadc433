"""The number states of an oscillator, cut to a number of levels, as one ladder without an end."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.basis.basis import Key, Make
from qbjax.basis.ladder import Ladder
from qbjax.common.types import Array


class Fock(Ladder):
    """One ladder, all of whose levels are there whatever N is, and none is the last."""

    truncated: ClassVar[bool] = True
    space: ClassVar[str] = "symmetric"

    def live(self, N: ArrayLike) -> Array:
        """Return the mask of the levels, shape (1, levels): none is padding."""
        return np.ones((1, self.levels), bool)

    def bands(self, make: Make, N: ArrayLike) -> dict[Key, jax.Array]:
        """Return the bands of an operator, each of shape (1, levels)."""
        return super().bands(make, self.levels - 1)


def lowering_elements(levels: int) -> jax.Array:
    """Return <n-1|a|n> = sqrt(n) for n = 0 ... levels - 1, shape (levels,)."""
    return jnp.sqrt(jnp.arange(levels))
