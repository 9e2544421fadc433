"""The steady states of Figs. 2 and 3, which share one batch."""

import functools
import threading

import jax
import jax.numpy as jnp

import qbjax as qb
from qbjax.paper import laws
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, over_grid
from qbjax.paper.store import Columns

_LOCK = threading.Lock()


def steady_states() -> Columns:
    """Return what the figures show of the steady states at three drives, for N = 1...13.

    eta_0 is the largest eigenvalue of rho_B. Quick or not, the fit of Eq. (7) needs N up to 13.
    """
    with _LOCK:
        return _steady_states()


@functools.cache
def _steady_states() -> Columns:
    return over_grid(_solve, [STRONG, INTERMEDIATE, WEAK], range(1, laws.DEFICIT_SIZES[1] + 1))


def _solve(model: qb.StarBattery) -> dict[str, jax.Array]:
    state = qb.steady_state(model)
    return {
        "energy": state.energy,
        "ergotropy": state.ergotropy,
        "ratio": state.ratio,
        "eta_0": jnp.linalg.eigvalsh(state.battery)[..., -1],
    }
