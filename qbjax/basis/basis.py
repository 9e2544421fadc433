"""What a basis of the battery tells: the seam at which one basis takes the place of another."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import jax
from jax.typing import ArrayLike

from qbjax.common.types import Array

Key = TypeVar("Key", bound=Hashable)
# Makes the bands <n|B|n - k> over n of an operator, of one ladder of N qubits in some levels.
Make = Callable[[ArrayLike, int], dict[Key, jax.Array]]


@dataclass(frozen=True)
class Basis(ABC):
    """Ladders of levels side by side, with no coherence between them: blocks of every array.

    A block of a state is the sum over all copies that its ladder has in the space of the qubits.

    Attributes
    ----------
    levels
        The number of levels that arrays have for each ladder.
    """

    levels: int

    @property
    @abstractmethod
    def blocks(self) -> int:
        """The number of ladders."""

    @abstractmethod
    def live(self, N: ArrayLike) -> jax.Array:
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
