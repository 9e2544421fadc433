"""Beyond the paper: a charger that is dephased late settles sooner than at any constant rate.

On resonance every mode of the stored energy is a damped oscillator, whatever gamma_C(t) is:
E_B = N/2 + sum_k c_k f_k(t) with f'' + (gamma_C/2) f' + omega_k^2 f = 0, f(0) = 1, f'(0) = 0. The
slowest one decides: under a constant rate it falls as exp(-omega t) at best, at critical damping.
Without dephasing f = cos(omega t); a rate that is switched on at t_1 has f'/f = -s there, s > omega
its faster decay, where omega tan(omega t_1) = s: then nothing is left of it that is slower than
exp(-s t). That is before a quarter period pi/(2 omega) is over; the other modes take longer.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import qbjax as qb
from qbjax import plotting
from qbjax.exact import curves, sectors
from qbjax.paper.grids import INTERMEDIATE, compiled, select
from qbjax.paper.store import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZES, _QUICK_SIZES = tuple(range(1, 7)), (1, 2, 4)
# That of the curves that are drawn.
_DRAWN = 4
# The energy is settled where it stays this close to its final value.
BAND = 0.01
# In quarter periods of the slowest mode: when dephasing begins, and how far and how finely curves
# are looked at.
_BEGINS = np.linspace(0.5, 1.0, 51)
_LONG, _SAMPLES = 8, 800
# In units of its omega; 4 is critical damping.
_RATES = 4 * np.geomspace(0.2, 400.0, 60)
# Around the best of these it is looked for again, ever closer.
_CLOSER, _AROUND = 4, np.linspace(-1.0, 1.0, 21)


@compiled
def _modes(model: qb.StarBattery) -> tuple[jax.Array, jax.Array]:
    return curves.energy_modes(model, sectors.diagonalise(model))


def energy_modes(N: int, F: float) -> tuple[np.ndarray, np.ndarray]:
    """Return omega_k and the weights of f_k in 1 - E_B/(N/2), of the exact solution."""
    modes = _modes(qb.StarBattery(N=jnp.asarray(N), F=F, N_max=_SIZES[-1]))
    omega, weights = (np.asarray(x) for x in modes)
    # What is padded weighs nothing.
    there = np.abs(weights) > np.finfo(float).eps
    return omega[there], weights[there]


def deficits(
    modes: tuple[np.ndarray, np.ndarray], gamma_C: float, ts: np.ndarray, begins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return 1 - E_B/(N/2) at times after dephasing begins, and a bound of it from the last one on.

    Shapes are (T, begins) and (begins,). A mode's f^2 + (f'/omega)^2 never grows.
    """
    omega, weights = (x[:, None] for x in modes)
    value, slope = np.cos(omega * begins), -omega * np.sin(omega * begins)
    # f = a exp(-s t) + b exp(-r t) with the roots s, r of s^2 - (gamma_C/2) s + omega^2.
    s = gamma_C / 4 + np.sqrt((gamma_C / 4) ** 2 - omega**2 + 0j)
    r = omega**2 / s
    a = -(slope + r * value) / (s - r)
    fast, slow = np.exp(-s * ts).T, np.exp(-r * ts).T
    parts = a * fast[-1][:, None], (value - a) * slow[-1][:, None]
    size = np.hypot((parts[0] + parts[1]).real, ((s * parts[0] + r * parts[1]) / omega).real)
    curves = (fast @ (weights * a) + slow @ (weights * (value - a))).real
    return curves, np.sum(np.abs(weights) * size, axis=0)


