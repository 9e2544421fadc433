"""The Dicke ladder |N/2, n - N/2> of N battery qubits, n = 0 ... N.

Every array may be padded: `levels` is its static length and N, at most `levels - 1`, may be traced.
Entries beyond the level N are zero.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.basis.basis import Basis, Key, Make
from qbjax.common import linalg
from qbjax.common.types import Array


class Ladder(Basis):
    """The Dicke ladder alone: all that collective operators reach from an empty battery."""

    @property
    def blocks(self) -> int:
        """One ladder."""
        return 1

    def live(self, N: ArrayLike) -> Array:
        """Return the mask of the levels that are no padding, shape (1, levels)."""
        return live_levels(N, self.levels)[None]

    def bands(self, make: Make, N: ArrayLike) -> dict[Key, jax.Array]:
        """Return the bands of an operator, each of shape (1, levels)."""
        return {key: band[None] for key, band in make(N, self.levels, 0).items()}

    def split(self, state: Array) -> Array:
        """Return a state as its one block."""
        return state[None]

    def joined(self, blocks: jax.Array) -> jax.Array:
        """Return the one block of a state."""
        return blocks[0]


def level_numbers(levels: int) -> jax.Array:
    """Return the excitation numbers n = 0 ... levels - 1, shape (levels,)."""
    return jnp.arange(levels)


def live_levels(N: ArrayLike, levels: int) -> jax.Array:
    """Return the mask of the levels n <= N that are no padding, shape (levels,)."""
    return level_numbers(levels) <= N


def lowering_elements(N: ArrayLike, levels: int) -> jax.Array:
    """Return <n-1|J_-|n> = sqrt(n (N - n + 1)) for n = 0 ... levels - 1, shape (levels,).

    The element of n = 0 is zero, and so are those above the top level n = N.
    """
    n = level_numbers(levels)
    squared = n * (N - n + 1)
    # The double where keeps the derivative of the square root out of its zeros.
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def reverse(array: jax.Array, N: ArrayLike, axis: int = 0) -> jax.Array:
    """Apply the reversal P|n> = |N - n> along one axis of a padded array."""
    levels = array.shape[axis]
    n = level_numbers(levels)
    shape = [1] * array.ndim
    shape[axis] = levels
    live = live_levels(N, levels).reshape(shape)
    return jnp.where(live, jnp.take(array, jnp.clip(N - n, 0, levels - 1), axis=axis), 0.0)


def spin_coherent_state(theta: ArrayLike, phi: ArrayLike, N: int) -> jax.Array:
    r"""Return the spin-coherent state e^{xi J_+}|0> / norm with xi = tan(theta/2) e^{i phi}.

    The amplitude of |n> is sqrt(C(N, n)) cos(theta/2)^(N-n) sin(theta/2)^n e^{i n phi}: every qubit
    points the same way. This is |psi_2> of Eq. (13) of the paper; reversed, it is |psi_1> of
    Eq. (12).

    Parameters
    ----------
    theta, phi
        Polar angle from the ground state and azimuth, in radians, shape ().
    N
        The number of qubits.

    Returns
    -------
    Complex ket, shape (N + 1,).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.basis.ladder import spin_coherent_state
    >>> print(jnp.abs(spin_coherent_state(jnp.pi / 2, 0.0, N=2)) ** 2)
    [0.25 0.5  0.25]
    """
    n = jnp.arange(N + 1)
    log_binomial = (
        jax.scipy.special.gammaln(N + 1.0)
        - jax.scipy.special.gammaln(n + 1.0)
        - jax.scipy.special.gammaln(N - n + 1.0)
    )
    cosine, sine = jnp.cos(jnp.asarray(theta) / 2), jnp.sin(jnp.asarray(theta) / 2)
    powers = sine**n * cosine ** (N - n)
    return jnp.exp(log_binomial / 2) * powers * jnp.exp(1j * n * phi)


def extreme_eigenvalues(battery: jax.Array, N: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the largest and smallest eigenvalue of a battery state that P leaves unchanged.

    Every steady state on resonance commutes with the reversal P, so that it splits into an even and
    an odd block of half the size: a quarter of the work, and the nearly equal largest eigenvalues
    of a weak drive fall into different blocks, where each has a derivative of its own.
    """
    levels = battery.shape[0]
    half = (levels + 1) // 2
    n = level_numbers(half)
    direct = battery[:half, :half]
    crossed = jnp.take(battery[:half], jnp.clip(N - n, 0, levels - 1), axis=1)
    # The middle level of an even N is its own image.
    scale = jnp.where(2 * n == N, jnp.sqrt(0.5), 1.0)
    live = 2 * n <= N
    mask = live[:, None] & live
    even = jnp.where(mask, scale[:, None] * scale * (direct + crossed), 0.0)
    odd_live = 2 * n < N
    odd = jnp.where(odd_live[:, None] & odd_live, direct - crossed, 0.0)

    # Padding goes below every eigenvalue for the largest, and is left out of the smallest.
    inside = jnp.stack([live, odd_live])
    sentinels = jax.vmap(jnp.diag)(jnp.where(inside, 0.0, 2.0 + n / half))
    values = linalg.eigvalsh(jnp.stack([even, odd]) - sentinels)
    return jnp.max(values), jnp.min(jnp.where(values < -1.0, jnp.inf, values))
