"""How long a charge lasts: charge, switch off, keep, and see what is left.

The battery is charged up to a time by one model and kept by another, by default the same without
drive and coupling; what switches more slowly is a pulse of the second, whose time begins where the
first ends. The half-life of a figure of merit is the first time at which half of it is left:
between the two samples around it Newton's method takes its exact derivative along the flow.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.basis.ladders import Ladders
from qbjax.charging.maximum import moments
from qbjax.common.checks import (
    Status,
    as_number,
    number_where,
    refusal,
    refuse,
    require,
    warn_unless_ok,
)
from qbjax.common.first_order import first_order
from qbjax.common.printing import Line, Printed, status_text
from qbjax.common.types import Condition
from qbjax.evolution.evolve import checked_start, checked_times, evolve
from qbjax.evolution.resolution import needed_pieces
from qbjax.model.batching import map_batch
from qbjax.model.pulses import is_pulse
from qbjax.model.star_battery import StarBattery, require_model
from qbjax.states.density_matrix import Start

# Steps of Newton's method to a half-life, and samples of a period that tell where it is.
_STEPS, _PER_PERIOD = 12, 4.0
_ADVICE = "ask for times closer together, or see what qbjax.evolve says of both models"


class Storage(Printed):
    """A battery that is charged and kept.

    Energies are in the unit of omega_B, times in the inverse unit of g; a batch puts its axes in
    front.

    Attributes
    ----------
    charged_energy, charged_ergotropy
        What the battery holds when charging ends, shape ().
    ts
        Times since then, shape (T,).
    energy, ergotropy
        What it holds at these times, shape (T,).
    energy_half_life, ergotropy_half_life
        When half of what was charged is left for the first time, shape (); infinite where that is
        not by the last time.
    status
        A `Status`, shape (): that of both evolutions, or `NOT_CONVERGED` where a half-life is not
        resolved.
    model, hold
        The models that charge and keep.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> charge = qb.StarBattery(N=4, F=2.0, gamma_C=0.1, Gamma_down=0.05)
    >>> battery = qb.storage(charge, 6.0, jnp.linspace(0.0, 40.0, 81))
    >>> print(f"{battery.charged_ergotropy:.3f} {battery.ergotropy_half_life:.3f}")
    2.438 4.553
    """

    charged_energy: jax.Array
    charged_ergotropy: jax.Array
    ts: jax.Array
    energy: jax.Array
    ergotropy: jax.Array
    energy_half_life: jax.Array
    ergotropy_half_life: jax.Array
    status: jax.Array
    model: StarBattery
    hold: StarBattery

    def _lines(self) -> list[Line]:
        energy, time = "in the unit of omega_B", "in the inverse unit of g"
        return [
            ("model", self.model.one_line, ""),
            ("hold", self.hold.one_line, ""),
            ("charged_energy", self.charged_energy, energy),
            ("charged_ergotropy", self.charged_ergotropy, energy),
            ("ts", self.ts, f"{time}, since then"),
            ("energy", self.energy, energy),
            ("ergotropy", self.ergotropy, energy),
            ("energy_half_life", self.energy_half_life, time),
            ("ergotropy_half_life", self.ergotropy_half_life, time),
            ("status", status_text(self.status, _ADVICE), ""),
        ]


def storage(
    model: StarBattery,
    t_charge: ArrayLike,
    ts: ArrayLike,
    *,
    hold: StarBattery | None = None,
    rho0: PyTree = None,
) -> Storage:
    """Charge a battery up to a time, keep it, and return what is left and for how long.

    Parameters
    ----------
    model
        What charges: one model, or a batch of them.
    t_charge
        When charging ends, not negative.
    ts
        Times since then, increasing and not negative, shape (T,), close enough to tell the
        half-life.
    hold
        What keeps, one model of the same N, omega_B, omega_d and charger, common to a batch; both
        in the rotating frame. Its pulses count their time from the end of charging. None: the first
        model with F = 0 and g = 0, switched off at once; it must have no other pulse.
    rho0
        The start, as for `qbjax.evolve`.

    Returns
    -------
    A `Storage`. It can be differentiated.

    Raises
    ------
    ArgumentError
        Where an argument is out of range, where both models do not go together, where the first has
        noise on single qubits and the second has none, and where a pulse of a rate would have to go
        on and no `hold` says how.

    Examples
    --------
    The coupling stays on: what the charger loses it takes from the battery.

    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> charge = qb.StarBattery(N=2, F=1.0, gamma_C=0.1, kappa=0.1)
    >>> hold = qb.StarBattery(N=2, F=0.0, gamma_C=0.1, kappa=0.1)
    >>> battery = qb.storage(charge, 3.0, jnp.linspace(0.0, 30.0, 61), hold=hold)
    >>> print(f"{battery.charged_energy:.3f} {battery.energy_half_life:.3f}")
    1.531 20.380
    """
    require_model(model)
    times, refused = checked_times(ts)
    if hold is None:
        off = _off(model)
        words = "given where more than F and g depend on time"
        require(not off.depends_on_time, "hold", words, "None")
    else:
        refused |= _refused_pair(model, hold)
    end = as_number(t_charge, "t_charge")
    refused |= refusal(
        (end >= 0) & (end < jnp.inf), "t_charge", "finite and not negative", t_charge
    )
    start, stray = checked_start(model, rho0)
    refused |= stray
    question = _Question(times, jnp.asarray(end), start, jnp.asarray(refused))
    result = map_batch(_storage, model, question, hold)
    warn_unless_ok(result.status, "storage", _ADVICE)
    return result


class _Question(NamedTuple):
    """What is asked: times, the end of charging, the start, and whether any was refused."""

    ts: jax.Array
    end: jax.Array
    start: Start | None
    refused: jax.Array


def _off(model: StarBattery) -> StarBattery:
    """Return the model without drive and coupling."""
    zeros = 2 * [jnp.zeros_like(model.omega_B)]
    return eqx.tree_at(lambda m: [m.F, m.g], model, zeros, is_leaf=is_pulse)


def _refused_pair(model: StarBattery, hold: StarBattery) -> Condition:
    """Refuse a second model that no state of the first is one of."""
    require(isinstance(hold, StarBattery), "hold", "a qbjax.StarBattery", type(hold).__name__)
    require(not hold.batch_shape, "hold", "one model", f"a batch of shape {hold.batch_shape}")
    fits = hold.N_max == model.N_max and hold.charger == model.charger
    fits &= hold.battery == model.battery
    words = "of the same N_max, charger and battery as `model`"
    require(fits, "hold", words, f"with {hold.one_line}")
    ladders = isinstance(hold.basis, Ladders) or not isinstance(model.basis, Ladders)
    words = "with noise on single qubits, too, which leads to ladders of smaller spin"
    require(ladders, "hold", words, "without")
    # In the lab frame the drive of the second would start anew, out of phase.
    turning = hold.frame == model.frame == "rotating"
    frames = f'of frames "{model.frame}" and "{hold.frame}"'
    require(turning, "hold", 'in the frame "rotating" with `model`', frames)
    refused: Condition = False
    drives = [m.omega_B if m.omega_d is None else m.omega_d for m in (model, hold)]
    pairs = {"N": (model.N, hold.N), "omega_B": (model.omega_B, hold.omega_B), "omega_d": drives}
    for name, (first, second) in pairs.items():
        known = not is_pulse(first) and not is_pulse(second)
        require(known, "hold", "of an omega_d that is constant in time", "of a pulse")
        refused |= refusal(jnp.all(first == second), "hold", f"of the same {name}", second)
    return refused


def _storage(model: StarBattery, question: _Question, hold: StarBattery | None) -> Storage:
    """Return the storage of one model."""
    hold = _off(model) if hold is None else hold
    ts, saved = question.ts, ("energy", "ergotropy", "rho")
    charge = evolve(model, question.end[None], rho0=question.start, save=saved)
    rho = charge.rho[0]
    decay = evolve(hold, ts, rho0=_start_of(rho), save=saved[:2])
    # Half of it may be left for the first time between two samples, where they are too few.
    gap = jnp.max(jnp.diff(ts, prepend=0.0))
    needed = needed_pieces(jax.lax.stop_gradient(hold), ts[-1], _PER_PERIOD, 0.0)
    lives, resolved = {}, [needed * gap <= ts[-1]]
    for of in ("energy", "ergotropy"):
        whole = getattr(charge, of)[0]
        time, is_resolved = _half_life(hold, rho, of, ts, getattr(decay, of), whole)
        lives[f"{of}_half_life"] = number_where(jnp.isfinite(decay.energy[-1]), time)
        resolved.append(is_resolved)
    status = jnp.where(jnp.all(jnp.stack(resolved)), Status.OK, Status.NOT_CONVERGED)
    worst = jnp.maximum(jnp.max(charge.status), jnp.max(decay.status))
    status = jnp.where(worst == Status.OK, status, worst)
    result = Storage(
        charged_energy=charge.energy[0],
        charged_ergotropy=charge.ergotropy[0],
        ts=ts,
        energy=decay.energy,
        ergotropy=decay.ergotropy,
        **lives,
        status=status,
        model=model,
        hold=hold,
    )
    return refuse(question.refused, result)


def _start_of(rho: jax.Array) -> Start:
    """Return a state as a start, which is not refused for an integrator's error."""
    return Start(rho, False, False)


