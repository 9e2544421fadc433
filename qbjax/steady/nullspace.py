"""What is stationary under a model, told from its structure and its values.

It is never told by counting small singular values: the slowest rates are as small.
"""

import jax
import jax.numpy as jnp

from qbjax.common.checks import Status, array_module
from qbjax.common.types import Array
from qbjax.model.parameters import LOSSES, NOT_NEGATIVE
from qbjax.model.star_battery import StarBattery


def promises_one(model: StarBattery) -> bool:
    """Tell whether the structure has a term that, unless it is zero, leaves one stationary state.

    Nothing is known of terms of the user's own.
    """
    return any(getattr(model, name) is not None for name in (*LOSSES, "omega_d"))


def has_own_terms(model: StarBattery) -> bool:
    """Tell whether the user added terms."""
    return bool(model.jumps) or bool(model.hamiltonian)


def existence(model: StarBattery) -> jax.Array:
    """Return the status that says whether the start relaxes: not without dissipation.

    A negative rate, which only a traced one can be, counts as `NOT_CONVERGED`.
    """
    own_rates = [jump.rate for jump in model.jumps]
    jumping = _present(*own_rates)
    has_own = jumping | bool(model.hamiltonian)
    battery = _present(*_relaxing(model))
    charger = _present(model.gamma_C, model.kappa)
    damped = charger | battery | _present(model.Gamma_z, model.gamma_z) | jumping
    status = jnp.where(damped, Status.OK, Status.NO_DEPHASING)
    leaking = battery | _present(model.kappa) | has_own
    status = jnp.where((model.F == 0) & ~leaking, Status.NO_DRIVE, status)
    # Apart from the battery, a charger that is driven settles by its own damping only.
    apart = (model.g == 0) & ~has_own & ~(battery & (charger | (model.F == 0)))
    status = jnp.where(apart, Status.NO_COUPLING, status)
    # What is traced was not refused at the door.
    named = [getattr(model, name) for name in sorted(NOT_NEGATIVE)]
    negative = [rate < 0 for rate in (*named, *own_rates) if rate is not None]
    return jnp.where(jnp.any(jnp.stack(negative)), Status.NOT_CONVERGED, status)


def nullity(model: StarBattery) -> Array:
    """Return dim ker L where structure and values tell it, else 0.

    It is 1 with losses or a detuned or dephased battery that drive and coupling reach, and that of
    `nullity_on_resonance` where the values leave a qubit's dephasing alone. It is not known of an
    oscillator without losses, and of a model that depends on time or has terms of the user's own.
    """
    module = array_module(model)
    if has_own_terms(model) or model.depends_on_time:
        return module.zeros((), int)
    if model.has_local_noise:
        return nullity_with_local_noise(model)
    leaking = _present(model.kappa, model.Gamma_down, model.Gamma_up)
    detuned = _present(model.Delta_B)
    dephased = _present(model.Gamma_z)
    mixing = (dephased | (detuned & (model.gamma_C != 0))) & (model.F != 0)
    # An oscillator that is heated without end has no state to settle in.
    unique = (leaking | (mixing & (model.battery is None))) & (model.g != 0)
    qubits = model.charger.levels == 2 and model.battery is None
    known = ~(leaking | detuned | dephased) & qubits
    return module.where(unique, 1, module.where(known, nullity_on_resonance(model), 0))


def nullity_on_resonance(model: StarBattery) -> Array:
    """Return the dimension of the commutant of H and |e><e| on battery resonance; 0 if not known.

    Without dephasing it is that of H alone, whose 2N + 2 levels are distinct where F g != 0.
    """
    module, N = array_module(model), model.N
    without_drive = 2 * N + 2 - N % 2
    without_coupling = (N + 1) ** 2 * module.where(model.F == 0, 2, 1)
    dimension = module.where(model.F == 0, without_drive, N + 1)
    dimension = module.where(model.g == 0, without_coupling, dimension)
    undamped = module.where((model.F == 0) | (model.g == 0), 0, 2 * N + 2)
    return module.where(model.gamma_C == 0, undamped, dimension)


def nullity_with_local_noise(model: StarBattery) -> Array:
    """Return dim ker L on states that treat all qubits alike; 0 where it is not known.

    Noise on single qubits joins the ladders. Without drive, what keeps the excitations of charger
    and battery together mixes the states of each number of them, 0 ... N + 1; without coupling,
    dephasing mixes those of each number of the battery alone.
    """
    module = array_module(model)
    joined = _present(model.gamma_down, model.gamma_up, model.gamma_z)
    battery = _present(*_relaxing(model))
    leaking = battery | _present(model.kappa)
    without_drive = module.where(leaking, 1, model.N + 2)
    settles = (_present(model.gamma_C) & (model.F != 0)) | _present(model.kappa)
    alone = _present(model.gamma_C) | (model.F != 0)
    beside = module.where(settles, 1, module.where(alone, 2, 0))
    without_coupling = beside * module.where(battery, 1, model.N + 1)
    dimension = module.where(model.F == 0, without_drive, 1)
    dimension = module.where(model.g == 0, without_coupling, dimension)
    qubits_alone = (model.charger.levels == 2) | ((model.F != 0) & (model.g != 0))
    return module.where(joined & qubits_alone, dimension, 0)


def _relaxing(model: StarBattery) -> list[jax.Array | None]:
    """Return the rates that move excitations into the battery and out of it."""
    return [model.Gamma_down, model.Gamma_up, model.gamma_down, model.gamma_up]


def _present(*rates: jax.Array | None) -> Array:
    """Tell whether one of the rates is there and not zero."""
    module = array_module(rates)
    is_present = module.zeros((), bool)
    for rate in rates:
        is_present = is_present | (rate != 0 if rate is not None else False)
    return is_present
