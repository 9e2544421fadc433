"""The paper's drives, and grids over drive and battery size that share a few compiled programs."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import qbjax as qb

# F/g of the strong, intermediate and weak drive.
STRONG, INTERMEDIATE, WEAK = 10.0, 0.5, 0.2

Solve = Callable[[qb.StarBattery], dict[str, jax.Array]]

# Sizes between two bounds share a padded size, and so a program. Up to `_BATCHED` they are solved
# in one batch; beyond, one by one, for memory.
_BOUNDS = (64, 256, 1024)
_BATCHED = 64

# A program at small N runs a few times at most: compiling it takes longer than running it.
_QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def compiled(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Compile a function quickly rather than well."""
    return jax.jit(function, compiler_options=_QUICKLY)


def over_grid(solve: Solve, drives: Sequence[float], sizes: Sequence[int]) -> dict[str, np.ndarray]:
    """Apply a solver to every drive and size, with g = omega_B = 1.

    Parameters
    ----------
    solve
        From a batch of models to named arrays over that batch.
    drives, sizes
        Values of F/g and of N, the sizes in increasing order.

    Returns
    -------
    Flat columns F_over_g, N and those of `solve`, the size varying fastest.
    """
    F, N = np.asarray(drives, dtype=float), np.asarray(sizes)
    # At large N it is the other way round.
    quickly, well = compiled(solve), jax.jit(solve)
    parts = [_bucket(quickly if group[-1] <= _BATCHED else well, F, group) for group in _groups(N)]
    solved = {name: np.concatenate([p[name] for p in parts], axis=1).ravel() for name in parts[0]}
    grid_F, grid_N = np.meshgrid(F, N, indexing="ij")
    return {"F_over_g": grid_F.ravel(), "N": grid_N.ravel()} | solved


def _groups(N: np.ndarray) -> list[np.ndarray]:
    """Return the sizes in groups, each of which is padded to its largest."""
    groups = np.split(N, np.searchsorted(N, _BOUNDS, side="right"))
    return [group for group in groups if group.size]


def _bucket(solve: Solve, F: np.ndarray, N: np.ndarray) -> dict[str, np.ndarray]:
    """Return arrays over (F, N) for sizes that share one padded size."""
    top = int(N[-1])
    if top <= _BATCHED:
        batch = solve(qb.StarBattery(N=jnp.asarray(N), F=F[:, None], N_max=top))
        return {name: np.asarray(values) for name, values in batch.items()}
    single = [solve(qb.StarBattery(N=jnp.asarray(n), F=f, N_max=top)) for f in F for n in N]
    shape = (F.size, N.size)
    return {name: np.reshape([s[name] for s in single], shape) for name in single[0]}


def select(columns: dict[str, np.ndarray], **values: float) -> dict[str, np.ndarray]:
    """Return the rows of a table in which the named columns have these values."""
    mask = np.all([columns[name] == value for name, value in values.items()], axis=0)
    return {name: column[mask] for name, column in columns.items()}
