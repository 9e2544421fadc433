"""Figures of merit of a charger and its battery together: what the charger knows, and holds."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from qbjax.basis.ladder import level_numbers
from qbjax.basis.ladders import binomials
from qbjax.common import linalg
from qbjax.common.checks import number_where, require_choice
from qbjax.common.types import ArrayLike
from qbjax.states.density_matrix import as_joint
from qbjax.states.ergotropy import battery_frequency, number_of_qubits
from qbjax.states.fidelity import entropy
from qbjax.states.passive import extractable

# Directions on half of the Bloch sphere that a search begins with, polar and azimuthal, and its
# rounds, in each of which the step is halved or a neighbour is better.
_POLAR, _AZIMUTHAL, _ROUNDS = 12, 24, 48


def daemonic_ergotropy(
    rho: ArrayLike,
    omega_B: ArrayLike = 1.0,
    space: str = "full",
    measurement: str = "optimal",
) -> jax.Array:
    r"""Return the ergotropy of the battery for who has measured the charger, on average.

    With projectors P_k on the charger qubit, found with the probabilities q_k, it is the sum over k
    of q_k times the ergotropy of the battery's state after k (G. Francica et al., npj Quantum
    Information 3, 12 (2017)); it lies between the ergotropy and the energy. The derivative is that
    at the best measurement held fixed.

    Parameters
    ----------
    rho
        State of the charger qubit (|g>, |e>) and the battery, shape (..., 2, N + 1, 2, N + 1), or a
        Qobj of both.
    omega_B
        Frequency of the battery qubits, positive; broadcasts over the batch.
    space
        Where the unitaries act: "full" (2^N states) or "symmetric" (the ladder).
    measurement
        "optimal", the best of all projective ones, by search; "sigma_z", of the charger's energy,
        which is the best in the paper's steady state.

    Returns
    -------
    Ergotropy in the unit of omega_B, shape (...).

    Raises
    ------
    ArgumentError
        Where rho has another shape or is no state, or omega_B is not positive (NaN where JAX is
        tracing them), and where space or measurement is none of the choices.

    Examples
    --------
    >>> import numpy as np
    >>> from qbjax.states.charger_and_battery import daemonic_ergotropy
    >>> bell = np.array([[0.0, 1.0], [1.0, 0.0]]) / np.sqrt(2)
    >>> print(daemonic_ergotropy(np.einsum("am,bn->ambn", bell, bell)).round(4))
    0.5
    """
    require_choice(space, "space", ("full", "symmetric"))
    require_choice(measurement, "measurement", ("optimal", "sigma_z"))
    joint = as_joint(rho, "rho", charger_levels=2)
    gain = jnp.vectorize(
        lambda one: _informed(one, space, measurement == "optimal"), signature="(a,n,b,m)->()"
    )
    return battery_frequency(omega_B) * gain(joint)


def joint_ergotropy(
    rho: ArrayLike,
    omega_C: ArrayLike = 1.0,
    omega_B: ArrayLike = 1.0,
    space: str = "full",
    N: ArrayLike | None = None,
) -> jax.Array:
    """Return what unitaries on charger and battery together can extract, without their coupling.

    Parameters
    ----------
    rho
        State of charger and battery, shape (..., d_c, N + 1, d_c, N + 1), or a Qobj of a qubit and
        a battery. Level m of the charger has the energy m omega_C.
    omega_C, omega_B
        Frequencies of the charger and of the battery qubits, positive; broadcast over the batch.
    space
        Where the unitaries act: "full" (d_c 2^N states) or "symmetric" (d_c times the ladder).
    N
        Number of qubits where the state is padded; broadcasts over the batch. None: from the shape.

    Returns
    -------
    Ergotropy in the unit of the frequencies, shape (...).

    Raises
    ------
    ArgumentError
        Where rho has another shape or is no state, a frequency is not positive, or N not between 1
        and the top level (NaN where JAX is tracing them), and where space is none of the choices.

    Examples
    --------
    >>> import qbjax as qb
    >>> from qbjax.states.charger_and_battery import joint_ergotropy
    >>> print(f"{joint_ergotropy(qb.steady_state(qb.StarBattery(N=4, F=0.5)).rho):.4f}")
    1.8472
    """
    require_choice(space, "space", ("full", "symmetric"))
    joint = as_joint(rho, "rho")
    qubits = number_of_qubits(N, joint.shape[-1])
    frequencies = battery_frequency(omega_C, "omega_C"), battery_frequency(omega_B)

    of_one = functools.partial(_together, space=space)
    over_batch = jnp.vectorize(of_one, signature="(a,n,b,m),(),(),()->()")
    return over_batch(joint, *frequencies, qubits)


def mutual_information(rho: ArrayLike) -> jax.Array:
    """Return what charger and battery know of each other, S_C + S_B - S_CB, in nats.

    Parameters
    ----------
    rho
        State of charger and battery, shape (..., d_c, N + 1, d_c, N + 1), or a Qobj of a qubit and
        a battery.

    Returns
    -------
    Number, not negative but for rounding, shape (...).

    Raises
    ------
    ArgumentError
        Where rho has another shape or is no state (NaN where JAX is tracing it).

    Examples
    --------
    >>> import numpy as np
    >>> from qbjax.states.charger_and_battery import mutual_information
    >>> bell = np.array([[0.0, 1.0], [1.0, 0.0]]) / np.sqrt(2)
    >>> print(mutual_information(np.einsum("am,bn->ambn", bell, bell)).round(4))
    1.3863
    """
    joint = as_joint(rho, "rho")
    size = joint.shape[-2] * joint.shape[-1]
    charger = jnp.einsum("...ambm->...ab", joint)
    battery = jnp.einsum("...aman->...mn", joint)
    both = joint.reshape(*joint.shape[:-4], size, size)
    return entropy(charger) + entropy(battery) - entropy(both)


def _together(
    rho: jax.Array, omega_C: jax.Array, omega_B: jax.Array, N: jax.Array, space: str
) -> jax.Array:
    """Return the joint ergotropy of one state: its eigenvalues sorted onto the levels of both."""
    charger, levels = rho.shape[:2]
    matrix, n = rho.reshape(charger * levels, -1), level_numbers(levels)
    energies = (omega_C * level_numbers(charger)[:, None] + omega_B * n).ravel()
    states = jnp.where(n <= N, binomials(N, levels) if space == "full" else 1.0, 0.0)
    order = jnp.argsort(energies)
    room = jnp.cumsum(jnp.tile(states, charger)[order])
    places = jnp.searchsorted(room, level_numbers(energies.size), side="right")
    # What finds no place is zero: a padded state has more eigenvalues than there are levels.
    passive = energies[order][jnp.minimum(places, energies.size - 1)]
    extracted = energies @ jnp.diagonal(matrix).real - passive @ linalg.eigvalsh(matrix)[::-1]
    return number_where(jnp.isfinite(N), extracted)


def _informed(rho: jax.Array, space: str, is_optimal: bool) -> jax.Array:
    """Return the daemonic ergotropy over omega_B of one state."""
    battery = jnp.einsum("aman->mn", rho)
    # Tr_C (sigma_x, sigma_y, sigma_z) rho: what depends on the direction of a measurement.
    across, along = rho[1, :, 0], rho[1, :, 1] - rho[0, :, 0]
    turned = across.conj().T
    parts = jnp.stack([across + turned, 1j * (turned - across), along])

    def gain(direction: jax.Array, battery: jax.Array, parts: jax.Array) -> jax.Array:
        part = jnp.tensordot(direction, parts, 1)
        return extractable((battery + part) / 2, space) + extractable((battery - part) / 2, space)

    if not is_optimal:
        return gain(jnp.array([0.0, 0.0, 1.0]), battery, parts)
    fixed = jax.lax.stop_gradient((battery, parts))
    return gain(_best_direction(lambda direction: gain(direction, *fixed)), battery, parts)


def _best_direction(gain: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Return the unit vector at which a function of a direction, even in it, is largest."""
    polar = jnp.linspace(0.0, jnp.pi / 2, _POLAR)[:, None]
    azimuthal = 2 * jnp.pi / _AZIMUTHAL * jnp.arange(_AZIMUTHAL)
    x, y = jnp.sin(polar) * jnp.cos(azimuthal), jnp.sin(polar) * jnp.sin(azimuthal)
    directions = jnp.stack([x, y, jnp.cos(polar) + 0 * x], axis=-1).reshape(-1, 3)
    best = directions[jnp.argmax(jax.lax.map(gain, directions))]
    around = 2 * jnp.pi / 8 * jnp.arange(8)

    def step(_: int, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        here, size = now
        # Two directions across: to the axis that is furthest from it, and to both.
        one = jnp.cross(here, jnp.eye(3)[jnp.argmin(jnp.abs(here))])
        one = one / jnp.linalg.norm(one)
        other = jnp.cross(here, one)
        offsets = jnp.cos(around)[:, None] * one + jnp.sin(around)[:, None] * other
        tried = jnp.concatenate([here[None], here + size * offsets])
        tried = tried / jnp.linalg.norm(tried, axis=-1, keepdims=True)
        place = jnp.argmax(jax.lax.map(gain, tried))
        return tried[place], jnp.where(place == 0, size / 2, size)

    return jax.lax.fori_loop(0, _ROUNDS, step, (best, jnp.pi / _AZIMUTHAL))[0]
