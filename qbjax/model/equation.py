"""The master equation of a model: the terms of its Hamiltonian and its jumps at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.model.battery_operators import J_minus, J_plus, excitations
from qbjax.model.parameters import COLLECTIVE, LOCAL
from qbjax.model.pulses import at_time, is_pulse
from qbjax.model.star_battery import StarBattery
from qbjax.model.terms import Jump, LocalJump, Term


def terms(model: StarBattery, t: ArrayLike) -> tuple[tuple[Term, ...], tuple[Jump, ...]]:
    """Return the terms of the Hamiltonian and the jumps of one model at a time.

    Absent parameters make no term. The dephasing jump counts excitations from the middle of the
    charger's ladder, which is the same equation.
    """
    charger = model.charger
    Delta_C: jax.Array | None
    Delta_B: jax.Array | None
    lower, raise_ = charger.lowering, charger.lowering.T
    F, g = at_time(model.F, t), at_time(model.g, t) / jnp.sqrt(model.N)
    if model.frame == "lab":
        drive = model.omega_B if model.omega_d is None else model.omega_d
        charger_frequency = model.omega_B if model.omega_C is None else model.omega_C
        Delta_C, Delta_B = at_time(charger_frequency, t), model.omega_B
        turned = jnp.exp(-1j * drive * t)
    else:
        Delta_C, Delta_B = model.detunings(t)
        turned = jnp.ones(())
    hamiltonian = [
        Term(F * turned, raise_),
        Term(F * jnp.conj(turned), lower),
        Term(g, raise_, J_minus),
        Term(g, lower, J_plus),
    ]
    if Delta_C is not None:
        hamiltonian.append(Term(Delta_C, charger.excitations))
    if Delta_B is not None:
        hamiltonian.append(Term(Delta_B, battery=excitations))
    jumps = [Jump(at_time(model.gamma_C, t), Term(1.0, charger.inversion))]
    if model.kappa is not None:
        kappa = at_time(model.kappa, t)
        nbar = None if model.nbar is None else at_time(model.nbar, t)
        jumps.append(Jump(kappa if nbar is None else kappa * (nbar + 1), Term(1.0, lower)))
        if nbar is not None:
            jumps.append(Jump(kappa * nbar, Term(1.0, raise_)))
    for name, battery in COLLECTIVE.items():
        if getattr(model, name) is not None:
            jumps.append(Jump(at_time(getattr(model, name), t), Term(1.0, battery=battery)))
    for jump in model.jumps:
        if isinstance(jump, Jump):
            jumps.append(Jump(at_time(jump.rate, t), *jump.terms))
    return (*hamiltonian, *model.hamiltonian), tuple(jumps)


def local_jumps(model: StarBattery, t: ArrayLike) -> tuple[LocalJump, ...]:
    """Return the jumps of every battery qubit by itself at a time."""
    named = [
        LocalJump(at_time(rate, t), np.array(matrix))
        for name, matrix in LOCAL.items()
        if (rate := getattr(model, name)) is not None
    ]
    own = [
        eqx.tree_at(lambda x: x.rate, jump, at_time(jump.rate, t), is_leaf=is_pulse)
        for jump in model.jumps
        if isinstance(jump, LocalJump)
    ]
    return (*named, *own)
