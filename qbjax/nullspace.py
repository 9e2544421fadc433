"""What is stationary under a model, told from its structure.

It is never told by counting small singular values: the slowest rates are as small.
"""

from typing import Any

import jax
import jax.numpy as jnp

from qbjax.checks import Status
from qbjax.models import StarBattery


def existence(model: StarBattery) -> jax.Array:
    """Return the status that says whether the start relaxes: not without any dissipation."""
    own = has_own_terms(model)
    battery = (model.Gamma_down, model.Gamma_up, model.Gamma_z)
    damped = _present(model.gamma_C, model.kappa, *battery) | bool(model.jumps)
    leaking = _present(model.kappa, model.Gamma_down, model.Gamma_up) | own
    status = jnp.where(damped, Status.OK, Status.NO_DEPHASING)
    status = jnp.where((model.F == 0) & ~leaking, Status.NO_DRIVE, status)
    apart = (model.g == 0) & ~_present(model.Gamma_down, model.Gamma_up) & (not own)
    return jnp.where(apart, Status.NO_COUPLING, status)


def nullity(model: StarBattery) -> jax.Array:
    """Return dim ker L where the structure tells it, else 0.

    It is 1 with losses or a detuned or dephased battery that drive and coupling reach, and that of
    `nullity_on_resonance` where the values leave a qubit's dephasing alone.
    """
    leaking = _present(model.kappa, model.Gamma_down, model.Gamma_up)
    mixing = _present(model.Gamma_z, model.Delta_B)
    driven = (model.gamma_C != 0) & (model.F != 0)
    unique = (leaking | (mixing & driven)) & (model.g != 0)
    known = ~(leaking | mixing) & (model.charger.levels == 2 and not has_own_terms(model))
    return jnp.where(unique, 1, jnp.where(known, nullity_on_resonance(model), 0))


def nullity_on_resonance(model: StarBattery) -> jax.Array:
    """Return the dimension of the commutant of H and |e><e| on battery resonance; 0 if not known.

    Without dephasing it is that of H alone, whose 2N + 2 levels are distinct where F g != 0.
    """
    N = model.N
    without_drive = 2 * N + 2 - N % 2
    without_coupling = (N + 1) ** 2 * jnp.where(model.F == 0, 2, 1)
    dimension = jnp.where(model.F == 0, without_drive, N + 1)
    dimension = jnp.where(model.g == 0, without_coupling, dimension)
    undamped = jnp.where((model.F == 0) | (model.g == 0), 0, 2 * N + 2)
    return jnp.where(model.gamma_C == 0, undamped, dimension)


def has_own_terms(model: StarBattery) -> bool:
    """Tell whether the user added terms, of which nothing is known."""
    return bool(model.jumps) or bool(model.hamiltonian)


def _present(*rates: Any) -> jax.Array:
    """Tell whether one of the rates is there and not zero."""
    found = jnp.asarray(False)
    for rate in rates:
        found = found | (jnp.asarray(False) if rate is None else rate != 0)
    return found
