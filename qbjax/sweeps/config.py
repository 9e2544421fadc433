"""Sweeps from a TOML file, as `qbjax sweep` takes them.

    observables = ["energy", "ergotropy", "tau_decay_rate"]
    store = "sweep.zarr"                     # the default: named after the file

    [model]                                  # what is the same at every point
    kappa = 0.1
    charger = "cavity:6"

    [grid]
    N = {from = 1, to = 16}                  # integers, both included; step = 1
    F = [0.2, 0.5, 10.0]
    gamma_C = {from = 1e-3, to = 1e2, points = 200, spacing = "log"}     # or "linear"

`combine`, `method`, `ts` and `chunk_size` are those of `qbjax.sweep`; a derivative of an observable
is written as {gradient = "ergotropy", of = "F"} in the list.
"""

import functools
import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import ArgumentError, require, require_choice
from qbjax.model.batteries import battery_from_text
from qbjax.model.chargers import charger_from_text
from qbjax.model.star_battery import StarBattery
from qbjax.sweeps.observables import grad_of

_PLAIN = ("combine", "method", "ts", "chunk_size")
_SPACED = ("from", "to", "points", "spacing")
_SPACINGS: dict[str, Callable[..., PyTree]] = {"linear": np.linspace, "log": np.geomspace}


def from_toml(path: str | Path) -> dict[str, Any]:
    """Return the arguments of `qbjax.sweep` that a TOML file holds.

    Parameters
    ----------
    path
        The file. Without `store` in it, the store is named after the file, in its directory.

    Raises
    ------
    ArgumentError
        Where the file is not there, is no TOML, or holds what a sweep does not know.
    OSError
        Where it cannot be read.
    """
    path = Path(path)
    require(path.is_file(), "file", "a file that is there", path)
    try:
        entries = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"Argument `file` must be TOML, but {path} is not: {error}.") from None
    known = ("model", "grid", "observables", "store", *_PLAIN)
    for name in entries:
        require(name in known, "file", f"of entries out of {', '.join(known)}", f"with {name}")
    require(isinstance(entries.get("grid"), dict), "file", "with a table [grid]", "without")
    fixed = _table(entries, "model")
    parameters = [name for name in inspect.signature(StarBattery).parameters if name != "N_max"]
    for name in fixed:
        choices = f"of parameters out of {', '.join(parameters)}"
        require(name in parameters, "model", choices, f"with {name}")
    for name, from_text in (("charger", charger_from_text), ("battery", battery_from_text)):
        if name in fixed:
            fixed[name] = from_text(fixed[name])
    arguments = {name: entries[name] for name in _PLAIN if name in entries}
    if "observables" in entries:
        listed = entries["observables"]
        listed = listed if isinstance(listed, list) else [listed]
        arguments["observables"] = [_observable(each) for each in listed]
    return {
        "model": functools.partial(StarBattery, **fixed) if fixed else StarBattery,
        "grid": {name: _values(name, values) for name, values in entries["grid"].items()},
        "store": entries.get("store", path.with_suffix(".zarr")),
        **arguments,
    }


def _table(entries: dict[str, Any], name: str) -> dict[str, Any]:
    table = entries.get(name, {})
    require(isinstance(table, dict), "file", f"with {name} as a table", f"with {table!r}")
    return dict(table)


def _observable(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    require(set(entry) == {"gradient", "of"}, "observables", "{gradient = ..., of = ...}", entry)
    return grad_of(entry["gradient"], entry["of"])


def _values(name: str, entry: Any) -> Any:
    """Return the values of a parameter: a list as it stands, or a range that is written out."""
    if not isinstance(entry, dict):
        return entry
    keys, text = set(entry), f"{name} = {entry}"
    if keys in ({"from", "to"}, {"from", "to", "step"}):
        ends = (entry["from"], entry["to"], entry.get("step", 1))
        whole = all(type(each) is int for each in ends) and ends[2] >= 1 and ends[1] >= ends[0]
        forms = "{from, to, points} of numbers, or {from, to, step} of integers, rising"
        require(whole, "grid", forms, text)
        return np.arange(ends[0], ends[1] + 1, ends[2])
    forms = "a list, {from, to, step} or {from, to, points, spacing}"
    require({"from", "to", "points"} <= keys <= {*_SPACED}, "grid", forms, text)
    spacing = entry.get("spacing", "linear")
    require_choice(spacing, f"spacing of {name}", tuple(_SPACINGS))
    counted = type(entry["points"]) is int and entry["points"] >= 1
    require(counted, f"points of {name}", "an integer of at least 1", repr(entry["points"]))
    numbers = all(type(entry[end]) in (int, float) for end in ("from", "to"))
    require(numbers, "grid", "between numbers", text)
    positive = spacing != "log" or (entry["from"] > 0 and entry["to"] > 0)
    require(positive, "grid", 'between positive ends for spacing = "log"', text)
    return _SPACINGS[spacing](entry["from"], entry["to"], entry["points"])
