"""The dephasing rate of the shortest charging time."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.charging.definition import Definition, Problem, problem
from qbjax.charging.times import chosen_definition
from qbjax.common.checks import Status, as_count, is_concrete, number_where, raise_unless_ok, refuse
from qbjax.common.first_order import first_order
from qbjax.common.minimise import minimise, require_optimizer
from qbjax.common.printing import Line, Printed, status_text
from qbjax.exact import rates
from qbjax.exact.applies import is_exact, without_idle_drive
from qbjax.model.batching import map_batch
from qbjax.model.star_battery import StarBattery, out_of_range, over_batch, require_model

if TYPE_CHECKING:
    import optax

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
    model
        The model; its own gamma_C plays no role.

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
    model: StarBattery

    def _lines(self) -> list[Line]:
        steps = None
        if self.history is not None and is_concrete(self.history):
            steps = np.isfinite(self.history).sum(-1) - 1
        return [
            ("model", self.model.one_line, ""),
            ("gamma_C", self.gamma_C, "in the unit of g"),
            ("tau", self.tau, f'in its inverse, by "{self.definition}"'),
            ("status", status_text(self.status), ""),
            ("converged", self.converged, ""),
            ("method", self.method, ""),
            ("steps", steps, "of the descent"),
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
    **options: ArrayLike | str | None,
) -> OptimalDephasing:
    """Return the dephasing rate gamma_C* of the shortest charging time, and that time tau*.

    A scan over gamma_C finds the valley: from 0.3 times the frequency of the slowest weighty mode
    (for a continuous fit from where its branch starts) to 30 times that of the heaviest mode or of
    the detuning. From its lowest point gradient descent in ln gamma_C runs down ln tau. For
    "decay_rate" on charger resonance the optimum is a cusp and known in closed form,
    gamma_C* = 4 omega_min and tau* = 1/omega_min.

    Derivatives, forward and reverse, are those of the optimum itself and not of the descent; that
    of gamma_C* is good to 1e-5. They are NaN where the status is not OK, by "settling", and by
    "decay_rate" beyond the closed form, whose minimum is a kink or a jump. Those of the scan and of
    the history are zero.

    Beyond dephasing on battery resonance these frequencies are those of the model without the rest,
    and the scan starts no lower than 1e-3 times the heaviest one.

    Parameters
    ----------
    model
        One model or a batch of them; its own gamma_C plays no role.
    definition, options
        As for `charging_time`.
    optimizer
        Any optax optimiser; the closed form takes none. None means L-BFGS without a line search for
        "fit" and "integral" (in one dimension the secant method, which the scan leaves next to the
        minimum), and steps of decaying length down the slope's sign for the others, whose minimum
        is a kink.
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
    chosen = chosen_definition(model, definition, options)
    max_steps = as_count(max_steps, "max_steps")
    exact = is_exact(model)
    if exact and throw:
        raise_unless_ok(rates.charges(model))
    require_optimizer(optimizer)
    if chosen.closed_optimum(model) is not None:
        return _closed_form(model, chosen)
    settings = (chosen, optimizer, max_steps, tolerance)
    if not model.batch_shape:
        return _optimal(model, *settings, progress=progress)
    return _side_by_side(model, *settings) if exact else map_batch(_optimal, model, *settings)


@eqx.filter_jit
def _closed_form(model: StarBattery, definition: Definition) -> OptimalDephasing:
    closed_optimum = definition.closed_optimum(model)
    assert closed_optimum is not None

    def solve(one: StarBattery) -> OptimalDephasing:
        charges = rates.charges(one)
        *optimum, status = closed_optimum(one)
        status = jnp.where(charges == Status.OK, status, charges)
        converged = status == Status.OK
        log_gamma, log_tau = (number_where(converged, x) for x in optimum)
        result = OptimalDephasing(
            gamma_C=jnp.exp(log_gamma),
            tau=jnp.exp(log_tau),
            log_gamma_C=log_gamma,
            log_tau=log_tau,
            history=None,
            converged=converged,
            status=status,
            scan_gamma_C=None,
            scan_tau=None,
            definition=definition.name,
            method="closed form",
            model=one,
        )
        return refuse(definition.out_of_range() | out_of_range(one), result)

    return over_batch(solve, model)


@eqx.filter_jit
def _side_by_side(model: StarBattery, *settings: PyTree) -> OptimalDephasing:
    return over_batch(lambda one: _optimal(one, *settings), model)


