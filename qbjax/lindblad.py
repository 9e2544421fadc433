r"""The generator of the master equation, rho' = L rho, applied without ever being written down.

    L rho = G rho + rho G^dagger + sum_k r_k L_k rho L_k^dagger,
    G = -i H - 1/2 sum_k r_k L_k^dagger L_k.

All operators have a few diagonals, so L rho costs O(d_c^2 N^2): shifts and products of
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
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.models import StarBattery, terms
from qbjax.operators import Operator
from qbjax.states import full_state
from qbjax.terms import total

# The real and the imaginary part of a block; None is an imaginary part that vanishes for good.
Block = tuple[jax.Array, jax.Array | None]

# Up to so many levels of the charger every block of L rho is written out by itself, which runs
# faster; beyond, one program serves all blocks, which compiles in a tenth of the time.
_WRITTEN_OUT = 3


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
        phases = [{key[2] for key in jump.entries} for _, jump in self.jumps]
        real_drift = all(key[2] == 0 for key in self.drift.entries)
        return real_drift and all(len(found) <= 1 for found in phases)

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
        # A frame of zeros around the levels lets every shift be a slice.
        reach = self.reach(1)
        framed = jnp.pad(stored, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
        if self.charger_levels <= _WRITTEN_OUT:
            blocks = self._blocks(framed)
            out = [self._block(a, b, blocks.get) for a, b in self.pairs]
            re, im = jax.tree.map(lambda *same: jnp.stack(same), *out)
        else:
            grid, margin = self._grid(framed), self.reach(0)

            def get(pair: tuple[Any, Any]) -> Block:
                return jax.tree.map(lambda part: part[pair[0] + margin, pair[1] + margin], grid)

            a, b = np.array(self.pairs).T
            re, im = jax.vmap(lambda a, b: self._block(a, b, get))(a, b)
        if len(stored) == 1:
            return re[None]
        return jnp.stack([re, jnp.zeros_like(re) if im is None else im])

    def reach(self, axis: int) -> int:
        """Return the largest offset of an operator in the charger (0) or the ladder (1)."""
        operators = [self.drift, *(jump for _, jump in self.jumps)]
        return max((abs(key[axis]) for x in operators for key in x.entries), default=0)

    def matrix(self, operator: Operator) -> jax.Array:
        """Return the drift or a jump as a matrix in the gauge, shape (d, d) with d = d_c L."""
        return operator.dense(self.charger_levels, self.levels)

    def _blocks(self, stored: jax.Array) -> dict[tuple[int, int], Block]:
        """Return all blocks (a, b); those below the diagonal are the conjugates of those above."""
        blocks: dict[tuple[int, int], Block] = {}
        for i, (a, b) in enumerate(self.pairs):
            re = stored[0, i]
            im = stored[1, i] if len(stored) == 2 else None
            blocks[b, a] = re.T, None if im is None else -im.T
            blocks[a, b] = re, im
        return blocks

    def _grid(self, stored: jax.Array) -> Block:
        """Return all blocks as an array over (a, b), with a frame of zeros."""
        d_c, margin = self.charger_levels, self.reach(0)
        a, b = np.array(self.pairs).T
        index = np.zeros((d_c, d_c), int)
        index[a, b] = index[b, a] = np.arange(len(a))
        upper = np.triu(np.ones((d_c, d_c), bool))[:, :, None, None]
        frame = ((margin, margin), (margin, margin), (0, 0), (0, 0))
        parts = []
        for part, sign in zip(stored[:, index], (1, -1), strict=False):
            parts.append(jnp.pad(jnp.where(upper, part, sign * part.swapaxes(2, 3)), frame))
        return parts[0], parts[1] if len(parts) == 2 else None

    def _block(self, a: Any, b: Any, get: Callable[[tuple[Any, Any]], Block | None]) -> Block:
        """Return one block of L rho from the framed blocks of rho."""
        reach = self.reach(1)

        def moved(a: Any, b: Any, k: int, m: int) -> Block | None:
            block = get((a, b))
            rows = slice(reach - k, reach - k + self.levels)
            columns = slice(reach - m, reach - m + self.levels)
            return None if block is None else jax.tree.map(lambda x: x[rows, columns], block)

        total: Block = (jnp.zeros((self.levels, self.levels)), None)
        for (s, k, phase), weights in self.drift.entries.items():
            total = _add(total, weights[a][:, None], moved(a - s, b, k, 0), phase)
            total = _add(total, weights[b], moved(a, b - s, 0, k), -phase)
        for rate, jump in self.jumps:
            entries = jump.entries.items()
            for left, right in itertools.product(entries, entries):
                (s, k, phase), weights = left
                (t, m, other), others = right
                weight = rate * weights[a][:, None] * others[b]
                total = _add(total, weight, moved(a - s, b - t, k, m), phase - other)
        return total


def _add(total: Block, weight: jax.Array, block: Block | None, power: int) -> Block:
    """Add i^power weight block to the total; None is a block outside the charger's levels."""
    if block is None:
        return total
    re, im = block
    if power % 2 and im is None:
        raise ValueError("a real state under a generator that is not real")
    if power % 4 >= 2:
        weight = -weight
    if im is None:
        return total[0] + weight * re, total[1]
    if power % 2:
        re, im = -im, re
    return total[0] + weight * re, weight * im if total[1] is None else total[1] + weight * im


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


def structure(model: StarBattery) -> Generator:
    """Return the generator of a model, or of each of a batch, without its numbers."""
    first = jax.tree.map(lambda leaf: leaf[(0,) * len(model.batch_shape)], model)
    return eqx.filter_eval_shape(generator, first)


