r"""The state that comes back after every period of a model that repeats itself.

The map of one period, P, is written out as a matrix: every unit vector is evolved by a method of
`qbjax.evolve`. The state is that with P rho = rho, from

    (1 - P + X Tr) rho = X,    Tr X = 1,

where it is the only one. It is, where anything but dephasing alone acts at any time; and with
dephasing alone wherever F/g changes. Where dephasing alone goes with one ratio F/g, the sectors of
the exact solution are conserved at all times, and the start decides as it does there.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.checks import Status, refuse, require
from qbjax.common.types import ArrayLike, Condition
from qbjax.evolution import evolve
from qbjax.evolution.general import General
from qbjax.evolution.method import Options
from qbjax.evolution.observe import Observe, Problem
from qbjax.evolution.pieces import Intervals
from qbjax.evolution.propagator import LARGEST_DENSE
from qbjax.exact.applies import is_exact
from qbjax.generator import stored_states
from qbjax.generator.lindblad import Generator, generator, structure
from qbjax.model.batching import map_batch
from qbjax.model.pulses import at_time, is_pulse
from qbjax.model.star_battery import StarBattery, out_of_range
from qbjax.steady import exact, nullspace
from qbjax.steady.coordinates import Coordinates
from qbjax.steady.general import judged
from qbjax.steady.result import Solution, SteadyState, completed

# Error of the map over the tolerance: slow modes multiply it by their number of periods.
_FINER = 1e-4
# Pulses are looked at so many times in a period, evenly spaced, and once between jumps.
_LOOKS = 1024
# So many moments in a period tell what the topmost levels hold.
_MOMENTS = 64
# How often the map is squared: modes that keep all but 1e-12 in a period are told from kept ones.
_SQUARINGS = 40
# A ratio is constant to so many times the machine epsilon.
_SAME = 100


def stroboscopic(
    model: StarBattery,
    period: jax.Array,
    rho0: ArrayLike | None,
    tolerance: jax.Array,
    refused: Condition,
) -> SteadyState:
    """Return the states at t = 0, T, 2 T, ... that the period T leads to.

    Parameters
    ----------
    model, period, rho0, tolerance
        As for `qbjax.steady_state`.
    refused
        Whether one of them was refused where JAX is tracing it.
    """
    chosen, _ = evolve.choose(model, "auto" if model.depends_on_time else "chebyshev")
    start, stray = stored_states.stored_start(model, rho0)
    size = Coordinates(structure(model), len(start)).size
    words = f"None where the state has more than {LARGEST_DENSE} real numbers"
    require(size <= LARGEST_DENSE, "period", words, f"given for {size}")
    why = f"the map of one period as a matrix, by the method {chosen.name}"
    options = Options(
        rtol=jnp.maximum(_FINER * tolerance, 100 * jnp.finfo(tolerance.dtype).eps),
        atol=jnp.asarray(0.0),
        tolerance=tolerance,
        max_step=None,
        refused=jnp.asarray(refused | stray),
        observe=Observe((), ()),
        method=chosen,
        why=why,
        gradient="reverse",
        progress=False,
        max_steps=1_000_000,
    )
    return map_batch(_solve, model, period, start, options)


def _solve(model: StarBattery, period: jax.Array, start: PyTree, options: Options) -> SteadyState:
    """Solve one model."""
    refused = options.refused | out_of_range(model)
    period = jnp.where(refused, 1.0, period)
    made = generator(model, 0.0)
    coordinates = Coordinates(made, len(start))
    matrix, error = _map(model, period, coordinates, options)
    strongest, nullity, is_kept = _conserved(model, period)
    begin = coordinates.vector(start)
    there = _there(model, made, coordinates)
    unit = jnp.eye(coordinates.size)
    trace = jax.vmap(coordinates.trace)(unit)
    # Where a padded battery has no level, nothing moves.
    moves = jnp.where(there[:, None] & there, unit - matrix, unit)
    rho = jnp.linalg.solve(moves + begin[:, None] * trace, begin)
    limit = rho[:, None] * trace
    if is_exact(strongest):
        sectors = jax.vmap(lambda x: _in_sectors(strongest, coordinates, x), out_axes=1)(unit)
        limit = jnp.where(is_kept, sectors, limit)
        rho = jnp.where(is_kept, sectors @ begin, rho)
    rest, matrix, moves = jax.lax.stop_gradient((limit, matrix, moves))
    decay = jnp.where(there[:, None] & there, matrix - rest, 0.0)
    blown = jnp.linalg.norm(jnp.linalg.inv(moves + rest))
    status = nullspace.existence(strongest)
    several = (nullity > 1) & ~is_kept
    status = jnp.where((status == Status.OK) & several, Status.NOT_UNIQUE, status)
    solution = judged(
        model,
        made,
        coordinates.stored(rho),
        options.tolerance,
        status=status,
        nullity=nullity,
        log_relaxation_time=_log_time(decay, period),
        error_estimate=jax.lax.stop_gradient(error) * blown,
    )
    if model.charger.truncated or model.basis.truncated:
        solution = _watched(model, period, solution, coordinates.stored(rho), options)
    returned = jnp.max(jnp.abs(matrix @ rho - rho)) / jnp.max(jnp.abs(rho))
    solution = eqx.tree_at(lambda s: s.residual, solution, returned)
    return refuse(refused, completed(model, solution, "stroboscopic", options.why))


def _watched(
    model: StarBattery,
    period: jax.Array,
    solution: Solution,
    stored: jax.Array,
    options: Options,
) -> Solution:
    """Return the solution with the largest population of a topmost level within the period."""
    times = period * (jnp.arange(_MOMENTS) + 1) / _MOMENTS
    top = jnp.max(_method(options).run(Problem(model), times, stored, options)[0]["top"])
    too_low = (solution.status == Status.OK) & (top > stored_states.CUT)
    status = jnp.where(too_low, Status.CUT_TOO_LOW, solution.status)
    return eqx.tree_at(lambda s: (s.status, s.top_population), solution, (status, top))


def _method(options: Options) -> General:
    assert isinstance(options.method, General)
    return options.method


def _map(
    model: StarBattery, period: jax.Array, coordinates: Coordinates, options: Options
) -> tuple[jax.Array, jax.Array]:
    """Return the map of one period as a matrix, and the largest error of a column."""
    method, problem = _method(options), Problem(model)

    def column(unit: jax.Array) -> tuple[jax.Array, jax.Array]:
        run = method.run(problem, period[None], coordinates.stored(unit), options)
        return coordinates.vector(run[1]), run[2][-1]

    matrix, errors = jax.vmap(column, out_axes=(1, 0))(jnp.eye(coordinates.size))
    rounding = coordinates.size * jnp.finfo(matrix.dtype).eps
    return matrix, jnp.maximum(jnp.max(errors), rounding)


def _conserved(model: StarBattery, period: jax.Array) -> tuple[StarBattery, jax.Array, jax.Array]:
    """Return what acts at any time, dim ker (1 - P), and whether the sectors of F/g are kept.

    The first is the model whose parameters are the largest of their values in size, and whose
    drive is the furthest from resonance.
    """
    times = _looks(model, period)
    F, g = (jnp.broadcast_to(_values(x, times), times.shape) for x in (model.F, model.g))

    def strongest(leaf: PyTree) -> PyTree:
        if not is_pulse(leaf):
            return leaf
        values = _values(leaf, times)
        return values[jnp.argmax(jnp.abs(values))]

    acting = jax.tree.map(strongest, model, is_leaf=is_pulse)
    if is_pulse(model.omega_d):
        drives = _values(model.omega_d, times)
        furthest = drives[jnp.argmax(jnp.abs(drives - model.omega_B))]
        acting = eqx.tree_at(lambda m: m.omega_d, acting, furthest)
    most = jnp.argmax(F**2 + g**2)
    crossed = jnp.abs(F * g[most] - g * F[most])
    one_ratio = jnp.all(crossed <= _SAME * jnp.finfo(F.dtype).eps * (F[most] ** 2 + g[most] ** 2))
    nullity = jnp.asarray(nullspace.nullity(acting))
    sectors = (nullity > 1) & (acting.F != 0) & (acting.g != 0) & is_exact(acting)
    nullity = jnp.where(sectors & ~one_ratio, 1, nullity)
    acting = eqx.tree_at(
        lambda m: (m.F, m.g),
        acting,
        tuple(jnp.where(one_ratio, x[most], y) for x, y in ((F, acting.F), (g, acting.g))),
    )
    return acting, nullity, sectors & one_ratio


def _looks(model: StarBattery, period: jax.Array) -> jax.Array:
    """Return times in the period: evenly spaced ones, and the middles between jumps."""
    even = period * (jnp.arange(_LOOKS) + 0.5) / _LOOKS
    pieces = Intervals(model, period[None])
    middles = (pieces.begins + pieces.ends) / 2
    return jnp.concatenate([even, jnp.where(pieces.begins < pieces.ends, middles, even[0])])


def _values(parameter: PyTree, times: jax.Array) -> jax.Array:
    return jax.vmap(lambda t: jnp.asarray(at_time(parameter, t)))(times)


def _there(model: StarBattery, made: Generator, coordinates: Coordinates) -> jax.Array:
    """Tell which numbers of a state are no padding."""
    live = made.basis.live(model.N)
    square = live[:, :, None] & live[:, None]
    whole = stored_states.shape(made, coordinates.parts)
    return coordinates.vector(jnp.where(jnp.broadcast_to(square, whole), 1.0, 0.0)) > 0


def _in_sectors(model: StarBattery, coordinates: Coordinates, vector: jax.Array) -> jax.Array:
    """Return what of a vector the sectors of the exact solution keep."""
    known = coordinates.generator
    rho = stored_states.restore(known, coordinates.stored(vector))
    limit = exact.solution(model, rho).rho
    return coordinates.vector(stored_states.store(known, limit, coordinates.parts))


def _log_time(decay: jax.Array, period: jax.Array) -> jax.Array:
    """Return the logarithm of -T / log |x| of the largest eigenvalue x of what decays.

    The map is squared again and again, and what its norm leaves of 1 taken out each time.
    """

    def square(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[PyTree, None]:
        matrix, log_norm = carry
        matrix = matrix @ matrix
        norm = jnp.linalg.norm(matrix)
        matrix = matrix / jnp.where(norm > 0, norm, 1.0)
        return (matrix, 2 * log_norm + jnp.log(norm)), None

    norm = jnp.linalg.norm(decay)
    first = decay / jnp.where(norm > 0, norm, 1.0), jnp.log(norm)
    (_, log_norm), _ = jax.lax.scan(square, first, length=_SQUARINGS)
    rate = -log_norm / 2.0**_SQUARINGS / period
    return jnp.where(rate > 0, -jnp.log(jnp.where(rate > 0, rate, 1.0)), jnp.inf)
