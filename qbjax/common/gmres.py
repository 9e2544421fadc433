"""Preconditioned GMRES that stops when it has converged and says how far it got."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

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


def gmres(
    matvec: LinearMap,
    precondition: LinearMap,
    b: jax.Array,
    *,
    target: jax.Array,
    cycle: int,
    most_cycles: int,
) -> Solution:
    """Solve matvec(x) = b for real vectors, preconditioned from the right.

    It starts from zero, so that the solution lies in the preconditioned Krylov space of b; stops
    inside a cycle as soon as the residual is at most the target; and starts a new cycle from the
    true residual until that holds, or until a cycle gains less than a tenth.

    Parameters
    ----------
    matvec, precondition
        The operator, and an approximate inverse of it, on arrays of the shape of b.
    b
        Right-hand side.
    target
        Norm of the residual that is small enough.
    cycle, most_cycles
        Steps in a cycle, which bound the memory, and the most cycles.
    """

    def goes_on(state: PyTree) -> jax.Array:
        best, _, before, cycles = state
        gains = best.residual < 0.9 * before
        return (best.residual > target) & gains & (cycles < most_cycles)

    def advance(state: PyTree) -> PyTree:
        best, r, _, cycles = state
        done = _arnoldi(matvec, precondition, r, target, cycle)
        # What is left of the triangle beyond the last step is the identity.
        y = jax.scipy.linalg.solve_triangular(done.triangle, done.rotated[:-1])
        y = jnp.where(jnp.arange(cycle) < done.steps, y, 0.0)
        x = best.x + precondition(jnp.tensordot(y, done.basis[:-1], 1))
        new = b - matvec(x)
        size = jnp.linalg.norm(new)
        better = size < best.residual
        x, r = jnp.where(better, x, best.x), jnp.where(better, new, r)
        size, steps = jnp.where(better, size, best.residual), best.steps + done.steps
        return Solution(x, size, steps), r, best.residual, cycles + 1

    zero = jnp.asarray(0)
    start = Solution(jnp.zeros_like(b), jnp.linalg.norm(b), zero)
    return jax.lax.while_loop(goes_on, advance, (start, b, jnp.asarray(jnp.inf), zero))[0]


def _arnoldi(
    matvec: LinearMap, precondition: LinearMap, r: jax.Array, target: jax.Array, cycle: int
) -> _Cycle:
    """Build the Krylov basis of r, and solve the small least-squares problem as it grows."""
    size = jnp.linalg.norm(r)
    start = _Cycle(
        basis=jnp.zeros((cycle + 1, *r.shape)).at[0].set(r / jnp.where(size == 0, 1.0, size)),
        triangle=jnp.eye(cycle),
        rotations=jnp.zeros((cycle, 2)),
        rotated=jnp.zeros(cycle + 1).at[0].set(size),
        steps=jnp.asarray(0),
    )

    def goes_on(state: _Cycle) -> jax.Array:
        return (state.steps < cycle) & (jnp.abs(state.rotated[state.steps]) > target)

    def extend(state: _Cycle) -> _Cycle:
        k = state.steps
        w = matvec(precondition(state.basis[k]))

        def remove(j: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            w, column = carry
            overlap = jnp.vdot(state.basis[j], w)
            return w - overlap * state.basis[j], column.at[j].set(overlap)

        w, column = jax.lax.fori_loop(0, k + 1, remove, (w, jnp.zeros(cycle + 1)))
        norm = jnp.linalg.norm(w)
        basis = state.basis.at[k + 1].set(w / jnp.where(norm == 0, 1.0, norm))

        def rotate(j: jax.Array, column: jax.Array) -> jax.Array:
            c, s = state.rotations[j]
            upper, lower = column[j], column[j + 1]
            return column.at[j].set(c * upper + s * lower).at[j + 1].set(c * lower - s * upper)

        column = jax.lax.fori_loop(0, k, rotate, column)
        radius = jnp.hypot(column[k], norm)
        c, s = column[k] / radius, norm / radius
        last = state.rotated[k]
        return _Cycle(
            basis=basis,
            triangle=state.triangle.at[:, k].set(column.at[k].set(radius)[:-1]),
            rotations=state.rotations.at[k].set(jnp.stack([c, s])),
            rotated=state.rotated.at[k].set(c * last).at[k + 1].set(-s * last),
            steps=k + 1,
        )

    return jax.lax.while_loop(goes_on, extend, start)
