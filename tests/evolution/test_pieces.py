"""Piecewise constant parameters: exponentials by hand, from jump to jump, and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import qbjax as qb
from qbjax.common.repeat import KEPT

EXACTLY = ("chebyshev", "propagator")
JUMPS = np.array([1.0, 2.5, 3.0])
F, G = np.array([0.7, 0.0, 1.2, -0.4]), np.array([1.0, 0.5, 1.0, 1.5])
RATES = {"gamma_C": 0.4, "kappa": 0.2, "Gamma_down": 0.1}
# At and beside the jumps, and long before and after them.
TS = np.array([0.0, 1e-9, 0.5, 1.0, 2.0, 2.5, 2.500001, 3.0, 4.0])


def model(F=F, g=G, jumps=JUMPS, **more):
    # The coupling changes at another time, too, and before and after everything.
    g = qb.PiecewiseConstant([-1.0, *jumps, 9.0], [7.0, *g, 7.0])
    return qb.StarBattery(N=2, F=qb.PiecewiseConstant(jumps, F), g=g, **(RATES | more))


def by_hand(ts, F=F, g=G, jumps=JUMPS, rates=(0.4, 0.2, 0.1), N=2):
    """States by exponentials of a Liouvillian in 2 (N + 1) levels, from jump to jump."""
    lower, count = np.array([[0, 1], [0, 0]]), N + 1
    n = np.arange(1, count)
    ladder = np.diag(np.sqrt(n * (N - n + 1)), 1)
    s, J = np.kron(lower, np.eye(count)), np.kron(np.eye(2), ladder)
    losses = list(zip(rates, (s.T @ s, s, J), strict=True))
    states = []
    for t in ts:
        rho = np.zeros(4 * count**2)
        rho[0] = 1
        for F_k, g_k, begin, end in zip(F, g, [0, *jumps], [*jumps, 99], strict=True):
            H = F_k * (s + s.T) + g_k / np.sqrt(N) * (s.T @ J + J.T @ s)
            one = np.eye(2 * count)
            L = -1j * (np.kron(H, one) - np.kron(one, H.T))
            for rate, c in losses:
                square = c.T @ c
                L += rate * (np.kron(c, c) - (np.kron(square, one) + np.kron(one, square.T)) / 2)
            rho = scipy.linalg.expm(L * np.clip(t - begin, 0, end - begin)) @ rho
        states.append(rho.reshape(2, count, 2, count))
    return np.stack(states)


@pytest.mark.parametrize("method", EXACTLY)
def test_against_exponentials_by_hand(method):
    found = qb.evolve(model(), TS, save=("rho", "power"), method=method)
    np.testing.assert_allclose(found.rho, by_hand(TS), rtol=0, atol=1e-11)
    assert found.status.max() == 0
    assert found.error_estimate.max() < 1e-9
    # At a jump the power is that of what follows: the slope on its right.
    later = qb.evolve(model(), [2.5, 2.5 + 1e-5], save=("energy",), method=method)
    np.testing.assert_allclose(found.power[5], np.diff(later.energy)[0] / 1e-5, rtol=1e-4)


def test_auto_takes_the_series_between_jumps_and_an_integrator_for_smooth_pulses():
    auto = qb.evolve(model(), TS)
    assert auto.method == "chebyshev"
    assert auto.why.endswith("the equation is constant between jumps")
    smooth = qb.Pulse(lambda t, height: height * jnp.sin(t), 0.3)
    assert qb.evolve(model(kappa=smooth), [1.0]).method == "dopri8"


def test_one_piece_is_no_piece():
    """Jumps that are never reached, at 0, and at the last time change nothing."""
    rates = {"gamma_C": 0.4, "kappa": 0.2}
    constant = qb.evolve(qb.StarBattery(N=2, F=0.7, **rates), [2.0, 5.0], save=("rho",))
    drive = qb.PiecewiseConstant([-1.0, 0.0, 5.0, 50.0], [9.0, 9.0, 0.7, 9.0, 9.0])
    found = qb.evolve(qb.StarBattery(N=2, F=drive, **rates), [2.0, 5.0], save=("rho",))
    np.testing.assert_allclose(found.rho, constant.rho, rtol=0, atol=1e-12)


def test_many_times_and_long_pieces():
    """More intervals than are planned at once, and more steps in one than there are states kept."""
    ts = np.array([*np.linspace(0.0, 1.0, 40), 60.0])
    drive = qb.PiecewiseConstant([50.0], [200.0, 0.3])
    losses = {"gamma_C": 3.0, "kappa": 0.1, "Gamma_down": 0.0}
    found = qb.evolve(qb.StarBattery(N=2, F=drive, **losses), ts, save=("rho",))
    assert found.steps > KEPT + len(ts)
    expected = by_hand(ts, [200.0, 0.3], [1.0, 1.0], [50.0], losses.values())
    np.testing.assert_allclose(found.rho, expected, rtol=0, atol=1e-8)


def merit(F, g, jumps, gamma, method="auto", gradient="reverse"):
    made = model(F, g, jumps, gamma_C=gamma)
    found = qb.evolve(made, [0.7, 2.0, 4.0], method=method, gradient=gradient)
    return jnp.sum(found.energy * jnp.array([1.0, -0.5, 2.0])) + found.ergotropy[-1]


ARGUMENTS = (F, G, JUMPS, np.asarray(0.4))


@pytest.mark.parametrize(
    "method", ["chebyshev", pytest.param("propagator", marks=pytest.mark.slow)]
)
def test_derivatives_by_values_and_by_times(method):
    reverse = jax.jit(jax.grad(lambda x: merit(*x, method)))(ARGUMENTS)
    forward = jax.jit(jax.jacfwd(lambda x: merit(*x, method, "forward")))(ARGUMENTS)
    value = jax.jit(lambda x: merit(*x, method))
    for k in range(4):
        np.testing.assert_allclose(reverse[k], forward[k], rtol=0, atol=1e-9)
        for i in np.ndindex(ARGUMENTS[k].shape):
            moved = [[np.array(x) for x in ARGUMENTS] for _ in range(2)]
            moved[0][k][i] += 1e-5
            moved[1][k][i] -= 1e-5
            slope = (value(tuple(moved[0])) - value(tuple(moved[1]))) / 2e-5
            np.testing.assert_allclose(reverse[k][i], slope, rtol=0, atol=1e-7)
    assert all(np.all(np.abs(x) > 1e-3) for x in reverse)


@pytest.mark.slow
def test_second_derivatives():
    """Of the drive's first value, against differences of first ones."""

    def first(x):
        return jax.jacfwd(lambda y: merit(jnp.asarray(F).at[0].set(y), *ARGUMENTS[1:], **how))(x)

    how = {"gradient": "forward"}
    second = jax.jit(jax.jacfwd(first))(0.7)
    above, below = (jax.jit(first)(0.7 + h) for h in (1e-4, -1e-4))
    np.testing.assert_allclose(second, (above - below) / 2e-4, rtol=1e-6)


