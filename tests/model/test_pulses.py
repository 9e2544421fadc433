"""Pulses that begin long after the start, and the intervals that keep steps from passing over them.

The energies in `LATE` come from QuTiP with tight tolerances and a bound on its steps.
"""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb
from qbjax.evolution.features import CELLS, intervals
from qbjax.model.batching import enable_x64

STEPPING = ("tsit5", "dopri8", "kvaerno5")


def gaussian(t, height, centre, width):
    return height * jnp.exp(-(((t - centre) / width) ** 2))


def window(t, height, begin, end):
    return jnp.where((begin < t) & (t < end), height, 0.0)


# N, gamma_C, centre, time, width, height, energy.
LATE = [
    (1, 0.1, 10.0, 20.0, 0.1, 10.0, 0.327646),
    (1, 0.1, 20.0, 50.0, 0.3, 1 / 0.3, 0.722002),
    (1, 0.1, 20.0, 50.0, 0.1, 10.0, 0.699257),
    (1, 0.1, 100.0, 200.0, 1.0, 1.0, 0.652456),
    (2, 0.05, 500.0, 1000.0, 1.0, 1.0, 0.798342),
    (2, 0.05, 500.0, 1000.0, 0.3, 1.0, 0.123469),
    (2, 0.05, 500.0, 1000.0, 0.05, 1.0, 0.003904),
]


@pytest.mark.parametrize(
    "method", ["dopri8", *(pytest.param(m, marks=pytest.mark.slow) for m in ("tsit5", "kvaerno5"))]
)
def test_a_pulse_after_an_idle_time_is_not_passed_over(method):
    for N, gamma_C, centre, time, width, height, energy in LATE:
        drive = qb.Pulse(gaussian, height, centre, width)
        model = qb.StarBattery(N=[N], F=drive, gamma_C=gamma_C, N_max=2)
        curve = qb.evolve(model, [time], method=method, save=("energy",))
        np.testing.assert_allclose(curve.energy[0], energy, rtol=0, atol=1e-6)
        assert curve.status[0] == qb.Status.OK


def lifted(t, height, centre, width, offset):
    return gaussian(t, height, centre, width) + offset


def late_energy(height, centre, width, offset, rtol=1e-8):
    F = qb.Pulse(lifted, height, centre, width, offset)
    model = qb.StarBattery(N=1, F=F, gamma_C=0.1)
    return qb.evolve(model, [20.0], save=("energy",), rtol=rtol).energy[0]


def difference(i, values, h):
    above, below = list(values), list(values)
    above[i], below[i] = values[i] + h, values[i] - h
    precise = {"rtol": 1e-12}
    return (late_energy(*above, **precise) - late_energy(*below, **precise)) / (2 * h)


@pytest.mark.slow
def test_derivatives_see_the_pulse_even_at_height_zero():
    slopes = jax.jit(jax.grad(late_energy, argnums=(0, 1, 2, 3)))
    # At height zero the drive has no feature, and its slope by the height has one.
    for values in ((10.0, 10.0, 0.1, 0.0), (0.0, 15.0, 0.02, 0.2)):
        found = slopes(*values)
        steps = (1e-3, 1e-3, 1e-5, 1e-4)
        for i in (0, 3) if values[0] == 0 else range(4):
            expected = difference(i, values, steps[i])
            np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)
    assert abs(found[0]) > 1e-4


@pytest.mark.slow
def test_a_sweep_sees_the_pulse():
    def model(N, gamma_C, N_max):
        F = qb.Pulse(gaussian, 10.0, 10.0, 0.1)
        return qb.StarBattery(N=N, F=F, gamma_C=gamma_C, N_max=N_max)

    def stored(trajectory):
        return trajectory.energy[-1]

    found = qb.sweep(model, {"N": [1], "gamma_C": [0.1]}, observables=(stored,), ts=[20.0])
    np.testing.assert_allclose(found.stored, 0.327646, atol=1e-6)


KINDS = {
    "g": {"F": 0.0, "g": 1.0},
    "kappa": {"F": 0.3, "kappa": 0.0},
    "Gamma_up": {"F": 0.0, "Gamma_up": 0.0},
    "omega_C": {"F": 0.3, "omega_C": 1.0},
    "term": {"F": 0.0},
    "jump": {"F": 0.0},
}


