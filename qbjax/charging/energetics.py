r"""What charging costs: the work of drive and coupling, the heat of every bath, and the first law.

All energies are those of the laboratory, where the Hamiltonian of battery, charger, coupling and
drive turns with the drive,

    H(t) = omega_B n + omega_C n_C + g V + F (sigma^+ e^{-i omega_d t} + sigma^- e^{i omega_d t}).

Power is Tr(H' rho). With X = sigma^+ + sigma^-, Y = i (sigma^- - sigma^+) and rho in the frame of
the drive,

    drive:    omega_d F <Y> + F' <X>,     coupling:  g' <V>,     bath j:  Tr(H D_j rho).

In the frame of the drive H does not depend on time where F and g do not: its Tr(H' rho) vanishes,
and is not the work, since energies there count from that of the drive's own quanta. No pulse needs
a derivative, nor to have one: by parts,

    int F' <X> dt = [F <X>] - int F Tr(X rho') dt,     rho' = L rho,

and likewise for g, so that steps count with their whole height. Integrals over time are those of
Gauss and Kronrod, over pieces shorter than one period of the fastest oscillation and than ten
lifetimes of the fastest decay, which end where pulses stop. They are tested by the rule of half as
many points, and by the first law: change of energy = work + heat.
"""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.charging.flows import account
from qbjax.common.checks import (
    Status,
    as_number,
    number_where,
    refusal,
    refuse,
    require,
    warn_unless_ok,
)
from qbjax.common.labelled import Labelled
from qbjax.common.memory import memory
from qbjax.common.printing import Line, status_text
from qbjax.evolution.evolve import checked_start, checked_times, evolve
from qbjax.evolution.observe import Observe, Problem
from qbjax.evolution.resolution import needed_pieces, pieces
from qbjax.generator import stored_states
from qbjax.model.batching import map_batch, state_size
from qbjax.model.pulses import is_pulse, pulses_of
from qbjax.model.star_battery import StarBattery, require_model
from qbjax.states.density_matrix import Start

# The points of Gauss and Kronrod that are not negative, their weights, and Gauss's of every second.
_POSITIVE = (
    *(0.0, 0.2077849550078985, 0.4058451513773972, 0.5860872354676911),
    *(0.7415311855993945, 0.8648644233597691, 0.9491079123427585, 0.9914553711208126),
)
_KRONROD = (
    *(0.2094821410847278, 0.2044329400752989, 0.1903505780647854, 0.1690047266392679),
    *(0.1406532597155259, 0.1047900103222502, 0.0630920926299786, 0.0229353220105292),
)
_GAUSS = (
    *(0.4179591836734694, 0.0, 0.3818300505051189, 0.0),
    *(0.2797053914892767, 0.0, 0.1294849661688697, 0.0),
)
_POINTS = np.concatenate([-np.array(_POSITIVE)[:0:-1], _POSITIVE])
# The finer rule, and how far the coarser one is from it.
_WEIGHTS = np.stack([np.array([*w[:0:-1], *w]) for w in (_KRONROD, np.subtract(_KRONROD, _GAUSS))])
# Times of a piece: where it begins, and its points.
_EACH = 1 + _POINTS.size
# Pieces for each period and each decay, how many there are at least, with pulses too, and at most,
# and where JAX is tracing what they hang on.
_PER_PERIOD, _PER_DECAY, _FEWEST, _WITH_PULSES, _MOST, _TRACED = 1.0, 0.1, 16, 256, 4096, 256
_ADVICE = "see error_estimate and residual. Give pulses `stops`, ask for more times, or lower t"


