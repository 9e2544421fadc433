"""Sweeps against Python loops over the solvers, and what a store must hold out against."""

import functools
import io
import itertools
import json
import math
import os
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from helpers import mp_energy

import qbjax as qb
from qbjax.plotting import datasets
from qbjax.sweeps import observables, points
from qbjax.sweeps import run as runs
from qbjax.sweeps.config import from_toml
from qbjax.sweeps.grid import Chunks, Grid
from qbjax.sweeps.job import Job
from qbjax.sweeps.observables import observable
from qbjax.sweeps.sweep import summary

GRID = {"N": [1, 2, 5], "F": [0.3, 2.0], "gamma_C": [0.05, 0.4, 3.0, 40.0]}
NAMES = ("energy", "ergotropy", "relaxation_time", "tau_decay_rate", "tau_star_decay_rate")
sweep = functools.partial(qb.sweep, progress=False)


def loop(grid):
    """The same numbers, point by point, each N in its own size."""
    found = {name: np.empty([len(v) for v in grid.values()]) for name in NAMES}
    for i, N in enumerate(grid["N"]):
        for j, F in enumerate(grid["F"]):
            best = qb.optimal_dephasing(qb.StarBattery(N, F), "decay_rate")
            for k, gamma_C in enumerate(grid["gamma_C"]):
                model = qb.StarBattery(N, F, gamma_C=gamma_C)
                state = qb.steady_state(model)
                for name in NAMES[:3]:
                    found[name][i, j, k] = getattr(state, name)
                found["tau_decay_rate"][i, j, k] = qb.charging_time(model, "decay_rate").tau
            found["tau_star_decay_rate"][i, j] = best.tau
    found["tau_star_decay_rate"] = found["tau_star_decay_rate"][:, :, 0]
    return found


def check_same(found, other, rtol=1e-11):
    assert set(found.data_vars) == set(other.data_vars)
    for name in found.data_vars:
        assert found[name].dims == other[name].dims
        np.testing.assert_allclose(found[name], other[name], rtol=rtol, err_msg=str(name))


@pytest.mark.parametrize("most", [1, 2, 3, 5, 24, 1000])
def test_chunks_cover_every_point_once(most):
    for together in (False, True):
        values = {"N": range(1, 13), "F": np.arange(12), "gamma_C": np.linspace(1, 2, 12)}
        grid = Grid(values, together)
        shape = grid.chunk_shape(most)
        assert np.prod(shape) <= most
        seen = np.zeros(tuple(grid.axes.values()), int)
        chunks = Chunks(seen.shape, shape)
        for part in chunks:
            seen[part] += 1
        np.testing.assert_array_equal(seen, 1)
        assert len(chunks) <= 2.1 * max(seen.size / most, 1) + 3


def test_few_padded_sizes():
    for largest, smallest in ((64, 8), (1000, 64), (5, 8), (10**6, 1)):
        N = np.unique(np.geomspace(1, largest, 200).astype(int))
        grid = Grid({"N": N}, False)
        sizes = {grid.padded_size(each, smallest) for each in N}
        assert len(sizes) <= 6
        assert all(each <= grid.padded_size(each, smallest) <= largest for each in N)
        assert largest in sizes
    assert {Grid({"N": [64, 20, 3]}, False).padded_size(N, 8) for N in (64, 20, 3)} == {64, 32, 8}


def test_a_sweep_is_a_loop_however_it_is_cut_and_kept(tmp_path):
    expected = loop(GRID)
    whole = sweep(qb.StarBattery, GRID, NAMES)
    for name in NAMES:
        np.testing.assert_allclose(whole[name], expected[name], rtol=1e-11, err_msg=name)
        np.testing.assert_array_equal(whole[f"{name}_status"], 0)
    assert whole.energy.dims == ("N", "F", "gamma_C")
    assert whole.tau_star_decay_rate.dims == ("N", "F")
    check_same(sweep(qb.StarBattery, GRID, NAMES, chunk_size=3), whole)
    turned = dict(reversed(GRID.items()))
    kept = sweep(qb.StarBattery, turned, NAMES, chunk_size=5, store=tmp_path / "s.zarr")
    assert kept.energy.dims == ("gamma_C", "F", "N")
    check_same(kept.transpose("N", "F", "gamma_C"), whole)
    # What others read of it, without qbjax.
    read = xarray.open_zarr(tmp_path / "s.zarr", chunks=None, consolidated=False)
    np.testing.assert_array_equal(read.ergotropy, kept.ergotropy)
    assert read.gamma_C.attrs["units"] == "unit of g"


def test_points_together():
    values = {"N": [5, 1, 2], "F": [2.0, 0.3, 2.0], "gamma_C": [0.05, 3.0, 40.0]}
    found = sweep(qb.StarBattery, values, NAMES, combine="zip", chunk_size=2)
    whole = sweep(qb.StarBattery, GRID, NAMES)
    assert found.energy.dims == found.tau_star_decay_rate.dims == ("point",)
    for i in range(3):
        at = {name: values[name][i] for name in values}
        for name in NAMES:
            here = whole[name].sel({k: v for k, v in at.items() if k in whole[name].dims})
            np.testing.assert_allclose(found[name][i], here, rtol=1e-11)
            assert {k: found[k][i].item() for k in at} == at


