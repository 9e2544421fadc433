"""A sweep as it is asked for: what is wrong with it, and what it says of itself."""

import functools
import inspect
from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import require
from qbjax.evolution.evolve import choose as choose_evolution
from qbjax.model.star_battery import StarBattery
from qbjax.steady.steady_state import choose as choose_steady
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
    build, grid, observables, method, ts
        The function from parameters to a model, the grid, the observables, the method of steady
        states, and the times of trajectories.
    names
        The names of the axes.
    inner
        The axis whose points share work, "gamma_C"; None without it, or where a model turns it into
        more than its own gamma_C.
    first, ends
        The model at the first point, padded to the largest N; and those at the ends of every axis.
    exact
        Whether the exact solution applies.
    """

    def __init__(
        self,
        build: Callable[..., StarBattery],
        grid: Grid,
        observables: tuple[Observable, ...],
        method: str,
        ts: jax.Array | None,
    ):
        """Check that the grid is one of the model's."""
        self.build, self.grid, self.observables, self.method, self.ts = (
            build,
            grid,
            observables,
            method,
            ts,
        )
        self.names = tuple(grid.axes)
        _check_names(build, grid)
        self.ends = _checked_models(build, grid)
        self.first = self.ends[0]
        self.exact = points.applies(self.first, method)
        self.inner = "gamma_C" if self._gamma_C_is_alone() else None
        used = any(each.source or each.until for each in observables)
        require(ts is None or used, "ts", "left out where nothing uses it", "given")

    def axes(self, each: Observable) -> tuple[str, ...]:
        """Return the axes of an observable: that of a best dephasing rate has no gamma_C."""
        return tuple(name for name in self.names if not (each.of_optimum and name == self.inner))

    def padded_size(self, N: np.ndarray) -> int:
        """Return the size that these N are padded to."""
        return self.grid.padded_size(N, _SMALLEST_EXACT if self.exact else _SMALLEST)

    @functools.cached_property
    def methods(self) -> dict[int | None, str]:
        """The methods of the steady states by N, as they are chosen without padding."""
        if "N" not in self.grid.values:
            return {None: self._method(self.first)}
        sizes = np.unique(self.grid.values["N"]).tolist()
        if self.exact:
            return dict.fromkeys(sizes, "exact")
        first = _first(self.grid)
        return {N: self._method(self.build(**first | {"N": N}, N_max=N)) for N in sizes}

    @property
    def alike(self) -> bool:
        """Whether points of every N are solved by the same method."""
        return len(set(self.methods.values())) == 1

    def _method(self, model: StarBattery) -> str:
        return self.method if model.depends_on_time else choose_steady(model, self.method)[0].name

    def question(self, size: int | None, method: str, with_optima: bool) -> Question:
        """Return what is asked of points padded to a size; None where N is fixed."""
        build = self.build if size is None else functools.partial(self.build, N_max=size)
        question = Question(build, self.observables, method, self.ts, self.exact)
        return question if with_optima else question.others

    def description(self) -> dict[str, PyTree]:
        """Return what must be the same for a sweep to go on."""
        made_with = provenance.versions()
        return {
            "model": provenance.model_text(self.build),
            "axes": list(self.names),
            "grid": {name: values.tolist() for name, values in self.grid.values.items()},
            "combine": "zip" if self.grid.together else "product",
            "observables": [each.name for each in self.observables],
            "function": {each.name: each.source for each in self.observables if each.source},
            "ts": None if self.ts is None else self.ts.tolist(),
            "method": self.method,
            "precision": made_with["precision"],
            "qbjax": made_with["qbjax"],
            "model at the ends": [provenance.text(model) for model in self.ends],
        }

    def provenance(self) -> dict[str, PyTree]:
        """Return what the dataset says of its making."""
        return {
            "model": provenance.model_text(self.build),
            "model_source": provenance.source_version(self.build),
            "method": ", ".join(sorted(self._solvers())),
            **({} if self.ts is None else {"ts": self.ts.tolist()}),
            **provenance.versions(),
        }

    def _solvers(self) -> set[str]:
        if self.first.depends_on_time:
            return {choose_evolution(self.first, "auto")[0].name}
        return set(self.methods.values())

    def _gamma_C_is_alone(self) -> bool:
        """Tell whether the axis gamma_C varies the dephasing rate and nothing else of the model.

        That is looked at in the middle and at the ends of the axes.
        """
        if "gamma_C" not in self.names:
            return False
        first, values = _first(self.grid) | _padded(self.grid), self.grid.values["gamma_C"]
        low, *others = np.unique([values.min(), np.median(values), values.max()])
        for name, along in self.grid.values.items():
            for extreme in (along.min(), along.max()):
                point = first | {name: extreme}
                model = self.build(**point | {"gamma_C": low})
                for other in others:
                    moved = self.build(**point | {"gamma_C": other})
                    same = eqx.tree_at(lambda model: model.gamma_C, model, moved.gamma_C)
                    if not eqx.tree_equal(same, moved):
                        return False
        return True


