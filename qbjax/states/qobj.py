"""States and operators of QuTiP as arrays: the one place that knows how QuTiP counts levels.

QuTiP counts the levels of a spin from the top, `qutip.jmat`, and so of a qubit, whose
`qutip.basis(2, 0)` is |e>; qbjax counts excitations. So the battery's axes are turned round, and
the charger's, too, unless they are those of an oscillator or a cavity, whose levels `qutip.destroy`
counts as qbjax does. The charger comes first in both. QuTiP itself is not needed here.
"""

from typing import Protocol, TypeGuard

import numpy as np

from qbjax.common.checks import ArgumentError, as_count, require
from qbjax.model.chargers import Charger, qubit


class Qobj(Protocol):
    """What is asked of an object of QuTiP."""

    dims: list[list[int]]
    isket: bool

    def full(self) -> np.ndarray:
        """Return the matrix."""

    def proj(self) -> "Qobj":
        """Return the projector of a ket."""


def is_qobj(value: object) -> TypeGuard[Qobj]:
    """Tell whether something is an object of QuTiP: one that has dimensions and a full form."""
    return hasattr(value, "dims") and callable(getattr(value, "full", None))


def from_qobj(
    qobj: object,
    name: str,
    charger: Charger | None = None,
    N_max: int | None = None,
    oscillator: bool = False,
) -> np.ndarray:
    """Return a state or an operator of QuTiP as an array, as `qbjax.from_qutip` says.

    Parameters
    ----------
    qobj, charger, N_max
        As for `qbjax.from_qutip`; without a charger, the levels of one are turned round.
    name
        The name of the argument in messages.
    oscillator
        Whether the battery is one.
    """
    if not is_qobj(qobj):
        raise ArgumentError(f"Argument `{name}` must be a Qobj, but is {type(qobj).__name__}.")
    levels = all(isinstance(size, int) for part in qobj.dims for size in part)
    require(levels, name, "a ket or a matrix", f"a superoperator of the dimensions {qobj.dims}")
    columns: tuple[int, ...]
    rows, columns = (tuple(part) for part in qobj.dims)
    if qobj.isket:
        columns = ()
    forms = "a ket or a matrix of the battery, or of charger and battery"
    battery = columns in ((), rows) and len(rows) in (1, 2)
    require(battery, name, forms, f"of the dimensions {qobj.dims}")
    if len(rows) == 2 and charger is not None:
        fits = rows[0] == charger.levels
        require(fits, name, f"of the `charger`, of {charger.levels} levels", f"of one of {rows[0]}")
    if qobj.isket and len(rows) == 2:
        qobj, columns = qobj.proj(), rows
    array = turned(qobj.full().reshape(rows + columns), charger or qubit(), oscillator)
    if N_max is not None:
        room = as_count(N_max, "N_max") + 1
        require(rows[-1] <= room, name, f"of at most `N_max` + 1 = {room} levels", f"of {rows[-1]}")
        ladder = {len(rows) - 1, array.ndim - 1}
        free = room - rows[-1]
        array = np.pad(array, [(0, free * (i in ladder)) for i in range(array.ndim)])
    return array


def turned(array: np.ndarray, charger: Charger, oscillator: bool = False) -> np.ndarray:
    """Return an array with the levels counted as the other side does."""
    of_charger = {0, 2} if array.ndim == 4 else set()
    same = of_charger if charger.name == "cavity" else set()
    if oscillator:
        same = same | ({*range(array.ndim)} - of_charger)
    return np.flip(array, tuple(axis for axis in range(array.ndim) if axis not in same))
