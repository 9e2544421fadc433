"""What comes back after every period, against matrices of QuTiP and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
import scipy.linalg
from helpers import general_model

import qbjax as qb

LOSSES = {"gamma_C": 0.1, "kappa": 0.1, "Gamma_down": 0.01}


def on_and_off(F=1.0):
    return qb.PiecewiseConstant([2.0], [F, 0.0])


def two_pieces(N, first, second, times=(2.0, 2.0)):
    """The map of a period of two constant pieces, as QuTiP's matrix."""
    parts = [
        scipy.linalg.expm(qutip.liouvillian(*general_model(N, **given)).full() * t)
        for given, t in zip((first, second), times, strict=True)
    ]
    return parts[1] @ parts[0]


def fixed(matrix):
    """The state that the matrix keeps, and the next largest eigenvalue in size."""
    values, vectors = np.linalg.eig(matrix)
    order = np.argsort(-np.abs(values))
    size = math.isqrt(len(values))
    rho = vectors[:, order[0]].reshape(size, size).T
    return rho / np.trace(rho), np.abs(values[order[1]])


@pytest.mark.parametrize("N", [1, 2, 3])
@pytest.mark.parametrize(
    "more", [{}, {"omega_C": 1.2, "omega_d": 0.9}], ids=["resonant", "detuned"]
)
def test_a_drive_on_and_off_comes_back_as_the_matrices_of_qutip_say(N, more):
    # From a start without the symmetry of the empty one, so that all modes count.
    start = np.exp(1j * np.arange(2 * N + 2)).reshape(2, N + 1) / math.sqrt(2 * N + 2)
    model = qb.StarBattery(N, on_and_off(), **LOSSES, **more)
    ours = qb.steady_state(model, period=4.0, rho0=start)
    given = LOSSES | more
    rho, next_largest = fixed(two_pieces(N, given | {"F": 1.0}, given | {"F": 0.0}))
    np.testing.assert_allclose(ours.rho.reshape(rho.shape), rho, atol=1e-9)
    assert ours.nullity == 1
    assert ours.error_estimate < 1e-8
    np.testing.assert_allclose(ours.relaxation_time, -4.0 / math.log(next_largest), rtol=1e-8)


def test_the_numbers_of_two_qubits_before_the_drive_goes_on():
    ours = qb.steady_state(qb.StarBattery(2, on_and_off(), **LOSSES), period=4.0)
    # From an independent program.
    np.testing.assert_allclose(ours.energy, 0.6871888563, atol=1e-9)
    np.testing.assert_allclose(ours.ergotropy, 0.2246542202, atol=1e-9)


def wave(t, mean, height):
    return mean + height * jnp.sin(2 * jnp.pi * t / 3.0)


def test_a_smooth_drive_comes_back_as_qutip_says():
    ours = qb.steady_state(qb.StarBattery(2, qb.Pulse(wave, 0.4, 0.5), **LOSSES), period=3.0)
    H, jumps = general_model(2, F=lambda t: 0.4 + 0.5 * math.sin(2 * math.pi * t / 3), **LOSSES)
    options = {"atol": 1e-12, "rtol": 1e-10, "method": "vern9"}
    P = qutip.propagator(H, 3.0, jumps, options=options).full()
    rho, _ = fixed(P)
    np.testing.assert_allclose(ours.rho.reshape(rho.shape), rho, atol=1e-8)


@pytest.mark.parametrize("N", [1, 2, 4])
def test_dephasing_alone_under_a_changing_ratio_leaves_everything_mixed(N):
    ours = qb.steady_state(qb.StarBattery(N, on_and_off(), gamma_C=0.3), period=4.0)
    assert ours.nullity == 1
    np.testing.assert_allclose(ours.populations, 1 / (N + 1), atol=1e-9)
    np.testing.assert_allclose(ours.ergotropy, N / 2 - N / (N + 1), atol=1e-9)


@pytest.mark.parametrize(
    "pulses",
    [
        {"gamma_C": qb.PiecewiseConstant([1.0], [0.0, 0.6])},
        {
            "F": qb.PiecewiseConstant([1.0], [0.5, -0.25]),
            "g": qb.PiecewiseConstant([1.0], [1.0, -0.5]),
        },
    ],
    ids=["dephasing", "drive and coupling together"],
)
def test_one_ratio_keeps_the_sectors_whatever_else_changes(pulses):
    model = qb.StarBattery(**({"N": 3, "F": 0.5, "gamma_C": 0.6} | pulses))
    start = np.zeros((2, 4))
    start[1, 2] = 1.0
    for rho0 in (None, start):
        ours = qb.steady_state(model, period=2.0, rho0=rho0)
        alike = qb.steady_state(qb.StarBattery(3, 0.5), rho0=rho0)
        np.testing.assert_allclose(ours.rho, alike.rho, atol=1e-12)
        assert ours.nullity == 4
        assert ours.residual < 1e-9


