r"""Terms: a coefficient times a charger matrix times a band of the battery's ladder.

The Hamiltonian is a sum of terms, and each jump a rate with a sum of terms. Everything that solves
an equation knows only these.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax import dicke
from qbjax.checks import ArgumentError, is_concrete, require
from qbjax.operators import Operator
from qbjax.pulses import at_time, is_pulse

# <n|B|n - k> as an array over n, for each offset k.
Bands = dict[int, jax.Array]
Battery = Callable[[ArrayLike, int], Bands]


def identity(N: ArrayLike, levels: int) -> Bands:
    """Return the identity of the ladder; like all of these, zero above the level N."""
    return {0: 1.0 * dicke.live_levels(N, levels)}


def excitations(N: ArrayLike, levels: int) -> Bands:
    """Return the number of excitations n."""
    return {0: dicke.level_numbers(levels) * identity(N, levels)[0]}


def J_z(N: ArrayLike, levels: int) -> Bands:
    """Return J_z = n - N/2."""
    return {0: (dicke.level_numbers(levels) - jnp.asarray(N) / 2) * identity(N, levels)[0]}


def J_minus(N: ArrayLike, levels: int) -> Bands:
    """Return J_-, with <n-1|J_-|n> = sqrt(n (N - n + 1))."""
    return {-1: jnp.roll(dicke.lowering_elements(N, levels), -1)}


def J_plus(N: ArrayLike, levels: int) -> Bands:
    """Return J_+, with <n|J_+|n-1> = sqrt(n (N - n + 1))."""
    return {1: dicke.lowering_elements(N, levels)}


class Term(eqx.Module):
    """A coefficient times a charger matrix times an operator of the battery.

    Parameters
    ----------
    coefficient
        A number, real or complex; a `Pulse` or `PiecewiseConstant` where it depends on time.
    charger
        Matrix (d_c, d_c) in the charger's levels; None is the identity. What is exactly zero in it
        costs nothing.
    battery
        One of `qbjax.identity`, `excitations`, `J_z`, `J_minus`, `J_plus`, or any function
        (N, levels) that returns the bands {k: <n|B|n-k> over n}; or a matrix (levels, levels).

    Raises
    ------
    ArgumentError
        Where a matrix is not square.

    Examples
    --------
    A field along J_x of the battery:

    >>> import qbjax as qb
    >>> field = (qb.Term(0.05, battery=qb.J_minus), qb.Term(0.05, battery=qb.J_plus))
    >>> model = qb.StarBattery(N=4, F=0.5, kappa=0.1, hamiltonian=field)
    """

    coefficient: Any
    charger: dict[tuple[int, int], jax.Array] | None
    battery: Battery | Bands
    charger_levels: int | None = eqx.field(static=True)

    def __init__(
        self,
        coefficient: Any,
        charger: ArrayLike | None = None,
        battery: Battery | ArrayLike = identity,
    ):
        """Split the matrices into their nonzero elements."""
        self.coefficient = coefficient if is_pulse(coefficient) else jnp.asarray(coefficient)
        self.charger, self.charger_levels = None, None
        if charger is not None:
            matrix = _square(charger, "charger")
            self.charger_levels = matrix.shape[0]
            indices = np.ndindex(matrix.shape)
            self.charger = {(a, b): matrix[a, b] for a, b in indices if _present(matrix[a, b])}
        self.battery = battery if callable(battery) else _bands(_square(battery, "battery"))

    def operator(self, t: ArrayLike, charger_levels: int, N: ArrayLike, levels: int) -> Operator:
        """Return the operator at a time."""
        if self.charger is None:
            elements = {(c, c): jnp.asarray(1.0) for c in range(charger_levels)}
        else:
            elements = self.charger
        bands = self.battery(N, levels) if callable(self.battery) else self.battery
        coefficient = at_time(self.coefficient, t)
        entries = {}
        for (a, b), element in elements.items():
            for k, band in bands.items():
                weights = coefficient * element * band
                entries[a, b, k, 0] = weights.real
                if jnp.iscomplexobj(weights):
                    entries[a, b, k, 1] = weights.imag
        return Operator(entries)


class Jump(eqx.Module):
    """A rate with its jump operator: rate (L rho L^dagger - {L^dagger L, rho}/2).

    Parameters
    ----------
    rate
        Not negative; a `Pulse` or `PiecewiseConstant` where it depends on time.
    terms
        The terms whose sum is L.

    Raises
    ------
    ArgumentError
        Where the rate is negative or there is no term.

    Examples
    --------
    Charger and battery decay into the same bath:

    >>> import qbjax as qb
    >>> lower = qb.qubit().lowering
    >>> jump = qb.Jump(0.1, qb.Term(1.0, charger=lower), qb.Term(1.0, battery=qb.J_minus))
    >>> model = qb.StarBattery(N=4, F=0.5, jumps=(jump,))
    """

    rate: Any
    terms: tuple[Term, ...]

    def __init__(self, rate: Any, *terms: Term):
        """Check the rate."""
        self.rate = rate if is_pulse(rate) else jnp.asarray(rate, dtype=float)
        if is_concrete(self.rate) and not is_pulse(rate):
            require(np.all(np.asarray(self.rate) >= 0), "rate", "not negative", rate)
        good = len(terms) > 0 and all(isinstance(term, Term) for term in terms)
        require(good, "terms", "at least one qbjax.Term", terms)
        self.terms = terms


def total(terms: tuple[Term, ...], t: ArrayLike, *shape: Any) -> Operator:
    """Return the sum of terms at a time; `shape` as for `Term.operator`."""
    operator = Operator({})
    for term in terms:
        operator = operator + term.operator(t, *shape)
    return operator


def _square(matrix: ArrayLike, name: str) -> jax.Array | np.ndarray:
    array = np.asarray(matrix) if is_concrete(matrix) else jnp.asarray(matrix)
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    if not square:
        raise ArgumentError(f"Argument `{name}` must be a square matrix, but is of {array.shape}.")
    return array


def _present(element: ArrayLike) -> bool:
    return not is_concrete(element) or bool(np.asarray(element) != 0)


def _bands(matrix: jax.Array | np.ndarray) -> Bands:
    levels = matrix.shape[0]
    n = np.arange(levels)
    bands = {}
    for k in range(1 - levels, levels):
        inside = (n - k >= 0) & (n - k < levels)
        band = jnp.where(inside, matrix[n, np.clip(n - k, 0, levels - 1)], 0.0)
        if not is_concrete(band) or np.any(np.asarray(band)):
            bands[k] = band
    return bands
