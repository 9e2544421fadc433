"""Work and heat, against 2^(N+1) states in the laboratory frame and numbers worked out apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import qbjax as qb

# Pulses and their derivatives, by formula.
PULSES = {
    "F": (lambda t: 0.5 + 0.3 * np.sin(1.3 * t), lambda t: 0.39 * np.cos(1.3 * t)),
    "g": (lambda t: 1.0 - 0.4 * np.tanh(t - 3.0), lambda t: -0.4 / np.cosh(t - 3.0) ** 2),
}
LOSSES = {"gamma_C": 0.3, "kappa": 0.05, "nbar": 0.2, "Gamma_down": 0.02, "Gamma_z": 0.03}
LOSSES |= {"gamma_down": 0.04, "gamma_up": 0.01, "gamma_z": 0.05}


def drive(t):
    return 0.5 + 0.3 * jnp.sin(1.3 * t)


def coupling(t):
    return 1.0 - 0.4 * jnp.tanh(t - 3.0)


class Laboratory:
    """Charger and N qubits one by one, in the frame of the laboratory."""

    def __init__(self, N, omega_B, omega_C, omega_d, rates, F, g):
        up = np.array([[0.0, 0.0], [1.0, 0.0]])
        one = functools.partial(np.eye, 2)
        places = [[one() for _ in range(N + 1)] for _ in range(N + 1)]
        for place, row in enumerate(places):
            row[place] = up
        raising = [functools.reduce(np.kron, row) for row in places]
        self.raise_, qubits = raising[0], raising[1:]
        J = sum(x.T for x in qubits)
        number = sum(x @ x.T for x in qubits)
        excited = self.raise_ @ self.raise_.T
        self.bare = omega_C * excited + omega_B * number
        self.V = (self.raise_ @ J + self.raise_.T @ J.T) / np.sqrt(N)
        self.energies = {"battery": omega_B * number, "charger": omega_C * excited}
        self.omega_d, (self.F, self.dF), (self.g, self.dg) = omega_d, F, g
        z = [x @ x.T - np.eye(len(x)) / 2 for x in qubits]
        r = dict.fromkeys(LOSSES, 0.0) | rates
        self.baths = {
            "gamma_C": [(r["gamma_C"], excited)],
            "kappa": [
                (r["kappa"] * (r["nbar"] + 1), self.raise_.T),
                (r["kappa"] * r["nbar"], self.raise_),
            ],
            "Gamma_down": [(r["Gamma_down"], J)],
            "Gamma_z": [(r["Gamma_z"], sum(z))],
            "gamma_down": [(r["gamma_down"], x.T) for x in qubits],
            "gamma_up": [(r["gamma_up"], x) for x in qubits],
            "gamma_z": [(r["gamma_z"], x) for x in z],
        }

    def turning(self, t):
        up = np.exp(-1j * self.omega_d * t) * self.raise_
        return up + up.conj().T, -1j * self.omega_d * (up - up.conj().T)

    def H(self, t):
        return self.bare + self.F(t) * self.turning(t)[0] + self.g(t) * self.V

    def slopes(self, t, y):
        d = len(self.V)
        rho, H, (X, dX) = y[: d * d].reshape(d, d), self.H(t), self.turning(t)
        flow, heats = -1j * (H @ rho - rho @ H), []
        for jumps in self.baths.values():
            gain = np.zeros_like(rho)
            for rate, L in jumps:
                LL = L.conj().T @ L
                gain = gain + rate * (L @ rho @ L.conj().T - (LL @ rho + rho @ LL) / 2)
            flow = flow + gain
            heats.append(np.trace(H @ gain))
        works = (
            np.trace((self.F(t) * dX + self.dF(t) * X) @ rho),
            np.trace(self.dg(t) * self.V @ rho),
        )
        return np.concatenate([flow.ravel(), works, heats])

    def account(self, ts, rho0=None):
        d = len(self.V)
        y = np.zeros(d * d + 2 + len(self.baths), complex)
        y[0] = 1.0
        if rho0 is not None:
            y[: d * d] = rho0.ravel()
        done = scipy.integrate.solve_ivp(
            self.slopes, (0, ts[-1]), y, "DOP853", ts, rtol=1e-11, atol=1e-13
        )
        rho = done.y[: d * d].T.reshape(-1, d, d)
        rest = done.y[d * d :].real
        found = {"drive_work": rest[0], "switching_work": rest[1]}
        for name, operator in self.energies.items():
            found[f"{name}_energy"] = np.einsum("tab,ba->t", rho, operator).real
        means = [
            np.trace(x @ y) for x, y in zip((self.turning(t)[0] for t in ts), rho, strict=True)
        ]
        found["drive_energy"] = self.F(ts) * np.real(means)
        found["coupling_energy"] = self.g(ts) * np.einsum("tab,ba->t", rho, self.V).real
        return found, dict(zip(self.baths, rest[2:], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("N", [1, 2, 3])
def test_everything_at_once_against_the_laboratory(N):
    frequencies = {"omega_B": 1.1, "omega_C": 1.4, "omega_d": 0.9}
    ts = np.array([2.0, 5.0, 9.0])
    # Padded, so that one program serves all.
    model = qb.StarBattery(
        N=N, N_max=3, F=qb.Pulse(drive), g=qb.Pulse(coupling), **frequencies, **LOSSES
    )
    costs = qb.energetics(model, ts)
    expected, heat = Laboratory(N, **frequencies, rates=LOSSES, **PULSES).account(ts)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(costs, name), values, atol=2e-7, err_msg=name)
    assert set(costs.heat) == set(heat)
    for name, values in heat.items():
        np.testing.assert_allclose(costs.heat[name], values, atol=2e-7, err_msg=name)
    assert costs.status == qb.Status.OK
    assert costs.residual < 1e-7


# By a program of their own: W, E_B and ergotropy at t = 20.
WORKED_OUT = [
    ({"gamma_C": 0.1}, (2.0767367432, 1.4076663148, 1.2431702032)),
    (
        {"gamma_C": 0.3, "omega_C": 1.2, "omega_B": 1.1, "omega_d": 1.0},
        (1.1342228075, None, None),
    ),
    (
        {"gamma_C": 0.1, "kappa": 0.05, "nbar": 0.2, "Gamma_down": 0.02, "Gamma_up": 0.01},
        (2.1161075088, None, None),
    ),
]


@pytest.mark.parametrize(("parameters", "numbers"), WORKED_OUT)
def test_numbers_worked_out_apart(parameters, numbers):
    costs = qb.energetics(qb.StarBattery(N=2, F=0.5, **parameters), [20.0])
    found = costs.drive_work, costs.battery_energy, costs.ergotropy
    for value, number in zip(found, numbers, strict=True):
        assert number is None or value[0] == pytest.approx(number, abs=2e-9)
    assert costs.efficiency[0] == pytest.approx(float(costs.ergotropy[0] / numbers[0]), rel=1e-8)
    assert max(costs.residual, costs.error_estimate) < 1e-9


@pytest.mark.slow
def test_what_is_switched_suddenly_costs_what_it_held():
    detuned = {"N": 2, "gamma_C": 0.3, "omega_C": 1.2, "omega_B": 1.1, "omega_d": 1.0}
    before = qb.energetics(qb.StarBattery(F=0.5, **detuned), [4.0])
    off = {
        "F": qb.PiecewiseConstant([4.0], [0.5, 0.0]),
        "g": qb.PiecewiseConstant([4.0], [1.0, 0.0]),
    }
    after = qb.energetics(qb.StarBattery(**off, **detuned), [4.0, 7.0])
    assert before.coupling_energy[0] != pytest.approx(0.0, abs=1e-3)
    for work in after.drive_work - before.drive_work:
        assert work == pytest.approx(-float(before.drive_energy[0]), abs=1e-7)
    for work in after.switching_work:
        assert work == pytest.approx(-float(before.coupling_energy[0]), abs=1e-7)


@pytest.mark.slow
def test_in_the_steady_state_the_battery_holds_its_share():
    costs = qb.energetics(qb.StarBattery(N=jnp.arange(1, 6), N_max=5, F=2.0, gamma_C=1.0), [2000.0])
    N = np.arange(1, 6)[:, None]
    np.testing.assert_allclose(costs.battery_energy / costs.drive_work, N / (N + 1), atol=1e-8)
    np.testing.assert_allclose(costs.heat["gamma_C"], 0.0, atol=1e-9)


@pytest.mark.slow
def test_a_batch_is_a_loop_and_compiles_and_differentiates():
    ts = [0.0, 3.0, 8.0]
    F = jnp.array([0.4, 1.5])

    def work(F):
        model = qb.StarBattery(N=2, F=F, gamma_C=0.2, kappa=0.1, omega_C=1.3)
        return qb.energetics(model, ts).drive_work

    together, one_by_one = work(F), jnp.stack([work(f) for f in F])
    np.testing.assert_allclose(together, one_by_one, atol=1e-10)
    np.testing.assert_allclose(jax.jit(jax.vmap(work))(F), one_by_one, atol=1e-8)
    assert together[:, 0] == pytest.approx(0.0, abs=1e-12)
    slope = jax.grad(lambda F: work(F)[-1])(0.4)
    step = 1e-4
    difference = (work(0.4 + step) - work(0.4 - step))[-1] / (2 * step)
    assert slope == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.slow
def test_jumps_of_ones_own_are_baths_as_those_by_name():
    local = qb.LocalJump(0.1, np.array([[0.0, 1.0], [0.0, 0.0]]))
    own = qb.energetics(qb.StarBattery(N=2, F=0.5, omega_C=1.3, jumps=local), [3.0])
    named = qb.energetics(qb.StarBattery(N=2, F=0.5, omega_C=1.3, gamma_down=0.1), [3.0])
    assert own.heat["jumps"][0] == pytest.approx(float(named.heat["gamma_down"][0]), abs=1e-12)
    assert own.heat["gamma_C"][0] == pytest.approx(float(named.heat["gamma_C"][0]), abs=1e-12)


def test_starts_in_every_form():
    ket = np.zeros((2, 3), complex)
    ket[0, 1] = ket[1, 0] = np.sqrt(0.5)
    model = qb.StarBattery(N=2, F=0.5, kappa=0.1)
    costs = qb.energetics(model, [3.0], rho0=ket)
    same = qb.energetics(model, [3.0], rho0=np.einsum("am,bn->ambn", ket, ket.conj()))
    assert costs.drive_work[0] == pytest.approx(float(same.drive_work[0]), abs=1e-12)
    # The start holds energy of its own, which is no work.
    assert costs.residual < 1e-9


def flash(t):
    return jnp.where((t > 4.0001) & (t < 4.0002), 300.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gamma_C", "g"])
def test_fast_pulses_are_right_or_flagged(name):
    def wave(t):
        return 1 + 0.5 * jnp.sin(60 * t)

    def shaken(t):
        return 1 + 0.5 * np.sin(60 * t)

    still = {"F": (lambda t: 0.0 * t, lambda t: 0.0), "g": (lambda t: 1.0 + 0.0 * t, lambda t: 0.0)}
    ket = np.array([[0.0, 1.0], [1.0, 0.0]]) / np.sqrt(2)
    rho0 = np.einsum("am,bn->ambn", ket, ket)
    if name == "g":
        model = qb.StarBattery(N=1, F=0.0, g=qb.Pulse(wave), gamma_C=0.1)
        pulses = still | {"g": (shaken, lambda t: 30 * np.cos(60 * t))}
        ends, rates = [4.0], {"gamma_C": 0.1}
        exact = Laboratory(1, 1.0, 1.0, 1.0, rates, **pulses).account(np.array(ends), rho0)
        expected = exact[0]["switching_work"], exact[1]["gamma_C"]
        costs = qb.energetics(model, ends, rho0=rho0)
        np.testing.assert_allclose(costs.switching_work, expected[0], atol=1e-6)
        np.testing.assert_allclose(costs.heat["gamma_C"], expected[1], atol=1e-6)
        assert costs.status == qb.Status.OK
        ends = [400.0]
    else:
        model, ends = qb.StarBattery(N=1, F=0.0, gamma_C=qb.Pulse(wave)), [400.0]
    # The first law does not see it: work and heat are off by the same.
    with pytest.warns(UserWarning, match="does not meet its tolerance"):
        costs = qb.energetics(model, ends, rho0=rho0)
    assert costs.status == qb.Status.NOT_CONVERGED


def test_where_it_begins():
    costs = qb.energetics(qb.StarBattery(N=2, F=0.5, kappa=0.1), [0.0])
    for value in (costs.drive_work, costs.heat["kappa"], costs.battery_energy):
        assert value[0] == pytest.approx(0.0, abs=1e-12)
    assert costs.status == qb.Status.OK


@pytest.mark.slow
def test_stops_beyond_the_times_that_are_asked_for():
    drive = qb.PiecewiseConstant([-1.0, 9.0], [0.9, 0.5, 0.2])
    costs = qb.energetics(qb.StarBattery(N=2, F=drive, gamma_C=0.1), [5.0])
    same = qb.energetics(qb.StarBattery(N=2, F=0.5, gamma_C=0.1), [5.0])
    assert costs.drive_work[0] == pytest.approx(float(same.drive_work[0]), abs=1e-7)


def test_rules_of_integration():
    from qbjax.charging.energetics import _POINTS, _WEIGHTS

    for power in range(23):
        exact = (1 - (-1) ** (power + 1)) / (power + 1)
        finer, difference = _WEIGHTS @ _POINTS**power
        assert finer == pytest.approx(exact, abs=1e-14)
        # The coarse one knows polynomials of degree 13.
        assert (abs(difference) < 1e-14) == (power < 14 or power % 2 == 1)


def test_what_is_refused_is_flagged_where_it_is_traced():
    def status(tolerance):
        return qb.energetics(qb.StarBattery(N=1, F=0.5), [1.0], tolerance=tolerance).status

    np.testing.assert_array_equal(
        jax.jit(jax.vmap(status))(jnp.array([1e-6, -1.0])),
        [qb.Status.OK, qb.Status.OUT_OF_RANGE],
    )


@pytest.mark.slow
def test_what_is_not_resolved_is_flagged():
    model = qb.StarBattery(N=1, F=qb.Pulse(flash), omega_C=1.5)
    with pytest.warns(UserWarning, match="qbjax.energetics: the answer does not meet"):
        costs = qb.energetics(model, [8.0])
    assert costs.status == qb.Status.NOT_CONVERGED
    stopped = qb.StarBattery(N=1, F=qb.Pulse(flash, stops=[4.0001, 4.0002]), omega_C=1.5)
    assert qb.energetics(stopped, [8.0]).status == qb.Status.OK


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({"frame": "lab"}, {}, '`model` must be in the frame "rotating"'),
        ({"hamiltonian": qb.Term(0.1, battery=qb.J_z)}, {}, "without terms of your own"),
        ({"omega_C": qb.Pulse(drive)}, {}, "`omega_C` must be constant in time"),
        ({}, {"ts": [2.0, 1.0]}, "`ts` must be finite, increasing"),
        ({}, {"tolerance": 0.0}, "`tolerance` must be one positive number"),
        ({}, {"rho0": np.ones(7)}, "`rho0` must be"),
    ],
)
def test_wrong_input_gets_one_line(change, arguments, words):
    model = qb.StarBattery(N=2, F=0.5, **change)
    with pytest.raises(qb.ArgumentError, match=words) as error:
        qb.energetics(model, **{"ts": [1.0]} | arguments)
    assert "\n" not in str(error.value)
