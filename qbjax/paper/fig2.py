"""Fig. 2: energy and ergotropy of the steady battery against N, intermediate drive."""

from typing import TYPE_CHECKING

import jax
import numpy as np

import qbjax as qb
from qbjax import plotting
from qbjax.paper.grids import INTERMEDIATE, over_grid
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def data(quick: bool) -> Columns:
    """Return N, energy and ergotropy at F/g = 0.5."""
    return over_grid(_solve, [INTERMEDIATE], range(1, 9 if quick else 14))


def _solve(model: qb.StarBattery) -> dict[str, jax.Array]:
    state = qb.steady_state(model)
    return {"energy": state.energy, "ergotropy": state.ergotropy}


def plot(columns: Columns) -> "Figure":
    """Draw both against N."""
    with plotting.figure(plotting.ONE_COLUMN, 6.5) as (figure, axes):
        ax = axes[0, 0]
        ax.plot(columns["N"], columns["energy"], "o-", label="energy $E_B$")
        ax.plot(columns["N"], columns["ergotropy"], "s--", label=r"ergotropy $\mathcal{E}_B$")
        ax.set_xticks(np.arange(1, columns["N"].max() + 1))
        ax.set_xlabel("number of qubits $N$")
        ax.set_ylabel(r"steady state ($\omega_B$)")
        ax.set_title("$F/g = 0.5$", loc="right")
        ax.legend()
        return figure
