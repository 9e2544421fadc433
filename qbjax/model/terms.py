r"""Terms: a coefficient times a charger matrix times a band of the battery's ladder.

The Hamiltonian is a sum of terms, and each jump a rate with a sum of terms. Everything that solves
an equation knows only these.
"""

from __future__ import annotations

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.basis.basis import Basis
from qbjax.basis.operators import Operator, collect
from qbjax.common import types
from qbjax.common.checks import (
    ArgumentError,
    array_module,
    as_array,
    as_real,
    is_concrete,
    require,
    require_known,
)
from qbjax.common.printing import Line, Printed
from qbjax.model.battery_operators import (
    OF_AN_OSCILLATOR,
    PADDED,
    Bands,
    Battery,
    identity,
)
from qbjax.model.pulses import Value, at_time, in_words, is_pulse

# The same by offset and power of i, with real arrays.
RealBands = dict[tuple[int, int], jax.Array]


class Term(Printed):
    """A coefficient times a charger matrix times an operator of the battery.

    Parameters
    ----------
    coefficient
        A number, real or complex, shape () or that of a batch of models; a `Pulse` or
        `PiecewiseConstant` where it depends on time.
    charger
        Matrix (d_c, d_c) in the charger's levels; None is the identity. What is exactly zero in it
        costs nothing.
    battery
        One of `qbjax.identity`, `excitations`, `J_z`, `J_minus`, `J_plus`, or any function
        (N, levels) that returns the bands {k: <n|B|n-k> over n}; or a matrix (levels, levels).
        Of an oscillator `J_minus`, `J_plus` and `J_z` are a, its adjoint, and n.
        Beside noise on single qubits it is asked for every ladder, as that of N - 2k qubits; an
        argument `singlets` is told k.
        What they have above the level N of a padded model is left out.

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

    coefficient: Value
    charger: RealBands | None
    matrix: RealBands | None
    battery: Battery | None = eqx.field(static=True)

    def __init__(
        self,
        coefficient: Value,
        charger: types.ArrayLike | None = None,
        battery: Battery | types.ArrayLike = identity,
    ):
        """Split the matrices into their nonzero bands."""
        self.coefficient = coefficient
        if not is_pulse(coefficient):
            number = as_array(coefficient, "coefficient")
            finite = array_module(number).isfinite(number)
            require_known(finite, "coefficient", "finite", coefficient)
            self.coefficient = jnp.asarray(number)
        for name, matrix in (("charger", charger), ("battery", battery)):
            array = "an array: bring it over by qbjax.from_qutip"
            require(not hasattr(matrix, "full"), name, array, "a Qobj")
        self.charger = None if charger is None else _bands(charger, "charger")
        self.matrix = None if callable(battery) else _bands(battery, "battery")
        self.battery = battery if callable(battery) else None

    def _lines(self) -> list[Line]:
        matrix = "a matrix of your own"
        function = getattr(self.battery, "__name__", "a function of your own")
        return [
            ("coefficient", in_words(self.coefficient), ""),
            ("charger", "identity" if self.charger is None else matrix, ""),
            ("battery", matrix if self.battery is None else function, ""),
        ]

    def operator(self, t: ArrayLike, charger_levels: int, N: ArrayLike, basis: Basis) -> Operator:
        """Return the operator at a time."""
        coefficient = _split({0: jnp.asarray(at_time(self.coefficient, t))})
        charger = {(0, 0): jnp.ones(charger_levels)} if self.charger is None else self.charger
        function = self.battery
        if basis.truncated and function is not None:
            function = OF_AN_OSCILLATOR.get(function, function)
        bands: RealBands = basis.bands(functools.partial(self._bands, function), N)
        if self.battery not in PADDED:
            live = basis.live(N)
            bands = {
                (k, power): jnp.where(live & jnp.roll(live, k, axis=-1), band, 0.0)
                for (k, power), band in bands.items()
            }
        parts = []
        for (_, power), factor in coefficient.items():
            for (s, more), element in charger.items():
                for (k, still_more), band in bands.items():
                    weights = factor * element[:, None, None] * band
                    parts.append(((s, k, power + more + still_more), weights))
        return collect(parts)

    def _bands(
        self, function: Battery | None, N: ArrayLike, levels: int, singlets: ArrayLike
    ) -> RealBands:
        """Return the bands of the battery's part in one ladder."""
        if self.matrix is not None:
            return self.matrix
        assert function is not None
        return _split(bands_of(function, N, levels, singlets))