ONE = functools.partial(qb.StarBattery, N=2)


def late(model, steady, trajectory):
    """Energy that is still to come, and the populations."""
    return jnp.append(steady.energy - trajectory.energy[-1], steady.populations)


def test_functions_and_derivatives():
    model = functools.partial(qb.StarBattery, N=3)
    grid = {"F": [0.4, 1.5], "gamma_C": [0.3, 2.0]}
    wanted = (late, qb.grad_of("ergotropy", "F"), qb.grad_of("tau_decay_rate", "gamma_C"))
    found = sweep(model, grid, wanted, ts=[0.0, 7.0])
    assert found.late.attrs["long_name"] == late.__doc__
    assert found.late.shape == (2, 2, 5)
    h = 1e-4
    for i, F in enumerate(grid["F"]):
        for j, gamma_C in enumerate(grid["gamma_C"]):
            left = 1.5 - float(mp_energy(3, F, 1.0, gamma_C, [7.0])[0])
            np.testing.assert_allclose(found.late[i, j, 0], left, rtol=1e-8)
            np.testing.assert_allclose(found.late[i, j, 1:].sum(), 1.0, rtol=1e-12)
            ergotropy = [qb.steady_state(model(F=F + x)).ergotropy for x in (-h, h)]
            slope = (ergotropy[1] - ergotropy[0]) / (2 * h)
            np.testing.assert_allclose(found.d_ergotropy_d_F[i, j], slope, rtol=1e-6)
            tau = [
                qb.charging_time(model(F=F, gamma_C=gamma_C + x), "decay_rate").tau for x in (-h, h)
            ]
            slope = (tau[1] - tau[0]) / (2 * h)
            np.testing.assert_allclose(found.d_tau_decay_rate_d_gamma_C[i, j], slope, rtol=1e-6)


@pytest.mark.parametrize("status", qb.Status)
def test_a_value_stands_where_it_can_be_trusted_or_is_ambiguous(status):
    model = qb.StarBattery(2, 0.5)
    twice = observables.Observable(
        "twice", "", "", lambda solved: (2 * solved.model.F, jnp.asarray(int(status)))
    )
    solved = observables.Solved(model, "auto", None)
    value, found = observables.measure(solved, (twice,))["twice"]
    assert found == status
    if status in (qb.Status.OK, qb.Status.AMBIGUOUS):
        assert value == 1.0
    else:
        assert np.isnan(value)


def test_what_has_no_answer_is_nan_with_a_reason():
    grid = {"F": [0.0, 0.5], "N": [2, 3], "gamma_C": [0.0, 0.3, 1.0]}
    found = sweep(qb.StarBattery, grid, ("ergotropy", "ratio", qb.grad_of("energy", "F")))
    for name in ("ergotropy", "ratio", "d_energy_d_F"):
        status = found[f"{name}_status"]
        np.testing.assert_array_equal(np.isnan(found[name]), status != 0)
        assert np.all(status.sel(F=0.0) == qb.Status.NO_DRIVE)
        assert np.all(status.sel(F=0.5, gamma_C=0.0) == qb.Status.NO_DEPHASING)
        assert np.all(status.sel(F=0.5, gamma_C=[0.3, 1.0]) == 0)
    lines = summary(found).splitlines()
    assert "ratio: 2 of 12 NO_DEPHASING, within F = 0.5, N = 2 ... 3, gamma_C = 0" in lines
    assert f"NO_DRIVE: {qb.Status.NO_DRIVE.reason}" in lines
    assert len(lines) == 8
    flags = found.ratio_status.attrs
    meanings = dict(zip(flags["flag_values"], flags["flag_meanings"].split(), strict=True))
    assert meanings[qb.Status.NO_DRIVE] == "NO_DRIVE"
    assert "Argument `F` must be nonzero" in flags["reasons"]

    def nothing(model, steady, trajectory):
        return jnp.where(model.F > 1, steady.energy, jnp.nan)

    def infinite(model, steady, trajectory):
        return jnp.where(model.F > 1, steady.energy, jnp.inf)

    found = sweep(functools.partial(qb.StarBattery, N=1), {"F": [0.5, 2.0]}, (nothing, infinite))
    assert list(found.nothing_status.values) == [qb.Status.UNDEFINED, qb.Status.OK]
    assert list(found.infinite_status.values) == [qb.Status.UNDEFINED, qb.Status.OK]


def test_a_summary_of_one_number():
    model = functools.partial(qb.StarBattery, N=2, F=0.5)
    found = sweep(model, {"gamma_C": [0.1, 1.0]}, ("energy", "tau_star_decay_rate"))
    assert summary(found) == "every value can be trusted"
    found["tau_star_decay_rate_status"][...] = qb.Status.NO_DRIVE
    assert summary(found).startswith("tau_star_decay_rate: 1 of 1 NO_DRIVE\n")


def test_numbers_that_are_fixed_are_kept_apart():
    drives = (0.5, 0.5000000001)
    found = [
        sweep(functools.partial(qb.StarBattery, 2, jnp.asarray(F)), {"gamma_C": [1.0]}, "ergotropy")
        for F in drives
    ]
    assert found[0].ergotropy[0] != found[1].ergotropy[0]