@pytest.mark.parametrize(
    "kind",
    [k if k in ("Gamma_up", "term") else pytest.param(k, marks=pytest.mark.slow) for k in KINDS],
)
def test_whatever_depends_on_time_is_looked_at(kind):
    """A window of a thousandth of the time is the same as a constant switched on and off."""
    begin, end, ts = 333.3, 333.8, [500.0]

    def solve(pulse):
        settings = dict(KINDS[kind])
        if kind == "term":
            settings["hamiltonian"] = tuple(
                qb.Term(pulse, battery=b) for b in (qb.J_plus, qb.J_minus)
            )
        elif kind == "jump":
            settings["jumps"] = (qb.Jump(pulse, qb.Term(1.0, battery=qb.J_plus)),)
        else:
            settings[kind] = pulse
        model = qb.StarBattery(N=1, gamma_C=0.01, **settings)
        start = np.array([[0.0, 0.0], [1.0, 0.0]]) if kind == "g" else None
        rho0 = None if start is None else np.einsum("am,bn->ambn", start, start)
        return qb.evolve(model, ts, rho0=rho0, save=("energy",))

    drive = solve(qb.Pulse(window, 0.9, begin, end))
    pieces = solve(qb.PiecewiseConstant([begin, end], [0.0, 0.9, 0.0]))
    assert drive.status[0] == pieces.status[0] == qb.Status.OK
    np.testing.assert_allclose(drive.energy, pieces.energy, rtol=0, atol=1e-6)
    assert pieces.energy[0] > 1e-3


@pytest.mark.parametrize("told_by", ["stops", pytest.param("step", marks=pytest.mark.slow)])
def test_what_is_shorter_than_the_grid_is_told_by_stops_or_by_a_longest_step(told_by):
    begin, end, longest = 400.0, 400.001, 5e-4
    # Without dephasing, one qubit and its charger, both empty: the drive turns the charger by an
    # angle 2 h (end - begin), and the excitation then swings over at g.
    late = np.sin(100.0 * (end - begin)) ** 2 * np.sin(1.5) ** 2
    stops = [end, begin] if told_by == "stops" else []
    roots = np.sqrt([begin, end])

    def hidden(t, height):
        # None of its numbers is a time.
        return window(jnp.sqrt(t), height, *roots)

    model = qb.StarBattery(N=1, F=qb.Pulse(hidden, 100.0, stops=stops), gamma_C=0.0)
    curve = qb.evolve(
        model, [401.5], save=("energy",), max_step=longest if told_by == "step" else None
    )
    np.testing.assert_allclose(curve.energy[0], late, rtol=0, atol=2e-5)
    if told_by == "step":
        assert curve.steps >= 401.5 / longest


def hump(t, begin, end, area):
    inside = (begin <= t) & (t < end)
    part = jnp.where(inside, (t - begin) / (end - begin), 0.0)
    return area * jnp.pi / 2 / (end - begin) * jnp.sin(jnp.pi * part)


AREA = 0.7
MOMENTARY = {
    # The flank of the last two is 1e-3 of a cell; where a hump begins and ends it is zero.
    "a parameter": qb.Pulse(lambda t, c: gaussian(t, AREA / np.sqrt(np.pi) / 1e-5, c, 1e-5), 300.1),
    "a number": qb.Pulse(lambda t: gaussian(t, AREA / np.sqrt(np.pi) / 1e-5, 300.1, 1e-5)),
    "inside": qb.Pulse(jax.jit(lambda t: hump(t, 300.1 - 5e-6, 300.1 + 5e-6, AREA))),
    "the end": qb.Pulse(lambda t, end: hump(t, end - 1e-5, end, AREA), 300.1 + 5e-6),
}


@pytest.mark.parametrize("centre", MOMENTARY)
def test_numbers_in_a_pulse_tell_where_it_is_over_in_a_moment(centre):
    """All at once the drive turns the charger by an angle; the rest is the exact solution."""
    kick = np.array([[np.cos(AREA), 0.0], [-1j * np.sin(AREA), 0.0]])
    later = qb.evolve(qb.StarBattery(N=1, F=0.0, gamma_C=0.1), [4.0], rho0=kick, method="exact")
    model = qb.StarBattery(N=1, F=MOMENTARY[centre], gamma_C=0.1)
    curve = qb.evolve(model, [304.1], save=("energy",))
    np.testing.assert_allclose(curve.energy, later.energy, rtol=0, atol=2e-6)
    assert later.energy[0] > 0.1


def test_numbers_in_a_smooth_pulse_cost_nothing():
    drive = qb.Pulse(lambda t, width: 0.5 * jnp.sin(t / width) ** 2 * jnp.cos(3.0 * t), 7.0)
    model = qb.StarBattery(N=1, F=drive)
    found = intervals(model, jnp.zeros(()), jnp.asarray([9.0]), jnp.asarray(1e-8), diffrax.Dopri8())
    assert np.all(np.isinf(found.sharp))
    # The width, and the two numbers beside it.
    assert found.sharp.size == 3 * 25


def lengths(model, end):
    """The lengths of the intervals of [0, end], over that, from the first one to the last."""
    found = intervals(model, jnp.zeros(()), jnp.asarray([end]), jnp.asarray(1e-8), diffrax.Dopri8())
    edges = [0.0]
    while edges[-1] < end * (1 - 1e-12):
        edges.append(float(found.boundary(jnp.asarray(edges[-1]))))
    return np.diff(edges) / end


