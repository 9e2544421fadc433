"""Steady states where rates lie far apart, against the master equation solved with 40 digits."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

import qbjax as qb
from qbjax.generator.residual import refined


def matrices(N):
    """The lowering operators of charger and battery, and the identity, on charger (x) ladder."""
    zero = mpmath.mpf(0)
    lower = np.array([[zero, zero + 1], [zero, zero]])
    J = np.full((N + 1, N + 1), zero)
    for n in range(1, N + 1):
        J[n - 1, n] = mpmath.sqrt(n * (N - n + 1))
    one = [np.array([[zero + (i == j) for j in range(d)] for i in range(d)]) for d in (2, N + 1)]
    return np.kron(lower, one[1]), np.kron(one[0], J), np.kron(*one)


def reference(N, Delta_C=0.0, **rates):
    """The stationary state (d, d) of one model with g = 1, one equation replaced by its trace."""
    with mpmath.workdps(40):
        lower, J, one = matrices(N)
        exchange = np.dot(lower.T, J) / mpmath.sqrt(N)
        excited = np.dot(lower.T, lower)
        J_z = (np.dot(J.T, J) - np.dot(J, J.T)) / 2
        drive = rates["F"] * (lower + lower.T)
        H = drive + exchange + exchange.T + Delta_C * excited
        jumps = {
            "kappa": lower,
            "gamma_C": excited - one / 2,
            "Gamma_down": J,
            "Gamma_up": J.T,
            "Gamma_z": J_z,
        }
        # All matrices are real: the transposed are the adjoint.
        L = mpmath.mpc(0, -1) * (np.kron(H, one) - np.kron(one, H))
        for name, jump in jumps.items():
            square = np.dot(jump.T, jump)
            lost = np.kron(square, one) + np.kron(one, square)
            L = L + rates.get(name, 0.0) * (np.kron(jump, jump) - lost / 2)
        d = len(H)
        L[0] = one.reshape(-1)
        right = mpmath.zeros(d * d, 1)
        right[0] = 1
        rho = mpmath.lu_solve(mpmath.matrix(L.tolist()), right)
        return np.array([complex(x) for x in rho]).reshape(d, d)


BAD_CAVITY = {"kappa": 1.0, "F": 0.1}
CASES = {
    "kappa and F": BAD_CAVITY,
    "gamma_C": {"gamma_C": 1.0},
    "Gamma_down": {"Gamma_down": 1.0},
    "Gamma_up": {"Gamma_up": 1.0},
    "Gamma_z": {"Gamma_z": 1.0},
}
REST = {"gamma_C": 0.7, "kappa": 0.3, "F": 0.5}


def point(name, rate):
    large = {key: value * rate for key, value in CASES[name].items()}
    return (large | {"gamma_C": 0.0}) if name == "kappa and F" else REST | large


@pytest.mark.parametrize("rate", [1e4, 1e6])
@pytest.mark.parametrize("name", CASES)
def test_rates_far_apart(name, rate):
    for N in (1, 2):
        parameters = point(name, rate)
        expected = reference(N, **parameters)
        ss = qb.steady_state(qb.StarBattery(N, **parameters), method="direct")
        assert ss.error_estimate < 1e-8
        np.testing.assert_allclose(ss.rho.reshape(expected.shape), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kappa", "energy", "ergotropy"),
    [(1e4, 0.9999996913579, 0.3337696903826), (1e6, 0.9999999999691, 0.3333376981771)],
)
def test_bad_charger_limit(kappa, energy, ergotropy):
    ss = qb.steady_state(qb.StarBattery(N=2, F=0.1 * kappa, gamma_C=0.0, kappa=kappa))
    assert ss.status == qb.Status.OK
    np.testing.assert_allclose([ss.energy, ss.ergotropy], [energy, ergotropy], rtol=0, atol=1e-12)


@pytest.mark.parametrize("large", [{"omega_C": 1e6, "omega_B": 1.0}, {"F": 1e6}])
def test_right_or_flagged_where_double_precision_ends(large):
    # The slowest rate is 1e-18 of the fastest, or less.
    parameters = REST | large
    ss = qb.steady_state(qb.StarBattery(2, **parameters), method="direct", throw=False)
    model = {"Delta_C": parameters.pop("omega_C", 1.0) - parameters.pop("omega_B", 1.0)}
    off = np.abs(ss.rho.reshape(6, 6) - reference(2, **parameters, **model)).max()
    assert off < 1e-8 or ss.status == qb.Status.NOT_CONVERGED


def exactly(matrix):
    """A real matrix of exact fractions."""
    return np.array([[Fraction(x) for x in row] for row in np.asarray(matrix).tolist()])


def test_the_residual_in_rational_arithmetic():
    """Of L rho no more is left than the rounding of rho: that is known to six digits."""
    rates = {"kappa": 0.3, "gamma_C": 0.7, "Gamma_down": 1e6}
    model = qb.StarBattery(2, 0.5, **rates)
    gauge = np.repeat([1, 1j], 3)
    rho = gauge[:, None] * np.asarray(qb.steady_state(model).rho).reshape(6, 6) * gauge.conj()
    rho = (rho + rho.conj().T) / 2
    lower, ladder = np.eye(2, k=1), np.sqrt(2.0) * np.eye(3, k=1)
    coupling = np.kron(lower.T, np.diag(np.asarray(model.couplings)[1:], 1))
    drive = 0.5 * np.kron(lower, np.eye(3))
    # What is -i H in the gauge: real.
    G = exactly(coupling + drive.T - coupling.T - drive)
    jumps = {
        "kappa": np.kron(lower, np.eye(3)),
        "gamma_C": np.kron(lower.T @ lower - np.eye(2) / 2, np.eye(3)),
        "Gamma_down": np.kron(np.eye(2), ladder),
    }
    x = exactly(rho.real)
    change = G @ x - x @ G
    size = abs(G) @ abs(x) + abs(x) @ abs(G)
    for name, jump in jumps.items():
        J, rate = exactly(jump), Fraction(rates[name])
        lost = J.T @ J
        change = change + rate * (J @ x @ J.T - (lost @ x + x @ lost) / 2)
        size = size + rate * (J @ abs(x) @ J.T + (lost @ abs(x) + abs(x) @ lost) / 2)
    exact = change.astype(float)
    ours = np.asarray(refined(model)(rho.real.reshape(1, 2, 3, 2, 3))).reshape(6, 6)
    # Of a product, what halves of the digits make crosswise is rounded, to 2^-79 of it.
    rounding = 2.0**-78 * float(np.max(size))
    assert 1e6 * rounding < np.max(np.abs(exact)) < 1e-9
    np.testing.assert_allclose(ours, exact, rtol=0, atol=rounding)
    assert np.sum(change.diagonal()) == 0
    assert abs(np.trace(ours)) < rounding
