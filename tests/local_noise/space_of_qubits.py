"""Charger and battery qubits in their own space of 2^(N+1) states, from Kronecker products."""

import itertools

import numpy as np
import scipy.linalg

LOWER = np.array([[0.0, 1.0], [0.0, 0.0]])
ONE, EXCITED = np.eye(2), np.diag([0.0, 1.0])


def product(factors):
    matrix = np.eye(1)
    for factor in factors:
        matrix = np.kron(matrix, factor)
    return matrix


def each(N, matrix):
    """The matrix on each battery qubit; the charger comes first."""
    return [product([ONE] + [matrix if i == j else ONE for j in range(N)]) for i in range(N)]


def equation(
    N,
    F=0.5,
    g=1.0,
    gamma_C=1.0,
    Delta_C=0.0,
    Delta_B=0.0,
    kappa=0.0,
    nbar=0.0,
    Gamma_down=0.0,
    Gamma_up=0.0,
    Gamma_z=0.0,
    gamma_down=0.0,
    gamma_up=0.0,
    gamma_z=0.0,
    own=(0.0, LOWER),
):
    """H and pairs of a rate and a jump."""
    raising = product([LOWER.T] + [ONE] * N)
    charger = product([EXCITED] + [ONE] * N)
    J_minus, number = sum(each(N, LOWER)), sum(each(N, EXCITED))
    half = raising @ (F * np.eye(2 ** (N + 1)) + g / np.sqrt(N) * J_minus)
    H = half + half.T + Delta_C * charger + Delta_B * number
    jumps = [
        (gamma_C, charger),
        (kappa * (nbar + 1), raising.T),
        (kappa * nbar, raising),
        (Gamma_down, J_minus),
        (Gamma_up, J_minus.T),
        (Gamma_z, number),
    ]
    for rate, matrix in ((gamma_down, LOWER), (gamma_up, LOWER.T), (gamma_z, EXCITED), own):
        jumps += [(rate, x) for x in each(N, np.asarray(matrix))]
    return H, [(rate, x) for rate, x in jumps if rate]


def slope(H, jumps, rho):
    change = -1j * (H @ rho - rho @ H)
    for rate, x in jumps:
        square = x.conj().T @ x
        change = change + rate * (x @ rho @ x.conj().T - (square @ rho + rho @ square) / 2)
    return change


def superoperator(H, jumps):
    one = np.eye(len(H))
    L = -1j * (np.kron(H, one) - np.kron(one, H.T))
    for rate, x in jumps:
        square = x.conj().T @ x
        L = L + rate * (np.kron(x, x.conj()) - (np.kron(square, one) + np.kron(one, square.T)) / 2)
    return L


def evolved(H, jumps, t):
    """The state at a time from charger and battery empty."""
    start = np.zeros(H.size)
    start[0] = 1.0
    return (scipy.linalg.expm(superoperator(H, jumps) * t) @ start).reshape(H.shape)


def settled(H, jumps):
    """The stationary state, where there is one."""
    vectors = scipy.linalg.null_space(superoperator(H, jumps), rcond=1e-11)
    assert vectors.shape[1] == 1
    rho = vectors[:, 0].reshape(H.shape)
    return rho / np.trace(rho)


def battery(rho, N):
    return np.einsum("aiaj->ij", rho.reshape(2, 2**N, 2, 2**N))


def excitations(N):
    return np.array([state.bit_count() for state in range(2**N)])


def symmetric_basis(N):
    """An orthonormal basis of all operators on the qubits that permutations leave alone."""
    swaps = []
    for i in range(N - 1):
        order = list(range(N))
        order[i], order[i + 1] = order[i + 1], order[i]
        states = np.arange(2**N).reshape((2,) * N).transpose(order).ravel()
        swaps.append(np.eye(2**N)[states])
    groups = {}
    for rows, columns in itertools.product(range(2**N), repeat=2):
        bits = [(rows >> i & 1, columns >> i & 1) for i in range(N)]
        groups.setdefault(tuple(sorted(bits)), []).append((rows, columns))
    basis = []
    for members in groups.values():
        matrix = np.zeros((2**N, 2**N))
        matrix[tuple(np.array(members).T)] = 1 / np.sqrt(len(members))
        for swap in swaps:
            np.testing.assert_array_equal(swap @ matrix @ swap.T, matrix)
        basis.append(matrix)
    return np.array(basis)
