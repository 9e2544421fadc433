"""The grid of a sweep: its axes, and how it is cut into chunks of one shape."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qbjax.common.checks import require
from qbjax.common.types import ArrayLike

# Most padded sizes of a sweep over N, of which one may be solved by two methods; and neighbours in
# N that one chunk holds.
_SIZES, _N_TOGETHER = 5, 8
# From here on each size is worth a program of its own.
_LARGE = 4096


class Grid:
    """Parameters and their values along axes.

    Attributes
    ----------
    values
        The values of each parameter, one-dimensional.
    axes
        The lengths of the axes by name: one axis for each parameter, or "point" for all together.
    together
        Whether the parameters go together, point by point.
    """

    def __init__(self, grid: Mapping[str, ArrayLike | range], together: bool):
        """Check the values."""
        mapping = isinstance(grid, Mapping) and len(grid) > 0
        require(mapping, "grid", "values of parameters by name, at least one", repr(grid))
        self.values = {name: _values(name, values) for name, values in grid.items()}
        self.together = together
        lengths = {name: len(values) for name, values in self.values.items()}
        one = len(set(lengths.values())) == 1
        once = together or all(len(np.unique(x)) == len(x) for x in self.values.values())
        require(once, "grid", "of different values for each parameter", "with some twice")
        requirement = 'of one length for all parameters with combine="zip"'
        require(one or not together, "grid", requirement, lengths)
        self.axes = {"point": next(iter(lengths.values()))} if together else lengths

    def axis_of(self, name: str) -> str:
        """Return the axis along which a parameter varies."""
        return "point" if self.together else name

    def padded_size(self, N: np.ndarray, smallest: int) -> int:
        """Return the size that these N are padded to, one of at most five below 4096.

        It is the largest N of the grid, halved while it fits and is no smaller than `smallest`.
        """
        size, small = int(np.max(self.values["N"])), 0
        while (half := -(-size // 2)) >= max(smallest, int(np.max(N))):
            small += half < _LARGE
            if small == _SIZES:
                break
            size = half
        return size

    def chunk_shape(self, most: int, alike: bool = True) -> tuple[int, ...]:
        """Return the shape of chunks of at most so many points.

        gamma_C is kept whole as long as possible, since points that differ in it share work; a
        chunk holds a few neighbours in N, which share a padded size, or one N where those are not
        solved alike or are many.
        """
        order = sorted(self.axes, key=lambda name: (name == "N") - (name == "gamma_C"))
        shape, left = {}, most
        for name in order:
            few = _N_TOGETHER if name == "N" else left
            is_large = np.max(self.values.get("N", 0)) >= _LARGE
            if "N" in self.values and name == self.axis_of("N") and (is_large or not alike):
                few = 1
            length = min(self.axes[name], left, few)
            # Parts of nearly equal length, so that the last one is not nearly empty.
            shape[name] = math.ceil(self.axes[name] / math.ceil(self.axes[name] / length))
            left = max(left // shape[name], 1)
        return tuple(shape[name] for name in self.axes)


def _values(name: str, values: ArrayLike | range) -> np.ndarray:
    array = np.asarray(list(values) if isinstance(values, range) else values)
    text = f"{name} = {np.array2string(array, threshold=10)}"
    flat = array.ndim == 1 and array.dtype.kind in "iuf"
    require(flat, "grid", "sequences of numbers by name (constants belong in the model)", text)
    require(array.size > 0, "grid", "of at least one value for each parameter", text)
    require(np.all(np.isfinite(array)), "grid", "of finite numbers", text)
    if name != "N":
        return array
    whole = np.round(array).astype(int)
    # Those of a geometric spacing are rounded.
    are_counts = np.allclose(array, whole, rtol=1e-9, atol=0) and np.min(whole) >= 1
    require(are_counts, "grid", "of integers of at least 1 for N", text)
    return whole


class Chunks(Sequence[tuple[slice, ...]]):
    """The chunks of a grid, as slices of its axes: none is stored."""

    def __init__(self, lengths: tuple[int, ...], shape: tuple[int, ...]):
        """Cut axes of these lengths into chunks of one shape."""
        self.lengths, self.shape = lengths, shape
        self.counts = tuple(-(-a // b) for a, b in zip(lengths, shape, strict=True))

    def __len__(self) -> int:
        """Return the number of chunks."""
        return math.prod(self.counts)

    def __getitem__(self, number: Any) -> Any:
        """Return one chunk."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        starts = np.unravel_index(number, self.counts)
        return tuple(
            slice(int(i) * step, min((int(i) + 1) * step, length))
            for i, step, length in zip(starts, self.shape, self.lengths, strict=True)
        )
