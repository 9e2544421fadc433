"""The dephasing rate of the shortest charging time."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial

from qbjax.charging import fit
from qbjax.charging import times as charging
from qbjax.charging.times import Exact, Problem
from qbjax.common.checks import Status, as_count, number_where, raise_unless_ok, refuse
from qbjax.common.minimise import minimise
from qbjax.common.printing import Line, Printed, status_text
from qbjax.exact import rates, sectors
from qbjax.exact.applies import is_exact, without_idle_drive
from qbjax.model.batching import map_batch
from qbjax.model.star_battery import StarBattery, out_of_range, over_batch, require_model

# Dephasing rates that are looked at before the descent, and fewer of them where each is sampled.
_SCAN, _SAMPLED_SCAN = 200, 48
# Where the scan starts in the latter case, over the heaviest frequency, if not higher.
_LOWEST = 1e-3
# Definitions whose minimum is smooth.
_SMOOTH = ("fit", "integral")
# Step in ln gamma_C of the differences that tell how an optimum moves.
_STEP = 1e-3


class OptimalDephasing(Printed):
    """The dephasing rate of the shortest charging time, and the evidence.

    Attributes
    ----------
    gamma_C, tau
        The optimum; `log_gamma_C` and `log_tau` stay finite where the two overflow.
    history
        ln tau along the descent, NaN after its end, shape (max_steps + 1,); None for the closed
        form.
    converged
        Whether the descent converged.
    status
        That of `charging_time` at the optimum; `AMBIGUOUS`, too, where a fit's branch ended there,
        and `NOT_CONVERGED` where the descent did not converge or the optimum lies at the edge of
        the scan. Where the time cannot be trusted, the optimum and its time are NaN.
    scan_gamma_C, scan_tau
        The dephasing rates that were looked at first and the times there, NaN past the end of a
        fit's branch, shape (200,), or (48,) beyond dephasing on battery resonance; None for the
        closed form.
    definition, method
        The definition of the time; "closed form" or "descent".

    Examples
    --------
    >>> import qbjax as qb
    >>> best = qb.optimal_dephasing(qb.StarBattery(N=4, F=0.5), "decay_rate")
    >>> print(f"{best.gamma_C:.4f} {best.tau:.2f}", best.method, best.converged)
    0.1283 31.18 closed form True
    """

    gamma_C: jax.Array
    tau: jax.Array
    log_gamma_C: jax.Array
    log_tau: jax.Array
    history: jax.Array | None
    converged: jax.Array
    status: jax.Array
    scan_gamma_C: jax.Array | None
    scan_tau: jax.Array | None
    definition: str = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def _lines(self) -> list[Line]:
        return [
            ("gamma_C", self.gamma_C, "in the unit of g"),
            ("tau", self.tau, f'in its inverse, by "{self.definition}"'),
            ("status", status_text(self.status), ""),
            ("converged", self.converged, ""),
            ("method", self.method, ""),
            ("scan_gamma_C", self.scan_gamma_C, ""),
            ("scan_tau", self.scan_tau, ""),
        ]


def optimal_dephasing(
    model: StarBattery,
    definition: str = "fit",
    *,
    optimizer: optax.GradientTransformation | None = None,
    max_steps: int = 200,
    tolerance: float = 1e-8,
    progress: bool = False,
    throw: bool = True,
    **options: Any,
) -> OptimalDephasing:
    """Return the dephasing rate gamma_C* of the shortest charging time, and that time tau*.

    A scan over gamma_C finds the valley: from 0.3 times the frequency of the slowest weighty mode
    (for a continuous fit from where its branch starts) to 30 times that of the heaviest mode or of
    the detuning. From its lowest point gradient descent in ln gamma_C runs down ln tau. For
    "decay_rate" on charger resonance the optimum is a cusp and known in closed form,
    gamma_C* = 4 omega_min and tau* = 1/omega_min.

    Derivatives, forward and reverse, are those of the optimum itself and not of the descent; that
    of gamma_C* is good to 1e-5. They are NaN by "settling", and by "decay_rate" beyond the closed
    form, whose minimum is a kink or a jump. Those of the scan and of the history are zero.

    Beyond dephasing on battery resonance these frequencies are those of the model without the rest,
    and the scan starts no lower than 1e-3 times the heaviest one.

    Parameters
    ----------
    model
        One model or a batch of them; its own gamma_C plays no role.
    definition, options
        As for `charging_time`.
    optimizer
        Any optax optimiser. None means L-BFGS without a line search for "fit" and "integral" (in
        one dimension the secant method, which the scan leaves next to the minimum), and steps of
        decaying length down the slope's sign for the others, whose minimum is a kink.
    max_steps, tolerance
        Of the descent: see `qbjax.common.minimise.minimise`.
    progress
        Whether to show a progress bar (for one model, on the host).
    throw
        Raise where there is no drive or no coupling to charge by; otherwise the status says so.

    Returns
    -------
    The optimum and its evidence, of the shape of the batch; () for one model.

    Raises
    ------
    ArgumentError, SolveError
        As for `charging_time`.

    Examples
    --------
    >>> import qbjax as qb
    >>> best = qb.optimal_dephasing(qb.StarBattery(N=1, F=0.5))
    >>> print(f"{best.gamma_C:.3f} {best.tau:.3f}")
    1.092 2.959
    """
    require_model(model)
    model = without_idle_drive(model)
    option, branch, refused = charging.checked_options(model, definition, options)
    max_steps = as_count(max_steps, "max_steps")
    exact = is_exact(model)
    if exact and throw:
        raise_unless_ok(rates.charges(model))
    if definition == "decay_rate" and model.Delta_C is None:
        return _closed_form(model, option, jnp.asarray(refused))
    settings = (option, definition, branch, jnp.asarray(refused), optimizer, max_steps, tolerance)
    if not model.batch_shape:
        return _optimal(model, *settings, progress=progress)
    return _optimal_batch(model, *settings) if exact else map_batch(_optimal, model, *settings)


@eqx.filter_jit
def _closed_form(model: StarBattery, min_weight: Any, refused: jax.Array) -> OptimalDephasing:
    def solve(one: StarBattery) -> OptimalDephasing:
        charges = rates.charges(one)
        slowest = rates.energy_rate(one, sectors.diagonalise(one), min_weight)
        status = jnp.where(slowest.resolved, Status.OK, Status.SPLITTINGS_LOST)
        status = jnp.where(charges == Status.OK, status, charges)
        log_omega = number_where(status == Status.OK, slowest.log_omega)
        log_gamma = jnp.log(4.0) + log_omega
        found = (jnp.exp(log_gamma), jnp.exp(-log_omega), log_gamma, -log_omega)
        converged = status == Status.OK
        result = OptimalDephasing(
            *found, None, converged, status, None, None, "decay_rate", "closed form"
        )
        return refuse(refused | out_of_range(one), result)

    return over_batch(solve, model)


@eqx.filter_jit
def _optimal_batch(model: StarBattery, *settings: Any) -> OptimalDephasing:
    return over_batch(lambda one: _optimal(one, *settings), model)


def _optimal(
    model: StarBattery,
    option: jax.Array | None,
    definition: str,
    branch: str,
    refused: jax.Array,
    optimizer: optax.GradientTransformation | None,
    max_steps: int,
    tolerance: float,
    *,
    progress: bool = False,
) -> OptimalDephasing:
    fixed = jax.lax.stop_gradient(eqx.filter(model, eqx.is_array))
    fixed = eqx.combine(fixed, model)
    problem, scan = _scan(fixed, option, definition, branch)
    start, lowest = scan.log_gammas[scan.best], scan.log_taus[scan.best]
    descent = minimise(
        Partial(_loss(definition), problem),
        start,
        aux=scan.warm,
        optimizer=_default_optimizer(definition) if optimizer is None else optimizer,
        max_steps=max_steps,
        tolerance=tolerance,
        progress=progress,
        label="optimal dephasing",
    )
    # A descent that left the valley of the scan has crossed the end of a branch.
    near = jnp.abs(descent.x - start) < 4 * (scan.log_gammas[1] - scan.log_gammas[0])
    smooth = near & (jnp.abs(descent.value - lowest) < 0.1) & ~scan.ended
    found = (descent.x, descent.value, descent.aux), (start, lowest, scan.warm)
    log_gamma, log_tau, warm = jax.tree.map(lambda a, b: jnp.where(smooth, a, b), *found)
    trust = _trust(problem, definition, log_gamma, branch)
    known = (trust == Status.OK) | (trust == Status.AMBIGUOUS)
    log_gamma, log_tau = (jnp.where(known, x, jnp.nan) for x in (log_gamma, log_tau))
    status = jnp.where(descent.converged & ~scan.at_edge, trust, Status.NOT_CONVERGED)
    status = jnp.where(smooth, status, Status.AMBIGUOUS)
    log_gamma, log_tau = _with_derivatives(model, option, definition, log_gamma, log_tau, warm)
    result = OptimalDephasing(
        gamma_C=jnp.exp(log_gamma),
        tau=jnp.exp(log_tau),
        log_gamma_C=log_gamma,
        log_tau=log_tau,
        history=descent.history,
        converged=descent.converged & smooth & ~scan.at_edge & known,
        status=jnp.where(known, status, trust),
        scan_gamma_C=jnp.exp(scan.log_gammas),
        scan_tau=jnp.where(scan.broken, jnp.nan, jnp.exp(scan.log_taus)),
        definition=definition,
        method="descent",
    )
    return refuse(refused | out_of_range(model), result)


@eqx.filter_jit
def _with_derivatives(
    model: StarBattery,
    option: jax.Array | None,
    definition: str,
    log_gamma: jax.Array,
    log_tau: jax.Array,
    warm: Any,
) -> tuple[jax.Array, jax.Array]:
    """Give the optimum the derivatives of a minimum: those of L_x(x*) = 0 and of L(x*)."""
    problem, loss = charging.problem_of(model, option), _loss(definition)
    around = log_gamma + _STEP * jnp.array([-1.0, 0.0, 1.0])
    below, value, above = jax.lax.map(lambda x: loss(problem, x, warm)[0], around)
    slope = (above - below) / (2 * _STEP)
    curvature = jax.lax.stop_gradient(above - 2 * value + below) / _STEP**2
    if definition not in _SMOOTH:
        slope, value = slope * jnp.nan, value * jnp.nan
    return _moves_with(log_gamma, -slope / curvature), _moves_with(log_tau, value)


@jax.custom_jvp
def _moves_with(x: jax.Array, other: jax.Array) -> jax.Array:
    """Return x, with the derivative of the other."""
    return x


_moves_with.defjvps(None, lambda moved, *_: moved)


@eqx.filter_jit
def _trust(problem: Problem, definition: str, log_gamma: jax.Array, branch: str) -> jax.Array:
    """Return the status of the charging time at a dephasing rate."""
    status = charging.trusted(problem, definition, log_gamma, branch)[1]
    if not isinstance(problem, Exact):
        return status
    charges = rates.charges(problem.model)
    return jnp.where(charges == Status.OK, status, charges)


@functools.cache
def _default_optimizer(definition: str) -> optax.GradientTransformation:
    # Cached, because a fresh optimiser would be compiled afresh.
    if definition in _SMOOTH:
        return optax.lbfgs(linesearch=None)
    # The minimum is a kink or a jump, where the slope tells nothing but the side: ever shorter
    # steps towards it close in on what is up to 30 % of gamma_C away.
    steps = optax.exponential_decay(0.03, transition_steps=1, decay_rate=0.9)
    return optax.chain(optax.scale_by_sign(), optax.scale_by_learning_rate(steps))


class _Scan(eqx.Module):
    """Charging times over a ladder of dephasing rates, and where to descend from.

    `warm` is what the loss carries from the best rung (parameters of a fit), `broken` the mask of
    rungs past the end of a fit's branch, `ended` whether it ends just above the best rung, and
    `at_edge` whether the best rung is the first or last.
    """

    log_gammas: jax.Array
    log_taus: jax.Array
    best: jax.Array
    warm: Any
    broken: jax.Array
    ended: jax.Array
    at_edge: jax.Array


@eqx.filter_jit
def _scan(
    model: StarBattery, option: jax.Array | None, definition: str, branch: str
) -> tuple[Problem, _Scan]:
    problem = charging.problem_of(model, option)
    continuous = definition == "fit" and branch == "continuous"
    ladder, first = _ladder(problem, continuous)
    log_taus, warm, ended = _climb(problem, ladder, definition, branch)
    allowed = (ladder >= first) & ~ended & ~jnp.isnan(log_taus)
    taus = jnp.where(allowed, log_taus, jnp.inf)
    if continuous:
        # Its first minimum: the window leaves a spurious one just beyond gamma_C = 4 omega.
        best = jnp.argmax(allowed & jnp.append(taus[1:] > taus[:-1], True))
    else:
        best = jnp.argmin(taus)
    top = ladder.size - 1
    at_edge = (best == jnp.argmax(allowed)) | (best == top)
    ends_next = ended[jnp.minimum(best + 1, top)]
    chosen = jax.tree.map(lambda x: x[best], warm)
    return problem, _Scan(ladder, log_taus, best, chosen, ended, ends_next, at_edge)


def _ladder(problem: Problem, continuous: bool) -> tuple[jax.Array, jax.Array]:
    """Return ln gamma_C of the rungs, and the lowest of them at which an optimum may lie."""
    model = problem.model
    if isinstance(problem, Exact):
        spectrum, lowest, rungs = problem.spectrum, 0.0, _SCAN
    else:
        spectrum, lowest, rungs = sectors.diagonalise(model), _LOWEST, _SAMPLED_SCAN
    slowest, heaviest = charging.starting_frequencies(model, spectrum)
    detuning = 0.0 if model.Delta_C is None else jnp.abs(model.Delta_C)
    first = bottom = jnp.log(jnp.maximum(0.3 * slowest, lowest * heaviest))
    if continuous and isinstance(problem, Exact):
        bottom = charging.branch_start(problem)
    return jnp.linspace(bottom, jnp.log(30 * jnp.maximum(heaviest, detuning)), rungs), first


def _climb(
    problem: Problem, ladder: jax.Array, definition: str, branch: str
) -> tuple[jax.Array, Any, jax.Array]:
    """Return ln tau, what the loss starts warm from, and whether the branch had ended, per rung."""
    if isinstance(problem, Exact) and definition == "fit" and branch == "continuous":
        path = charging.fit_branch(problem, ladder)
        return path.log_tau, (path.fit.p, path.log_rate), path.ended

    def rung(log_gamma: jax.Array) -> tuple[jax.Array, Any]:
        if isinstance(problem, Exact) and definition == "fit":
            found, log_rate = charging.lowest_fit(problem, log_gamma)
            log_tau = jnp.where(found.converged, found.p[0] - log_rate, jnp.nan)
            return log_tau, (found.p, log_rate)
        log_tau, status, _ = charging.measure(problem, definition, log_gamma, branch)
        return jnp.where(status == Status.OK, log_tau, jnp.nan), None

    return *jax.lax.map(rung, ladder), jnp.zeros(ladder.size, dtype=bool)


@functools.cache
def _loss(definition: str) -> Any:
    """Return ln tau as a function of (problem, ln gamma_C, warm start); cached to compile once."""

    def loss(problem: Problem, log_gamma: jax.Array, warm: Any) -> tuple[jax.Array, Any]:
        if isinstance(problem, Exact) and definition == "fit":
            values, log_rate = charging.fit_values(problem, log_gamma)
            found = fit.minimum(values, fit.rescale(warm[0], warm[1], log_rate))
            return found.p[0] - log_rate, (found.p, log_rate)
        return charging.measure(problem, definition, log_gamma, charging.BRANCHES[0])[0], None

    return loss