def test_points_out_of_range_between_the_ends_have_no_numbers():
    def model(a, b):
        return qb.StarBattery(N=2, F=0.5, omega_B=a - b, gamma_C=a + b)

    found = sweep(model, {"a": [2.0, 1.0], "b": [0.5, 1.5]}, ("energy", "tau_decay_rate"))
    for name in ("energy", "tau_decay_rate"):
        lost = found[f"{name}_status"] == qb.Status.OUT_OF_RANGE
        np.testing.assert_array_equal(lost, [[False, False], [False, True]])
        np.testing.assert_array_equal(np.isnan(found[name]), lost)


def test_gamma_C_may_set_more_than_the_dephasing():
    def model(gamma_C):
        return qb.StarBattery(N=2, F=0.5 * gamma_C, gamma_C=gamma_C)

    names = ("ergotropy", "tau_star_decay_rate")
    # At F = 0 the drive does not tell.
    both = sweep(
        lambda F, gamma_C: qb.StarBattery(N=2, F=F * gamma_C, gamma_C=gamma_C),
        {"F": [0.0, 0.5], "gamma_C": [1.0, 2.0]},
        names,
    )
    found = sweep(model, {"gamma_C": [1.0, 2.0]}, names)
    np.testing.assert_array_equal(both.tau_star_decay_rate[1], found.tau_star_decay_rate)
    for i, gamma_C in enumerate((1.0, 2.0)):
        best = qb.optimal_dephasing(model(gamma_C), "decay_rate")
        np.testing.assert_allclose(found.tau_star_decay_rate[i], best.tau, rtol=1e-11)
        ergotropy = qb.steady_state(model(gamma_C)).ergotropy
        np.testing.assert_allclose(found.ergotropy[i], ergotropy, rtol=1e-11)


def test_what_a_dataset_says_of_itself():
    model = functools.partial(qb.StarBattery, omega_C=1.5)
    found = sweep(model, {"N": [2], "F": [0.5]}, ("energy", "tau_decay_rate"))
    said = found.attrs
    assert said["model"] == "qbjax.StarBattery(omega_C=1.5)"
    assert (said["method"], said["precision"], said["qbjax"]) == ("exact", "double", qb.__version__)
    assert said["wall_time"] > 0
    assert found.energy.attrs == {"units": "unit of omega_B", "long_name": "energy of the battery"}
    assert found.tau_decay_rate.attrs["units"] == "1 / unit of g"
    assert qb.grad_of("ratio", "F").units == "1 / (unit of g)"
    assert qb.grad_of("energy", "kappa").units == "(unit of omega_B) / (unit of g)"
    assert qb.grad_of("energy", "nbar").units == "unit of omega_B"


def test_padded_sizes_make_no_difference():
    # N = 130 is padded to 130, 70 to 70 and 2 to 65.
    found = sweep(functools.partial(qb.StarBattery, F=3.0), {"N": [2, 70, 130]}, NAMES[:2])
    for i, N in enumerate((2, 70, 130)):
        state = qb.steady_state(qb.StarBattery(N, 3.0))
        np.testing.assert_allclose(found.energy[i], state.energy, rtol=1e-11)
        np.testing.assert_allclose(found.ergotropy[i], state.ergotropy, rtol=1e-11)


def test_a_masked_point_has_no_derivative():
    def ergotropy(F):
        return qb.steady_state(qb.StarBattery(2, F, gamma_C=0.0), throw=False).ergotropy

    assert np.isnan(jax.jit(jax.grad(ergotropy))(0.5))


def energy_at_ts(trajectory):
    return trajectory.energy


def test_only_what_a_function_names_is_solved(monkeypatch):
    def never(*given, **named):
        raise AssertionError

    monkeypatch.setattr(observables, "steady_state", never)
    found = sweep(ONE, {"F": [0.5]}, energy_at_ts, ts=[1.0])
    assert found.energy_at_ts.shape == (1, 1)


def branching(model, steady, trajectory):
    return steady.energy if steady.energy > 0 else 0.0


def misspelled(model, steady, trajectory):
    return steady.energi


def strange(model, steady_state):
    return steady_state.energy


def with_a_word(model, steady, trajectory):
    return "much"


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (branching, "branching, which raises TracerBoolConversionError"),
        (misspelled, "misspelled, which raises AttributeError: 'SteadyState' object has no attr"),
        (strange, "by these names, but is strange(model, steady_state)"),
        (with_a_word, "functions that return one array (with_a_word), but is one that returns str"),
    ],
)
def test_functions_that_cannot_be_used_are_named(function, what):
    with pytest.raises(qb.ArgumentError) as refused:
        sweep(ONE, {"F": [0.5]}, function)
    assert what in str(refused.value)
    assert "\n" not in str(refused.value)


def test_trajectories_where_there_is_no_steady_state():
    ts, grid = [0.0, 1.0, 4.0], {"gamma_C": [0.0, 0.5]}
    model = functools.partial(qb.StarBattery, N=2, F=0.8)
    found = sweep(model, grid, energy_at_ts, ts=ts)
    np.testing.assert_array_equal(found.energy_at_ts_status, 0)
    for i, gamma_C in enumerate(grid["gamma_C"]):
        np.testing.assert_allclose(
            found.energy_at_ts[i], mp_energy(2, 0.8, 1, gamma_C, ts), atol=1e-12
        )
    assert found.attrs["ts"] == ts