@pytest.mark.slow
def test_derivatives_through_more_steps_than_are_kept():
    def energy(strong, jump, gradient):
        drive = qb.PiecewiseConstant(jnp.stack([jump]), jnp.stack([strong, 0.3]))
        made = qb.StarBattery(N=2, F=drive, gamma_C=3.0, gamma_down=0.1)
        found = qb.evolve(made, [51.0], save="energy", gradient=gradient)
        return found.energy[0], found.steps

    at = 200.0, 50.0
    reverse, steps = jax.grad(lambda *x: energy(*x, "reverse"), (0, 1), has_aux=True)(*at)
    forward, _ = jax.jacfwd(lambda *x: energy(*x, "forward"), (0, 1), has_aux=True)(*at)
    assert steps > 2 * KEPT
    np.testing.assert_allclose(reverse, forward, rtol=0, atol=1e-11)
    assert np.all(np.abs(np.array(reverse)) > 1e-8)


def test_a_padded_batch_is_its_models():
    drive = qb.PiecewiseConstant([1.0], [0.7, 0.1])
    batch = qb.StarBattery(N=np.array([1, 3]), F=drive, kappa=[[0.1], [0.3]], N_max=3)
    found = qb.evolve(batch, [0.5, 2.0])
    for i, kappa in enumerate((0.1, 0.3)):
        for k, N in enumerate((1, 3)):
            alone = qb.evolve(qb.StarBattery(N=N, F=drive, kappa=kappa), [0.5, 2.0])
            np.testing.assert_allclose(found.energy[i, k], alone.energy, rtol=0, atol=1e-12)


def test_what_is_given_up_is_said():
    with pytest.warns(UserWarning, match="Raise max_steps"):
        found = qb.evolve(model(), TS, max_steps=3)
    assert np.isnan(found.energy[-1])
    assert found.status[-1] == qb.Status.NOT_CONVERGED
    assert found.status[1] == qb.Status.OK
