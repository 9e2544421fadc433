"""Steady states, with the evidence for them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax import dicke, linalg, lindblad, nullspace, rates, sectors, stationary
from qbjax.batching import map_batch
from qbjax.chargers import qubit
from qbjax.checks import (
    ArgumentError,
    Status,
    array_module,
    as_number,
    raise_unless_ok,
    refusal,
    refuse,
    require,
    require_choice,
    require_known,
)
from qbjax.evolve import evolve
from qbjax.lindblad import Generator
from qbjax.models import COLLECTIVE, StarBattery, out_of_range, over_batch, require_model
from qbjax.residual import refined
from qbjax.stationary import Stationary
from qbjax.trajectory import CUT, Trajectory

METHODS = ("exact", "direct", "iterative")
# "auto" solves directly where elimination takes at most so many operations: N = 18 for a qubit.
_DIRECT = 1e7

_ADVICE = (
    "; see error_estimate with throw=False. Raise tolerance, choose another method, or ask for the "
    "state at a stated time"
)


class SteadyState(eqx.Module):
    """The state that charging settles in, its figures of merit, and the evidence.

    Shapes are those of one model, with L = N_max + 1 and d_c levels of the charger; a batch of
    models puts its axes in front.

    Attributes
    ----------
    rho
        Charger (x) battery state, shape (d_c, L, d_c, L). The exact one is real for every start.
    battery, populations
        Reduced battery state (L, L) in the Dicke ladder, and its diagonal (L,).
    energy, ergotropy, ratio
        Eqs. (4) and (5) over the full 2^N space, in the unit of omega_B, and ergotropy/energy.
    residual
        The largest element of L rho over that of rho.
    smallest_eigenvalue
        The smallest eigenvalue of the battery state.
    nullity
        Dimension of the null space of the Liouvillian, from its structure: above 1 the state
        depends on the start. 0 where it is not known.
    relaxation_time, log_relaxation_time
        Exact: 1 / (slowest nonzero rate of the sectors that the start occupies) in the inverse unit
        of g, and its natural logarithm, which stays finite where the time overflows. The empty
        battery occupies every sector; of a `rho0`, what is below 1e-13 does not count. NaN where
        the rate hangs on splittings of singular values that rounding has lost. Direct and
        iterative: a lower bound of the norm of L^-1 on what decays, by inverse iteration, close to
        1 / (slowest rate); in comparisons direct was within a factor of 2 mostly, iterative short
        by up to 5; infinite where none was found. NaN for the state at a stated time.
    error_estimate
        The Hilbert-Schmidt norm of L rho times the relaxation time, or how far the state moves in
        longer pseudo-time; with several stationary states of a qubit's dephasing alone, the
        distance from the exact solution. None for the exact solution.
    iterations
        Steps of the iterative solver; None for the others.
    top_population
        Where the charger is a cut ladder: the population of its topmost level; else None.
    status
        A `Status`; unless it is `Status.OK` there is no steady state that can be trusted and the
        numbers of the exact solution are NaN. `NOT_CONVERGED`: the error estimate exceeds the
        tolerance, or the battery has an eigenvalue below minus that. `NOT_UNIQUE`: see there.
        `CUT_TOO_LOW`: the topmost level of a cut charger holds more than 1e-6 that something
        would lead further up. `OUT_OF_RANGE`: the host would have refused what JAX is tracing.
    method, why
        The method that was used and the reason for the choice.

    Examples
    --------
    >>> import qbjax as qb
    >>> ss = qb.steady_state(qb.StarBattery(N=2, F=0.5))
    >>> print(ss.populations.round(4), ss.rho.shape, ss.residual < 1e-15)
    [0.3919 0.2162 0.3919] (2, 3, 2, 3) True
    """

    rho: jax.Array
    battery: jax.Array
    populations: jax.Array
    energy: jax.Array
    ergotropy: jax.Array
    ratio: jax.Array
    residual: jax.Array
    smallest_eigenvalue: jax.Array
    nullity: jax.Array
    relaxation_time: jax.Array
    log_relaxation_time: jax.Array
    error_estimate: jax.Array | None
    iterations: jax.Array | None
    top_population: jax.Array | None
    status: jax.Array
    method: str = eqx.field(static=True)
    why: str = eqx.field(static=True)


def steady_state(
    model: StarBattery,
    *,
    rho0: ArrayLike | None = None,
    method: str = "auto",
    time: ArrayLike | None = None,
    tolerance: ArrayLike = 1e-8,
    throw: bool = True,
) -> SteadyState:
    r"""Return the steady state reached from a start.

    With dephasing alone on battery resonance the null space of the Liouvillian has dimension N + 1
    and the state that is reached depends on the start. The exact solution gives it as

        rho = 1/2 sum_k w_k (|g,v_k><g,v_k| + |e,u_k><e,u_k|),
        w_k = <v_k|rho_gg(0)|v_k> + <u_k|rho_ee(0)|u_k>,

    independent of gamma_C and Delta_C; see `qbjax.sectors` for the singular vectors u_k, v_k.
    Other models are solved as `qbjax.stationary` says, from the start where that matters.

    Parameters
    ----------
    model
        One model or a batch of them, not depending on time.
    rho0
        The start, common to the batch, in one of the forms that `qbjax.evolve` takes. None: all
        empty.
    method
        "auto" decides by the structure of the model and says so in `.why`: "exact" for dephasing
        on battery resonance alone; else "direct", elimination of blocks, for small systems (N up
        to 18 for a qubit), and "iterative", preconditioned GMRES, for large ones.
    time
        Return the state at this time instead, by `qbjax.evolve` and its choice of method, with
        reverse derivatives: the metastable plateau where the relaxation takes too long. Very late
        times of small systems are quicker by `qbjax.evolve` and its "propagator".
    tolerance
        Largest error that is not flagged; see `SteadyState.status`.
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
    """
    require_model(model)
    model = sectors.without_idle_drive(model)
    require_choice(method, "method", ("auto", *METHODS))
    allowed = as_number(tolerance, "tolerance")
    refused = refusal(allowed > 0, "tolerance", "one positive number", tolerance)
    tolerance = jnp.asarray(allowed)
    if time is not None:
        require(method == "auto", "method", '"auto" where a time is stated', method)
        result = _plateau(model, time, rho0, tolerance)
    else:
        chosen, why = choose(model, method)
        if chosen == "exact":
            start, stray = sectors.start_of(model, rho0)
            result = _solve(model, start, jnp.asarray(refused | stray))
        else:
            least = 100 * float(jnp.finfo(tolerance.dtype).eps)
            precise = f"at least {least:.2g} in {tolerance.dtype}"
            refused |= refusal(allowed >= least, "tolerance", precise, tolerance)
            stored, stray = lindblad.stored_start(model, rho0)
            shared = stored, tolerance, jnp.asarray(refused | stray), chosen, why
            result = map_batch(_solve_generally, model, *shared, threads=True)
    if throw:
        raise_unless_ok(result.status, _ADVICE)
    return result


def choose(model: StarBattery, method: str) -> tuple[str, str]:
    """Return the method and the reason, from structure alone."""
    found = sectors.obstacle(model)
    if method == "exact":
        sectors.require_exact(model, "this method")
    if method == "exact" or (method == "auto" and found is None):
        return "exact", "dephasing on battery resonance: solved sector by sector"
    if model.depends_on_time:
        raise ArgumentError(
            "Argument `model` must not depend on time for a steady state, but does: use "
            "qbjax.evolve, or `time` for the state at a stated time."
        )
    size = model.charger.levels**2 * model.levels
    short = lindblad.structure(model).reach(1) <= 1
    if method != "auto":
        by_two = "iterative where a term moves the battery by two levels or more"
        require(short or method != "direct", "method", by_two, method)
        return method, "asked for"
    if short and model.levels * size**3 <= _DIRECT:
        return "direct", f"{found}: blocks of {size} numbers, eliminated one by one"
    return "iterative", f"{found}: preconditioned GMRES, since blocks have {size} numbers"


def _solve_generally(
    model: StarBattery,
    start: jax.Array,
    tolerance: jax.Array,
    refused: jax.Array,
    method: str,
    why: str,
) -> SteadyState:
    result = _general(model, start, tolerance, method, why)
    return refuse(refused | out_of_range(model), result)


def _general(
    model: StarBattery, start: jax.Array, tolerance: jax.Array, method: str, why: str
) -> SteadyState:
    """Solve one model by the general generator."""
    generator = lindblad.generator(model)
    live = dicke.live_levels(model.N, model.levels)
    nullity = nullspace.nullity(model)
    if method == "direct":
        found = stationary.direct(generator, refined(model), start, live, nullity)
        ambiguous = jnp.asarray(False)
    else:
        found, ambiguous = _iterate(model, generator, start, live, nullity, tolerance)
    status = nullspace.existence(model)
    status = jnp.where((status == Status.OK) & ambiguous, Status.NOT_UNIQUE, status)
    error = found.error
    told_apart = nullspace.promises_one(model) and method == "iterative"
    if model.charger == qubit() and not (told_apart or nullspace.has_own_terms(model)):
        # With several stationary states rates may be too slow for any solver but the exact one.
        exact = _exact(*jax.lax.stop_gradient((model, lindblad.restore(generator, start)))).rho
        distance = jnp.linalg.norm(lindblad.restore(generator, found.stored) - exact)
        error = jnp.where(nullity > 1, distance, error)
    error = jax.lax.stop_gradient(error)
    evidence = {
        "nullity": nullity,
        "relaxation_time": found.relaxation_time,
        "error_estimate": error,
        "iterations": found.iterations if method == "iterative" else None,
    }
    return _assemble(model, generator, found.stored, status, tolerance, evidence, (method, why))


def _iterate(
    model: StarBattery,
    generator: Generator,
    start: jax.Array,
    live: jax.Array,
    nullity: jax.Array,
    tolerance: jax.Array,
) -> tuple[Stationary, jax.Array]:
    """Solve by iteration; tell as well whether what was assumed for it may be wrong."""
    own = nullspace.has_own_terms(model)
    one = nullspace.promises_one(model) or bool(model.jumps)
    charger_alone = one and not own and all(getattr(model, name) is None for name in COLLECTIVE)

    def solve(start: jax.Array) -> Stationary:
        return stationary.iterative(generator, start, live, one, charger_alone)

    if not own:
        # Structure promised one stationary state, but the values may be zero; where it did not,
        # modes that are too slow for the shift go unseen, unless the exact solution is at hand.
        return solve(start), nullity != 1 if one else nullity == 0
    # Nothing is promised: another start tells whether there are others.
    starts = jnp.stack([start, stationary.lopsided(generator, live, start)])
    found, other = (jax.tree.map(lambda x, i=i: x[i], jax.lax.map(solve, starts)) for i in (0, 1))
    return found, jnp.max(jnp.abs(found.stored - other.stored)) > 10 * tolerance


def _assemble(
    model: StarBattery,
    generator: Generator,
    stored: jax.Array,
    status: jax.Array,
    tolerance: jax.Array,
    evidence: dict[str, Any],
    named: tuple[str, str],
) -> SteadyState:
    """Return a stored state of one model with its figures of merit and the evidence."""
    battery = lindblad.battery(generator, stored)
    populations = jnp.diagonal(battery).real
    energy = model.omega_B * (dicke.level_numbers(model.levels) @ populations)
    eigenvalues = linalg.eigvalsh(battery)
    passive = model.omega_B * (jnp.sum(populations) - eigenvalues[-1])
    change = jnp.max(jnp.abs(generator(stored))) / jnp.max(jnp.abs(stored))
    smallest = eigenvalues[0]
    # Written so that NaN counts as not converged.
    good = (evidence["error_estimate"] <= tolerance) & (smallest >= -tolerance)
    status = jnp.where((status == Status.OK) & ~good, Status.NOT_CONVERGED, status)
    levels = lindblad.populations(generator, stored)
    top, spilled = jnp.sum(levels[-1]), lindblad.spilled(generator, levels)
    truncated = model.charger.truncated
    overflown = (status == Status.OK) & truncated & (spilled > CUT)
    return SteadyState(
        rho=lindblad.restore(generator, stored),
        battery=battery,
        populations=populations,
        energy=energy,
        ergotropy=energy - passive,
        ratio=(energy - passive) / energy,
        residual=change,
        smallest_eigenvalue=smallest,
        log_relaxation_time=jnp.log(evidence["relaxation_time"]),
        top_population=top if truncated else None,
        status=jnp.where(overflown, Status.CUT_TOO_LOW, status),
        method=named[0],
        why=named[1],
        **evidence,
    )


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
        generator = lindblad.generator(one, path.ts[0])
        states = jnp.asarray(path.rho)
        evidence = {
            "nullity": nullspace.nullity(one),
            "relaxation_time": jnp.asarray(jnp.nan),
            "error_estimate": path.error_estimate[0] / (one.N * one.omega_B),
            "iterations": None,
        }
        stored = lindblad.store(generator, states[0], 2)
        return _assemble(one, generator, stored, path.status[0], tolerance, evidence, ("time", why))

    for _ in model.batch_shape:
        solve = jax.vmap(solve)
    return solve(model, trajectory)


@eqx.filter_jit
def _solve(model: StarBattery, rho0: jax.Array | None, refused: jax.Array) -> SteadyState:
    return over_batch(lambda one: refuse(refused | out_of_range(one), _exact(one, rho0)), model)


def _exact(model: StarBattery, rho0: jax.Array | None) -> SteadyState:
    spectrum = sectors.diagonalise(model)
    coordinates = None if rho0 is None else sectors.project(spectrum, rho0)
    weights = spectrum.v[0] ** 2 if coordinates is None else jnp.diagonal(coordinates[0]).real
    status = rates.existence(model)

    # Comes in last, so that over a batch in gamma_C what does not depend on it is computed once; as
    # a factor, so that derivatives are NaN, too.
    mask = jnp.where(status == Status.OK, 1.0, jnp.nan)

    def known(x: jax.Array) -> jax.Array:
        return x * mask

    ground = spectrum.v * (weights / 2) @ spectrum.v.T
    excited = spectrum.u * (weights / 2) @ spectrum.u.T
    zero = jnp.zeros_like(ground)
    rho = jnp.stack([jnp.stack([ground, zero], 1), jnp.stack([zero, excited], 1)])
    battery = ground + excited
    populations = jnp.diagonal(battery)
    energy = model.omega_B * (dicke.level_numbers(model.levels) @ populations)
    largest, smallest = dicke.extreme_eigenvalues(battery, model.N)
    ergotropy = energy - model.omega_B * (jnp.sum(weights) - largest)
    slowest = rates.state_rate(model, spectrum, coordinates)
    log_time = known(jnp.where(slowest.resolved, -slowest.log_rate, jnp.nan))
    return SteadyState(
        rho=known(rho),
        battery=known(battery),
        populations=known(populations),
        energy=known(energy),
        ergotropy=known(ergotropy),
        ratio=known(ergotropy / energy),
        residual=known(_residual(model, ground, excited)),
        smallest_eigenvalue=known(smallest),
        nullity=nullspace.nullity_on_resonance(model),
        relaxation_time=jnp.exp(log_time),
        log_relaxation_time=log_time,
        error_estimate=None,
        iterations=None,
        top_population=None,
        status=status,
        method="exact",
        why="dephasing on battery resonance: solved sector by sector",
    )


def _residual(model: StarBattery, ground: jax.Array, excited: jax.Array) -> jax.Array:
    """Return max |K rho_gg - rho_ee K|; the other blocks of L rho vanish identically."""
    above = jnp.roll(model.couplings, -1)
    left = model.F * ground + above[:, None] * jnp.roll(ground, -1, axis=0)
    right = model.F * excited + jnp.roll(excited * above, 1, axis=1)
    return jnp.max(jnp.abs(left - right)) / jnp.max(jnp.abs(ground))
