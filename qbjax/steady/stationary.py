r"""The stationary state of a generator that is reached from a start.

Steps of implicit pseudo-time, X <- s (s - L)^-1 X, lead there from the start and keep every
conserved quantity. Each adds D to X, with

    (s - L) D = L X,

a regular linear system that is solved by elimination (`direct`) or by preconditioned GMRES
(`iterative`) and differentiated as such. Where the generator L has one stationary state, the shift
s may be as small as rounding allows; GMRES does without it and with one step, from any X of trace
1, once the trace is added:

    (-L + u X Tr) D = L X,

with any number u that is not 0; here it has the unit of L.

Where there are several, a Krylov space of L X holds no conserved quantity, and the Lyapunov
preconditioner brings none in where sum_k r_k L_k^dagger L_k is a multiple of one, as for dephasing
of a qubit.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.common.types import Array
from qbjax.generator import stored_states
from qbjax.generator.bounds import spectral_box
from qbjax.generator.lindblad import Generator


class Stationary(eqx.Module):
    """A stationary state and its evidence.

    Attributes
    ----------
    stored
        The state, stored as in `qbjax.generator.lindblad`.
    residual
        |L rho| (the Hilbert-Schmidt norm).
    iterations
        Steps of GMRES; 0 for elimination.
    relaxation_time
        |Y| / |L Y| of something that decays, Y: a lower bound of the norm of L^-1, which is close
        to 1 / (slowest rate). After ten steps of inverse iteration of the direct solver it is
        within a factor of 2 mostly; that of the iterative solver was short by up to 5 where they
        were compared. Infinite where it was not found.
    error
        Estimate of the distance from the true one (the Hilbert-Schmidt norm). Where elimination
        found the only stationary state, it is the last correction, which knows in which direction
        the residual lies; else |L rho| times the relaxation time, or how far the state moved on in
        later pseudo-time, if that is more.
    """

    stored: jax.Array
    residual: jax.Array
    iterations: jax.Array
    relaxation_time: jax.Array
    error: jax.Array


def probe_state(generator: Generator, start: jax.Array, live: Array) -> jax.Array:
    """Return a stored state that slow modes take part in, also those that the start is without."""
    return jax.lax.stop_gradient((start + lopsided(generator, live, start)) / 2)


def lopsided(generator: Generator, live: Array, like: jax.Array) -> jax.Array:
    """Return a stored state, shaped as another one, that no symmetry is likely to know."""
    weights = jnp.where(live, 1.0 + jnp.arange(live.size).reshape(live.shape), 0.0)
    weights = weights / (jnp.sum(weights) * generator.charger_levels)
    diagonal = generator.on_diagonal[:, None, None, None]
    state = jnp.where(diagonal, weights[..., None] * jnp.eye(live.shape[-1]), 0.0)
    return jnp.zeros_like(like).at[0].set(state)


def relaxation_time(time: jax.Array) -> jax.Array:
    """Return a relaxation time; one that could not be found is infinite."""
    return jax.lax.stop_gradient(jnp.where(time > 0, time, jnp.inf))


def norm_bound(generator: Generator) -> jax.Array:
    """Return a bound of the norm of L."""
    decay, width = spectral_box(generator)
    return decay + width


def multiplicities(generator: Generator) -> jax.Array:
    """Return the square roots of how often a stored pair stands in the matrix."""
    counts = jnp.where(generator.on_diagonal, 1.0, 2.0)
    return jnp.sqrt(counts)[:, None, None, None]


def state_norm(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the Hilbert-Schmidt norm of a stored matrix."""
    return jnp.linalg.norm(multiplicities(generator) * stored)


def trace(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the trace of a stored matrix."""
    return jnp.sum(stored_states.charger_populations(generator, stored))


def as_matrices(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the matrices (blocks, d, d) in the gauge: real for a stored state of one part."""
    d = generator.charger_levels * generator.levels
    return stored_states.in_gauge(generator, stored).reshape(-1, d, d)


def from_matrices(generator: Generator, matrices: jax.Array, parts: int) -> jax.Array:
    """Return matrices (blocks, d, d) in the gauge as a stored state."""
    d_c, levels = generator.charger_levels, generator.levels
    return stored_states.from_gauge(
        generator, matrices.reshape(-1, d_c, levels, d_c, levels), parts
    )