class Energetics(Labelled):
    """What charging costs over time, from the start to each of T times, with the evidence.

    Energies, works and heats are in the unit of omega_B, of shape (T,); a batch puts its axes in
    front. Work is positive where it is done on battery and charger, heat where it flows into them.

    Attributes
    ----------
    ts
        The times, shape (T,).
    drive_work, switching_work
        The work of the drive, and of what changes the coupling g.
    heat
        The heat from each bath by the name of its rate: "gamma_C" for the dephasing of the charger,
        "kappa" (with "nbar"), "Gamma_down" and so on; "jumps" for those of one's own.
    battery_energy, charger_energy, coupling_energy, drive_energy
        omega_B <n>, omega_C <n_C>, g <V> and F <X> at the times.
    ergotropy
        Of the battery at the times.
    efficiency
        Ergotropy over the work of the drive; NaN where that is not positive.
    error_estimate
        How far two rules of integration are apart, over N omega_B; largest over works, heats and
        times, shape ().
    residual
        How far the change of energy is from work and heat, over N omega_B; largest over the times,
        shape ().
    status
        A `Status`, shape (): `NOT_CONVERGED` where either exceeds the tolerance, or the time is too
        long for the pieces that there are; and what `qbjax.evolve` says of its curve.
    method
        The method of evolution.
    model
        The model.

    Examples
    --------
    >>> import qbjax as qb
    >>> costs = qb.energetics(qb.StarBattery(N=2, F=0.5, gamma_C=0.1), [5.0, 20.0])
    >>> print(costs.drive_work.round(4), costs.efficiency.round(4))
    [1.0638 2.0767] [0.3903 0.5986]
    """

    _axes: ClassVar = dict.fromkeys(
        (
            *("ts", "drive_work", "switching_work", "heat", "battery_energy", "charger_energy"),
            *("coupling_energy", "drive_energy", "ergotropy", "efficiency"),
        ),
        ("t",),
    )

    ts: jax.Array
    drive_work: jax.Array
    switching_work: jax.Array
    heat: dict[str, jax.Array]
    battery_energy: jax.Array
    charger_energy: jax.Array
    coupling_energy: jax.Array
    drive_energy: jax.Array
    ergotropy: jax.Array
    efficiency: jax.Array
    error_estimate: jax.Array
    residual: jax.Array
    status: jax.Array
    method: str = eqx.field(static=True)
    model: StarBattery

    def _lines(self) -> list[Line]:
        energy = "in the unit of omega_B"
        heat: list[Line] = [(f"heat {name}", value, energy) for name, value in self.heat.items()]
        return [
            ("model", self.model.one_line, ""),
            ("ts", self.ts, "in the inverse unit of g"),
            ("drive_work", self.drive_work, energy),
            ("switching_work", self.switching_work, energy),
            *heat,
            ("battery_energy", self.battery_energy, energy),
            ("charger_energy", self.charger_energy, energy),
            ("coupling_energy", self.coupling_energy, energy),
            ("drive_energy", self.drive_energy, energy),
            ("ergotropy", self.ergotropy, energy),
            ("efficiency", self.efficiency, "ergotropy over drive_work"),
            ("error_estimate", self.error_estimate, "of works and heats, over N omega_B"),
            ("residual", self.residual, "of the first law, over N omega_B"),
            ("status", status_text(self.status, _ADVICE), ""),
            ("method", self.method, "of evolution"),
        ]


def energetics(
    model: StarBattery,
    ts: ArrayLike,
    *,
    rho0: PyTree = None,
    method: str = "auto",
    tolerance: float = 1e-6,
) -> Energetics:
    """Return the work, heat and energies of charging, from time 0 to each of some times.

    Parameters
    ----------
    model
        One model, or a batch of them, with any losses, detunings and pulses of F, g and rates.
    ts
        Times, increasing and not negative, shape (T,).
    rho0, method
        The start, by default empty, and the method, as for `qbjax.evolve`.
    tolerance
        How far works and heats may be off, and the first law missed, over N omega_B.

    Returns
    -------
    An `Energetics`. It can be differentiated; a batch has its axes in front.

    Raises
    ------
    ArgumentError
        Where an argument is out of range, where the model is in the lab frame, has terms of one's
        own in its Hamiltonian or a pulse for omega_C, and where the states do not fit into memory.

    Examples
    --------
    With dephasing alone, on resonance, no bath takes part: all work becomes energy of battery and
    charger, in the steady state N parts of N + 1 of it in the battery.

    >>> import qbjax as qb
    >>> costs = qb.energetics(qb.StarBattery(N=3, F=2.0), [1000.0])
    >>> share = costs.battery_energy / costs.drive_work
    >>> print(share.round(4), abs(costs.heat["gamma_C"][0]) < 1e-9)
    [0.75] True
    """
    require_model(model)
    require(model.frame == "rotating", "model", 'in the frame "rotating"', 'in the frame "lab"')
    plain = "without terms of your own in its Hamiltonian, of which no energy is known"
    require(not model.hamiltonian, "model", plain, f"with {len(model.hamiltonian)} of them")
    constant = not is_pulse(model.omega_C)
    require(constant, "omega_C", "constant in time for qbjax.energetics", "a pulse")
    times, refused = checked_times(ts)
    allowed = as_number(tolerance, "tolerance")
    refused |= refusal(allowed > 0, "tolerance", "one positive number", tolerance)
    start, stray = checked_start(model, rho0)
    refused |= stray
    fewest = _WITH_PULSES if model.depends_on_time else _FEWEST
    number = pieces(model, times[-1], _PER_PERIOD, _PER_DECAY, fewest, _MOST, _TRACED)
    _require_room(model, _EACH * (number + times.size))
    question = _Question(times, start, jnp.asarray(allowed), jnp.asarray(refused))
    result = map_batch(_energetics, model, question, method, number)
    warn_unless_ok(result.status, "energetics", _ADVICE)
    return result


class _Question(NamedTuple):
    """What is asked: times, start, tolerance, and whether any was refused under tracing."""

    ts: jax.Array
    start: Start | None
    tolerance: jax.Array
    refused: jax.Array


