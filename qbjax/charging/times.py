r"""Charging times by definition, and the dephasing rate that makes them shortest.

With y(t) = 1 - E_B(t)/E_B(inf) from the empty battery, the definitions are

- "fit": tau of Eq. (6), y(t) ~ e^{-t/tau} cos(omega t + phi); all choices stand in `qbjax.fit`.
- "decay_rate": 1 / (slowest rate among the modes of E_B(t) above `min_weight` of the largest).
- "settling": the last time with |y(t)| > `band`.
- "integral": int_0^inf y(t)^2 dt, in closed form: with y = sum_a W_a f(t; omega_a),

      sum_ab W_a W_b gamma [gamma^2 + 2 (omega_a^2 + omega_b^2)]
                     / [2 gamma^2 (omega_a^2 + omega_b^2) + 4 (omega_a^2 - omega_b^2)^2].

All four come from the modes of the exact solution. Beyond dephasing on battery resonance "settling"
and "integral" remain, from a sampled curve: see `qbjax.charging.sampled`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.charging import fit, sampled
from qbjax.charging.sampled import Sampled
from qbjax.charging.settling import log_settling_time
from qbjax.common.checks import (
    ArgumentError,
    Status,
    as_number,
    number_where,
    raise_unless_ok,
    refusal,
    refuse,
    require,
    require_choice,
)
from qbjax.common.printing import Line, Printed, status_text
from qbjax.exact import rates, sectors
from qbjax.exact.applies import is_exact, obstacle, without_idle_drive
from qbjax.exact.curves import Curve, charging_curve, energy_modes
from qbjax.exact.sectors import Sectors
from qbjax.model.batching import map_batch
from qbjax.model.star_battery import StarBattery, out_of_range, over_batch, require_model

DEFINITIONS = ("fit", "decay_rate", "settling", "integral")
# The numerical option of a definition, with its default.
_OPTION = {"fit": ("window", None), "decay_rate": ("min_weight", 1e-3), "settling": ("band", 0.01)}
BRANCHES = ("continuous", "lowest")


class ChargingTime(Printed):
    """A charging time and what its definition gives besides.

    Attributes
    ----------
    tau, log_tau
        The time in the inverse unit of g, and its natural logarithm, which stays finite where the
        time overflows; NaN where there is none.
    status
        A `Status`: `NOT_CONVERGED` where the definition found no answer or samples of the curve do
        not resolve it, `SPLITTINGS_LOST` where the answer hangs on splittings that rounding has
        lost, `TRUNCATED` where more modes weigh than are sampled, `AMBIGUOUS` where a fit has a
        rival within 20 % in cost or its branch ended below gamma_C; that of `qbjax.steady_state`
        where there is no steady state to charge to.
    evidence
        For "fit": omega, phi, cost, minima (their number) and second_tau. For "decay_rate":
        omega, the frequency of the slowest mode.
    definition
        The name of the definition.

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

    def _lines(self) -> list[Line]:
        return [
            ("tau", self.tau, f'in the inverse unit of g, by "{self.definition}"'),
            ("log_tau", self.log_tau, ""),
            ("status", status_text(self.status), ""),
            *((name, value, "") for name, value in self.evidence.items()),
        ]


class Exact(eqx.Module):
    """One model with all that does not depend on gamma_C, and the option of the definition."""

    model: StarBattery
    spectrum: Sectors
    curve: Curve
    option: Any

    def at(self, log_gamma: jax.Array) -> StarBattery:
        """Return the model at another dephasing rate."""
        return eqx.tree_at(lambda m: m.gamma_C, self.model, jnp.exp(log_gamma))


Problem = Exact | Sampled


def charging_time(
    model: StarBattery, definition: str = "fit", *, throw: bool = True, **options: Any
) -> ChargingTime:
    """Return the charging time of a model, or of each model of a batch, from the empty battery.

    Parameters
    ----------
    model
        One model or a batch of them, constant in time.
    definition
        "fit" (Eq. 6), "decay_rate", "settling" or "integral": see `qbjax.charging`. Beyond
        dephasing on battery resonance "settling" or "integral".
    throw
        Raise where there is no steady state to charge to; otherwise the status says so.
    options
        "fit" takes `branch` ("continuous", the default, or "lowest") and `window`, the width in
        time of the coarse graining (None, the default: none); "decay_rate" takes `min_weight`
        (1e-3); "settling" takes `band` (0.01).

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
    """
    require_model(model)
    model = without_idle_drive(model)
    option, branch, refused = checked_options(model, definition, options)
    settings = (option, definition, branch, jnp.asarray(refused))
    if is_exact(model):
        result, exists = _exact_batch(model, *settings), rates.existence(model)
    else:
        result = map_batch(_solve, model, *settings)
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