def test_the_relaxation_of_kept_sectors_is_that_of_the_matrix():
    model = qb.StarBattery(2, 0.5, gamma_C=qb.PiecewiseConstant([1.0], [0.0, 0.6]))
    ours = qb.steady_state(model, period=2.0)
    P = two_pieces(2, {"F": 0.5, "gamma_C": 0.0}, {"F": 0.5, "gamma_C": 0.6}, (1.0, 1.0))
    sizes = np.sort(np.abs(np.linalg.eigvals(P)))
    assert sizes[-3] > 1 - 1e-9 > sizes[-4]
    np.testing.assert_allclose(ours.relaxation_time, -2.0 / math.log(sizes[-4]), rtol=1e-7)


def test_without_change_it_is_the_steady_state():
    model = qb.StarBattery(3, 0.5, **LOSSES, gamma_down=0.02)
    ours, alike = qb.steady_state(model, period=1.3), qb.steady_state(model)
    np.testing.assert_allclose(ours.rho, alike.rho, atol=1e-9)
    np.testing.assert_allclose(ours.ergotropy, alike.ergotropy, atol=1e-9)


def test_padded_batches_and_traced_ones_agree_and_gradients_are_right():
    def energy(F, kappa, N=2, N_max=2):
        model = qb.StarBattery(jnp.asarray(N), on_and_off(F), gamma_C=0.1, kappa=kappa, N_max=N_max)
        return qb.steady_state(model, period=4.0).energy

    alone = energy(1.0, 0.1)
    np.testing.assert_allclose(energy(1.0, 0.1, N_max=4), alone, atol=1e-9)
    batch = jax.jit(jax.vmap(energy))(jnp.array([1.0, 0.7]), jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(batch, [alone, energy(0.7, 0.2)], atol=1e-10)
    ours = jax.jit(jax.grad(energy, (0, 1)))(1.0, 0.1)
    h = 1e-4
    differences = [
        (energy(1.0 + h, 0.1) - energy(1.0 - h, 0.1)) / (2 * h),
        (energy(1.0, 0.1 + h) - energy(1.0, 0.1 - h)) / (2 * h),
    ]
    np.testing.assert_allclose(ours, differences, atol=1e-6)


def test_what_has_no_such_state_is_refused_or_flagged():
    with pytest.raises(qb.SolveError, match="gamma_C"):
        qb.steady_state(qb.StarBattery(2, on_and_off(), gamma_C=0.0), period=4.0)
    with pytest.raises(qb.ArgumentError, match="`period`"):
        qb.steady_state(qb.StarBattery(2, on_and_off(), **LOSSES), period=0.0)
    with pytest.raises(qb.ArgumentError, match="`time`"):
        qb.steady_state(qb.StarBattery(2, on_and_off(), **LOSSES), period=4.0, time=1.0)
    with pytest.raises(qb.ArgumentError, match=r"`period`.*1024"):
        qb.steady_state(qb.StarBattery(40, on_and_off(), **LOSSES), period=4.0)
    traced = jax.jit(
        lambda T: qb.steady_state(qb.StarBattery(1, on_and_off(), **LOSSES), period=T).status
    )
    assert traced(-1.0) == qb.Status.OUT_OF_RANGE
    assert traced(4.0) == qb.Status.OK


def test_a_cut_that_overflows_within_the_period_is_flagged():
    """At its end the charger is empty again."""
    drive = qb.PiecewiseConstant([2.0], [1.5, 0.0])
    given = {"F": drive, "gamma_C": 0.1, "kappa": 2.0, "Gamma_down": 0.05}
    low = qb.StarBattery(1, charger=qb.cavity(4), **given)
    found = qb.steady_state(low, period=12.0, throw=False)
    assert found.rho[-1, :, -1].trace().real < 1e-6
    assert found.status == qb.Status.CUT_TOO_LOW
    assert found.top_population > 1e-3


def test_a_drive_that_is_on_resonance_part_of_the_time_leaves_one_state():
    drive = qb.PiecewiseConstant([1.0], [0.8, 1.0])
    found = qb.steady_state(qb.StarBattery(2, 0.5, gamma_C=0.3, omega_d=drive), period=2.0)
    assert found.nullity == 1
    first, second = ({"F": 0.5, "gamma_C": 0.3, "omega_d": w} for w in (0.8, 1.0))
    rho, _ = fixed(two_pieces(2, first, second, (1.0, 1.0)))
    np.testing.assert_allclose(found.rho.reshape(rho.shape), rho, atol=1e-9)


def test_terms_of_ones_own_that_keep_something_are_flagged():
    # The drive is off, and the jump counts excitations: each number of them is kept.
    jump = qb.Jump(0.1, qb.Term(1.0, battery=qb.J_z))
    model = qb.StarBattery(2, 0.0, gamma_C=0.1, jumps=jump)
    assert qb.steady_state(model, period=1.0, throw=False).status == qb.Status.NOT_CONVERGED
