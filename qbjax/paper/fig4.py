"""Fig. 4: the steady battery of 8 qubits under strong drive, and the trial state of Eq. (10)."""

from typing import TYPE_CHECKING

import numpy as np

import qbjax as qb
from qbjax import plotting
from qbjax.paper.grids import STRONG, compiled
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N = 8
PARAMETERS = ("alpha", "beta", "mu", "zeta")


def data(quick: bool) -> Columns:
    """Return the elements of rho_B and of the trial state; the fitted parameters are constant."""
    state = qb.steady_state(qb.StarBattery(N=_N, F=STRONG))
    fit = compiled(qb.fit_bose_einstein)(state.populations)
    m = np.arange(_N + 1) - _N / 2
    row, column = np.meshgrid(m, m, indexing="ij")
    parameters = {p: np.full(row.size, float(getattr(fit, p))) for p in PARAMETERS}
    return {
        "m_row": row.ravel(),
        "m_column": column.ravel(),
        "rho": np.ravel(state.battery),
        "rho_trial": np.diag(fit.populations).ravel(),
    } | parameters


def plot(columns: Columns) -> "Figure":
    """Draw the tomogram and the populations."""
    with plotting.figure(plotting.TWO_COLUMNS, 7.2, 1, 2) as (figure, axes):
        tomogram, populations = axes[0]
        rho, trial = (columns[k].reshape(_N + 1, _N + 1) for k in ("rho", "rho_trial"))
        plotting.tomogram(tomogram, rho, r"$|\langle m|\rho_B|m'\rangle|$")
        m = np.unique(columns["m_row"])
        populations.bar(m, np.diag(rho), color="0.8", label="steady state")
        alpha, beta, mu, zeta = (columns[name][0] for name in PARAMETERS)
        determined = rf"$\alpha/\beta = {alpha / beta:.3f}$, $\mu = {mu:.3f}$, $\zeta = {zeta:.4f}$"
        populations.plot(m, np.diag(trial), "o-", label=f"Eq. (10), {determined}")
        populations.set_xticks(m)
        populations.set_ylim(0, 1.25 * rho.max())
        populations.set_xlabel("$m$")
        populations.set_ylabel(r"$\langle m|\rho_B|m\rangle$")
        populations.legend(loc="upper center")
        plotting.name_panels(axes)
        return figure
