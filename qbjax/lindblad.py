r"""The generator of the master equation, rho' = L rho, applied without ever being written down.

    L rho = G rho + rho G^dagger + sum_k r_k L_k rho L_k^dagger,
    G = -i H - 1/2 sum_k r_k L_k^dagger L_k.

All operators have a few bands in the ladder, so L rho costs O(d_c^2 N^2): shifts and products of
the blocks rho_ab between charger levels. Two facts make the numbers few and real:

- rho is Hermitian: the blocks a <= b say everything.
- In the gauge |c> -> i^c |c> of the charger, drive and coupling make G real, and so do all the
  jumps that move the charger by a definite number of levels. A model without detuning, started
  without phases, then stays real for good: the imaginary parts are left out. What the model needs
  is read off the phases of its operators, which are structure.

A stored state is thus an array (parts, blocks, levels, levels), with the parts (real,) or (real,
imaginary) and the blocks (a, b), a <= b, row by row.
"""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.models import StarBattery, terms
from qbjax.operators import Operator
from qbjax.terms import total

# The real and the imaginary part of a block; None is an imaginary part that vanishes for good.
Block = tuple[jax.Array, jax.Array | None]


class Generator(eqx.Module):
    """The generator of one model at one time, in the gauge of the module's text.

    Attributes
    ----------
    drift
        G.
    jumps
        The pairs (r_k, L_k).
    charger_levels, levels
        Number of levels of the charger and of the ladder.
    """

    drift: Operator
    jumps: tuple[tuple[jax.Array, Operator], ...]
    charger_levels: int = eqx.field(static=True)
    levels: int = eqx.field(static=True)

    @property
    def is_real(self) -> bool:
        """Whether a state without imaginary part keeps none."""
        phases = [{key[3] for key in jump.entries} for _, jump in self.jumps]
        real_drift = all(key[3] == 0 for key in self.drift.entries)
        return real_drift and all(len(found) == 1 for found in phases)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The blocks (a, b) that are stored, in their order."""
        return list(itertools.combinations_with_replacement(range(self.charger_levels), 2))

    @property
    def adjoint(self) -> "Generator":
        """The generator of the observables: X -> G^dagger X + X G + sum_k r_k L_k^dagger X L_k."""
        jumps = tuple((rate, jump.adjoint) for rate, jump in self.jumps)
        return Generator(self.drift.adjoint, jumps, self.charger_levels, self.levels)

    def __call__(self, stored: jax.Array) -> jax.Array:
        """Return L rho of a stored state, shape (parts, blocks, levels, levels) both."""
        # One frame of zeros around every block lets every shift be a slice.
        reach = max((abs(key[2]) for key in self._keys()), default=0)
        framed = jnp.pad(stored, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
        blocks = self._blocks(framed)

        def moved(a: int, b: int, k: int, m: int) -> Block:
            rows = slice(reach - k, reach - k + self.levels)
            columns = slice(reach - m, reach - m + self.levels)
            re, im = blocks[a, b]
            return re[rows, columns], None if im is None else im[rows, columns]

        out = [self._block(a, b, moved) for a, b in self.pairs]
        parts = [jnp.stack([re for re, _ in out])]
        if stored.shape[0] == 2:
            parts.append(jnp.stack([jnp.zeros_like(re) if im is None else im for re, im in out]))
        return jnp.stack(parts)

    def _keys(self) -> set[Any]:
        return set(self.drift.entries).union(*(jump.entries for _, jump in self.jumps))

    def _blocks(self, stored: jax.Array) -> dict[tuple[int, int], Block]:
        """Return all blocks (a, b); those below the diagonal are the conjugates of those above."""
        blocks: dict[tuple[int, int], Block] = {}
        for i, (a, b) in enumerate(self.pairs):
            re = stored[0, i]
            im = stored[1, i] if stored.shape[0] == 2 else None
            blocks[b, a] = re.T, None if im is None else -im.T
            blocks[a, b] = re, im
        return blocks

    def _block(self, a: int, b: int, moved: Any) -> Block:
        """Return one block of L rho."""
        total: Block = (jnp.zeros((self.levels, self.levels)), None)
        for (row, column, k, phase), weights in self.drift.entries.items():
            if row == a:
                total = _add(total, weights[:, None], moved(column, b, k, 0), phase)
            if row == b:
                total = _add(total, weights, moved(a, column, 0, k), -phase)
        for rate, jump in self.jumps:
            entries = jump.entries.items()
            for left, right in itertools.product(entries, entries):
                (row, c, k, phase), weights = left
                (column, d, m, other), others = right
                if (row, column) == (a, b):
                    weight = rate * weights[:, None] * others
                    total = _add(total, weight, moved(c, d, k, m), phase - other)
        return total


def _add(total: Block, weight: jax.Array, block: Block, power: int) -> Block:
    """Add i^power weight block to the total."""
    re, im = block
    if power % 2 and im is None:
        raise ValueError("a real state under a generator that is not real")
    if power % 2:
        re, im = (-im, re) if power % 4 == 1 else (im, -re)
    elif power % 4 == 2:
        re, im = -re, None if im is None else -im
    new = total[0] + weight * re
    if im is None:
        return new, None
    return new, weight * im if total[1] is None else total[1] + weight * im


def generator(model: StarBattery, t: ArrayLike = 0.0) -> Generator:
    """Return the generator of one model at a time.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> from qbjax.lindblad import apply, generator
    >>> L = generator(qb.StarBattery(N=2, F=0.5, kappa=0.1))
    >>> rho = jnp.zeros((2, 3, 2, 3)).at[1, 0, 1, 0].set(1.0)
    >>> print(apply(L, rho)[:, 0, :, 0].real)
    [[ 0.1  0. ]
     [ 0.  -0.1]]
    """
    hamiltonian, jump_terms = terms(model, t)
    shape = (model.charger.levels, model.N, model.levels)
    drift = total(hamiltonian, t, *shape).gauged().scaled(1.0, power=-1)
    jumps = []
    for jump in jump_terms:
        operator = total(jump.terms, t, *shape).gauged()
        jumps.append((jnp.asarray(jump.rate), operator))
        drift = drift + (operator.adjoint @ operator).scaled(-jump.rate / 2)
    return Generator(drift, tuple(jumps), model.charger.levels, model.levels)


def store(generator: Generator, rho: jax.Array, parts: int) -> jax.Array:
    """Return a Hermitian matrix (d_c, L, d_c, L) as a stored state of one or two parts."""
    blocks = jnp.stack([1j ** ((a - b) % 4) * rho[a, :, b, :] for a, b in generator.pairs])
    return jnp.stack([blocks.real, blocks.imag][:parts])


def restore(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the complex matrix (d_c, L, d_c, L) of a stored state."""
    blocks = stored[0] + (1j * stored[1] if stored.shape[0] == 2 else 0j)
    d_c, levels = generator.charger_levels, generator.levels
    rho = jnp.zeros((d_c, levels, d_c, levels), blocks.dtype)
    for i, (a, b) in enumerate(generator.pairs):
        block = 1j ** ((b - a) % 4) * blocks[i]
        rho = rho.at[b, :, a, :].set(block.conj().T).at[a, :, b, :].set(block)
    return rho


