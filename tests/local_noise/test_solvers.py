"""Steady states and evolutions on all ladders, against 2^(N+1) states and numbers worked out apart.

The numbers of many qubits are those of another program, in numpy, with another solver.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
import scipy.linalg
from qutip import piqs
from space_of_qubits import (
    battery,
    equation,
    evolved,
    excitations,
    settled,
    superoperator,
    symmetric_basis,
)
from test_equation import EVERYTHING

import qbjax as qb
from qbjax.steady import nullspace

NOISE = {"gamma_C": 0.3, "gamma_down": 0.01, "gamma_z": 0.01}
# A jump of one's own that is not real, too, is left to the test of the equation: it compiles long.
GIVEN = EVERYTHING | {"omega_C": 1.6, "omega_d": 1.4}


def merits(rho, N):
    number = excitations(N)
    energy = np.diag(rho).real @ number
    return energy, energy - np.sort(np.linalg.eigvalsh(rho))[::-1] @ np.sort(number)


@pytest.mark.parametrize("method", ["direct", "iterative"])
def test_a_steady_state_of_everything(method):
    """One padded program, for N = 1, 2 and 3."""
    found = qb.steady_state(qb.StarBattery(N=np.array([1, 2, 3]), N_max=3, **GIVEN), method=method)
    for i, N in enumerate((1, 2, 3)):
        ss = jax.tree.map(lambda leaf, i=i: leaf[i], found)
        exact = settled(*equation(N, Delta_C=0.2, Delta_B=-0.4, **EVERYTHING))
        expected = battery(exact, N)
        np.testing.assert_allclose(ss.battery.full(), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose((ss.energy, ss.ergotropy), merits(expected, N), atol=1e-9)
        eigenvalues = np.linalg.eigvalsh(expected)
        np.testing.assert_allclose(ss.smallest_eigenvalue, eigenvalues[0], atol=1e-9)
        np.testing.assert_allclose(ss.largest_eigenvalue, eigenvalues[-1], atol=1e-9)
        of_each = [np.diag(expected).real[excitations(N) == n].sum() for n in range(4)]
        np.testing.assert_allclose(ss.populations, of_each, atol=1e-9)


@pytest.mark.parametrize("method", ["chebyshev", "dopri8", "propagator"])
def test_an_evolution_of_everything(method):
    N, t = 3, 4.0
    exact = evolved(*equation(N, Delta_C=0.2, Delta_B=-0.4, **EVERYTHING), t)
    model = qb.StarBattery(N=N, **GIVEN)
    found = qb.evolve(model, [t], method=method, save=("energy", "ergotropy", "battery", "rho"))
    state = jax.tree.map(lambda leaf: leaf[0], found.battery)
    np.testing.assert_allclose(state.full(), battery(exact, N), rtol=0, atol=1e-8)
    expected = merits(battery(exact, N), N)
    np.testing.assert_allclose((found.energy[0], found.ergotropy[0]), expected, atol=1e-7)
    assert found.rho.shape == (1, 2, 2, 4, 2, 4)


# F, N, energy, ergotropy.
STEADY = np.array(
    [
        (0.5, 4, 1.6640715231, 0.0518586331),
        (0.5, 8, 1.5185180205, 0.2199129320),
        (0.5, 10, 0.9758625257, 0.2689316581),
        (2.0, 10, 4.9172002004, 0.0524048447),
    ]
)
LARGE = [
    (0.5, 20, 0.5353323373, 0.2624999636),
    pytest.param(2.0, 20, 9.6723504361, 0.3412404643, marks=pytest.mark.slow),
    pytest.param(0.5, 50, 0.5105228795, 0.2534300920, marks=pytest.mark.slow),
    pytest.param(2.0, 50, 23.0316884487, 2.5311254888, marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def few_qubits():
    F, N = STEADY[:, 0], STEADY[:, 1].astype(int)
    return qb.steady_state(qb.StarBattery(N=N, F=F, N_max=10, **NOISE))


def test_steady_states_of_a_few_qubits(few_qubits):
    found = np.stack([few_qubits.energy, few_qubits.ergotropy], axis=1)
    np.testing.assert_allclose(found, STEADY[:, 2:], rtol=0, atol=2e-10)
    assert np.all(few_qubits.nullity == 1)
    # What decays flows in: F <sigma_y>, whence the bound of the energy by F over the rate.
    sigma_y = 2 * np.abs(np.einsum("bknn->b", few_qubits.rho[:, :, 0, :, 1, :].imag))
    flow = NOISE["gamma_down"] * few_qubits.energy
    np.testing.assert_allclose(STEADY[:, 0] * sigma_y, flow, rtol=1e-9)


@pytest.mark.parametrize(("F", "N", "energy", "ergotropy"), LARGE)
def test_steady_states_of_many_qubits(F, N, energy, ergotropy):
    ss = qb.steady_state(qb.StarBattery(N=N, F=F, **NOISE))
    assert ss.method == "iterative"
    np.testing.assert_allclose((ss.energy, ss.ergotropy), (energy, ergotropy), atol=2e-9)


@pytest.mark.slow
def test_rates_far_apart():
    """One program; what is slow is told to all digits beside what is fast."""
    decay = np.array([1e-9, 1e6, 0.02])
    given = {"N": 2, "F": 0.7, "gamma_C": 1.2}
    found = qb.steady_state(qb.StarBattery(gamma_down=decay, gamma_up=0.5 * decay, **given))
    for i, rate in enumerate(decay):
        L = superoperator(*equation(gamma_down=rate, gamma_up=0.5 * rate, **given))
        if rate == 1e-9:
            # Nothing is left but equal populations, up to the rate; the reference loses as much.
            expected = np.eye(4) / 4
        else:
            L[0] = np.eye(8).ravel()
            right = np.zeros(64)
            right[0] = 1.0
            expected = battery(np.linalg.solve(L, right).reshape(8, 8), 2)
        state = found.battery[i]
        np.testing.assert_allclose(state.full(), expected, rtol=0, atol=1e-8)


@pytest.mark.slow
def test_the_unit_of_frequency_is_free():
    def steps(unit):
        rates = {name: unit * rate for name, rate in NOISE.items()}
        ss = qb.steady_state(qb.StarBattery(N=5, F=0.5 * unit, g=unit, **rates), method="iterative")
        return ss.energy, ss.iterations

    (energy, count), (other, others) = steps(1.0), steps(1e-5)
    np.testing.assert_allclose(other, energy, atol=1e-9)
    assert abs(count - others) <= 2


def test_other_figures_of_merit(few_qubits):
    four, eight = (jax.tree.map(lambda leaf, i=i: leaf[i], few_qubits.battery) for i in (0, 1))
    for space, expected in (("symmetric", 0.2191163596), ("local", 0.2055156280)):
        np.testing.assert_allclose(qb.ergotropy(eight, space=space), expected, atol=1e-9)
    np.testing.assert_allclose(qb.purity(four), 0.0912838328, atol=1e-9)
    np.testing.assert_allclose(qb.entropy(four), 2.6283115725, atol=1e-9)


def test_an_evolution_of_ten_qubits():
    model = qb.StarBattery(N=10, F=2.0, gamma_C=1.2, gamma_down=0.01, gamma_z=0.02)
    found = qb.evolve(model, [6.0, 20.0])
    np.testing.assert_allclose(found.energy, [2.8059043703, 4.6155582161], atol=1e-8)
    np.testing.assert_allclose(found.ergotropy, [2.0142294985, 2.9469836546], atol=1e-8)


UNIQUE = [
    {"gamma_down": 0.1},
    {"gamma_up": 0.1},
    {"gamma_z": 0.1},
    {"gamma_z": 0.1, "gamma_C": 0.0},
    {"gamma_z": 0.1, "Delta_B": 0.3},
]
SEVERAL = [
    {"F": 0.0, "gamma_z": 0.1},
    {"F": 0.0, "gamma_down": 0.1},
    {"F": 0.0, "gamma_z": 0.1, "kappa": 0.2},
    {"g": 0.0, "gamma_z": 0.1},
    {"g": 0.0, "gamma_down": 0.1},
    {"g": 0.0, "gamma_down": 0.1, "gamma_C": 0.0},
    {"g": 0.0, "F": 0.0, "gamma_up": 0.1, "gamma_C": 0.5},
    {"g": 0.0, "gamma_z": 0.1, "kappa": 0.5},
]


@pytest.mark.parametrize("given", [*UNIQUE, *SEVERAL], ids=str)
@pytest.mark.parametrize("N", [2, 3])
def test_the_nullity_is_that_on_symmetric_operators(N, given):
    given = {"F": 0.5, "g": 1.0, "gamma_C": 0.4} | given
    basis = symmetric_basis(N)
    whole = np.einsum("aij,bkl->abikjl", np.eye(4).reshape(4, 2, 2), basis)
    whole = whole.reshape(4 * len(basis), -1)
    L = whole @ superoperator(*equation(N, **given)) @ whole.T
    expected = L.shape[0] - np.linalg.matrix_rank(L, tol=1e-10)
    named = dict(given)
    if "Delta_B" in named:
        off = named.pop("Delta_B")
        named |= {"omega_d": 1 - off, "omega_C": 1 - off}
    assert nullspace.nullity(qb.StarBattery(N=N, **named)) == expected


@pytest.mark.parametrize("given", [{"gamma_z": 0.1}, {"gamma_down": 0.2, "gamma_up": 0.2}])
def test_noise_without_direction_mixes_everything(given):
    ss = qb.steady_state(qb.StarBattery(N=4, F=0.5, gamma_C=0.3, omega_C=1.3, **given))
    np.testing.assert_allclose((ss.energy, ss.ergotropy), (2.0, 0.0), atol=1e-9)
    np.testing.assert_allclose(ss.battery.full(), np.eye(16) / 16, atol=1e-10)


@pytest.mark.parametrize("N", [3, pytest.param(13, marks=pytest.mark.slow)])
def test_no_noise_is_the_ladder(N):
    given = {"F": 0.5, "gamma_C": 0.8}
    silent = {"gamma_down": 0.0, "gamma_z": 0.0}
    quiet, alone = qb.StarBattery(N=N, **given, **silent), qb.StarBattery(N=N, **given)
    settled, expected = qb.steady_state(quiet), qb.steady_state(alone)
    np.testing.assert_allclose(settled.battery.blocks[0], expected.battery, atol=1e-10)
    np.testing.assert_allclose(settled.ergotropy, expected.ergotropy, atol=1e-9)
    assert settled.rho.shape == (quiet.basis.blocks, 2, N + 1, 2, N + 1)
    assert settled.model.gamma_down == 0.0
    moved = qb.evolve(quiet, [3.0, 9.0]).ergotropy
    np.testing.assert_allclose(moved, qb.evolve(alone, [3.0, 9.0]).ergotropy, atol=1e-7)


@pytest.mark.slow
def test_starts_on_all_ladders():
    model = qb.StarBattery(N=4, F=0.5, **NOISE)
    ss = qb.steady_state(model)
    stays = qb.evolve(model, [5.0], rho0=ss.rho)
    np.testing.assert_allclose(stays.energy, ss.energy, atol=1e-8)
    begins = qb.evolve(model, [1e-9], rho0=ss.battery, save=("battery", "energy"))
    np.testing.assert_allclose(begins.battery.blocks[0], ss.battery.blocks, atol=1e-7)
    excited = np.zeros(5)
    excited[4] = 1.0
    decays = qb.evolve(qb.StarBattery(N=4, F=0.0, g=0.0, gamma_down=0.3), [2.0], rho0=excited)
    np.testing.assert_allclose(decays.energy, 4 * np.exp(-0.6), atol=1e-7)


@pytest.mark.parametrize("form", ["state", "blocks"])
def test_starts_that_are_none_are_refused(form):
    ss = qb.steady_state(qb.StarBattery(N=3, F=0.5, **NOISE))
    start = ss.battery if form == "state" else ss.rho
    with pytest.raises(qb.ArgumentError, match="Argument `rho0` must be a state of one ladder"):
        qb.evolve(qb.StarBattery(N=3, F=0.5), [1.0], rho0=start)
    noisy = qb.StarBattery(N=3, F=0.5, **NOISE)
    twice = jax.tree.map(lambda x: 2 * x if jnp.issubdtype(x.dtype, jnp.inexact) else x, start)
    with pytest.raises(qb.ArgumentError, match="Argument `rho0` must be a state of trace 1"):
        qb.evolve(noisy, [1.0], rho0=twice)
    with pytest.raises(qb.ArgumentError, match="Argument `rho0` must be of blocks of the shape"):
        qb.evolve(qb.StarBattery(N=5, F=0.5, **NOISE), [1.0], rho0=start)
    small = qb.StarBattery(N=np.array(2), N_max=3, F=0.5, **NOISE)
    words = "of as many qubits as the model" if form == "state" else "empty outside"
    with pytest.raises(qb.ArgumentError, match=f"Argument `rho0` must be {words}"):
        qb.evolve(small, [1.0], rho0=start)


def test_a_batch_is_its_members():
    N, rates = np.array([1, 4]), np.array([1e-9, 0.1])
    given = {"F": 0.6, "gamma_C": 0.4, "gamma_z": 0.05}
    batch = qb.StarBattery(N=N, N_max=5, gamma_down=rates, **given)
    together = qb.steady_state(batch)
    curves = qb.evolve(batch, [2.0, 8.0])
    for i, (n, rate) in enumerate(zip(N, rates, strict=True)):
        model = qb.StarBattery(N=int(n), gamma_down=rate, **given)
        one, curve = qb.steady_state(model), qb.evolve(model, [2.0, 8.0])
        np.testing.assert_allclose(together.energy[i], one.energy, atol=1e-9)
        np.testing.assert_allclose(together.ergotropy[i], one.ergotropy, atol=1e-9)
        np.testing.assert_allclose(curves.ergotropy[i], curve.ergotropy, atol=1e-7)


@pytest.mark.slow
def test_derivatives_of_a_steady_state():
    def ergotropy(rates, method):
        model = qb.StarBattery(N=4, F=0.5, gamma_C=0.3, gamma_down=rates[0], gamma_z=rates[1])
        return qb.steady_state(model, method=method).ergotropy

    at, h = jnp.array([0.03, 0.02]), 1e-5
    found = jax.grad(ergotropy)(at, "direct")
    for i in range(2):
        step = jnp.zeros(2).at[i].set(h)
        slope = (ergotropy(at + step, "direct") - ergotropy(at - step, "direct")) / (2 * h)
        np.testing.assert_allclose(found[i], slope, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(ergotropy)(at, "iterative"), found, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("F", [0.5, 2.0])
@pytest.mark.parametrize(
    "given",
    [
        {"gamma_down": 0.3, "gamma_z": 0.5},
        {"omega_C": 1.5},
        {"omega_C": 1.5, "omega_d": 0.9},
        {"omega_d": 1.5},
        {"omega_C": 6.0, "omega_d": 3.0},
        {"kappa": 0.1},
        {"Gamma_down": 0.1},
        {"Gamma_z": 0.2, "kappa": 0.2, "nbar": 0.5},
        {"gamma_C": 0.0},
        {"gamma_C": 30.0},
        {"gamma_down": 1e-4, "gamma_z": 0.0},
    ],
    ids=str,
)
def test_iteration_finds_what_elimination_does(F, given):
    model = qb.StarBattery(N=8, F=F, **NOISE | given)
    direct, iterative = (
        qb.steady_state(model, method=method) for method in ("direct", "iterative")
    )
    np.testing.assert_allclose(iterative.rho, direct.rho, rtol=0, atol=1e-8)
    assert iterative.error_estimate < 1e-8


def test_piqs_agrees_where_it_has_no_charger():
    N = 6
    rates = {"emission": 0.3, "pumping": 0.1, "dephasing": 0.2, "collective_emission": 0.15}
    system = piqs.Dicke(N, **rates)
    start, J_z = piqs.css(N), piqs.jspin(N, "z")
    L = system.liouvillian().full()
    moved = scipy.linalg.expm(1.5 * L) @ start.full().ravel(order="F")
    moved = moved.reshape(start.shape, order="F")
    energy = np.trace(moved @ J_z.full()).real + N / 2
    # Its coherent state points along x: of every |n> the root of a binomial.
    ket = np.sqrt([scipy.special.comb(N, n) / 2**N for n in range(N + 1)])
    model = qb.StarBattery(
        N=N, F=0.0, g=0.0, gamma_down=0.3, gamma_up=0.1, gamma_z=0.2, Gamma_down=0.15
    )
    found = qb.evolve(model, [1.5], rho0=ket, save=("energy", "battery"))
    np.testing.assert_allclose(found.energy[0], energy, atol=1e-6)
    purity = piqs.purity_dicke(qutip.Qobj(moved))
    np.testing.assert_allclose(qb.purity(found.battery)[0], purity, atol=1e-7)


@pytest.mark.slow
def test_pulses_of_local_rates():
    pulse = qb.Pulse(lambda t, w: 0.4 * jnp.sin(w * t) ** 2, 2.0)
    model = qb.StarBattery(N=2, F=0.7, gamma_C=0.3, gamma_down=pulse)
    H, jumps = qb.to_qutip(model)
    start = qutip.tensor([qutip.basis(2, 1)] * 3)
    one, excited = qutip.qeye(2), qutip.basis(2, 0).proj()
    number = qutip.tensor(one, excited, one) + qutip.tensor(one, one, excited)
    options = {"rtol": 1e-9, "atol": 1e-11, "max_step": 0.05}
    exact = qutip.mesolve(H, start, [0.0, 3.0], jumps, e_ops=[number], options=options)
    found = qb.evolve(model, [3.0])
    np.testing.assert_allclose(found.energy[0], exact.expect[0][1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("gamma_down", [0.0, 0.2])
def test_models_and_starts_that_a_jitted_function_closes_over(gamma_down):
    model = qb.StarBattery(N=2, F=0.5, gamma_down=gamma_down, gamma_z=0.1 * (gamma_down > 0))
    start = qb.LadderState(np.diag([0.0, 1.0, 0.0])[None] * np.array([0.0, 1.0])[:, None, None])

    def settled(factor):
        return factor * qb.steady_state(model).ergotropy

    def charged(factor):
        return factor * qb.evolve(model, [0.0, 1.0], rho0=start, save="energy").energy

    for function in (settled, charged):
        np.testing.assert_allclose(jax.jit(function)(2.0), 2 * function(1.0), atol=1e-12)
    for figure in (qb.energy, qb.ergotropy, qb.capacity, qb.purity, qb.entropy):
        np.testing.assert_allclose(
            jax.jit(lambda x, f=figure: x * f(start))(2.0), 2 * figure(start)
        )
