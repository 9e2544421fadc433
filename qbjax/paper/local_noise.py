"""Beyond the paper: what is left of asymptotic freedom where every qubit decays or dephases."""

from typing import TYPE_CHECKING

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
_CHARGED, _QUICK_CHARGED, _NOISE = (2, 4, 8, 12, 16, 24), (2, 4), (0.01, 0.03, 0.1)
_DEPHASING, _UNTIL = 3.8, 3.0
_KINDS = {"gamma_down": r"\gamma_\downarrow", "gamma_z": r"\gamma_z"}


def data(quick: bool) -> Columns:
    """Return steady states under decay, and charged batteries under decay and under dephasing.

    The steady states are the rows with an infinite time.
    """
    steady = [_steady(F, _QUICK_SIZES if quick else _SIZES) for F in (2.0, INTERMEDIATE)]
    charged = [_charged(N) for N in (_QUICK_CHARGED if quick else _CHARGED)]
    rows = np.concatenate([*steady, *charged])
    names = ("F_over_g", "N", "gamma_down", "gamma_z", "time", "energy", "ergotropy")
    return dict(zip(names, rows.T, strict=True))


def _steady(F: float, sizes: tuple[int, ...]) -> np.ndarray:
    """Return rows of steady states, with each rate of decay and without."""
    N, rates = map(np.ravel, np.meshgrid(sizes, _DECAY, indexing="ij"))
    shared: dict[str, PyTree] = {"F": F, "gamma_C": _GAMMA_C, "N_max": max(sizes)}
    noisy = qb.steady_state(qb.StarBattery(N=N, gamma_down=rates, **shared), state=False)
    quiet = qb.steady_state(qb.StarBattery(N=np.array(sizes), **shared), state=False)
    return np.concatenate(
        [_rows(F, N, rates, 0.0, np.inf, noisy), _rows(F, sizes, 0.0, 0.0, np.inf, quiet)]
    )


def _charged(N: int) -> np.ndarray:
    """Return rows of batteries charged without noise, under each decay, and each dephasing."""
    root = np.sqrt(N)
    gamma_down = np.concatenate([[0.0], _NOISE, np.zeros(len(_NOISE))])
    gamma_z = np.concatenate([[0.0], np.zeros(len(_NOISE)), _NOISE])
    model = qb.StarBattery(
        N=N, F=STRONG, gamma_C=_DEPHASING / root, gamma_down=gamma_down, gamma_z=gamma_z
    )
    curve = qb.evolve(model, [_UNTIL * root])
    return _rows(STRONG, N, gamma_down, gamma_z, _UNTIL * root, curve)


def _rows(*columns: PyTree) -> np.ndarray:
    """Return rows of numbers, the last two of which are a result's energy and ergotropy."""
    *given, result = columns
    numbers = *given, np.ravel(result.energy), np.ravel(result.ergotropy)
    return np.stack(np.broadcast_arrays(*numbers), axis=1)


def plot(columns: Columns) -> "Figure":
    """Draw the ratio of steady states, their energy, and the ratio when charging is stopped."""
    with plotting.figure(plotting.TWO_COLUMNS, 6.2, 1, 4) as (figure, axes):
        _draw_steady(axes[0], columns)
        for ax, (kind, symbol) in zip(axes[0, 2:], _KINDS.items(), strict=True):
            _draw_charged(ax, _charged_under(columns, kind), kind, symbol)
        plotting.name_panels(axes)
        return figure


def _draw_steady(axes: np.ndarray, columns: Columns) -> None:
    for ax, F in zip(axes, (2.0, INTERMEDIATE), strict=False):
        steady = select(columns, time=np.inf, F_over_g=F)
        for i, N in enumerate(np.unique(steady["N"])):
            some = select(steady, N=N)
            rate = some["gamma_down"]
            noisy = rate > 0
            y = some["ergotropy"] / some["energy"] if F == 2.0 else some["energy"] / F**2
            ax.semilogx(rate[noisy], y[noisy], color=f"C{i}", label=f"$N = {N:g}$")
            ax.axhline(y[~noisy][0], color=f"C{i}", ls=":", lw=0.8)
        ax.set_xlabel(r"decay of every qubit $\gamma_\downarrow/g$")
        ax.set_title(f"$F/g = {F:g}$", loc="right")
    axes[0].set_ylabel(r"$\mathcal{E}_B/E_B$, steady state")
    axes[0].plot([], [], "k:", lw=0.8, label="no noise")
    axes[0].legend()
    axes[1].set_ylabel(r"$E_B\,g^2/(\omega_B F^2)$, steady state")
    axes[1].set_yscale("log")
    axes[1].axhline(1.0, color="0.6", lw=0.8)


def _draw_charged(ax: "Axes", charged: Columns, kind: str, symbol: str) -> None:
    sizes = np.unique(charged["N"])
    quiet = select(charged, **{kind: 0.0})
    lost = 1 - quiet["ergotropy"] / quiet["energy"]
    for i, rate in enumerate(np.unique(charged[kind])):
        some = select(charged, **{kind: rate})
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
        for rate in _NOISE:
            some = select(_charged_under(columns, kind), **{kind: rate})
            ratio = some["ergotropy"] / some["energy"]
            best = int(np.argmax(ratio))
            N = f"{some['N'][best]:g}" + (", the largest" if best == ratio.size - 1 else "")
            lines.append(f"| {kind} | {rate:g} | {N} | {ratio[best]:.3f} |")
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


def _charged_under(columns: Columns, kind: str) -> Columns:
    """Return the charged batteries that no other kind of noise has touched."""
    (other,) = set(_KINDS) - {kind}
    return select(columns, F_over_g=STRONG, **{other: 0.0})
