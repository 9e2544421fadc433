"""A charging curve with the evidence for it, and how a stored state is observed."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.basis.ladder import level_numbers
from qbjax.common import linalg
from qbjax.common.checks import Status
from qbjax.generator import lindblad, stored_states
from qbjax.generator.lindblad import Generator
from qbjax.model.star_battery import StarBattery
from qbjax.states.ergotropy import extractable

OBSERVABLES = ("energy", "ergotropy", "power", "populations", "battery", "rho")


class Trajectory(eqx.Module):
    """A charging curve and its evidence; what was not asked for in `save` is None.

    Shapes are those of one model, with T times, L = N_max + 1 and d_c levels of the charger; a
    batch puts its axes in front.

    Attributes
    ----------
    ts
        The times, shape (T,).
    energy, ergotropy
        Eqs. (4) and (5) over the full 2^N space, in the unit of omega_B, shape (T,).
    power
        dE_B/dt, as the generator gives it, shape (T,).
    populations, battery, rho
        Shapes (T, L), (T, L, L) and (T, d_c, L, d_c, L).
    observables
        What the functions of the argument `observables` returned, by name, with T in front.
    error_estimate
        Uncertainty of the energy, shape (T,). Exact: what rounding leaves in the splittings of
        nearly equal singular values of K and, with a charger detuning, in the propagator.
        Propagator: what rounding leaves. Integrators: N omega_B times the estimated local errors
        of the state (in the norm sqrt(sum |rho_ij|^2)) summed over all steps, so one number for
        all times.
    trace_drift
        max |Tr rho - 1| over the times, shape ().
    smallest_eigenvalue
        Of the state at the last time, shape (); None for the exact solution.
    steps, rejected_steps
        Steps of the integrator, those among them that were thrown away, shape (); None where there
        is none.
    top_population
        Where the charger is a cut ladder: the largest population of its topmost level over the
        times, shape (); else None.
    status
        A `Status` per time, shape (T,). `SPLITTINGS_LOST` (exact) or `NOT_CONVERGED` where
        error_estimate exceeds tolerance * N * omega_B or is unknown, or where the trace drifts or
        an eigenvalue is negative by more than the tolerance; `NOT_CONVERGED` with NaN in
        place of numbers where the integrator did not arrive; `CUT_TOO_LOW` where the topmost level
        of a cut charger holds more than 1e-6 that something would lead further up;
        `OUT_OF_RANGE`, with NaN in place of numbers, where the host would have refused what JAX
        is tracing.
    method, why
        The method that was used and the reason for the choice.

    Examples
    --------
    >>> import qbjax as qb
    >>> curve = qb.evolve(qb.StarBattery(N=2, F=0.5), [0.0, 5.0], save=("energy", "populations"))
    >>> print(curve.energy.round(4), curve.populations.shape, curve.ergotropy)
    [0.     0.5694] (2, 3) None
    """

    ts: jax.Array
    energy: jax.Array | None
    ergotropy: jax.Array | None
    power: jax.Array | None
    populations: jax.Array | None
    battery: jax.Array | None
    rho: jax.Array | None
    observables: dict[str, jax.Array]
    error_estimate: jax.Array
    trace_drift: jax.Array
    smallest_eigenvalue: jax.Array | None
    steps: jax.Array | None
    rejected_steps: jax.Array | None
    top_population: jax.Array | None
    status: jax.Array
    method: str = eqx.field(static=True)
    why: str = eqx.field(static=True)


class Problem(eqx.Module):
    """One model with its generator, made once where it does not depend on time."""

    model: StarBattery
    constant: Generator | None

    def __init__(self, model: StarBattery):
        """Make the generator where it is constant."""
        self.model = model
        self.constant = None if model.depends_on_time else lindblad.generator(model)

    def generator(self, t: jax.Array) -> Generator:
        """Return the generator at a time."""
        return lindblad.generator(self.model, t) if self.constant is None else self.constant


class Observe(eqx.Module):
    """What to return of a stored state: names out of `OBSERVABLES` and functions of rho, by name.

    Attributes
    ----------
    save, functions
        The names, and pairs of a name and a function.
    """

    save: tuple[str, ...] = eqx.field(static=True)
    functions: tuple[tuple[str, Callable[..., Any]], ...] = eqx.field(static=True)

    def __call__(self, t: jax.Array, stored: jax.Array, problem: Problem) -> dict[str, Any]:
        """Return them at one time, with the trace and what the topmost level holds."""
        return self.finish(t, self.view(t, stored, problem), problem)

    def view(self, t: jax.Array, stored: jax.Array, problem: Problem) -> dict[str, jax.Array]:
        """Return no more of a stored state than they need: a linear function of it."""
        generator = problem.generator(t)
        view = {"levels": stored_states.populations(generator, stored)}
        if "power" in self.save:
            view["slopes"] = stored_states.populations(generator, generator(stored))
        if self.functions or "rho" in self.save:
            view["stored"] = stored
        elif {"battery", "ergotropy"} & set(self.save):
            view["battery"] = stored_states.battery(generator, stored)
        return view

    def finish(self, t: jax.Array, view: dict[str, jax.Array], problem: Problem) -> dict[str, Any]:
        """Return them from the view."""
        model, generator = problem.model, problem.generator(t)
        energies = model.omega_B * level_numbers(model.levels)
        known = dict(view)
        known["populations"] = jnp.sum(view["levels"], axis=0)
        known["energy"] = energies @ known["populations"]
        if "slopes" in view:
            known["power"] = energies @ jnp.sum(view["slopes"], axis=0)
        if "stored" in view:
            known["battery"] = stored_states.battery(generator, view["stored"])
            known["rho"] = stored_states.restore(generator, view["stored"])
        if "ergotropy" in self.save:
            known["ergotropy"] = model.omega_B * extractable(known["battery"])
        saved: dict[str, Any] = {name: known[name] for name in self.save}
        saved["observables"] = {name: jnp.asarray(f(known["rho"])) for name, f in self.functions}
        charger = jnp.sum(view["levels"], axis=1)
        spilled = stored_states.spilled(generator, view["levels"])
        return saved | {"trace": jnp.sum(charger), "top": charger[-1], "spilled": spilled}


def assemble(
    problem: Problem,
    ts: jax.Array,
    saved: dict[str, Any],
    last: jax.Array,
    error: jax.Array,
    tolerance: jax.Array,
    counts: tuple[jax.Array | None, jax.Array | None],
    named: tuple[str, str],
) -> Trajectory:
    """Return the trajectory with its evidence, from what was observed at each time.

    Parameters
    ----------
    problem, ts
        What was solved, at which times.
    saved
        What `Observe` returned, stacked over the times; not finite where there is nothing.
    last
        The stored state at the last time.
    error
        Estimated error of the state, shape (T,).
    tolerance
        As for `qbjax.evolve`.
    counts
        Steps and rejected steps.
    named
        Method and why.
    """
    model = problem.model
    trace, top, spilled = (saved.pop(name) for name in ("trace", "top", "spilled"))
    arrived = jnp.isfinite(trace)
    saved = jax.tree.map(lambda x: jnp.where(_along(arrived, x), x, jnp.nan), saved)
    drift = jnp.max(jnp.where(arrived, jnp.abs(trace - 1), jnp.nan))
    lowest = _smallest_eigenvalue(problem.generator(ts[-1]), last, arrived[-1])
    # The trace tells of rounding, and is NaN with all that was not reached.
    error = jnp.maximum(error, jax.lax.stop_gradient(jnp.abs(trace - 1)))
    # What is no state came from a generator that is none.
    sound = ~((drift > tolerance) | (lowest < -tolerance))
    status = jnp.where(arrived & sound & (error <= tolerance), Status.OK, Status.NOT_CONVERGED)
    truncated = model.charger.truncated
    if truncated:
        overflown = (status == Status.OK) & (spilled > stored_states.CUT)
        status = jnp.where(overflown, Status.CUT_TOO_LOW, status)
    return Trajectory(
        ts=ts,
        **{name: saved.get(name) for name in OBSERVABLES},
        observables=saved["observables"],
        error_estimate=model.N * model.omega_B * error,
        trace_drift=drift,
        smallest_eigenvalue=lowest,
        steps=counts[0],
        rejected_steps=counts[1],
        top_population=jnp.max(jnp.where(arrived, top, jnp.nan)) if truncated else None,
        status=status,
        method=named[0],
        why=named[1],
    )


def _smallest_eigenvalue(generator: Generator, stored: jax.Array, arrived: jax.Array) -> jax.Array:
    """Return the smallest eigenvalue of a stored state; NaN where it is not that of the end."""
    size = generator.charger_levels * generator.levels
    gauged = stored_states.in_gauge(generator, stored).reshape(size, size)
    lowest = linalg.eigvalsh(jax.lax.stop_gradient(jnp.where(arrived, gauged, 0.0)))[0]
    return jnp.where(arrived, lowest, jnp.nan)


def _along(times: jax.Array, values: jax.Array) -> jax.Array:
    """Return a mask over the times with axes for the rest of the values."""
    return times.reshape(times.shape + (1,) * (values.ndim - 1))
