"""The state of a battery on all its ladders, and what the space of its qubits makes of it.

A block X_k stands for X_k (x) 1/d_k: an eigenvalue x of it is d_k eigenvalues x/d_k of the state of
the qubits.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.basis.basis import Basis
from qbjax.basis.ladder import level_numbers, lowering_elements
from qbjax.basis.ladders import Ladders, binomials, copies
from qbjax.common import linalg
from qbjax.common.checks import as_array, goes_with, is_concrete, require, require_known
from qbjax.common.printing import Line, Printed

# The most qubits whose space of 2^N states is written out.
LARGEST_FULL = 10


class LadderState(Printed):
    """A battery state, or a batch of them, that treats all qubits alike: blocks of its ladders.

    Attributes
    ----------
    blocks
        X_k, summed over the copies of the ladder j = N/2 - k, shape (..., K, L, L) with K = L/2
        rounded up. Its levels are the excitations n, of which k ... N - k are there.
    N
        The number of qubits, at most L - 1, shape (...); None is L - 1.

    Raises
    ------
    ArgumentError
        Where the blocks have another shape, or N is none that they have room for.

    Examples
    --------
    >>> import qbjax as qb
    >>> state = qb.steady_state(qb.StarBattery(N=4, F=0.5, gamma_down=0.01)).battery
    >>> print(state.blocks.shape, state.weights.round(4))
    (3, 5, 5) [0.6726 0.2701 0.0572]
    """

    blocks: jax.Array
    N: jax.Array

    def __init__(self, blocks: ArrayLike, N: ArrayLike | None = None):
        """Look at the shape; the numbers are looked at where the state is used."""
        array = as_array(blocks, "blocks")
        levels = array.shape[-1] if array.ndim else 0
        shape = (Ladders(levels).blocks, levels, levels)
        fits = array.ndim >= 3 and levels >= 2 and array.shape[-3:] == shape
        require(fits, "blocks", "of shape (..., K, L, L), K = L/2 rounded up", str(array.shape))
        self.blocks = jnp.asarray(array)
        qubits = as_array(levels - 1 if N is None else N, "N")
        words = f"an integer between 1 and {levels - 1}"
        require(bool(jnp.issubdtype(qubits.dtype, jnp.integer)), "N", words, qubits)
        require_known((qubits >= 1) & (qubits < levels), "N", words, qubits)
        batch = array.shape[:-3]
        goes = goes_with(batch, qubits.shape) and qubits.ndim <= len(batch)
        require(goes, "N", f"of a shape that goes with {batch}", str(qubits.shape))
        self.N = jnp.broadcast_to(jnp.asarray(qubits), batch)

    def _title(self) -> str:
        return f"LadderState: a battery on {self.blocks.shape[-3]} ladders"

    def _lines(self) -> list[Line]:
        return [
            ("N", self.N, "qubits"),
            ("weights", self.weights, "of the ladders j = N/2, N/2 - 1, ..."),
            ("populations", self.populations, "of the excitations"),
        ]

    def __getitem__(self, index: int | slice | tuple[int | slice, ...]) -> "LadderState":
        """Return one state, or some, out of a batch."""
        require(self.N.ndim > 0, "index", "for a batch of states", "for a single one")
        return LadderState(self.blocks[index], self.N[index])

    @property
    def weights(self) -> jax.Array:
        """The share of each ladder, its copies together, shape (..., K)."""
        return jnp.sum(_diagonals(self.blocks), axis=-1)

    @property
    def populations(self) -> jax.Array:
        """The populations of the excitations n = 0 ... L - 1 in all ladders, shape (..., L)."""
        return jnp.sum(_diagonals(self.blocks), axis=-2)

    @property
    def copies(self) -> jax.Array:
        """How many copies of each ladder the qubits have, shape (..., K)."""
        blocks = self.blocks.shape[-3]
        return jnp.vectorize(lambda N: copies(N, blocks), signature="()->(k)")(self.N)

    @property
    def dephased(self) -> "LadderState":
        """The state without coherence between energies."""
        eye = jnp.eye(self.blocks.shape[-1])
        return LadderState(_diagonals(self.blocks)[..., None] * eye, self.N)

    @property
    def spectrum(self) -> tuple[jax.Array, jax.Array]:
        """The eigenvalues x of the blocks, and how often x / copies is one of the qubits' state.

        Shapes (..., K L), block by block, each ascending; copies are zero, and so are the
        eigenvalues, for the levels that a ladder does not have.
        """
        return jnp.vectorize(_spectrum, signature="(k,l,l),()->(m),(m)")(self.blocks, self.N)

    def passive_excitations(self, space: str) -> jax.Array:
        """Return the least energy over omega_B that unitaries of a space leave, shape (...)."""
        least = {"full": _over_all, "symmetric": _in_ladders, "local": _by_turning}[space]
        return jnp.vectorize(least, signature="(k,l,l),()->()")(self.blocks, self.N)

    def full(self) -> np.ndarray:
        """Return the matrix of one state in the space of the qubits, shape (2^N, 2^N).

        A basis state is a number in binary, whose digits, the first qubit's first, say which
        qubits are excited. The figures of merit do not take this matrix, which they would read as
        one of a ladder, but the state itself.

        Raises
        ------
        ArgumentError
            For a batch, a traced state, or more than 10 qubits.
        """
        require(is_concrete(self), "state", "known", "one that JAX is tracing")
        require(self.blocks.ndim == 3, "state", "a single one", f"a batch of {self.N.shape}")
        many = np.asarray(self.copies)[:, None, None]
        return of_qubits(np.asarray(self.blocks) / np.where(many > 0, many, 1.0), int(self.N))


def _diagonals(blocks: jax.Array) -> jax.Array:
    return jnp.diagonal(blocks, axis1=-2, axis2=-1).real


def _spectrum(blocks: jax.Array, N: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the eigenvalues of one state, and their copies."""
    live = Ladders(blocks.shape[-1]).live(N)
    # What a ladder does not have is put below every eigenvalue.
    values = linalg.eigvalsh(
        blocks - 2.0 * jnp.where(live, 0.0, 1.0)[..., None] * jnp.eye(len(live[0]))
    )
    missing = blocks.shape[-1] - jnp.sum(live, axis=-1)
    there = level_numbers(blocks.shape[-1]) >= missing[:, None]
    many = jnp.where(there, copies(N, len(blocks))[:, None], 0.0)
    return jnp.where(there, values, 0.0).ravel(), many.ravel()


