"""Fig. 5: the steady battery of 8 qubits under intermediate drive, and its passive state."""

from typing import TYPE_CHECKING

import numpy as np

import qbjax as qb
from qbjax import plotting
from qbjax.paper.grids import INTERMEDIATE, compiled
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N = 8


def data(quick: bool) -> Columns:
    """Return the elements of rho_B, of its best trial state (Eqs. (11)-(13)), and passive."""
    state = qb.steady_state(qb.StarBattery(N=_N, F=INTERMEDIATE))
    fit = compiled(qb.fit_coherent_mixture)(state.battery)
    n = np.arange(_N + 1)
    row, column = np.meshgrid(n, n, indexing="ij")
    # With real and positive couplings rho_B is real, and the optimum is too.
    xi = {"xi_1": fit.xi_1, "xi_2": fit.xi_2, "fidelity": fit.fidelity}
    return {
        "n_row": row.ravel(),
        "n_column": column.ravel(),
        "rho": np.ravel(state.battery),
        "rho_trial": np.ravel(fit.rho.real),
        "rho_passive": np.ravel(qb.passive_state(state.battery)),
    } | {name: np.full(row.size, float(np.real(value))) for name, value in xi.items()}


def plot(columns: Columns) -> "Figure":
    """Draw both tomograms."""
    with plotting.figure(plotting.TWO_COLUMNS, 7.2, 1, 2) as (figure, axes):
        rho, passive = (columns[k].reshape(_N + 1, _N + 1) for k in ("rho", "rho_passive"))
        plotting.tomogram(axes[0, 0], rho, r"$|\langle m|\rho_B|m'\rangle|$")
        plotting.tomogram(axes[0, 1], passive, r"$|\langle n|\rho_B^\downarrow|n'\rangle|$", False)
        plotting.name_panels(axes)
        return figure
