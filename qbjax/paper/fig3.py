"""Fig. 3: ergotropy over energy of the steady battery against N, for three drives."""

from typing import TYPE_CHECKING

from qbjax import plotting
from qbjax.paper import laws
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, select
from qbjax.paper.steady import steady_states
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def data(quick: bool) -> Columns:
    """Return the ratio at F/g = 10, 0.5, 0.2, and eta_0, the largest eigenvalue of rho_B."""
    return {name: steady_states()[name] for name in ("F_over_g", "N", "ratio", "eta_0")}


def fit(columns: Columns, F_over_g: float) -> float:
    """Return a of Eq. (7) at one drive."""
    drive = select(columns, F_over_g=F_over_g)
    used = laws.within(drive["N"], laws.DEFICIT_SIZES)
    return laws.deficit(drive["N"][used], drive["ratio"][used])


def plot(columns: Columns) -> "Figure":
    """Draw a panel per drive, with the fitted 1 - a/N."""
    with plotting.figure(plotting.TWO_COLUMNS, 5.6, 1, 3) as (figure, axes):
        for ax, F_over_g in zip(axes[0], (STRONG, INTERMEDIATE, WEAK), strict=True):
            drive, a = select(columns, F_over_g=F_over_g), fit(columns, F_over_g)
            curve = {f"$1 - {a:.3f}/N$": lambda N, a=a: 1 - a / N}
            plotting.scaling(ax, drive["N"], drive["ratio"], curve, "steady state")
            ax.set_ylim(0, 1)
            ax.set_title(f"$F/g = {F_over_g:g}$", loc="right")
            ax.legend(loc="lower right")
        axes[0, 0].set_ylabel(r"$\mathcal{E}_B/E_B$")
        plotting.name_panels(axes)
        return figure
