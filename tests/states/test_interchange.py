"""To QuTiP and back, against models written down in QuTiP's own operators."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import qutip

import qbjax as qb

N = 3
J_MINUS = qutip.jmat(N / 2, "-")
COUNT = qutip.jmat(N / 2, "z") + N / 2
PARAMETERS = {"N": N, "F": 0.6, "g": 1.3, "gamma_C": 0.4, "omega_B": 1.1}
LOSSES = {"kappa": 0.2, "nbar": 0.3, "Gamma_down": 0.05, "Gamma_up": 0.02, "Gamma_z": 0.07}
# The charger of qbjax, its lowering operator and its excitations, as QuTiP counts levels.
CHARGERS = {
    "qubit": (qb.qubit(), qutip.sigmam(), qutip.basis(2, 0).proj()),
    "cavity": (qb.cavity(4), qutip.destroy(4), qutip.num(4)),
    "spin": (qb.spin(1), qutip.jmat(1, "-"), qutip.jmat(1, "z") + 1),
}


def written_down(lower, count, F, g, gamma_C, Delta_C, Delta_B, losses):
    same, one = qutip.qeye(lower.shape[0]), qutip.qeye(N + 1)
    lower, count = qutip.tensor(lower, one), qutip.tensor(count, one)
    J, n = qutip.tensor(same, J_MINUS), qutip.tensor(same, COUNT)
    half = F * lower + g / math.sqrt(N) * lower * J.dag()
    H = half + half.dag() + Delta_C * count + Delta_B * n
    jumps = [math.sqrt(gamma_C) * count]
    if losses:
        jumps += [
            math.sqrt(losses["kappa"] * (losses["nbar"] + 1)) * lower,
            math.sqrt(losses["kappa"] * losses["nbar"]) * lower.dag(),
            math.sqrt(losses["Gamma_down"]) * J,
            math.sqrt(losses["Gamma_up"]) * J.dag(),
            math.sqrt(losses["Gamma_z"]) * (n - N / 2),
        ]
    return H, jumps


@pytest.mark.parametrize("losses", [{}, LOSSES])
@pytest.mark.parametrize("kind", CHARGERS)
def test_models_are_those_written_down_in_qutip(kind, losses):
    charger, lower, count = CHARGERS[kind]
    model = qb.StarBattery(**PARAMETERS, **losses, omega_C=1.4, omega_d=0.9, charger=charger)
    H, jumps = qb.to_qutip(model)
    wanted, wanted_jumps = written_down(lower, count, 0.6, 1.3, 0.4, 0.5, 0.2, losses)
    assert H.dims == wanted.dims
    np.testing.assert_allclose(H.full(), wanted.full(), atol=1e-14)
    # A jump may differ by a multiple of one: the equation is the same.
    found = qutip.liouvillian(H, jumps).full()
    np.testing.assert_allclose(found, qutip.liouvillian(wanted, wanted_jumps).full(), atol=1e-13)


def test_padding_is_cut_off():
    H, jumps = qb.to_qutip(qb.StarBattery(**PARAMETERS, N_max=6))
    whole, whole_jumps = qb.to_qutip(qb.StarBattery(**PARAMETERS))
    assert [x.dims for x in (H, *jumps)] == [x.dims for x in (whole, *whole_jumps)]
    np.testing.assert_allclose(H.full(), whole.full(), atol=1e-15)


def test_what_depends_on_time_and_a_start_of_qutip():
    rate = qb.Pulse(lambda t: 0.3 + 0.2 * jnp.sin(t))
    drive = qb.Pulse(lambda t: 0.5 * jnp.tanh(t))
    model = qb.StarBattery(N=N, F=drive, gamma_C=rate, kappa=0.1)
    H, jumps = qb.to_qutip(model)
    start = qutip.tensor(qutip.basis(2, 0), qutip.spin_coherent(N / 2, 0.7, 0.4))
    ts = np.linspace(0.0, 3.0, 4)
    n = qutip.tensor(qutip.qeye(2), COUNT)
    options = {"rtol": 1e-10, "atol": 1e-12}
    wanted = qutip.mesolve(H, start, ts, jumps, e_ops=[n], options=options).expect[0]
    found = qb.evolve(model, ts, rho0=qb.from_qutip(start), rtol=1e-9)
    np.testing.assert_allclose(found.energy, wanted, atol=1e-7)


@pytest.mark.parametrize("kind", CHARGERS)
def test_states_there_and_back(kind):
    charger, _, excitations = CHARGERS[kind]
    d = charger.levels * (N + 1)
    rho = qutip.rand_dm(d, seed=1).full().reshape(2 * (charger.levels, N + 1))
    battery = np.einsum("anam->nm", rho)
    both, reduced = qb.to_qutip(rho, charger), qb.to_qutip(battery)
    # What QuTiP counts is what qbjax counts, in the charger and in the battery.
    count = np.einsum("anan,a->", rho, np.arange(charger.levels)).real
    assert qutip.expect(qutip.tensor(excitations, qutip.qeye(N + 1)), both) == pytest.approx(count)
    assert qutip.expect(COUNT, reduced) == pytest.approx(qb.energy(battery))
    np.testing.assert_allclose(both.ptrace(1).full(), reduced.full(), atol=1e-15)
    np.testing.assert_array_equal(qb.from_qutip(both, charger), rho)
    np.testing.assert_array_equal(qb.from_qutip(reduced), battery)


def test_kets_and_operators():
    ket = jnp.array([0.6, 0.0, 0.0, 0.8j])
    assert qutip.expect(COUNT, qb.to_qutip(ket)) == pytest.approx(0.64 * 3)
    np.testing.assert_array_equal(qb.from_qutip(qb.to_qutip(ket)), ket)
    np.testing.assert_allclose(np.diag(qb.from_qutip(COUNT)), np.arange(4.0), atol=1e-15)
    excited_and_empty = qb.from_qutip(qutip.basis([2, 4], [0, 3]))
    assert excited_and_empty[1, 0, 1, 0] == jnp.sum(jnp.abs(excited_and_empty)) == 1


def test_padded_arrays():
    model = qb.StarBattery(**PARAMETERS, N_max=6)
    state = qb.steady_state(model)
    for array, parts in ((state.battery, 1), (state.rho, 2)):
        small = qb.to_qutip(array, N=N)
        assert small.dims[0][-1] == N + 1
        assert qutip.expect(COUNT, small if parts == 1 else small.ptrace(1)) == pytest.approx(N / 2)
        np.testing.assert_array_equal(qb.from_qutip(small, N_max=6), array)
    padded = qb.from_qutip(qutip.basis(N + 1, 0), N_max=6)
    np.testing.assert_array_equal(padded, np.eye(7)[N])


@pytest.mark.parametrize("size", [1, 2])
def test_terms_of_ones_own_and_rates_of_zero(size):
    def battery(kind):
        return qutip.tensor(qutip.qeye(2), qutip.jmat(size / 2, kind))

    lower = qutip.tensor(qutip.sigmam(), qutip.qeye(size + 1))
    mixed = lower + 0.5j * battery("-")
    H = 0.5 * (lower + lower.dag()) + 0.3 * battery("y")
    H += (lower.dag() * battery("-") + lower * battery("+")) / math.sqrt(size)
    field = (qb.Term(0.15j, battery=qb.J_minus), qb.Term(-0.15j, battery=qb.J_plus))
    jump = qb.Jump(0.2, qb.Term(1.0, qb.qubit().lowering), qb.Term(0.5j, battery=qb.J_minus))
    model = qb.StarBattery(
        N=size, F=0.5, gamma_C=0.0, Gamma_down=0.0, hamiltonian=field, jumps=jump
    )
    found = qutip.liouvillian(*qb.to_qutip(model)).full()
    wanted = qutip.liouvillian(H, [math.sqrt(0.2) * mixed]).full()
    np.testing.assert_allclose(found, wanted, atol=1e-14)


@pytest.mark.parametrize("t", [0.3, 2.0])
def test_pieces_and_the_lab_frame(t):
    drive = qb.PiecewiseConstant([1.0], [0.4, 0.7])
    model = qb.StarBattery(N=N, F=drive, omega_d=1.2, frame="lab", charger=qb.cavity(4))
    _, lower, count = CHARGERS["cavity"]
    lower, count = (qutip.tensor(x, qutip.qeye(N + 1)) for x in (lower, count))
    J, n = (qutip.tensor(qutip.qeye(4), x) for x in (J_MINUS, COUNT))
    half = drive(t).item() * np.exp(1.2j * t) * lower + lower * J.dag() / math.sqrt(N)
    wanted = count + n + half + half.dag()
    np.testing.assert_allclose(qb.to_qutip(model)[0](t).full(), wanted.full(), atol=1e-14)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: qb.to_qutip(np.zeros((2, 3))), "`value`"),
        (lambda: qb.to_qutip(np.zeros((3, 4, 3, 4))), "`value`"),
        (lambda: qb.to_qutip(qb.StarBattery(N=2, F=jnp.array([0.1, 0.2]))), "`value`"),
        (lambda: qb.from_qutip(qutip.basis(4, 0).dag()), "`qobj`"),
        (lambda: qb.from_qutip(qutip.qeye([2, 2, 2])), "`qobj`"),
        (lambda: qb.from_qutip(qutip.qeye([3, 4])), "`charger`"),
        (lambda: qb.to_qutip(np.eye(4), N=4), "`N`"),
        (lambda: qb.from_qutip(qutip.qeye(4), N_max=2), "`N_max`"),
    ],
)
def test_wrong_input_names_the_argument(wrong, named):
    with pytest.raises(qb.ArgumentError, match=named):
        wrong()
