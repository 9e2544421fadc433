"""What a method is: an object that can refuse a model in words, and which one "auto" takes."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import ArgumentError, require
from qbjax.model.star_battery import StarBattery


class Method(ABC):
    """A method; there is one object of each, told apart by identity.

    Attributes
    ----------
    name
        What the argument `method` calls it.
    side_by_side
        Whether the models of a batch are solved in one program, and not one after the other.
    """

    name: str
    side_by_side = False

    def refuses(self, model: StarBattery) -> str | None:
        """Say why it cannot solve a model; None where it can. Only structure counts."""
        return None

    def defers(self, model: StarBattery) -> str | None:
        """Say why another method serves better; None where this one does."""
        return None

    def require(self, model: StarBattery) -> None:
        """Raise `ArgumentError` where it refuses the model."""
        reason = self.refuses(model)
        require(reason is None, "method", f"another one where {reason}", f'"{self.name}"')

    @abstractmethod
    def reason(self, model: StarBattery) -> str:
        """Say how it solves a model."""

    @abstractmethod
    def start(self, model: StarBattery, rho0: object) -> tuple[PyTree, PyTree]:
        """Return a start in the method's own form, and whether it was refused."""


Kind = TypeVar("Kind", bound=Method)


def choose(methods: Mapping[str, Kind], model: StarBattery, name: str) -> tuple[Kind, str]:
    """Return the method of a name, or the first that "auto" takes, and the reason.

    Structure alone decides. The reason is what the others said, and how it is solved.
    """
    if name != "auto":
        methods[name].require(model)
        return methods[name], "asked for"
    leaves, tree = jax.tree.flatten(model)
    forms = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    return _choose(tuple(methods.values()), tree, forms)


@functools.lru_cache(maxsize=256)
def _choose(
    methods: tuple[Kind, ...], tree: Any, forms: tuple[tuple[tuple[int, ...], np.dtype], ...]
) -> tuple[Kind, str]:
    """Ask every method; what was asked once of a structure is remembered."""
    model = tree.unflatten([jax.ShapeDtypeStruct(*form) for form in forms])
    against: list[str] = []
    for method in methods:
        why_not = method.refuses(model) or method.defers(model)
        if why_not is None:
            others = f"{'; '.join(dict.fromkeys(against))}: " if against else ""
            return method, others + method.reason(model)
        against.append(why_not)
    raise ArgumentError(f"Argument `model` must be one that a method takes, but {against[-1]}.")
