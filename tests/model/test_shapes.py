"""Shapes of pulses against scipy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate

import qbjax as qb
from qbjax.common.checks import ArgumentError

END = 3.0


@pytest.mark.parametrize("knots", [2, 3, 8])
def test_the_spline_is_the_natural_one(knots):
    values = np.random.default_rng(knots).normal(size=knots)
    drive = qb.shapes.cubic_spline(END, values)
    times = np.linspace(0, END, 50)
    kind = "natural" if knots > 2 else "not-a-knot"
    expected = scipy.interpolate.CubicSpline(np.linspace(0, END, knots), values, bc_type=kind)
    np.testing.assert_allclose(jax.vmap(drive)(times), expected(times), atol=1e-13)
    np.testing.assert_allclose([drive(-1.0), drive(7.0)], values[[0, -1]], atol=1e-14)


def test_waves_and_their_frequencies():
    a, b = np.array([0.3, 0.2, -0.1]), np.array([0.5, 0.4])
    t, w = 0.7, 2 * np.pi / END * np.arange(1, 3)
    drive = qb.shapes.fourier(END, a, b)
    np.testing.assert_allclose(drive(t), a[0] + a[1:] @ np.cos(w * t) + b @ np.sin(w * t))
    chopped = [qb.shapes.fourier(END, a, b, crab=seed) for seed in (1, 1, 2)]
    # Equal functions share a program.
    assert chopped[0].function == chopped[1].function != chopped[2].function
    found = np.array(chopped[0].function.frequencies)
    assert np.all(np.abs(found - w) <= np.pi / END)
    assert np.all(found != w)


def test_pieces_are_equal():
    drive = qb.shapes.piecewise_constant(END, [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(drive.times, [0.75, 1.5, 2.25])
    assert qb.shapes.piecewise_constant(END, [1.0]).times.shape == (0,)


@pytest.mark.parametrize(
    "drive",
    [
        qb.shapes.cubic_spline(END, [0.2, 0.9, -0.3, 0.1]),
        qb.shapes.fourier(END, [0.3, 0.2], [0.5]),
        qb.shapes.piecewise_constant(END, [0.2, 0.9, -0.3]),
        qb.PiecewiseConstant([-1.0, 0.5, 9.0], [7.0, 0.4, 0.8, 7.0]),
    ],
)
def test_fluence(drive):
    edges = [0.0, *np.clip(drive.stops if drive.stops is not None else [], 0, END), END]
    expected = sum(
        scipy.integrate.quad(lambda t: float(drive(t)) ** 2, a, b)[0]
        for a, b in zip(edges[:-1], np.nextafter(edges[1:], 0), strict=True)
    )
    np.testing.assert_allclose(qb.shapes.fluence(drive, END), expected, rtol=1e-9)


def test_fluence_of_a_flash_needs_its_stops():
    def flash(t, begin, end):
        return jnp.where((begin <= t) & (t < end), 100.0, 0.0)

    def cost(end):
        drive = qb.Pulse(flash, 400.0, end, stops=jnp.stack([400.0, end]))
        return qb.shapes.fluence(drive, 500.0)

    np.testing.assert_allclose(cost(400.001), 10.0, rtol=1e-9)
    # By the time at which it ends, 100^2.
    np.testing.assert_allclose(jax.grad(cost)(400.001), 1e4, rtol=1e-9)


def test_costs_have_derivatives():
    def cost(values):
        drive = qb.shapes.piecewise_constant(END, values)
        return qb.shapes.fluence(drive, END) + qb.shapes.roughness(drive)

    np.testing.assert_allclose(jax.grad(cost)(jnp.array([1.0, 3.0])), [-1.0, 13.0])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: qb.shapes.piecewise_constant(-1.0, [1.0]), "`end`"),
        (lambda: qb.shapes.piecewise_constant(1.0, 1.0), "`values`"),
        (lambda: qb.shapes.cubic_spline(1.0, [1.0]), "`values`"),
        (lambda: qb.shapes.fourier(1.0, [1.0], [1.0]), "`cosines`"),
        (lambda: qb.shapes.fluence(1.0, 1.0), "`pulse`"),
        (lambda: qb.shapes.piecewise_constant(np.inf, [1.0, 2.0]), "`end`"),
        (lambda: qb.shapes.fourier(1.0, [1.0], [], crab=-1), "`crab`"),
        (lambda: jax.jit(lambda T: qb.shapes.cubic_spline(T, [1.0, 2.0])(0.0))(1.0), "`end`"),
        (lambda: qb.shapes.roughness(qb.shapes.cubic_spline(1.0, [1.0, 2.0])), "`pulse`"),
    ],
)
def test_refusals(wrong, named):
    with pytest.raises(ArgumentError, match=named):
        wrong()
