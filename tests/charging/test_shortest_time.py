"""The shortest time to a target, against bang-bang control in closed form."""

import numpy as np
import pytest
import scipy.optimize

import qbjax as qb


def switched(T):
    return qb.StarBattery(N=1, F=qb.shapes.piecewise_constant(T, [1.0, 0.0]), gamma_C=0.0)


def energy(model, T):
    return qb.evolve(model, [T], save="energy", rtol=1e-12).energy[0]


def by_matrices(on, T):
    """The energy of one qubit under |F| = 1 for a time, then without drive, by 4 x 4 matrices."""
    lower = np.array([[0.0, 1.0], [0.0, 0.0]])
    charger, battery = np.kron(lower, np.eye(2)), np.kron(np.eye(2), lower)
    state = np.array([1.0, 0.0, 0.0, 0.0], complex)
    for F, t in ((1.0, on), (0.0, T - on)):
        half = F * charger.T + charger.T @ battery
        values, vectors = np.linalg.eigh(half + half.T)
        state = vectors @ (np.exp(-1j * values * t) * (vectors.T @ state))
    return abs(state[1]) ** 2 + abs(state[3]) ** 2


def test_one_switch_as_scipy_finds_it():
    def best(T):
        found = scipy.optimize.minimize_scalar(
            lambda on: -by_matrices(on, T),
            bounds=(0, T),
            method="bounded",
            options={"xatol": 1e-10},
        )
        return -found.fun

    expected = scipy.optimize.brentq(lambda T: best(T) - 0.9, 1.5, 2.4, xtol=1e-9)
    fastest = qb.shortest_time(
        switched, energy, 0.9, {"F.times": (0.0, 3.0)}, between=(1.0, 3.0), time_tolerance=1e-6
    )
    np.testing.assert_allclose(fastest.time, expected, atol=2e-6)
    assert fastest.too_short < expected <= fastest.time + 1e-9
    assert fastest.time - fastest.too_short <= 1e-6
    assert fastest.optimum.value >= 0.9
    assert "too_short" in repr(fastest)


@pytest.mark.slow
def test_more_pieces_are_no_slower():
    def pieces(T):
        drive = qb.shapes.piecewise_constant(T, [0.9, 0.8, 0.5, 0.2])
        return qb.StarBattery(N=1, F=drive, gamma_C=0.0)

    given = {"between": (1.0, 3.0), "time_tolerance": 1e-3}
    four = qb.shortest_time(pieces, energy, 0.9, {"F": (-1.0, 1.0)}, starts=3, **given)
    alone = qb.shortest_time(switched, energy, 0.9, {"F.times": (0.0, 3.0)}, **given)
    # No drive within these bounds is faster than one switch; pieces of equal length come close.
    assert alone.time - 1e-3 <= four.time <= alone.time + 0.05


def test_what_cannot_be_is_said_in_one_line():
    switch = {"F.times": (0.0, 3.0)}
    with pytest.raises(qb.SolveError, match=r"0\.99 is not reached by t = 1\.5"):
        qb.shortest_time(switched, energy, 0.99, switch, between=(1.0, 1.5))
    with pytest.raises(qb.SolveError, match=r"0\.1 is reached by t = 2 already"):
        qb.shortest_time(switched, energy, 0.1, switch, between=(2.0, 3.0))
    with pytest.raises(qb.ArgumentError, match="`between`"):
        qb.shortest_time(switched, energy, 0.9, switch, between=(3.0, 1.0))
    with pytest.raises(qb.ArgumentError, match="`time_tolerance`"):
        qb.shortest_time(switched, energy, 0.9, switch, between=(1.0, 3.0), time_tolerance=0.0)
    with pytest.raises(qb.ArgumentError, match="`model`"):
        qb.shortest_time(lambda T: T, energy, 0.9, switch, between=(1.0, 3.0))
