"""Time evolution: which method, and the exact solution by sectors."""

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.common.checks import (
    ArgumentError,
    Status,
    array_module,
    as_array,
    as_number,
    is_concrete,
    refusal,
    refuse,
    require,
    require_choice,
)
from qbjax.evolution import integrators
from qbjax.evolution.integrators import Options
from qbjax.evolution.trajectory import OBSERVABLES, Observe, Trajectory
from qbjax.exact import sectors
from qbjax.exact.applies import obstacle, require_exact, without_idle_drive
from qbjax.exact.sectors import Sectors
from qbjax.generator import stored_states
from qbjax.model.batching import map_batch
from qbjax.model.star_battery import StarBattery, out_of_range, over_batch, require_model
from qbjax.states.ergotropy import extractable

METHODS = ("exact", "chebyshev", "propagator", *integrators.ADAPTIVE)


def evolve(
    model: StarBattery,
    ts: ArrayLike,
    *,
    rho0: ArrayLike | None = None,
    method: str = "auto",
    save: tuple[str, ...] = ("energy", "ergotropy"),
    observables: Mapping[str, Callable[[jax.Array], Any]] | None = None,
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
        depend on time, and "dopri8" where it does. By name, besides: "tsit5" and "dopri8", explicit
        Runge-Kutta methods of order 5 and 8; "kvaerno5", an implicit one of order 5, for small
        stiff systems; "propagator", the exponential of L as a matrix, for small
        systems at times that no integrator reaches.
    save
        What to return, out of "energy", "ergotropy", "power", "populations", "battery", "rho".
    observables
        Functions of rho, an array (d_c, L, d_c, L), by name; of JAX operations. What they return
        comes back in `.observables`; the states themselves are not kept. Functions are told apart
        by identity: define them once, or every call compiles anew.
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
        `jax.jacrev`) or "forward" (`jax.jvp`, `jax.jacfwd`). "exact" and "propagator" take both.
    max_steps
        Where an integrator gives up.
    progress
        Show a bar, unless the output is no terminal.

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
    times, refused = _checked_times(ts)
    by_name = observables is None or isinstance(observables, Mapping)
    require(by_name, "observables", "a dictionary of functions", type(observables).__name__)
    functions = tuple(sorted((observables or {}).items()))
    _check_choices(method, save, functions, gradient, max_steps)
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
        adaptive = chosen in integrators.ADAPTIVE
        require(adaptive, "max_step", f'None for the method "{chosen}"', max_step)
        longest = as_number(max_step, "max_step")
        refused |= refusal(longest > 0, "max_step", "a positive number", max_step)
    observe = Observe(tuple(save), functions)
    if chosen == "exact":
        start, stray = sectors.start_of(model, rho0)
        result = _solve(model, times, start, observe, allowed, jnp.asarray(refused | stray), why)
    else:
        stored, stray = stored_states.stored_start(model, rho0)
        _check_method(model, chosen, stored.size)
        options = Options(
            relative,
            absolute,
            allowed,
            longest,
            jnp.asarray(refused | stray),
            observe,
            method=chosen,
            why=why,
            gradient=gradient,
            progress=bool(progress) and sys.stderr.isatty(),
            max_steps=max_steps,
        )
        try:
            # Functions of the user's own may have batched linear algebra.
            threads = not functions
            result = map_batch(integrators.solve, model, times, stored, options, threads=threads)
        except TypeError as error:
            if gradient == "reverse" and "forward-mode autodiff" in str(error):
                raise ArgumentError(_FORWARD) from error
            raise
    _warn(result)
    return result


def choose(model: StarBattery, method: str) -> tuple[str, str]:
    """Return the method and the reason, from structure alone."""
    found = obstacle(model)
    if method == "exact":
        require_exact(model, "this method")
    if method == "exact" or (method == "auto" and found is None):
        why = "dephasing on battery resonance: solved sector by sector, without an integrator"
        return "exact", why
    if method != "auto":
        return method, "asked for"
    if model.depends_on_time:
        return "dopri8", "the equation of motion depends on time: adaptive steps of order 8"
    return "chebyshev", f"{found}: a series of exp(h L), since the equation does not depend on time"


def _check_choices(
    method: str, save: tuple[str, ...], functions: Any, gradient: str, max_steps: int
) -> None:
    require_choice(method, "method", ("auto", *METHODS))
    require(isinstance(save, tuple | list), "save", "a tuple of names", save)
    for name in save:
        require_choice(name, "save", OBSERVABLES)
    for _, function in functions:
        require(callable(function), "observables", "functions of rho, by name", function)
    require_choice(gradient, "gradient", ("reverse", "forward"))
    whole = isinstance(max_steps, int | np.integer) and max_steps >= 1
    require(whole, "max_steps", "a positive integer", max_steps)


def _check_method(model: StarBattery, method: str, size: int) -> None:
    """Refuse a method that does not suit the model."""
    if method not in integrators.ADAPTIVE:
        adaptive = ", ".join(f'"{name}"' for name in integrators.ADAPTIVE)
        wanted = f"one of {adaptive} where the equation of motion depends on time"
        require(not model.depends_on_time, "method", wanted, f'"{method}"')
    if method in integrators.DENSE:
        limit = integrators.LARGEST_DENSE
        small = f"another one where the state has more than {limit} real numbers"
        require(size <= limit, "method", small, f'"{method}" for {size}')


