"""Time evolution: the verb, and the choice of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.checks import (
    array_module,
    as_argument,
    as_array,
    as_count,
    as_number,
    refusal,
    refuse,
    require,
    require_choice,
    users_function,
    warn_unless_ok,
)
from qbjax.common.printing import is_watched
from qbjax.common.types import ArrayLike, Condition
from qbjax.evolution import runge_kutta
from qbjax.evolution.chebyshev import Chebyshev
from qbjax.evolution.exact import Exact
from qbjax.evolution.method import Method, Options
from qbjax.evolution.observe import Observe
from qbjax.evolution.propagator import Propagator
from qbjax.evolution.result import ADVICE, OBSERVABLES, Trajectory
from qbjax.exact.applies import without_idle_drive
from qbjax.model.batching import map_batch, require_room
from qbjax.model.method import choose as choose_from
from qbjax.model.star_battery import StarBattery, out_of_range, over_batch, require_model
from qbjax.states.density_matrix import Start, as_start

# In the order in which "auto" asks them.
_METHODS: dict[str, Method] = {
    each.name: each for each in (Exact(), Chebyshev(), Propagator(), *runge_kutta.METHODS)
}
METHODS = tuple(_METHODS)


def evolve(
    model: StarBattery,
    ts: ArrayLike,
    *,
    rho0: ArrayLike | None = None,
    method: str = "auto",
    save: str | Sequence[str] = ("energy", "ergotropy"),
    observables: Mapping[str, Callable[[jax.Array], PyTree]] | None = None,
    rtol: ArrayLike = 1e-8,
    atol: ArrayLike | None = None,
    max_step: ArrayLike | None = None,
    tolerance: ArrayLike = 1e-6,
    gradient: str = "reverse",
    max_steps: int = 1_000_000,
    progress: bool = False,
) -> Trajectory:
    r"""Return the evolution of a battery under its master equation at the times ts.

    Parameters
    ----------
    model
        One model or a batch of them.
    ts
        Times in increasing order, none negative, shape (T,), in the inverse unit of g.
    rho0
        The start at t = 0, common to the batch: a ket (d_c, L) or a density matrix (d_c, L, d_c, L)
        of charger (x) battery, a ket (L,) or a density matrix (L, L) of a battery beside a charger
        in its ground state, or a Qobj of these. None: all empty.
    method
        "auto" decides by the structure of the model and says so in `.why`: "exact" for dephasing on
        battery resonance alone; else "chebyshev", a series of exp(h L), where the equation does not
        depend on time or is constant between jumps (`qbjax.PiecewiseConstant`), and "dopri8" for
        the rest. By name, besides: "tsit5" and "dopri8", explicit Runge-Kutta methods of order 5
        and 8; "kvaerno5", an implicit one of order 5, for small stiff systems; "propagator", the
        exponential of L as a matrix, for small systems at times that no integrator reaches.
    save
        What to return, one or several out of "energy", "ergotropy", "power", "populations",
        "battery", "rho".
    observables
        Functions of rho, an array (d_c, L, d_c, L), by name; of JAX operations, in which an index
        beyond the end is the last one. The array that each returns comes back in `.observables`;
        the states themselves are not kept. Functions are told apart by identity: define them once,
        or every call compiles anew.
    rtol, atol
        Error of a step that the adaptive methods allow, atol + rtol |rho|, with the norm |rho| =
        sqrt(sum |rho_ij|^2); atol None is 1e-3 rtol. For "chebyshev" rtol is the error of all
        steps together.
    max_step
        Longest step of "tsit5", "dopri8" and "kvaerno5", which adapt their steps below it.
    tolerance
        Largest `error_estimate`/(N omega_B) that is not flagged. The host also warns.
    gradient
        The direction of derivatives through "chebyshev" and the integrators: "reverse" (`jax.grad`,
        `jax.jacrev`) or "forward" (`jax.jvp`, `jax.jacfwd`, and of these any order); JAX says in
        its own words where the other one is met. "exact" and "propagator" take both.
    max_steps
        Where an integrator gives up.
    progress
        Show a bar, in a terminal or a notebook.

    Returns
    -------
    The curve and its evidence; the axes of a batch are in front of the times.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, or where the method does not apply.

    Notes
    -----
    Exact, with F = 0 or g = 0, eigenvalues of K P coincide: the values are right, but derivatives
    with respect to F and g do not exist there as this solution takes them, and come out as NaN; the
    other methods have them.

    Examples
    --------
    >>> import qbjax as qb
    >>> traj = qb.evolve(qb.StarBattery(N=4, F=0.5), [0.0, 2.0, 200.0])
    >>> print(traj.method, traj.energy.round(4))
    exact [0.     0.3009 1.1165]

    A leaking charger, and its population of |e> as an observable:

    >>> def excited(rho):
    ...     return rho[1, :, 1, :].trace().real
    >>> leaky = qb.StarBattery(N=4, F=0.5, kappa=0.1)
    >>> traj = qb.evolve(leaky, [0.0, 2.0, 200.0], observables={"excited": excited})
    >>> print(traj.method, traj.energy.round(4), traj.observables["excited"].round(4))
    chebyshev [0.     0.285  0.4282] [0.     0.1415 0.0445]
    """
    require_model(model)
    model = without_idle_drive(model)
    times, refused = checked_times(ts)
    require_room(model)
    functions = _checked_functions(observables, model)
    max_steps = as_count(max_steps, "max_steps")
    save = (save,) if isinstance(save, str) else save
    _check_choices(method, save, gradient)
    relative = as_number(rtol, "rtol")
    least = 100 * float(jnp.finfo(times.dtype).eps)
    refused |= refusal(relative >= least, "rtol", f"at least {least:.2g} in {times.dtype}", rtol)
    absolute = 1e-3 * relative if atol is None else as_number(atol, "atol")
    refused |= refusal(absolute >= 0, "atol", "not negative", atol)
    allowed = as_number(tolerance, "tolerance")
    refused |= refusal(allowed > 0, "tolerance", "one positive number", tolerance)
    chosen, why = choose(model, method)
    longest = None
    if max_step is not None:
        require(chosen.is_adaptive, "max_step", f'None for the method "{chosen.name}"', max_step)
        longest = as_number(max_step, "max_step")
        refused |= refusal(longest > 0, "max_step", "a positive number", max_step)
    start, stray = chosen.start(model, rho0)
    options = Options(
        as_argument(relative),
        as_argument(absolute),
        as_argument(allowed),
        None if longest is None else as_argument(longest),
        as_argument(refused | stray),
        Observe(tuple(save), functions),
        method=chosen,
        why=why,
        gradient=gradient,
        progress=bool(progress) and is_watched(),
        max_steps=max_steps,
    )
    result = _trajectory(model, times, start, options)
    warn_unless_ok(result.status, "evolve", ADVICE)
    return result


def choose(model: StarBattery, name: str) -> tuple[Method, str]:
    """Return the method and the reason, from structure alone."""
    return choose_from(_METHODS, model, name)


def _trajectory(model: StarBattery, ts: jax.Array, start: PyTree, options: Options) -> Trajectory:
    """Return the trajectory of a model, or of each of a batch."""
    limit = options.method.most_numbers
    if limit is not None:
        small = f"another one where the state has more than {limit} real numbers"
        name = options.method.name
        require(start.size <= limit, "method", small, f'"{name}" for {start.size}')
    if options.method.side_by_side:
        return _side_by_side(model, ts, start, options)
    # Functions of the user's own may have batched linear algebra.
    threads = not options.observe.functions
    return map_batch(_solve, model, ts, start, options, threads=threads)


@eqx.filter_jit
def _side_by_side(model: StarBattery, *arguments: PyTree) -> Trajectory:
    return over_batch(lambda one: _solve(one, *arguments), model)


def _solve(model: StarBattery, ts: jax.Array, start: PyTree, options: Options) -> Trajectory:
    """Solve one model."""
    refused = options.refused | out_of_range(model)
    options = eqx.tree_at(lambda x: x.refused, options, refused)
    return refuse(refused, options.method.solve(model, ts, start, options))


def _checked_functions(
    observables: Mapping[str, Callable[[jax.Array], PyTree]] | None, model: StarBattery
) -> tuple[tuple[str, Callable[..., PyTree]], ...]:
    """Return the functions of rho with their names, in the order of these."""
    rho = jax.ShapeDtypeStruct((model.charger.levels, model.levels) * 2, complex)
    words = "functions of rho that return an array, by JAX operations, without `if`"
    by_name = observables is None or isinstance(observables, Mapping)
    require(by_name, "observables", "a dictionary of functions", type(observables).__name__)
    for name, function in (observables or {}).items():
        named = isinstance(name, str) and callable(function)
        require(named, "observables", "functions of rho, by name", f"{name}: {function}")
        with users_function(function, "observables", words):
            jax.eval_shape(lambda state, function=function: jnp.asarray(function(state)), rho)
    return tuple(sorted((observables or {}).items()))


def _check_choices(method: str, save: Sequence[str], gradient: str) -> None:
    require_choice(method, "method", ("auto", *METHODS))
    require(isinstance(save, tuple | list), "save", "a name or a tuple of names", save)
    for name in save:
        require_choice(name, "save", OBSERVABLES)
    require_choice(gradient, "gradient", ("reverse", "forward"))


def checked_times(ts: ArrayLike) -> tuple[jax.Array, PyTree]:
    """Return the times, and whether they were refused where JAX is tracing them."""
    times = as_array(ts, "ts")
    require(times.ndim == 1, "ts", "one-dimensional", f"{times.ndim}-dimensional")
    require(times.size > 0, "ts", "at least one time", "empty")
    require(not jnp.iscomplexobj(times), "ts", "real", "complex")
    module = array_module(times)
    ordered = module.all(module.diff(times) > 0) & (times[0] >= 0) & module.isfinite(times[-1])
    refused = refusal(ordered, "ts", "finite, increasing and >= 0", ts)
    return as_argument(times.astype(jnp.result_type(float))), refused


def checked_start(model: StarBattery, rho0: object) -> tuple[Start | None, Condition]:
    """Return a start, None for the empty battery, and whether it was refused under tracing."""
    if rho0 is None:
        return None, False
    start = as_start(rho0, model.basis, model.N, model.charger)
    return start, start.refused
