"""Optimised pulses: closed forms of bang-bang control, and the best values known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import qbjax as qb
from qbjax.charging.ranges import Jumps, Range
from qbjax.common.checks import ArgumentError

# |F| <= 1 fills one qubit in this time, by one switch (see `on_time`).
SHORTEST = 2.5250071101


def on_time(F):
    """How long a drive F/g is on before it is off: tan(t/2) tan(w t) = -2 w, w^2 = F^2 + 1/4."""
    w = np.sqrt(F**2 + 0.25)

    def root(t):
        return np.sin(t / 2) * np.sin(w * t) + 2 * w * np.cos(t / 2) * np.cos(w * t)

    return scipy.optimize.brentq(root, 0.5, 2.5)


def stored(model):
    return qb.evolve(model, [SHORTEST], save=("energy",), rtol=1e-12).energy[0]


def test_the_switch_of_bang_off_control():
    """On and off, where the best time to switch is known."""
    drive = qb.PiecewiseConstant([1.0], [1.0, 0.0])
    model = qb.StarBattery(N=1, F=drive, gamma_C=0.0)
    best = qb.optimize(model, stored, {"F.times": (0.0, SHORTEST)})
    np.testing.assert_allclose(best.value, 1.0, atol=1e-9)
    np.testing.assert_allclose(best.parameters["F.times"], [on_time(1.0)], atol=1e-6)
    # That is the shortest time there is: T = pi/2 + t_on/2.
    np.testing.assert_allclose(SHORTEST, np.pi / 2 + on_time(1.0) / 2, atol=1e-9)
    np.testing.assert_array_equal(best.at_bound["F.times"], [0])
    np.testing.assert_array_equal(best.model.F.values, drive.values)


def hilly(model):
    """Maxima of 1 to 4 in F, the highest near F = 3.5."""
    return jnp.floor(model.F) + jnp.sin(jnp.pi * (model.F - jnp.floor(model.F))) ** 2


def test_many_starts_find_the_highest_hill():
    model = qb.StarBattery(N=1, F=0.3)
    alone = qb.optimize(model, hilly, {"F": (0.0, 3.999)})
    assert alone.value < 3
    np.testing.assert_array_equal(alone.values, alone.value[None])
    best = qb.optimize(model, hilly, {"F": (0.0, 3.999)}, starts=12, seed=1)
    assert best.values.shape == (12,)
    np.testing.assert_array_equal(best.value, best.values.max())
    np.testing.assert_allclose(best.values[0], alone.value, rtol=1e-12)
    np.testing.assert_allclose(best.value, 4.0, atol=1e-3)
    assert "12 values" in repr(best)
    again = qb.optimize(model, hilly, {"F": (0.0, 3.999)}, starts=12, seed=1)
    np.testing.assert_array_equal(again.values, best.values)
    batch = qb.StarBattery(N=1, F=[0.3, 0.6])
    both = qb.optimize(batch, hilly, {"F": (0.0, 3.999)}, starts=12, seed=1)
    np.testing.assert_allclose(both.values[0], best.values, rtol=1e-9)


@pytest.mark.parametrize("one", [Range(-1.0, 2.0), Range(0.1, 9.0), Range(-np.inf, 3.0)])
@pytest.mark.parametrize("shape", [(), (24,), (0,), (2, 3)])
def test_random_starts_lie_inside(one, shape):
    draw = np.random.default_rng(0)
    for _ in range(20):
        x = one.random(shape, draw)
        assert np.shape(x) == shape
        p = one.parameter(jnp.asarray(x), jnp.full(shape, 0.5))
        assert np.all((one.low <= p) & (p <= one.high))


def test_starts_take_an_objective_with_linear_algebra_of_its_own():
    """Batched LAPACK on several threads would hang."""

    def merit(model):
        matrices = model.F * jnp.ones((64, 40, 40)) + jnp.eye(40)
        return -((jnp.linalg.eigvalsh(matrices).max() - 30.0) ** 2)

    best = qb.optimize(qb.StarBattery(N=1, F=0.5), merit, {"F": (0.1, 1.0)}, starts=4)
    np.testing.assert_allclose(best.values, 0.0, atol=1e-9)


def test_starts_see_what_an_objective_closes_over():
    def found(weight):
        def merit(model):
            return -((model.F - weight) ** 2)

        return qb.optimize(qb.StarBattery(N=1, F=0.5), merit, {"F": (0.1, 1.0)}, starts=3).value

    np.testing.assert_allclose(jax.vmap(found)(jnp.array([0.3, 0.6])), 0.0, atol=1e-12)


def test_times_stay_in_their_order():
    one = Jumps(0.0, 5.0)
    times = jnp.array([1.0, 1.5, 4.0])
    np.testing.assert_allclose(one.parameter(one.variable(times), times), times, rtol=1e-14)
    far = one.parameter(jnp.array([30.0, -30.0, 5.0]), times)
    assert np.all(np.diff(np.array([0.0, *far, 5.0])) >= 0)
    assert np.isnan(one.variable(times[::-1])).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"g.times": (0, 1)}, 'without "g.times" where it is no PiecewiseConstant'),
        ({"F.values": (0, 1)}, "or of a PiecewiseConstant by F.times"),
        ({"F.times": (0, None)}, 'given with two numbers for "F.times"'),
        ({"F.times": (1.5, 3)}, "strictly between their bounds, 1.5 and 3"),
        ({3: (0, 1)}, "by name out of F"),
    ],
)
def test_wrong_parameters(parameters, message):
    model = qb.StarBattery(N=1, F=qb.PiecewiseConstant([1.0], [1.0, 0.0]))
    with pytest.raises(ArgumentError, match=message):
        qb.optimize(model, stored, parameters)


# N, gamma_C, T, and the best energy and ergotropy that are known for |F| <= 1 and 24 pieces.
KNOWN = [
    (2, 0.0, 3.0, 1.67514058, 1.64809737),
    (4, 0.0, 3.0, 1.94182727, 1.90610863),
    (4, 0.0, 6.0, 3.56864408, 3.47441657),
    (2, 0.1, 3.0, 1.60084877, 1.52745113),
    (2, 0.1, 6.0, 1.90533087, 1.84622672),
    (4, 0.1, 6.0, 3.32341383, 3.13081254),
    (4, 0.1, 10.0, 3.64974601, 3.53184538),
]


@pytest.mark.slow
@pytest.mark.parametrize(("N", "gamma_C", "T", "energy", "ergotropy"), KNOWN)
def test_the_best_drives_known_are_reached(N, gamma_C, T, energy, ergotropy):
    drive = qb.shapes.piecewise_constant(T, np.linspace(0.9, 0.3, 24))
    model = qb.StarBattery(N=N, F=drive, gamma_C=gamma_C)
    for name, known in (("energy", energy), ("ergotropy", ergotropy)):

        def merit(model, name=name):
            return getattr(qb.evolve(model, [T], save=(name,), rtol=1e-10), name)[0]

        best = qb.optimize(model, merit, {"F": (-1, 1)}, starts=12, max_steps=400)
        assert best.value > known - 1e-4


@pytest.mark.parametrize("given", [{"starts": 0}, {"seed": -1}, {"seed": "a"}, {"starts": 2.5}])
def test_wrong_settings(given):
    (name,) = given
    with pytest.raises(ArgumentError, match=f"`{name}`"):
        qb.optimize(qb.StarBattery(N=1, F=0.5), hilly, {"F": (0.0, 3.9)}, **given)