class Jump(Printed):
    """A rate with its jump operator: rate (L rho L^dagger - {L^dagger L, rho}/2).

    Parameters
    ----------
    rate
        Not negative, shape () or that of a batch of models; a `Pulse` or `PiecewiseConstant` where
        it depends on time.
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

    rate: Value
    terms: tuple[Term, ...]

    def __init__(self, rate: Value, *terms: Term):
        """Check the rate."""
        self.rate = rate if is_pulse(rate) else checked_rate(rate)
        are_terms = len(terms) > 0 and all(isinstance(term, Term) for term in terms)
        kinds = ", ".join(type(term).__name__ for term in terms) or "none"
        require(are_terms, "terms", "at least one qbjax.Term", kinds)
        self.terms = terms

    def _lines(self) -> list[Line]:
        parts = [line for term in self.terms for line in term._lines()]
        return [("rate", in_words(self.rate), "(unit of g)"), *parts]


class LocalJump(Printed):
    """The same jump L on every battery qubit, each by itself; see `Jump`.

    Parameters
    ----------
    rate
        Not negative, shape () or that of a batch of models; a `Pulse` or `PiecewiseConstant` where
        it depends on time.
    matrix
        L in the basis (ground, excited) of a qubit, shape (2, 2).

    Raises
    ------
    ArgumentError
        Where the rate is negative or the matrix of another shape.

    Examples
    --------
    A bath that flips every qubit:

    >>> import qbjax as qb
    >>> flip = qb.LocalJump(0.01, [[0.0, 1.0], [1.0, 0.0]])
    >>> model = qb.StarBattery(N=4, F=0.5, jumps=flip)
    >>> qb.steady_state(model).energy.round(6)
    Array(2., dtype=float64)
    """

    rate: Value
    matrix: RealBands

    def __init__(self, rate: Value, matrix: types.ArrayLike):
        """Check both."""
        self.rate = rate if is_pulse(rate) else checked_rate(rate)
        shape = as_array(matrix, "matrix").shape
        require(shape == (2, 2), "matrix", "of shape (2, 2)", f"of shape {shape}")
        self.matrix = _bands(matrix, "matrix")

    def _lines(self) -> list[Line]:
        return [("rate", in_words(self.rate), "(unit of g)"), ("matrix", "of every qubit", "")]

    def dense(self) -> np.ndarray:
        """Return the matrix, which is known."""
        matrix = np.zeros((2, 2), complex)
        for (k, power), band in self.matrix.items():
            n = np.arange(max(k, 0), min(2 + k, 2))
            matrix[n, n - k] += 1j**power * np.asarray(band)[n]
        return matrix


def checked_rate(rate: Value) -> jax.Array:
    """Return the rate of a jump that is a number, or refuse it."""
    array = jnp.asarray(as_real(rate, "rate"))
    require_known((array >= 0) & jnp.isfinite(array), "rate", "finite, not negative", rate)
    return array


def bands_of(function: Battery, N: ArrayLike, levels: int, singlets: ArrayLike = 0) -> Bands:
    """Return the bands that a function makes; one with an argument `singlets` is told these."""
    asks = "singlets" in inspect.signature(function).parameters
    return function(N, levels, **({"singlets": singlets} if asks else {}))


def total(
    terms: tuple[Term, ...], t: ArrayLike, charger_levels: int, N: ArrayLike, basis: Basis
) -> Operator:
    """Return the sum of terms at a time."""
    operator = Operator({})
    for term in terms:
        operator = operator + term.operator(t, charger_levels, N, basis)
    return operator


def _bands(matrix: types.ArrayLike, name: str) -> RealBands:
    """Return the bands of a matrix by their offset; those that are seen to be zero are left out."""
    # jnp would trace what is known under jit, and nothing could be left out.
    numpy, array = array_module(matrix), as_array(matrix, name)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        shape = f"of shape {array.shape}"
        raise ArgumentError(f"Argument `{name}` must be a square matrix, but is {shape}.")
    require_known(numpy.isfinite(array), name, "finite", matrix)
    levels = len(array)
    bands = {}
    for k in range(1 - levels, levels):
        diagonal = numpy.diagonal(array, -k)
        bands[k] = numpy.pad(diagonal, (k, 0) if k > 0 else (0, -k))
    split = _split(bands)
    return {
        key: jnp.asarray(band, dtype=float)
        for key, band in split.items()
        if not is_concrete(band) or np.any(np.asarray(band))
    }


def _split(bands: dict[int, jax.Array]) -> RealBands:
    """Tell real and imaginary parts apart."""
    split = {}
    for k, band in bands.items():
        split[k, 0] = band.real
        if jnp.iscomplexobj(band):
            split[k, 1] = band.imag
    return split
