r"""What a jump on every battery qubit does: sum_i (s_i rho s_i^dagger - {s_i^dagger s_i, rho}/2).

A matrix s = a + t, t without trace, acts as t and a Hamiltonian (i/2) sum_i (a^* t_i - a t_i^dag).
What t^dagger t takes away is collective; what t brings in goes from each ladder to its neighbours,

    X_k -> sum_steps T X_(k - step) T^dagger,    T = sum_q x_q T_q,    t = sum_q x_q s_q,

with the elements of T_q from `qbjax.basis.ladders`.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.basis.basis import Basis
from qbjax.basis.ladders import Ladders
from qbjax.basis.operators import Key, Operator, collect
from qbjax.model.battery_operators import J_minus, J_plus, J_z
from qbjax.model.terms import LocalJump, Term, total

# The matrix of one qubit by offset and power of i, its bands over (ground, excited).
Bands = dict[tuple[int, int], jax.Array]


def loss(jump: LocalJump, charger_levels: int, N: ArrayLike, basis: Basis) -> Operator:
    """Return what a jump adds to G: -r/2 sum_i t_i^dagger t_i - i H, of the Hamiltonian above."""
    mean, rest = _split(jump.matrix)
    t = _of_one_qubit(rest)
    a = _of_one_qubit({(0, power): jnp.ones(2) * value for power, value in mean.items()})
    turned = a.adjoint @ t
    drift = (t.adjoint @ t).scaled(-1.0) + turned + turned.adjoint.scaled(-1.0)
    parts = []
    for (_, k, power), weights in drift.entries.items():
        band = weights[0, 0]
        if k == 0:
            # p on the ground and q on the excited state of every qubit.
            p, q = band
            terms = [Term((p + q) / 2 * N), Term(q - p, battery=J_z)]
        elif k > 0:
            terms = [Term(band[1], battery=J_plus)]
        else:
            terms = [Term(band[0], battery=J_minus)]
        operator = total(tuple(terms), 0.0, charger_levels, N, basis)
        parts.append(operator.scaled(jump.rate / 2, power))
    return collect([entry for part in parts for entry in part.entries.items()])


def gain(jump: LocalJump, charger_levels: int, N: ArrayLike, basis: Basis) -> dict[int, Operator]:
    """Return T by its step from ladder to ladder, without the rate."""
    assert isinstance(basis, Ladders)
    coefficients = {
        key: {0: band[1] - band[0], 1: band[1], -1: band[0]}[key[0]]
        for key, band in _split(jump.matrix)[1].items()
    }
    shape = charger_levels, basis.blocks, basis.levels
    operators = {}
    for step in (0, 1, -1)[: 3 if basis.blocks > 1 else 1]:
        entries: dict[Key, jax.Array] = {}
        for (q, power), x in coefficients.items():
            entries[0, q, power] = jnp.broadcast_to(x * basis.hop(N, q, step), shape)
        operators[step] = Operator(entries)
    return operators


def _split(matrix: Bands) -> tuple[dict[int, jax.Array], Bands]:
    """Return half the trace of a matrix by the power of i, and the matrix without it."""
    mean = {power: jnp.sum(band) / 2 for (k, power), band in matrix.items() if k == 0}
    rest = {key: band - (mean[key[1]] if key[0] == 0 else 0.0) for key, band in matrix.items()}
    return mean, rest


def _of_one_qubit(bands: Bands) -> Operator:
    return Operator({(0, k, power): band[None, None] for (k, power), band in bands.items()})