def checked_options(
    model: StarBattery, definition: str, options: dict[str, Any]
) -> tuple[jax.Array | None, str, Any]:
    """Return the numerical option and the branch of a definition, and whether it was refused."""
    require_choice(definition, "definition", DEFINITIONS)
    constant = "constant in time for a charging time"
    require(not model.depends_on_time, "model", constant, "one with a pulse or a lab-frame drive")
    first = obstacle(model)
    listed = " or ".join(f'"{name}"' for name in sampled.MEASURES)
    known = first is None or definition in sampled.MEASURES
    require(known, "definition", f"{listed} where {first}", f'"{definition}"')
    left = dict(options)
    branch = left.pop("branch", BRANCHES[0]) if definition == "fit" else BRANCHES[0]
    require_choice(branch, "branch", BRANCHES)
    option, refused = None, False
    if definition in _OPTION:
        name, default = _OPTION[definition]
        value = left.pop(name, None)
        option, refused = _checked_option(name, default if value is None else value)
    for unknown in left:
        raise ArgumentError(
            f'Argument `{unknown}` must be left out for "{definition}", but is given.'
        )
    if first is None and definition == "integral" and model.Delta_C is not None:
        raise ArgumentError(
            "Arguments `omega_C` and `omega_d` must be None (charger resonance) for the closed "
            'form of the "integral" definition, but are given; use "settling".'
        )
    return option, branch, refused


def _checked_option(name: str, value: ArrayLike | None) -> tuple[jax.Array | None, Any]:
    if value is None:
        return None, False
    option = as_number(value, name)
    if name == "window":
        refused = refusal(option > 0, name, "positive, a width in time", value)
    else:
        refused = refusal((option > 0) & (option < 1), name, "between 0 and 1", value)
    return jnp.asarray(option), refused


@eqx.filter_jit
def _exact_batch(model: StarBattery, *settings: Any) -> ChargingTime:
    return over_batch(lambda one: _solve(one, *settings), model)


def _solve(
    model: StarBattery,
    option: jax.Array | None,
    definition: str,
    branch: str,
    refused: jax.Array,
) -> ChargingTime:
    problem = problem_of(model, option)
    # A negative rate is refused, and the derivatives that lead to it are NaN for it.
    rate = jnp.abs(jnp.where(model.gamma_C == 0, 1.0, model.gamma_C))
    log_gamma = jnp.log(rate)
    log_tau, status, evidence = trusted(problem, definition, log_gamma, branch)
    if isinstance(problem, Exact):
        exists = rates.existence(model)
        status = jnp.where(exists == Status.OK, status, exists)
        log_tau = number_where(exists == Status.OK, log_tau)
    result = ChargingTime(jnp.exp(log_tau), log_tau, status, evidence, definition)
    return refuse(refused | out_of_range(model), result)


def problem_of(model: StarBattery, option: jax.Array | None) -> Problem:
    """Return the problem of one model."""
    if not is_exact(model):
        return Sampled(model, option)
    spectrum = sectors.diagonalise(model)
    return Exact(model, spectrum, charging_curve(model, spectrum), option)


_Measured = tuple[jax.Array, jax.Array, dict[str, jax.Array]]


def _measure_fit(problem: Exact, log_gamma: jax.Array, branch: str) -> _Measured:
    values, log_rate = fit_values(problem, log_gamma)
    frequencies = starting_frequencies(problem.model, problem.spectrum) * jnp.exp(-log_rate)
    if branch == "lowest":
        found, ended = fit.lowest(values, frequencies), jnp.asarray(False)
    else:
        first = jnp.minimum(branch_start(problem), log_gamma)
        # On fewer samples it would be faster, and fast modes would alias onto the branch, so that
        # it seems to end.
        path = fit_branch(problem, jnp.linspace(first, log_gamma, fit.LADDER))
        found, ended = jax.tree.map(lambda x: x[-1], (path.fit, path.ended))
    others = fit.rivals(values, frequencies, found)
    ambiguous = ended | (others.second_cost < 1.2 * found.cost)
    status = jnp.where(ambiguous, Status.AMBIGUOUS, Status.OK)
    status = jnp.where(found.converged, status, Status.NOT_CONVERGED)
    evidence = {
        "omega": jnp.abs(found.p[1]) * jnp.exp(log_rate),
        "phi": found.p[2] * jnp.where(found.p[1] < 0, -1, 1),
        "cost": found.cost,
        "minima": others.minima,
        "second_tau": jnp.exp(others.second_log_tau - log_rate),
    }
    return found.p[0] - log_rate, status, evidence


def _measure_decay_rate(problem: Exact, log_gamma: jax.Array, _: str) -> _Measured:
    slowest = rates.energy_rate(problem.at(log_gamma), problem.spectrum, problem.option)
    status = jnp.where(slowest.resolved, Status.OK, Status.SPLITTINGS_LOST)
    return -slowest.log_rate, status, {"omega": jnp.exp(slowest.log_omega)}


