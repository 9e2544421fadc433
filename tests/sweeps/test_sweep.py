"""Sweeps against Python loops over the solvers."""

import functools
import io
import itertools
import math
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from sweeping import GRID, ONE, check_same, late, sweep

import qbjax as qb
from qbjax.sweeps import observables
from qbjax.sweeps import run as runs
from qbjax.sweeps.grid import Grid
from qbjax.sweeps.job import Job
from qbjax.sweeps.observables import observable
from qbjax.sweeps.sweep import summary

NAMES = ("energy", "ergotropy", "relaxation_time", "tau_decay_rate", "tau_star_decay_rate")


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


def energy_status(model, steady, trajectory):
    return steady.energy


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
        # The vectors of the chain look once for where they are large.
        is_chain = equation.primitive.name == "argmin" and equation.invars[0].aval.ndim >= 2
        if equation.primitive.name == "eigh" or is_chain:
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


@pytest.mark.slow
def test_a_program_of_one_method_does_not_serve_another():
    """The relaxation times of the two methods are estimates of their own."""
    model = functools.partial(qb.StarBattery, kappa=0.1)
    for method in ("iterative", "direct"):
        dataset = sweep(model, {"N": [6], "F": [0.5]}, "relaxation_time", method=method)
        alone = qb.steady_state(model(N=6, F=0.5), method=method)
        # They differ by 5 %, and what rounding does to either by less than 1e-4.
        np.testing.assert_allclose(dataset.relaxation_time.item(), alone.relaxation_time, rtol=1e-3)
