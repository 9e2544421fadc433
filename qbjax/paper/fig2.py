"""Fig. 2: energy and ergotropy of the steady battery against N, intermediate drive."""

from typing import TYPE_CHECKING

import numpy as np

from qbjax import plotting
from qbjax.paper.grids import INTERMEDIATE, select
from qbjax.paper.steady import steady_states
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def data(quick: bool) -> Columns:
    """Return N, energy and ergotropy at F/g = 0.5."""
    columns = select(steady_states(), F_over_g=INTERMEDIATE)
    return {name: columns[name] for name in ("F_over_g", "N", "energy", "ergotropy")}


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
