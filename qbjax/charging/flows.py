"""What flows into battery and charger at a time: the terms of `qbjax.charging.energetics`."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.generator import lindblad, stored_states
from qbjax.generator.lindblad import Generator
from qbjax.model.battery_operators import J_minus, J_plus, excitations
from qbjax.model.parameters import LOSSES
from qbjax.model.pulses import at_time, is_pulse
from qbjax.model.star_battery import StarBattery
from qbjax.model.terms import Term, total


class Account(NamedTuple):
    """Energies at a time, and what flows in: numbers of shape (), and the heat by its bath."""

    battery: jax.Array
    charger: jax.Array
    coupling: jax.Array
    drive: jax.Array
    drive_flow: jax.Array
    coupling_flow: jax.Array
    heat: dict[str, jax.Array]


def account(model: StarBattery, t: jax.Array, rho: jax.Array) -> Account:
    """Return the account of one model at a time."""
    generator = lindblad.generator(model, t)
    stored = stored_states.store(generator, rho, 2)
    charger = model.charger
    lower, raise_, coupling = charger.lowering, charger.lowering.T, 1 / jnp.sqrt(model.N)
    means = {
        "battery": (Term(1.0, battery=excitations),),
        "charger": (Term(1.0, charger.excitations),),
        "coupling": (Term(coupling, raise_, J_minus), Term(coupling, lower, J_plus)),
        "drive": (Term(1.0, lower), Term(1.0, raise_)),
    }
    drive = model.omega_B if model.omega_d is None else at_time(model.omega_d, t)
    factors = {
        "battery": model.omega_B,
        "charger": model.omega_B if model.omega_C is None else model.omega_C,
        "coupling": at_time(model.g, t),
        "drive": at_time(model.F, t),
    }

    def energies(stored: jax.Array) -> dict[str, jax.Array]:
        return {name: factors[name] * _mean(model, terms, stored) for name, terms in means.items()}

    flow = energies(generator(stored))
    turning = _mean(model, (Term(1j, lower), Term(-1j, raise_)), stored)
    heat = {
        name: jnp.sum(jnp.stack([*energies(lindblad.generator(alone, t)(stored)).values()]))
        for name, alone in _baths(model).items()
    }
    drive_flow = flow["drive"] - drive * factors["drive"] * turning
    return Account(
        **energies(stored), drive_flow=drive_flow, coupling_flow=flow["coupling"], heat=heat
    )


def _mean(model: StarBattery, terms: tuple[Term, ...], stored: jax.Array) -> jax.Array:
    """Return the mean of a Hermitian sum of terms: half of Tr (A rho + rho A)."""
    half = total(terms, 0.0, model.charger.levels, model.N, model.basis).gauged().scaled(0.5)
    both = Generator(half, (), model.charger.levels, model.basis)
    return jnp.sum(stored_states.charger_populations(both, both(stored)))


def _baths(model: StarBattery) -> dict[str, StarBattery]:
    """Return the model with each bath alone, and nothing else, by the name of its rate."""
    present = [name for name in LOSSES if getattr(model, name) is not None and name != "nbar"]
    baths = {name: _alone(model, name) for name in ("gamma_C", *present)}
    return baths | ({"jumps": _alone(model, "jumps")} if model.jumps else {})


def _alone(model: StarBattery, bath: str) -> StarBattery:
    # What is there stays there, with the rate zero: noise on single qubits makes the ladders.
    zero = jnp.zeros_like(model.omega_B)
    present = [name for name in LOSSES if getattr(model, name) is not None]
    silent = [
        eqx.tree_at(lambda jump: jump.rate, jump, zero, is_leaf=is_pulse) for jump in model.jumps
    ]
    values: dict[str, PyTree] = {"omega_C": None, "omega_d": None, "jumps": tuple(silent)}
    values |= dict.fromkeys(("F", "g", "gamma_C", *present), zero)
    stays = ("kappa", "nbar") if bath == "kappa" else (bath,)
    values = {name: value for name, value in values.items() if name not in stays}
    return eqx.tree_at(
        lambda m: [getattr(m, name) for name in values],
        model,
        list(values.values()),
        is_leaf=lambda x: x is None or is_pulse(x),
    )
