"""Fig. 7: the optimal charging time against N, for three drives, with the laws fitted to it."""

from typing import TYPE_CHECKING

import numpy as np

from qbjax import plotting
from qbjax.common.checks import Status
from qbjax.paper import laws
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, select
from qbjax.paper.optima import BRANCHES, CONTINUOUS, LOWEST, optima
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def data(quick: bool) -> Columns:
    """Return tau*, gamma_C* and their `Status` per drive, branch and N."""
    return optima(quick)[0]


def fit(columns: Columns, F_over_g: float, branch: int = CONTINUOUS) -> tuple[float, float]:
    """Return c and b of tau* = c N^b at one drive, from every N under strong drive, else N <= 4."""
    used = fitted(columns, F_over_g, branch)
    return laws.power_law(used["N"], used["tau"])


def fitted(columns: Columns, F_over_g: float, branch: int = CONTINUOUS) -> Columns:
    """Return the rows that a law is fitted to, whatever their status."""
    drive = select(columns, F_over_g=F_over_g, branch=branch)
    sizes = laws.CHARGING_SIZES if F_over_g != STRONG else (1, int(drive["N"].max()))
    used = laws.within(drive["N"], sizes) & np.isfinite(drive["tau"])
    return {name: column[used] for name, column in drive.items()}


def notes(columns: Columns) -> list[str]:
    """Return the optima and their status as a table of Markdown."""
    lines = [
        "The optima that the laws are fitted to, and their `qbjax.Status` (AMBIGUOUS: the branch "
        "ends at the optimum; NOT_CONVERGED: tau jumps there, to a minimum that is the best from "
        "that dephasing rate on). A law through an optimum that is not OK is no better than it.",
        "",
        "| F/g | branch | N | g tau* | gamma_C*/g | status |",
        "|---|---|---|---|---|---|",
    ]
    names = ("F_over_g", "branch", "N", "tau", "gamma_C", "status")
    for F_over_g, branch, N, tau, gamma_C, status in zip(*map(columns.get, names), strict=True):
        lines.append(
            f"| {F_over_g:g} | {BRANCHES[int(branch)]} | {N:g} | {tau:.4g} | {gamma_C:.4g} "
            f"| {Status(int(status)).name} |"
        )
    return lines


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
        odd = one["status"] != Status.OK
        ax.plot(one["N"][odd], one["tau"][odd], "kx", ms=5, mew=0.8, zorder=3)
    if np.any(drive["status"] != Status.OK):
        ax.plot([], [], "kx", ms=5, mew=0.8, label="not unique")
    ax.set_xscale("log")
    ax.set_yscale("log")
    plotting.plain_ticks(ax, np.unique(drive["N"]))
