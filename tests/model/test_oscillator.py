"""An oscillator as a battery, against displaced states in closed form and QuTiP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
import scipy.linalg

import qbjax as qb


def oscillator(levels=16, **parameters):
    return qb.StarBattery(**({"N": 1, "F": 0.5} | parameters), battery=qb.oscillator(levels))


def in_qutip(levels, charger, F=0.5, g=1.0, gamma_C=1.0, **rates):
    """H and the jumps of a charger with two levels, or so many, and an oscillator."""
    low, lower = (
        qutip.tensor(qutip.destroy(charger), qutip.qeye(levels)),
        qutip.tensor(qutip.qeye(charger), qutip.destroy(levels)),
    )
    c, n = low.dag() * low, lower.dag() * lower
    half = low.dag() * (F + g * lower)
    H = half + half.dag()
    H += rates.get("omega_C", 1.0) * c + n - rates.get("omega_d", 1.0) * (c + n)
    kappa, nbar = rates.get("kappa", 0.0), rates.get("nbar", 0.0)
    jumps = [
        np.sqrt(gamma_C) * c,
        np.sqrt(kappa * (nbar + 1)) * low,
        np.sqrt(kappa * nbar) * low.dag(),
        np.sqrt(rates.get("Gamma_down", 0.0)) * lower,
        np.sqrt(rates.get("Gamma_up", 0.0)) * lower.dag(),
        np.sqrt(rates.get("Gamma_z", 0.0)) * n,
    ]
    return H, jumps


def passive_energy(battery):
    values = np.linalg.eigvalsh(battery)[::-1]
    return values @ np.arange(len(values))


LOSSES = {"kappa": 0.2, "nbar": 0.1, "Gamma_down": 0.1, "Gamma_up": 0.02, "Gamma_z": 0.05}


@pytest.mark.parametrize("F", [0.3, 1.0])
def test_dephasing_alone_leaves_a_mixture_of_displaced_numbers(F):
    """K = F + g a: its singular vectors are the number states displaced by -F/g."""
    levels, x = 24, F**2
    state = qb.steady_state(oscillator(levels, F=F, gamma_C=0.7))
    np.testing.assert_allclose(state.energy, 2 * x - (1 - np.exp(-x)) / 2, atol=1e-8)
    more = 60
    a = np.diag(np.sqrt(np.arange(1, more)), 1)
    displaced = scipy.linalg.expm(-F * (a.T - a))
    weights = displaced[0] ** 2
    battery = (displaced * weights) @ displaced.T / 2
    shifted = np.append(np.roll(weights, -1)[:-1], 0.0)
    # Beside |e> is the number state below; the dark one has none, and all of its weight itself.
    battery += (displaced * shifted) @ displaced.T / 2 + weights[0] / 2 * np.outer(
        displaced[:, 0], displaced[:, 0]
    )
    np.testing.assert_allclose(state.battery, battery[:levels, :levels], atol=1e-8)
    ergotropy = 2 * x - (1 - np.exp(-x)) / 2 - passive_energy(battery)
    np.testing.assert_allclose(state.ergotropy, ergotropy, atol=1e-8)
    assert state.method == "direct"
    assert state.top_population < 1e-6


def test_two_oscillators_stay_coherent():
    """A leaking oscillator that drives another one: amplitudes obey a linear equation."""
    F, kappa, ts = 0.4, 0.3, np.array([0.5, 2.0, 6.0])
    model = oscillator(14, F=F, gamma_C=0.0, kappa=kappa, charger=qb.cavity(14))
    curve = qb.evolve(model, ts, save=("energy", "ergotropy"))
    # a' = -i (F + b) - kappa a / 2, b' = -i a.
    A = np.array([[-kappa / 2, -1j], [-1j, 0.0]])
    rest = np.linalg.solve(A, [1j * F, 0.0])
    amplitudes = np.array([(scipy.linalg.expm(A * t) @ -rest + rest)[1] for t in ts])
    np.testing.assert_allclose(curve.energy, np.abs(amplitudes) ** 2, atol=1e-6)
    # A coherent state is pure, and all of its energy work.
    np.testing.assert_allclose(curve.ergotropy, curve.energy, atol=1e-6)


@pytest.mark.parametrize("method", ["chebyshev", "dopri8", "propagator"])
def test_curves_with_losses_against_qutip(method):
    given = {"F": 0.6, "gamma_C": 0.4, "omega_C": 1.2, "omega_d": 0.9} | LOSSES
    H, jumps = in_qutip(10, 2, **given)
    start = qutip.tensor(qutip.basis(2, 0), qutip.basis(10, 0)).proj()
    ts = np.array([0.0, 1.0, 4.0])
    options = {"atol": 1e-12, "rtol": 1e-10}
    states = qutip.mesolve(H, start, ts, jumps, options=options).states
    batteries = [state.ptrace(1).full() for state in states]
    curve = qb.evolve(oscillator(10, **given), ts, method=method, save=("battery", "ergotropy"))
    np.testing.assert_allclose(curve.battery, batteries, atol=1e-7)
    for battery, ergotropy in zip(batteries, curve.ergotropy, strict=True):
        energy = np.diag(battery).real @ np.arange(10)
        np.testing.assert_allclose(ergotropy, energy - passive_energy(battery), atol=1e-7)


@pytest.mark.parametrize("method", ["direct", "iterative"])
def test_steady_states_with_losses_against_qutip(method):
    given = {"F": 0.4, "gamma_C": 0.4} | LOSSES
    H, jumps = in_qutip(12, 2, **given)
    theirs = qutip.steadystate(H, jumps).ptrace(1).full()
    state = qb.steady_state(oscillator(12, **given), method=method, throw=False)
    np.testing.assert_allclose(state.battery, theirs, atol=1e-9)
    assert state.nullity == 1


def test_it_is_the_limit_of_many_qubits():
    ts = [1.0, 3.0]
    limit = qb.evolve(oscillator(14), ts, save="energy").energy
    gaps = [
        np.abs(qb.evolve(qb.StarBattery(N, 0.5), ts, save="energy").energy - limit).max()
        for N in (50, 100, 200)
    ]
    np.testing.assert_allclose(np.divide(gaps[:-1], gaps[1:]), 2.0, atol=0.1)


def test_a_cut_that_is_too_low_is_flagged():
    with pytest.raises(qb.SolveError, match="give it more levels"):
        qb.steady_state(oscillator(4, F=1.5, kappa=0.1))
    with pytest.warns(UserWarning, match="give it more levels"):
        curve = qb.evolve(oscillator(4, F=1.5), [5.0])
    assert curve.status == qb.Status.CUT_TOO_LOW
    assert curve.top_population > 1e-3


def test_it_goes_through_the_rest_of_the_house():
    model = oscillator(12, F=0.4, gamma_C=0.2, kappa=0.05)
    best = qb.charging_time(model, "maximum", of="ergotropy", t_end=10.0)
    around = best.tau + np.array([-1e-3, 0.0, 1e-3])
    low, top, high = qb.evolve(model, around).ergotropy
    assert top > max(low, high)
    np.testing.assert_allclose(best.value, top, atol=1e-9)
    costs = qb.energetics(model, [5.0])
    assert costs.residual < 1e-9
    np.testing.assert_allclose(costs.ergotropy, qb.evolve(model, [5.0]).ergotropy, atol=1e-8)
    kept = qb.storage(oscillator(12, F=0.4, Gamma_down=0.1), 3.0, np.linspace(0.0, 20.0, 81))
    # A linear loss takes the energy exponentially.
    np.testing.assert_allclose(kept.energy_half_life, np.log(2) / 0.1, rtol=1e-6)
    assert "oscillator(12)" in repr(best)


def test_to_qutip_and_back():
    model = oscillator(5, F=0.4, gamma_C=0.2, kappa=0.05)
    H, jumps = qb.to_qutip(model)
    theirs, _ = in_qutip(5, 2, F=0.4, gamma_C=0.2, kappa=0.05)
    # QuTiP counts the levels of the qubit from the top, those of an oscillator from the bottom.
    swap = qutip.tensor(qutip.sigmax(), qutip.qeye(5))
    np.testing.assert_allclose(H.full(), (swap * theirs * swap).full(), atol=1e-14)
    assert len(jumps) == 2
    start = qutip.fock_dm(5, 2)
    ours = qb.evolve(model, [0.0, 1.0], rho0=start).energy
    np.testing.assert_allclose(ours[0], 2.0, atol=1e-12)
    state = qb.from_qutip(start, battery=model.battery)
    np.testing.assert_allclose(qb.evolve(model, [0.0, 1.0], rho0=state).energy, ours, atol=1e-12)
    assert qb.to_qutip(state, battery=model.battery) == start


def test_a_product_with_an_operator_of_the_charger_does_not_go_with_the_cut():
    """J_z of an oscillator is n, and no number beside it that grows with the levels."""
    sigma_z = np.diag([-1.0, 1.0])
    term = qb.Term(0.2, charger=sigma_z, battery=qb.J_z)
    found = [
        qb.steady_state(oscillator(levels, F=0.3, gamma_C=0.4, kappa=0.5, hamiltonian=term)).energy
        for levels in (12, 16)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_losses_of_zero_are_none():
    given = {"F": 0.5, "gamma_C": 0.7}
    without = qb.steady_state(oscillator(24, **given))
    zero = qb.steady_state(oscillator(24, **given, kappa=0.0))
    np.testing.assert_allclose(zero.energy, without.energy, atol=1e-8)


def test_a_full_level_that_only_empties_is_no_cut():
    model = oscillator(6, F=0.0, g=0.0, gamma_C=0.0, Gamma_down=0.1)
    curve = qb.evolve(model, [0.0, 3.0], rho0=np.eye(6)[5])
    np.testing.assert_allclose(curve.energy, 5 * np.exp([0.0, -0.3]), atol=1e-7)
    assert np.all(curve.status == qb.Status.OK)


def test_it_settles():
    model = oscillator(12, F=0.4, gamma_C=0.2, kappa=0.2)
    settled = qb.charging_time(model, "settling")
    final = qb.steady_state(model).energy
    ts = settled.tau * np.array([0.999, 1.001, 1.2, 1.5])
    off = np.abs(qb.evolve(model, ts, save="energy").energy / final - 1)
    assert off[0] > 0.01 > off[1:].max()


def test_batches_and_gradients():
    def energy(F, kappa):
        return qb.steady_state(oscillator(10, F=F, kappa=kappa)).energy

    F = jnp.array([0.2, 0.4])
    batch = jax.jit(jax.vmap(energy, in_axes=(0, None)))(F, 0.1)
    # Pure, in the state that the charger is blind to.
    np.testing.assert_allclose(batch, F**2, atol=1e-8)
    np.testing.assert_allclose(jax.grad(energy)(0.3, 0.1), 0.6, atol=1e-6)
    models = oscillator(10, F=F, kappa=0.1)
    np.testing.assert_allclose(qb.steady_state(models).energy, F**2, atol=1e-8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"N": 2}, "`N` must be 1 where the battery is an oscillator"),
        ({"gamma_down": 0.1}, "`battery` must be without noise on single qubits"),
        ({"battery": 12}, "`battery` must be None for qubits"),
    ],
)
def test_wrong_input(given, message):
    with pytest.raises(qb.ArgumentError, match=message):
        qb.StarBattery(**({"N": 1, "F": 0.5, "battery": qb.oscillator(8)} | given))


def test_what_is_of_qubits_alone_is_refused():
    with pytest.raises(qb.ArgumentError, match="`levels` must be an integer of at least 2"):
        qb.oscillator(1)
    with pytest.raises(qb.ArgumentError, match="the battery is an oscillator"):
        qb.steady_state(oscillator(8), method="exact")
    with pytest.raises(qb.ArgumentError, match="`model` must be a battery of qubits"):
        qb.advantage(oscillator(8), of="ergotropy", resource="charger")
    with pytest.raises(qb.ArgumentError, match="oscillator"):
        qb.charging_time(oscillator(8), "fit")
