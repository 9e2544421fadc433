"""Figures at the width of a journal's column, and plots of states, curves and scaling.

Figures are made without pyplot, so that nothing here depends on a display or on global state, and
matplotlib is imported when the first one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from qbjax.common.checks import as_array, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from qbjax.evolution.result import Trajectory

# Widths of one and of two columns in cm.
ONE_COLUMN, TWO_COLUMNS = 8.6, 17.8

_STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral",
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "mathtext.fontset": "stix",
    # Text stays text in a PDF.
    "pdf.fonttype": 42,
}


@contextmanager
def figure(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> Iterator[tuple[Figure, np.ndarray]]:
    """Make a figure and its panels, in a style that is readable at column width.

    Parameters
    ----------
    width, height
        Size in cm.
    rows, columns
        Number of panels.

    Yields
    ------
    The figure and the array (rows, columns) of its axes. What is drawn inside the block has the
    style; outside, matplotlib's settings are as they were.

    Examples
    --------
    >>> from qbjax import plotting
    >>> with plotting.figure(plotting.ONE_COLUMN, 6.0) as (figure, axes):
    ...     lines = axes[0, 0].plot([1, 2], [1, 4])
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        made = Figure(figsize=(width / 2.54, height / 2.54), layout="constrained")
        yield made, made.subplots(rows, columns, squeeze=False)


def name_panels(axes: ArrayLike) -> None:
    """Write (a), (b), ... above the panels."""
    for letter, ax in zip("abcdefghi", np.ravel(axes), strict=False):
        ax.set_title(f"({letter})", loc="left")


def tomogram(ax: Axes, rho: ArrayLike, label: str, ladder: bool = True) -> AxesImage:
    """Draw the absolute values of a battery state as a heat map, with the larger ones written in.

    Parameters
    ----------
    ax
        Where to draw.
    rho
        State in the Dicke ladder, shape (N + 1, N + 1).
    label
        Of the colour bar.
    ladder
        Label the levels with m = n - N/2; False labels them with n.

    Raises
    ------
    ArgumentError
        Where the state is no square matrix.

    Examples
    --------
    >>> import qbjax as qb
    >>> state = qb.steady_state(qb.StarBattery(N=4, F=0.5))
    >>> with qb.plot.figure(8.6, 6.0) as (figure, axes):
    ...     image = qb.plot.tomogram(axes[0, 0], state.battery, "populations and coherences")
    """
    values = np.abs(as_array(rho, "rho"))
    square = values.ndim == 2 and values.shape[0] == values.shape[1] > 1
    require(square, "rho", "of shape (N + 1, N + 1)", f"of shape {values.shape}")
    N = values.shape[0] - 1
    image = ax.imshow(values, origin="lower", cmap="Blues", vmin=0)
    ticks = np.unique(np.linspace(0, N, min(N, 8) + 1).round().astype(int))
    shift = N / 2 if ladder else 0
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, [f"${t - shift:g}$" for t in ticks])
    ax.set_xlabel("$m'$" if ladder else "$n'$")
    ax.set_ylabel("$m$" if ladder else "$n$")
    for n, k in np.argwhere(values >= 0.005) if N <= 10 else ():
        dark = values[n, k] > 0.6 * values.max()
        colour = "white" if dark else "black"
        text = f"{values[n, k]:.2f}".removeprefix("0")
        ax.text(k, n, text, ha="center", va="center", fontsize=6, color=colour)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)
    return image


def charging_curve(
    ax: Axes | Trajectory,
    ts: ArrayLike | None = None,
    energy: ArrayLike | None = None,
    ergotropy: ArrayLike | None = None,
) -> Figure | None:
    """Draw the energy, and the ergotropy where given, against time.

    Parameters
    ----------
    ax
        Where to draw; or a `qbjax.Trajectory` of one model, alone, for a figure of its own.
    ts
        Times in the unit of 1/g, shape (T,).
    energy, ergotropy
        In the unit of omega_B, shape (T,).

    Returns
    -------
    The figure of a trajectory, which `.savefig(path)` keeps; else None.

    Raises
    ------
    ArgumentError
        Where neither axes and an energy nor a trajectory with one are given.

    Examples
    --------
    >>> import qbjax as qb
    >>> curve = qb.evolve(qb.StarBattery(N=4, F=0.5), [0.0, 1.0, 2.0])
    >>> figure = qb.plot.charging_curve(curve)

    In a panel of your own:

    >>> with qb.plot.figure(8.6, 6.0) as (figure, axes):
    ...     qb.plot.charging_curve(axes[0, 0], curve.ts, curve.energy, curve.ergotropy)
    """
    if ts is None:
        one = getattr(ax, "energy", None)
        words = "axes, with times and energies, or a trajectory of one model with its energy"
        require(one is not None and np.ndim(one) == 1, "ax", words, type(ax).__name__)
        curve = cast("Trajectory", ax)
        with figure(ONE_COLUMN, 6.0) as (made, axes):
            charging_curve(axes[0, 0], curve.ts, curve.energy, curve.ergotropy)
        return made
    require(energy is not None, "energy", "given with the times", None)
    panel = cast("Axes", ax)
    panel.plot(ts, np.asarray(energy), label="$E_B$")
    if ergotropy is not None:
        panel.plot(ts, ergotropy, "--", label=r"$\mathcal{E}_B$")
        panel.legend()
    panel.set_xlabel("$t$ ($1/g$)")
    panel.set_ylabel(r"energy ($\omega_B$)")
    return None