def _first(grid: Grid) -> dict[str, PyTree]:
    """Return the parameters of the first point."""
    return {name: values[0] for name, values in grid.values.items()}


def _padded(grid: Grid) -> dict[str, int]:
    """Return the size that every N fits in, as an argument."""
    return {"N_max": int(np.max(grid.values["N"]))} if "N" in grid.values else {}


def _checked_models(build: Callable[..., StarBattery], grid: Grid) -> list[StarBattery]:
    """Return models at the ends of every axis; refuse values that are out of range."""
    first, padded = _first(grid), _padded(grid)
    models = [build(**first, **padded)]
    for name, values in grid.values.items():
        for extreme in (np.min(values), np.max(values)):
            models.append(build(**first | {name: extreme}, **padded))
    for model in models:
        is_model = isinstance(model, StarBattery) and model.batch_shape == ()
        require(is_model, "model", "a function that returns one model", type(model).__name__)
    try:
        jax.eval_shape(lambda point: build(**point, **padded), first)
    except (jax.errors.JAXTypeError, TypeError) as error:
        requirement = (
            "a function by JAX operations, without `if`, int() or float() of what is varied"
        )
        require(
            False, "model", requirement, f"one that raises {str(error).strip().splitlines()[0]}"
        )
    return models


def _check_names(build: Callable[..., StarBattery], grid: Grid) -> None:
    """Refuse a grid over parameters that the model does not have, and one that leaves some open."""
    try:
        known = inspect.signature(build).parameters
    except (TypeError, ValueError) as error:
        requirement = (
            "a function of parameters, such as functools.partial(qbjax.StarBattery, kappa=0.1)"
        )
        kind = f"one whose arguments are wrong ({error})" if callable(build) else type(build)
        if isinstance(build, StarBattery):
            kind = "a model that is made already"
        require(False, "model", requirement, kind)
    no_numbers = {"N_max", "charger", "battery", "hamiltonian", "jumps", "frame"}
    listed = ", ".join(name for name in known if name not in no_numbers)
    any_name = any(each.kind is each.VAR_KEYWORD for each in known.values())
    fixed = build.keywords if isinstance(build, functools.partial) else {}
    for name in grid.values:
        there = (name in known and name != "N_max") or any_name
        free = name not in ("done", "chunk", "point")
        requirement = f"over parameters of the model ({listed})"
        require(there and free, "grid", requirement, f"over {name}")
        require(name not in fixed, "grid", "over what the model leaves open", f"over {name}")
    for name, each in known.items():
        single = each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        open_ = single and each.default is each.empty
        requirement = f"over {name} too, which the model needs"
        require(not open_ or name in grid.values, "grid", requirement, "without it")
    if "N" in grid.values:
        padded = "N_max" in known or any_name
        require(padded, "model", "a function that takes N_max, the padded size, beside N", listed)
