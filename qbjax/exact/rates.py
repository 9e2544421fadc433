r"""How fast the invariant sectors decay: the relaxation time, and the rate that the energy sees.

On charger resonance a sector holds two oscillators of frequencies omega_- and omega_+ that decay at

    r(omega) = gamma_C/4 - Re sqrt((gamma_C/4)^2 - omega^2),

slowest where gamma_C is far from 4 omega. With a charger detuning the two couple, and the rates are
the real parts of the roots r of

    r^4 - gamma r^3 + (gamma^2/4 + A + B + Delta_C^2) r^2 - (A + B)(gamma/2) r + A B = 0,

with A = omega_-^2 and B = omega_+^2 (divided by the conserved root r = 0 where A = 0).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.common.checks import Status
from qbjax.common.first_order import first_order
from qbjax.exact import sectors
from qbjax.exact.sectors import Sectors
from qbjax.model.star_battery import StarBattery


class SlowestRate(NamedTuple):
    """The slowest of a set of decay rates, and the frequency it belongs to, in logarithms."""

    log_rate: jax.Array
    log_omega: jax.Array


def existence(model: StarBattery) -> jax.Array:
    """Return the status that says whether, and why not, the start relaxes to a steady state."""
    uncharged = charges(model)
    dephased = jnp.where(model.gamma_C == 0, Status.NO_DEPHASING, Status.OK)
    return jnp.where(uncharged == Status.OK, dephased, uncharged)


def charges(model: StarBattery) -> jax.Array:
    """Return the status that says whether drive and coupling are there to charge the battery."""
    status = jnp.where(model.F == 0, Status.NO_DRIVE, Status.OK)
    return jnp.where(model.g == 0, Status.NO_COUPLING, status)


def state_rate(model: StarBattery, spectrum: Sectors, coordinates: jax.Array | None) -> SlowestRate:
    """Return the slowest rate among the sectors that a start occupies.

    `coordinates` are those of `sectors.project`; None stands for the empty battery, which occupies
    every sector: no v_k(0) vanishes, because |0> is the end of the chain that K P couples.
    """
    live = spectrum.live[:, None] & spectrum.live
    diagonal = jnp.eye(model.levels, dtype=bool)
    if coordinates is None:
        return _slowest(model, spectrum, live & ~diagonal, live)
    # A sector counts once it holds more than rounding.
    size = jnp.abs(coordinates) > 1e-13
    return _slowest(model, spectrum, (size[0] | size[1]) & live & ~diagonal, size[2:].any(0) & live)


def energy_rate(model: StarBattery, spectrum: Sectors, min_weight: ArrayLike) -> SlowestRate:
    """Return the slowest rate among the modes of E_B(t) above `min_weight` of the largest one."""
    weights = jnp.abs(energy_weights(model, spectrum))
    included = (weights >= min_weight * jnp.max(weights)) & (weights > 0)
    return _slowest(model, spectrum, None, included)


def energy_weights(model: StarBattery, spectrum: Sectors) -> jax.Array:
    """Return the weights a_kl of 1 - E/E_inf = sum_kl a_kl f(t; omega_+), pairs k < l joined.

    From the empty battery, where sum_kl a_kl = 1; shape (levels, levels), zero below the diagonal.
    """
    start = spectrum.v[0]
    weights = -2 / model.N * start[:, None] * start * sectors.inversion(spectrum, model.N)
    return jnp.triu(weights) + jnp.triu(weights, 1)


def _slowest(
    model: StarBattery, spectrum: Sectors, with_minus: jax.Array | None, with_plus: jax.Array
) -> SlowestRate:
    """Minimise over the oscillators of frequency omega_-, omega_+ in the masks (levels, levels)."""
    log_minus, log_plus = sectors.log_frequencies(spectrum)
    log_plus = _where(with_plus, log_plus)
    lowest = log_plus
    if with_minus is not None:
        lowest = jnp.minimum(log_plus, _where(with_minus, log_minus))
    log_omega = jnp.min(lowest)
    if model.Delta_C is None:
        log_rate = _log_damping(log_omega, model.gamma_C)
    else:
        minus, plus = sectors.frequencies(spectrum)
        off_diagonal = jnp.isfinite(lowest) & ~jnp.eye(model.levels, dtype=bool)
        log_rate = jnp.minimum(
            _log_diagonal(jnp.diagonal(log_plus), model.gamma_C, model.Delta_C),
            _log_off_diagonal(off_diagonal, minus, plus, model.gamma_C, model.Delta_C),
        )
    return SlowestRate(log_rate, log_omega)


def log_rate(model: StarBattery, log_omega: jax.Array) -> jax.Array:
    """Return ln of the slowest rate of a sector k = l from ln omega_+."""
    if model.Delta_C is None:
        return _log_damping(log_omega, model.gamma_C)
    return _log_diagonal(log_omega[None], model.gamma_C, model.Delta_C)


def _where(mask: jax.Array, log_size: jax.Array) -> jax.Array:
    """Return ln |values| under the mask, and infinity elsewhere and for zero."""
    return jnp.where(mask & jnp.isfinite(log_size), log_size, jnp.inf)


def _log_damping(log_omega: jax.Array, gamma: jax.Array) -> jax.Array:
    """Return ln r(omega) on charger resonance, with the digits of a slow overdamped rate."""
    quarter = gamma / 4
    omega = jnp.exp(log_omega)
    over = omega < quarter
    root = jnp.sqrt(jnp.where(over, (quarter - omega) * (quarter + omega), 1.0))
    slow = 2 * jnp.where(over, log_omega, 0.0) - jnp.log(jnp.where(over, quarter + root, 1.0))
    dephased = quarter > 0
    fast = jnp.where(dephased, jnp.log(jnp.where(dephased, quarter, 1.0)), -jnp.inf)
    # An infinite omega stands for no oscillator at all.
    return jnp.where(jnp.isinf(log_omega) & (log_omega > 0), jnp.inf, jnp.where(over, slow, fast))


def _log_diagonal(log_plus: jax.Array, gamma: jax.Array, delta: jax.Array) -> jax.Array:
    """Return ln of the slowest rate of the sectors k = l, where s is conserved: the cubic."""
    included = jnp.isfinite(log_plus)
    log_plus = jnp.where(included, log_plus, 0.0)
    B = jnp.exp(2 * log_plus)
    middle = gamma**2 / 4 + delta**2
    # Far below gamma the leading term is exact, also where omega^2 underflows.
    tiny = 1e-20 * middle > B
    B = jnp.where(tiny, middle, B)
    root = slowest_root([-gamma + 0 * B, middle + B, -B * gamma / 2])
    leading = 2 * log_plus + jnp.log(gamma / 2) - jnp.log(middle)
    log_rate = jnp.where(tiny, leading, jnp.log(root))
    return jnp.min(jnp.where(included, log_rate, jnp.inf))


def _log_off_diagonal(
    included: jax.Array, minus: jax.Array, plus: jax.Array, gamma: jax.Array, delta: jax.Array
) -> jax.Array:
    """Return ln of the slowest rate of the sectors k != l: the quartic, row by row."""

    def row(frequencies: tuple[jax.Array, jax.Array]) -> jax.Array:
        A, B = frequencies[0] ** 2, frequencies[1] ** 2
        middle = gamma**2 / 4 + delta**2
        return slowest_root([-gamma + 0 * A, middle + A + B, -(A + B) * gamma / 2, A * B])

    safe = [jnp.where(included, omega, one) for omega, one in ((minus, 1.0), (plus, 2.0))]
    rates = jnp.where(included, jax.lax.map(row, tuple(safe)), jnp.inf)
    slowest = jnp.min(rates)
    finite = jnp.isfinite(slowest)
    return jnp.where(finite, jnp.log(jnp.where(finite, slowest, 1.0)), jnp.inf)


def slowest_root(coefficients: list[jax.Array]) -> jax.Array:
    """Return the smallest real part among the roots of r^n + c_1 r^{n-1} + ... + c_n.

    By Aberth's simultaneous iteration, which runs on every device (a nonsymmetric `eig` does not).
    The derivative is that of the implicit function.
    """
    monic = [jnp.ones_like(coefficients[-1]), *coefficients]
    degree = len(coefficients)

    def polynomial(r: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, slope = jnp.zeros_like(r), jnp.zeros_like(r)
        for c in monic:
            value, slope = value * r + c, slope * r + value
        return value, slope

    def improve(_: int, roots: jax.Array) -> jax.Array:
        value, slope = polynomial(roots)
        newton = value / jnp.where(slope == 0, 1.0, slope)
        gaps = roots[:, None] - roots[None, :]
        equal = gaps == 0
        repulsion = jnp.sum(jnp.where(equal, 0.0, 1 / jnp.where(equal, 1.0, gaps)), axis=1)
        return roots - newton / (1 - newton * repulsion)

    sizes = [jnp.abs(c) ** (1 / (j + 1)) for j, c in enumerate(coefficients)]
    radius = jnp.sum(jnp.stack(sizes), axis=0)
    angles = jnp.arange(degree) * (2 * jnp.pi / degree) + 0.4
    start = radius * jnp.exp(1j * angles).reshape((degree,) + (1,) * radius.ndim)
    roots = jax.lax.stop_gradient(jax.lax.fori_loop(0, 60, improve, jax.lax.stop_gradient(start)))
    slowest = jnp.take_along_axis(roots, jnp.argmin(roots.real, axis=0)[None], axis=0)[0]
    value, slope = polynomial(slowest)
    slope = jax.lax.stop_gradient(slope)
    # At a double root the slope vanishes and no derivative exists; the value stands as it is.
    step = jnp.where(slope == 0, 0.0, value / jnp.where(slope == 0, 1.0, slope))
    return first_order((slowest - step).real)
