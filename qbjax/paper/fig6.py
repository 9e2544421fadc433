"""Fig. 6: the charging time against the dephasing rate, for three drives."""

from typing import TYPE_CHECKING

import numpy as np

from qbjax import plotting
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, select
from qbjax.paper.optima import optima
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def data(quick: bool) -> Columns:
    """Return tau(gamma_C) on the continuous branch of the fit, with the optimum beside it.

    tau is NaN past the end of a branch. Where the branch ends before tau has a minimum, as it does
    for N = 2 at F/g = 0.5, the status of the optimum says so.
    """
    _, scans = optima(quick)
    gamma_C = scans["scan_gamma_C"]
    shared = {
        "F_over_g": scans["F_over_g"],
        "N": scans["N"],
        "gamma_C_optimal": scans["gamma_C"],
        "tau_optimal": scans["tau"],
        "status": scans["status"],
    }
    columns = {name: np.repeat(value, gamma_C.shape[1]) for name, value in shared.items()}
    return columns | {"gamma_C": gamma_C.ravel(), "tau": scans["scan_tau"].ravel()}


def plot(columns: Columns) -> "Figure":
    """Draw a panel per drive; where tau spans decades, in units of its optimum at each N."""
    with plotting.figure(plotting.TWO_COLUMNS, 6.4, 1, 3) as (figure, axes):
        for ax, F_over_g in zip(axes[0], (STRONG, INTERMEDIATE, WEAK), strict=True):
            _panel(ax, select(columns, F_over_g=F_over_g), scaled=F_over_g != STRONG)
            ax.set_title(f"$F/g = {F_over_g:g}$", loc="right")
        plotting.name_panels(axes)
        return figure


def _panel(ax: "Axes", drive: Columns, scaled: bool) -> None:
    for N in np.unique(drive["N"]):
        one = select(drive, N=N)
        gamma_C, tau = one["gamma_C_optimal"][0], one["tau_optimal"][0]
        label = rf"$N={N:g}$, $\tau^*={tau:.{0 if tau >= 100 else 1}f}$" if scaled else f"$N={N:g}$"
        units = (gamma_C, tau) if scaled else (1.0, 1.0)
        plotting.charging_time(ax, one["gamma_C"], one["tau"], (gamma_C, tau), label, units)
    ax.set_xlabel(r"$\gamma_C/\gamma_C^*$" if scaled else r"$\gamma_C$ ($g$)")
    ax.set_ylabel(r"$\tau/\tau^*$" if scaled else r"$\tau$ ($1/g$)")
    low, high = ax.get_ylim()
    ax.set_ylim(low, 5 * high)
    ax.legend(loc="upper center", title=r"$\tau^*$ in units of $1/g$" if scaled else None)