def charging_time(
    ax: Axes,
    gamma_C: ArrayLike,
    tau: ArrayLike,
    optimum: tuple[float, float],
    label: str,
    units: tuple[float, float] = (1.0, 1.0),
) -> None:
    """Draw the charging time against the dephasing rate on logarithmic axes, and its optimum.

    Parameters
    ----------
    ax
        Where to draw.
    gamma_C, tau
        In the units of g and of 1/g, shape (points,).
    optimum
        gamma_C* and tau*, which is marked.
    label
        Of the curve.
    units
        What dephasing rates and times are divided by.

    Examples
    --------
    >>> import numpy as np
    >>> import qbjax as qb
    >>> rates = np.geomspace(0.01, 10, 50)
    >>> times = qb.charging_time(qb.StarBattery(N=4, F=0.5, gamma_C=rates), "decay_rate")
    >>> best = qb.optimal_dephasing(qb.StarBattery(N=4, F=0.5), "decay_rate")
    >>> with qb.plot.figure(8.6, 6.0) as (figure, axes):
    ...     ax, star = axes[0, 0], (best.gamma_C, best.tau)
    ...     qb.plot.charging_time(ax, rates, times.tau, star, "N = 4")
    """
    from matplotlib.ticker import LogLocator, NullLocator

    x_unit, y_unit = units
    (line,) = ax.loglog(np.asarray(gamma_C) / x_unit, np.asarray(tau) / y_unit, label=label)
    ax.plot(optimum[0] / x_unit, optimum[1] / y_unit, "o", color=line.get_color())
    low, high = ax.get_ylim()
    if high < 1e4 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    else:
        # Another curve may have left marks for a shorter axis.
        ax.set_yscale("log")
    ax.set_xlabel(r"$\gamma_C$ ($g$)")
    ax.set_ylabel(r"$\tau$ ($1/g$)")


def scaling(
    ax: Axes,
    N: ArrayLike,
    values: ArrayLike,
    laws: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    label: str,
    marker: str = "o",
) -> None:
    """Draw a quantity against the number of qubits, with the laws that are fitted to it.

    Parameters
    ----------
    ax
        Where to draw.
    N, values
        The points, shape (points,).
    laws
        Functions of N by their labels.
    label, marker
        Of the points.

    Examples
    --------
    >>> import numpy as np
    >>> import qbjax as qb
    >>> N = np.arange(1, 9)
    >>> ratio = qb.steady_state(qb.StarBattery(N=N, F=0.5, N_max=8)).ratio
    >>> with qb.plot.figure(8.6, 6.0) as (figure, axes):
    ...     law = {"1 - 1.1/N": lambda N: 1 - 1.1 / N}
    ...     qb.plot.scaling(axes[0, 0], N, ratio, law, "steady state")
    """
    N = np.asarray(N)
    (points,) = ax.plot(N, values, marker, label=label)
    fine = np.linspace(N.min(), N.max(), 200)
    for (name, law), dashes in zip(laws.items(), ("-", "--", ":"), strict=False):
        ax.plot(fine, law(fine), dashes, color=points.get_color(), lw=0.9, label=name)
    ax.set_xlabel("number of qubits $N$")


def plain_ticks(ax: Axes, ticks: ArrayLike) -> None:
    """Put plain numbers on a logarithmic x axis that spans less than a decade or two."""
    ax.set_xticks(np.asarray(ticks), [f"{t:g}" for t in np.asarray(ticks)])
    ax.minorticks_off()
