r"""How states are kept: what is independent in Hermitian matrices, in the gauge of `lindblad`.

A stored state is an array (parts, pairs, blocks, levels, levels), with the parts (real,) or (real,
imaginary), the pairs (a, b), a <= b, of charger levels, row by row, and the blocks of the basis.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.common.checks import array_module, as_argument, is_concrete
from qbjax.common.types import Array
from qbjax.generator.lindblad import Generator, structure
from qbjax.model.star_battery import StarBattery
from qbjax.states.density_matrix import as_start

# Above it, the topmost level of a cut charger is no longer empty.
CUT = 1e-6

# The powers of i, without rounding.
_POWERS = np.array([1, 1j, -1, -1j])


def stored_start(model: StarBattery, rho0: object) -> tuple[jax.Array, PyTree]:
    """Return a start, common to a batch, as a stored state, and whether it was refused.

    It is of one part where neither the model nor the start brings a phase. Only structure counts:
    the phases of the operators, and that a battery's array is real.
    """
    known = structure(model)
    if rho0 is None:
        return _empty(known, model.N, 1 if known.is_real else 2), False
    start = as_start(rho0, model.basis, model.N, model.charger)
    # On the host where it can be: each operation would be a program of its own.
    rho = np.asarray(start.rho) if is_concrete(start.rho) else start.rho
    return store(known, rho, 1 if known.is_real and start.real else 2), start.refused


def _empty(generator: Generator, N: jax.Array, parts: int) -> jax.Array:
    """Return the stored state in which charger and battery are empty."""
    stored = np.zeros(shape(generator, parts))
    stored[0, 0, 0, 0, 0] = 1.0
    if is_concrete(N):
        return as_argument(stored.astype(jnp.result_type(float)))
    # Not a constant of the program: XLA would spend long on folding what follows from it.
    return jnp.where(jnp.all(N > 0), jnp.asarray(stored, float), 0.0)


def shape(generator: Generator, parts: int) -> tuple[int, ...]:
    """Return the shape of a stored state."""
    levels = generator.levels
    return (parts, len(generator.pairs), generator.basis.blocks, levels, levels)


def store(generator: Generator, rho: Array, parts: int) -> jax.Array:
    """Return a Hermitian matrix (d_c, L, d_c, L) as a stored state of one or two parts."""
    return from_gauge(generator, generator.basis.split(_turn(generator) * rho), parts)


def from_gauge(generator: Generator, rho: Array, parts: int) -> jax.Array:
    """Return Hermitian matrices (blocks, d_c, L, d_c, L) in the gauge as a stored state."""
    a, b = generator.pairs.T
    pairs = rho.transpose(1, 3, 0, 2, 4)[a, b]
    stored = [pairs.real, pairs.imag][:parts]
    return jnp.asarray(array_module(rho).stack(stored), float)


def in_gauge(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the matrices (blocks, d_c, L, d_c, L) of a stored state in the gauge.

    They are real if it has one part, and a unitary away from rho, so with the eigenvalues of rho.
    """
    re, im = generator.square(stored)
    return (re if im is None else re + 1j * im).transpose(2, 0, 3, 1, 4)


def restore(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the complex matrix (d_c, L, d_c, L) of a stored state."""
    rho = generator.basis.joined(in_gauge(generator, stored))
    return jnp.asarray(_turn(generator).conj() * rho)


def _turn(generator: Generator) -> np.ndarray:
    """Return i^(a - b) over (a, b), what the gauge multiplies a matrix (d_c, L, d_c, L) by."""
    c = np.arange(generator.charger_levels)
    return _POWERS[(c[:, None] - c) % 4][:, None, :, None]


def battery(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the reduced battery state (L, L): real for a stored state of one part."""
    parts = jnp.sum(stored[:, np.flatnonzero(generator.on_diagonal)], axis=1)
    blocks = parts[0] + 1j * parts[1] if stored.shape[0] == 2 else parts[0]
    return generator.basis.joined(blocks)


def populations(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the populations of charger and levels, summed over ladders, shape (d_c, L)."""
    levels = np.arange(generator.levels)
    blocks = stored[0, np.flatnonzero(generator.on_diagonal)][..., levels, levels]
    return jnp.sum(blocks, axis=1)


def charger_populations(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the populations of the charger's levels, shape (d_c,)."""
    return jnp.sum(populations(generator, stored), axis=1)


def cut(
    generator: Generator, levels: jax.Array, charger_is_cut: bool
) -> tuple[jax.Array, jax.Array]:
    """Return what the topmost levels hold that are a cut, and what of it would lead further up.

    Parameters
    ----------
    generator, levels
        The generator, and the populations of charger and ladder, shape (d_c, L).
    charger_is_cut
        Whether the topmost level of the charger is one; that of an oscillator always is.
    """
    top = beyond = jnp.zeros(())
    if generator.basis.truncated:
        top = jnp.sum(levels[:, -1])
        beyond = jnp.where(_raises(generator), top, 0.0)
    if charger_is_cut:
        top = jnp.maximum(top, jnp.sum(levels[-1]))
        beyond = jnp.maximum(beyond, _spilled(generator, levels))
    return top, beyond


def _raises(generator: Generator) -> jax.Array:
    """Tell whether anything leads from a level of the battery to a higher one."""
    raises = jnp.zeros((), bool)
    for _, k, weights in _moves(generator):
        if k > 0:
            raises |= jnp.any(weights != 0)
    return raises


def _moves(generator: Generator) -> Iterator[tuple[int, int, jax.Array]]:
    """Return by how much charger and ladder are raised by every part of L, and its weights."""
    brought = [(jump.rate, jump.left) for jump in generator.jumps]
    for rate, operator in ((jnp.ones(()), generator.drift), *brought):
        for (s, k, _), weights in operator.entries.items():
            yield s, k, rate * weights


def _spilled(generator: Generator, levels: jax.Array) -> jax.Array:
    """Return the population of the charger's topmost level that something leads further up from.

    What a cut ladder has left out is not in the operators, but what leads into its levels is.
    """
    upwards = jnp.zeros(generator.levels, bool)
    for s, k, weights in _moves(generator):
        if s > 0:
            upwards |= jnp.roll(jnp.any(weights != 0, axis=(0, 1)), -k)
    return jnp.sum(jnp.where(upwards, levels[-1], 0.0))


def apply(generator: Generator, rho: ArrayLike) -> jax.Array:
    """Return L rho of any matrix, Hermitian or not, shape (d_c, L, d_c, L)."""
    rho = jnp.asarray(rho)
    flipped = rho.conj().transpose(2, 3, 0, 1)
    hermitian, skew = (rho + flipped) / 2, (rho - flipped) / 2j
    parts = [restore(generator, generator(store(generator, x, 2))) for x in (hermitian, skew)]
    return parts[0] + 1j * parts[1]