def _half_life(
    hold: StarBattery, rho: jax.Array, of: str, ts: jax.Array, values: jax.Array, whole: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return when half of the whole is left for the first time, and whether that is resolved."""
    fixed, state, samples = jax.lax.stop_gradient((hold, rho, (ts, values, whole)))
    ts, values, total = samples
    below = values <= total / 2
    first = jnp.argmax(below)
    low, high = jnp.where(first > 0, ts[first - 1], 0.0), ts[first]
    reached = jnp.any(below) & (total > 0)

    def step(_: int, bracket: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        low, high, t = bracket
        value, slope = moments(fixed, t, of, _start_of(state))[:2]
        above = value > total / 2
        low, high = jnp.where(above, t, low), jnp.where(above, high, t)
        after = t - (value - total / 2) / jnp.where(slope < 0, slope, -jnp.inf)
        inside = (after >= low) & (after <= high) & (slope < 0)
        return low, high, jnp.where(inside, after, (low + high) / 2)

    time = jax.lax.fori_loop(0, _STEPS, step, (low, high, (low + high) / 2))[2]
    # Where it is not reached nothing has a derivative.
    hold, rho, whole = jax.tree.map(
        lambda x, constant: jnp.where(reached, x, constant) if eqx.is_array(x) else x,
        (hold, rho, whole),
        (fixed, state, total),
    )
    value, slope = moments(hold, time, of, _start_of(rho))[:2]
    fall = jax.lax.stop_gradient(jnp.where(slope < 0, slope, -1.0))
    missed = value - whole / 2
    # The derivative of the time is that of the condition.
    time = first_order(time - (missed - jax.lax.stop_gradient(missed)) / fall)
    resolved = jnp.abs(missed) <= 1e-6 * total
    return jnp.where(reached, time, jnp.inf), resolved | ~reached
