"""Where the eigenvalues of the generator lie, told from its operators."""

import jax
import jax.numpy as jnp

from qbjax.basis.operators import Operator
from qbjax.generator.lindblad import Generator


def spectral_box(generator: Generator) -> tuple[jax.Array, jax.Array]:
    """Return bounds (decay, width): eigenvalues of L lie in [-decay, 0] x i [-width, width].

    The real parts come from the jumps alone. The imaginary ones are bounded by the numerical range,
    which has the differences of eigenvalues of H, and what the jumps X -> L X L^dagger bring that
    is not self-adjoint: nothing where L is Hermitian. Norms are bounded by Gershgorin's discs.
    """
    drift = generator.drift
    hamiltonian = (drift + drift.adjoint.scaled(-1.0)).scaled(0.5, power=1)
    lowest, highest = _range(hamiltonian)
    decay, width = jnp.zeros(()), highest - lowest
    for brought in generator.jumps:
        rate, jump = brought.rate, brought.left
        square = _norm(jump.adjoint @ jump)
        even = (jump + jump.adjoint).scaled(0.5)
        odd = (jump + jump.adjoint.scaled(-1.0)).scaled(0.5)
        # With L = A + B, A Hermitian and B not, that is the part X -> B X A - A X B.
        skew = jnp.minimum(2 * _norm(even) * _norm(odd), square)
        width = width + rate * skew
        decay = decay + rate * (_strength(jump, square) if brought.shift == 0 else 2 * square)
    return decay, width


def _range(operator: Operator) -> tuple[jax.Array, jax.Array]:
    """Return bounds of the smallest and the largest eigenvalue of a Hermitian operator."""
    centre = radius = jnp.zeros(())
    for (s, k, _), weights in operator.entries.items():
        if s == k == 0:
            centre = centre + weights
        else:
            radius = radius + jnp.abs(weights)
    return jnp.min(centre - radius), jnp.max(centre + radius)


def _norm(operator: Operator) -> jax.Array:
    """Return a bound of the norm of an operator that is Hermitian or the opposite."""
    rows = jnp.zeros(())
    for weights in operator.entries.values():
        rows = rows + jnp.abs(weights)
    return jnp.max(rows)


def _strength(jump: Operator, square: jax.Array) -> jax.Array:
    """Return a bound of the decay rates that one jump of unit rate brings."""
    if any((s, k) != (0, 0) for s, k, _ in jump.entries):
        return 2 * square
    # A diagonal jump damps coherences alone, by the square of the distance of its values.
    spreads = [jnp.max(weights) - jnp.min(weights) for weights in jump.entries.values()]
    return sum((spread**2 / 2 for spread in spreads), start=jnp.zeros(()))
