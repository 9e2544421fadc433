"""Charging and keeping, against numbers of a program that shares no code and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb

TS = jnp.linspace(0.0, 30.0, 61)


@pytest.mark.slow
def test_half_lives_worked_out_apart():
    charge = qb.StarBattery(N=4, F=2.0, gamma_C=0.1)
    hold = qb.StarBattery(N=4, F=0.0, g=0.0, gamma_C=0.0, Gamma_down=0.05)
    battery = qb.storage(charge, 6.051491013, TS, hold=hold)
    assert battery.charged_ergotropy == pytest.approx(3.35998604806, abs=1e-8)
    assert battery.energy_half_life == pytest.approx(8.266252649, abs=1e-7)
    assert battery.ergotropy_half_life == pytest.approx(5.310604478, abs=1e-7)
    assert battery.status == qb.Status.OK


def test_qubits_that_decay_by_themselves_fall_exponentially():
    rates = {"gamma_down": 0.1, "gamma_C": 0.2}
    battery = qb.storage(qb.StarBattery(N=2, F=1.0, **rates), 4.0, TS)
    np.testing.assert_allclose(
        battery.energy, battery.charged_energy * np.exp(-0.1 * TS), atol=1e-7
    )
    assert battery.energy_half_life == pytest.approx(np.log(2) / 0.1, abs=1e-5)
    assert battery.hold.F == battery.hold.g == 0


def test_what_is_not_lost_has_no_half_life():
    battery = qb.storage(qb.StarBattery(N=3, F=1.0, gamma_C=0.2), 5.0, TS)
    np.testing.assert_allclose(battery.energy, battery.charged_energy, atol=1e-9)
    assert np.isinf(battery.energy_half_life)
    assert np.isinf(battery.ergotropy_half_life)
    assert battery.status == qb.Status.OK


@pytest.mark.slow
def test_with_the_drive_off_alone_at_most_half_a_quantum_is_lost():
    charge = qb.StarBattery(N=4, F=2.0, gamma_C=0.1)
    hold = qb.StarBattery(N=4, F=0.0, gamma_C=0.1)
    # Between times so far apart nothing is known of a half-life.
    with pytest.warns(UserWarning, match="ask for times closer together"):
        battery = qb.storage(charge, 6.051491013, jnp.linspace(0.0, 3000.0, 31), hold=hold)
    assert battery.energy[-1] == pytest.approx(3.252989186, abs=1e-7)


def ramp(t):
    return 2.0 * jnp.exp(-t)


@pytest.mark.slow
def test_a_drive_that_is_ramped_down():
    # The same as one pulse over the whole time.
    charge = qb.StarBattery(N=1, F=2.0, gamma_C=0.1, kappa=0.2)
    hold = qb.StarBattery(N=1, F=qb.Pulse(ramp), gamma_C=0.1, kappa=0.2)
    battery = qb.storage(charge, 2.0, jnp.linspace(0.0, 4.0, 41), hold=hold)

    def whole(t):
        return jnp.where(t < 2.0, 2.0, ramp(t - 2.0))

    drive = qb.Pulse(whole, stops=[2.0])
    same = qb.evolve(qb.StarBattery(N=1, F=drive, gamma_C=0.1, kappa=0.2), [2.0, 3.0, 6.0])
    np.testing.assert_allclose(battery.energy[jnp.array([10, 40])], same.energy[1:], atol=1e-7)
    assert battery.charged_energy == pytest.approx(float(same.energy[0]), abs=1e-7)


@pytest.mark.slow
def test_a_batch_is_a_loop_and_has_derivatives():
    def half_life(F):
        model = qb.StarBattery(N=2, F=F, gamma_C=0.2, Gamma_down=0.1)
        return qb.storage(model, 3.0, TS).ergotropy_half_life

    F = jnp.array([0.6, 1.5])
    one_by_one = jnp.stack([half_life(f) for f in F])
    np.testing.assert_allclose(half_life(F), one_by_one, atol=1e-8)
    np.testing.assert_allclose(jax.jit(half_life)(F), one_by_one, atol=1e-8)
    step = 1e-3
    difference = (half_life(0.6 + step) - half_life(0.6 - step)) / (2 * step)
    assert jax.grad(half_life)(0.6) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"t_charge": -1.0}, "`t_charge` must be finite and not negative"),
        ({"ts": [1.0, 1.0]}, "`ts` must be finite, increasing"),
        ({"hold": 3}, "`hold` must be a qbjax.StarBattery"),
        ({"hold": qb.StarBattery(N=3, F=0.0)}, "`hold` must be of the same N_max"),
        ({"hold": qb.StarBattery(N=2, F=np.zeros(2))}, "`hold` must be one model"),
        ({"hold": qb.StarBattery(N=1, N_max=2, F=0.0)}, "`hold` must be of the same N"),
        ({"hold": qb.StarBattery(N=2, F=0.0, omega_B=2.0)}, "`hold` must be of the same omega_B"),
        ({"hold": qb.StarBattery(N=2, F=0.0, omega_d=2.0)}, "`hold` must be of the same omega_d"),
        ({"hold": qb.StarBattery(N=2, F=0.0, frame="lab")}, "`hold` must be in the frame"),
    ],
)
def test_wrong_input_gets_one_line(arguments, words):
    model = qb.StarBattery(N=2, F=0.5)
    with pytest.raises(qb.ArgumentError, match=words):
        qb.storage(model, **{"t_charge": 1.0, "ts": [1.0]} | arguments)


def test_pulses_of_rates_need_a_word_on_how_they_go_on():
    noisy = qb.StarBattery(N=2, F=0.5, kappa=qb.PiecewiseConstant([1.0], [0.0, 0.1]))
    with pytest.raises(qb.ArgumentError, match="`hold` must be given where more than F and g"):
        qb.storage(noisy, 1.0, [1.0])


@pytest.mark.slow
def test_samples_that_are_too_few_are_flagged():
    # With the coupling on the energy swings with a period of pi.
    charge = qb.StarBattery(N=1, F=1.0, gamma_C=0.05)
    hold = qb.StarBattery(N=1, F=0.0, gamma_C=0.05, kappa=0.01)
    with pytest.warns(UserWarning, match="qbjax.storage"):
        battery = qb.storage(charge, 1.5, [10.0, 20.0], hold=hold)
    assert battery.status == qb.Status.NOT_CONVERGED
    assert qb.storage(charge, 1.5, TS / 2, hold=hold).status == qb.Status.OK


def wave(t):
    return 1.5 + jnp.sin(1.7 * t)


@pytest.mark.slow
def test_a_pure_state_of_an_integrator_is_kept():
    # It is positive to the tolerance of the integrator, and not to that of a user's start.
    charge = qb.StarBattery(N=3, F=qb.Pulse(wave), gamma_C=0.0)
    assert qb.evolve(charge, [100.0]).smallest_eigenvalue < -2e-8
    hold = qb.StarBattery(N=3, F=0.0, g=0.0, gamma_C=0.0, Gamma_down=0.05)
    battery = qb.storage(charge, 100.0, TS, hold=hold)
    assert battery.status == qb.Status.OK
    assert np.isfinite(battery.energy_half_life)


def test_noise_on_single_qubits_does_not_end_with_charging():
    noisy = qb.StarBattery(N=2, F=0.5, gamma_down=0.1)
    with pytest.raises(qb.ArgumentError, match="`hold` must be with noise on single qubits"):
        qb.storage(noisy, 1.0, [1.0], hold=qb.StarBattery(N=2, F=0.0))
