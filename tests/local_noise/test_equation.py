"""The generator on all ladders against that on 2^(N+1) states, element by element."""

import jax.numpy as jnp
import numpy as np
import pytest
from space_of_qubits import each, equation, slope, superoperator, symmetric_basis

import qbjax as qb
from qbjax.basis.ladders import Ladders, copies
from qbjax.basis.states import of_qubits
from qbjax.generator import bounds, lindblad, stored_states

OWN = np.array([[0.3 + 0.2j, -0.4], [0.7j, 0.5 - 0.6j]])
EVERYTHING = {"gamma_C": 0.3, "kappa": 0.11, "nbar": 0.3, "g": 1.1, "F": 0.7} | {
    "Gamma_down": 0.05,
    "Gamma_up": 0.03,
    "Gamma_z": 0.07,
    "gamma_down": 0.13,
    "gamma_up": 0.17,
    "gamma_z": 0.19,
}


def random_blocks(L, N, parts, seed):
    """A Hermitian matrix on all ladders, as it is stored."""
    rng = np.random.default_rng(seed)
    live = np.asarray(L.basis.live(N))
    stored = rng.normal(size=stored_states.shape(L, parts)) * live[:, :, None] * live[:, None]
    for part, sign in zip(stored, (1, -1), strict=False):
        part[L.on_diagonal] += sign * part[L.on_diagonal].swapaxes(-1, -2)
    return jnp.asarray(stored)


def of_charger_and_qubits(rho, N):
    """Blocks (K, 2, L, 2, L) shared among the copies, as a matrix (2^(N+1), 2^(N+1))."""
    many = np.asarray(copies(N, len(rho)))
    rho = np.asarray(rho) / np.where(many > 0, many, 1.0)[:, None, None, None, None]
    square = [[of_qubits(rho[:, a, :, b], N) for b in range(2)] for a in range(2)]
    return np.block(square)


@pytest.mark.parametrize("N_max", [1, 2, 3, 4, 5])
def test_everything_at_once(N_max):
    N = max(1, N_max - 1) if N_max > 3 else N_max
    given = EVERYTHING | {"omega_C": 1.6, "omega_d": 1.4, "jumps": qb.LocalJump(0.21, OWN)}
    L = lindblad.generator(qb.StarBattery(N=np.array(N), N_max=N_max, **given))
    exact = equation(N, Delta_C=0.2, Delta_B=-0.4, own=(0.21, OWN), **EVERYTHING)
    stored = random_blocks(L, N, 2, N)
    expected = slope(*exact, of_charger_and_qubits(stored_states.restore(L, stored), N))
    found = of_charger_and_qubits(stored_states.restore(L, L(stored)), N)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["gamma_down", "gamma_up", "gamma_z"])
def test_one_rate_at_a_time_stays_real(name):
    L = lindblad.generator(qb.StarBattery(N=4, F=0.7, **{name: 0.2}))
    assert L.is_real
    stored = random_blocks(L, 4, 1, 0)
    exact = equation(4, F=0.7, **{name: 0.2})
    expected = slope(*exact, of_charger_and_qubits(stored_states.restore(L, stored), 4))
    found = of_charger_and_qubits(stored_states.restore(L, L(stored)), 4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("operator", ["excitations", "J_z", "J_minus"])
def test_operators_know_every_ladder(operator):
    """As a jump that is added to a multiple of i, which no constant may be added to."""
    terms = qb.Term(1.0, battery=getattr(qb, operator)), qb.Term(0.5j, battery=qb.identity)
    model = qb.StarBattery(N=3, F=0.4, gamma_z=0.0, jumps=qb.Jump(0.3, *terms))
    L = lindblad.generator(model)
    stored = random_blocks(L, 3, 2, 1)
    H, jumps = equation(3, F=0.4)
    lower = np.array([[0.0, 1.0], [0.0, 0.0]])
    single = {"excitations": np.diag([0, 1.0]), "J_z": np.diag([-0.5, 0.5]), "J_minus": lower}
    x = sum(each(3, single[operator])) + 0.5j * np.eye(16)
    expected = slope(
        H, [*jumps, (0.3, x)], of_charger_and_qubits(stored_states.restore(L, stored), 3)
    )
    found = of_charger_and_qubits(stored_states.restore(L, L(stored)), 3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("N", [1, 2, 3, 4])
def test_copies_fill_the_space(N):
    basis = Ladders(N + 1)
    sizes = np.asarray(basis.live(N)).sum(1)
    many = np.asarray(copies(N, basis.blocks))
    assert sizes @ many == 2**N
    # One operator for each pair of levels of each ladder.
    assert sizes @ sizes == len(symmetric_basis(N))


@pytest.mark.parametrize("given", [{}, {"gamma_down": 0.3}, {"gamma_z": 0.4, "gamma_up": 0.1}])
def test_eigenvalues_lie_in_the_box(given):
    model = qb.StarBattery(N=3, F=0.7, gamma_C=0.5, jumps=qb.LocalJump(0.3, OWN), **given)
    decay, width = bounds.spectral_box(lindblad.generator(model))
    eigenvalues = np.linalg.eigvals(
        superoperator(*equation(3, F=0.7, gamma_C=0.5, own=(0.3, OWN), **given))
    )
    # The ladders hold some of all eigenvalues.
    assert -eigenvalues.real.min() <= decay
    assert np.abs(eigenvalues.imag).max() <= width


def test_matrices_of_one_ladder_are_refused():
    term = qb.Term(0.1, battery=np.eye(4))
    for given in ({"hamiltonian": term}, {"jumps": (qb.Jump(0.1, term),)}):
        with pytest.raises(qb.ArgumentError, match=r"functions \(N, levels\) of the battery"):
            qb.StarBattery(N=3, F=0.5, gamma_down=0.1, **given)


def test_functions_are_told_the_singlets_by_name():
    """And nothing else: what has a default keeps it."""

    def number(N, levels, singlets):
        return {0: (jnp.arange(levels) + singlets) * qb.identity(N, levels)[0]}

    def twice(N, levels, scale=2.0):
        return {0: scale * qb.J_z(N, levels)[0]}

    def entries(battery):
        model = qb.StarBattery(N=3, F=0.4, gamma_z=0.1, hamiltonian=qb.Term(0.3, battery=battery))
        return lindblad.generator(model).drift.entries[0, 0, 1]

    np.testing.assert_allclose(entries(number), entries(qb.excitations), atol=1e-15)
    np.testing.assert_allclose(entries(twice), 2 * entries(qb.J_z), atol=1e-15)


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3)), np.eye(3), np.ones(2), [[np.nan, 0.0], [0.0, 0.0]]]
)
def test_jumps_of_a_qubit_are_two_by_two(matrix):
    with pytest.raises(qb.ArgumentError, match="Argument `matrix` must be"):
        qb.LocalJump(0.1, matrix)


def test_rates_of_jumps_are_not_negative():
    with pytest.raises(qb.ArgumentError, match="Argument `rate` must be finite, not negative"):
        qb.LocalJump(-0.1, np.eye(2))
    with pytest.raises(qb.ArgumentError, match="Argument `gamma_z` must be"):
        qb.StarBattery(N=3, F=0.5, gamma_z=-0.1)