def _optimal(
    model: StarBattery,
    definition: Definition,
    optimizer: optax.GradientTransformation | None,
    max_steps: int,
    tolerance: float,
    *,
    progress: bool = False,
) -> OptimalDephasing:
    fixed = jax.lax.stop_gradient(eqx.filter((definition, model), eqx.is_array))
    curve, scan = _scan(*eqx.combine(fixed, (definition, model)))
    start, lowest = scan.log_gammas[scan.best], scan.log_taus[scan.best]
    descent = minimise(
        Partial(_log_tau, curve),
        start,
        aux=scan.warm,
        optimizer=_default_optimizer(definition.is_smooth) if optimizer is None else optimizer,
        max_steps=max_steps,
        tolerance=tolerance,
        progress=progress,
        label="optimal dephasing",
    )
    # A descent that left the valley of the scan has crossed the end of a branch.
    near = jnp.abs(descent.x - start) < 4 * (scan.log_gammas[1] - scan.log_gammas[0])
    smooth = near & (jnp.abs(descent.value - lowest) < 0.1) & ~scan.ended
    ends = (descent.x, descent.value, descent.aux), (start, lowest, scan.warm)
    log_gamma, log_tau, warm = jax.tree.map(lambda a, b: jnp.where(smooth, a, b), *ends)
    trust = _trust(curve, log_gamma)
    known = (trust == Status.OK) | (trust == Status.AMBIGUOUS)
    log_gamma, log_tau = (jnp.where(known, x, jnp.nan) for x in (log_gamma, log_tau))
    status = jnp.where(descent.converged & ~scan.at_edge, trust, Status.NOT_CONVERGED)
    status = jnp.where(smooth, status, Status.AMBIGUOUS)
    stationary = definition.is_smooth & (status == Status.OK)
    log_gamma, log_tau = _with_derivatives(model, definition, log_gamma, log_tau, warm, stationary)
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
        definition=definition.name,
        method="descent",
        model=model,
    )
    return refuse(definition.out_of_range() | out_of_range(model), result)


@eqx.filter_jit
def _with_derivatives(
    model: StarBattery,
    definition: Definition,
    log_gamma: jax.Array,
    log_tau: jax.Array,
    warm: PyTree,
    stationary: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Give the optimum the derivatives of a minimum: those of L_x(x*) = 0 and of L(x*).

    They are NaN where it is none, as at the end of a branch, or is a kink.
    """
    curve = problem(definition, model)
    around = log_gamma + _STEP * jnp.array([-1.0, 0.0, 1.0])
    below, value, above = jax.lax.map(lambda x: _log_tau(curve, x, warm)[0], around)
    slope = (above - below) / (2 * _STEP)
    curvature = jax.lax.stop_gradient(above - 2 * value + below) / _STEP**2
    step, value = (first_order(number_where(stationary, x)) for x in (-slope / curvature, value))
    return _moves_with(log_gamma, step), _moves_with(log_tau, value)


@jax.custom_jvp
def _moves_with(x: jax.Array, other: jax.Array) -> jax.Array:
    """Return x, with the derivative of the other."""
    return x


_moves_with.defjvps(None, lambda moved, *_: moved)


@eqx.filter_jit
def _trust(curve: Problem, log_gamma: jax.Array) -> jax.Array:
    """Return the status of the charging time at a dephasing rate."""
    charges = curve.charges()
    return jnp.where(charges == Status.OK, curve.trusted(log_gamma)[1], charges)


def _log_tau(curve: Problem, log_gamma: jax.Array, warm: PyTree) -> tuple[jax.Array, PyTree]:
    """Return ln tau as a loss; defined once, to compile once."""
    return curve.definition.near(curve, log_gamma, warm)


@functools.cache
def _default_optimizer(is_smooth: bool) -> optax.GradientTransformation:
    # Cached, because a fresh optimiser would be compiled afresh.
    import optax

    if is_smooth:
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
    warm: PyTree
    broken: jax.Array
    ended: jax.Array
    at_edge: jax.Array


@eqx.filter_jit
def _scan(definition: Definition, model: StarBattery) -> tuple[Problem, _Scan]:
    curve = problem(definition, model)
    ladder, first = _ladder(curve)
    log_taus, warm, ended = definition.climb(curve, ladder)
    allowed = (ladder >= first) & ~ended & ~jnp.isnan(log_taus)
    best, top = definition.valley(log_taus, allowed), ladder.size - 1
    at_edge = (best == jnp.argmax(allowed)) | (best == top)
    ends_next = ended[jnp.minimum(best + 1, top)]
    chosen = jax.tree.map(lambda x: x[best], warm)
    return curve, _Scan(ladder, log_taus, best, chosen, ended, ends_next, at_edge)


def _ladder(curve: Problem) -> tuple[jax.Array, jax.Array]:
    """Return ln gamma_C of the rungs, and the lowest of them at which an optimum may lie."""
    slowest, heaviest = curve.frequencies()
    off = curve.model.Delta_C
    detuning = jnp.zeros(()) if off is None else jnp.abs(off)
    first = jnp.log(jnp.maximum(0.3 * slowest, curve.scan_from * heaviest))
    bottom = curve.definition.lowest_rung(curve, first)
    return jnp.linspace(bottom, jnp.log(30 * jnp.maximum(heaviest, detuning)), curve.rungs), first
