"""Batches of models, each solved as one model is, as fast as the device allows."""

import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.checks import is_concrete
from qbjax.models import StarBattery


def map_batch(solve: Callable[..., Any], model: StarBattery, *shared: Any) -> Any:
    """Apply a solver of one model to a batch of them; what is shared is common to the batch.

    A GPU takes the batch side by side. On a CPU one model comes after the other, so that none waits
    for the slowest one at every step; where nothing is traced, every core gets a part of the batch.

    Parameters
    ----------
    solve
        A function (model, *shared) of one model. It is told apart by identity: define it at module
        level, and pass its options in `shared`.
    model
        One model or a batch of them.
    shared
        Further arguments; what is no array in them must be hashable.

    Returns
    -------
    What `solve` returns, its arrays with the axes of the batch in front.
    """
    shape = model.batch_shape
    if not shape:
        return _solve_one(solve, model, *shared)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(shape) :]), model)
    size = flat.N.size
    spread = is_concrete(model, shared) and jax.default_backend() == "cpu"
    cores = min(size, os.cpu_count() or 1) if spread else 1
    # Parts of one length need one program. Neighbours, often alike in cost, go to different cores.
    which = jnp.minimum(jnp.arange(-(-size // cores) * cores), size - 1).reshape(-1, cores)
    parts = [jax.tree.map(lambda leaf, i=i: leaf[which[:, i]], flat) for i in range(cores)]
    # JAX returns before a program has run, so the parts run side by side.
    solved = [_solve_all(solve, part, *shared) for part in parts]

    def joined(*leaves: jax.Array) -> jax.Array:
        rest = leaves[0].shape[1:]
        return jnp.stack(leaves, axis=1).reshape(-1, *rest)[:size].reshape(*shape, *rest)

    return jax.tree.map(joined, *solved)


@eqx.filter_jit
def _solve_one(solve: Callable[..., Any], model: StarBattery, *shared: Any) -> Any:
    return solve(model, *shared)


@eqx.filter_jit
def _solve_all(solve: Callable[..., Any], model: StarBattery, *shared: Any) -> Any:
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda one: solve(one, *shared), model)
    return jax.vmap(lambda one: solve(one, *shared))(model)
