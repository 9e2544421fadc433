"""Preconditioned GMRES that stops when it has converged and says how far it got."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

LinearMap = Callable[[jax.Array], jax.Array]


class Solution(eqx.Module):
    """What `gmres` found: x, the norm of its residual, and the steps it took."""

    x: jax.Array
    residual: jax.Array
    steps: jax.Array


class _Cycle(eqx.Module):
    """One Arnoldi process: its basis, the triangular factor and the rotated right-hand side."""

    basis: jax.Array
    triangle: jax.Array
    rotations: jax.Array
    rotated: jax.Array
    steps: jax.Array


class _State(eqx.Module):
    """The best solution, its residual, and how the cycle goes on.

    Attributes
    ----------
    next
        What is preconditioned next: the last vector of the basis or, where the cycle closes, the
        combination that corrects the solution.
    """

    best: Solution
    r: jax.Array
    cycle: _Cycle
    next: jax.Array
    closes: jax.Array
    cycles: jax.Array
    gains: jax.Array


def gmres(
    matvec: LinearMap,
    precondition: LinearMap,
    b: jax.Array,
    *,
    target: jax.Array,
    cycle: int,
    most_cycles: int | jax.Array,
) -> Solution:
    """Solve matvec(x) = b for real vectors, preconditioned from the right.

    It starts from zero, so that the solution lies in the preconditioned Krylov space of b; stops
    inside a cycle as soon as the residual is at most the target; and starts a new cycle from the
    residual until that holds, or until a cycle gains less than a tenth.

    Parameters
    ----------
    matvec, precondition
        The operator, and an approximate inverse of it, on arrays of the shape of b. Both stand in
        the program once.
    b
        Right-hand side.
    target
        Norm of the residual that is small enough.
    cycle, most_cycles
        Steps in a cycle, which bound the memory, and the most cycles.
    """

    def goes_on(state: _State) -> jax.Array:
        more = (state.best.residual > target) & state.gains & (state.cycles < most_cycles)
        # Inside a cycle it goes on until the cycle closes.
        return more | (state.cycle.steps > 0)

    def advance(state: _State) -> _State:
        correction = precondition(state.next)
        image = matvec(correction)
        best, r, gains = _corrected(state, correction, image)
        extended = _extend(state, image, r, best.residual)
        k = extended.steps
        closes = (k == cycle) | (jnp.abs(extended.rotated[k]) <= target)
        closes = closes & ~state.closes
        following = jax.lax.cond(closes, _combination, lambda x: x.basis[x.steps], extended)
        cycles = state.cycles + state.closes
        return _State(best, r, extended, following, closes, cycles, gains)

    size, zero = jnp.linalg.norm(b), jnp.asarray(0)
    basis = jnp.zeros((cycle + 1, *b.shape)).at[0].set(_direction(b, size))
    first = _started(basis, size)
    start = _State(
        Solution(jnp.zeros_like(b), size, zero),
        b,
        first,
        first.basis[0],
        jnp.asarray(False),
        zero,
        jnp.asarray(True),
    )
    return jax.lax.while_loop(goes_on, advance, start).best


def _started(basis: jax.Array, size: jax.Array) -> _Cycle:
    """Return a cycle whose basis begins with the direction of a residual of a size."""
    cycle = len(basis) - 1
    return _Cycle(
        basis=basis,
        triangle=jnp.eye(cycle),
        rotations=jnp.zeros((cycle, 2)),
        rotated=jnp.zeros(cycle + 1).at[0].set(size),
        steps=jnp.asarray(0),
    )


def _direction(vector: jax.Array, norm: jax.Array) -> jax.Array:
    return vector / jnp.where(norm == 0, 1.0, norm)


def _corrected(
    state: _State, correction: jax.Array, image: jax.Array
) -> tuple[Solution, jax.Array, jax.Array]:
    """Return the solution and its residual after a cycle, if it closes, and whether it gained."""
    best, closes = state.best, state.closes
    new = state.r - image
    size = jnp.linalg.norm(new)
    better = closes & (size < best.residual)
    after = Solution(
        jnp.where(better, best.x + correction, best.x),
        jnp.where(better, size, best.residual),
        best.steps + jnp.where(closes, state.cycle.steps, 0),
    )
    gains = jnp.where(closes, after.residual < 0.9 * best.residual, state.gains)
    return after, jnp.where(better, new, state.r), gains


def _extend(state: _State, image: jax.Array, r: jax.Array, size: jax.Array) -> _Cycle:
    """Return the cycle with one more vector in its basis, or the next one where it closes.

    Both in one way, with nothing to remove from the residual that begins a cycle: a choice between
    two would copy the basis.
    """
    old, closes = state.cycle, state.closes
    k = old.steps
    cycle = len(old.triangle)

    def remove(j: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w, column = carry
        overlap = jnp.vdot(old.basis[j], w)
        return w - overlap * old.basis[j], column.at[j].set(overlap)

    begin = jnp.where(closes, r, image), jnp.zeros(cycle + 1)
    w, column = jax.lax.fori_loop(0, jnp.where(closes, 0, k + 1), remove, begin)
    norm = jnp.where(closes, size, jnp.linalg.norm(w))
    place = jnp.where(closes, 0, k + 1)
    basis = old.basis.at[place].set(_direction(w, norm))

    def rotate(j: jax.Array, column: jax.Array) -> jax.Array:
        c, s = old.rotations[j]
        upper, lower = column[j], column[j + 1]
        return column.at[j].set(c * upper + s * lower).at[j + 1].set(c * lower - s * upper)

    column = jax.lax.fori_loop(0, k, rotate, column)
    radius = jnp.hypot(column[k], norm)
    c, s = column[k] / radius, norm / radius
    last = old.rotated[k]
    grown = _Cycle(
        basis=basis,
        triangle=old.triangle.at[:, k].set(column.at[k].set(radius)[:-1]),
        rotations=old.rotations.at[k].set(jnp.stack([c, s])),
        rotated=old.rotated.at[k].set(c * last).at[k + 1].set(-s * last),
        steps=k + 1,
    )
    fresh = _started(basis, size)
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(closes, a, b), fresh, grown)


def _combination(cycle: _Cycle) -> jax.Array:
    """Return the combination of the basis whose residual is least."""
    # What is left of the triangle beyond the last step is the identity.
    y = jax.scipy.linalg.solve_triangular(cycle.triangle, cycle.rotated[:-1])
    y = jnp.where(jnp.arange(len(y)) < cycle.steps, y, 0.0)
    return jnp.tensordot(y, cycle.basis[:-1], 1)
