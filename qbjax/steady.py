"""Steady states, with the evidence for them."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax import dicke, rates, sectors
from qbjax.checks import Status, raise_unless_ok, require_choice
from qbjax.models import StarBattery, over_batch
from qbjax.states import full_state


class SteadyState(eqx.Module):
    """The state that charging settles in, its figures of merit, and the evidence.

    Shapes are those of one model, with L = N_max + 1; a batch of models puts its axes in front.

    Attributes
    ----------
    rho
        Charger (x) battery state, shape (2, L, 2, L), charger basis (|g>, |e>). The exact one is
        real for every start.
    battery, populations
        Reduced battery state (L, L) in the Dicke ladder, and its diagonal (L,).
    energy, ergotropy, ratio
        Eqs. (4) and (5) over the full 2^N space, in the unit of omega_B, and ergotropy/energy.
    residual
        max |K rho_gg - rho_ee K| / max |rho_gg|: the largest element of L rho over that of rho.
    smallest_eigenvalue
        The smallest eigenvalue of the battery state.
    nullity
        Dimension of the null space of the Liouvillian: above 1 the state depends on the start.
    relaxation_time, log_relaxation_time
        1 / (slowest nonzero rate of the sectors that the start occupies) in the inverse unit of g,
        and its natural logarithm, which stays finite where the time overflows. The empty battery
        occupies every sector; of a `rho0`, what is below 1e-13 does not count. NaN where the rate
        hangs on splittings of singular values that rounding has lost.
    status
        A `Status`; unless it is `Status.OK` there is no steady state and the numbers are NaN.
    method, why
        The method that was used and the reason for the choice.
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
    status: jax.Array
    method: str = eqx.field(static=True)
    why: str = eqx.field(static=True)


def steady_state(
    model: StarBattery,
    *,
    rho0: ArrayLike | None = None,
    method: str = "auto",
    throw: bool = True,
) -> SteadyState:
    r"""Return the steady state reached from a start.

    On battery resonance the null space of the Liouvillian has dimension N + 1 and the state that is
    reached depends on the start. The exact solution gives it as

        rho = 1/2 sum_k w_k (|g,v_k><g,v_k| + |e,u_k><e,u_k|),
        w_k = <v_k|rho_gg(0)|v_k> + <u_k|rho_ee(0)|u_k>,

    independent of gamma_C and Delta_C; see `qbjax.sectors` for the singular vectors u_k, v_k.

    Parameters
    ----------
    model
        One model or a batch of them.
    rho0
        The start, common to the batch: a ket (2, L) or a density matrix (2, L, 2, L) of charger
        (x) battery, or a battery ket (L,) beside a charger in its ground state. None: all empty.
    method
        "exact", or "auto", which says in `.why` what it chose.
    throw
        Raise where there is no steady state. Under `jax.jit` and `jax.vmap` nothing is raised:
        look at `.status`.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, or where the exact solution does not apply.
    SolveError
        Where there is no steady state to relax to: gamma_C = 0, F = 0 or g = 0.

    Examples
    --------
    >>> import qbjax as qb
    >>> ss = qb.steady_state(qb.StarBattery(N=8, F=0.5))
    >>> print(f"{ss.energy:.4f} {ss.ergotropy:.4f} {ss.nullity}")
    4.0000 3.4288 9
    """
    require_choice(method, "method", ("auto", "exact"))
    sectors.require_exact(model, "this method")
    start = None if rho0 is None else full_state(rho0, model.levels, model.N)
    result = _solve(model, start)
    if throw:
        raise_unless_ok(result.status)
    return result


@eqx.filter_jit
def _solve(model: StarBattery, rho0: jax.Array | None) -> SteadyState:
    return over_batch(_exact, model, rho0)


