"""What every battery state has, of one ladder or of all: excitations, a spectrum, a passive energy.

Nothing is checked here; see `qbjax.states.ergotropy` for what the spaces of unitaries are.
"""

import jax
import jax.numpy as jnp

from qbjax.basis.ladder import level_numbers
from qbjax.basis.states import LadderState, on_all_ladders
from qbjax.common import linalg

# A state of the ladder j = N/2 alone, or of all ladders.
Battery = jax.Array | LadderState


def extractable(rho_B: Battery, space: str = "full") -> jax.Array:
    """Return the ergotropy in units of omega_B of a state that is not checked."""
    return excitations_of(rho_B) - least_excitations(rho_B, space)


def extreme_eigenvalues(rho_B: Battery) -> tuple[jax.Array, jax.Array]:
    """Return the smallest and the largest eigenvalue of one state of the qubits."""
    if not isinstance(rho_B, LadderState):
        eigenvalues = linalg.eigvalsh(rho_B)
        return eigenvalues[0], eigenvalues[-1]
    values, copies = rho_B.spectrum
    there = copies > 0
    heights = values / jnp.where(there, copies, 1.0)
    return jnp.min(heights, initial=1.0, where=there), jnp.max(heights, initial=0.0, where=there)


def passive_excitations(trace: jax.Array, largest: jax.Array) -> jax.Array:
    """Return the energy of the passive state over omega_B, from the largest eigenvalue.

    One state of the ladder's N + 1 fills the ground state, and the others the N next to it.
    """
    return trace - largest


def populations_of(rho_B: Battery) -> jax.Array:
    """Return the populations of the excitations, shape (..., L)."""
    if isinstance(rho_B, LadderState):
        return rho_B.populations
    return jnp.diagonal(rho_B, axis1=-2, axis2=-1).real


def excitations_of(rho_B: Battery) -> jax.Array:
    """Return the mean number of excitations, shape (...)."""
    populations = populations_of(rho_B)
    return populations @ level_numbers(populations.shape[-1]).astype(populations.dtype)


def dephased(rho_B: Battery) -> Battery:
    """Return the state without coherence between energies."""
    if isinstance(rho_B, LadderState):
        return rho_B.dephased
    return populations_of(rho_B)[..., None] * jnp.eye(rho_B.shape[-1])


def spectrum(rho_B: jax.Array) -> jax.Array:
    """Return the eigenvalues on one ladder, descending, shape (..., L)."""
    return linalg.eigvalsh(rho_B)[..., ::-1]


def least_excitations(rho_B: Battery, space: str) -> jax.Array:
    """Return the least energy over omega_B that the unitaries of a space leave."""
    if isinstance(rho_B, LadderState):
        return rho_B.passive_excitations(space)
    if space == "local":
        return on_all_ladders(rho_B).passive_excitations(space)
    eta = spectrum(rho_B)
    if space == "symmetric":
        return eta @ level_numbers(eta.shape[-1]).astype(eta.dtype)
    return passive_excitations(eta.sum(-1), eta[..., 0])


def levels_of(rho_B: Battery) -> int:
    """Return the number of levels of a ladder."""
    return rho_B.blocks.shape[-1] if isinstance(rho_B, LadderState) else rho_B.shape[-1]
