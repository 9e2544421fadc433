r"""Operators on charger (x) battery, stored by their diagonals.

Every operator of the theory moves charger and battery by a few levels. So it is a set of entries,
one for each offset s in the charger and k in the ladder:

    <a, n| A |a - s, n - k> = i^phase w_an,       w real, phase 0 or 1.

Each ladder of a `Basis` has its own weights: they are arrays (d_c, blocks, levels). The keys
(s, k, phase) are structure, known when a program is compiled; the weights are values. Keeping the
phase in the structure means that a real model is computed with real numbers only.
"""

from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.basis.basis import Basis

# Offset s in the charger and k in the ladder, power of i.
Key = tuple[int, int, int]


class Operator(eqx.Module):
    """A sum of entries; see the module's text."""

    entries: dict[Key, jax.Array]

    @property
    def adjoint(self) -> "Operator":
        """The Hermitian conjugate."""
        parts = []
        for (s, k, phase), weights in self.entries.items():
            parts.append(((-s, -k, -phase), shift(weights, -s, -k)))
        return collect(parts)

    def __add__(self, other: "Operator") -> "Operator":
        """Return the sum."""
        return collect([*self.entries.items(), *other.entries.items()])

    def __matmul__(self, other: "Operator") -> "Operator":
        """Return the product."""
        parts = []
        for (s, k, phase), weights in self.entries.items():
            for (t, m, more), others in other.entries.items():
                parts.append(((s + t, k + m, phase + more), weights * shift(others, s, k)))
        return collect(parts)

    def scaled(self, factor: ArrayLike, power: int = 0) -> "Operator":
        """Return the operator times a real factor and a power of i."""
        parts = []
        for (s, k, phase), weights in self.entries.items():
            parts.append(((s, k, phase + power), weights * factor))
        return collect(parts)

    def gauged(self, sign: int = 1) -> "Operator":
        """Return U A U^dagger with U|c> = i^(sign c) |c> on the charger."""
        parts = []
        for (s, k, phase), weights in self.entries.items():
            parts.append(((s, k, phase + sign * s), weights))
        return collect(parts)

    def on(self, columns: jax.Array) -> jax.Array:
        """Return the operator times vectors, the columns of an array (blocks, d_c, levels, m)."""
        image = jnp.zeros_like(columns)
        for (s, k, phase), weights in self.entries.items():
            edges = [(0, 0, 0), (s, -s, 0), (k, -k, 0), (0, 0, 0)]
            moved = jax.lax.pad(columns, jnp.zeros((), columns.dtype), edges)
            term = weights.swapaxes(0, 1)[..., None] * moved
            image = image + (1j * term if phase else term)
        return image

    def dense(self, charger_levels: int, basis: Basis) -> jax.Array:
        """Return the complex matrix of each block, shape (blocks, d, d) with d = d_c levels."""
        levels = basis.levels
        a, n = jnp.arange(charger_levels)[:, None], jnp.arange(levels)
        matrix = jnp.zeros((basis.blocks, charger_levels, levels, charger_levels, levels), complex)
        for (s, k, phase), weights in self.entries.items():
            # A negative index would count from the end: what lies outside is sent far out.
            column = jnp.where(a >= s, a - s, charger_levels)
            other = jnp.where(n >= k, n - k, levels)
            elements = weights.swapaxes(0, 1) * 1j**phase
            matrix = matrix.at[:, a, n, column, other].add(elements, mode="drop")
        return matrix.reshape(basis.blocks, *2 * (charger_levels * levels,))


def shift(weights: jax.Array, s: int, k: int) -> jax.Array:
    """Return w_{a-s, n-k}: the weights moved, zero where they come from outside."""
    inner = [(0, 0, 0)] * (weights.ndim - 2)
    return jax.lax.pad(weights, jnp.zeros((), weights.dtype), [(s, -s, 0), *inner, (k, -k, 0)])


def collect(parts: Iterable[tuple[Key, jax.Array]]) -> Operator:
    """Bring phases to 0 or 1 and add up what has the same key."""
    entries: dict[Key, jax.Array] = {}
    for (s, k, power), weights in parts:
        key = (s, k, power % 2)
        signed = -weights if power % 4 >= 2 else weights
        entries[key] = entries[key] + signed if key in entries else signed
    return Operator(entries)
