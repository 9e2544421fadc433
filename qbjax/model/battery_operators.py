"""The operators of the battery that have a name, by their bands."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.basis import fock, ladder

# <n|B|n - k> as an array over n, for each offset k.
Bands = dict[int, jax.Array]
Battery = Callable[..., Bands]


def identity(N: ArrayLike, levels: int) -> Bands:
    """Return the identity of the ladder; like all of these, zero above the level N.

    Parameters
    ----------
    N
        Number of qubits, shape (); it may be traced.
    levels
        Number of levels of the ladder, N + 1, or more where it is padded.

    Returns
    -------
    Its bands, {k: <n|B|n-k> over n}, each of shape (levels,).

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.identity(2, 4)[0])
    [1. 1. 1. 0.]
    """
    return {0: 1.0 * ladder.live_levels(N, levels)}


def excitations(N: ArrayLike, levels: int, singlets: ArrayLike = 0) -> Bands:
    """Return the number of excitations n.

    Parameters
    ----------
    N
        Number of qubits, shape (); it may be traced.
    levels
        Number of levels of the ladder, N + 1, or more where it is padded.
    singlets
        Number of pairs of qubits in singlets beside these, of one excitation each.

    Returns
    -------
    Its bands, {k: <n|B|n-k> over n}, each of shape (levels,).

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.excitations(3, 4)[0])
    [0. 1. 2. 3.]
    """
    return {0: (ladder.level_numbers(levels) + singlets) * identity(N, levels)[0]}


def J_z(N: ArrayLike, levels: int) -> Bands:
    """Return J_z = n - N/2.

    Parameters
    ----------
    N
        Number of qubits, shape (); it may be traced.
    levels
        Number of levels of the ladder, N + 1, or more where it is padded.

    Returns
    -------
    Its bands, {k: <n|B|n-k> over n}, each of shape (levels,).

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.J_z(3, 4)[0])
    [-1.5 -0.5  0.5  1.5]
    """
    return {0: (ladder.level_numbers(levels) - jnp.asarray(N) / 2) * identity(N, levels)[0]}


def J_minus(N: ArrayLike, levels: int) -> Bands:
    """Return J_-, with <n-1|J_-|n> = sqrt(n (N - n + 1)).

    Parameters
    ----------
    N
        Number of qubits, shape (); it may be traced.
    levels
        Number of levels of the ladder, N + 1, or more where it is padded.

    Returns
    -------
    Its bands, {k: <n|B|n-k> over n}, each of shape (levels,).

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.J_minus(2, 3)[-1].round(4))
    [1.4142 1.4142 0.    ]
    """
    return {-1: jnp.roll(ladder.lowering_elements(N, levels), -1)}


def J_plus(N: ArrayLike, levels: int) -> Bands:
    """Return J_+, with <n|J_+|n-1> = sqrt(n (N - n + 1)).

    Parameters
    ----------
    N
        Number of qubits, shape (); it may be traced.
    levels
        Number of levels of the ladder, N + 1, or more where it is padded.

    Returns
    -------
    Its bands, {k: <n|B|n-k> over n}, each of shape (levels,).

    Examples
    --------
    >>> import qbjax as qb
    >>> print(qb.J_plus(2, 3)[1].round(4))
    [0.     1.4142 1.4142]
    """
    return {1: ladder.lowering_elements(N, levels)}


# These leave the padding empty by themselves.
PADDED = (identity, excitations, J_z, J_minus, J_plus)


def _annihilation(N: ArrayLike, levels: int) -> Bands:
    return {-1: jnp.roll(fock.lowering_elements(levels), -1)}


def _creation(N: ArrayLike, levels: int) -> Bands:
    return {1: fock.lowering_elements(levels)}


# What the operators of a battery of qubits are for an oscillator.
OF_AN_OSCILLATOR: dict[Battery, Battery] = {
    J_minus: _annihilation,
    J_plus: _creation,
    J_z: excitations,
}
