r"""The generator of the master equation, rho' = L rho, applied without ever being written down.

    L rho = G rho + rho G^dagger + sum_k r_k L_k rho R_k^dagger,
    G = -i H - 1/2 sum_k r_k L_k^dagger L_k,

with R_k = L_k for a jump that stays within each ladder of the basis; one that leads from ladder to
ladder may have another R_k. All operators have a few diagonals, so L rho costs O(d_c^2 N^2): shifts
and products of the blocks rho_ab between charger levels. Two facts make the numbers few and real:

- rho is Hermitian: the blocks a <= b say everything.
- In the gauge |c> -> i^c |c> of the charger, drive and coupling make G real, and so do all the
  jumps that move the charger by a definite number of levels. A model without detuning, started
  without phases, then stays real for good: the imaginary parts are left out. What the model needs
  is read off the phases of its operators, which are structure.

A stored state is thus an array (parts, pairs, blocks, levels, levels), with the parts (real,) or
(real, imaginary), the pairs (a, b), a <= b, row by row, and the blocks of the basis.
"""

import functools
import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.basis.basis import Basis
from qbjax.basis.operators import Operator
from qbjax.generator import local_noise
from qbjax.model.equation import local_jumps, terms
from qbjax.model.star_battery import StarBattery
from qbjax.model.terms import total

# The real and the imaginary part of rho_ab; None is an imaginary part that vanishes for good.
Pair = tuple[jax.Array, jax.Array | None]

# Up to so many levels of the charger every pair of L rho is written out by itself, which runs
# faster; beyond, one program serves all pairs, which compiles in a tenth of the time.
_WRITTEN_OUT = 3


class JumpTerm(eqx.Module):
    """What a jump brings in, r L rho R^dagger.

    Attributes
    ----------
    rate
        r.
    left, right
        L and R, which are the same but for jumps between ladders.
    shift
        By how many blocks of the basis it leads on.
    """

    rate: jax.Array
    left: Operator
    right: Operator
    shift: int = eqx.field(static=True, default=0)


@functools.cache
def charger_pairs(levels: int) -> np.ndarray:
    """Return the pairs (a, b), a <= b, of charger levels, row by row, shape (pairs, 2)."""
    return np.stack(np.triu_indices(levels), axis=1)


class Generator(eqx.Module):
    """The generator of one model at one time, in the gauge of the module's text.

    Attributes
    ----------
    drift
        G.
    jumps
        What jumps bring in.
    charger_levels, basis
        Number of levels of the charger, and the basis of the battery.
    """

    drift: Operator
    jumps: tuple[JumpTerm, ...]
    charger_levels: int = eqx.field(static=True)
    basis: Basis = eqx.field(static=True)

    @property
    def levels(self) -> int:
        """The number of levels of a ladder."""
        return self.basis.levels

    @property
    def is_real(self) -> bool:
        """Whether a state without imaginary part keeps none."""
        phases = [{key[2] for key in (*j.left.entries, *j.right.entries)} for j in self.jumps]
        real_drift = all(key[2] == 0 for key in self.drift.entries)
        return real_drift and all(len(powers) <= 1 for powers in phases)

    @property
    def pairs(self) -> np.ndarray:
        """The pairs (a, b) that are stored, in their order, shape (pairs, 2)."""
        return charger_pairs(self.charger_levels)

    @property
    def on_diagonal(self) -> np.ndarray:
        """Mask of the stored pairs (a, a), shape (pairs,)."""
        a, b = self.pairs.T
        return a == b

    def __call__(self, stored: jax.Array) -> jax.Array:
        """Return L rho of a stored state, shape (parts, pairs, blocks, levels, levels) both."""
        # A frame of zeros around the levels lets every shift be a slice.
        reach = self.reach(1)
        framed = jnp.pad(stored, (*[(0, 0)] * 3, (reach, reach), (reach, reach)))
        few = self.charger_levels <= _WRITTEN_OUT
        re, im = self._one_by_one(framed) if few else self._together(framed)
        if len(stored) == 1:
            return re[None]
        return jnp.stack([re, jnp.zeros_like(re) if im is None else im])

    def reach(self, axis: int) -> int:
        """Return the largest offset of an operator in the charger (0) or the ladder (1)."""
        operators = [self.drift, *(side for j in self.jumps for side in (j.left, j.right))]
        return max((abs(key[axis]) for x in operators for key in x.entries), default=0)

    def matrix(self, operator: Operator) -> jax.Array:
        """Return the drift or a jump as matrices in the gauge, (blocks, d, d) with d = d_c L."""
        return operator.dense(self.charger_levels, self.basis)

    def square(self, stored: jax.Array) -> Pair:
        """Return all pairs as an array over (a, b), shape (d_c, d_c, blocks, levels, levels).

        Those below the diagonal are the conjugates of those above.
        """
        d_c = self.charger_levels
        a, b = self.pairs.T
        place = np.zeros((d_c, d_c), int)
        place[a, b] = place[b, a] = np.arange(len(a))
        upper = np.triu(np.ones((d_c, d_c), bool))[:, :, None, None, None]
        parts = []
        for part, sign in zip(stored[:, place], (1, -1), strict=False):
            parts.append(jnp.where(upper, part, sign * part.swapaxes(-1, -2)))
        return parts[0], parts[1] if len(parts) == 2 else None

    def _together(self, framed: jax.Array) -> Pair:
        """Return the stored pairs of L rho from the framed ones of rho, by whole arrays."""
        charger, ladder = self.reach(0), self.reach(1)
        frame = ((charger, charger), (charger, charger), (0, 0), (0, 0), (0, 0))
        grid = jax.tree.map(lambda part: jnp.pad(part, frame), self.square(framed))

        def moved(s: int, t: int, k: int, m: int) -> Pair:
            starts = charger - s, charger - t, ladder - k, ladder - m
            sizes = 2 * (self.charger_levels,) + 2 * (self.levels,)
            rows, columns, *inner = (slice(i, i + n) for i, n in zip(starts, sizes, strict=True))
            return jax.tree.map(lambda part: part[rows, columns, :, *inner], grid)

        a, b = self.pairs.T
        whole = self._sum(lambda w: w[:, None, :, :, None], lambda w: w[:, :, None], moved)
        return jax.tree.map(lambda part: part[a, b], whole)

    def _one_by_one(self, framed: jax.Array) -> Pair:
        """Return the same, each pair written out by itself."""
        all_pairs, reach = self._all_pairs(framed), self.reach(1)

        def pair(a: int, b: int) -> Pair:
            def moved(s: int, t: int, k: int, m: int) -> Pair | None:
                rows = slice(reach - k, reach - k + self.levels)
                columns = slice(reach - m, reach - m + self.levels)
                source = all_pairs.get((a - s, b - t))
                return jax.tree.map(lambda part: part[:, rows, columns], source)

            return self._sum(lambda w: w[a][:, :, None], lambda w: w[b][:, None], moved)

        out = [pair(a, b) for a, b in self.pairs.tolist()]
        return jax.tree.map(lambda *same: jnp.stack(same), *out)

    def _all_pairs(self, stored: jax.Array) -> dict[tuple[int, int], Pair]:
        """Return all pairs (a, b); those below the diagonal are the conjugates of those above."""
        pairs: dict[tuple[int, int], Pair] = {}
        for i, (a, b) in enumerate(self.pairs.tolist()):
            re = stored[0, i]
            im = stored[1, i] if len(stored) == 2 else None
            pairs[b, a] = re.swapaxes(-1, -2), None if im is None else -im.swapaxes(-1, -2)
            pairs[a, b] = re, im
        return pairs

    def _sum(
        self,
        left: Callable[[jax.Array], jax.Array],
        right: Callable[[jax.Array], jax.Array],
        moved: Callable[[int, int, int, int], Pair | None],
    ) -> Pair:
        """Return L rho from the weights on either side and what shifts by (s, t, k, m) bring in."""
        total: Pair = (jnp.zeros((self.basis.blocks, self.levels, self.levels)), None)
        for (s, k, phase), weights in self.drift.entries.items():
            total = _add(total, left(weights), moved(s, 0, k, 0), phase)
            total = _add(total, right(weights), moved(0, s, 0, k), -phase)
        for jump in self.jumps:
            rate, shift = jump.rate, jump.shift
            entries = jump.left.entries.items(), jump.right.entries.items()
            for ((s, k, phase), weights), ((t, m, turned), others) in itertools.product(*entries):
                source = jax.tree.map(lambda part, by=shift: _led_on(part, by), moved(s, t, k, m))
                total = _add(total, rate * left(weights) * right(others), source, phase - turned)
        return total


