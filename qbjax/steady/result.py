"""A steady state as it is returned: what a method found, with figures of merit and the evidence."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.basis import ladder
from qbjax.basis.states import battery_state
from qbjax.common.labelled import Labelled
from qbjax.common.printing import Line, status_text
from qbjax.model.star_battery import StarBattery
from qbjax.states.passive import least_excitations, passive_excitations, populations_of

# What to do where the state cannot be trusted.
ADVICE = (
    "see error_estimate with throw=False. Raise tolerance, choose another method, or ask for the "
    "state at a stated time"
)


class SteadyState(Labelled):
    """The state that charging settles in, its figures of merit, and the evidence.

    Shapes are those of one model, with L levels of the battery (N_max + 1 for qubits) and d_c of
    the charger; a batch of models puts its axes in front.

    Attributes
    ----------
    rho
        Charger (x) battery state, shape (d_c, L, d_c, L). The exact one is real for every start.
    battery, populations
        Reduced battery state (L, L) in the Dicke ladder, and its diagonal (L,). With noise on
        single qubits `battery` is a `LadderState`, `rho` has the ladders in front,
        (K, d_c, L, d_c, L), and the populations are those of the excitations in all ladders. `rho`
        and `battery` are None without a state.
    energy, ergotropy, ratio
        Eqs. (4) and (5) over the full 2^N space, in the unit of omega_B, and ergotropy/energy.
    residual
        The largest element of L rho over that of rho.
    largest_eigenvalue, smallest_eigenvalue
        Of the battery state. With the largest, eta_0, N (1 - ratio) of the exact solution is
        2 (1 - eta_0), which keeps its digits however large N is.
    nullity
        Dimension of the null space of the Liouvillian, from its structure: above 1 the state
        depends on the start. 0 where it is not known.
    relaxation_time, log_relaxation_time
        Exact: 1 / (slowest nonzero rate of the sectors that the start occupies) in the inverse unit
        of g, and its natural logarithm, which stays finite where the time overflows. The empty
        battery occupies every sector; of a `rho0`, what is below 1e-13 does not count. Direct and
        iterative: a lower bound of the norm of L^-1 on what decays, by inverse iteration, close to
        1 / (slowest rate); in comparisons direct was within a factor of 2 mostly, iterative short
        by up to 5; infinite where none was found. Of a period: -T / log |x| of the slowest mode x
        of its map, of those without phases if model and start have none. NaN for the state at a
        stated time.
    error_estimate
        The Hilbert-Schmidt norm of L rho times the relaxation time, or how far the state moves in
        longer pseudo-time; with several stationary states of a qubit's dephasing alone, the
        distance from the exact solution. None for the exact solution.
    iterations
        Steps of the iterative solver; None for the others.
    top_population
        Where charger or battery is a cut ladder: the larger population of a topmost level; else
        None.
    status
        A `Status`; unless it is `Status.OK` there is no steady state that can be trusted and the
        numbers of the exact solution are NaN. `NOT_CONVERGED`: the error estimate exceeds the
        tolerance, or the battery has an eigenvalue below minus that. `NOT_UNIQUE`: see there.
        `CUT_TOO_LOW`: the topmost level of a cut charger holds more than 1e-6 that something
        would lead further up. `OUT_OF_RANGE`: the host would have refused what JAX is tracing.
    method, why
        The method that was used and the reason for the choice.
    model
        The model.

    Examples
    --------
    >>> import qbjax as qb
    >>> ss = qb.steady_state(qb.StarBattery(N=2, F=0.5))
    >>> print(ss.populations.round(4), ss.rho.shape, ss.residual < 1e-15)
    [0.3919 0.2162 0.3919] (2, 3, 2, 3) True
    """

    _axes: ClassVar = {"populations": ("n",), "battery": ("n", "m"), "rho": ("c", "n", "d", "m")}

    # None where it was not asked for, which whoever asked knows: no type says so.
    rho: jax.Array
    battery: jax.Array
    populations: jax.Array
    energy: jax.Array
    ergotropy: jax.Array
    ratio: jax.Array
    residual: jax.Array
    largest_eigenvalue: jax.Array
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
    model: StarBattery

    def _lines(self) -> list[Line]:
        return [
            ("model", self.model.one_line, ""),
            ("energy", self.energy, "in the unit of omega_B"),
            ("ergotropy", self.ergotropy, "in the unit of omega_B"),
            ("ratio", self.ratio, "of ergotropy to energy"),
            ("status", status_text(self.status, ADVICE), ""),
            ("method", self.method, f"({self.why})"),
            ("nullity", self.nullity, "of the Liouvillian (0: not known)"),
            ("relaxation_time", self.relaxation_time, "in the inverse unit of g"),
            ("residual", self.residual, ""),
            ("error_estimate", self.error_estimate, "of the state"),
            ("largest_eigenvalue", self.largest_eigenvalue, "of the battery's state"),
            ("smallest_eigenvalue", self.smallest_eigenvalue, "of the battery's state"),
            ("iterations", self.iterations, ""),
            ("top_population", self.top_population, "of the charger's topmost level"),
            ("populations", self.populations, "of the excitations"),
        ]


class Solution(eqx.Module):
    """What a method returns: the state of one model, and the evidence for it.

    Attributes
    ----------
    rho, battery
        The state (d_c, L, d_c, L), and that of the battery, (L, L), or blocks of these; None
        without.
    populations
        Of the ladder, (L,), where they come without a state; None: the diagonal of `battery`.
    largest, smallest
        The extreme eigenvalues of the battery state.
    top_population
        See `SteadyState`.
    residual, nullity, error_estimate, iterations, status
        The same.
    log_relaxation_time
        The natural logarithm of the relaxation time.
    """

    rho: PyTree
    battery: PyTree
    largest: jax.Array
    smallest: jax.Array
    residual: jax.Array
    nullity: jax.Array
    log_relaxation_time: jax.Array
    status: jax.Array
    error_estimate: jax.Array | None = None
    iterations: jax.Array | None = None
    top_population: jax.Array | None = None
    populations: jax.Array | None = None


def completed(model: StarBattery, solution: Solution, method: str, why: str) -> SteadyState:
    """Return the solution of one model with its figures of merit."""
    battery, populations = solution.battery, solution.populations
    if battery is not None:
        battery = battery_state(model.basis, battery, model.N)
    if populations is None:
        populations = populations_of(battery)
    excitations = ladder.level_numbers(model.levels) @ populations
    energy = model.omega_B * excitations
    if battery is not None and (model.has_local_noise or model.basis.truncated):
        passive = least_excitations(battery, model.basis.space)
    else:
        passive = passive_excitations(jnp.sum(populations), solution.largest)
    ergotropy = energy - model.omega_B * passive
    return SteadyState(
        rho=solution.rho,
        battery=battery,
        populations=populations,
        energy=energy,
        ergotropy=ergotropy,
        ratio=ergotropy / energy,
        residual=solution.residual,
        largest_eigenvalue=solution.largest,
        smallest_eigenvalue=solution.smallest,
        nullity=solution.nullity,
        relaxation_time=jnp.exp(solution.log_relaxation_time),
        log_relaxation_time=solution.log_relaxation_time,
        error_estimate=solution.error_estimate,
        iterations=solution.iterations,
        top_population=solution.top_population,
        status=solution.status,
        method=method,
        why=why,
        model=model,
    )
