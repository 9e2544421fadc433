r"""Operators on charger (x) battery, stored by their diagonals in the ladder.

Every operator of the theory moves the battery by a few levels, whatever it does to the charger. So
it is a set of entries, one for each element (a, b) of the charger and offset k in the ladder:

    <a, n| A |b, n - k> = i^phase w_n,        w real, shape (levels,), phase 0 or 1.

The keys (a, b, k, phase) are structure, known when a program is compiled; the weights are values.
Keeping the phase in the structure means that a real model is computed with real numbers only.
"""

from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

# Row a and column b of the charger, offset k in the ladder, power of i.
Key = tuple[int, int, int, int]


class Operator(eqx.Module):
    """A sum of entries; see the module's text."""

    entries: dict[Key, jax.Array]

    @property
    def adjoint(self) -> "Operator":
        """The Hermitian conjugate."""
        parts = []
        for (a, b, k, phase), weights in self.entries.items():
            parts.append(((b, a, -k, -phase), shift(weights, -k)))
        return _collect(parts)

    def __add__(self, other: "Operator") -> "Operator":
        """Return the sum."""
        return _collect([*self.entries.items(), *other.entries.items()])

    def __matmul__(self, other: "Operator") -> "Operator":
        """Return the product."""
        parts = []
        for (a, b, k, phase), weights in self.entries.items():
            for (c, d, m, more), others in other.entries.items():
                if b == c:
                    key = (a, d, k + m, phase + more)
                    parts.append((key, weights * shift(others, k)))
        return _collect(parts)

    def scaled(self, factor: ArrayLike, power: int = 0) -> "Operator":
        """Return the operator times a real factor and a power of i."""
        parts = []
        for (a, b, k, phase), weights in self.entries.items():
            parts.append(((a, b, k, phase + power), factor * weights))
        return _collect(parts)

    def gauged(self, sign: int = 1) -> "Operator":
        """Return U A U^dagger with U|c> = i^(sign c) |c> on the charger."""
        parts = []
        for (a, b, k, phase), weights in self.entries.items():
            parts.append(((a, b, k, phase + sign * (a - b)), weights))
        return _collect(parts)

    def dense(self, charger_levels: int, levels: int) -> jax.Array:
        """Return the matrix, shape (charger_levels * levels,) * 2, complex."""
        n = jnp.arange(levels)
        matrix = jnp.zeros((charger_levels, levels, charger_levels, levels), complex)
        for (a, b, k, phase), weights in self.entries.items():
            inside = (n - k >= 0) & (n - k < levels)
            values = jnp.where(inside, weights, 0.0) * 1j**phase
            matrix = matrix.at[a, n, b, jnp.clip(n - k, 0, levels - 1)].add(values)
        return matrix.reshape(2 * (charger_levels * levels,))


def shift(weights: jax.Array, k: int) -> jax.Array:
    """Return the weights moved by k levels, zero where they come from outside: w_{n-k}."""
    return jax.lax.pad(weights, jnp.zeros((), weights.dtype), [(k, -k, 0)])


def _collect(parts: Iterable[tuple[Key, jax.Array]]) -> Operator:
    """Bring phases to 0 or 1 and add up what has the same key."""
    entries: dict[Key, jax.Array] = {}
    for (a, b, k, power), weights in parts:
        key = (a, b, k, power % 2)
        signed = -weights if power % 4 >= 2 else weights
        entries[key] = entries[key] + signed if key in entries else signed
    return Operator(entries)
