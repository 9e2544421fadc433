"""How certain the energy of a battery is, and the work that a unitary takes out of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from qbjax.basis.ladder import level_numbers
from qbjax.basis.states import LadderState
from qbjax.common import linalg
from qbjax.common.checks import as_real, blank, refusal, require_choice
from qbjax.common.types import ArrayLike
from qbjax.states.density_matrix import as_battery, as_one_ladder
from qbjax.states.ergotropy import battery_frequency, qubits_of
from qbjax.states.fidelity import entropy
from qbjax.states.passive import levels_of, populations_of


def energy_variance(rho_B: ArrayLike | LadderState, omega_B: ArrayLike = 1.0) -> jax.Array:
    """Return the variance of the energy, omega_B^2 (<n^2> - <n>^2).

    Its square root is the precision of N. Friis and M. Huber, Quantum 2, 61 (2018); over `energy`
    it is the relative fluctuation.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.

    Returns
    -------
    Variance in the unit of omega_B squared, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state or omega_B not positive (NaN where JAX is tracing them).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.fluctuations import energy_variance
    >>> print(energy_variance(jnp.diag(jnp.array([0.5, 0.0, 0.5])), omega_B=2.0))
    4.0
    """
    populations = populations_of(as_battery(rho_B))
    n = level_numbers(populations.shape[-1]).astype(populations.dtype)
    # Around the mean, so that nothing cancels.
    off = n - jnp.sum(n * populations, axis=-1, keepdims=True)
    # Populations that should be zero may be negative by rounding.
    variance = jnp.maximum(jnp.sum(off**2 * populations, axis=-1), 0.0)
    return battery_frequency(omega_B) ** 2 * variance


def work_moments(
    rho_B: ArrayLike,
    omega_B: ArrayLike = 1.0,
    space: str = "full",
    protocol: str = "work_operator",
) -> tuple[jax.Array, jax.Array]:
    r"""Return the first two moments of the work that the best unitary U takes out.

    U brings the k-th largest eigenvalue to the k-th level; with eigenvectors v_k and the energies
    e_k of those levels, U^dagger H U = sum_k e_k |v_k><v_k|. The protocols are

    - "work_operator": W = H - U^dagger H U has the mean Tr rho W, the ergotropy, and the second
      moment Tr rho W^2 (that of the distribution of Margenau and Hill).
    - "two_point": the energy is measured before and after U (N. Friis and M. Huber, Quantum 2, 61
      (2018)). The first measurement takes the coherence between energies, so that the mean is not
      the ergotropy where there is any.

    Where eigenvalues coincide U is not unique, and neither is what is not the ergotropy; of states
    without population those of lower energy come first, and levels of padding last.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes; not one on several ladders.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    space
        Where the unitaries act: "full" (2^N states) or "symmetric" (the ladder).
    protocol
        "work_operator" or "two_point".

    Returns
    -------
    Mean and second moment, in the unit of omega_B and of its square, shape (...) each.

    Raises
    ------
    ArgumentError
        Where rho_B is no state or omega_B not positive (NaN where JAX is tracing them), and where
        space or protocol is none of the choices.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.fluctuations import work_moments
    >>> plus = jnp.full((2, 2), 0.5)
    >>> mean, second = work_moments(plus)
    >>> print(mean.round(4), second.round(4))
    0.5 0.5
    >>> mean, second = work_moments(plus, protocol="two_point")
    >>> print(mean.round(4), second.round(4))
    0.0 0.5
    """
    require_choice(space, "space", ("full", "symmetric"))
    require_choice(protocol, "protocol", ("work_operator", "two_point"))
    state = as_one_ladder(rho_B)
    n = level_numbers(state.shape[-1]).astype(populations_of(state).dtype)
    # Of the eigenvalues in descending order.
    left = jnp.minimum(n, 1.0) if space == "full" else n
    # So little that it only puts those without population in order, padding last.
    order = 64 * jnp.finfo(n.dtype).eps * jnp.diag(n)
    vectors = linalg.eigh(state - order)[1][..., ::-1]
    if protocol == "two_point":
        arrives = jnp.abs(vectors) ** 2
        populations = populations_of(state)
        mean, square = ((arrives @ left**k) for k in (1, 2))
        moments = n - mean, n**2 - 2 * n * mean + square
        first, second = (jnp.sum(populations * moment, axis=-1) for moment in moments)
    else:
        work = jnp.eye(len(n)) * n - (vectors * left) @ vectors.conj().swapaxes(-1, -2)
        half = work @ state
        first = jnp.trace(half, axis1=-2, axis2=-1).real
        second = jnp.sum((half @ work).diagonal(axis1=-2, axis2=-1), axis=-1).real
    omega = battery_frequency(omega_B)
    return omega * first, omega**2 * second


def free_energy_bound(
    rho_B: ArrayLike | LadderState,
    beta: ArrayLike,
    omega_B: ArrayLike = 1.0,
    N: ArrayLike | None = None,
) -> jax.Array:
    r"""Return the most work that a bath helps to take out, W = F(rho_B) - F(Gibbs state).

    With the free energy F = E - S / beta and that of the thermal state of N qubits,

        W = E - S / beta + (N / beta) ln(1 + e^{-beta omega_B}),

    never less than the ergotropy over all 2^N states.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    beta
        Inverse temperature of the bath, in the inverse unit of omega_B, positive; broadcasts.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    N
        Number of qubits where the state is padded; broadcasts over the batch. None: from the shape.
        A `LadderState` has its own, and no other is taken.

    Returns
    -------
    Work in the unit of omega_B, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state, omega_B or beta not positive, or N not between 1 and the top level
        (NaN where JAX is tracing them).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.fluctuations import free_energy_bound
    >>> print(f"{free_energy_bound(jnp.diag(jnp.array([0.0, 1.0])), beta=1.0):.4f}")
    1.3133
    """
    state = as_battery(rho_B)
    omega, inverse = battery_frequency(omega_B), as_real(beta, "beta")
    inverse = blank(refusal(inverse > 0, "beta", "positive", beta), jnp.asarray(inverse))
    qubits = qubits_of(state, N)
    populations = populations_of(state)
    stored = omega * (populations @ level_numbers(levels_of(state)).astype(populations.dtype))
    thermal = qubits * jnp.log1p(jnp.exp(-inverse * omega))
    return stored + (thermal - entropy(state)) / inverse
