"""Where the numbers of a sweep are kept: in memory, or in a Zarr store that outlives the process.

Every chunk of a sweep is a chunk of every array of the store, written atomically. Its number in
the array `done` is written last, so that a chunk is either whole or computed again.
"""

import errno
import functools
import glob
import itertools
import json
import os
import shutil
import textwrap
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import numpy as np

from qbjax.common.checks import ArgumentError, require
from qbjax.sweeps.claims import Claims

if TYPE_CHECKING:
    from xarray import Dataset

# For every array where a chunk belongs in it, and the values.
Parts = dict[str, tuple[tuple[slice, ...], np.ndarray]]


class Array(eqx.Module):
    """What is known of an array before it is computed."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype
    missing: float
    attrs: dict[str, Any]


class Layout(eqx.Module):
    """A sweep before it is computed: arrays and coordinates by name, and the number of chunks."""

    arrays: dict[str, Array]
    coords: dict[str, tuple[str, np.ndarray, dict[str, Any]]]
    count: int

    @property
    def size(self) -> int:
        """The bytes of all arrays."""
        return sum(
            int(np.prod(a.shape, dtype=object)) * a.dtype.itemsize for a in self.arrays.values()
        )


class Memory:
    """Arrays in memory."""

    def __init__(self, layout: Layout):
        """Make the arrays."""
        self.layout = layout
        self._attrs: dict[str, Any] = {}
        self._arrays = {name: np.empty(a.shape, a.dtype) for name, a in layout.arrays.items()}
        self.done = np.zeros(layout.count, bool)
        self.signed = False

    def free(self) -> list[int]:
        """Return the chunks that are to be done."""
        return np.flatnonzero(~self.done).tolist()

    @contextmanager
    def claimed(self, number: int) -> Iterator[bool]:
        """Claim a chunk, which nobody else does."""
        yield True

    def write(self, number: int, parts: Parts) -> None:
        """Write what a chunk gives."""
        for name, (where, values) in parts.items():
            self._arrays[name][where] = values
        self.done[number] = True

    def sign(self, attrs: dict[str, Any]) -> None:
        """Keep what the chunks were made with."""
        self._attrs = attrs

    def dataset(self) -> "Dataset":
        """Return the arrays, labelled."""
        import xarray

        arrays = self.layout.arrays
        variables = {k: (arrays[k].dims, each, arrays[k].attrs) for k, each in self._arrays.items()}
        return xarray.Dataset(variables, self.layout.coords, self._attrs)


class Store:
    """Arrays in a Zarr group on disk, with what the sweep is in its attributes."""

    def __init__(self, path: Path, what: dict[str, object]):
        """Open the store of a sweep; one of another sweep is refused."""
        import zarr

        self.path, self._directory, self._claims = path, which(path), Claims(path)
        group: Any = zarr.open_group(path, mode="r+")
        _require_same(path, json.loads(group.attrs["sweep"]), what)
        self.group = group
        self.chunk_shape: tuple[int, ...] = tuple(group.attrs["chunk_shape"])
        # A process that was killed after its last chunk has not said what it was made with.
        self.signed = "method" in group.attrs

    @property
    def done(self) -> np.ndarray:
        """Which chunks are done, by this process or by others."""
        marked = np.zeros(self.group["done"].shape, bool)
        # A chunk of one number each, there or not: far quicker than reading them.
        chunks = self._marks.glob("*")
        marked[[int(each.name) for each in chunks if each.name.isdigit()]] = True
        return marked

    @property
    def _marks(self) -> Path:
        return self.path / "done" / "c"

    def free(self) -> list[int]:
        """Return the chunks that are to be done and that no process is at work on."""
        held = self._claims.held()
        return [number for number in np.flatnonzero(~self.done).tolist() if str(number) not in held]

    @contextmanager
    def claimed(self, number: int) -> Iterator[bool]:
        """Claim a chunk; tell whether nobody has, and it is not done."""
        if (self._marks / str(number)).exists():
            yield False
            return
        with self._claims.claimed(str(number)) as ours:
            yield ours and not (self._marks / str(number)).exists()

    def write(self, number: int, parts: Parts) -> None:
        """Write what a chunk gives, and then that it is done."""
        self._require_untouched()
        with _writing(self.path):
            for name, (where, values) in parts.items():
                self.group[name][where] = values
            self.group["done"][number] = 1

    def sign(self, attrs: dict[str, Any]) -> None:
        """Write what the chunks were made with; times of several calls add up."""
        import zarr

        self._require_untouched()
        with self._claims.awaited("attributes"), _writing(self.path):
            # Another process may have signed since this one opened it.
            group: Any = zarr.open_group(self.path, mode="r+")
            before = group.attrs.get("wall_time", 0.0)
            group.attrs.update(attrs | {"wall_time": before + attrs["wall_time"]})

    def _require_untouched(self) -> None:
        """Refuse to write into what has taken the place of the store."""
        untouched = which(self.path) == self._directory
        one = "left in its place while a sweep is at work"
        require(untouched, "store", one, f'"{self.path}", which another process has replaced')

    def dataset(self) -> "Dataset":
        """Return the arrays, labelled; their values are read when they are used."""
        import xarray

        self._require_untouched()
        dataset = xarray.open_zarr(
            self.path, chunks=None, consolidated=False, mask_and_scale=False, decode_times=False
        )
        del dataset.attrs["sweep"], dataset.attrs["chunk_shape"]
        return dataset.drop_vars("done")


def opened(path: Path, what: dict[str, object]) -> Store:
    """Open the store of a sweep; where another process is replacing it just now, a moment later."""
    for _ in range(100):
        if is_sweep(path):
            break
        time.sleep(0.01)
    return Store(path, what)


def located(store: str | os.PathLike[str]) -> Path:
    """Return the path of a store, or of what a link leads to, which can be renamed over."""
    path = Path(store).expanduser()
    return path.resolve() if path.is_symlink() else path


def check_path(store: str | os.PathLike[str]) -> Path:
    """Return the path of a store; refuse what cannot be written, or holds anything but a sweep."""
    named = isinstance(store, str | os.PathLike) and str(store) != ""
    require(named, "store", "the path of a directory", repr(store))
    local = "a local directory (make it there, and copy it when it is done)"
    require("://" not in str(store), "store", local, f'"{store}"')
    path = located(store)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = not path.exists() or not any(path.iterdir())
    except OSError as error:
        requirement = "a directory that can be written"
        require(False, "store", requirement, f'"{path}" ({error.strerror})')
    writable = os.access(path if path.exists() else path.parent, os.W_OK)
    require(writable, "store", "a directory that can be written", f'"{path}" (no permission)')
    require(free or is_sweep(path), "store", "a new directory or that of a sweep", f'"{path}"')
    return path


def _beside(path: Path, what: str) -> Path:
    """Return a new name beside a store, which no other process has."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.{what}")


