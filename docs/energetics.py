"""Draw energetics.png, the picture of its page: python docs/energetics.py, with qbjax installed."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import qbjax as qb

N, F = 4, 0.5
BATHS = {"kappa": 0.02, "Gamma_down": 0.01}


def main() -> None:
    """Draw both panels and save them beside this script."""
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    ts = np.linspace(0.0, 60.0, 301)
    model = qb.StarBattery(N=N, F=F, gamma_C=0.1, omega_C=1.2, **BATHS)
    draw_account(left, qb.energetics(model, ts))
    draw_efficiency(right, ts)
    figure.savefig(Path(__file__).with_name("energetics.png"), dpi=150)


def draw_account(ax, costs) -> None:
    """Draw work, heat and energy against time."""
    ax.plot(costs.ts, costs.drive_work, "k", label="work of the drive")
    ax.plot(costs.ts, costs.battery_energy, "C0", label="energy of the battery")
    ax.plot(costs.ts, costs.ergotropy, "C1", label="ergotropy")
    ax.plot(costs.ts, costs.charger_energy, "C2", label="energy of the charger")
    for i, (name, label) in enumerate(
        {
            "gamma_C": r"dephasing",
            "kappa": r"$\kappa$",
            "Gamma_down": r"$\Gamma_\downarrow$",
        }.items()
    ):
        ax.plot(costs.ts, costs.heat[name], f"C{i + 3}--", lw=1, label=f"heat, {label}")
    ax.set(
        xlabel=r"time $t$ ($1/g$)", ylabel=r"energy ($\omega_B$)", xlim=(0, 60), ylim=(-2.0, 1.9)
    )
    ax.set_title(rf"(a) $N = {N}$, $F/g = {F:g}$, $\Delta_C = 0.2\,g$, with losses")
    ax.legend(frameon=False, fontsize=7, loc="lower left", ncols=2)


def draw_efficiency(ax, ts) -> None:
    """Draw the efficiency against time for some dephasing rates."""
    for gamma_C, color in {0.03: "C2", 0.1: "C4", 1.0: "C3"}.items():
        costs = qb.energetics(qb.StarBattery(N=N, F=F, gamma_C=gamma_C), ts[1:])
        ax.plot(costs.ts, costs.efficiency, color, label=rf"$\gamma_C = {gamma_C:g}\,g$")
    settled = qb.steady_state(qb.StarBattery(N=N, F=F))
    share = settled.ratio * N / (N + 1)
    ax.axhline(share, color="0.4", ls=":", lw=1, label=r"$t \to \infty$")
    ax.set(xlabel=r"time $t$ ($1/g$)", ylabel="ergotropy over work", xlim=(0, 60), ylim=(0, 1))
    ax.set_title(rf"(b) $N = {N}$, $F/g = {F:g}$, dephasing alone")
    ax.legend(frameon=False)


if __name__ == "__main__":
    main()