def _measure_settling(problem: Exact, log_gamma: jax.Array, _: str) -> _Measured:
    log_tau, found = log_settling_time(problem.curve, jnp.exp(log_gamma), problem.option)
    return log_tau, jnp.where(found, Status.OK, Status.NOT_CONVERGED), {}


def _measure_integral(problem: Exact, log_gamma: jax.Array, _: str) -> _Measured:
    omega, weights = energy_modes(problem.model, problem.spectrum)
    gamma, squares = jnp.exp(log_gamma), omega**2

    def row(mode: tuple[jax.Array, jax.Array]) -> jax.Array:
        total, gap = mode[0] + squares, mode[0] - squares
        below = 2 * gamma**2 * total + 4 * gap**2
        present = below > 0
        kernel = gamma * (gamma**2 + 2 * total) / jnp.where(present, below, 1.0)
        return mode[1] * jnp.sum(jnp.where(present, kernel * weights, 0.0))

    # Row by row: the square of the number of modes does not fit in memory at large N.
    integral = jnp.sum(jax.lax.map(row, (squares, weights), batch_size=64))
    slowest = rates.energy_rate(problem.model, problem.spectrum, 1e-12)
    # Slow modes rule the integral, so that none may be lost, nor may its square underflow.
    trusted = slowest.complete & (slowest.log_omega > -300.0)
    return jnp.log(integral), jnp.where(trusted, Status.OK, Status.SPLITTINGS_LOST), {}


_MEASURES: dict[str, Callable[..., _Measured]] = {
    "fit": _measure_fit,
    "decay_rate": _measure_decay_rate,
    "settling": _measure_settling,
    "integral": _measure_integral,
}


def measure(problem: Problem, definition: str, log_gamma: jax.Array, branch: str) -> _Measured:
    """Return ln tau at a dephasing rate, the status of the definition, and its evidence."""
    if isinstance(problem, Exact):
        return _MEASURES[definition](problem, log_gamma, branch)
    return sampled.MEASURES[definition](problem, log_gamma)


def trusted(problem: Problem, definition: str, log_gamma: jax.Array, branch: str) -> _Measured:
    """Return the same where the time can be trusted; else the status says why not, and it is NaN.

    A time that is `AMBIGUOUS` stands.
    """
    log_tau, status, evidence = measure(problem, definition, log_gamma, branch)
    if isinstance(problem, Exact) and definition in ("fit", "settling"):
        status = jnp.where(problem.curve.left_out > 1e-4, Status.TRUNCATED, status)
        lost = ~rates.energy_rate(problem.at(log_gamma), problem.spectrum, 1e-3).resolved
        status = jnp.where(lost, Status.SPLITTINGS_LOST, status)
    known = (status == Status.OK) | (status == Status.AMBIGUOUS)
    return number_where(known, log_tau), status, evidence


def fit_values(problem: Exact, log_gamma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the samples of a fit, and ln r of its time unit."""
    log_rate = rates.energy_rate(problem.at(log_gamma), problem.spectrum, 1e-3).log_rate
    values = fit.sample(problem.curve, jnp.exp(log_gamma), log_rate, problem.option)
    return values, log_rate


def starting_frequencies(model: StarBattery, spectrum: Sectors) -> jax.Array:
    """Return the frequencies of the slowest and of the heaviest weighty mode."""
    weights = jnp.abs(rates.energy_weights(model, spectrum))
    _, plus = sectors.frequencies(spectrum)
    slowest = rates.energy_rate(model, spectrum, 1e-3).log_omega
    heaviest = jnp.abs(plus).ravel()[jnp.argmax(weights)]
    # The one that carries the recursion's digits where eigh has none left.
    return jnp.stack([jnp.exp(slowest), jnp.maximum(heaviest, jnp.exp(slowest))])


def branch_start(problem: Exact) -> jax.Array:
    """Return ln of the dephasing rate where a continuous branch starts."""
    return jnp.log(0.1 * starting_frequencies(problem.model, problem.spectrum)[0])


def fit_branch(problem: Exact, ladder: jax.Array) -> fit.Branch:
    """Follow the best minimum on the first rung of a ladder of ln gamma_C up to its last one."""
    start, log_rate = lowest_fit(problem, ladder[0])
    return fit.follow(lambda x: fit_values(problem, x), ladder, start, log_rate)


def lowest_fit(problem: Exact, log_gamma: jax.Array) -> tuple[fit.Fit, jax.Array]:
    """Return the fit of least cost, and ln r of its time unit."""
    values, log_rate = fit_values(problem, log_gamma)
    return fit.lowest(
        values, starting_frequencies(problem.model, problem.spectrum) * jnp.exp(-log_rate)
    ), log_rate
