"""A sweep as it is computed, chunk by chunk."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import Status, require
from qbjax.sweeps import points
from qbjax.sweeps.grid import Chunks
from qbjax.sweeps.job import Job
from qbjax.sweeps.observables import PARAMETER_UNITS, Observable
from qbjax.sweeps.points import Answer, Points, Question, Solve
from qbjax.sweeps.store import Array, Layout, Parts

# Points of a chunk at most, where they are solved side by side and where one after the other.
_MANY, _FEW = 5000, 16
# Bytes that a chunk may work in.
_WORK = 1e9
# States of a point that are in memory at once: what is returned, and what GMRES keeps on a GPU.
_RETURNED, _KEPT = 4, 200

# The status of a point that a store does not hold yet.
_NOT_COMPUTED = -1
_FLAGS: dict[str, PyTree] = {
    "flag_values": [_NOT_COMPUTED, *(int(status) for status in Status)],
    "flag_meanings": " ".join(["NOT_COMPUTED", *(status.name for status in Status)]),
    "reasons": "; ".join(f"{status.name}: {status.reason}" for status in Status),
}


class Run:
    """A sweep in chunks of one shape."""

    def __init__(self, job: Job, shape: tuple[int, ...]):
        """Cut the grid."""
        self.job, self.shape = job, shape
        self.chunks = Chunks(tuple(job.grid.axes.values()), shape)
        self._programs: dict[tuple[int | None, str, bool], tuple[Solve, int]] = {}

    @classmethod
    def of(cls, job: Job, chunk_size: int | None) -> "Run":
        """Return the run with chunks of at most so many points; None goes by what points take."""
        return cls(job, job.grid.chunk_shape(chunk_size or _most(job), job.alike))

    def fitting(self) -> "Run":
        """Return the run with smaller chunks if its largest program needs too much memory."""
        needed = self._program(self._largest())[1]
        if needed <= _WORK:
            return self
        fewer = int(math.prod(self.shape) * _WORK / needed)
        return Run.of(self.job, max(fewer, 1))

    def points(self, number: int) -> int:
        """Return the number of points of a chunk."""
        return math.prod(part.stop - part.start for part in self.chunks[number])

    def solve(self, number: int) -> Parts:
        """Compute a chunk: for every array where it goes and the values."""
        solved = jax.device_get(self._program(number)[0](self._points(number)))
        part = dict(zip(self.job.names, self.chunks[number], strict=True))
        length = dict(zip(self.job.names, self.shape, strict=True))
        parts = {}
        for each in self.job.observables:
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
                parts[name] = where, block[crop]
        return parts

    @functools.cached_property
    def layout(self) -> Layout:
        """The arrays of the sweep, from the shapes of what its largest chunk computes."""
        shapes = self._shapes(self._largest())
        self._check_shapes(shapes)
        arrays: dict[str, Array] = {}
        for each in self.job.observables:
            arrays |= self._arrays(each, *shapes[each.name])
        own_dims = {dim for a in arrays.values() for dim in a.dims} - {*self.job.names}
        free = not own_dims & {*arrays, *self.job.grid.values}
        require(
            free, "observables", "of other names than the dimensions of arrays", sorted(own_dims)
        )
        coords = {
            name: (self.job.grid.axis_of(name), values, {"units": PARAMETER_UNITS.get(name, "")})
            for name, values in self.job.grid.values.items()
        }
        return Layout(arrays, coords, len(self.chunks))

    def _arrays(self, each: Observable, value: jax.Array, status: jax.Array) -> dict[str, Array]:
        """Return the arrays of an observable and of its status."""
        axes, length = self.job.axes(each), dict(zip(self.job.names, self.shape, strict=True))
        whole = tuple(self.job.grid.axes[name] for name in axes)
        chunk = tuple(length[name] for name in axes)
        own_shape = value.shape[status.ndim :]
        dims = axes + tuple(f"{each.name}_{i}" for i in range(len(own_shape)))
        words = {"units": each.units, "long_name": each.long_name}
        flags = {"long_name": f"status of {each.name}", **_FLAGS}
        dtype, code = np.dtype(value.dtype), np.dtype("int8")
        return {
            each.name: Array(dims, whole + own_shape, chunk + own_shape, dtype, np.nan, words),
            status_of(each.name): Array(axes, whole, chunk, code, _NOT_COMPUTED, flags),
        }

    def _check_shapes(self, largest: Answer) -> None:
        """Refuse arrays whose shape goes with the padded size of N."""
        arrays = [name for name, (value, status) in largest.items() if value.ndim > status.ndim]
        N = self.job.grid.values.get("N")
        if N is None or not arrays:
            return
        numbers = {self._key(number): number for number in map(self._with, range(len(N)))}
        for number in numbers.values():
            shapes = self._shapes(number)
            for name in arrays:
                one, other = (x[name][0].shape for x in (largest, shapes))
                requirement = f"of one shape at every padded size of N ({name})"
                require(one == other, "observables", requirement, f"of {one} and {other}")

    def _shapes(self, number: int) -> Answer:
        return jax.eval_shape(self._question(number).solve, self._points(number))

    def _largest(self) -> int:
        """Return the number of a chunk with the largest N, and with gamma_C from the first one."""
        N = self.job.grid.values.get("N")
        return 0 if N is None else self._with(int(np.argmax(N)))

    def _with(self, place: int) -> int:
        """Return the number of the first chunk with an N, from its place on its axis."""
        axis = self.job.names.index(self.job.grid.axis_of("N"))
        corner = [0] * len(self.shape)
        corner[axis] = place // self.shape[axis]
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
        parameters = {k: jnp.asarray(v, None if k == "N" else float) for k, v in outer.items()}
        return Points(jnp.arange(count), parameters, gamma_C)

    def _key(self, number: int) -> tuple[int | None, str, bool]:
        """Return padded size and method of a chunk, and whether it has optima: for gamma_C once."""
        taken, grid, inner = self._taken(number), self.job.grid, self.job.inner
        size, any_N = None, None
        if "N" in grid.values:
            sizes = grid.values["N"][taken[grid.axis_of("N")]]
            size, any_N = self.job.padded_size(sizes), int(sizes[0])
        return size, self.job.methods[any_N], inner is None or taken[inner][0] == 0

    def _question(self, number: int) -> Question:
        return self.job.question(*self._key(number))

    def _program(self, number: int) -> tuple[Solve, int]:
        """Return the compiled solver of a chunk and the memory that it needs."""
        key = self._key(number)
        if key not in self._programs:
            made = points.program(self._question(number), self._points(number))
            self._programs[key] = made
        return self._programs[key]


def status_of(name: str) -> str:
    """Return the name of the status of an observable."""
    return f"{name}_status"


def _most(job: Job) -> int:
    """Return how many points a chunk may have, unless the compiled program says less."""
    if job.exact:
        return _FEW if any(each.iterated for each in job.observables) else _MANY
    saved = 0 if job.ts is None else job.ts.size
    state = 16 * (job.first.charger.levels * job.first.levels) ** 2
    if jax.default_backend() == "cpu":
        return int(np.clip(_WORK / (_RETURNED * state + 16 * saved), 1, _FEW))
    return int(np.clip(_WORK / (_KEPT * state + 16 * saved), 1, _MANY))
