"""Pictures of sweeps."""

import functools

import numpy as np
import pytest
import xarray

import qbjax as qb
from qbjax.plotting import datasets

GRID = {"N": [1, 2, 5], "F": [0.3, 2.0], "gamma_C": [0.05, 0.4, 3.0, 40.0]}


sweep = functools.partial(qb.sweep, progress=False)


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
        words = "unit of $g$".replace(" ", "\N{NO-BREAK SPACE}")
        assert (ax.get_xscale(), ax.get_xlabel()) == ("log", rf"$\gamma_C$ ({words})")
    with qb.plot.figure(8.6, 6) as (_, axes):
        ax = axes[0, 0]
        slope = found.ratio.sel(N=5, F=0.3).assign_attrs(
            long_name="derivative with respect to nbar", units="1 / (unit of omega_B)"
        )
        qb.plot.lines(ax, slope, over="gamma_C")
        label = ax.get_ylabel().replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ")
        assert label == r"derivative with respect to $\bar{n}$ [1 / (unit of $\omega_B$)]"
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


def test_a_tomogram_labels_the_ladder_from_its_middle():
    with qb.plot.figure(8.6, 6.0) as (_, axes):
        qb.plot.tomogram(axes[0, 0], np.eye(5) / 5, "populations")
        labels = [label.get_text() for label in axes[0, 0].get_xticklabels()]
    assert labels == ["$-2$", "$-1$", "$0$", "$1$", "$2$"]


def test_axes_beyond_the_third_are_held_at_their_last_value(tmp_path, monkeypatch):
    grid = {"N": [1, 2, 3, 4], "F": [0.2, 0.5, 1.0], "gamma_C": [0.5, 1.0], "g": [1.0, 3.0]}
    titles = []

    def read(drawn, *_, **__):
        titles.extend(ax.get_title() for ax in drawn.axes)

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", read)
    dataset = qb.sweep(qb.StarBattery, grid, "energy", progress=False)
    qb.plot.draw_sweep(dataset, tmp_path / "x")
    assert titles
    assert all("$g$ = 3" in title for title in titles if title)


def test_an_optimum_is_marked_in_the_units_of_its_curve():
    with qb.plot.figure(8.6, 6) as (_, axes):
        ax, curve = axes[0, 0], ([1.0, 2.0, 4.0], [8.0, 4.0, 8.0])
        qb.plot.charging_time(ax, *curve, (2.0, 4.0), "x", units=(2.0, 4.0))
        np.testing.assert_array_equal(ax.lines[0].get_xydata()[1], [1.0, 1.0])
        np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[1.0, 1.0]])


@pytest.mark.parametrize("x", [[1.0, 2.0, 4.0], [0.1, 1.0, 10.0, 100.0]])
def test_cells_of_a_map_end_as_far_out_as_their_neighbours_begin(x):
    values = np.array(x)
    shown = xarray.DataArray(np.ones((2, len(x))), {"y": [0.0, 1.0], "x": values}, ("y", "x"))
    with qb.plot.figure(8.6, 6) as (_, axes):
        ax = axes[0, 0]
        mesh = qb.plot.heatmap(ax, shown.rename("cells"), ("x", "y"))
        edges = mesh.get_coordinates()[0, :, 0]
        there = np.log if ax.get_xscale() == "log" else np.asarray
    # In the middle on the scale of the axis, and at its ends as far beyond as before the value.
    middle = (there(values)[1:] + there(values)[:-1]) / 2
    ends = 2 * there(values)[[0, -1]] - middle[[0, -1]]
    np.testing.assert_allclose(there(edges), [ends[0], *middle, ends[1]], atol=1e-12)


def test_a_trajectory_has_a_figure_of_its_own():
    curve = qb.evolve(qb.StarBattery(N=2, F=0.5), [0.0, 1.0, 2.0])
    (panel,) = qb.plot.charging_curve(curve).axes
    for line, expected in zip(panel.lines, (curve.energy, curve.ergotropy), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), expected)
    batch = qb.evolve(qb.StarBattery(N=2, F=[0.5, 1.0]), [0.0, 1.0], save="power")
    for wrong in (batch, qb.evolve(qb.StarBattery(N=2, F=[0.5, 1.0]), [0.0, 1.0]), 3):
        with pytest.raises(qb.ArgumentError, match="`ax` must be axes, with times"):
            qb.plot.charging_curve(wrong)
