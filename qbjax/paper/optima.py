"""The optimal dephasing of the charging-time fit, which Figs. 6 and 7 share."""

import functools

import jax.numpy as jnp
import numpy as np

import qbjax as qb
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK

# The largest N of Fig. 7, per drive, and in a quick run.
_LARGEST = {STRONG: 8, INTERMEDIATE: 5, WEAK: 5}
_QUICK = 4

# Branches of the fit that are reported: at F/g = 0.5 it is bistable.
BRANCHES = {STRONG: ("continuous",), INTERMEDIATE: ("continuous", "lowest"), WEAK: ("continuous",)}


def sizes(F_over_g: float, quick: bool) -> np.ndarray:
    """Return the values of N at one drive."""
    return np.arange(1, 1 + (_QUICK if quick else _LARGEST[F_over_g]))


@functools.cache
def optima(F_over_g: float, quick: bool, branch: str) -> qb.OptimalDephasing:
    """Return the optima at one drive, for all values of N in one batch."""
    N = sizes(F_over_g, quick)
    model = qb.StarBattery(N=jnp.asarray(N), F=F_over_g, N_max=int(N[-1]))
    return qb.optimal_dephasing(model, "fit", branch=branch)
