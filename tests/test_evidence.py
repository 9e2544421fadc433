"""What results say of themselves: residuals, statuses and identities, each against its meaning."""

import json

import jax
import numpy as np
import pytest
import qutip

import qbjax as qb
from qbjax.cli import main
from qbjax.sweeps import provenance


def test_residual_of_a_state_at_a_time():
    F, kappa, gamma_C = 0.5, 0.3, 0.2
    ss = qb.steady_state(qb.StarBattery(1, F, gamma_C=gamma_C, kappa=kappa), time=2.0, throw=False)
    lower, one = qutip.sigmam(), qutip.qeye(2)
    C, B = qutip.tensor(lower, one), qutip.tensor(one, lower)
    H = F * (C + C.dag()) + C.dag() * B + B.dag() * C
    jumps = [np.sqrt(kappa) * C, np.sqrt(gamma_C) * (C.dag() * C - 0.5)]
    # QuTiP's topmost level is the first.
    rho = np.asarray(ss.rho)[::-1, ::-1, ::-1, ::-1].reshape(4, 4)
    L = qutip.liouvillian(H, jumps).full()
    change = (L @ rho.flatten(order="F")).reshape(4, 4, order="F")
    # The parts of complex numbers are looked at apart, in the gauge where they are.
    parts = np.abs([change.real, change.imag]).max(), np.abs([rho.real, rho.imag]).max()
    np.testing.assert_allclose(ss.residual, parts[0] / parts[1], rtol=1e-6)


def test_a_charger_that_leaks_empties_the_battery_without_drive():
    rho0 = np.array([0.6, 0.0, 0.8])
    for method in ("direct", "iterative"):
        model = qb.StarBattery(2, 0.0, kappa=0.4)
        ss = qb.steady_state(model, rho0=rho0, method=method)
        assert ss.status == qb.Status.OK
        empty = np.zeros((2, 3, 2, 3))
        empty[0, 0, 0, 0] = 1
        np.testing.assert_allclose(ss.rho, empty, atol=1e-8)


def test_derivatives_from_a_start_that_is_steady_already():
    N = 2
    mixed = np.einsum("ab,nm->anbm", np.eye(2), np.eye(N + 1)) / (2 * N + 2)

    def ergotropy(rate, method):
        model = qb.StarBattery(N, 0.5, Gamma_down=rate, Gamma_up=0.1)
        return qb.steady_state(model, rho0=mixed, method=method).energy

    direct, iterative = (
        jax.grad(lambda rate, method=method: ergotropy(rate, method))(0.1)
        for method in ("direct", "iterative")
    )
    assert abs(direct) > 0.1
    np.testing.assert_allclose(iterative, direct, rtol=1e-6)


@pytest.mark.parametrize("band", [0.003, 0.05])
def test_the_settling_time_is_where_the_curve_last_leaves_the_band(band):
    model = qb.StarBattery(2, 1.0, gamma_C=0.8)
    time = float(qb.charging_time(model, "settling", band=band).tau)
    ts = np.concatenate([[time], time * np.linspace(1.001, 4, 400)])
    off = np.abs(1 - qb.evolve(model, ts, save=("energy",)).energy / 1.0)
    np.testing.assert_allclose(off[0], band, rtol=1e-5)
    assert np.all(off[1:] < band)


def test_arrays_of_many_numbers_are_told_apart_by_their_numbers():
    numbers = np.arange(30.0)
    changed = numbers + (np.arange(30) == 17)
    assert provenance.text(numbers) != provenance.text(changed)
    assert provenance.text(numbers) == provenance.text(numbers.copy())


def test_the_command_line_reports_the_worst_status(capsys):
    arguments = "evolve --N 2 --F 2 --kappa 0.1 --charger cavity:3 --times 0,5 --json"
    main(arguments.split())
    said = json.loads(capsys.readouterr().out)
    assert said["status"] == "CUT_TOO_LOW"
