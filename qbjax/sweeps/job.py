"""A sweep as it is computed: what is asked for, and its chunks one by one."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbjax.checks import Status, require
from qbjax.evolve import choose as choose_evolution
from qbjax.models import StarBattery
from qbjax.steady import choose as choose_steady
from qbjax.sweeps import points, provenance
from qbjax.sweeps.grid import Chunks, Grid
from qbjax.sweeps.observables import RATE, Observable
from qbjax.sweeps.points import Points, Solve
from qbjax.sweeps.store import Array, Layout, Parts

# Points of a chunk at most, where they are solved side by side and where one after the other.
_MANY, _FEW = 5000, 128
# Sizes that N is padded to at least: one more program to compile must be worth its while.
_SMALLEST_EXACT, _SMALLEST = 64, 8
# Bytes that a chunk may work in.
_WORK = 1e9
# States of a point that are in memory at once: what is returned, and what GMRES keeps on a GPU.
_RETURNED, _KEPT = 4, 200

_COLLECTIVE = ("Gamma_down", "Gamma_up", "Gamma_z")
_RATES = ("F", "g", "gamma_C", "omega_B", "omega_C", "omega_d", "kappa", *_COLLECTIVE)
_UNITS = {"N": "1", "nbar": "1", **dict.fromkeys(_RATES, RATE)}
# The status of a point that a store does not hold yet.
_NOT_COMPUTED = -1
_FLAGS: dict[str, Any] = {
    "flag_values": [_NOT_COMPUTED, *(int(status) for status in Status)],
    "flag_meanings": " ".join(["NOT_COMPUTED", *(status.name for status in Status)]),
    "reasons": "; ".join(f"{status.name}: {status.reason}" for status in Status),
}


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

    def solver(self, size: int | None, with_optima: bool) -> Solve:
        """Return the solver of points whose N are padded to a size; None where N is fixed."""
        build = self.build if size is None else functools.partial(self.build, N_max=size)
        wanted = tuple(each for each in self.wanted if with_optima or not each.of_optimum)
        question = points.Question(build, wanted, self.method, self.ts)
        solve = points.solve_exactly if self.exact else points.solve_generally
        return functools.partial(solve, question)

    def most(self) -> int:
        """Return how many points a chunk may have, unless the compiled program says less."""
        if self.exact:
            return _FEW if any(each.iterated for each in self.wanted) else _MANY
        state = 16 * (self.first.charger.levels * self.first.levels) ** 2
        if jax.default_backend() == "cpu":
            return int(np.clip(_WORK / (_RETURNED * state), 1, _FEW))
        return int(np.clip(_WORK / (_KEPT * state), 1, _MANY))

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
        model = _first_model(self.build, self.grid, size)
        if model.depends_on_time:
            return choose_evolution(model, "auto")[0]
        return choose_steady(model, self.method)[0]


def _first_model(build: Callable[..., StarBattery], grid: Grid, size: int | None) -> StarBattery:
    """Return the model at the first point, of the smallest N, padded to a size."""
    first = {name: values[0] for name, values in grid.values.items()}
    if size is None:
        return build(**first)
    return build(**first | {"N": np.min(grid.values["N"])}, N_max=size)


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


class Run:
    """A sweep in chunks of one shape."""

    def __init__(self, job: Job, shape: tuple[int, ...]):
        """Cut the grid."""
        self.job, self.shape = job, shape
        self.chunks = Chunks(tuple(job.grid.axes.values()), shape)
        self._programs: dict[tuple[int | None, bool], tuple[Solve, int]] = {}

    def fitting(self) -> "Run":
        """Return the run with smaller chunks if its largest program needs too much memory."""
        needed = self._program(self._largest())[1]
        if needed <= _WORK:
            return self
        fewer = int(math.prod(self.shape) * _WORK / needed)
        return Run(self.job, self.job.grid.chunk_shape(max(fewer, 1)))

    def points(self, number: int) -> int:
        """Return the number of points of a chunk."""
        return math.prod(part.stop - part.start for part in self.chunks[number])

    def solve(self, number: int) -> Parts:
        """Compute a chunk: for every array where it goes and the values."""
        solved = jax.device_get(self._program(number)[0](self._points(number)))
        part = dict(zip(self.job.names, self.chunks[number], strict=True))
        length = dict(zip(self.job.names, self.shape, strict=True))
        found = {}
        for each in self.job.wanted:
            if each.name not in solved:
                continue
            axes = self.job.axes(each)
            where = tuple(part[name] for name in axes)
            crop = tuple(slice(0, part[name].stop - part[name].start) for name in axes)
            # Computed with gamma_C as the last of the axes.
            computed = sorted(axes, key=lambda name: name == self.job.inner)
            back = [computed.index(name) for name in axes]
            lengths = tuple(length[name] for name in computed)
            value, status = solved[each.name]
            for name, values in ((each.name, value), (status_of(each.name), status)):
                block = values.reshape(lengths + values.shape[status.ndim :])
                block = block.transpose(*back, *range(len(back), block.ndim))
                found[name] = where, block[crop]
        return found

    def layout(self) -> Layout:
        """Return the arrays of the sweep, from the shapes of what its largest chunk computes."""
        number = self._largest()
        shapes = jax.eval_shape(self._solver(number), self._points(number))
        self._check_shapes(shapes)
        length = dict(zip(self.job.names, self.shape, strict=True))
        arrays = {}
        for each in self.job.wanted:
            value, status = shapes[each.name]
            own = value.shape[status.ndim :]
            axes = self.job.axes(each)
            whole = tuple(self.job.grid.axes[name] for name in axes)
            chunk = tuple(length[name] for name in axes)
            dims = axes + tuple(f"{each.name}_{i}" for i in range(len(own)))
            attrs = {"units": each.units, "long_name": each.long_name}
            dtype = np.dtype(value.dtype)
            arrays[each.name] = Array(dims, whole + own, chunk + own, dtype, np.nan, attrs)
            attrs = {"long_name": f"status of {each.name}", **_FLAGS}
            code = Array(axes, whole, chunk, np.dtype("int8"), _NOT_COMPUTED, attrs)
            arrays[status_of(each.name)] = code
        own = {dim for a in arrays.values() for dim in a.dims} - {*self.job.names}
        free = not own & {*arrays, *self.job.grid.values}
        require(free, "observables", "of other names than the dimensions of arrays", sorted(own))
        coords = {
            name: (self.job.grid.axis_of(name), values, {"units": _UNITS.get(name, "")})
            for name, values in self.job.grid.values.items()
        }
        return Layout(arrays, coords, len(self.chunks))

    def _check_shapes(self, largest: Any) -> None:
        """Refuse arrays whose shape goes with the padded size of N."""
        arrays = [
            each
            for each in self.job.wanted
            if largest[each.name][0].ndim > largest[each.name][1].ndim
        ]
        for number in self._of_each_size() if arrays else ():
            shapes = jax.eval_shape(self._solver(number), self._points(number))
            for each in arrays:
                found = [x[each.name][0].shape for x in (largest, shapes)]
                wanted = f"of one shape at every padded size of N ({each.name})"
                require(
                    found[0] == found[1], "observables", wanted, f"of {found[0]} and {found[1]}"
                )

    def _of_each_size(self) -> list[int]:
        """Return the number of a chunk for every padded size of N."""
        if "N" not in self.job.grid.values:
            return []
        numbers = {}
        axis = self.job.names.index(self.job.grid.axis_of("N"))
        for place in range(self.chunks.counts[axis]):
            corner = [0] * len(self.shape)
            corner[axis] = place
            number = int(np.ravel_multi_index(corner, self.chunks.counts))
            numbers[self._key(number)] = number
        return list(numbers.values())

    def _largest(self) -> int:
        """Return the number of a chunk with the largest N, and with gamma_C from the first one."""
        corner = [0] * len(self.shape)
        if "N" in self.job.grid.values:
            axis = self.job.names.index(self.job.grid.axis_of("N"))
            corner[axis] = int(np.argmax(self.job.grid.values["N"])) // self.shape[axis]
        return int(np.ravel_multi_index(corner, self.chunks.counts))

    def _taken(self, number: int) -> dict[str, np.ndarray]:
        """Return the places on the axes; the last chunk is filled up with the last place."""
        return {
            name: np.minimum(np.arange(part.start, part.start + length), part.stop - 1)
            for name, part, length in zip(
                self.job.names, self.chunks[number], self.shape, strict=True
            )
        }

    def _points(self, number: int) -> Points:
        """Return the points of a chunk."""
        taken, grid, inner = self._taken(number), self.job.grid, self.job.inner
        if grid.together:
            outer = {name: values[taken["point"]] for name, values in grid.values.items()}
            count = self.shape[0]
        else:
            names = [name for name in self.job.names if name != inner]
            mesh = np.meshgrid(*(grid.values[name][taken[name]] for name in names), indexing="ij")
            outer = {name: each.ravel() for name, each in zip(names, mesh, strict=True)}
            count = math.prod(len(taken[name]) for name in names)
        gamma_C = None if inner is None else jnp.asarray(grid.values[inner][taken[inner]], float)
        given = {k: jnp.asarray(v, None if k == "N" else float) for k, v in outer.items()}
        return Points(jnp.arange(count), given, gamma_C)

    def _key(self, number: int) -> tuple[int | None, bool]:
        """Return the padded size of a chunk, and whether it computes optima: for gamma_C once."""
        taken, grid, inner = self._taken(number), self.job.grid, self.job.inner
        size = None
        if "N" in grid.values:
            size = self.job.padded_size(grid.values["N"][taken[grid.axis_of("N")]])
        return size, inner is None or taken[inner][0] == 0

    def _solver(self, number: int) -> Solve:
        return self.job.solver(*self._key(number))

    def _program(self, number: int) -> tuple[Solve, int]:
        """Return the compiled solver of a chunk and the memory that it needs."""
        key = self._key(number)
        if key not in self._programs:
            optima = {each.name for each in self.job.wanted if each.of_optimum}
            made = points.program(
                self._solver(number), self._points(number), optima, self.job.exact
            )
            self._programs[key] = made
        return self._programs[key]


def status_of(name: str) -> str:
    """Return the name of the status of an observable."""
    return f"{name}_status"
