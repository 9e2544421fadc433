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

With D the alternation of sign along the chain of `qbjax.exact.chain`, whose last entry is beta,
D T(beta) D = -T(-beta), so that exactly and for every pair of its eigenvectors z

    (lambda_k + lambda_l) sum_i (-1)^i z_k(i) z_l(i) = 2 beta (-1)^N z_k(N) z_l(N).

Nearly opposite eigenvalues have a sum near +-1 on the left, and a product without cancellation on
the right: their splitting omega_+ is as good as the last components, however small.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.basis import ladder
from qbjax.common.types import Condition
from qbjax.exact import chain
from qbjax.exact.chain import Chain, Spectrum
from qbjax.model.star_battery import StarBattery
from qbjax.states.density_matrix import as_start

# Sums of eigenvalues below it, relative to the norm, come from last components: directly they lose
# more than two digits.
_SMALL = 1e-2


class Splittings(NamedTuple):
    """The sums omega_+ of eigenvalues that are neighbours in size, each of shape (2, levels).

    Attributes
    ----------
    values, log_size
        omega_+ and ln |omega_+|.
    relative
        Where they are right to relative precision, because they come from the last components.
    """

    values: jax.Array
    log_size: jax.Array
    relative: jax.Array


class Sectors(eqx.Module):
    """The spectrum of K P, padded: columns beyond N are zero and their eigenvalues sentinels.

    Attributes
    ----------
    eigenvalues
        Signed lambda_k, shape (levels,), ascending where F and g are positive; |lambda_k| are the
        singular values of K. Neighbours in size are k and N - k, and k and N - 1 - k.
    u, v
        Singular vectors of K as columns, shape (levels, levels).
    live
        Mask of the columns k <= N, shape (levels,).
    norm
        The largest singular value, shape ().
    splittings
        omega_+ of k and N - k, and of k and N - 1 - k.
    """

    eigenvalues: jax.Array
    u: jax.Array
    v: jax.Array
    live: jax.Array
    norm: jax.Array
    splittings: Splittings

    @property
    def N(self) -> jax.Array:
        """The number of qubits."""
        return jnp.sum(self.live) - 1

    @property
    def log_smallest(self) -> jax.Array:
        """Ln of the smallest singular value, right where the value itself underflows, shape ()."""
        return self.splittings.log_size[self.N % 2, self.N // 2] - jnp.log(2.0)


def diagonalise(model: StarBattery) -> Sectors:
    """Solve the one eigenproblem that everything else follows from (one model)."""
    N, levels, live = model.N, model.levels, ladder.live_levels(model.N, model.levels)
    signs = [jnp.where(x < 0, -1.0, 1.0) for x in (model.F, model.g)]
    F, g = (sign * x for sign, x in zip(signs, (model.F, model.g), strict=True))
    spectrum = chain.spectrum(F, g, N, levels)
    matrix = chain.chain(F, g, N, levels)
    is_coupled = (F != 0) & (g > chain.least_coupling(F))
    splittings = _splittings(matrix, N, spectrum, is_coupled)
    # With D|n> = (-1)^n |n>: K(-F, g) = -D K(F, g) D, K(F, -g) = D K(F, g) D, D P = (-1)^N P D.
    alternating = jnp.where(signs[0] == signs[1], 1.0, -1.0)
    factor = signs[0] * alternating**N
    n = ladder.level_numbers(levels)
    u = spectrum.vectors[chain.positions(N, levels)] * (alternating**n)[:, None]
    u = jnp.where(live[:, None] & live, u, 0.0)
    first = N // 2
    mended = splittings.values[N % 2, first] / 2
    is_mended = splittings.relative[N % 2, first]
    eigenvalues = spectrum.eigenvalues
    eigenvalues = eigenvalues.at[first].set(jnp.where(is_mended, mended, eigenvalues[first]))
    norm = jnp.max(jnp.where(live, jnp.abs(eigenvalues), 0.0))
    return Sectors(
        jnp.where(live, factor, 1.0) * eigenvalues,
        u,
        ladder.reverse(u, N),
        live,
        norm,
        splittings._replace(values=factor * splittings.values),
    )


def _splittings(matrix: Chain, N: jax.Array, spectrum: Spectrum, coupled: jax.Array) -> Splittings:
    """Return the sums of neighbours in size: nearly opposite ones by the last components."""
    levels = len(spectrum.eigenvalues)
    k, z = ladder.level_numbers(levels), spectrum.vectors
    alternating = (-1.0) ** k[:, None] * z

    def with_partner(total: jax.Array) -> Splittings:
        inside = (k <= total) & (k <= N)
        partner = jnp.where(inside, total - k, k)
        overlap = jnp.sum(alternating * z[:, partner], axis=0)
        direct = spectrum.eigenvalues + spectrum.eigenvalues[partner]
        is_small = jnp.abs(direct) < _SMALL * matrix.bound
        relative = inside & coupled & is_small & (jnp.abs(overlap) > 0.5)
        overlap = jnp.where(relative, overlap, 1.0)
        logs = spectrum.log_last + spectrum.log_last[partner]
        by_last = (
            jnp.log(2 * jnp.where(coupled, matrix.last, 1.0)) + logs - jnp.log(jnp.abs(overlap))
        )
        sign = jnp.sign(overlap) * spectrum.sign_last * spectrum.sign_last[partner]
        log_size = jnp.where(relative, by_last, _log_size(direct))
        by_last = jnp.where(relative, by_last, 0.0)
        value = jnp.where(relative, (-1.0) ** N * sign * jnp.exp(by_last), direct)
        return Splittings(value, log_size, relative)

    return jax.vmap(with_partner)(jnp.stack([N, N - 1]))


def _log_size(values: jax.Array) -> jax.Array:
    """Return ln |values|, and -infinity for zero, which has no derivative."""
    there = values != 0
    return jnp.where(there, jnp.log(jnp.where(there, jnp.abs(values), 1.0)), -jnp.inf)


def _with_splittings(sectors: Sectors, others: jax.Array, rows: jax.Array) -> jax.Array:
    """Return a matrix over pairs (k, l) with rows of `Splittings` where k + l is N or N - 1."""
    k = ladder.level_numbers(len(sectors.live))
    total = k[:, None] + k
    for row, at in zip(rows, (sectors.N, sectors.N - 1), strict=True):
        others = jnp.where(total == at, row[:, None], others)
    return others


def frequencies(sectors: Sectors) -> tuple[jax.Array, jax.Array]:
    """Return omega_- = lambda_k - lambda_l and omega_+ = lambda_k + lambda_l, (levels, levels)."""
    eigenvalues = jnp.where(sectors.live, sectors.eigenvalues, 0.0)
    plus = eigenvalues[:, None] + eigenvalues
    plus = _with_splittings(sectors, plus, sectors.splittings.values)
    return eigenvalues[:, None] - eigenvalues, plus


def log_frequencies(sectors: Sectors) -> tuple[jax.Array, jax.Array]:
    """Return ln |omega_-| and ln |omega_+|, (levels, levels), also where omega_+ underflows."""
    minus, plus = (_log_size(x) for x in frequencies(sectors))
    return minus, _with_splittings(sectors, plus, sectors.splittings.log_size)


def uncertainty(sectors: Sectors) -> jax.Array:
    """Return how far each omega_+ may be from the true one, (levels, levels)."""
    eps = jnp.finfo(sectors.norm.dtype).eps
    everywhere = 4 * eps * sectors.norm * jnp.ones(2 * sectors.live.shape)
    values, log_size, relative = sectors.splittings
    # The last component is a product of as many factors as its logarithm is long.
    digits = eps * (100 + 10 * jnp.where(relative, jnp.abs(log_size), 0.0))
    rows = jnp.where(relative, digits * jnp.abs(values), everywhere[0])
    return _with_splittings(sectors, everywhere, rows)


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
    start = as_start(rho0, model.basis, model.N, model.charger)
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
