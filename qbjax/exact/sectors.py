r"""The exact solution: invariant sectors of the dephased charger on battery resonance.

With P the reversal of the ladder, K P is real symmetric: K P q_k = lambda_k q_k gives both singular
bases of K at once, u_k = q_k and v_k = P q_k, with K v_k = lambda_k u_k and K^T u_k = lambda_k v_k.
The part of the state between span{|g,v_k>, |e,u_k>} and span{|g,v_l>, |e,u_l>} then obeys four
linear equations closed in themselves, for any charger detuning and dephasing rate. In

    s = rho_gg + rho_ee,   d = rho_gg - rho_ee,   X = rho_ge + rho_eg,   Y = rho_eg - rho_ge,

and omega_- = lambda_k - lambda_l, omega_+ = lambda_k + lambda_l, they are

    s' = -omega_- (iX),    (iX)' = omega_- s  - (gamma_C/2) (iX) + Delta_C Y,
    d' = -omega_+ (iY),    (iY)' = omega_+ d  - (gamma_C/2) (iY) + Delta_C X:

two damped oscillators, coupled by the detuning alone. The s of the diagonal sectors (omega_- = 0)
are conserved, which is why the steady state remembers the start.

Ordered by |lambda| the signs of lambda alternate, so singular values that nearly coincide are far
apart as signed numbers: `eigh(K P)` never mixes their vectors, and its derivatives are safe.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.basis import ladder
from qbjax.common import linalg
from qbjax.common.first_order import first_order
from qbjax.common.types import Condition
from qbjax.model.star_battery import StarBattery
from qbjax.states.density_matrix import as_start


class Sectors(eqx.Module):
    """The spectrum of K P, padded: columns beyond N are zero and their eigenvalues sentinels.

    Attributes
    ----------
    eigenvalues
        Signed lambda_k in ascending order, shape (levels,); |lambda_k| are the singular values of
        K. The smallest one comes from `log_smallest`, right to relative precision.
    u, v
        Singular vectors of K as columns, shape (levels, levels).
    live
        Mask of the columns k <= N, shape (levels,).
    smallest
        Index of the smallest |lambda_k|, shape ().
    log_smallest
        ln of the smallest singular value, right where the value itself underflows, shape ().
    norm
        The largest singular value, shape ().
    """

    eigenvalues: jax.Array
    u: jax.Array
    v: jax.Array
    live: jax.Array
    smallest: jax.Array
    log_smallest: jax.Array
    norm: jax.Array


def diagonalise(model: StarBattery) -> Sectors:
    """Solve the one symmetric eigenproblem that everything else follows from (one model)."""
    eigenvalues, q = linalg.eigh(_reversed_coupling_matrix(model))
    live = ladder.live_levels(model.N, model.levels)
    # The sentinels of the padding exceed every eigenvalue, so the first N + 1 columns are live.
    u = jnp.where(live[:, None] & live, q, 0.0)
    v = ladder.reverse(u, model.N)
    magnitudes = jnp.where(live, jnp.abs(eigenvalues), jnp.inf)
    smallest = jnp.argmin(magnitudes)
    log_smallest = log_smallest_singular_value(model, jnp.abs(u[:, smallest]))
    by_eigh = eigenvalues[smallest]
    mended = jnp.where(by_eigh < 0, -1.0, 1.0) * jnp.exp(log_smallest)
    # The recursion needs drive and coupling; without one of them eigh has every digit.
    regular = (model.F != 0) & (model.g != 0)
    eigenvalues = eigenvalues.at[smallest].set(jnp.where(regular, mended, by_eigh))
    norm = jnp.max(jnp.where(live, jnp.abs(eigenvalues), 0.0))
    return Sectors(eigenvalues, u, v, live, smallest, log_smallest, norm)


def _reversed_coupling_matrix(model: StarBattery) -> jax.Array:
    """Return K P, with F on i + j = N and the couplings on i + j = N - 1."""
    n = ladder.level_numbers(model.levels)
    anti = n[:, None] + n
    above = jnp.roll(model.couplings, -1)  # row i holds <i|K|i+1>; the last one wraps to zero
    matrix = jnp.where(anti == model.N, model.F, 0.0)
    matrix = matrix + jnp.where(anti == model.N - 1, above[:, None], 0.0)
    # Distinct sentinels (equal ones make the derivative of eigh NaN) above the norm of K.
    bound = jnp.abs(model.F) + jnp.abs(model.g) * (model.N + 1) / (2 * jnp.sqrt(model.N))
    padding = jnp.where(n > model.N, bound * (1.5 + n / model.levels), 0.0)
    return matrix + jnp.diag(padding)


def log_smallest_singular_value(model: StarBattery, magnitudes: jax.Array) -> jax.Array:
    r"""Return ln(sigma_min(K)), to relative precision at any size, by inverse iteration in logs.

    K is bidiagonal, so the entries of its inverse are products of entries of K: with the signs
    (-1)^{m-n} taken out, all are positive and nothing cancels. Then so are those of (K P)^{-1},
    whose largest eigenvalue is 1/sigma_min with a positive (Perron) vector. A Rayleigh quotient
    makes the error of the vector enter squared.

    Parameters
    ----------
    model
        One model with F and g nonzero.
    magnitudes
        |components| of the eigenvector that belongs to it, from `eigh`, shape (levels,): accurate
        where they are large. Three iterations mend the small ones.
    """
    live = ladder.live_levels(model.N, model.levels)
    couplings = jnp.abs(model.couplings)
    positive = couplings > 0
    log_couplings = jnp.where(positive, jnp.log(jnp.where(positive, couplings, 1.0)), 0.0)
    drive = jnp.where(model.F == 0, 1.0, jnp.abs(model.F))
    log_drive = jnp.log(drive)
    # <n|K^-1|m> = prod_{n<j<=m} (c_j/F) / F = exp(C_m - C_n) / F  for m >= n.
    log_products = jnp.cumsum(jnp.where(live & positive, log_couplings - log_drive, 0.0))

    def log_inverse(log_x: jax.Array) -> jax.Array:
        shifted = jnp.where(live, log_x + log_products, -_FAR)
        solved = jax.lax.cumlogsumexp(shifted, reverse=True) - log_products - log_drive
        return jnp.where(live, ladder.reverse(solved, model.N), -_FAR)

    log_x = jnp.where(live, jnp.log(jnp.maximum(magnitudes, jnp.finfo(magnitudes.dtype).tiny)), 0.0)
    log_x = jax.lax.stop_gradient(log_x)

    def iterate(_: int, log_x: jax.Array) -> jax.Array:
        log_y = log_inverse(log_x)
        return log_y - jnp.max(log_y)

    log_x = jax.lax.stop_gradient(jax.lax.fori_loop(0, 3, iterate, log_x))
    # The quotient is stationary at the eigenvector, so the vector needs no derivative.
    norm = jax.nn.logsumexp(jnp.where(live, 2 * log_x, -_FAR))
    quotient = jax.nn.logsumexp(jnp.where(live, log_x + log_inverse(log_x), -_FAR))
    return first_order(norm - quotient)


# Stands for ln 0 where -inf would make derivatives NaN.
_FAR = 1e30


def frequencies(sectors: Sectors) -> tuple[jax.Array, jax.Array]:
    """Return omega_- = lambda_k - lambda_l and omega_+ = lambda_k + lambda_l, (levels, levels)."""
    eigenvalues = jnp.where(sectors.live, sectors.eigenvalues, 0.0)
    return eigenvalues[:, None] - eigenvalues, eigenvalues[:, None] + eigenvalues


def inversion(sectors: Sectors, N: jax.Array) -> jax.Array:
    """Return <v_k|J_z|v_l>, shape (levels, levels).

    The energy of a state is E_B/omega_B = N/2 + sum_kl d_kl <v_l|J_z|v_k>.
    """
    m = ladder.level_numbers(sectors.v.shape[0]) - N / 2
    return sectors.v.T @ (m[:, None] * sectors.v)


def start_of(model: StarBattery, rho0: object) -> tuple[jax.Array | None, Condition]:
    """Return a start as `project` takes it, and whether it was refused; see `as_start`."""
    if rho0 is None:
        return None, False
    start = as_start(rho0, model.levels, model.N, model.charger)
    return start.rho, start.refused


def project(sectors: Sectors, rho: jax.Array | None) -> jax.Array:
    """Return the sector coordinates (s, iX, -id, Y) of a state, shape (4, levels, levels).

    In these the generator is real. `rho` is (2, levels, 2, levels), or None for the empty battery
    beside a charger in its ground state.
    """
    u, v = sectors.u, sectors.v
    if rho is None:
        start = v[0, :, None] * v[0]
        zero = jnp.zeros_like(start)
        return jnp.stack([start + 0j, zero + 0j, -1j * start, zero + 0j])
    gg, ee = v.T @ rho[0, :, 0] @ v, u.T @ rho[1, :, 1] @ u
    ge, eg = v.T @ rho[0, :, 1] @ u, u.T @ rho[1, :, 0] @ v
    return jnp.stack([gg + ee, 1j * (ge + eg), -1j * (gg - ee), eg - ge])


def assemble(sectors: Sectors, coordinates: jax.Array) -> jax.Array:
    """Return the state (2, levels, 2, levels) that has these sector coordinates."""
    u, v = sectors.u, sectors.v
    s, d, X, Y = coordinates[0], 1j * coordinates[2], -1j * coordinates[1], coordinates[3]
    gg, ee = v @ (s + d) @ v.T / 2, u @ (s - d) @ u.T / 2
    ge, eg = v @ (X - Y) @ u.T / 2, u @ (X + Y) @ v.T / 2
    return jnp.stack([jnp.stack([gg, ge], 1), jnp.stack([eg, ee], 1)])


def damped(omega: jax.Array, gamma: ArrayLike, t: ArrayLike) -> tuple[jax.Array, jax.Array]:
    r"""Return the damped oscillation f and k = -f'/omega^2, through every damping case smoothly.

    f'' + (gamma/2) f' + omega^2 f = 0, f(0) = 1, f'(0) = 0. With nu^2 = (gamma/4)^2 - omega^2,
    k = e^{-gamma t/4} sinh(nu t)/nu and f = e^{-gamma t/4} cosh(nu t) + (gamma/4) k.
    """
    quarter = jnp.asarray(gamma) / 4
    nu_squared = (quarter - omega) * (quarter + omega)
    z = nu_squared * t**2
    near, over = jnp.abs(z) < 1e-2, z > 0
    nu_t = jnp.sqrt(jnp.where(near, 1.0, jnp.abs(nu_squared))) * jnp.where(near, 1.0, t)
    decay = jnp.exp(-quarter * t)
    # Overdamped: gamma/4 - nu = omega^2 / (gamma/4 + nu) keeps the slow rate's digits, and no
    # exponential grows.
    slow = omega**2 * t / jnp.where(over & ~near, quarter + nu_t / jnp.where(t == 0, 1.0, t), 1.0)
    rise, fall = jnp.exp(-jnp.where(over, slow, 0.0)), jnp.exp(-quarter * t - nu_t)
    series = jnp.where(near, z, 0.0)
    cosh_series = _entire(series, first=1)
    sinh_series = _entire(series, first=2)
    cosh = jnp.where(over, (rise + fall) / 2, decay * jnp.cos(nu_t))
    sinhc = jnp.where(over, (rise - fall) / 2, decay * jnp.sin(nu_t)) / nu_t
    cosh = jnp.where(near, decay * cosh_series, cosh)
    k = t * jnp.where(near, decay * sinh_series, sinhc)
    return cosh + quarter * k, jnp.asarray(k)


def _entire(z: jax.Array, first: int) -> jax.Array:
    """Sum cosh(sqrt z) (first=1) or sinh(sqrt z)/sqrt z (first=2) for |z| < 1e-2."""
    total = jnp.ones_like(z)
    for j in (5, 4, 3, 2, 1):
        odd = 2 * j - 2 + first
        total = 1 + z / (odd * (odd + 1)) * total
    return total


def propagator(
    omega_minus: jax.Array,
    omega_plus: jax.Array,
    gamma: ArrayLike,
    delta: ArrayLike | None,
    t: ArrayLike,
) -> jax.Array:
    """Return the real 4 x 4 propagators over a time t of (s, iX, -id, Y), shape (4, 4, ...)."""
    if delta is None:
        return _resonant_propagator(omega_minus, omega_plus, gamma, t)
    zero = jnp.zeros_like(omega_plus)
    damping, detuning = zero - jnp.asarray(gamma) / 2, zero + delta
    generator = jnp.stack(
        [
            jnp.stack([zero, -omega_minus, zero, zero], -1),
            jnp.stack([omega_minus, damping, zero, detuning], -1),
            jnp.stack([zero, zero, zero, -omega_plus], -1),
            jnp.stack([zero, -detuning, omega_plus, damping], -1),
        ],
        -2,
    )
    return jnp.moveaxis(_exponential(generator * t), (-2, -1), (0, 1))


# For a norm of at most 1 the Taylor series ends below rounding. Up to this power of 2 squared.
_ORDER, _SQUARINGS = 18, 64


def _exponential(matrix: jax.Array) -> jax.Array:
    """Return exp of small matrices, shape (..., n, n), by products alone: see `common.linalg`.

    Repeated squaring of a contraction adds up rounding to eps |matrix|, no more.
    """
    norm = jnp.max(jnp.sum(jnp.abs(jax.lax.stop_gradient(matrix)), -1), -1)[..., None, None]
    squarings = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(norm, 1.0))), 0, _SQUARINGS)
    scaled, one = matrix * 2.0**-squarings, jnp.eye(matrix.shape[-1], dtype=matrix.dtype)
    exponential = jnp.broadcast_to(one, matrix.shape)
    for order in range(_ORDER, 0, -1):
        exponential = one + scaled @ exponential / order

    def square(i: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.where(i < squarings, x @ x, x)

    return jax.lax.fori_loop(0, _SQUARINGS, square, exponential)


def _resonant_propagator(
    omega_minus: jax.Array, omega_plus: jax.Array, gamma: ArrayLike, t: ArrayLike
) -> jax.Array:
    zero = jnp.zeros_like(omega_plus)

    def oscillator(omega: jax.Array) -> tuple[jax.Array, ...]:
        f, k = damped(omega, gamma, t)
        return f, -omega * k, omega * k, f - jnp.asarray(gamma) / 2 * k

    a, b = oscillator(omega_minus), oscillator(omega_plus)
    return jnp.stack(
        [
            jnp.stack([a[0], a[1], zero, zero]),
            jnp.stack([a[2], a[3], zero, zero]),
            jnp.stack([zero, zero, b[0], b[1]]),
            jnp.stack([zero, zero, b[2], b[3]]),
        ]
    )