@pytest.mark.slow
def test_models_that_depend_on_time():
    def model(first):
        drive = qb.PiecewiseConstant([1.0], jnp.stack([first, jnp.asarray(1.0)]))
        return qb.StarBattery(N=2, F=drive, gamma_C=0.1, kappa=0.1)

    found = sweep(model, {"first": [0.1, 0.4]}, energy_at_ts, ts=[0.5, 2.0])
    assert (found.attrs["method"], found.first.attrs["units"]) == ("dopri8", "")
    for i, first in enumerate((0.1, 0.4)):
        alone = qb.evolve(model(jnp.asarray(first)), [0.5, 2.0])
        np.testing.assert_allclose(found.energy_at_ts[i], alone.energy, rtol=1e-11)
    with pytest.raises(qb.ArgumentError, match="must not depend on time"):
        sweep(model, {"first": [0.1]}, "energy")


@pytest.mark.slow
def test_methods_do_not_depend_on_the_neighbours():
    # "direct" at N = 2 and "iterative" at N = 25.
    model = functools.partial(qb.StarBattery, F=0.5, gamma_C=0.5)
    grid = {"N": [2, 25], "kappa": [0.0, 0.01]}
    found = sweep(model, grid, ("energy", "relaxation_time"))
    assert found.attrs["method"] == "direct, iterative"
    for j, kappa in enumerate(grid["kappa"]):
        alone = qb.steady_state(model(N=2, kappa=kappa))
        np.testing.assert_allclose(found.energy[0, j], alone.energy, rtol=1e-11)
        np.testing.assert_allclose(found.relaxation_time[0, j], alone.relaxation_time, rtol=1e-9)


@pytest.mark.slow
def test_leaky_models_are_a_loop():
    grid = {"N": [1, 9], "kappa": [0.0, 0.1], "F": [0.0, 0.6], "gamma_C": [0.0, 0.5]}
    wanted = ("energy", "ergotropy", qb.grad_of("ergotropy", "gamma_C"))
    found = sweep(qb.StarBattery, grid, wanted, chunk_size=3)
    assert found.attrs["method"] == "direct"
    for N, kappa, F, gamma_C in itertools.product(*grid.values()):
        here = found.sel(N=N, kappa=kappa, F=F, gamma_C=gamma_C)
        state = qb.steady_state(qb.StarBattery(N, F, gamma_C=gamma_C, kappa=kappa), throw=False)
        assert here.energy_status == state.status
        assert np.isnan(here.energy) == (state.status != 0)
        if state.status == 0:
            np.testing.assert_allclose(here.energy, state.energy, rtol=1e-11, atol=1e-13)
            np.testing.assert_allclose(here.ergotropy, state.ergotropy, rtol=1e-11, atol=1e-11)
    h = 1e-4
    beside = qb.StarBattery(9, 0.6, gamma_C=np.array([0.5 - h, 0.5 + h]), kappa=0.1)
    low, high = qb.steady_state(beside).ergotropy
    slope = found.d_ergotropy_d_gamma_C.sel(N=9, kappa=0.1, F=0.6, gamma_C=0.5)
    np.testing.assert_allclose(slope, (high - low) / (2 * h), rtol=1e-5)


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


def of_two(a, b):
    return qb.StarBattery(N=2, F=a, g=b)


def test_the_order_of_the_axes_belongs_to_a_sweep(tmp_path):
    grid = {"a": [0.5, 1.0], "b": [1.0, 2.0]}
    sweep(of_two, grid, store=tmp_path / "s.zarr", chunk_size=1)
    with pytest.raises(qb.ArgumentError, match=r"axes is \['a', 'b'\], not \['b', 'a'\]"):
        sweep(of_two, dict(reversed(grid.items())), store=tmp_path / "s.zarr")


OTHERS = [
    ({"grid": {"N": [1, 2], "F": [0.6]}}, "grid F is [0.5], not [0.6]"),
    ({"grid": {"N": [1, 2], "F": [0.5], "g": [1.0]}}, "axes is ['N', 'F'], not ['N', 'F', 'g']"),
    ({"model": functools.partial(qb.StarBattery, omega_C=2.0)}, "model is"),
    ({"observables": "ergotropy"}, "observables is ['energy'], not ['ergotropy']"),
    ({"method": "direct"}, "method is auto, not direct"),
]


@pytest.mark.parametrize(("change", "difference"), OTHERS)
def test_the_store_of_another_sweep_is_refused(tmp_path, change, difference):
    store = tmp_path / "s.zarr"
    given = {"model": qb.StarBattery, "grid": {"N": [1, 2], "F": [0.5]}}
    given |= {"observables": "energy", "store": store}
    whole = sweep(**given)
    with pytest.raises(qb.ArgumentError, match="must be that of the same sweep") as refused:
        sweep(**given | change)
    assert difference in str(refused.value)
    assert "overwrite this one" in str(refused.value)
    check_same(sweep(**given), whole)


def test_a_function_of_the_same_name_is_another(tmp_path):
    def times(factor):
        def scaled(model, steady, trajectory):
            return factor * steady.energy

        return scaled

    def driven(power):
        # The same at both ends of the grid.
        return lambda x: qb.StarBattery(N=1, F=x**power)

    store, grid = tmp_path / "s.zarr", {"x": [0.0001, 0.5, 1.0]}
    sweep(driven(1), grid, times(2.0), store=store)
    sweep(driven(1), grid, times(2.0), store=store)
    with pytest.raises(qb.ArgumentError, match="function scaled is"):
        sweep(driven(1), grid, times(3.0), store=store)
    with pytest.raises(qb.ArgumentError, match="model is"):
        sweep(driven(2), grid, times(2.0), store=store)


