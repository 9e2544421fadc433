"""A pytree whose real numbers stand in one array: loops compile faster that carry few arrays."""

from collections.abc import Callable

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree


class Packed(eqx.Module):
    """A pytree of arrays.

    Attributes
    ----------
    numbers
        All its real numbers in a row.
    rest
        The pytree of what else it has.
    """

    numbers: jax.Array
    rest: PyTree
    _unpack: Callable[[jax.Array], PyTree] = eqx.field(static=True)

    def __init__(self, tree: PyTree):
        """Pack a pytree."""
        numbers, self.rest = eqx.partition(tree, eqx.is_inexact_array)
        self.numbers, self._unpack = ravel_pytree(numbers)

    @property
    def tree(self) -> PyTree:
        """The pytree."""
        return self.at(self.numbers)

    def at(self, numbers: jax.Array) -> PyTree:
        """Return the pytree with other numbers."""
        return eqx.combine(self._unpack(numbers), self.rest)

    def slopes(self, by_numbers: jax.Array) -> "Packed":
        """Return derivatives by the numbers as a custom rule for this argument wants them."""
        return eqx.tree_at(
            lambda x: (x.numbers, x.rest),
            self,
            (by_numbers, jax.tree.map(lambda _: None, self.rest)),
        )
