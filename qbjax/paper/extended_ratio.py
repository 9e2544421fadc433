"""Beyond Fig. 3: the ratio and a_N = N (1 - ratio) to N = 10^6, with the limit in closed form."""

from typing import TYPE_CHECKING

import jax
import numpy as np

import qbjax as qb
from qbjax import plotting
from qbjax.paper import laws
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, over_grid, select
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRIVES = (WEAK, INTERMEDIATE, 1.0, 2.0, STRONG)
_SIZES = (*range(1, 17), 20, 24, 32, 40, 48, 64, 100, 200, 400, 1000, 2000)
# Told by the ends of the ladder.
_MANY = (10_000, 100_000, 1_000_000)
_QUICK_LARGEST = 64


def data(quick: bool) -> Columns:
    """Return the ratio, a_N and its limit."""
    sizes = [N for N in (*_SIZES, *_MANY) if N <= _QUICK_LARGEST or not quick]
    columns = over_grid(_solve, _DRIVES, sizes)
    # N (1 - ratio), with all its digits.
    columns["a"] = 2 * (1 - columns.pop("eta_0"))
    columns["a_limit"] = np.array([laws.deficit_limit(F) for F in columns["F_over_g"]])
    return columns


def _solve(model: qb.StarBattery) -> dict[str, jax.Array]:
    state = qb.steady_state(model, state=False)
    return {"ratio": state.ratio, "eta_0": state.largest_eigenvalue}


def plot(columns: Columns) -> "Figure":
    """Draw 1 - ratio on logarithmic axes, and a_N with its limits."""
    with plotting.figure(plotting.TWO_COLUMNS, 7.2, 1, 2) as (figure, axes):
        for i, F_over_g in enumerate(np.unique(columns["F_over_g"])):
            drive, colour = select(columns, F_over_g=F_over_g), f"C{i}"
            label = f"$F/g = {F_over_g:g}$"
            axes[0, 0].loglog(drive["N"], 1 - drive["ratio"], ".-", color=colour, label=label)
            axes[0, 1].semilogx(drive["N"], drive["a"], ".-", color=colour)
            axes[0, 1].axhline(drive["a_limit"][0], color=colour, ls=":", lw=0.8)
        axes[0, 0].set_ylabel(r"$1 - \mathcal{E}_B/E_B$")
        axes[0, 1].set_ylabel(r"$a_N = N\,(1 - \mathcal{E}_B/E_B)$")
        axes[0, 1].plot([], [], "k:", lw=0.8, label=r"$a_\infty$, closed form")
        for ax in axes[0]:
            ax.set_xlabel("number of qubits $N$")
            ax.legend()
        plotting.name_panels(axes)
        return figure