class Scaled:
    """Observables that depend on the instance."""

    def __init__(self, factor):
        self.factor = factor

    def scaled(self, model, steady, trajectory):
        return self.factor * steady.energy


def by_default(factor):
    def scaled(model, steady, trajectory, *, factor=factor):
        return factor * steady.energy

    return scaled


def by_helper(factor):
    def helper(x):
        return factor * x

    def scaled(model, steady, trajectory):
        return sum(helper(steady.energy) for _ in range(2))

    return scaled


def by_table(factor):
    table = {"factor": [factor]}

    def scaled(model, steady, trajectory):
        return table["factor"][0] * steady.energy

    return scaled


def without_source(factor):
    made = {}
    exec(f"def scaled(steady): return {factor} * steady.energy", made)
    return made["scaled"]


def by_wrapper(factor):
    @functools.wraps(energy_at_ts)
    def scaled(model, steady, trajectory):
        return factor * energy_at_ts(model, steady, trajectory)

    return scaled


def by_mapping(factor):
    scaled = jax.vmap(energy_at_ts, in_axes=(None, None, int(factor)))
    scaled.__name__ = "scaled"
    return scaled


def by_compiling(factor):
    return jax.jit(by_default(factor))


class Constants:
    """What a function refers to, without a dictionary."""

    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


def by_slots(factor):
    constants = Constants(factor)

    def scaled(model, steady, trajectory):
        return constants.factor * steady.energy

    return scaled


MAKERS = {
    "default": by_default,
    "helper": by_helper,
    "table": by_table,
    "no source": without_source,
    "method": lambda factor: Scaled(factor).scaled,
    "wrapper": by_wrapper,
    "mapping": by_mapping,
    "compiled": by_compiling,
    "slots": by_slots,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_functions_are_told_apart_by_all_that_they_refer_to(make):
    one, same, other = (observable(make(factor)).source for factor in (2.0, 2.0, 3.0))
    assert one == same != other


def test_fingerprints_are_the_same_in_every_process():
    code = "from qbjax.sweeps.provenance import text; print(text(set('hedgcbaf')))"
    said = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        said.add(subprocess.run(command, env=environment, capture_output=True, text=True).stdout)
    assert said == {"{a, b, c, d, e, f, g, h}\n"}


def test_names_of_attributes_are_no_globals(monkeypatch):
    before = observable(energy_at_ts).source
    monkeypatch.setitem(globals(), "energy", 3.0)
    assert observable(energy_at_ts).source == before


@jax.jit
def compiled(model, steady, trajectory):
    return 2 * steady.energy


def test_a_compiled_function_is_a_function():
    found = sweep(ONE, {"F": [0.5]}, (compiled, "energy"))
    assert found.compiled[0] == 2 * found.energy[0]


def test_models_are_told_apart_by_the_functions_in_them(tmp_path):
    def pulsed(w):
        pulse = qb.Pulse(lambda t: jnp.cos(w * t))
        return functools.partial(qb.StarBattery, N=1, F=pulse)

    given = {"gamma_C": [0.5]}, energy_at_ts
    sweep(pulsed(1.0), *given, ts=[1.0], store=tmp_path / "s.zarr")
    sweep(pulsed(1.0), *given, ts=[1.0], store=tmp_path / "s.zarr")
    with pytest.raises(qb.ArgumentError, match="model is"):
        sweep(pulsed(5.0), *given, ts=[1.0], store=tmp_path / "s.zarr")
    with pytest.raises(qb.ArgumentError, match=r"ts is \[1.0\], not \[2.0\]"):
        sweep(pulsed(1.0), *given, ts=[2.0], store=tmp_path / "s.zarr")


def energy_status(model, steady, trajectory):
    return steady.energy


@pytest.mark.slow
def test_names_are_what_the_solvers_return():
    model = functools.partial(qb.StarBattery, N=2, gamma_C=0.7)
    found = sweep(model, {"F": [0.5, 2.0]}, tuple(observables.NAMED))
    for i, F in enumerate((0.5, 2.0)):
        expected = {}
        steady = qb.steady_state(model(F=F))
        for name in ("energy", "ergotropy", "ratio", "relaxation_time", "log_relaxation_time"):
            expected[name] = getattr(steady, name)
        for definition in ("fit", "decay_rate", "settling", "integral"):
            time = qb.charging_time(model(F=F), definition, throw=False)
            best = qb.optimal_dephasing(model(F=F), definition, throw=False)
            expected[f"tau_{definition}"] = time.tau
            expected[f"gamma_C_star_{definition}"] = best.gamma_C
            expected[f"tau_star_{definition}"] = best.tau
        assert set(expected) == set(observables.NAMED)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-8, err_msg=name)


def ladder(model, steady, trajectory):
    return steady.populations


