"""Time evolution, with the evidence for it."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax import sectors
from qbjax.checks import ArgumentError, Status, is_concrete, require, require_choice
from qbjax.models import StarBattery, over_batch
from qbjax.sectors import Sectors
from qbjax.states import full_state
from qbjax.thermo import ergotropy

OBSERVABLES = ("energy", "ergotropy", "power", "populations", "battery", "rho")


class Trajectory(eqx.Module):
    """A charging curve and its evidence; what was not asked for in `save` is None.

    Shapes are those of one model, with T times and L = N_max + 1; a batch puts its axes in front.

    Attributes
    ----------
    ts
        The times, shape (T,).
    energy, ergotropy
        Eqs. (4) and (5) over the full 2^N space, in the unit of omega_B, shape (T,).
    power
        dE_B/dt, exact, shape (T,).
    populations, battery, rho
        Shapes (T, L), (T, L, L) and (T, 2, L, 2, L).
    error_estimate
        Uncertainty of the energy that rounding leaves: in the splittings of nearly equal singular
        values of K and, with a charger detuning, in the propagator. Shape (T,).
    status
        Per time, `Status.SPLITTINGS_LOST` where that exceeds tolerance * N * omega_B or is unknown,
        shape (T,).
    method, why
        The method that was used and the reason for the choice.
    """

    ts: jax.Array
    energy: jax.Array | None
    ergotropy: jax.Array | None
    power: jax.Array | None
    populations: jax.Array | None
    battery: jax.Array | None
    rho: jax.Array | None
    error_estimate: jax.Array
    status: jax.Array
    method: str = eqx.field(static=True)
    why: str = eqx.field(static=True)


def evolve(
    model: StarBattery,
    ts: ArrayLike,
    *,
    rho0: ArrayLike | None = None,
    method: str = "auto",
    save: tuple[str, ...] = ("energy", "ergotropy"),
    tolerance: float = 1e-6,
) -> Trajectory:
    r"""Return the evolution of Eq. (2) at the times ts, exactly, by invariant sectors.

    Parameters
    ----------
    model
        One model or a batch of them.
    ts
        Times in increasing order, none negative, shape (T,), in the inverse unit of g.
    rho0
        The start at t = 0, as for `steady_state`; None is the empty battery.
    method
        "exact", or "auto", which says in `.why` what it chose.
    save
        What to return, out of "energy", "ergotropy", "power", "populations", "battery", "rho".
    tolerance
        Largest uncertainty of E_B/(N omega_B) that is not flagged. The host also warns.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, or where the exact solution does not apply.

    Notes
    -----
    With F = 0 or g = 0 eigenvalues of K P coincide: the values are right, but derivatives with
    respect to F and g do not exist there as this solution takes them, and come out as NaN.

    Examples
    --------
    >>> import qbjax as qb
    >>> traj = qb.evolve(qb.StarBattery(N=4, F=0.5), [0.0, 2.0, 200.0])
    >>> print(traj.energy.round(4))
    [0.     0.3009 1.1165]
    """
    require_choice(method, "method", ("auto", "exact"))
    for name in save:
        require_choice(name, "save", OBSERVABLES)
    sectors.require_exact(model, "this method")
    times = _checked_times(ts)
    start = None if rho0 is None else full_state(rho0, model.levels, model.N)
    result = _solve(model, times, start, tuple(save), tolerance)
    if is_concrete(result.status) and np.any(result.status):
        warnings.warn(f"qbjax.evolve: {Status.SPLITTINGS_LOST.reason}", stacklevel=2)
    return result


def _checked_times(ts: ArrayLike) -> jax.Array:
    times = jnp.asarray(ts, dtype=float)
    if times.ndim != 1:
        raise ArgumentError(f"Argument `ts` must be one-dimensional, but is {times.ndim}-d.")
    if is_concrete(times):
        values = np.asarray(times)
        increasing = np.all(np.diff(values) > 0) and np.all(values >= 0)
        require(increasing and np.all(np.isfinite(values)), "ts", "finite, increasing and >= 0", ts)
    return times


@eqx.filter_jit
def _solve(
    model: StarBattery,
    ts: jax.Array,
    rho0: jax.Array | None,
    save: tuple[str, ...],
    tolerance: float,
) -> Trajectory:
    return over_batch(lambda one: _exact(one, ts, rho0, save, tolerance), model)


def _exact(
    model: StarBattery,
    ts: jax.Array,
    rho0: jax.Array | None,
    save: tuple[str, ...],
    tolerance: float,
) -> Trajectory:
    spectrum = sectors.diagonalise(model)
    start = sectors.project(spectrum, rho0)
    saved = jax.lax.map(lambda t: _at_time(model, spectrum, start, t, save), ts)
    error = saved.pop("error_estimate")
    # Written so that NaN counts as lost.
    lost = ~(error <= tolerance * model.N * model.omega_B)
    return Trajectory(
        ts=ts,
        **{name: saved.get(name) for name in OBSERVABLES},
        error_estimate=error,
        status=jnp.where(lost, Status.SPLITTINGS_LOST, Status.OK),
        method="exact",
        why="dephasing on battery resonance: solved sector by sector, without an integrator",
    )


def _at_time(
    model: StarBattery, spectrum: Sectors, start: jax.Array, t: jax.Array, save: tuple[str, ...]
) -> dict[str, jax.Array]:
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
    saved = {
        "energy": model.omega_B * (model.N / 2 * total - jnp.sum(inversion * now[2].imag)),
        # d(-id)/dt = -omega_+ Y
        "power": model.omega_B * jnp.sum(inversion * plus * now[3].imag),
        "error_estimate": model.omega_B * jnp.sum(sensitivity),
    }
    rho = sectors.assemble(spectrum, now)
    battery = rho[0, :, 0] + rho[1, :, 1]
    saved |= {"rho": rho, "battery": battery, "populations": jnp.diagonal(battery).real}
    if "ergotropy" in save:
        saved["ergotropy"] = ergotropy(battery, model.omega_B)
    return {name: saved[name] for name in (*save, "error_estimate")}