def data(quick: bool) -> Columns:
    """Return when the energy settles and when it gets there first, by the number of qubits."""
    rows = [_row(N) for N in (_QUICK_SIZES if quick else _SIZES)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _row(N: int) -> dict[str, float]:
    """Return the times of one battery."""
    modes = energy_modes(N, INTERMEDIATE)
    slowest = float(modes[0].min())
    quarter = np.pi / (2 * slowest)
    begins, rates = quarter * _BEGINS, slowest * _RATES
    ts = quarter * np.arange(1, _LONG * _SAMPLES + 1) / _SAMPLES
    constant = _best(modes, ts, np.zeros(1), rates)
    late = _best(modes, ts, begins, rates)
    free = modes[1] @ np.cos(np.outer(modes[0], ts))
    return {
        "F_over_g": INTERMEDIATE,
        "N": N,
        "omega": slowest,
        "constant": constant[0],
        "constant_gamma_C": constant[2],
        "late": late[0],
        "late_begin": late[1],
        "late_gamma_C": late[2],
        "reached": ts[np.argmax(free <= BAND)],
    }


def _best(
    modes: tuple[np.ndarray, np.ndarray], ts: np.ndarray, begins: np.ndarray, rates: np.ndarray
) -> tuple[float, float, float]:
    """Return the least settling time, and the beginning and the rate of dephasing that give it."""
    best = (np.inf, 0.0, 0.0)
    step, ratio = np.ptp(begins[:2]), rates[1] / rates[0]
    for _ in range(_CLOSER):
        for rate in rates:
            times = begins + settling_times(ts, *deficits(modes, rate, ts, begins))
            if times.min() < best[0]:
                best = times.min(), begins[times.argmin()], rate
        begins = best[1] + step * (_AROUND if step else np.zeros(1))
        rates = best[2] * ratio**_AROUND
        step, ratio = step / 5, ratio ** (1 / 5)
    return best


def settling_times(ts: np.ndarray, deficits: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Return the first of some times from which columns (T, B) stay in the band for good, (B,).

    Infinite where they do not, or where the bound (B,) of what comes later does not tell.
    """
    outside = ~(np.abs(deficits) <= BAND)
    # The number of times up to the last one outside; there may be none within, which is inf.
    until = np.where(outside.any(axis=0), len(ts) - np.argmax(outside[::-1], axis=0), 0)
    return np.where(later <= BAND, np.append(ts, np.inf)[until], np.inf)


def plot(columns: Columns) -> "Figure":
    """Draw curves of one battery, and the times against its size."""
    with plotting.figure(plotting.TWO_COLUMNS, 7.2, 1, 2) as (figure, axes):
        panel, times = axes[0]
        drawn = {name: column[0] for name, column in select(columns, N=_DRAWN).items()}
        F, quarter = drawn["F_over_g"], np.pi / (2 * drawn["omega"])
        ts = quarter * np.linspace(0.0, 4.0, 1601)
        late = qb.PiecewiseConstant([drawn["late_begin"]], [0.0, drawn["late_gamma_C"]])
        for gamma_C, label, style in (
            (0.0, r"$\gamma_C = 0$", "C2-"),
            (drawn["constant_gamma_C"], "best constant rate", "C0-"),
            (late, "none, then the best rate", "C1-"),
        ):
            curve = qb.evolve(qb.StarBattery(N=_DRAWN, F=F, gamma_C=gamma_C), ts, save="energy")
            panel.plot(ts / quarter, curve.energy / (_DRAWN / 2), style, label=label)
        panel.axhspan(1 - BAND, 1 + BAND, color="0.85", lw=0)
        panel.set_ylabel(r"$E_B(t)/E_B(\infty)$")
        panel.set_xlabel(r"time in quarter periods, $2\omega t/\pi$")
        panel.set_title(f"$N = {_DRAWN}$, $F/g = {F:g}$", loc="right")
        quarters = np.pi / (2 * columns["omega"])
        for name, label, style in (
            ("constant", "settled, best constant rate", "C0.-"),
            ("late", "settled, dephased late", "C1.-"),
            ("reached", r"reached first, $\gamma_C = 0$", "C2.-"),
        ):
            times.plot(columns["N"], columns[name] / quarters, style, label=label)
        times.set_ylabel("time in quarter periods")
        times.set_xlabel("number of qubits $N$")
        times.set_ylim(0, None)
        for ax in axes[0]:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        plotting.name_panels(axes)
        return figure


def notes(columns: Columns) -> list[str]:
    """Say in Markdown what is found, with a table."""
    gain = columns["constant"] / columns["late"]
    lines = [
        f"The energy stays within {BAND:.0%} of its final value {gain.min():.2f} to "
        f"{gain.max():.2f} times sooner than at the best constant rate if the charger is not "
        "dephased at first, and strongly from about a quarter period of the slowest mode on. This "
        "is about settling: the final energy is reached first without any dephasing, which does "
        "not stay there.",
        "",
        "| N | pi/(2 omega) | settled, best constant rate | settled, dephased late | from | with "
        "gamma_C | reached first, gamma_C = 0 |",
        "|" + "---|" * 7,
    ]
    for i, N in enumerate(columns["N"]):
        names = ("constant", "late", "late_begin", "late_gamma_C", "reached")
        cells = [f"{columns[name][i]:.4g}" for name in names]
        quarter = f"{np.pi / (2 * columns['omega'][i]):.4g}"
        lines.append(f"| {N:g} | {quarter} | " + " | ".join(cells) + " |")
    return lines