BAD = [
    ((ONE, {}), {}, "`grid` must be values of parameters by name, at least one"),
    ((ONE, {"F": []}), {}, "`grid` must be of at least one value"),
    ((ONE, {"F": 0.5}), {}, "`grid` must be sequences of numbers by name"),
    ((ONE, {"F": [0.5, np.nan]}), {}, "`grid` must be of finite numbers"),
    ((ONE, {"F": [0.5], "eta": [1.0]}), {}, "`grid` must be over parameters of the model"),
    ((ONE, {"F": [0.5], "N_max": [1]}), {}, "`grid` must be over parameters of the model"),
    ((ONE, {"gamma_C": [0.5]}), {}, "`grid` must be over F too, which the model needs"),
    (
        (qb.StarBattery, {"N": [1.0, 1.5], "F": [1.0]}),
        {},
        "`grid` must be of integers of at least 1",
    ),
    ((qb.StarBattery, {"N": [0], "F": [1.0]}), {}, "`grid` must be of integers of at least 1"),
    ((lambda N: ONE(F=1.0), {"N": [1]}), {}, "`model` must be a function that takes N_max"),
    ((ONE, {"F": [0.5], "gamma_C": [1.0, -0.1]}), {}, "`gamma_C` must be not negative"),
    ((ONE, {"F": [0.5, 0.6], "g": [1.0]}), {"combine": "zip"}, "`grid` must be of one length"),
    ((ONE, {"F": [0.5]}), {"combine": "sum"}, "`combine` must be one of"),
    ((ONE, {"F": [0.5]}), {"method": "fast"}, "`method` must be one of"),
    ((ONE, {"F": [0.5]}), {"chunk_size": 0}, "`chunk_size` must be an integer of at least 1"),
    ((ONE, {"F": [0.5]}, "ergo"), {}, "`observables` must be functions"),
    ((ONE, {"F": [0.5]}, ()), {}, "`observables` must be at least one"),
    ((ONE, {"F": [0.5]}, ("energy", "energy")), {}, "`observables` must be of different names"),
    ((ONE, {"F": [0.5]}, lambda m, s, t: 1.0), {}, "`observables` must be functions with a name"),
    (
        (ONE, {"F": [0.5]}, ("energy", energy_status)),
        {},
        "`observables` must be of different names",
    ),
    ((ONE, {"F": [0.5]}, late), {}, "`ts` must be given for a function that uses the trajectory"),
    ((ONE, {"F": [0.5]}, late), {"ts": "abc"}, "`ts` must be numbers, of shape (T,)"),
    ((ONE, {"F": [0.5]}), {"store": 3}, "`store` must be the path of a directory"),
    (
        (ONE, {"F": [0.5]}, qb.grad_of("energy", "kappa")),
        {},
        "`parameter` must be a number that is given",
    ),
    (
        (functools.partial(ONE, F=0.5), {"F": [0.5]}),
        {},
        "`grid` must be over what the model leaves",
    ),
    ((functools.partial(ONE, kapa=0.5), {"F": [0.5]}), {}, "`model` must be a function of paramet"),
    ((ONE(F=0.5), {"gamma_C": [0.5]}), {}, "`model` must be a function of parameters, such as"),
    ((ONE, {"F": [0.5, 0.5]}), {}, "`grid` must be of different values for each parameter"),
    (
        (ONE, {"F": [0.5, 0.5], "kappa": [0.1, 0.2]}),
        {},
        "`grid` must be of different values for each parameter",
    ),
    (
        (functools.partial(ONE, kappa=0.1), {"F": [0.5]}, qb.grad_of("relaxation_time", "F")),
        {},
        "`name` must be another than that of a bound",
    ),
    ((qb.StarBattery, {"N": [2, 130], "F": [0.5]}, ladder), {"chunk_size": 1}, "of one shape at"),
    (
        (ONE, {name: np.linspace(0, 1, 10**5) for name in ("F", "g", "gamma_C")}),
        {},
        "`store` must be given for 1.8e+07 GB of results",
    ),
    (
        (ONE, {name: np.linspace(0, 1, 1000) for name in ("F", "g", "gamma_C")}, "energy"),
        {},
        "`store` must be given for 9 GB of results",
    ),
    ((ONE, {"F": [0.5]}, "energy"), {"ts": [1.0]}, "`ts` must be left out"),
    (
        (lambda F: ONE(F=float(F)), {"F": [0.5]}),
        {},
        "`model` must be a function by JAX operations, without `if`",
    ),
    ((functools.partial(ONE, kappa=0.1), {"F": [0.5]}, "tau_fit"), {}, "`definition` must be"),
]


@pytest.mark.parametrize(("given", "named", "message"), BAD, ids=[case[2][:40] for case in BAD])
def test_bad_input_is_refused_in_one_line(given, named, message):
    with pytest.raises(qb.ArgumentError) as refused:
        sweep(*given, **named)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


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


def test_chunks_go_by_the_memory_that_they_need(monkeypatch):
    job = Job(qb.StarBattery, Grid(GRID, False), (qb.grad_of("energy", "F"),), "auto", None)
    run = runs.Run.of(job, None)
    assert run.fitting() is run
    needed = points.program(run._question(0), run._points(0))[1]
    assert needed > 0
    monkeypatch.setattr(runs, "_WORK", needed / 4)
    smaller = run.fitting()
    assert np.prod(smaller.shape) <= 6
    assert points.program(smaller._question(0), smaller._points(0))[1] < needed / 2


