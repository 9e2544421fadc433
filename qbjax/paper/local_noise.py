"""Beyond the paper: what is left of asymptotic freedom where every qubit decays or dephases."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import qbjax as qb
from qbjax import plotting
from qbjax.paper.grids import INTERMEDIATE, STRONG, select
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Steady states: sizes that share one program, rates of decay over g, and the charger's dephasing.
_SIZES, _QUICK_SIZES, _DECAY = (3, 6, 9), (3, 5), np.logspace(-6, 0, 13)
_GAMMA_C = 0.3
# Transients: sizes, rates over g, and when charging is stopped: gamma_C sqrt(N)/g and g t/sqrt(N).
_CHARGED, _QUICK_CHARGED, _NOISE = (2, 4, 8, 12, 16, 24), (2, 4), (0.0, 0.01, 0.03, 0.1)
_DEPHASING, _UNTIL = 3.8, 3.0
_KINDS = {"gamma_down": r"\gamma_\downarrow", "gamma_z": r"\gamma_z"}


def data(quick: bool) -> Columns:
    """Return steady states under decay, and charged batteries under decay and under dephasing."""
    rows = _steady(_QUICK_SIZES if quick else _SIZES)
    for kind in _KINDS:
        rows += _charged(_QUICK_CHARGED if quick else _CHARGED, kind)
    names = ("what", "F_over_g", "N", "rate", "energy", "ergotropy")
    return {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def _steady(sizes: tuple[int, ...]) -> list[tuple]:
    rows = []
    for F in (2.0, INTERMEDIATE):
        N, rates = map(np.ravel, np.meshgrid(sizes, _DECAY, indexing="ij"))
        shared: dict[str, PyTree] = {"F": F, "gamma_C": _GAMMA_C, "N_max": max(sizes)}
        state = qb.steady_state(qb.StarBattery(N=N, gamma_down=rates, **shared), state=False)
        quiet = qb.steady_state(qb.StarBattery(N=np.array(sizes), **shared), state=False)
        noisy = zip(N, rates, state.energy, state.ergotropy, strict=True)
        silent = zip(sizes, np.zeros(len(sizes)), quiet.energy, quiet.ergotropy, strict=True)
        rows += [("steady", F, *row) for row in (*noisy, *silent)]
    return rows


def _charged(sizes: tuple[int, ...], kind: str) -> list[tuple]:
    rows = []
    for N in sizes:
        root = np.sqrt(N)
        rates: dict[str, PyTree] = {kind: jnp.array(_NOISE)}
        model = qb.StarBattery(N=N, F=STRONG, gamma_C=_DEPHASING / root, **rates)
        curve = qb.evolve(model, [_UNTIL * root])
        columns = _NOISE, np.ravel(curve.energy), np.ravel(curve.ergotropy)
        rows += [(kind, STRONG, N, *row) for row in zip(*columns, strict=True)]
    return rows


def plot(columns: Columns) -> "Figure":
    """Draw the ratio of steady states, their energy, and the ratio when charging is stopped."""
    with plotting.figure(plotting.TWO_COLUMNS, 6.2, 1, 4) as (figure, axes):
        _draw_steady(axes[0], columns)
        for ax, (kind, symbol) in zip(axes[0, 2:], _KINDS.items(), strict=True):
            _draw_charged(ax, _of(columns, kind), symbol)
        plotting.name_panels(axes)
        return figure


def _draw_steady(axes: np.ndarray, columns: Columns) -> None:
    for ax, F in zip(axes, (2.0, INTERMEDIATE), strict=False):
        steady = select(_of(columns, "steady"), F_over_g=F)
        for i, N in enumerate(np.unique(steady["N"])):
            some = select(steady, N=N)
            noisy = some["rate"] > 0
            y = some["ergotropy"] / some["energy"] if F == 2.0 else some["energy"] / F**2
            ax.semilogx(some["rate"][noisy], y[noisy], color=f"C{i}", label=f"$N = {N}$")
            ax.axhline(y[~noisy][0], color=f"C{i}", ls=":", lw=0.8)
        ax.set_xlabel(r"decay of every qubit $\gamma_\downarrow/g$")
        ax.set_title(f"$F/g = {F:g}$", loc="right")
    axes[0].set_ylabel(r"$\mathcal{E}_B/E_B$, steady state")
    axes[0].plot([], [], "k:", lw=0.8, label="no noise")
    axes[0].legend()
    axes[1].set_ylabel(r"$E_B\,g^2/(\omega_B F^2)$, steady state")
    axes[1].set_yscale("log")
    axes[1].axhline(1.0, color="0.6", lw=0.8)


def _draw_charged(ax: "Axes", charged: Columns, symbol: str) -> None:
    sizes = np.unique(charged["N"])
    quiet = select(charged, rate=0.0)
    lost = 1 - quiet["ergotropy"] / quiet["energy"]
    for i, rate in enumerate(np.unique(charged["rate"])):
        some = select(charged, rate=rate)
        label = f"${symbol}/g = {rate:g}$"
        ax.plot(sizes, some["ergotropy"] / some["energy"], ".-", color=f"C{i}", label=label)
        if rate:
            ax.plot(sizes, 1 - lost - 0.8 * rate * np.sqrt(sizes), color=f"C{i}", ls="--", lw=0.8)
    ax.plot([], [], "k--", lw=0.8, label="estimate")
    ax.set_xlabel("number of qubits $N$")
    ax.set_ylabel(r"$\mathcal{E}_B/E_B$ at $t = 3\sqrt{N}/g$")
    ax.set_ylim(0, 1)
    ax.legend()


def notes(columns: Columns) -> list[str]:
    """Say in Markdown what the figure shows, with the best N of each rate."""
    lines = [
        *_NOTES,
        "| noise | rate/g | best N of those computed | ratio there |",
        "|---|---|---|---|",
    ]
    for kind in _KINDS:
        for rate in _NOISE[1:]:
            some = select(_of(columns, kind), rate=rate)
            ratio = some["ergotropy"] / some["energy"]
            best = int(np.argmax(ratio))
            lines.append(f"| {kind} | {rate:g} | {some['N'][best]:g} | {ratio[best]:.3f} |")
    return lines


_NOTES = (
    "In the steady state asymptotic freedom does not survive the weakest noise on single qubits: "
    "with drive and coupling it is unique, and for rates that go to 0 at fixed N its ratio does, "
    "too (a; dotted: without noise). Under stronger decay the battery goes dark: its energy falls "
    "to the order of ω_B (F/g)², whatever N (b). Always E_B ≤ ω_B F/γ_↓ under decay alone, since "
    "no more than F flows in.",
    "",
    "Where charging is stopped after a time 3 √N/g it survives up to a best N (c, d). The dashed "
    "estimate takes 0.8 (γ/g) √N from the ratio without noise: a measured law, which decay at "
    "γ_↓ = 0.1 g leaves.",
    "",
)


def _of(columns: Columns, what: str) -> Columns:
    """Return the rows of one kind."""
    return {name: column[columns["what"] == what] for name, column in columns.items()}