def _led_on(part: jax.Array, by: int) -> jax.Array:
    """Return rho_ab with its blocks moved on, and zero where none comes from."""
    if by == 0:
        return part
    edges = [(0, 0, 0)] * part.ndim
    edges[-3] = (by, -by, 0)
    return jax.lax.pad(part, jnp.zeros((), part.dtype), edges)


def _add(total: Pair, weight: jax.Array, pair: Pair | None, power: int) -> Pair:
    """Add i^power weight rho_ab to the total; None is a pair outside the charger's levels."""
    if pair is None:
        return total
    re, im = pair
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
    >>> from qbjax.generator.lindblad import generator
    >>> from qbjax.generator.stored_states import apply
    >>> L = generator(qb.StarBattery(N=2, F=0.5, kappa=0.1))
    >>> rho = jnp.zeros((2, 3, 2, 3)).at[1, 0, 1, 0].set(1.0)
    >>> print(apply(L, rho)[:, 0, :, 0].real)
    [[ 0.1  0. ]
     [ 0.  -0.1]]
    """
    hamiltonian, jump_terms = terms(model, t)
    shape = (model.charger.levels, model.N, model.basis)
    drift = total(hamiltonian, t, *shape).gauged().scaled(1.0, power=-1)
    jumps = []
    for jump in jump_terms:
        operator = total(jump.terms, t, *shape).gauged()
        jumps.append(JumpTerm(jnp.asarray(jump.rate), operator, operator))
        drift = drift + (operator.adjoint @ operator).scaled(-jump.rate / 2)
    for single in local_jumps(model, t):
        drift = drift + local_noise.loss(single, *shape)
        for step, operator in local_noise.gain(single, *shape).items():
            jumps.append(JumpTerm(jnp.asarray(single.rate), operator, operator, step))
    return Generator(drift, tuple(jumps), model.charger.levels, model.basis)


def structure(model: StarBattery) -> Generator:
    """Return the generator of a model, or of each of a batch, without its numbers."""
    axes = len(model.batch_shape)
    leaves, tree = jax.tree.flatten(model)
    return _structure(tree, tuple((leaf.shape[axes:], leaf.dtype) for leaf in leaves))


@functools.lru_cache(maxsize=256)
def _structure(
    tree: jax.tree_util.PyTreeDef, leaves: tuple[tuple[tuple[int, ...], np.dtype], ...]
) -> Generator:
    model = tree.unflatten([jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves])
    return eqx.filter_eval_shape(generator, model)
