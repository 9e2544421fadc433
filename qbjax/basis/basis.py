"""What a basis of the battery tells: the seam at which one basis takes the place of another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike

from qbjax.common.types import Array

Key = TypeVar("Key", bound=Hashable)
# Makes the bands <n|B|n - k> over n of an operator from the qubits that make up the spin of a
# ladder, the number of levels, and how many pairs of qubits are in singlets beside them.
Make = Callable[[ArrayLike, int, ArrayLike], dict[Key, jax.Array]]


@dataclass(frozen=True)
class Basis(ABC):
    """Ladders of levels side by side, with no coherence between them: blocks of every array.

    A block of a state is the sum over all copies that its ladder has in the space of the qubits.

    Attributes
    ----------
    levels
        The number of levels that arrays have for each ladder.
    truncated
        Whether the levels are a cut through an infinite ladder.
    space
        Where the unitaries act that extract work: a `space` of `qbjax.ergotropy`.
    """

    levels: int
    truncated: ClassVar[bool] = False
    space: ClassVar[str] = "full"

    @property
    @abstractmethod
    def blocks(self) -> int:
        """The number of ladders."""

    @property
    def support(self) -> np.ndarray:
        """The mask of the levels that any N has, shape (blocks, levels)."""
        return np.ones((self.blocks, self.levels), bool)

    @abstractmethod
    def live(self, N: ArrayLike) -> Array:
        """Return the mask of the levels that are no padding, shape (blocks, levels)."""

    @abstractmethod
    def bands(self, make: Make, N: ArrayLike) -> dict[Key, jax.Array]:
        """Return the bands of an operator in every ladder, each of shape (blocks, levels)."""

    @abstractmethod
    def split(self, state: Array) -> Array:
        """Return the blocks (blocks, ...) of a state as users give it."""

    @abstractmethod
    def joined(self, blocks: jax.Array) -> jax.Array:
        """Return a state as users see it from its blocks (blocks, ...)."""
