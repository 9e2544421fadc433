r"""Energy, ergotropy and capacity of a battery state.

States are plain arrays in the Dicke ladder |n>, n = 0 ... N excitations of energy n omega_B; every
function takes leading batch axes and works under `jax.jit`, `jax.vmap` and `jax.grad`.

What a unitary can extract depends on where it may act, and `space` says where:

- "full" (the choice of the paper): all 2^N states of the qubits. Their levels are 0 (once), omega_B
  (N times), ..., N omega_B (once). A ladder state has at most N + 1 nonzero eigenvalues eta_0 >=
  eta_1 >= ..., so sorting them onto the lowest levels fills the ground state and at most the first
  excited manifold: the passive energy is omega_B (1 - eta_0).
- "symmetric": unitaries confined to the ladder, with one state on each of 0, omega_B, 2 omega_B,
  ...: the passive energy is omega_B sum_k k eta_k, never smaller.
- "local": unitaries that turn all qubits alike: the passive energy is omega_B (N/2 - |J|) with the
  mean spin J. Take padding away before asking for it.

With noise on single qubits a state is a `qbjax.basis.states.LadderState`, on ladders j = N/2 - k of
d_k copies each; an eigenvalue x of a block is d_k eigenvalues x/d_k of the qubits. "full" sorts all
of these onto the C(N, l) levels of each energy l omega_B, "symmetric" those of each ladder onto its
own levels (unitaries that leave permutations alone). Where two eigenvalues cross that belong to
ladders of their own, derivatives of "full" are those of one side.

States padded with empty levels above N are taken as they are: their zero eigenvalues change neither
passive energy. Eigenvalues are differentiable once everywhere; where they coincide, the derivative
depends on the basis the eigensolver picked.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from qbjax.basis.states import LadderState
from qbjax.common.checks import (
    as_array,
    as_real,
    blank,
    refusal,
    require_choice,
)
from qbjax.common.types import ArrayLike
from qbjax.states.density_matrix import as_battery, as_one_ladder
from qbjax.states.passive import (
    Battery,
    dephased,
    excitations_of,
    extractable,
    least_excitations,
    levels_of,
    populations_of,
    spectrum,
)

_SPACES = ("full", "symmetric", "local")


def energy(rho_B: ArrayLike | LadderState, omega_B: ArrayLike = 1.0) -> jax.Array:
    """Return the energy of the battery, Eq. (4): omega_B times its mean number of excitations.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.

    Returns
    -------
    Energy in the unit of omega_B, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state or omega_B not positive (NaN where JAX is tracing them).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import energy
    >>> print(energy(jnp.diag(jnp.array([0.5, 0.0, 0.5])), omega_B=2.0))
    2.0
    """
    return battery_frequency(omega_B) * excitations_of(as_battery(rho_B))


def passive_state(rho_B: ArrayLike | LadderState) -> jax.Array:
    """Return the passive state, Eq. (A3): the eigenvalues in descending order on the diagonal.

    The matrix is the same for "full" and "symmetric"; what differs is where it lives. For
    "symmetric", entry n sits on the Dicke level n. For "full", entry 0 sits on the ground state and
    entry n > 0 on the n-th state of the first excited manifold, so its energy is `passive_energy`
    and not `energy` of this matrix.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.

    Returns
    -------
    Real diagonal matrices, shape (..., N + 1, N + 1).

    Raises
    ------
    ArgumentError
        Where rho_B is no state (NaN where JAX is tracing them).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import passive_state
    >>> print(passive_state(jnp.diag(jnp.array([0.25, 0.0, 0.75]))))
    [[0.75 0.   0.  ]
     [0.   0.25 0.  ]
     [0.   0.   0.  ]]
    """
    eta = spectrum(as_one_ladder(rho_B))
    return eta[..., None] * jnp.eye(eta.shape[-1], dtype=eta.dtype)


def passive_energy(
    rho_B: ArrayLike | LadderState, omega_B: ArrayLike = 1.0, space: str = "full"
) -> jax.Array:
    """Return the energy of the passive state, Eq. (A4): what no unitary can extract.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    space
        Where the unitaries act: "full" (2^N states), "symmetric" (the ladders) or "local".

    Returns
    -------
    Energy in the unit of omega_B, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state or omega_B not positive (NaN where JAX is tracing them), or where
        space is none of the choices.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import passive_energy
    >>> mixed = jnp.eye(4) / 4
    >>> print(passive_energy(mixed), passive_energy(mixed, space="symmetric"))
    0.75 1.5
    """
    require_choice(space, "space", _SPACES)
    return battery_frequency(omega_B) * least_excitations(as_battery(rho_B), space)


def ergotropy(
    rho_B: ArrayLike | LadderState, omega_B: ArrayLike = 1.0, space: str = "full"
) -> jax.Array:
    """Return the ergotropy, Eq. (5): the largest energy that a unitary extracts.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    space
        Where the unitaries act: "full" (2^N states), "symmetric" (the ladders) or "local".

    Returns
    -------
    Ergotropy in the unit of omega_B, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state or omega_B not positive (NaN where JAX is tracing them), or where
        space is none of the choices.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import ergotropy
    >>> mixed = jnp.eye(4) / 4
    >>> print(ergotropy(mixed), ergotropy(mixed, space="symmetric"))
    0.75 0.0
    """
    require_choice(space, "space", _SPACES)
    rho_B = as_battery(rho_B)
    return battery_frequency(omega_B) * extractable(rho_B, space)


def ergotropy_ratio(rho_B: ArrayLike | LadderState, space: str = "full") -> jax.Array:
    """Return ergotropy over energy, the quality of charging in Fig. 3 and Eq. (7).

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    space
        Where the unitaries act: "full" (2^N states), "symmetric" (the ladders) or "local".

    Returns
    -------
    Number between 0 and 1, shape (...). For the empty battery, where neither the ratio nor its
    derivative exists, both are 0; so they are for energies that round-off alone makes nonzero.

    Raises
    ------
    ArgumentError
        Where rho_B is no state (NaN where JAX is tracing them), or space none of the choices.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import ergotropy_ratio
    >>> print(ergotropy_ratio(jnp.eye(4) / 4), ergotropy_ratio(jnp.diag(jnp.array([1.0, 0.0]))))
    0.5 0.0
    """
    require_choice(space, "space", _SPACES)
    rho_B = as_battery(rho_B)
    stored = excitations_of(rho_B)
    extracted = extractable(rho_B, space)
    # Both numbers carry errors of this size; below it their quotient is noise.
    charged = ~(stored <= levels_of(rho_B) * jnp.finfo(stored.dtype).eps)
    return jnp.where(charged, extracted / jnp.where(charged, stored, 1.0), 0.0)


def incoherent_ergotropy(
    rho_B: ArrayLike | LadderState, omega_B: ArrayLike = 1.0, space: str = "full"
) -> jax.Array:
    """Return the ergotropy that is left after dephasing in the energy basis.

    Each energy holds one Dicke state of a ladder, so dephasing keeps the diagonal of rho_B in every
    space (a full dephasing that also broke the superpositions inside |n> would leave less).

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    space
        Where the unitaries act: "full" (2^N states), "symmetric" (the ladders) or "local".

    Returns
    -------
    Ergotropy in the unit of omega_B, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state or omega_B not positive (NaN where JAX is tracing them), or where
        space is none of the choices.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import coherent_ergotropy, incoherent_ergotropy
    >>> plus = jnp.full((2, 2), 0.5)
    >>> print(incoherent_ergotropy(plus), coherent_ergotropy(plus))
    0.0 0.5
    """
    require_choice(space, "space", _SPACES)
    rho_B = as_battery(rho_B)
    return battery_frequency(omega_B) * (
        excitations_of(rho_B) - least_excitations(dephased(rho_B), space)
    )


def coherent_ergotropy(
    rho_B: ArrayLike | LadderState, omega_B: ArrayLike = 1.0, space: str = "full"
) -> jax.Array:
    """Return the ergotropy that coherence between energies adds to `incoherent_ergotropy`.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    space
        Where the unitaries act: "full" (2^N states), "symmetric" (the ladders) or "local".

    Returns
    -------
    Ergotropy in the unit of omega_B, not negative, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state or omega_B not positive (NaN where JAX is tracing them), or where
        space is none of the choices.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import coherent_ergotropy
    >>> print(coherent_ergotropy(jnp.diag(jnp.array([0.2, 0.3, 0.5]))))
    0.0
    """
    require_choice(space, "space", _SPACES)
    rho_B = as_battery(rho_B)
    # The energy is common to both ergotropies: leave it out rather than let it cancel.
    without = least_excitations(dephased(rho_B), space)
    return battery_frequency(omega_B) * (without - least_excitations(rho_B, space))


def capacity(
    rho_B: ArrayLike | LadderState,
    omega_B: ArrayLike = 1.0,
    space: str = "full",
    N: ArrayLike | None = None,
) -> jax.Array:
    r"""Return the battery capacity: the largest minus the least energy over the unitary orbit.

    The active state puts eta_0 on N omega_B and the others below: in the full space all on the
    N-fold level (N - 1) omega_B, in the ladder one by one. With a trace of 1, capacity / omega_B is

        N - 2 + 2 eta_0   (full),        sum_k (N - 2k) eta_k   (symmetric),

    and N less twice the passive energy over omega_B for every state.

    Parameters
    ----------
    rho_B
        Battery state in the Dicke ladder, shape (..., N + 1, N + 1), or in another form that
        `qbjax.states.density_matrix.as_battery` takes.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    space
        Where the unitaries act: "full" (2^N states), "symmetric" (the ladders) or "local".
    N
        Number of qubits where the state is padded; broadcasts over the batch. None: from the shape.
        A `LadderState` has its own, and no other is taken.

    Returns
    -------
    Capacity in the unit of omega_B, shape (...).

    Raises
    ------
    ArgumentError
        Where rho_B is no state, omega_B not positive or N not between 1 and the top level (traced
        values are not looked at), or where space is none of the choices.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.ergotropy import capacity
    >>> mixed = jnp.eye(4) / 4
    >>> print(capacity(mixed), capacity(mixed, space="symmetric"))
    1.5 0.0
    """
    require_choice(space, "space", _SPACES)
    rho_B = as_battery(rho_B)
    qubits = qubits_of(rho_B, N)
    # Turned upside down, every spectrum of energies is the same.
    trace = jnp.sum(populations_of(rho_B), axis=-1)
    return battery_frequency(omega_B) * (qubits * trace - 2 * least_excitations(rho_B, space))


def battery_frequency(omega_B: ArrayLike, name: str = "omega_B") -> jax.Array:
    """Return a frequency of the battery that is positive, or NaN where it is traced."""
    # A negative frequency would turn the ladder over, and the sorted levels with it.
    frequency = as_real(omega_B, name)
    refused = refusal(frequency > 0, name, "positive", omega_B)
    return blank(refused, jnp.asarray(frequency))


def qubits_of(rho_B: Battery, N: ArrayLike | None) -> jax.Array:
    """Return the number of qubits of a state: its own, or N of a padded one of the ladder."""
    if not isinstance(rho_B, LadderState):
        return number_of_qubits(N, rho_B.shape[-1])
    number = as_array(rho_B.N if N is None else N, "N")
    refused = refusal(number == rho_B.N, "N", f"that of the state, {rho_B.N}", N)
    return blank(refused, jnp.asarray(rho_B.N, float))


def number_of_qubits(N: ArrayLike | None, levels: int) -> jax.Array:
    """Return N, or the one that fills the levels; NaN where it is traced and out of range."""
    qubits = as_array(levels - 1 if N is None else N, "N")
    refused = refusal((qubits >= 1) & (qubits < levels), "N", f"between 1 and {levels - 1}", N)
    return blank(refused, jnp.asarray(qubits, float))
