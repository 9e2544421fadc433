r"""Charging times by definition.

With y(t) = 1 - E_B(t)/E_B(inf) from the empty battery, the definitions are

- "fit": tau of Eq. (6), y(t) ~ e^{-t/tau} cos(omega t + phi): see `qbjax.charging.fit`.
- "decay_rate": 1 / (slowest rate among the modes of E_B(t) above `min_weight` of the largest).
- "settling": the last time with |y(t)| > `band`.
- "integral": int_0^inf y(t)^2 dt: see `qbjax.charging.integral`.
- "maximum": the time up to `t_end` at which a figure of merit is largest, of any model, also of one
  that depends on time: see `qbjax.charging.maximum`.

The first four come from the modes of the exact solution. Beyond dephasing on battery resonance
"settling" and "integral" remain of them, from a sampled curve: see `qbjax.charging.sampled`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.charging.decay_rate import DecayRate
from qbjax.charging.definition import Definition, OfSamples, problem
from qbjax.charging.fit import Fit
from qbjax.charging.integral import Integral
from qbjax.charging.maximum import maximum
from qbjax.charging.settling import Settling
from qbjax.common.checks import (
    ArgumentError,
    Status,
    number_where,
    raise_unless_ok,
    refuse,
    require,
    require_choice,
)
from qbjax.common.labelled import Labelled
from qbjax.common.printing import Line, status_text
from qbjax.exact import rates
from qbjax.exact.applies import is_exact, obstacle, without_idle_drive
from qbjax.model.batching import map_batch
from qbjax.model.star_battery import StarBattery, out_of_range, over_batch, require_model

_DEFINITIONS: dict[str, type[Definition]] = {
    kind.name: kind for kind in (Fit, DecayRate, Settling, Integral)
}
DEFINITIONS = tuple(_DEFINITIONS)


class ChargingTime(Labelled):
    """A charging time and what its definition gives besides.

    Attributes
    ----------
    tau, log_tau
        The time in the inverse unit of g, and its natural logarithm, which stays finite where the
        time overflows; NaN where there is none.
    status
        A `Status`: `NOT_CONVERGED` where the definition found no answer, samples of the curve do
        not resolve it, or a drive that JAX is tracing is too strong for so many qubits;
        `SPLITTINGS_LOST` where an integral hangs on splittings whose squares underflow, `TRUNCATED`
        where more modes weigh than are sampled, `AMBIGUOUS` where a fit has a rival within 20 % in
        cost or its branch ended below gamma_C, or another maximum is as high to 1e-6; that of
        `qbjax.steady_state` where there is no steady state to charge to.
    evidence
        For "fit": omega, phi, cost, minima (their number) and second_tau. For "decay_rate":
        omega, the frequency of the slowest mode. For "maximum": at_end, whether it is at the end of
        the time that was looked at.
    definition
        The name of the definition.
    model
        The model.
    value
        Of "maximum" the figure of merit at that time, in the unit of omega_B, of a power times g;
        else None.

    Examples
    --------
    >>> import qbjax as qb
    >>> time = qb.charging_time(qb.StarBattery(N=4, F=0.5, gamma_C=0.06), "decay_rate")
    >>> print(f'{time.tau:.2f} {time.evidence["omega"]:.4f}', qb.Status(int(time.status)).name)
    66.67 0.0321 OK
    """

    tau: jax.Array
    log_tau: jax.Array
    status: jax.Array
    evidence: dict[str, jax.Array]
    definition: str = eqx.field(static=True)
    model: StarBattery
    value: jax.Array | None = None

    def _lines(self) -> list[Line]:
        return [
            ("model", self.model.one_line, ""),
            ("tau", self.tau, f'in the inverse unit of g, by "{self.definition}"'),
            ("log_tau", self.log_tau, ""),
            *([] if self.value is None else [("value", self.value, "in the unit of omega_B")]),
            ("status", status_text(self.status), ""),
            *((name, value, "") for name, value in self.evidence.items()),
        ]


def charging_time(
    model: StarBattery,
    definition: str = "fit",
    *,
    throw: bool = True,
    **options: ArrayLike | str | None,
) -> ChargingTime:
    """Return the charging time of a model, or of each model of a batch, from the empty battery.

    Parameters
    ----------
    model
        One model or a batch of them; constant in time, but for "maximum".
    definition
        "fit" (Eq. 6), "decay_rate", "settling", "integral" or "maximum": see
        `qbjax.charging.times`. Beyond dephasing on battery resonance "settling", "integral" or
        "maximum".
    throw
        Raise where there is no steady state to charge to; otherwise the status says so. "maximum"
        needs none, and its status says all.
    options
        "fit" takes `branch` ("continuous", the default, "lowest", or "local", the minimum that one
        start leads to) and `window`, the width in time of the coarse graining (None: none);
        "decay_rate" takes `min_weight` (1e-3); "settling" takes `band` (0.01). "maximum" takes
        `t_end`, the last time to look at;
        `of`, "energy" (the default), "ergotropy", "average_power" or "power"; and `which`, "global"
        (the default) or "first". The number of its samples goes by the numbers of the model; where
        JAX is tracing these there are 2048, and the status is `NOT_CONVERGED` where they are too
        few.

    Returns
    -------
    The time, its logarithm, a status and what the definition gives besides, of the shape of the
    batch; () for one model.

    Raises
    ------
    ArgumentError
        Where an argument or option is not what it must be, for a model that depends on time, and
        for "integral" with a charger detuning and nothing else.
    SolveError
        Where gamma_C, F or g is zero beside nothing else to relax by.

    Examples
    --------
    >>> import qbjax as qb
    >>> model = qb.StarBattery(N=4, F=0.5, gamma_C=0.06)
    >>> print(f'{qb.charging_time(model).tau:.1f}')
    60.5
    >>> print(f'{qb.charging_time(model, "decay_rate").tau:.1f}')
    66.7
    >>> leaky = qb.StarBattery(N=2, F=0.5, gamma_C=0.06, kappa=0.1)
    >>> print(f'{qb.charging_time(leaky, "settling").tau:.1f}')
    67.3
    >>> best = qb.charging_time(leaky, "maximum", of="ergotropy", t_end=50.0)
    >>> print(f"{best.tau:.2f} {best.value:.4f}")
    9.96 0.9125
    """
    require_model(model)
    model = without_idle_drive(model)
    require_choice(definition, "definition", (*DEFINITIONS, "maximum"))
    if definition == "maximum":
        return _best_moment(model, options)
    chosen = chosen_definition(model, definition, options)
    if is_exact(model):
        result, exists = _side_by_side(model, chosen), rates.existence(model)
    else:
        result = map_batch(_solve, model, chosen)
        exists = jnp.where(result.status <= Status.NO_COUPLING, result.status, Status.OK)
    if throw:
        raise_unless_ok(exists)
    return result


def decay_rate(model: StarBattery, min_weight: ArrayLike = 1e-3) -> jax.Array:
    """Return the slowest rate of the modes of E_B(t) above `min_weight` of the largest weight.

    The inverse of `charging_time(model, "decay_rate").tau`, with the same errors.

    Parameters
    ----------
    model
        One model or a batch of them, of dephasing alone on battery resonance.
    min_weight
        Between 0 and 1.

    Returns
    -------
    The rate in the unit of g, shape () or that of the batch.

    Examples
    --------
    >>> import qbjax as qb
    >>> print(f"{qb.decay_rate(qb.StarBattery(N=8, F=10.0, gamma_C=1.0)):.4f}")
    0.2500
    """
    return jnp.exp(-charging_time(model, "decay_rate", min_weight=min_weight).log_tau)


def chosen_definition(
    model: StarBattery, name: str, options: Mapping[str, ArrayLike | str | None]
) -> Definition:
    """Return the definition of a name with its options; None stands for the default of one."""
    require_choice(name, "definition", DEFINITIONS)
    constant = "constant in time for a charging time"
    require(not model.depends_on_time, "model", constant, "one with a pulse or a lab-frame drive")
    kind, first = _DEFINITIONS[name], obstacle(model)
    general = " or ".join(
        f'"{each.name}"' for each in _DEFINITIONS.values() if issubclass(each, OfSamples)
    )
    known = first is None or issubclass(kind, OfSamples)
    require(known, "definition", f"{general} where {first}", f'"{name}"')
    # What else there is, it learns from the model.
    takes = {field.name for field in dataclasses.fields(kind)} - {"size"}
    for unknown in options.keys() - takes:
        raise ArgumentError(f'Argument `{unknown}` must be left out for "{name}", but is given.')
    definition = kind(**{key: value for key, value in options.items() if value is not None})
    definition.require(model)
    return definition.informed(model)


def _best_moment(model: StarBattery, options: Mapping[str, PyTree]) -> ChargingTime:
    for unknown in options.keys() - {"of", "t_end", "which"}:
        raise ArgumentError(f'Argument `{unknown}` must be left out for "maximum", but is given.')
    settings = {name: value for name, value in options.items() if value is not None}
    top = maximum(model, **settings)
    log_tau = jnp.log(jnp.where(top.time > 0, top.time, jnp.nan))
    evidence = {"at_end": top.at_end}
    return ChargingTime(top.time, log_tau, top.status, evidence, "maximum", model, top.value)


@eqx.filter_jit
def _side_by_side(model: StarBattery, definition: Definition) -> ChargingTime:
    return over_batch(lambda one: _solve(one, definition), model)


def _solve(model: StarBattery, definition: Definition) -> ChargingTime:
    curve = problem(definition, model)
    # A negative rate is refused, and the derivatives that lead to it are NaN for it.
    rate = jnp.abs(jnp.where(model.gamma_C == 0, 1.0, model.gamma_C))
    log_tau, status, evidence = curve.trusted(jnp.log(rate))
    if is_exact(model):
        exists = rates.existence(model)
        status = jnp.where(exists == Status.OK, status, exists)
        log_tau = number_where(exists == Status.OK, log_tau)
    result = ChargingTime(jnp.exp(log_tau), log_tau, status, evidence, definition.name, model)
    return refuse(definition.out_of_range() | out_of_range(model), result)
