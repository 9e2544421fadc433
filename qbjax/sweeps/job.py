"""A sweep as it is asked for: what is wrong with it, and what it says of itself."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from qbjax.checks import require
from qbjax.evolve import choose as choose_evolution
from qbjax.models import StarBattery
from qbjax.steady import choose as choose_steady
from qbjax.sweeps import points, provenance
from qbjax.sweeps.grid import Grid
from qbjax.sweeps.observables import Observable
from qbjax.sweeps.points import Question

# Sizes that N is padded to at least: one more program to compile must be worth its while.
_SMALLEST_EXACT, _SMALLEST = 64, 8


class Job:
    """What a sweep is asked for.

    Attributes
    ----------
    build, grid, wanted, method, ts
        The function from parameters to a model, the grid, the observables, the method of steady
        states, and the times of trajectories.
    names
        The names of the axes.
    inner
        The axis whose points share work, "gamma_C"; None without it.
    first, ends
        The model at the first point, padded to the largest N; and those at the ends of every axis.
    exact
        Whether the exact solution applies.
    """

    def __init__(
        self,
        build: Callable[..., StarBattery],
        grid: Grid,
        wanted: tuple[Observable, ...],
        method: str,
        ts: jax.Array | None,
    ):
        """Check that the grid is one of the model's."""
        self.build, self.grid, self.wanted, self.method, self.ts = build, grid, wanted, method, ts
        self.names = tuple(grid.axes)
        self.inner = "gamma_C" if "gamma_C" in self.names else None
        _check_names(build, grid)
        self.ends = _checked_models(build, grid)
        self.first = self.ends[0]
        self.exact = points.applies(self.first, method)

    def axes(self, each: Observable) -> tuple[str, ...]:
        """Return the axes of an observable: that of a best dephasing rate has no gamma_C."""
        return tuple(name for name in self.names if not (each.of_optimum and name == self.inner))

    def padded_size(self, N: np.ndarray) -> int:
        """Return the size that these N are padded to."""
        return self.grid.padded_size(N, _SMALLEST_EXACT if self.exact else _SMALLEST)

    def question(self, size: int | None, with_optima: bool) -> Question:
        """Return what is asked of points whose N are padded to a size; None where N is fixed."""
        build = self.build if size is None else functools.partial(self.build, N_max=size)
        question = Question(build, self.wanted, self.method, self.ts, self.exact)
        return question if with_optima else question.others

    def description(self) -> dict[str, Any]:
        """Return what must be the same for a sweep to go on."""
        made_with = provenance.versions()
        return {
            "model": provenance.model_text(self.build),
            "axes": list(self.names),
            "grid": {name: values.tolist() for name, values in self.grid.values.items()},
            "combine": "zip" if self.grid.together else "product",
            "observables": [f"{each.name} {each.source}".strip() for each in self.wanted],
            "ts": None if self.ts is None else self.ts.tolist(),
            "method": self.method,
            "precision": made_with["precision"],
            "qbjax": made_with["qbjax"],
            "model at the ends": [provenance.values_text(model) for model in self.ends],
        }

    def provenance(self) -> dict[str, Any]:
        """Return what the dataset says of its making."""
        return {
            "model": provenance.model_text(self.build),
            "model_source": provenance.source_version(self.build),
            "method": ", ".join(sorted({self._method(size) for size in self._sizes()})),
            **({} if self.ts is None else {"ts": self.ts.tolist()}),
            **provenance.versions(),
        }

    def _sizes(self) -> set[int | None]:
        N = self.grid.values.get("N")
        return {None} if N is None else {self.padded_size(each) for each in np.unique(N)}

    def _method(self, size: int | None) -> str:
        """Return the method that solves models padded to a size."""
        grid = self.grid
        # Of the smallest N, which fits into every size.
        smallest = {} if size is None else {"N": np.min(grid.values["N"]), "N_max": size}
        model = self.build(**{name: values[0] for name, values in grid.values.items()} | smallest)
        if model.depends_on_time:
            return choose_evolution(model, "auto")[0]
        return choose_steady(model, self.method)[0]


def _checked_models(build: Callable[..., StarBattery], grid: Grid) -> list[StarBattery]:
    """Return models at the ends of every axis; refuse values that are out of range."""
    padded = {"N_max": int(np.max(grid.values["N"]))} if "N" in grid.values else {}
    first = {name: values[0] for name, values in grid.values.items()}
    models = [build(**first, **padded)]
    for name, values in grid.values.items():
        for extreme in (np.min(values), np.max(values)):
            models.append(build(**first | {name: extreme}, **padded))
    for model in models:
        good = isinstance(model, StarBattery) and model.batch_shape == ()
        require(good, "model", "a function that returns one model", type(model).__name__)
    return models


def _check_names(build: Callable[..., StarBattery], grid: Grid) -> None:
    """Refuse a grid over parameters that the model does not have, and one that leaves some open."""
    try:
        known = inspect.signature(build).parameters
    except (TypeError, ValueError) as error:
        wanted = "a function of parameters, such as functools.partial(qbjax.StarBattery, kappa=0.1)"
        found = f"one whose arguments are wrong ({error})" if callable(build) else type(build)
        require(False, "model", wanted, found)
    listed = ", ".join(name for name in known if name != "N_max")
    any_name = any(each.kind is each.VAR_KEYWORD for each in known.values())
    fixed = build.keywords if isinstance(build, functools.partial) else {}
    for name in grid.values:
        there = (name in known and name != "N_max") or any_name
        free = name not in ("done", "chunk", "point")
        wanted = f"over parameters of the model ({listed})"
        require(there and free, "grid", wanted, f"over {name}")
        require(name not in fixed, "grid", "over what the model leaves open", f"over {name}")
    for name, each in known.items():
        single = each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        open_ = single and each.default is each.empty
        wanted = f"over {name} too, which the model needs"
        require(not open_ or name in grid.values, "grid", wanted, "without it")
    if "N" in grid.values:
        padded = "N_max" in known or any_name
        require(padded, "model", "a function that takes N_max, the padded size, beside N", listed)
