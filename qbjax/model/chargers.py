"""What charges the battery: a qubit, a cavity mode or a spin, as a ladder of levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qbjax.common.checks import ArgumentError, require


@dataclass(frozen=True)
class Charger:
    """A charger with levels c = 0 ... levels - 1 that its lowering operator connects in a row.

    It stands where the paper has its qubit: the drive and the battery couple to `lowering` and its
    adjoint, detuning and dephasing to the excitations c.

    Attributes
    ----------
    name
        "qubit", "cavity" or "spin".
    levels
        Number of levels.
    elements
        <c - 1|lowering|c> for c = 1 ... levels - 1.
    truncated
        Whether the levels are a cut through an infinite ladder, so that a population of the topmost
        one means that the cut is too low.
    """

    name: str
    levels: int
    elements: tuple[float, ...]
    truncated: bool = False

    def __repr__(self) -> str:
        """Return the call that makes it."""
        size = {"cavity": f"{self.levels}", "spin": f"{(self.levels - 1) / 2:g}"}
        return f"qbjax.{self.name}({size.get(self.name, '')})"

    @property
    def lowering(self) -> np.ndarray:
        """The lowering operator, shape (levels, levels): sigma^-, a or S_-."""
        return np.diag(self.elements, 1)

    @property
    def excitations(self) -> np.ndarray:
        """The number of excitations as an operator, shape (levels, levels): |e><e| of a qubit."""
        return np.diag(np.arange(self.levels, dtype=float))

    @property
    def inversion(self) -> np.ndarray:
        """The excitations counted from the middle of the ladder: half of sigma_z for a qubit.

        As a dephasing jump it gives the same equation as `excitations`; for a qubit its square is
        a multiple of one, which keeps the effective Hamiltonian normal.
        """
        return self.excitations - (self.levels - 1) / 2 * np.eye(self.levels)


def qubit() -> Charger:
    """Return the charger of the paper, with the levels |g>, |e>.

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.qubit().excitations)
    [[0. 0.]
     [0. 1.]]
    """
    return Charger("qubit", 2, (1.0,))


def cavity(levels: int) -> Charger:
    """Return a cavity mode cut to a number of levels: a driven Tavis-Cummings battery.

    Parameters
    ----------
    levels
        The number of levels, at least 2. A solve says `CUT_TOO_LOW` where the topmost one matters.

    Raises
    ------
    ArgumentError
        Where it is not such an integer.

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.cavity(3).lowering.round(3))
    [[0.    1.    0.   ]
     [0.    0.    1.414]
     [0.    0.    0.   ]]
    """
    size = checked_levels(levels)
    return Charger("cavity", size, tuple(math.sqrt(c) for c in range(1, size)), True)


def checked_levels(levels: int) -> int:
    """Return at how many levels an infinite ladder is cut, or refuse the number."""
    whole = isinstance(levels, int | np.integer)
    require(whole and levels >= 2, "levels", "an integer of at least 2", levels)
    return int(levels)


def spin(S: float) -> Charger:
    """Return a spin, with <m-1|S_-|m> = sqrt((S+m)(S-m+1)).

    Parameters
    ----------
    S
        Its length, 1/2, 1, 3/2, ...

    Raises
    ------
    ArgumentError
        Where it is none of these.

    Examples
    --------
    >>> import qbjax as qb
    >>> qb.spin(0.5).elements
    (1.0,)
    """
    whole = isinstance(S, int | float | np.number) and S > 0 and float(2 * S).is_integer()
    require(whole, "S", "a positive multiple of 1/2", S)
    levels = round(2 * S) + 1
    return Charger("spin", levels, tuple(math.sqrt(c * (levels - c)) for c in range(1, levels)))


def charger_from_text(text: str) -> Charger:
    """Return what a text names: "qubit", "cavity:LEVELS" or "spin:S".

    Raises
    ------
    ArgumentError
        Where it names nothing.

    Examples
    --------
    >>> from qbjax.model.chargers import charger_from_text
    >>> charger_from_text("spin:1.5").levels
    4
    """
    name, _, size = str(text).partition(":")
    if text == "qubit":
        return qubit()
    try:
        make, number = _FROM_TEXT[name], float(size)
    except (KeyError, ValueError):
        forms = '"qubit", "cavity:LEVELS" or "spin:S"'
        raise ArgumentError(f'Argument `charger` must be {forms}, but is "{text}".') from None
    return make(int(number) if number.is_integer() else number)


_FROM_TEXT: dict[str, Callable[[Any], Charger]] = {"cavity": cavity, "spin": spin}