def _energetics(model: StarBattery, question: _Question, method: str, number: int) -> Energetics:
    """Return the energetics of one model."""
    ts = question.ts
    ends = _ends_of_pieces(model, ts[-1], number)
    breaks = jnp.sort(jnp.concatenate([jnp.zeros(1), ts, ends]))
    widths = jnp.diff(breaks)
    times = _times_of_pieces(breaks, widths)
    curve = evolve(model, times, rho0=question.start, method=method, save="rho")
    accounts = jax.lax.map(lambda x: account(model, *x), (times, curve.rho))

    at = jnp.searchsorted(breaks, ts)

    def states(values: jax.Array) -> jax.Array:
        """Return what there is at the ends of pieces."""
        return values[::_EACH]

    def since_start(flows: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the integral from the start to the times, and how far the coarse rule is off."""
        inside = flows[:-1].reshape(-1, _EACH)[:, 1:]
        whole = jnp.cumsum(widths[:, None] / 2 * (inside @ _WEIGHTS.T), axis=0)
        whole = jnp.pad(whole, ((1, 0), (0, 0)))[at]
        return whole[:, 0], jnp.max(jnp.abs(whole[:, 1]))

    energies = {
        name: states(getattr(accounts, name))
        for name in ("battery", "charger", "coupling", "drive")
    }
    gained = {name: (values - values[0])[at] for name, values in energies.items()}
    flows = {"drive": accounts.drive_flow, "coupling": accounts.coupling_flow, **accounts.heat}
    integrals = {name: since_start(flow) for name, flow in flows.items()}
    heat = {name: integrals[name][0] for name in accounts.heat}
    drive_work = gained["drive"] - integrals["drive"][0]
    switching_work = gained["coupling"] - integrals["coupling"][0]
    missed = sum(gained.values()) - drive_work - switching_work - sum(heat.values())
    full = model.N * model.omega_B
    residual = jnp.max(jnp.abs(missed)) / full
    error = jnp.max(jnp.stack([error for _, error in integrals.values()])) / full
    problem = Problem(model)
    at_ts = jax.tree.map(lambda x: states(x)[at], (times, curve.rho))
    extractable = jax.lax.map(lambda x: _ergotropy(problem, *x), at_ts)
    needed = needed_pieces(jax.lax.stop_gradient(model), ts[-1], _PER_PERIOD, _PER_DECAY)
    sound = (jnp.maximum(residual, error) <= question.tolerance) & (needed <= number)
    status = jnp.where(sound, Status.OK, Status.NOT_CONVERGED)
    status = jnp.where(jnp.all(curve.status == Status.OK), status, jnp.max(curve.status))
    result = Energetics(
        ts,
        drive_work,
        switching_work,
        heat,
        **{f"{name}_energy": values[at] for name, values in energies.items()},
        ergotropy=extractable,
        efficiency=_share(extractable, drive_work),
        error_estimate=jax.lax.stop_gradient(error),
        residual=jax.lax.stop_gradient(residual),
        status=status,
        method=curve.method,
        model=model,
    )
    return refuse(question.refused, result)


def _times_of_pieces(breaks: jax.Array, widths: jax.Array) -> jax.Array:
    """Return where each piece begins, with its points, and at last where all end; ascending."""
    places = np.concatenate([[-1.0], _POINTS]) / 2 + 0.5
    times = jnp.append((breaks[:-1, None] + widths[:, None] * places).ravel(), breaks[-1])
    # Pieces may have no width, but times are told apart.
    number, limits = jnp.arange(times.size), jnp.finfo(times.dtype)
    return times * (1 + 4 * limits.eps * number) + limits.tiny * number


def _ends_of_pieces(model: StarBattery, end: jax.Array, number: int) -> jax.Array:
    """Return where integrals over [0, end] are divided, in any order: there is no jump between."""
    stops = [pulse.stops for pulse in pulses_of(model) if pulse.stops is not None]
    even = end * jnp.linspace(0.0, 1.0, number + 1)
    return jnp.concatenate([even, *(jnp.clip(x.ravel(), 0.0, end) for x in stops)])


def _ergotropy(problem: Problem, t: jax.Array, rho: jax.Array) -> jax.Array:
    """Return the ergotropy of the battery in a state of both."""
    stored = stored_states.store(problem.generator(t), rho, 2)
    return Observe(("ergotropy",), ())(t, stored, problem)["ergotropy"]


def _share(part: jax.Array, whole: jax.Array) -> jax.Array:
    """Return part over whole; NaN where the whole is not positive."""
    positive = whole > 0
    return number_where(positive, part / jnp.where(positive, whole, 1.0))


def _require_room(model: StarBattery, times: int) -> None:
    """Refuse, before they are allocated, states at all times that no memory holds."""
    # The stored parts, and the matrices made of them.
    size = 2 * times * state_size(model)
    needed, there = (f"{amount / 1e9:,.1f} GB" for amount in (size, memory()))
    words = f"early enough for states at {times} times to fit into {there}"
    require(size < memory(), "ts", words, f"times that take {needed}")
