"""Fluctuations, demons and joint figures of merit, against brute force in 2^N states and numbers.

The numbers are those of another program, in numpy.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
import scipy.optimize

import qbjax as qb

FIGURES_OF_BOTH = (qb.daemonic_ergotropy, qb.joint_ergotropy, qb.mutual_information)


@pytest.fixture(scope="module")
def charged():
    model = qb.StarBattery(N=4, F=2.0, gamma_C=0.1)
    return np.asarray(qb.evolve(model, [6.0], save=("rho",)).rho[0])


@pytest.fixture(scope="module")
def young():
    model = qb.StarBattery(N=2, F=0.5, gamma_C=0.1)
    return np.asarray(qb.evolve(model, [5.0], save=("rho",)).rho[0])


@pytest.fixture(scope="module")
def settled():
    return np.asarray(qb.steady_state(qb.StarBattery(N=4, F=0.5, gamma_C=0.1)).rho)


def battery(rho):
    return np.einsum("aman->mn", rho)


def random_joint(charger, levels, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, charger * levels, charger * levels))
    x = x[0] + 1j * x[1]
    rho = x @ x.conj().T
    return (rho / np.trace(rho)).reshape(charger, levels, charger, levels)


def test_variance(charged, settled):
    np.testing.assert_allclose(qb.energy_variance(charged), 1.1065328301, atol=1e-9)
    np.testing.assert_allclose(qb.energy_variance(settled, omega_B=2.0), 4 * 3.0026660085)
    # Far from zero nothing cancels.
    high = np.zeros(1001)
    high[-2:] = 1e-12, 1 - 1e-12
    np.testing.assert_allclose(qb.energy_variance(np.diag(high)), 1e-12, rtol=1e-3)


def test_moments_of_work(charged, settled):
    for rho, operator, two_point in (
        (charged, 13.2043359708, (3.2704797834, 12.6978137857)),
        (settled, 5.4432860202, (1.2783283432, 4.8376510381)),
    ):
        state = battery(rho)
        mean, second = qb.work_moments(state)
        np.testing.assert_allclose(mean, qb.ergotropy(state), rtol=1e-12)
        np.testing.assert_allclose(second, operator, atol=1e-8)
        np.testing.assert_allclose(
            qb.work_moments(state, protocol="two_point"), two_point, atol=1e-8
        )
        mean, _ = qb.work_moments(state, omega_B=3.0, space="symmetric")
        np.testing.assert_allclose(mean, 3 * qb.ergotropy(state, space="symmetric"), rtol=1e-12)


@pytest.mark.parametrize("space", ["full", "symmetric"])
def test_padding_and_empty_states_do_no_work(space):
    ket = np.array([0.6, 0.48, 0.64])
    padded = np.pad(np.outer(ket, ket), (0, 2))
    for protocol in ("work_operator", "two_point"):
        alone = qb.work_moments(ket, space=space, protocol=protocol)
        found = qb.work_moments(padded, space=space, protocol=protocol)
        np.testing.assert_allclose(found, alone, atol=1e-9)
    young = qb.evolve(qb.StarBattery(N=10, F=0.5, gamma_C=0.1), [0.0, 1e-6], save="rho").rho
    assert np.all(qb.energy_variance(young) >= 0)


@pytest.mark.parametrize("protocol", ["work_operator", "two_point"])
def test_moments_of_work_by_brute_force(protocol):
    """In the space of two qubits, by the unitary that leads to the passive state."""
    rho = battery(random_joint(2, 3, 1))
    full = qb.LadderState(np.stack([rho, 0 * rho])).full()
    energies = np.array([0.0, 1.0, 1.0, 2.0])
    H = np.diag(energies)
    _, vectors = np.linalg.eigh(full)
    left = (vectors[:, ::-1] * energies) @ vectors[:, ::-1].conj().T
    square = (vectors[:, ::-1] * energies**2) @ vectors[:, ::-1].conj().T
    if protocol == "work_operator":
        work = H - left
        expected = np.trace(full @ work).real, np.trace(full @ work @ work).real
    else:
        # Measured, the energy 1 leaves coherence between states of that energy.
        measured = full * (energies[:, None] == energies)
        expected = (
            np.trace(measured @ (H - left)).real,
            np.trace(measured @ (H @ H + square) - 2 * H @ measured @ left).real,
        )
    found = qb.work_moments(rho, protocol=protocol)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_daemonic_ergotropy(young, settled):
    found = [qb.daemonic_ergotropy(young, measurement=m).item() for m in ("optimal", "sigma_z")]
    np.testing.assert_allclose(found, [0.7156394746, 0.7156390397], atol=2e-10)
    found = [qb.daemonic_ergotropy(settled, measurement=m).item() for m in ("optimal", "sigma_z")]
    np.testing.assert_allclose(found, 1.7703598164, atol=1e-8)


@pytest.mark.parametrize("space", ["full", "symmetric"])
def test_the_best_measurement_by_another_search(space):
    rho = random_joint(2, 3, 5)

    def gain(angles):
        theta, phi = angles
        ket = np.array([np.cos(theta / 2), np.exp(1j * phi) * np.sin(theta / 2)])
        other = np.array([-np.exp(-1j * phi) * np.sin(theta / 2), np.cos(theta / 2)])
        left = 0.0
        for k in (ket, other):
            part = np.einsum("a,ambn,b->mn", k.conj(), rho, k)
            eigenvalues = np.linalg.eigvalsh(part)[::-1]
            levels = np.arange(3) if space == "symmetric" else np.minimum(np.arange(3), 1)
            left += np.diag(part).real @ np.arange(3) - levels @ eigenvalues
        return -left

    starts = [(a, b) for a in np.linspace(0.2, 2.9, 5) for b in np.linspace(-3, 3, 6)]
    best = min(scipy.optimize.minimize(gain, x, tol=1e-12).fun for x in starts)
    np.testing.assert_allclose(qb.daemonic_ergotropy(rho, space=space), -best, atol=1e-8)
    weak = qb.daemonic_ergotropy(rho, space=space, measurement="sigma_z")
    np.testing.assert_allclose(weak, -gain((0.0, 0.0)), atol=1e-12)
    assert qb.ergotropy(battery(rho), space=space) <= weak <= -best + 1e-12


def test_a_pure_state_hides_nothing_from_the_charger():
    model = qb.StarBattery(N=2, F=0.5, gamma_C=0.0)
    curve = qb.evolve(model, [2.0], save=("rho", "energy"))
    np.testing.assert_allclose(qb.daemonic_ergotropy(curve.rho[0]), curve.energy[0], atol=1e-8)
    ket = random_joint(1, 6, 2)[0, :, 0, 0].reshape(2, 3)
    pure = np.einsum("am,bn->ambn", ket, ket.conj()) / np.linalg.norm(ket) ** 2
    information = 2 * qb.entropy(battery(pure))
    np.testing.assert_allclose(qb.mutual_information(pure), information, atol=1e-7)


def test_joint_figures(young, settled):
    np.testing.assert_allclose(qb.joint_ergotropy(young), 0.9981635542, atol=1e-9)
    np.testing.assert_allclose(qb.joint_ergotropy(settled), 1.8472239908, atol=1e-8)
    expected = 0.6982084167 + 0.6267303331 - 0.2942499123
    np.testing.assert_allclose(qb.mutual_information(young), expected, atol=1e-9)
    expected = 1.0977487425 + np.log(2) - 1.4824059829
    np.testing.assert_allclose(qb.mutual_information(settled), expected, atol=1e-8)
    np.testing.assert_allclose(qb.free_energy_bound(young, beta=1.0), 0.6722822273, atol=1e-9)
    np.testing.assert_allclose(qb.free_energy_bound(settled, beta=1.0), 2.1552980076, atol=1e-8)


@pytest.mark.parametrize(("charger", "omega_C"), [(2, 0.3), (2, 1.0), (3, 1.7)])
@pytest.mark.parametrize("space", ["full", "symmetric"])
def test_joint_ergotropy_by_brute_force(charger, omega_C, space):
    N, omega_B = 3, 1.2
    rho = random_joint(charger, N + 1, 4)
    of_ladder = np.arange(N + 1)
    many = [math.comb(N, n) if space == "full" else 1 for n in of_ladder]
    levels = omega_B * np.repeat(of_ladder, many)
    energies = np.sort((omega_C * np.arange(charger)[:, None] + levels).ravel())
    eigenvalues = np.linalg.eigvalsh(rho.reshape(charger * (N + 1), -1))[::-1]
    stored = np.einsum("amam->am", rho).real * (
        omega_C * np.arange(charger)[:, None] + omega_B * of_ladder
    )
    expected = stored.sum() - eigenvalues @ energies[: len(eigenvalues)]
    found = qb.joint_ergotropy(rho, omega_C, omega_B, space)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    padded = np.pad(rho, ((0, 0), (0, 2)) * 2)
    found = qb.joint_ergotropy(padded, omega_C, omega_B, space, N=N)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_free_energy_bounds_the_ergotropy():
    """With noise on single qubits, too; without a bath that is hot, it is the energy."""
    state = qb.steady_state(qb.StarBattery(N=3, F=0.5, gamma_down=0.1)).battery
    full = qutip.Qobj(state.full())
    for beta in (0.3, 1.0, 4.0):
        bound = qb.free_energy_bound(state, beta, omega_B=2.0)
        energies = 2.0 * np.array([bin(i).count("1") for i in range(8)])
        gibbs = np.exp(-beta * energies)
        distance = qutip.entropy_relative(full, qutip.Qobj(np.diag(gibbs / gibbs.sum()))) / beta
        np.testing.assert_allclose(bound, distance, rtol=1e-9)
        assert bound >= qb.ergotropy(state, omega_B=2.0)
    np.testing.assert_allclose(
        qb.free_energy_bound(state, 1e9, 2.0), qb.energy(state, 2.0), rtol=1e-8
    )


def test_eager_is_jit_is_vmap():
    states = np.stack([random_joint(2, 3, seed) for seed in range(3)])
    for figure in FIGURES_OF_BOTH:
        alone = [figure(rho) for rho in states]
        np.testing.assert_allclose(figure(states), alone, atol=1e-12)
        np.testing.assert_allclose(jax.jit(jax.vmap(figure))(states), alone, atol=1e-12)
    batteries = np.stack([battery(rho) for rho in states])
    for figure in (qb.energy_variance, lambda x: qb.free_energy_bound(x, 2.0), qb.work_moments):
        alone = np.transpose([figure(rho) for rho in batteries])
        np.testing.assert_allclose(figure(batteries), alone, atol=1e-12)
        np.testing.assert_allclose(jax.jit(jax.vmap(figure))(batteries), alone, atol=1e-12)


@pytest.mark.parametrize(
    "figure",
    [
        lambda rho: qb.energy_variance(jnp.einsum("aman->mn", rho)),
        lambda rho: qb.work_moments(jnp.einsum("aman->mn", rho))[1],
        lambda rho: qb.free_energy_bound(jnp.einsum("aman->mn", rho), 1.5),
        *FIGURES_OF_BOTH,
    ],
)
def test_derivatives(figure):
    one, other = (jnp.asarray(random_joint(2, 3, seed)) for seed in (7, 8))

    def along(x):
        return figure(one + x * (other - one))

    h = 1e-5
    expected = (along(0.3 + h) - along(0.3 - h)) / (2 * h)
    np.testing.assert_allclose(jax.grad(along)(0.3), expected, atol=1e-7)
    np.testing.assert_allclose(jax.jacfwd(along)(0.3), expected, atol=1e-7)


def test_wrong_input_is_refused_or_flagged():
    rho = random_joint(2, 3, 0)
    for figure in FIGURES_OF_BOTH:
        with pytest.raises(qb.ArgumentError, match="Argument `rho` must be of shape"):
            figure(battery(rho))
        with pytest.raises(qb.ArgumentError, match="Argument `rho` must be a state of trace 1"):
            figure(2 * rho)
        assert np.isnan(jax.jit(figure)(2 * rho))
    with pytest.raises(qb.ArgumentError, match=r"`rho` must be of shape \(..., 2, N \+ 1, 2"):
        qb.daemonic_ergotropy(random_joint(3, 2, 0))
    with pytest.raises(qb.ArgumentError, match="Argument `measurement` must be"):
        qb.daemonic_ergotropy(rho, measurement="sigma_x")
    with pytest.raises(qb.ArgumentError, match="Argument `omega_C` must be positive"):
        qb.joint_ergotropy(rho, omega_C=0.0)
    with pytest.raises(qb.ArgumentError, match="Argument `N` must be between 1 and 2"):
        qb.joint_ergotropy(rho, N=3)
    assert np.isnan(jax.jit(lambda N: qb.joint_ergotropy(rho, N=N))(9))
    cavity = qutip.tensor(qutip.basis(3, 0), qutip.basis(3, 2)).proj()
    with pytest.raises(qb.ArgumentError, match="Qobj with a charger of 3 levels"):
        qb.joint_ergotropy(cavity)
    noisy = qb.steady_state(qb.StarBattery(N=2, F=0.5, gamma_down=0.1)).battery
    with pytest.raises(qb.ArgumentError, match="`N` must be that of the state, 2, but is 9"):
        qb.free_energy_bound(noisy, 1.0, N=9)
    with pytest.raises(qb.ArgumentError, match="Argument `beta` must be positive"):
        qb.free_energy_bound(battery(rho), beta=0.0)
    assert np.isnan(jax.jit(lambda b: qb.free_energy_bound(battery(rho), b))(-1.0))
    with pytest.raises(qb.ArgumentError, match="Argument `protocol` must be"):
        qb.work_moments(battery(rho), protocol="none")
    with pytest.raises(qb.ArgumentError, match="of one ladder, but is of several"):
        qb.work_moments(qb.steady_state(qb.StarBattery(N=2, F=0.5, gamma_down=0.1)).battery)
