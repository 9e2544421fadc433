"""The optimal dephasing of the charging-time fit, which Figs. 6 and 7 share."""

import functools
import threading

import jax.numpy as jnp
import numpy as np

import qbjax as qb
from qbjax.common.checks import Status
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, compiled
from qbjax.paper.store import Columns

# Branches of the fit as numbers, for the tables.
CONTINUOUS, LOWEST = 0, 1
BRANCHES = ("continuous", "lowest")

# The largest N per drive, and in a quick run.
_LARGEST = {STRONG: 8, INTERMEDIATE: 5, WEAK: 5}
_QUICK = 4


# Figures are computed in threads, of which the second waits for what the first is at.
_LOCK = threading.Lock()


def optima(quick: bool) -> tuple[Columns, Columns]:
    """Return the optima and the scans before them, in rows of F_over_g, branch and N.

    The fit is bistable at F/g = 0.5, where the full run finds the optima on the branch of least
    cost, too. The scans, on the continuous branch, have the dephasing rates in a second axis.
    """
    with _LOCK:
        return _optima(quick)


@functools.cache
def _optima(quick: bool) -> tuple[Columns, Columns]:
    sizes = {F: np.arange(1, 1 + (_QUICK if quick else last)) for F, last in _LARGEST.items()}
    rows = [(F, N) for F in sizes for N in sizes[F]]
    best = _solve(np.array(rows), CONTINUOUS)
    parts = [_columns(np.array(rows), CONTINUOUS, best)]
    if not quick:
        bistable = np.array([(INTERMEDIATE, N) for N in range(1, 1 + _QUICK)])
        parts.append(_columns(bistable, LOWEST, _solve(bistable, LOWEST)))
    scans = parts[0] | {
        "scan_gamma_C": np.asarray(best.scan_gamma_C),
        "scan_tau": np.asarray(best.scan_tau),
    }
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, scans


def _solve(rows: np.ndarray, branch: int) -> qb.OptimalDephasing:
    """Return the optima of one branch, for all rows (F, N) in one batch."""
    sizes = rows[:, 1].astype(int)
    model = qb.StarBattery(N=jnp.asarray(sizes), F=jnp.asarray(rows[:, 0]), N_max=int(sizes.max()))
    solve = functools.partial(qb.optimal_dephasing, definition="fit", branch=BRANCHES[branch])
    return compiled(solve)(model)


def _columns(rows: np.ndarray, branch: int, best: qb.OptimalDephasing) -> Columns:
    return {
        "F_over_g": rows[:, 0],
        "branch": np.full(len(rows), branch),
        "N": rows[:, 1],
        "gamma_C": np.asarray(best.gamma_C),
        "tau": np.asarray(best.tau),
        "status": np.asarray(best.status),
    }


def statuses(drive: Columns) -> str:
    """Say in a few words which optima, by N, have a status other than OK."""
    odd = drive["status"] != Status.OK
    parts = []
    for status in np.unique(drive["status"][odd]):
        N = ", ".join(f"{size:g}" for size in drive["N"][drive["status"] == status])
        parts.append(f"N = {N} {Status(int(status)).name}")
    return "; ".join(parts) if parts else "all OK"
