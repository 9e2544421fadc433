"""Evolution by the exact solution, sector by sector."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.checks import Status
from qbjax.evolution.method import Method, Options
from qbjax.evolution.observe import Observe
from qbjax.evolution.result import Trajectory, completed
from qbjax.exact import sectors
from qbjax.exact.method import ExactMethod
from qbjax.exact.sectors import Sectors
from qbjax.model.star_battery import StarBattery
from qbjax.states.passive import extractable

# The most numbers of all times and pairs of levels that are computed at once.
_SIDE_BY_SIDE = 2**16


class Exact(ExactMethod, Method):
    """The exact solution."""

    def solve(
        self, model: StarBattery, ts: jax.Array, start: PyTree, options: Options
    ) -> Trajectory:
        """Return the trajectory of one model."""
        spectrum = sectors.diagonalise(model)
        coordinates = sectors.project(spectrum, start)

        def at_time(t: jax.Array) -> dict[str, PyTree]:
            return _at_time(model, spectrum, coordinates, t, options.observe)

        # Few numbers at a time cost a loop more than all of them side by side.
        few = ts.size * model.levels**2 <= _SIDE_BY_SIDE
        saved = jax.vmap(at_time)(ts) if few else jax.lax.map(at_time, ts)
        error = saved.pop("error_estimate")
        # Written so that NaN counts as lost.
        lost = ~(error <= options.tolerance * model.N * model.omega_B)
        return completed(
            ts,
            saved,
            error_estimate=error,
            trace_drift=jnp.max(jnp.abs(saved["trace"] - 1)),
            status=jnp.where(lost, Status.SPLITTINGS_LOST, Status.OK),
            method=self.name,
            why=options.why,
            model=model,
        )


def _at_time(
    model: StarBattery, spectrum: Sectors, start: jax.Array, t: jax.Array, observe: Observe
) -> dict[str, PyTree]:
    """Return the observables of one model at one time; those that nobody asked for cost nothing."""
    minus, plus = sectors.frequencies(spectrum)
    inversion = sectors.inversion(spectrum, model.N)

    def coordinates(omega_plus: jax.Array) -> jax.Array:
        matrix = sectors.propagator(minus, omega_plus, model.gamma_C, model.Delta_C, t)
        return jnp.einsum("abkl,bkl->akl", matrix, start)

    # Only d = i (-id) carries energy beyond N/2 tr(rho). Its derivative with respect to omega_+
    # says how much a splitting matters that is not known to relative precision.
    now, slope = jax.jvp(coordinates, (plus,), (jnp.ones_like(plus),))
    sensitivity = sectors.uncertainty(spectrum) * jnp.abs(inversion * slope[2])
    if model.Delta_C is not None:
        # The propagator's own rounding, which the slow sectors keep.
        size = 2 * spectrum.norm + model.gamma_C + jnp.abs(model.Delta_C)
        rounding = jnp.finfo(plus.dtype).eps * size * t
        sensitivity = sensitivity + rounding * jnp.abs(inversion * now[2])
    total = jnp.trace(start[0]).real
    saved: dict[str, PyTree] = {
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
    names = (*observe.save, "error_estimate", "trace", "observables")
    return {name: saved[name] for name in names}