def equations(jaxpr, times=1):
    """The equations of a program, and how often each is run."""
    for equation in jaxpr.eqns:
        yield equation, times
        inside = jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        )
        for inner in inside:
            if hasattr(inner, "eqns"):
                loops = equation.params.get("length", 1)
                yield from equations(getattr(inner, "jaxpr", inner), times * loops)


def eigenproblems(names):
    """How many matrices of what size a chunk with seven dephasing rates diagonalises."""
    grid = Grid({"N": [1, 5], "gamma_C": np.geomspace(0.1, 10, 7)}, False)
    wanted = tuple(map(observable, names))
    job = Job(functools.partial(qb.StarBattery, F=0.5), grid, wanted, "auto", None)
    run = runs.Run.of(job, None)
    traced = jax.make_jaxpr(run._question(0).solve)(run._points(0))
    counts = Counter()
    for equation, times in equations(traced.jaxpr):
        if equation.primitive.name == "eigh":
            *batch, size, _ = equation.invars[0].aval.shape
            counts[size] += times * math.prod(batch)
    return counts


def test_what_is_shared_is_solved_once():
    # K P, and the two blocks of the battery's state, for two N.
    assert eigenproblems(NAMES[:1]) == {6: 2, 3: 4}
    assert eigenproblems((*NAMES[:3], "ratio")) == {6: 2, 3: 4}
    # Once for each kind of observables at the most.
    assert eigenproblems(NAMES) == {6: 6, 3: 4}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("progress", [True, False])
def test_what_is_shown_while_it_runs(monkeypatch, terminal, progress):
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    qb.sweep(ONE, {"F": [0.0, 0.5]}, "energy", progress=progress)
    shown = stderr.getvalue()
    assert bool(shown) == (terminal and progress)
    if shown:
        assert "sweep on 1 x cpu: 100%" in shown
        assert "2/2 [00:0" in shown
        assert "points/s" in shown
        assert "energy: 1 of 2 NO_DRIVE, within F = 0" in shown


def test_pictures():
    grid = GRID | {"gamma_C": np.geomspace(0.01, 10, 13)}
    found = sweep(qb.StarBattery, grid, ("ratio", "tau_decay_rate"))
    with qb.plot.figure(8.6, 6) as (_, axes):
        ax = axes[0, 0]
        qb.plot.lines(ax, found.ratio.sel(gamma_C=found.gamma_C[3]), over="N")
        assert [line.get_label() for line in ax.lines] == ["$F$ = 0.3", "$F$ = 2"]
        drawn = ax.lines[1].get_xydata()
        np.testing.assert_array_equal(drawn[:, 0], GRID["N"])
        np.testing.assert_array_equal(drawn[:, 1], found.ratio[:, 1, 3])
        assert (ax.get_ylabel(), ax.get_xscale()) == ("ergotropy over energy", "linear")
    with qb.plot.figure(8.6, 6) as (_, axes):
        ax = axes[0, 0]
        mesh = qb.plot.heatmap(ax, found.tau_decay_rate.sel(N=5), ("gamma_C", "F"))
        np.testing.assert_array_equal(mesh.get_array(), found.tau_decay_rate.sel(N=5))
        words = "unit of g".replace(" ", "\N{NO-BREAK SPACE}")
        assert (ax.get_xscale(), ax.get_xlabel()) == ("log", rf"$\gamma_C$ ({words})")
    for draw, over in ((qb.plot.lines, "N"), (qb.plot.heatmap, ("N", "F"))):
        with pytest.raises(qb.ArgumentError, match="`data` must be of the dimensions N"):
            draw(ax, found.ratio, over)


def test_lines_go_along_the_axis_whatever_its_order():
    coords = {"x": [3.0, 1.0, 2.0]}
    found = xarray.DataArray([9.0, 1.0, 4.0], coords, name="square")
    with qb.plot.figure(8.6, 6) as (_, axes):
        qb.plot.lines(axes[0, 0], found, over="x")
        (line,) = axes[0, 0].lines
        np.testing.assert_array_equal(line.get_xydata(), [[1, 1], [2, 4], [3, 9]])


def test_axes_of_curves_and_times_say_their_units():
    with qb.plot.figure(8.6, 6, columns=2) as (_, axes):
        curve, time = axes[0]
        qb.plot.charging_curve(curve, [0.0, 1.0], [0.0, 0.5])
        qb.plot.charging_time(time, [0.1, 1.0], [9.0, 5.0], (0.5, 4.0), "N = 4")
        assert (curve.get_xlabel(), curve.get_ylabel()) == ("$t$ ($1/g$)", r"energy ($\omega_B$)")
        assert (time.get_xlabel(), time.get_ylabel()) == (r"$\gamma_C$ ($g$)", r"$\tau$ ($1/g$)")
        np.testing.assert_array_equal(time.lines[1].get_xydata(), [[0.5, 4.0]])


