"""Charging power: of a curve, and of a state by itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from qbjax.basis.ladder import lowering_elements
from qbjax.common.checks import (
    as_real,
    goes_with,
    number_where,
    require,
    require_known,
)
from qbjax.common.types import ArrayLike
from qbjax.states.density_matrix import as_joint
from qbjax.states.ergotropy import battery_frequency, number_of_qubits


def average_power(energy: ArrayLike, t: ArrayLike) -> jax.Array:
    """Return the average charging power E_B(t) / t, and 0 at t = 0.

    Parameters
    ----------
    energy
        Energy at the times t, shape (...).
    t
        Times, not negative, shape (...); both broadcast.

    Returns
    -------
    Power in the unit of energy over that of time, shape (...). At t = 0 it is the limit for a
    battery that starts empty; there its derivatives are given as 0.

    Raises
    ------
    ArgumentError
        Where a time is negative or no finite number (NaN where JAX is tracing it), or the shapes do
        not go together.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.power import average_power
    >>> print(average_power(jnp.array([0.0, 3.0]), jnp.array([0.0, 2.0])))
    [0.  1.5]
    """
    stored, time = jnp.asarray(as_real(energy, "energy")), jnp.asarray(as_real(t, "t"))
    fits = goes_with(stored.shape, time.shape)
    require(fits, "t", f"of a shape that goes with {stored.shape}", f"of shape {time.shape}")
    possible = (time >= 0) & jnp.isfinite(time)
    require_known(possible, "t", "finite and not negative", t)
    started = time != 0
    power = jnp.where(started, stored / jnp.where(started, time, 1), 0.0)
    return number_where(possible, power)


def instantaneous_power(
    rho: ArrayLike,
    g: ArrayLike = 1.0,
    omega_B: ArrayLike = 1.0,
    N: ArrayLike | None = None,
) -> jax.Array:
    r"""Return the charging power dE_B/dt of a charger-battery state, exactly and without a step.

    Of all terms in Eqs. (1)-(2) only H_CB = (g / sqrt(N)) (sigma^+ J_- + sigma^- J_+) changes the
    number of excitations n of the battery. From [J_-, n] = J_-,

        dE_B/dt = i omega_B <[H_CB, n]> = -2 omega_B (g / sqrt(N)) Im <sigma^+ J_->.

    Dissipation on the battery itself would add to this, as it does in the `power` of a result.

    Parameters
    ----------
    rho
        State of the charger (|g>, |e>) and the battery, shape (..., 2, N + 1, 2, N + 1), or a Qobj
        of both.
    g
        Charger-battery coupling, as in `StarBattery`; broadcasts over the batch.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    N
        Number of qubits where the state is padded; broadcasts over the batch. None: from the shape.

    Returns
    -------
    Power in the unit of omega_B times g, shape (...).

    Raises
    ------
    ArgumentError
        Where rho has another shape; where it is no state, omega_B not positive or N not between 1
        and the top level (NaN where JAX is tracing them).

    Examples
    --------
    The excitation of the charger flows into the battery while the phase of its coherence is -i:

    >>> import numpy as np
    >>> from qbjax.states.power import instantaneous_power
    >>> ket = np.array([[0.0, -1j], [1.0, 0.0]])
    >>> print(instantaneous_power(np.einsum("am,bn->ambn", ket, ket.conj()) / 2))
    1.0
    """
    joint = as_joint(rho, "rho", charger_levels=2)
    levels = joint.shape[-1]
    qubits = number_of_qubits(N, levels)
    # <sigma^+ J_-> = sum_n <n-1|J_-|n> <g,n|rho|e,n-1>: a subdiagonal of the block between g and e.
    coherence = jnp.diagonal(joint[..., 0, 1:, 1, :-1], axis1=-2, axis2=-1)
    flow = jnp.sum(lowering_elements(qubits[..., None], levels)[..., 1:] * coherence, axis=-1)
    coupling = as_real(g, "g")
    return -2 * battery_frequency(omega_B) * coupling / jnp.sqrt(qubits) * jnp.imag(flow)