def battery(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the reduced battery state (L, L): real for a stored state of one part."""
    diagonal = [i for i, (a, b) in enumerate(generator.pairs) if a == b]
    parts = sum(stored[:, i] for i in diagonal)
    return parts[0] + 1j * parts[1] if stored.shape[0] == 2 else parts[0]


def charger_populations(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the populations of the charger's levels, shape (d_c,)."""
    diagonal = [i for i, (a, b) in enumerate(generator.pairs) if a == b]
    return jnp.stack([jnp.trace(stored[0, i]) for i in diagonal])


def apply(generator: Generator, rho: ArrayLike) -> jax.Array:
    """Return L rho of any matrix, Hermitian or not, shape (d_c, L, d_c, L)."""
    rho = jnp.asarray(rho)
    flipped = rho.conj().transpose(2, 3, 0, 1)
    hermitian, skew = (rho + flipped) / 2, (rho - flipped) / 2j
    parts = [restore(generator, generator(store(generator, x, 2))) for x in (hermitian, skew)]
    return parts[0] + 1j * parts[1]


def effective_hamiltonian(generator: Generator) -> jax.Array:
    """Return H - (i/2) sum_k r_k L_k^dagger L_k as a matrix, shape (d_c L, d_c L)."""
    return 1j * _dense(generator, generator.drift)


def superoperator(generator: Generator) -> jax.Array:
    """Return L as a matrix on the row-major vec(rho), shape (d^2, d^2) with d = d_c L.

    For small systems: it holds d^4 complex numbers.
    """
    drift = _dense(generator, generator.drift)
    one = jnp.eye(len(drift))
    matrix = jnp.kron(drift, one) + jnp.kron(one, drift.conj())
    for rate, jump in generator.jumps:
        operator = _dense(generator, jump)
        matrix = matrix + rate * jnp.kron(operator, operator.conj())
    return matrix


def _dense(generator: Generator, operator: Operator) -> jax.Array:
    """Return an operator of the generator as a matrix, out of the gauge."""
    return operator.gauged(-1).dense(generator.charger_levels, generator.levels)


def spectral_box(generator: Generator) -> tuple[jax.Array, jax.Array]:
    """Return bounds (decay, width): eigenvalues of L lie in [-decay, 0] x i [-width, width].

    From Gershgorin's discs of H and of sum_k r_k L_k^dagger L_k; the first is exact for jumps that
    are diagonal.
    """
    d_c, levels = generator.charger_levels, generator.levels
    skew = (generator.drift + generator.drift.adjoint.scaled(-1.0)).scaled(0.5, power=1)
    centre = jnp.zeros((d_c, levels))
    radius = jnp.zeros((d_c, levels))
    for (a, b, k, _), weights in skew.entries.items():
        if (a, k) == (b, 0):
            centre = centre.at[a].add(weights)
        else:
            radius = radius.at[a].add(jnp.abs(weights))
    width = jnp.max(centre + radius) - jnp.min(centre - radius)
    decay = jnp.zeros(())
    for rate, jump in generator.jumps:
        decay = decay + rate * _strength(jump, d_c, levels)
    return decay, width


def _strength(jump: Operator, d_c: int, levels: int) -> jax.Array:
    """Return a bound of the decay rates that one jump of unit rate brings."""
    if all(a == b and k == 0 for a, b, k, _ in jump.entries):
        values = jnp.zeros((2, d_c, levels))
        for (a, _, _, phase), weights in jump.entries.items():
            values = values.at[phase, a].add(weights)
        spread = jnp.max(values, (1, 2)) - jnp.min(values, (1, 2))
        return jnp.sum(spread**2) / 2
    rows = jnp.zeros((d_c, levels))
    for (a, _, _, _), weights in (jump.adjoint @ jump).entries.items():
        rows = rows.at[a].add(jnp.abs(weights))
    return 2 * jnp.max(rows)
