"""What a store must hold out against."""

import numpy as np
import pytest
import xarray
from sweeping import GRID, ONE, check_same, sweep

import qbjax as qb
from qbjax.sweeps import run as runs


def computed(monkeypatch):
    """Return the numbers of the chunks that are computed from now on."""
    numbers, solve = [], runs.Run.solve
    monkeypatch.setattr(runs.Run, "solve", lambda run, n: (numbers.append(n), solve(run, n))[1])
    return numbers


def test_an_interrupted_sweep_goes_on(tmp_path, monkeypatch):
    store, write = tmp_path / "s.zarr", qb.sweeps.store.Store.write
    arguments = qb.StarBattery, GRID, ("energy", "ergotropy")
    whole = sweep(*arguments)

    def fail(kept, number, parts):
        if number == 3:
            # One array of the chunk is there, and the chunk is not done.
            where, values = parts["energy"]
            kept.group["energy"][where] = values + 1.0
            raise KeyboardInterrupt
        write(kept, number, parts)

    with monkeypatch.context() as patched:
        patched.setattr(qb.sweeps.store.Store, "write", fail)
        with pytest.raises(KeyboardInterrupt):
            sweep(*arguments, store=store, chunk_size=3)
    numbers = computed(monkeypatch)
    check_same(sweep(*arguments, store=store), whole)
    assert numbers == list(range(3, 12))
    check_same(sweep(*arguments, store=store), whole)
    assert numbers == list(range(3, 12))
    check_same(sweep(*arguments, store=store, overwrite=True, chunk_size=24), whole)
    assert numbers[9:] == [0]


def test_a_store_is_made_whole_or_not_at_all(tmp_path, monkeypatch):
    store = tmp_path / "s.zarr"
    arguments = qb.StarBattery, {"N": [1, 2], "F": [0.5]}, "energy"

    def killed(path, *_):
        (path / "energy").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(qb.sweeps.store, "_fill", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(*arguments, store=store)
    whole = sweep(*arguments, store=store)
    # What takes its place is checked first, and then made beside it.
    with pytest.raises(qb.ArgumentError):
        sweep(*arguments[:2], qb.grad_of("energy", "kappa"), store=store, overwrite=True)
    with monkeypatch.context() as patched:
        patched.setattr(qb.sweeps.store, "_fill", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(qb.StarBattery, {"N": [3], "F": [0.5]}, store=store, overwrite=True)
    numbers = computed(monkeypatch)
    check_same(sweep(*arguments, store=store), whole)
    assert numbers == []
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_a_sweep_that_was_killed_after_its_last_chunk_says_what_it_was_made_with(
    tmp_path, monkeypatch
):
    given = ONE, {"F": [0.4, 0.5]}, "energy"
    with monkeypatch.context() as patched:
        patched.delattr(qb.sweeps.store.Store, "sign")
        with pytest.raises(AttributeError):
            sweep(*given, store=tmp_path / "s.zarr")
    numbers = computed(monkeypatch)
    assert sweep(*given, store=tmp_path / "s.zarr").attrs["method"] == "exact"
    assert numbers == []


def test_what_is_not_computed_yet_says_so_on_disk(tmp_path, monkeypatch):
    store = tmp_path / "s.zarr"
    write = qb.sweeps.store.Store.write

    def once(kept, number, parts):
        if number:
            raise KeyboardInterrupt
        write(kept, number, parts)

    monkeypatch.setattr(qb.sweeps.store.Store, "write", once)
    with pytest.raises(KeyboardInterrupt):
        sweep(ONE, {"F": [0.4, 0.5, 0.6]}, store=store, chunk_size=1)
    read = xarray.open_zarr(store, chunks=None, consolidated=False)
    np.testing.assert_array_equal(np.isnan(read.energy), [False, True, True])
    np.testing.assert_array_equal(read.energy_status, [0, -1, -1])
    assert read.energy_status.attrs["flag_meanings"].split()[0] == "NOT_COMPUTED"


def test_a_store_must_be_a_directory_of_its_own(tmp_path):
    (tmp_path / "file").write_text("mine")
    given = ONE, {"F": [0.5]}, "energy"
    for path in (tmp_path / "file", tmp_path / "file" / "s.zarr"):
        with pytest.raises(qb.ArgumentError, match="`store` must be a directory that can be wri"):
            sweep(*given, store=path)
    for overwrite in (False, True):
        with pytest.raises(qb.ArgumentError, match="`store` must be a new directory or that of"):
            sweep(*given, store=tmp_path, overwrite=overwrite)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_store_elsewhere_is_refused():
    with pytest.raises(qb.ArgumentError, match="`store`"):
        sweep(qb.StarBattery, {"N": [1], "F": [0.5]}, ("energy",), store="s3://bucket/grid.zarr")