def test_intervals_are_as_many_as_the_features():
    def model(*features):
        def drive(t, *centres):
            return sum(gaussian(t, 1.0, centre, 0.05) for centre in centres)

        return qb.StarBattery(N=1, F=qb.Pulse(drive, *features))

    one, three = lengths(model(500.0), 1000.0), lengths(model(101.0, 500.0, 807.0), 1000.0)
    assert len(one) < 100
    assert len(three) < 3 * len(one)
    assert min(one) < 1.001 / CELLS
    assert len(lengths(model(500.0), 10000.0)) < 100
    # A pulse as wide as the time, and a constant, need next to none.
    smooth = qb.StarBattery(N=1, F=qb.Pulse(gaussian, 0.5, 10.0, 3.0))
    assert len(lengths(smooth, 20.0)) <= 16
    assert len(lengths(qb.StarBattery(N=1, F=qb.Pulse(jnp.ones_like)), 20.0)) == 1


def test_stops_are_checked():
    with pytest.raises(qb.ArgumentError, match="`stops` must be finite"):
        qb.Pulse(jnp.sin, stops=[1.0, np.nan])
    with pytest.raises(qb.ArgumentError, match="`stops` must be one-dimensional"):
        qb.Pulse(jnp.sin, stops=1.0)


@pytest.mark.parametrize(
    "later", [pytest.param([1e5], marks=pytest.mark.slow), [1e2, 1e3, 1e4, 1e5]]
)
def test_a_late_time_takes_nothing_from_the_earlier_ones(later):
    model = qb.StarBattery(1, qb.Pulse(gaussian, 10.0, 10.03, 0.1), gamma_C=0.1, kappa=0.3)
    alone = qb.evolve(model, [12.0], method="kvaerno5").energy
    among = qb.evolve(model, [1.0, 12.0, *later], method="kvaerno5").energy
    assert alone[0] > 0.5
    np.testing.assert_allclose(among[1], alone[0], rtol=1e-6)


def test_a_weak_pulse_of_a_strong_term_is_seen():
    """Height and matrix, or rate and jump, are defined only together."""
    flip = np.array([[0.0, 1.0], [1.0, 0.0]])
    energies, rates = [], []
    for scale in (1.0, 1e9):
        pulse = qb.Pulse(gaussian, 5.0 / scale, 50.03, 0.1)
        model = qb.StarBattery(
            1, 0.0, gamma_C=0.1, hamiltonian=qb.Term(pulse, battery=scale * flip)
        )
        energies.append(qb.evolve(model, [100.0]).energy[0])
        jump = qb.Jump(pulse, qb.Term(np.sqrt(scale), battery=qb.J_plus))
        rates.append(qb.evolve(qb.StarBattery(1, 0.0, gamma_C=0.1, jumps=jump), [100.0]).energy[0])
    np.testing.assert_allclose(energies, energies[0], rtol=1e-6)
    np.testing.assert_allclose(rates, rates[0], rtol=1e-6)
    assert min(energies[0], rates[0]) > 0.1


@pytest.mark.slow
def test_second_derivatives_see_a_pulse():
    def energy(height):
        model = qb.StarBattery(1, qb.Pulse(gaussian, height, 1.0, 1.0), gamma_C=0.1)
        return qb.evolve(model, [2.0], save=("energy",), gradient="forward").energy[0]

    slope = jax.jacfwd(energy)
    expected = (slope(1.0 + 1e-5) - slope(1.0 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jacfwd(slope)(1.0), expected, rtol=1e-6)


@pytest.mark.slow
def test_parameters_that_enter_as_a_difference_have_derivatives():
    def drive(t, a, b):
        return gaussian(t, a - b, 15.0, 0.02) + 0.2

    def energy(a, b):
        model = qb.StarBattery(1, qb.Pulse(drive, a, b), gamma_C=0.1)
        return qb.evolve(model, [20.0], save=("energy",)).energy[0]

    first, second = jax.grad(energy, (0, 1))(0.0, 0.0)
    expected = (energy(1e-3, 0.0) - energy(-1e-3, 0.0)) / 2e-3
    np.testing.assert_allclose(first, expected, rtol=1e-3)
    np.testing.assert_allclose(second, -first, rtol=1e-9)


def test_a_pulse_in_single_precision_takes_few_steps():
    with enable_x64(False):
        drive = qb.Pulse(gaussian, 1 / 0.3, 20.0, 0.3)
        model = qb.StarBattery(1, drive, gamma_C=0.1)
        curve = qb.evolve(model, [37.7], rtol=1e-4, tolerance=1e-2)
        assert curve.steps < 200
        np.testing.assert_allclose(curve.energy, 0.71431, atol=1e-3)


def test_a_cut_that_was_too_low_before_the_drive_ended_is_flagged():
    def ends(height):
        return qb.PiecewiseConstant([5.0], [height, 0.0])

    model = qb.StarBattery(2, ends(2.0), ends(1.0), gamma_C=0.1, charger=qb.cavity(3))
    with pytest.warns(UserWarning, match="more levels"):
        curve = qb.evolve(model, [5.0, 6.0])
    np.testing.assert_array_equal(curve.status, qb.Status.CUT_TOO_LOW)
