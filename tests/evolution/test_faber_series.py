"""The coefficients of the series of exp(h L), against a Fourier transform of far more samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb
from qbjax.evolution import faber_series

# (a, b): segments, a circle, ellipses of any shape, and zeros of Bessel functions at h = 1.
AXES = [(1e-9, 3), (3, 1e-9), (2, 2), (1.5, 4), (4, 1.5), (1, 1e4), (2.404825557695773, 0.0)]
AXES += [(0.0, 2.404825557695773), (0.0, 3.831705970207512)]


def ellipse(real, imaginary, part=0.9):
    return faber_series.Ellipse(*(jnp.asarray(float(x)) for x in (-part * real, real, imaginary)))


def by_transform(around, lengths):
    angle = 2 * np.pi * np.arange(4096) / 4096
    exponent = around.real * np.cos(angle) + 1j * around.imaginary * np.sin(angle)
    return np.fft.fft(np.exp(np.outer(lengths, around.centre + exponent)))[:, :256].real / 4096


@pytest.mark.parametrize("axes", AXES)
def test_coefficients(axes):
    around = ellipse(*axes)
    lengths = np.array([0.0, 1e-9, 1e-3, 0.1, 1.0, 5.0, 20.0, 60.0, 85.0]) / max(axes)
    lengths = np.append(lengths, 1.0)[: -1 if max(axes) > 1e3 else None]
    c = faber_series.coefficients(around, jnp.asarray(lengths))
    # Rounding of the exponent, and of the largest value on the ellipse.
    size = np.exp(lengths * (around.centre + around.real))
    assert np.max(np.abs(c - by_transform(around, lengths)) / size[:, None]) < 4e-15


@pytest.mark.parametrize("axes", AXES)
def test_derivatives_in_the_length(axes):
    around, h = ellipse(*axes), 3.0 / max(axes)
    first = jax.jacfwd(lambda h: faber_series.coefficients(around, h[None])[0])
    second = jax.jacrev(first)(jnp.asarray(h))
    step = 1e-4 * h
    values = by_transform(around, h + step * np.arange(-2, 3))
    slopes = (values[0] - 8 * values[1] + 8 * values[3] - values[4]) / (12 * step)
    bends = (-values[0] + 16 * (values[1] + values[3]) - 30 * values[2] - values[4]) / (
        12 * step**2
    )
    # Differences of fourth order: rounding over the step, and over its square.
    np.testing.assert_allclose(h * first(jnp.asarray(h)), h * slopes, atol=1e-10)
    np.testing.assert_allclose(h**2 * second, h**2 * bends, atol=1e-5)


@pytest.mark.parametrize("axes", [axes for axes in AXES if axes[0]])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-10, 1e-14])
def test_the_longest_step_omits_no_more_than_allowed(axes, tolerance):
    around = ellipse(*axes, part=1.0)
    h = float(faber_series.longest_step(around, jnp.asarray(tolerance)))
    tail = 2 * np.abs(by_transform(around, [h])[0, 96:]).sum()
    # What is below rounding may be omitted, too.
    assert tail < max(tolerance * h, 96 * np.finfo(float).eps)
    # Twice as long is too long.
    longer = 2 * np.abs(by_transform(around, [2 * h])[0, 96:]).sum()
    assert longer > max(tolerance * 2 * h, 96 * np.finfo(float).eps)


@pytest.mark.parametrize("count", [25, 400])
def test_times_in_several_groups(count):
    # More than one group, and more than are planned at once, the first of them begun at zero.
    ts = np.linspace(0.3, 40.0, count) ** 1.5 / 40.0**0.5
    model = qb.StarBattery(N=2, F=0.7, gamma_C=0.4)
    curve = qb.evolve(model, ts, method="chebyshev", save="energy")
    exact = qb.evolve(model, ts, method="exact", save="energy")
    np.testing.assert_allclose(curve.energy, exact.energy, atol=1e-9)