def _over_all(blocks: jax.Array, N: jax.Array) -> jax.Array:
    """Sort the eigenvalues of the qubits' state onto C(N, l) levels of energy l each.

    The energy is the sum over l of what does not fit onto the first l levels, which is linear
    between the ends of the runs of equal eigenvalues.
    """
    values, many = _spectrum(blocks, N)
    heights = values / jnp.where(many > 0, many, 1.0)
    # Nothing stands behind what is not there.
    order = jnp.argsort(jnp.where(many > 0, -heights, jnp.inf))
    values, many, heights = values[order], many[order], heights[order]
    ends = jnp.cumsum(many)
    beyond = jnp.cumsum(values[::-1])[::-1] - values
    room = jnp.cumsum(binomials(N, blocks.shape[-1]))
    run = jnp.clip(jnp.searchsorted(ends, room), 0, len(values) - 1)
    left = beyond[run] + heights[run] * jnp.maximum(ends[run] - room, 0.0)
    return jnp.sum(jnp.where(level_numbers(len(left)) < N, left, 0.0))


def _in_ladders(blocks: jax.Array, N: jax.Array) -> jax.Array:
    """Sort the eigenvalues of each ladder onto its own levels n = k ... N - k."""
    values, many = (part.reshape(blocks.shape[:2]) for part in _spectrum(blocks, N))
    # Ascending, what is not there first: the largest one goes to n = k.
    k, place = jnp.arange(len(blocks))[:, None], level_numbers(blocks.shape[-1])[::-1]
    return jnp.sum(jnp.where(many > 0, values * (k + place), 0.0))


def _by_turning(blocks: jax.Array, N: jax.Array) -> jax.Array:
    """Turn all qubits alike until their mean spin points down: N/2 - |J|."""
    basis = Ladders(blocks.shape[-1])
    bands: dict[str, jax.Array] = basis.bands(
        lambda M, levels, _: {"J_-": lowering_elements(M, levels)}, N
    )
    lowering = bands["J_-"]
    n = level_numbers(basis.levels)
    upright = jnp.sum(_diagonals(blocks) * (n - N / 2))
    across = jnp.sum(jnp.diagonal(blocks, -1, 1, 2) * lowering[:, 1:])
    squared = upright**2 + (across * across.conj()).real
    # Without a mean spin the derivative is that of zero.
    turned = squared > 0
    length = jnp.where(turned, jnp.sqrt(jnp.where(turned, squared, 1.0)), 0.0)
    return N / 2 * jnp.sum(_diagonals(blocks)) - length


def on_all_ladders(rho_B: jax.Array) -> LadderState:
    """Return states (..., L, L) of the ladder j = N/2 as such of all ladders."""
    missing = Ladders(rho_B.shape[-1]).blocks - 1
    others = [(0, 0)] * (rho_B.ndim - 2)
    return LadderState(jnp.pad(rho_B[..., None, :, :], [*others, (0, missing), (0, 0), (0, 0)]))


def battery_state(basis: Basis, joined: jax.Array, N: ArrayLike) -> jax.Array | LadderState:
    """Return a battery state as users see it: the array of one ladder, or all ladders."""
    return LadderState(joined, N) if isinstance(basis, Ladders) else joined


def of_qubits(blocks: np.ndarray, N: int) -> np.ndarray:
    """Return blocks (K, L, L), the same on every copy of a ladder, as a matrix (2^N, 2^N).

    Raises
    ------
    ArgumentError
        For more than 10 qubits.
    """
    require(N <= LARGEST_FULL, "N", f"at most {LARGEST_FULL} for matrices of 2^N rows", N)
    matrix = np.zeros((2**N, 2**N), blocks.dtype)
    for k, levels in enumerate(_all_copies(N)):
        block = blocks[k, k : N - k + 1, k : N - k + 1]
        matrix += np.einsum("nm,nic,mjc->ij", block, levels, levels, optimize=True)
    return matrix


@functools.cache
def _all_copies(N: int) -> list[np.ndarray]:
    """Return the states of every ladder in the space of N qubits, shapes (levels, 2^N, copies).

    The lowest states of the copies are what J_- annihilates; J_+ makes the others of them.
    """
    raising = np.zeros((2**N, 2**N))
    states = np.arange(2**N)
    for i in range(N):
        empty = states[(states >> i) & 1 == 0]
        raising[empty | (1 << i), empty] = 1.0
    number = np.array([int(state).bit_count() for state in states])
    ladders = []
    for k in range(N // 2 + 1):
        here, below = number == k, number == k - 1
        lowest = np.zeros((2**N, here.sum() - below.sum()))
        if k == 0:
            lowest[0] = 1.0
        else:
            *_, vectors = np.linalg.svd(raising.T[np.ix_(below, here)])
            lowest[here] = vectors[below.sum() :].T
        levels = [lowest]
        for n in range(k, N - k):
            levels.append(raising @ levels[-1] / np.sqrt((n + 1 - k) * (N - k - n)))
        ladders.append(np.stack(levels))
    return ladders
