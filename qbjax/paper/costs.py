"""Beyond the paper: what charging costs, and what qubits gain by sharing a charger."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import qbjax as qb
from qbjax import plotting
from qbjax.charging.advantage import DIVIDED, RESOURCES
from qbjax.common.checks import SolveError, Status
from qbjax.paper.grids import INTERMEDIATE, STRONG, WEAK, over_grid, select
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRIVES = (WEAK, INTERMEDIATE, 2.0, STRONG)
_SIZES, _QUICK_SIZES = tuple(range(1, 9)), (1, 2, 4)
# The average power is largest well before the end; the charger's dephasing, for the power alone.
_UNTIL, _GAMMA_C = 20.0, 0.1


def data(quick: bool) -> Columns:
    """Return energies of steady states, and advantages, by drive and number of qubits.

    Drive and coupling of the pairs are those of the row.
    """
    sizes = _QUICK_SIZES if quick else _SIZES
    columns = over_grid(_settled, _DRIVES, sizes)
    return columns | _powers(columns)


def _power(resource: str) -> str:
    return f"power_same_{resource.replace(' ', '_')}"


def _settled(model: qb.StarBattery) -> dict[str, jax.Array]:
    """Return energies of the steady state, and the work that `qbjax.energetics` finds for them.

    Dephasing moves no excitation on resonance: all of them come by the drive.
    """
    state = qb.steady_state(model)
    excited = jnp.einsum("...nn->...", state.rho[..., 1, :, 1, :]).real
    return {
        "drive_work": model.omega_B * excited + state.energy,
        "energy": state.energy,
        "ergotropy": state.ergotropy,
    }


def _powers(columns: Columns) -> Columns:
    """Return the largest average power over that of the pairs, for each resource.

    All in one batch, of which a pair is the row with N = 1, the first of its drive: see
    `qbjax.advantage`.
    """
    F, N = columns["F_over_g"], columns["N"].astype(int)
    root, one = np.sqrt(N), np.ones(N.size)
    model = qb.StarBattery(
        N=N,
        F=F * np.array([root if "F" in divided else one for divided in DIVIDED.values()]),
        g=np.array([root if "g" in divided else one for divided in DIVIDED.values()]),
        gamma_C=_GAMMA_C,
        N_max=int(N.max()),
    )
    best = qb.charging_time(model, "maximum", of="average_power", t_end=_UNTIL)
    trusted = np.isin(best.status, (Status.OK, Status.AMBIGUOUS))
    if not np.all(trusted) or np.any(best.evidence["at_end"]):
        raise SolveError(
            f"The average power has no maximum before {_UNTIL:g}/g that can be trusted."
        )
    powers = np.asarray(best.value).reshape(len(RESOURCES), len(_DRIVES), -1)
    gains = (powers / powers[..., :1]).reshape(len(RESOURCES), -1) / N
    return {_power(resource): gain for resource, gain in zip(RESOURCES, gains, strict=True)}


def plot(columns: Columns) -> "Figure":
    """Draw where the work goes, and what is gained in ergotropy and in power."""
    with plotting.figure(plotting.TWO_COLUMNS, 7.2, 1, 3) as (figure, axes):
        shares, steady, power = axes[0]
        N = np.unique(columns["N"])
        shares.plot(N, N / (N + 1), "k--", lw=0.8, label=r"$E_B/W = N/(N+1)$")
        for i, F_over_g in enumerate(np.unique(columns["F_over_g"])):
            one = select(columns, F_over_g=F_over_g)
            style = {"color": f"C{i}", "label": f"$F/g = {F_over_g:g}$"}
            shares.plot(one["N"], one["ergotropy"] / one["drive_work"], ".-", **style)
            steady.plot(one["N"], _per_qubit(one), ".-", **style)
        strong = select(columns, F_over_g=2.0)
        for resource in RESOURCES:
            power.plot(strong["N"], strong[_power(resource)], ".-", label=f"same {resource}")
        shares.set_ylabel(r"share of the drive's work $W$, $\mathcal{E}_B/W$")
        steady.set_ylabel(r"ergotropy per qubit, over that of $N = 1$")
        steady.set_yscale("log")
        power.set_ylabel(r"largest $E_B/t$, over that of $N$ pairs")
        power.set_title("$F/g = 2$ a pair", loc="right")
        power.axhline(1.0, color="0.6", lw=0.8)
        for ax in axes[0]:
            ax.set_xlabel("number of qubits $N$")
        # The colours of (b) are those of (a).
        for ax in (shares, power):
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        plotting.name_panels(axes)
        return figure


def _per_qubit(one: Columns) -> np.ndarray:
    """Return the ergotropy per qubit of one drive, over that of one qubit."""
    single = select(one, N=1.0)["ergotropy"]
    return one["ergotropy"] / (one["N"] * single)


def notes(columns: Columns) -> list[str]:
    """Say in Markdown what is found, with a table of the advantages at two sizes."""
    N, share = columns["N"], columns["energy"] / columns["drive_work"]
    off = np.max(np.abs(share / (N / (N + 1)) - 1))
    several = {name: column[N > 1] for name, column in columns.items()}
    best = max(RESOURCES, key=lambda resource: np.max(several[_power(resource)]))
    gain, row = several[_power(best)], int(np.argmax(several[_power(best)]))
    lines = [
        f"In the steady state the battery holds N/(N + 1) of the work of the drive, at every F/g "
        f"(here to {off:.0e}), the charger the rest, and no heat flows; the ergotropy follows the "
        "ratio of the paper (a). Per qubit one charger keeps more ergotropy in N qubits than in "
        "one (b), but hardly ever charges them faster than N chargers would, whatever both have "
        f"the same of (c): the largest advantage in power here is {gain[row]:.3f}, "
        f"with the same {best}, at N = {several['N'][row]:g} and F/g = "
        f"{several['F_over_g'][row]:g} a pair.",
        "",
        "| F/g of a pair | N | "
        + " | ".join(f"power, same {r}" for r in RESOURCES)
        + " | ergotropy |",
        "|" + "---|" * (len(RESOURCES) + 3),
    ]
    for F_over_g in np.unique(columns["F_over_g"]):
        one = select(columns, F_over_g=F_over_g)
        gained = _per_qubit(one)
        for size in (4.0, 8.0):
            for i in np.flatnonzero(one["N"] == size):
                powers = " | ".join(f"{one[_power(r)][i]:.3f}" for r in RESOURCES)
                lines.append(f"| {F_over_g:g} | {size:g} | {powers} | {gained[i]:.3f} |")
    return lines