def _warn(result: Trajectory) -> None:
    """Warn on the host of what the statuses say."""
    if not is_concrete(result.status):
        return
    for status in np.unique(np.asarray(result.status)):
        if status != Status.OK:
            advice = _ADVICE.get(Status(status), "")
            warnings.warn(f"qbjax.evolve: {Status(status).reason}{advice}", stacklevel=3)


_FORWARD = (
    'Argument `gradient` must be "forward" for jax.jvp, jax.jacfwd and jax.hessian (written as '
    'jacfwd of jacfwd), but is "reverse".'
)

_ADVICE = {
    Status.NOT_CONVERGED: (
        "; see error_estimate. Raise max_steps where numbers are NaN, else lower rtol or max_step, "
        "raise tolerance, or choose another method"
    ),
}


def _checked_times(ts: ArrayLike) -> tuple[jax.Array, Any]:
    """Return the times, and whether they were refused where JAX is tracing them."""
    times = as_array(ts, "ts")
    require(times.ndim == 1, "ts", "one-dimensional", f"{times.ndim}-dimensional")
    require(times.size > 0, "ts", "at least one time", "empty")
    require(not jnp.iscomplexobj(times), "ts", "real", "complex")
    module = array_module(times)
    ordered = module.all(module.diff(times) > 0) & (times[0] >= 0) & module.isfinite(times[-1])
    refused = refusal(ordered, "ts", "finite, increasing and >= 0", ts)
    return jnp.asarray(times, float), refused


@eqx.filter_jit
def _solve(
    model: StarBattery,
    ts: jax.Array,
    rho0: jax.Array | None,
    observe: Observe,
    tolerance: jax.Array,
    refused: jax.Array,
    why: str,
) -> Trajectory:
    def solve(one: StarBattery) -> Trajectory:
        result = _exact(one, ts, rho0, observe, tolerance, why)
        return refuse(refused | out_of_range(one), result)

    return over_batch(solve, model)


def _exact(
    model: StarBattery,
    ts: jax.Array,
    rho0: jax.Array | None,
    observe: Observe,
    tolerance: ArrayLike,
    why: str,
) -> Trajectory:
    spectrum = sectors.diagonalise(model)
    start = sectors.project(spectrum, rho0)
    saved = jax.lax.map(lambda t: _at_time(model, spectrum, start, t, observe), ts)
    error = saved.pop("error_estimate")
    # Written so that NaN counts as lost.
    lost = ~(error <= tolerance * model.N * model.omega_B)
    return Trajectory(
        ts=ts,
        **{name: saved.get(name) for name in OBSERVABLES},
        observables=saved["observables"],
        error_estimate=error,
        trace_drift=jnp.max(jnp.abs(saved["trace"] - 1)),
        smallest_eigenvalue=None,
        steps=None,
        rejected_steps=None,
        top_population=None,
        status=jnp.where(lost, Status.SPLITTINGS_LOST, Status.OK),
        method="exact",
        why=why,
    )


def _at_time(
    model: StarBattery, spectrum: Sectors, start: jax.Array, t: jax.Array, observe: Observe
) -> dict[str, Any]:
    """Return the observables of one model at one time; those that nobody asked for cost nothing."""
    minus, plus = sectors.frequencies(spectrum)
    inversion = sectors.inversion(spectrum, model.N)

    def coordinates(omega_plus: jax.Array) -> jax.Array:
        matrix = sectors.propagator(minus, omega_plus, model.gamma_C, model.Delta_C, t)
        return jnp.einsum("abkl,bkl->akl", matrix, start)

    # Only d = i (-id) carries energy beyond N/2 tr(rho). Its derivative with respect to omega_+
    # says how much a lost splitting matters; 2 sigma_min, from the recursion, is not lost.
    now, slope = jax.jvp(coordinates, (plus,), (jnp.ones_like(plus),))
    levels = jnp.arange(model.levels)
    known = (levels[:, None] == spectrum.smallest) & (levels == spectrum.smallest)
    eps = jnp.finfo(plus.dtype).eps
    sensitivity = 4 * eps * spectrum.norm * jnp.where(known, 0.0, jnp.abs(inversion * slope[2]))
    if model.Delta_C is not None:
        # The propagator's own rounding, which the slow sectors keep.
        size = 2 * spectrum.norm + model.gamma_C + jnp.abs(model.Delta_C)
        sensitivity = sensitivity + eps * size * t * jnp.abs(inversion * now[2])
    total = jnp.trace(start[0]).real
    saved: dict[str, Any] = {
        "energy": model.omega_B * (model.N / 2 * total - jnp.sum(inversion * now[2].imag)),
        # d(-id)/dt = -omega_+ Y
        "power": model.omega_B * jnp.sum(inversion * plus * now[3].imag),
        "error_estimate": model.omega_B * jnp.sum(sensitivity),
    }
    rho = sectors.assemble(spectrum, now)
    battery = rho[0, :, 0] + rho[1, :, 1]
    saved |= {"rho": rho, "battery": battery, "populations": jnp.diagonal(battery).real}
    if "ergotropy" in observe.save:
        saved["ergotropy"] = model.omega_B * extractable(battery)
    saved["trace"] = jnp.trace(now[0]).real
    saved["observables"] = {name: jnp.asarray(f(rho)) for name, f in observe.functions}
    kept = (*observe.save, "error_estimate", "trace", "observables")
    return {name: saved[name] for name in kept}
