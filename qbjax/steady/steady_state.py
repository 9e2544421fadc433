"""Steady states: the verb, and the choice of a method."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.basis.states import LadderState
from qbjax.common.checks import (
    ArgumentError,
    array_module,
    as_argument,
    as_number,
    is_concrete,
    raise_unless_ok,
    refusal,
    refuse,
    require,
    require_choice,
    require_known,
)
from qbjax.common.types import ArrayLike, Condition
from qbjax.evolution.evolve import evolve
from qbjax.evolution.result import Trajectory
from qbjax.exact.applies import without_idle_drive
from qbjax.generator import stored_states
from qbjax.generator.lindblad import generator
from qbjax.model.batching import map_batch, require_room
from qbjax.model.method import choose as choose_from
from qbjax.model.parameters import LOCAL
from qbjax.model.pulses import is_pulse
from qbjax.model.star_battery import StarBattery, out_of_range, over_batch, require_model
from qbjax.model.terms import LocalJump
from qbjax.steady import nullspace
from qbjax.steady.direct import Direct
from qbjax.steady.exact import Exact
from qbjax.steady.general import judged
from qbjax.steady.iterative import Iterative
from qbjax.steady.method import Method
from qbjax.steady.result import ADVICE, SteadyState, completed
from qbjax.steady.stroboscopic import stroboscopic

# In the order in which "auto" asks them.
_METHODS: dict[str, Method] = {each.name: each for each in (Exact(), Direct(), Iterative())}
METHODS = tuple(_METHODS)


def steady_state(
    model: StarBattery,
    *,
    rho0: ArrayLike | None = None,
    method: str = "auto",
    time: ArrayLike | None = None,
    period: ArrayLike | None = None,
    tolerance: ArrayLike = 1e-8,
    state: bool = True,
    throw: bool = True,
) -> SteadyState:
    r"""Return the steady state reached from a start.

    With dephasing alone on battery resonance the null space of the Liouvillian has dimension N + 1
    and the state that is reached depends on the start. The exact solution gives it as

        rho = 1/2 sum_k w_k (|g,v_k><g,v_k| + |e,u_k><e,u_k|),
        w_k = <v_k|rho_gg(0)|v_k> + <u_k|rho_ee(0)|u_k>,

    independent of gamma_C and Delta_C; see `qbjax.exact.sectors` for the singular vectors u_k, v_k.
    Other models are solved as `qbjax.steady.stationary` says, from the start where that matters.

    Parameters
    ----------
    model
        One model or a batch of them, not depending on time but where a period is given.
    rho0
        The start, common to the batch, in one of the forms that `qbjax.evolve` takes. None: all
        empty.
    method
        "auto" decides by the structure of the model and says so in `.why`: "exact" for dephasing
        on battery resonance alone; else "direct", elimination, for small systems (N up
        to 18 for a qubit), and "iterative", preconditioned GMRES, for large ones.
    time
        Return the state at this time instead, by `qbjax.evolve` and its choice of method, with
        reverse derivatives: the metastable plateau where the relaxation takes too long. Very late
        times of small systems are quicker by `qbjax.evolve` and its "propagator".
    period
        Return the state at the times 0, T, 2 T, ... instead that a model leads to which repeats
        itself after the period T; it is looked at from 0 to T alone. For small systems (N up to 21
        for a qubit without detunings, 15 with them): see `qbjax.steady.stroboscopic`. `residual`,
        `nullity` and `relaxation_time` are those of the map of one period then.
    tolerance
        Largest error that is not flagged; see `SteadyState.status`.
    state
        False leaves `rho` and `battery` out. The exact solution from the empty battery goes by the
        ends of the ladder then, where they lie apart, at a cost that does not depend on N: up to
        N = 10^6 and beyond. Its `residual` is what was left out. Drives that JAX is tracing may be
        up to 10 g there.
    throw
        Raise where there is no steady state that can be trusted. Under `jax.jit` and `jax.vmap`
        nothing is raised: look at `.status`.

    Returns
    -------
    The state, its figures of merit and the evidence; the axes of a batch are in front.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, or where the method does not apply.
    SolveError
        Where there is no steady state to relax to (for dephasing alone: gamma_C = 0, F = 0 or
        g = 0), or where the answer cannot be trusted.

    Examples
    --------
    >>> import qbjax as qb
    >>> ss = qb.steady_state(qb.StarBattery(N=8, F=0.5))
    >>> print(ss.method, f"{ss.energy:.4f} {ss.ergotropy:.4f} {ss.nullity}")
    exact 4.0000 3.4288 9

    Collective decay of the battery:

    >>> ss = qb.steady_state(qb.StarBattery(N=8, F=0.5, Gamma_down=0.01))
    >>> print(ss.method, f"{ss.energy:.4f} {ss.ergotropy:.4f} {ss.nullity}")
    direct 0.2581 0.2518 1

    A drive that is on for a time of 2 and off for as long, again and again:

    >>> drive = qb.PiecewiseConstant([2.0], [1.0, 0.0])
    >>> leaky = qb.StarBattery(N=2, F=drive, gamma_C=0.1, kappa=0.1, Gamma_down=0.01)
    >>> ss = qb.steady_state(leaky, period=4.0)
    >>> print(ss.method, f"{ss.energy:.4f} {ss.ergotropy:.4f} {ss.relaxation_time:.1f}")
    stroboscopic 0.6872 0.2247 22.6
    """
    require_model(model)
    model = without_idle_drive(model)
    require_choice(method, "method", ("auto", *METHODS))
    allowed = as_number(tolerance, "tolerance")
    refused = refusal(allowed > 0, "tolerance", "one positive number", tolerance)
    tolerance = as_argument(allowed)
    if time is not None or period is not None:
        moment = "a time" if period is None else "a period"
        require(method == "auto", "method", f'"auto" where {moment} is stated', method)
    if period is not None:
        require(time is None, "time", "None where a period is stated", time)
        length = as_number(period, "period")
        positive = (length > 0) & array_module(length).isfinite(length)
        refused |= refusal(positive, "period", "one time, finite and positive", period)
        result = stroboscopic(model, jnp.asarray(length, float), rho0, tolerance, refused)
    elif time is not None:
        result = _plateau(model, time, rho0, tolerance)
    elif rho0 is None and _is_silent(model):
        quiet = _without_local_noise(model)
        settled = _settled(quiet, rho0, method, tolerance, refused, state)
        result = _on_all_ladders(settled, model)
    else:
        result = _settled(model, rho0, method, tolerance, refused, state)
    if not state:
        result = eqx.tree_at(
            lambda x: (x.rho, x.battery), result, (None, None), is_leaf=lambda x: x is None
        )
    if throw:
        raise_unless_ok(result.status, ADVICE)
    return result


def _is_silent(model: StarBattery) -> bool:
    """Tell whether all noise on single qubits can be seen to be zero: they stay on one ladder."""
    rates = [rate for name in LOCAL if (rate := getattr(model, name)) is not None]
    others = any(isinstance(jump, LocalJump) for jump in model.jumps)
    if not rates or others or any(is_pulse(rate) for rate in rates) or not is_concrete(rates):
        return False
    return not any(np.any(rate) for rate in jax.device_get(rates))


def _without_local_noise(model: StarBattery) -> StarBattery:
    """Return the model of one ladder."""
    return eqx.tree_at(
        lambda m: [getattr(m, name) for name in LOCAL],
        model,
        [None] * len(LOCAL),
        is_leaf=lambda leaf: leaf is None,
    )


def _on_all_ladders(settled: SteadyState, model: StarBattery) -> SteadyState:
    """Return a steady state of one ladder as that of a model whose noise is silent."""
    if settled.battery is None:
        return eqx.tree_at(lambda x: x.model, settled, model)

    spread = model.basis.split
    for _ in model.batch_shape:
        spread = jax.vmap(spread)

    battery = LadderState(spread(settled.battery), model.N)
    parts = spread(settled.rho), battery, model
    return eqx.tree_at(lambda x: (x.rho, x.battery, x.model), settled, parts)


def choose(model: StarBattery, name: str) -> tuple[Method, str]:
    """Return the method and the reason, from structure alone."""
    if name != "exact" and model.depends_on_time:
        raise ArgumentError(
            "Argument `model` must not depend on time for a steady state, but does: use "
            "`period` for what repeats itself, `time` for the state at a stated time, or "
            "qbjax.evolve."
        )
    return choose_from(_METHODS, model, name)


def _settled(
    model: StarBattery,
    rho0: ArrayLike | None,
    method: str,
    tolerance: jax.Array,
    refused: Condition,
    state: bool,
) -> SteadyState:
    """Return the state that a model, or each of a batch, settles in."""
    chosen, why = choose(model, method)
    chosen = chosen.informed(model)
    if rho0 is None:
        chosen = chosen.from_empty(model, state)
    if chosen.gives_state:
        require_room(model)
    start, stray = chosen.start(model, rho0)
    if chosen.needs_tolerance:
        least = 100 * float(jnp.finfo(tolerance.dtype).eps)
        precise = f"at least {least:.2g} in {tolerance.dtype}"
        refused |= refusal(tolerance >= least, "tolerance", precise, tolerance)
    arguments = start, tolerance, as_argument(refused | stray), chosen, why
    if chosen.side_by_side:
        return _side_by_side(model, *arguments)
    return map_batch(_solve, model, *arguments, threads=True)


@eqx.filter_jit
def _side_by_side(model: StarBattery, *arguments: PyTree) -> SteadyState:
    return over_batch(lambda one: _solve(one, *arguments), model)


def _solve(
    model: StarBattery,
    start: PyTree,
    tolerance: jax.Array,
    refused: jax.Array,
    method: Method,
    why: str,
) -> SteadyState:
    """Solve one model."""
    result = completed(model, method.solve(model, start, tolerance), method.name, why)
    return refuse(refused | out_of_range(model), result)


def _plateau(
    model: StarBattery, time: ArrayLike, rho0: ArrayLike | None, tolerance: jax.Array
) -> SteadyState:
    """Return the state at a stated time, in the form of a steady state."""
    moment = as_number(time, "time")
    module = array_module(moment)
    # Where it is traced, the twin of this check is that of the times of `evolve`.
    later = (moment >= 0) & module.isfinite(moment)
    require_known(later, "time", "one time, finite and not negative", time)
    times = jnp.asarray(moment)[None]
    rtol = jnp.maximum(1e-2 * tolerance, 100 * jnp.finfo(times.dtype).eps)
    trajectory = evolve(model, times, rho0=rho0, save=("rho",), rtol=rtol, tolerance=tolerance)
    return _at_time(model, trajectory, tolerance)


@eqx.filter_jit
def _at_time(model: StarBattery, trajectory: Trajectory, tolerance: jax.Array) -> SteadyState:
    why = f"the state at the stated time, by the method {trajectory.method}"

    def solve(one: StarBattery, path: Trajectory) -> SteadyState:
        made = generator(one, path.ts[0])
        solution = judged(
            one,
            made,
            stored_states.store(made, jnp.asarray(path.rho)[0], 2),
            tolerance,
            status=path.status[0],
            nullity=nullspace.nullity(one),
            log_relaxation_time=jnp.asarray(jnp.nan),
            error_estimate=path.error_estimate[0] / (one.most_excitations * one.omega_B),
        )
        return completed(one, solution, "time", why)

    for _ in model.batch_shape:
        solve = jax.vmap(solve)
    return solve(model, trajectory)