def _exact(model: StarBattery, rho0: jax.Array | None) -> SteadyState:
    spectrum = sectors.diagonalise(model)
    coordinates = None if rho0 is None else sectors.project(spectrum, rho0)
    weights = spectrum.v[0] ** 2 if coordinates is None else jnp.diagonal(coordinates[0]).real
    status = rates.existence(model)
    weights = jnp.where(status == Status.OK, weights, jnp.nan)

    ground = spectrum.v * (weights / 2) @ spectrum.v.T
    excited = spectrum.u * (weights / 2) @ spectrum.u.T
    zero = jnp.zeros_like(ground)
    rho = jnp.stack([jnp.stack([ground, zero], 1), jnp.stack([zero, excited], 1)])
    battery = ground + excited
    populations = jnp.diagonal(battery)
    energy = model.omega_B * (dicke.level_numbers(model.levels) @ populations)
    largest, smallest = extreme_eigenvalues(battery, model.N)
    ergotropy = energy - model.omega_B * (jnp.sum(weights) - largest)
    slowest = rates.state_rate(model, spectrum, coordinates)
    known = (status == Status.OK) & slowest.resolved
    log_time = jnp.where(known, -slowest.log_rate, jnp.nan)
    return SteadyState(
        rho=rho,
        battery=battery,
        populations=populations,
        energy=energy,
        ergotropy=ergotropy,
        ratio=ergotropy / energy,
        residual=_residual(model, ground, excited),
        smallest_eigenvalue=smallest,
        nullity=_nullity(model),
        relaxation_time=jnp.exp(log_time),
        log_relaxation_time=log_time,
        status=status,
        method="exact",
        why="dephasing on battery resonance: solved sector by sector, without an integrator",
    )


def _nullity(model: StarBattery) -> jax.Array:
    """Return dim ker L from the structure: the commutant of H and |e><e| on battery resonance."""
    N = model.N
    without_drive = 2 * N + 2 - N % 2
    without_coupling = (N + 1) ** 2 * jnp.where(model.F == 0, 2, 1)
    # Without dephasing the commutant is that of H alone, whose 2N + 2 levels are distinct.
    driven = jnp.where(model.gamma_C == 0, 2 * N + 2, N + 1)
    nullity = jnp.where(model.F == 0, without_drive, driven)
    return jnp.where(model.g == 0, without_coupling, nullity)


def _residual(model: StarBattery, ground: jax.Array, excited: jax.Array) -> jax.Array:
    """Return max |K rho_gg - rho_ee K|; the other blocks of L rho vanish identically."""
    above = jnp.roll(model.couplings, -1)
    left = model.F * ground + above[:, None] * jnp.roll(ground, -1, axis=0)
    right = model.F * excited + jnp.roll(excited * above, 1, axis=1)
    return jnp.max(jnp.abs(left - right)) / jnp.max(jnp.abs(ground))


def extreme_eigenvalues(battery: jax.Array, N: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the largest and smallest eigenvalue of a battery state that P leaves unchanged.

    Every steady state on resonance commutes with the reversal P, so that it splits into an even and
    an odd block of half the size: a quarter of the work, and the nearly equal largest eigenvalues
    of a weak drive fall into different blocks, where each has a derivative of its own.
    """
    levels = battery.shape[0]
    half = (levels + 1) // 2
    n = dicke.level_numbers(half)
    direct = battery[:half, :half]
    crossed = jnp.take(battery[:half], jnp.clip(N - n, 0, levels - 1), axis=1)
    # The middle level of an even N is its own image.
    scale = jnp.where(2 * n == N, jnp.sqrt(0.5), 1.0)
    live = 2 * n <= N
    mask = live[:, None] & live
    even = jnp.where(mask, scale[:, None] * scale * (direct + crossed), 0.0)
    odd_live = 2 * n < N
    odd = jnp.where(odd_live[:, None] & odd_live, direct - crossed, 0.0)

    # Padding goes below every eigenvalue for the largest, and is left out of the smallest. One
    # stacked call: XLA can deadlock on the CPU when two batched eigensolvers run side by side.
    inside = jnp.stack([live, odd_live])
    sentinels = jax.vmap(jnp.diag)(jnp.where(inside, 0.0, 2.0 + n / half))
    values = jnp.linalg.eigvalsh(jnp.stack([even, odd]) - sentinels)
    return jnp.max(values), jnp.min(jnp.where(values < -1.0, jnp.inf, values))