def stored_start(model: StarBattery, rho0: ArrayLike | None) -> jax.Array:
    """Return a start, common to a batch, as a stored state; None is the empty one.

    It is of one part where neither the model nor the start brings a phase. Only structure counts:
    the phases of the operators, and that a battery ket is real.
    """
    known = structure(model)
    real = rho0 is None or (np.ndim(rho0) == 1 and not jnp.iscomplexobj(rho0))
    if rho0 is None:
        # Not a constant of the program: XLA would spend long on folding what follows from it.
        one = jnp.where(jnp.all(model.N > 0), 1.0, 0.0)
        rho0 = jnp.zeros(model.levels).at[0].set(one)
    rho = full_state(rho0, model.levels, model.N, model.charger.levels)
    return store(known, rho, 1 if known.is_real and real else 2)


def store(generator: Generator, rho: jax.Array, parts: int) -> jax.Array:
    """Return a Hermitian matrix (d_c, L, d_c, L) as a stored state of one or two parts."""
    blocks = jnp.stack([1j ** ((a - b) % 4) * rho[a, :, b, :] for a, b in generator.pairs])
    return jnp.stack([blocks.real, blocks.imag][:parts])


def in_gauge(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the matrix (d_c, L, d_c, L) of a stored state in the gauge; real if it has one part.

    A unitary away from rho, so with the eigenvalues of rho.
    """
    blocks = stored[0] + 1j * stored[1] if stored.shape[0] == 2 else stored[0]
    d_c, levels = generator.charger_levels, generator.levels
    rho = jnp.zeros((d_c, levels, d_c, levels), blocks.dtype)
    for i, (a, b) in enumerate(generator.pairs):
        rho = rho.at[b, :, a, :].set(blocks[i].conj().T).at[a, :, b, :].set(blocks[i])
    return rho


def restore(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the complex matrix (d_c, L, d_c, L) of a stored state."""
    phases = jnp.array([1j ** (c % 4) for c in range(generator.charger_levels)])
    turned = phases.conj()[:, None, None, None] * phases[:, None]
    return turned * in_gauge(generator, stored)


def battery(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the reduced battery state (L, L): real for a stored state of one part."""
    parts = sum((stored[:, i] for i in _diagonal(generator)), start=jnp.zeros(()))
    return parts[0] + 1j * parts[1] if stored.shape[0] == 2 else parts[0]


def populations(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the populations of charger and ladder, shape (d_c, L)."""
    return jnp.stack([jnp.diagonal(stored[0, i]) for i in _diagonal(generator)])


def charger_populations(generator: Generator, stored: jax.Array) -> jax.Array:
    """Return the populations of the charger's levels, shape (d_c,)."""
    return jnp.sum(populations(generator, stored), axis=1)


def _diagonal(generator: Generator) -> list[int]:
    """Return where the blocks (a, a) are."""
    return [i for i, (a, b) in enumerate(generator.pairs) if a == b]


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
    return generator.matrix(operator.gauged(-1))


def spectral_box(generator: Generator) -> tuple[jax.Array, jax.Array]:
    """Return bounds (decay, width): eigenvalues of L lie in [-decay, 0] x i [-width, width].

    The real parts come from the jumps alone. The imaginary ones are bounded by the numerical range,
    which has the differences of eigenvalues of H, and what the jumps X -> L X L^dagger bring that
    is not self-adjoint: nothing where L is Hermitian. Norms are bounded by Gershgorin's discs.
    """
    drift = generator.drift
    hamiltonian = (drift + drift.adjoint.scaled(-1.0)).scaled(0.5, power=1)
    lowest, highest = _range(generator, hamiltonian)
    decay, width = jnp.zeros(()), highest - lowest
    for rate, jump in generator.jumps:
        square = _norm(generator, jump.adjoint @ jump)
        even = (jump + jump.adjoint).scaled(0.5)
        odd = (jump + jump.adjoint.scaled(-1.0)).scaled(0.5)
        # With L = A + B, A Hermitian and B not, that is the part X -> B X A - A X B.
        skew = jnp.minimum(2 * _norm(generator, even) * _norm(generator, odd), square)
        width = width + rate * skew
        decay = decay + rate * _strength(generator, jump, square)
    return decay, width


def _range(generator: Generator, operator: Operator) -> tuple[jax.Array, jax.Array]:
    """Return bounds of the smallest and the largest eigenvalue of a Hermitian operator."""
    centre = radius = jnp.zeros((generator.charger_levels, generator.levels))
    for (s, k, _), weights in operator.entries.items():
        if s == k == 0:
            centre = centre + weights
        else:
            radius = radius + jnp.abs(weights)
    return jnp.min(centre - radius), jnp.max(centre + radius)


def _norm(generator: Generator, operator: Operator) -> jax.Array:
    """Return a bound of the norm of an operator that is Hermitian or the opposite."""
    rows = jnp.zeros((generator.charger_levels, generator.levels))
    for weights in operator.entries.values():
        rows = rows + jnp.abs(weights)
    return jnp.max(rows)


def _strength(generator: Generator, jump: Operator, square: jax.Array) -> jax.Array:
    """Return a bound of the decay rates that one jump of unit rate brings."""
    if any((s, k) != (0, 0) for s, k, _ in jump.entries):
        return 2 * square
    # A diagonal jump damps coherences alone, by the square of the distance of its values.
    spreads = [jnp.max(weights) - jnp.min(weights) for weights in jump.entries.values()]
    return sum((spread**2 / 2 for spread in spreads), start=jnp.zeros(()))
