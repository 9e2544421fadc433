"""A charging curve with the evidence for it."""

from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import PyTree

from qbjax.basis.states import battery_state
from qbjax.common.labelled import Labelled
from qbjax.common.printing import Line, status_text
from qbjax.model.star_battery import StarBattery

# What may be saved of a state, by name.
OBSERVABLES = ("energy", "ergotropy", "power", "populations", "battery", "rho")


# What to do where the curve cannot be trusted.
ADVICE = (
    "see error_estimate. Raise max_steps where numbers are NaN, else lower rtol or max_step, raise "
    "tolerance, or choose another method"
)


class Trajectory(Labelled):
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
        Shapes (T, L), (T, L, L) and (T, d_c, L, d_c, L). With noise on single qubits `battery` is
        a `LadderState`, and `rho` has the ladders before its levels, (T, K, d_c, L, d_c, L).
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
    model
        The model.

    Examples
    --------
    >>> import qbjax as qb
    >>> curve = qb.evolve(qb.StarBattery(N=2, F=0.5), [0.0, 5.0], save=("energy", "populations"))
    >>> print(curve.energy.round(4), curve.populations.shape, curve.ergotropy)
    [0.     0.5694] (2, 3) None
    """

    _axes: ClassVar = dict.fromkeys(
        ("ts", "energy", "ergotropy", "power", "error_estimate", "status", "observables"), ("t",)
    ) | {
        "populations": ("t", "n"),
        "battery": ("t", "n", "m"),
        "rho": ("t", "c", "n", "d", "m"),
    }

    ts: jax.Array
    # None where it was not asked for, which whoever asked knows: no type says so.
    energy: jax.Array
    ergotropy: jax.Array
    power: jax.Array
    populations: jax.Array
    battery: jax.Array
    rho: jax.Array
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
    model: StarBattery

    def _lines(self) -> list[Line]:
        energy = "in the unit of omega_B"
        observables = [(name, value, "(observable)") for name, value in self.observables.items()]
        return [
            ("model", self.model.one_line, ""),
            ("ts", self.ts, "in the inverse unit of g"),
            ("energy", self.energy, energy),
            ("ergotropy", self.ergotropy, energy),
            ("power", self.power, "in the unit of omega_B times g"),
            ("populations", self.populations, "of the excitations"),
            ("battery", self.battery, ""),
            ("rho", self.rho, ""),
            *observables,
            ("status", status_text(self.status, ADVICE), ""),
            ("method", self.method, f"({self.why})"),
            ("error_estimate", self.error_estimate, "of the energy"),
            ("trace_drift", self.trace_drift, ""),
            ("smallest_eigenvalue", self.smallest_eigenvalue, "of the last state"),
            ("steps", self.steps, ""),
            ("rejected_steps", self.rejected_steps, ""),
            ("top_population", self.top_population, "of the topmost level that is cut"),
        ]


def completed(ts: jax.Array, saved: dict[str, PyTree], **evidence: PyTree) -> Trajectory:
    """Return a trajectory from what was observed at its times, with its evidence."""
    absent = ("smallest_eigenvalue", "steps", "rejected_steps", "top_population")
    fields: dict[str, PyTree] = dict.fromkeys(absent) | evidence
    fields |= {name: saved.get(name) for name in OBSERVABLES}
    if fields["battery"] is not None:
        model = fields["model"]
        fields["battery"] = battery_state(model.basis, fields["battery"], model.N)
    return Trajectory(ts=ts, observables=saved["observables"], **fields)
