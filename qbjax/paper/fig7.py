"""Fig. 7: the optimal charging time against N, for three drives, with the laws fitted to it."""

from typing import TYPE_CHECKING

import numpy as np

from qbjax import plotting
from qbjax.paper import laws
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, join, select
from qbjax.paper.optima import BRANCHES, optima, sizes
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Branches of the fit as numbers, for the table.
CONTINUOUS, LOWEST = 0, 1
_NUMBERS = {"continuous": CONTINUOUS, "lowest": LOWEST}


def data(quick: bool) -> Columns:
    """Return tau*, gamma_C* and their `Status` per drive, branch and N."""
    return join([_branch(F, branch, quick) for F, names in BRANCHES.items() for branch in names])


def _branch(F_over_g: float, branch: str, quick: bool) -> Columns:
    best, N = optima(F_over_g, quick, branch), sizes(F_over_g, quick)
    return {
        "F_over_g": np.full(N.size, F_over_g),
        "branch": np.full(N.size, _NUMBERS[branch]),
        "N": N,
        "gamma_C": np.asarray(best.gamma_C),
        "tau": np.asarray(best.tau),
        "status": np.asarray(best.status),
    }


def fit(columns: Columns, F_over_g: float, branch: int = CONTINUOUS) -> tuple[float, float]:
    """Return c and b of tau* = c N^b at one drive, from every N under strong drive, else N <= 4."""
    drive = select(columns, F_over_g=F_over_g, branch=branch)
    sizes = laws.CHARGING_SIZES if F_over_g != STRONG else (1, int(drive["N"].max()))
    used = laws.within(drive["N"], sizes)
    return laws.power_law(drive["N"][used], drive["tau"][used])


def plot(columns: Columns) -> "Figure":
    """Draw a panel per drive, the last two on logarithmic axes."""
    with plotting.figure(plotting.TWO_COLUMNS, 6.4, 1, 3) as (figure, axes):
        _strong(axes[0, 0], select(columns, F_over_g=STRONG))
        for ax, F_over_g in zip(axes[0, 1:], (INTERMEDIATE, WEAK), strict=True):
            _power_laws(ax, select(columns, F_over_g=F_over_g), F_over_g)
        for ax, F_over_g in zip(axes[0], (STRONG, INTERMEDIATE, WEAK), strict=True):
            ax.set_title(f"$F/g = {F_over_g:g}$", loc="right")
            ax.set_ylabel(r"$\tau^*$ ($1/g$)")
            ax.legend(loc="upper left")
        plotting.name_panels(axes)
        return figure


def _strong(ax: "Axes", drive: Columns) -> None:
    N, tau = drive["N"], drive["tau"]
    root = laws.prefactor(N, tau, 0.5)
    slope, offset = np.polyfit(N, tau, 1)
    curves = {
        rf"${root:.2f}\,\sqrt{{N}}$": lambda x: root * np.sqrt(x),
        f"${offset:.2f} + {slope:.2f}\\,N$": lambda x: offset + slope * x,
    }
    plotting.scaling(ax, N, tau, curves, "fit of Eq. (6)")
    ax.set_ylim(0, 1.4 * tau.max())


def _power_laws(ax: "Axes", drive: Columns, F_over_g: float) -> None:
    names = {CONTINUOUS: "continuous branch", LOWEST: "least cost"}
    for branch, marker in zip(np.unique(drive["branch"]), "os", strict=False):
        one = select(drive, branch=branch)
        c, b = fit(drive, F_over_g, branch)
        law = {f"${c:.3g}\\,N^{{{b:.2f}}}$": lambda N, c=c, b=b: c * N**b}
        plotting.scaling(ax, one["N"], one["tau"], law, names[branch], marker)
    ax.set_xscale("log")
    ax.set_yscale("log")
    plotting.plain_ticks(ax, np.unique(drive["N"]))
