"""Batches of models, each solved as one model is, as fast as the device allows."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import experimental
from jaxtyping import PyTree

from qbjax.common.checks import ArgumentError, is_concrete, require
from qbjax.common.memory import memory
from qbjax.model.star_battery import StarBattery

# JAX before 0.8 has it in jax.experimental alone.
_home: Any = jax if hasattr(jax, "enable_x64") else experimental
enable_x64 = _home.enable_x64


def map_batch(
    solve: Callable[..., PyTree], model: StarBattery, *shared: PyTree, threads: bool = False
) -> PyTree:
    """Apply a solver of one model to a batch of them; what is shared is common to the batch.

    A GPU takes the batch side by side. On a CPU one model comes after the other, so that none waits
    for the slowest one at every step; with threads, where nothing is traced, every core gets a
    part of the batch.

    Parameters
    ----------
    solve
        A function (model, *shared) of one model. It is told apart by identity: define it at module
        level, and pass its options in `shared`.
    model
        One model or a batch of them.
    shared
        Further arguments; what is no array in them must be hashable.
    threads
        Whether parts of the batch may run side by side. The solver must do without batched linear
        algebra then: JAX runs each program on a thread of the pool that such algebra waits for,
        and with no thread left it waits for good.

    Returns
    -------
    What `solve` returns, its arrays with the axes of the batch in front.

    Raises
    ------
    ArgumentError
        Where forward derivatives are asked for that do not exist.
    """
    try:
        if not model.batch_shape:
            return _solve_one(solve, model, *shared)
        spread = threads and is_concrete(model, shared) and jax.default_backend() == "cpu"
        cores = min(model.N.size, os.cpu_count() or 1) if spread else 1
        if cores > 1:
            return _on_every_core(solve, model, shared, cores)
        return _solve_all(solve, model, *shared)
    except (TypeError, ValueError) as error:
        # JAX has no other way to say it.
        if any(text in str(error) for text in _FORWARD_ERRORS):
            raise ArgumentError(_FORWARD) from error
        raise


# What it says where derivatives of second order are asked for through those of reverse mode.
_FORWARD_ERRORS = (
    "forward-mode autodiff",
    "support reverse-mode",
    "Reverse-mode differentiation does not work",
    "'NoneType' and 'tuple'",
)
_FORWARD = (
    'Argument `gradient` of qbjax.evolve must be "forward" for jax.jvp, jax.jacfwd and jax.hessian '
    '(written as jacfwd of jacfwd), but is "reverse", as in all that is built on it.'
)


def state_size(model: StarBattery) -> int:
    """Return the bytes of a state of charger and battery."""
    return 16 * model.basis.blocks * (model.charger.levels * model.levels) ** 2


def require_room(model: StarBattery) -> None:
    """Refuse, before it is allocated, a state of charger and battery that no memory holds."""
    size = state_size(model)
    needed, there = (f"{amount / 1e9:,.1f} GB" for amount in (size, memory()))
    words = f"small enough for a state of charger and battery to fit into {there}"
    require(size < memory(), "N", words, f"{model.N_max}, which takes {needed}")


def _on_every_core(
    solve: Callable[..., PyTree], model: StarBattery, shared: tuple[PyTree, ...], cores: int
) -> PyTree:
    """Solve parts of a batch side by side; on the host, for each operation is a program."""
    shape, size = model.batch_shape, model.N.size

    def flat(leaf: jax.Array) -> np.ndarray:
        return np.asarray(leaf).reshape(size, *leaf.shape[len(shape) :])

    # Parts of one length need one program. Neighbours, often alike in cost, go to different cores.
    which = np.minimum(np.arange(-(-size // cores) * cores), size - 1).reshape(-1, cores)
    # Programs of one thread run one after the other. Settings of JAX may be a thread's own.
    doubles = jax.config.read("jax_enable_x64")

    def run(part: np.ndarray) -> PyTree:
        with enable_x64(doubles):
            models = jax.tree.map(lambda leaf: flat(leaf)[part], model)
            return jax.device_get(_solve_all(solve, models, *shared))

    with ThreadPoolExecutor(cores) as pool:
        solved = list(pool.map(run, which.T))

    def joined(*leaves: np.ndarray) -> jax.Array:
        rest = leaves[0].shape[1:]
        both = np.stack(leaves, axis=1).reshape(-1, *rest)
        return jnp.asarray(both[:size].reshape(*shape, *rest))

    return jax.tree.map(joined, *solved)


@eqx.filter_jit
def _solve_one(solve: Callable[..., PyTree], model: StarBattery, *shared: PyTree) -> PyTree:
    return solve(model, *shared)


@eqx.filter_jit
def _solve_all(solve: Callable[..., PyTree], model: StarBattery, *shared: PyTree) -> PyTree:
    shape, size = model.batch_shape, model.N.size
    flat = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[len(shape) :]), model)

    def one(model: StarBattery) -> PyTree:
        return solve(model, *shared)

    if size == 1:
        solved = jax.tree.map(
            lambda leaf: jnp.asarray(leaf)[None], one(jax.tree.map(lambda leaf: leaf[0], flat))
        )
    elif jax.default_backend() == "cpu":
        solved = jax.lax.map(one, flat)
    else:
        solved = jax.vmap(one)(flat)
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), solved)
