"""Beyond Fig. 7: the optimal charging time to N = 1000, through both crossovers.

By decay rate, whose optimum has the closed form tau* = 1/omega_min, because a fit has nothing to
hold on to where tau* is 10^300. Beside it stands the same for the frequency 2 sigma_min(K), the
lowest beyond N = 4 (F/g)^2: there it collapses, whatever its weight in the energy. And the share of
the energy's approach that is slow, which takes over near N = 16 (F/g)^2. The decay rate leaves the
square root earlier, as soon as one slow mode weighs 1e-3 of the largest.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import qbjax as qb
from qbjax import plotting
from qbjax.exact import rates, sectors
from qbjax.model.star_battery import over_batch
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, over_grid, select
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The drives of which both crossovers are within reach.
CROSSING = (2.0, 3.0)
_SLOW = 0.05
_DRIVES = (WEAK, INTERMEDIATE, *CROSSING, STRONG)
_SIZES = (
    *range(1, 17),
    *range(18, 65, 2),
    *(72, 80, 96, 112, 128, 144, 160, 192, 224, 350, 500, 1000),
)
_QUICK_LARGEST = 64
# The share of slow modes at which they rule the energy.
_HALF = 0.5


def data(quick: bool) -> Columns:
    """Return log10 of g tau* by decay rate and of g/(2 sigma_min), and the share of slow modes."""
    return over_grid(_solve, _DRIVES, [N for N in _SIZES if N <= _QUICK_LARGEST or not quick])


def _solve(model: qb.StarBattery) -> dict[str, jax.Array]:
    best = qb.optimal_dephasing(model, "decay_rate")
    log_smallest, slow_share = over_batch(_slow_modes, model)
    return {
        "log10_tau": best.log_tau / jnp.log(10.0),
        "log10_smallest": -(log_smallest + jnp.log(2.0)) / jnp.log(10.0),
        "slow_share": slow_share,
    }


def _slow_modes(model: qb.StarBattery) -> tuple[jax.Array, jax.Array]:
    """Return ln sigma_min and the weight in 1 - E/E_inf of what is slower than 0.05 g/sqrt(N)."""
    spectrum = sectors.diagonalise(model)
    _, omega = sectors.frequencies(spectrum)
    slow = jnp.abs(omega) < _SLOW * model.g / jnp.sqrt(model.N)
    share = jnp.sum(jnp.where(slow, rates.energy_weights(model, spectrum), 0.0))
    return spectrum.log_smallest, share


def collapse(drive: Columns) -> list[float]:
    """Return 1/(2 sigma_min) in the unit of sqrt(N)/g at half, once and twice 4 (F/g)^2.

    For one drive, interpolated; an empty list where the table does not reach as far.
    """
    N, scaled = drive["N"], drive["log10_smallest"] - np.log10(drive["N"]) / 2
    sizes = 4 * drive["F_over_g"][0] ** 2 * np.array([0.5, 1, 2])
    return list(10 ** np.interp(sizes, N, scaled)) if sizes[-1] <= N[-1] else []


def takeover(drive: Columns) -> float:
    """Return the size at which half of the approach is in slow modes, for one drive, or NaN."""
    return _crossing(drive["N"], drive["slow_share"], _HALF)


def _crossing(N: np.ndarray, values: np.ndarray, level: float) -> float:
    """Return where values last rise through a level, linearly between the points, or NaN."""
    rises = np.flatnonzero((values[:-1] < level) & (values[1:] >= level))
    if not rises.size:
        return float("nan")
    i = rises[-1]
    share = (level - values[i]) / (values[i + 1] - values[i])
    return float(N[i] + share * (N[i + 1] - N[i]))


def plot(columns: Columns) -> "Figure":
    """Draw every drive, and the two that cross over with their two crossovers."""
    with plotting.figure(plotting.TWO_COLUMNS, 6.8, 1, 3) as (figure, axes):
        everything, time, share = axes[0]
        for i, F_over_g in enumerate(np.unique(columns["F_over_g"])):
            drive, style = select(columns, F_over_g=F_over_g), _style(i, F_over_g)
            everything.plot(drive["N"], drive["log10_tau"], ".-", **style)
            if F_over_g in CROSSING:
                time.plot(drive["N"], drive["log10_tau"], ".-", **style)
                time.plot(drive["N"], drive["log10_smallest"], "--", color=f"C{i}", lw=0.8)
                share.plot(drive["N"], drive["slow_share"], ".-", **style)
                _mark(time, 4, F_over_g, f"C{i}", "left")
                _mark(share, 16, F_over_g, f"C{i}", "right")
        everything.set_yscale("symlog", linthresh=1)
        everything.axhline(1, color="0.7", lw=0.5)
        low, high = everything.get_ylim()
        everything.set_ylim(low, 20 * high)
        time.plot([], [], "k--", lw=0.8, label=r"$1/(2\sigma_{\min})$")
        time.set(xlim=(0.9, 1100), ylim=(0, 4))
        share.set_ylabel(r"share of slow modes in $1 - E_B/E_B(\infty)$")
        for ax in (everything, time):
            ax.set_ylabel(r"$\log_{10}\,(g\,\tau^*)$")
        everything.set_ylabel(r"$\log_{10}\,(g\,\tau^*)$, linear below 1")
        for ax in axes[0]:
            ax.set_xscale("log")
            ax.set_xlabel("number of qubits $N$")
            ax.legend(loc="upper left")
        plotting.name_panels(axes)
        return figure


def _style(i: int, F_over_g: float) -> dict[str, PyTree]:
    return {"color": f"C{i}", "ms": 3, "label": f"$F/g = {F_over_g:g}$"}


def _mark(ax: "Axes", multiple: int, F_over_g: float, colour: str, side: str) -> None:
    N = multiple * F_over_g**2
    ax.axvline(N, color=colour, ls=":", lw=0.8)
    ax.text(
        N,
        0.3,
        f"${multiple}\\,(F/g)^2$",
        transform=ax.get_xaxis_transform(),
        rotation=90,
        ha=side,
        size=6.5,
        color=colour,
    )
