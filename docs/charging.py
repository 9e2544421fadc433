"""Draw charging.png, the picture of the README: python docs/charging.py, with qbjax installed."""

from pathlib import Path

import jax.numpy as jnp
from matplotlib.figure import Figure

import qbjax as qb

N, F = 8, 0.5
SIZES = jnp.arange(1, 65)
DRIVES = {0.2: "C2", 0.5: "C4", 10.0: "C3"}


def main() -> None:
    """Draw both panels and save them beside this script."""
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_charging(left)
    draw_ratio(right)
    figure.savefig(Path(__file__).with_name("charging.png"), dpi=150)


def draw_charging(ax) -> None:
    """Draw energy and ergotropy against time at the fastest-charging dephasing rate."""
    best = qb.optimal_dephasing(qb.StarBattery(N=N, F=F), "decay_rate")
    model = qb.StarBattery(N=N, F=F, gamma_C=best.gamma_C)
    # On a logarithmic axis the oscillations run together: a mean and a range per bin of time.
    edges = jnp.logspace(-1, 5, 301)
    ts = jnp.linspace(edges[:-1], edges[1:], 64, endpoint=False, axis=1)
    curve, steady = qb.evolve(model, ts.ravel()), qb.steady_state(model)
    for name, color, label in (("energy", "C0", "$E_B$"), ("ergotropy", "C1", r"$\mathcal{E}$")):
        values = getattr(curve, name).reshape(ts.shape)
        middle, low, high = values.mean(axis=1), values.min(axis=1), values.max(axis=1)
        ax.semilogx(ts.mean(axis=1), middle, color, label=f"{name} {label}")
        ax.fill_between(ts.mean(axis=1), low, high, color=color, alpha=0.2, linewidth=0)
        ax.axhline(getattr(steady, name), color=color, linestyle=":", linewidth=1)
    ax.axvline(best.tau, color="0.6", linestyle="--", linewidth=1)
    ax.text(best.tau * 1.1, 0.15, rf"$\tau^* = {best.tau:.0f}/g$", color="0.3", fontsize=9)
    ax.set(xlabel=r"time $t$ ($1/g$)", ylabel=r"energy ($\omega_B$)", xlim=(0.1, 1e5))
    ax.set_ylim(0, 4.5)
    ax.set_title(rf"(a) $N = {N}$, $F/g = {F:g}$, $\gamma_C = \gamma_C^* = {best.gamma_C:.5f}\,g$")
    ax.legend(loc="center left", frameon=False)


def draw_ratio(ax) -> None:
    """Draw the part of the steady state's energy that is ergotropy against N."""
    for drive, color in DRIVES.items():
        models = qb.StarBattery(N=SIZES, F=drive, N_max=int(SIZES[-1]))
        ratio = qb.steady_state(models).ratio
        ax.plot(SIZES, ratio, color=color, marker=".", markersize=3, label=f"$F/g = {drive:g}$")
    ax.set(xlabel="number of battery qubits $N$", xlim=(0, 65), ylim=(0, 1))
    ax.set(ylabel=r"$\mathcal{E}/E_B$ for $t \to \infty$")
    ax.set_title("(b) steady state")
    ax.legend(loc="lower right", frameon=False)


if __name__ == "__main__":
    main()