def _clear(path: Path) -> None:
    """Remove what processes that were killed left beside a store a day ago."""
    for what in ("making", "discarded"):
        for litter in path.parent.glob(f"{glob.escape(path.name)}.*.{what}"):
            # Another process may remove its own at this moment.
            with suppress(FileNotFoundError):
                if time.time() - litter.stat().st_mtime > 86400:
                    shutil.rmtree(litter, ignore_errors=True)


def which(path: Path) -> int | None:
    """Return what tells a directory from any other that takes its place; None where none is."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def prepare(
    path: Path,
    layout: Layout,
    shape: tuple[int, ...],
    what: dict[str, object],
    in_place_of: int | None,
) -> None:
    """Make the store of a sweep, beside its path first, so that what is there is whole.

    Where another process was quicker, its store stands; only the directory that is named by `which`
    is replaced.
    """
    making, discarded = _beside(path, "making"), _beside(path, "discarded")
    with _writing(path):
        try:
            _fill(making, layout, shape, what)
            while not _moved(making, path) and which(path) == in_place_of:
                _moved(path, discarded)
                if which(discarded) != in_place_of:
                    # Another process replaced it in between.
                    _moved(discarded, path)
        finally:
            for litter in (making, discarded):
                shutil.rmtree(litter, ignore_errors=True)
        _clear(path)


def _moved(path: Path, to: Path) -> bool:
    """Rename a directory, unless it is gone or another one is there; tell whether it was done."""
    try:
        path.rename(to)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = "what is there is kept: make room and call again with the same store"
        else:
            advice = "give a store in a directory that can be written; what is there is kept"
        raise OSError(error.errno, f"{error.strerror} ({advice})", str(path)) from error


def _fill(path: Path, layout: Layout, shape: tuple[int, ...], what: dict[str, object]) -> None:
    """Write a store of which no chunk is done."""
    import zarr

    named = {"coordinates": " ".join(layout.coords)}
    attributes = {"sweep": json.dumps(what), "chunk_shape": list(shape), **named}
    group = zarr.create_group(path, attributes=attributes)
    whole: Any = {"write_empty_chunks": True}
    for name, (dim, values, attrs) in layout.coords.items():
        group.create_array(
            name, data=values, dimension_names=(dim,), attributes=attrs, config=whole
        )
    for name, a in layout.arrays.items():
        group.create_array(
            name,
            shape=a.shape,
            chunks=a.chunks,
            dtype=a.dtype,
            dimension_names=a.dims,
            attributes=a.attrs,
            config=whole,
            fill_value=a.missing,
        )
    count = (layout.count,)
    group.create_array(
        "done", shape=count, chunks=(1,), dtype="int8", dimension_names=("chunk",), config=whole
    )


def is_sweep(path: Path) -> bool:
    """Tell whether a store of a sweep is there."""
    try:
        return "sweep" in json.loads((path / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError):
        return False


def _require_same(
    path: Path, stored: dict[str, object], asked: dict[str, object], of: str = ""
) -> None:
    """Refuse the store of another sweep, naming the first difference."""
    for key in (*asked, *(stored.keys() - asked.keys())):
        there, here = stored.get(key), asked.get(key)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            _require_same(path, there, here, f"{of}{key} ")
        lengths = [len(each) for each in (there, here) if isinstance(each, list)]
        if len(set(lengths)) == 2 and sum(lengths) > 12:
            there, here = (f"{length} values" for length in lengths)
        there, here = _from_the_difference(str(there), str(here))
        raise ArgumentError(
            f"Argument `store` must be that of the same sweep, but in {path} {of}{key} is {there}, "
            f"not {here}: name another store, or overwrite this one."
        )


def _from_the_difference(there: str, here: str) -> tuple[str, str]:
    """Return two long texts from a little before where they differ."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(there, here, strict=False))
    start = max(sum(1 for _ in same) - 30, 0)
    dots = "... " * (start > 0)
    short = functools.partial(textwrap.shorten, width=200, placeholder=" ...")
    return dots + short(there[start:]), dots + short(here[start:])
