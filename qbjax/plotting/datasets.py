"""Pictures of a sweep's dataset: lines, maps, and everything in one call.

Scales and colours go by the values: logarithmic where they span two decades.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qbjax.common.checks import require
from qbjax.model.parameters import PARAMETERS
from qbjax.plotting.panels import ONE_COLUMN, TWO_COLUMNS, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from xarray import DataArray, Dataset


def lines(ax: Axes, data: DataArray, over: str) -> None:
    """Draw an observable of a sweep against a parameter, a line for every value of another one.

    Parameters
    ----------
    ax
        Where to draw.
    data
        One observable of the dataset that `qbjax.sweep` returned, with `over` and at most one other
        dimension: select values of the rest beforehand, as in `dataset.energy.sel(F=0.5)`. Of many
        lines six are drawn.
    over
        The parameter on the horizontal axis.

    Raises
    ------
    ArgumentError
        Where there are other dimensions.

    Examples
    --------
    >>> import qbjax as qb
    >>> dataset = qb.sweep(qb.StarBattery, {"N": [1, 2, 4], "F": [0.2, 0.5]}, "ratio")
    >>> with qb.plot.figure(8.6, 6.0) as (figure, axes):
    ...     qb.plot.lines(axes[0, 0], dataset.ratio, over="N")
    """
    from matplotlib.ticker import MaxNLocator

    (other,) = _others(data, (over,), 1) or (None,)
    data = data.sortby(over)
    x = data[over].values
    if other is None:
        ax.plot(x, data.values, _mark(data[over]))
    else:
        for i in _spread(data.sizes[other], 6):
            label = f"{_symbol(other)} = {data[other].values[i]:.4g}"
            ax.plot(x, data.isel({other: i}).values, _mark(data[over]), label=label)
        # Beside the panel, where it hides no line.
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.set_xlabel(_label(data[over]))
    ax.set_ylabel(_label(data))
    name, settings = _scale(x)
    ax.set_xscale(name, **settings)
    if name == "linear" and data[over].dtype.kind == "i":
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    name, settings = _scale(data.values)
    ax.set_yscale(name, **settings)


def heatmap(
    ax: Axes, data: DataArray, over: tuple[str, str], norm: Normalize | None = None
) -> QuadMesh:
    """Draw an observable of a sweep as a map over two parameters; what is missing stays grey.

    Parameters
    ----------
    ax
        Where to draw.
    data
        One observable of the dataset that `qbjax.sweep` returned, with these two dimensions.
    over
        The parameters on the horizontal and on the vertical axis.
    norm
        The scale of the colours of several maps, which need one colour bar; None makes a scale and
        a bar. It is logarithmic where values span two decades, and white at zero where they have
        both signs.

    Raises
    ------
    ArgumentError
        Where there are other dimensions.

    Examples
    --------
    >>> import qbjax as qb
    >>> dataset = qb.sweep(qb.StarBattery, {"N": [1, 2, 4], "F": [0.2, 0.5]}, "ratio")
    >>> with qb.plot.figure(8.6, 6.0) as (figure, axes):
    ...     mesh = qb.plot.heatmap(axes[0, 0], dataset.ratio, over=("F", "N"))
    """
    _others(data, over, 0)
    for name in over:
        data = data.sortby(name)
    x, y = (data[name].values for name in over)
    values = data.transpose(over[1], over[0]).values
    ax.set_facecolor("0.8")
    colours = norm or _colours(values)
    both = colours.vmin is not None and colours.vmin < 0 < (colours.vmax or 0)
    cmap = "RdBu_r" if both else "viridis"
    edges = _edges(x), _edges(y)
    mesh = ax.pcolormesh(*edges, values, norm=colours, cmap=cmap, rasterized=True)
    for set_scale, along in ((ax.set_xscale, x), (ax.set_yscale, y)):
        name, settings = _scale(along)
        set_scale(name, **settings)
    ax.set_xlabel(_label(data[over[0]]))
    ax.set_ylabel(_label(data[over[1]]))
    if norm is None:
        _colour_bar(mesh, [ax], _label(data))
    return mesh


def _colour_bar(mesh: QuadMesh, axes: list[Axes], label: str) -> None:
    from matplotlib.colors import SymLogNorm

    bar = axes[0].figure.colorbar(mesh, ax=axes, label=label)
    if isinstance(mesh.norm, SymLogNorm):
        low, high = mesh.norm.vmin or 0.0, mesh.norm.vmax or 0.0
        ends = np.log10([mesh.norm.linthresh, max(-low, high)])
        decades = 10.0 ** np.unique(np.floor([ends.mean(), ends[1]]))
        ticks = np.array([*-decades[::-1], 0.0, *decades])
        bar.set_ticks(ticks[(ticks >= low) & (ticks <= high)].tolist())
        bar.minorticks_off()


def _edges(x: np.ndarray) -> np.ndarray:
    """Return edges around values, in the middle between them on the scale that they want."""
    there, back = (np.log, np.exp) if _scale(x)[0] == "log" else (np.asarray, np.asarray)
    on_scale = there(x.astype(float))
    if x.size == 1:
        return back(on_scale + np.array([-0.5, 0.5]))
    middle = (on_scale[1:] + on_scale[:-1]) / 2
    ends = 2 * on_scale[[0, -1]] - middle[[0, -1]]
    return back(np.concatenate([ends[:1], middle, ends[1:]]))


def draw_sweep(dataset: Dataset, stem: str | Path) -> list[Path]:
    """Draw every observable of a sweep, as PNG and PDF, and return the files.

    The two longest axes make a map where both have 12 values or more, and lines otherwise; up to
    three values of the next axis make panels, and others are held at their last value. Observables
    that are arrays are left out.

    Parameters
    ----------
    dataset
        The dataset that `qbjax.sweep` returned.
    stem
        Beginning of the files' names; that of the observable is added.

    Raises
    ------
    ArgumentError
        Where it is no dataset.

    Examples
    --------
    >>> import tempfile
    >>> import qbjax as qb
    >>> dataset = qb.sweep(qb.StarBattery, {"N": [1, 2, 4], "F": [0.2, 0.5]}, "ratio")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in qb.plot.draw_sweep(dataset, f"{folder}/small")]
    ['small-ratio.png', 'small-ratio.pdf']
    """
    from xarray import Dataset

    kind = f"of type {type(dataset).__name__}"
    require(isinstance(dataset, Dataset), "dataset", "what qbjax.sweep returned", kind)
    made = []
    for name in dataset.data_vars:
        drawable = set(dataset[name].dims) <= {*dataset.coords, "point"} and dataset[name].ndim > 0
        if f"{name}_status" not in dataset or not drawable:
            continue
        Path(stem).parent.mkdir(parents=True, exist_ok=True)
        with _panels(dataset[name]) as figure:
            for kind in ("png", "pdf"):
                made.append(Path(f"{stem}-{name}.{kind}"))
                figure.savefig(made[-1], dpi=300)
    return made


@contextmanager
def _panels(data: DataArray) -> Iterator[Figure]:
    longest = sorted(map(str, data.dims), key=lambda dim: -data.sizes[dim])
    drawn, rest = longest[:2], longest[2:]
    split = rest[:1] if rest and data.sizes[rest[0]] > 1 else []
    data = data.isel({dim: -1 for dim in rest if dim not in split})
    places = _spread(data.sizes[split[0]], 3) if split else [-1]
    values = data.isel(dict.fromkeys(split, places)).values
    norm, (scale, settings) = _colours(values), _scale(values)
    width = ONE_COLUMN if len(places) == 1 else TWO_COLUMNS
    mesh = None
    with figure(width, 6.5, columns=len(places)) as (made, axes):
        for ax, place in zip(axes[0], places, strict=True):
            part = data.isel(dict.fromkeys(split, place))
            if len(drawn) == 2 and data.sizes[drawn[1]] >= 12:
                mesh = heatmap(ax, part, (drawn[0], drawn[1]), norm)
            else:
                lines(ax, part, drawn[0])
                ax.set_yscale(scale, **settings)
            if ax is not axes[0, 0]:
                ax.set_ylabel("")
            if ax is not axes[0, -1] and ax.get_legend():
                ax.get_legend().remove()
            if not np.any(np.isfinite(part.values)):
                ax.text(0.5, 0.5, "no values", ha="center", transform=ax.transAxes)
            held = [f"{_symbol(dim)} = {part[dim].item():.4g}" for dim in rest]
            ax.set_title(", ".join(held))
        if mesh is not None:
            _colour_bar(mesh, list(axes[0]), _label(data))
        ends = [ax.get_ylim() for ax in axes[0] if not ax.texts]
        for ax in axes[0] if ends else ():
            ax.set_ylim(np.min(ends), np.max(ends))
        yield made


def _spread(length: int, most: int) -> list[int]:
    """Return places along an axis, evenly spread."""
    return [int(i) for i in np.unique(np.linspace(0, length - 1, most).round())]


def _others(data: DataArray, over: tuple[str, ...], most: int) -> list[str]:
    """Return the dimensions that are not drawn along; refuse too many."""
    from xarray import DataArray

    one = isinstance(data, DataArray)
    kind = f"of type {type(data).__name__}"
    require(one, "data", "one observable of a dataset, as in `dataset.energy`", kind)
    others = [str(dim) for dim in data.dims if dim not in over]
    fits = set(over) <= set(data.dims) and len(others) <= most
    dimensions = f"of the dimensions {', '.join(over)}" + " and at most one more" * most
    require(fits, "data", dimensions, f"of {', '.join(map(str, data.dims))}")
    return others


def _symbol(name: Hashable) -> str:
    symbol = PARAMETERS[str(name)].symbol if name in PARAMETERS else name
    return f"${symbol}$" if len(str(name)) == 1 or name in PARAMETERS else str(name)


def _label(data: DataArray) -> str:
    units = data.attrs.get("units", "")
    name = data.attrs.get("long_name") or _symbol(data.name)
    # Spaces that do not break keep the units on one line.
    unbroken = units.replace(" ", "\N{NO-BREAK SPACE}")
    within = f"[{unbroken}]" if "(" in units else f"({unbroken})"
    label = f"{name} {within}" if units not in ("", "1") else str(name)
    return _typeset(textwrap.fill(label, 40))


def _typeset(text: str) -> str:
    """Return a text with the parameters in it as symbols."""
    return re.sub(r"(?<![\w$\\])\w+(?![\w$])", lambda word: _symbol_or(word[0]), text)


def _symbol_or(word: str) -> str:
    return _symbol(word) if word in PARAMETERS else word


def _mark(x: DataArray) -> str:
    # The numbers of points that go together are no scale.
    line = "" if x.name == "point" else "-"
    return f"o{line}" if len(x) <= 20 or not line else line


def _scale(values: np.ndarray) -> tuple[str, dict[str, float]]:
    """Return the scale that values want, by matplotlib's name, and its parameters."""
    finite = values[np.isfinite(values)].astype(float)
    size = np.abs(finite[finite != 0])
    # A little less than two decades: a geometric grid may end below.
    if size.size == 0 or np.max(size) < 99.9 * np.min(size):
        return "linear", {}
    if np.min(finite) > 0:
        return "log", {}
    typical = float(np.median(size))
    return ("symlog", {"linthresh": typical}) if np.max(size) > 100 * typical else ("linear", {})


def _colours(values: np.ndarray) -> Normalize:
    """Return the scale of colours that values want."""
    from matplotlib.colors import LogNorm, Normalize, SymLogNorm

    finite = values[np.isfinite(values)]
    ends = {"vmin": finite.min(), "vmax": finite.max()} if finite.size else {}
    name, settings = _scale(values)
    if finite.size and finite.min() < 0 < finite.max():
        largest = np.abs(finite).max()
        ends = {"vmin": -largest, "vmax": largest}
        if name == "symlog":
            # Half of the bar on either side of zero, and room for the labels around it.
            settings = settings | {
                "linscale": max(1.0, np.log10(largest / settings["linthresh"]) / 5)
            }
    return {"linear": Normalize, "log": LogNorm, "symlog": SymLogNorm}[name](**ends, **settings)