@pytest.mark.parametrize("rates", [4, 13])
def test_panels_of_one_picture_share_a_scale(rates):
    grid = {"N": range(1, 13), "F": [0.3, 2.0], "gamma_C": np.geomspace(0.01, 10, rates)}
    found = sweep(qb.StarBattery, grid, "tau_decay_rate").tau_decay_rate
    with datasets._panels(found) as made:
        panels = [ax for ax in made.axes if ax.get_title()]
        assert [ax.get_title() for ax in panels] == ["$F$ = 0.3", "$F$ = 2"]
        colours = {mesh.get_clim() for ax in panels for mesh in ax.collections}
        assert colours == ({(found.min().item(), found.max().item())} if rates == 13 else set())
        assert panels[0].get_ylim() == panels[1].get_ylim()
        low, high = panels[0].get_ylim()
        assert rates == 13 or low < found.min() < found.max() < high


def test_scales():
    ends = {"linear": ([1, 50], [-1.0, 3.0], [0.0, 0.0], [np.nan]), "log": ([0.1, 10], [1, 900])}
    for name, examples in ends.items():
        assert [datasets._scale(np.array(each))[0] for each in examples] == [name] * len(examples)
    signed = np.array([-1e9, -1.0, 0.0, 2.0, np.nan, 1e5, 1.0])
    assert datasets._scale(signed) == ("symlog", {"linthresh": 2.0})


@pytest.mark.parametrize("low", [-1e4, -1.0, 0.0])
def test_maps_of_any_sign(low):
    values = np.array([[low, 1e-3 * low, 1e-4 * low], [low / 2, 1e-2 * low, 1e5 * (low > -1e4)]])
    coords = {"x": [1.0, 2.0], "y": [3.0, 1.0, 2.0]}
    found = xarray.DataArray(values, coords, name="slope")
    with qb.plot.figure(8.6, 6) as (made, axes):
        mesh = qb.plot.heatmap(axes[0, 0], found, ("y", "x"))
        made.canvas.draw()
        np.testing.assert_array_equal(mesh.get_array(), found.sortby("y"))
        ends = (-1e5, 1e5) if low == -1.0 else (values.min(), values.max())
        assert mesh.get_clim() == ends
        ticks = made.axes[1].get_yticks()
        assert ticks.min() >= ends[0] or low != -1e4


def test_the_command_line(tmp_path, capsys, monkeypatch):
    from qbjax.__main__ import main

    monkeypatch.chdir(tmp_path)
    text = """
        observables = ["ergotropy", {gradient = "energy", of = "F"}, "tau_star_decay_rate"]
        [model]
        g = 1.5
        [grid]
        N = {from = 1, to = 5, step = 2}
        F = [0.3, 2.0]
        gamma_C = {from = 0.01, to = 10.0, points = 4, spacing = "log"}
    """
    (tmp_path / "grid.toml").write_text(text)
    assert main(["sweep", "grid.toml", "--plot", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["store"], said["points"], said["method"]) == ("grid.zarr", 24, "exact")
    for path in said["pictures"]:
        assert (tmp_path / path).stat().st_size > 2000
    assert len(said["pictures"]) == 6
    found = xarray.open_zarr("grid.zarr", chunks=None, consolidated=False)
    grid = {"N": [1, 3, 5], "F": [0.3, 2.0], "gamma_C": np.geomspace(0.01, 10, 4)}
    wanted = ("ergotropy", qb.grad_of("energy", "F"), "tau_star_decay_rate")
    again = sweep(functools.partial(qb.StarBattery, g=1.5), grid, wanted, store="grid.zarr")
    np.testing.assert_array_equal(found.d_energy_d_F, again.d_energy_d_F)
    for change, message in (
        (("[grid]", "[grids]"), "`file` must be of entries out of"),
        (("points = 4", "points = 0"), "`points of gamma_C` must be an integer of at least 1"),
        (("from = 0.01", "from = 0.0"), "`grid` must be between positive ends"),
        (("step = 2", "stop = 2"), "`grid` must be a list, {from, to, step}"),
        (("to = 5, step", "to = 0, step"), "`grid` must be {from, to, points} of numbers, or"),
        (("from = 0.01", 'from = "a"'), "`grid` must be between numbers"),
        (("g = 1.5", "omega = 1.5"), "`model` must be of parameters out of"),
        (("g = 1.5", 'g = "1"'), "`g` must be an array of numbers"),
        (("g = 1.5", 'charger = "cave"'), '`charger` must be "qubit", "cavity:LEVELS"'),
        (("g = 1.5", "g = "), "`file` must be TOML"),
        (("F = [0.3, 2.0]", "F = [0.3, 2.1]"), "grid F is [0.3, 2.0], not [0.3, 2.1]"),
    ):
        (tmp_path / "grid.toml").write_text(text.replace(*change))
        assert main(["sweep", "grid.toml"]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert main(["sweep", "none.toml"]) == 2
    assert (
        "Argument `file` must be a file that is there, but is none.toml" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{from = 3, to = 3}", [3]),
        ("{from = 1, to = 6, step = 2}", [1, 3, 5]),
        ("{from = 1, to = 5, step = 2}", [1, 3, 5]),
    ],
)
def test_ranges_of_integers_in_a_file_have_both_ends(tmp_path, text, values):
    (tmp_path / "grid.toml").write_text(f"[grid]\nN = {text}\n")
    assert from_toml(tmp_path / "grid.toml")["grid"]["N"].tolist() == values


def test_a_store_elsewhere_is_refused():
    with pytest.raises(qb.ArgumentError, match="`store`"):
        sweep(qb.StarBattery, {"N": [1], "F": [0.5]}, ("energy",), store="s3://bucket/grid.zarr")
