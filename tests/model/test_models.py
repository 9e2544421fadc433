"""The model as a pytree, its terms, and every refusal at the door."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import coupling_operator

import qbjax as qb
from qbjax.basis.ladder import lowering_elements, reverse
from qbjax.common.checks import raise_unless_ok

TS = [0.5, 2.0]


def test_couplings_are_those_of_qutip_and_padding_is_zero():
    for N, levels in ((1, 4), (3, 4), (3, 9)):
        model = qb.StarBattery(N=N, F=0.7, g=1.3, N_max=levels - 1)
        expected = np.zeros(levels)
        expected[1 : N + 1] = np.diag(coupling_operator(N, 0.7, 1.3).full().real, 1)
        np.testing.assert_allclose(model.couplings, expected, atol=1e-15)


def test_reversal_is_about_the_true_N():
    padded = jnp.array([1.0, 2.0, 3.0, 0.0, 0.0])
    np.testing.assert_array_equal(reverse(padded, 2), [3.0, 2.0, 1.0, 0.0, 0.0])
    slope = jax.grad(lambda N: jnp.sum(lowering_elements(N, 6)))(3.0)
    assert np.isfinite(slope)


def test_detunings():
    assert qb.StarBattery(N=2, F=1.0).Delta_C is None
    assert qb.StarBattery(N=2, F=1.0).Delta_B is None
    resonant = qb.StarBattery(N=2, F=1.0, omega_B=2.0, omega_C=2.5)
    assert resonant.Delta_C == 0.5
    assert resonant.Delta_B is None
    driven = qb.StarBattery(N=2, F=1.0, omega_B=2.0, omega_d=1.75)
    assert (driven.Delta_C, driven.Delta_B) == (0.25, 0.25)


def test_a_model_is_a_pytree_with_broadcast_leaves():
    model = qb.StarBattery(N=np.array([2, 3]), F=[[0.5], [1], [2]], gamma_C=0.3, N_max=5)
    assert model.batch_shape == (3, 2)
    assert model.levels == 6
    leaves, structure = jax.tree.flatten(model)
    assert [leaf.shape for leaf in leaves] == [(3, 2)] * 5
    assert eqx.tree_equal(jax.tree.unflatten(structure, leaves), model)
    one = jax.tree.map(lambda leaf: leaf[1, 0], model)
    assert (one.N, one.F, one.gamma_C, one.N_max) == (2, 1.0, 0.3, 5)
    assert model.F.dtype == jnp.float64
    # Omitted detunings are absent from the structure, present ones are leaves.
    assert len(jax.tree.leaves(qb.StarBattery(N=2, F=1.0, omega_C=1.0))) == 6


def test_own_terms_that_are_hermitian_together_are_taken():
    pair = (qb.Term(0.2 + 0.1j, battery=qb.J_minus), qb.Term(0.2 - 0.1j, battery=qb.J_plus))
    assert qb.StarBattery(N=2, F=0.5, hamiltonian=pair, N_max=4).batch_shape == ()
    assert qb.StarBattery(N=2, F=0.5, hamiltonian=qb.Term(0.0, np.zeros((2, 2)))).levels == 3
    built = jax.jit(lambda: qb.StarBattery(N=2, F=0.5, hamiltonian=pair))()
    assert len(built.hamiltonian) == 2


def test_one_compile_serves_many_N_and_parameters():
    traces = []

    @jax.jit
    def charge(model):
        traces.append(model)
        return qb.steady_state(model).energy, qb.evolve(model, TS, save=("energy",)).energy

    for N, F in ((1, 0.2), (2, 0.5), (4, 3.0)):
        steady, _ = charge(qb.StarBattery(N=jnp.array(N), F=F, N_max=4))
        np.testing.assert_allclose(steady, N / 2, rtol=1e-12)
    assert len(traces) == 1


# Refusals at the door

NUMBER = "an integer of at least 1"
STEPS = qb.PiecewiseConstant([1.0], [0.5, 0.7])
BAD_MODELS = [
    ({"N": 0}, f"`N` must be {NUMBER}, but is 0."),
    ({"N": -3}, f"`N` must be {NUMBER}, but is -3."),
    ({"N": 2.5}, f"`N` must be {NUMBER}, but is 2.5."),
    ({"N": np.array([2, 0]), "N_max": 3}, f"`N` must be {NUMBER}, but is [2 0]."),
    ({"N": np.array([], int), "N_max": 3}, f"`N` must be {NUMBER}, but is []."),
    ({"N": np.array([1, 2])}, "`N_max` must be given where N is an array or traced"),
    ({"N": np.array([1, 5]), "N_max": 4}, "`N` must be at most N_max = 4, but is [1 5]."),
    ({"N_max": 0}, "`N_max` must be a positive integer, but is 0."),
    ({"N_max": 4.5}, "`N_max` must be a positive integer, but is 4.5."),
    ({"gamma_C": -0.1}, "`gamma_C` must be not negative, but is -0.1."),
    ({"gamma_C": [0.1, -0.1]}, "`gamma_C` must be not negative, but is [ 0.1 -0.1]."),
    ({"omega_B": 0.0}, "`omega_B` must be positive, but is 0.0."),
    ({"F": np.nan}, "`F` must be finite, but is nan."),
    ({"F": 1j}, "`F` must be a real number, but is 1j."),
    ({"g": np.inf}, "`g` must be finite, but is inf."),
    ({"omega_C": np.nan}, "`omega_C` must be finite, but is nan."),
    ({"omega_d": -np.inf}, "`omega_d` must be finite, but is -inf."),
    *(
        ({"kappa": 0.1, name: -0.2}, f"`{name}` must be not negative, but is -0.2.")
        for name in ("kappa", "nbar", "Gamma_down", "Gamma_up", "Gamma_z")
    ),
    ({"nbar": 0.1}, "`nbar` must be given together with kappa, but is given alone."),
    ({"frame": "labs"}, '`frame` must be one of "rotating", "lab", but is "labs".'),
    ({"frame": "lab", "omega_d": STEPS}, "`omega_d` must be constant in time in the lab frame"),
    ({"omega_B": STEPS}, "`omega_B` must be constant in time, but is a pulse."),
    ({"charger": qb.qubit}, "`charger` must be made by qbjax.qubit(), qbjax.cavity(levels) or"),
    ({"charger": "cavity"}, "`charger` must be made by qbjax.qubit(), qbjax.cavity(levels) or"),
    (
        {"hamiltonian": qb.Term(1.0, np.eye(3))},
        "`hamiltonian` must be terms with a charger matrix of 2 levels, but is with one of 3.",
    ),
    (
        {"hamiltonian": [qb.Term(1.0, battery=np.eye(4))]},
        "`hamiltonian` must be terms with a battery matrix of 3 levels, but is with one of 4.",
    ),
    (
        {"jumps": qb.Jump(1.0, qb.Term(1.0), qb.Term(1.0, np.eye(3)))},
        "`jumps` must be terms with a charger matrix of 2 levels, but is with one of 3.",
    ),
    ({"hamiltonian": qb.Term(1.0, battery=qb.J_minus)}, "`hamiltonian` must be Hermitian (add"),
    ({"hamiltonian": qb.Term(1j)}, "`hamiltonian` must be Hermitian (add"),
    ({"hamiltonian": qb.Term([1.0, 1j])}, "`hamiltonian` must be Hermitian (add"),
    ({"hamiltonian": qb.Term(STEPS, battery=qb.J_plus)}, "`hamiltonian` must be Hermitian (add"),
    (
        {"hamiltonian": qb.Term(qb.PiecewiseConstant([1.0], [0.0, 0.3]), battery=qb.J_plus)},
        "`hamiltonian` must be Hermitian (add",
    ),
    ({"gamma_C": qb.PiecewiseConstant([1.0], [0.3, -0.3])}, "`gamma_C` must be not negative, but"),
    ({"F": None}, "`F` must be given, but is None."),
    ({"F": np.cos}, "`F` must be a number or a qbjax.Pulse, but is of type ufunc."),
    (
        {"F": [0.1, 0.2], "gamma_C": [0.1, 0.2, 0.3]},
        "`gamma_C` must be of a shape that goes with (2,), but is of shape (3,).",
    ),
    (
        {"hamiltonian": 3.0},
        "`hamiltonian` must be a qbjax.Term or a sequence of them, but",
    ),
    (
        {"jumps": [qb.Term(1.0)]},
        "`jumps` must be a qbjax.Jump or qbjax.LocalJump or a sequence of them, but",
    ),
]


@pytest.mark.parametrize(("bad", "message"), BAD_MODELS, ids=lambda case: str(case)[:30])
def test_bad_parameters_are_refused(bad, message):
    with pytest.raises(qb.ArgumentError) as refusal:
        qb.StarBattery(**({"N": 2, "F": 0.5} | bad))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "solve", [qb.steady_state, lambda m, method: qb.evolve(m, TS, method=method)]
)
def test_the_exact_solution_refuses_a_detuned_battery(solve):
    wanted = (
        "`model` must be dephasing on battery resonance alone for this method, but omega_d is off"
    )
    with pytest.raises(qb.ArgumentError, match=wanted):
        solve(qb.StarBattery(N=2, F=0.5, omega_d=1.2), method="exact")


def test_equal_frequencies_are_resonance_however_they_are_given():
    model = qb.StarBattery(N=2, F=0.5, omega_B=2.0, omega_d=2.0, omega_C=2.3)
    ss = qb.steady_state(model, method="exact")
    np.testing.assert_allclose(ss.energy, 2.0, rtol=1e-12)


NO_STEADY_STATE = [
    ({"gamma_C": 0.0}, "gamma_C", qb.Status.NO_DEPHASING),
    ({"F": 0.0}, "F", qb.Status.NO_DRIVE),
    ({"g": 0.0}, "g", qb.Status.NO_COUPLING),
]
NUMBERS = (
    "battery",
    "populations",
    "energy",
    "ergotropy",
    "ratio",
    "residual",
    "smallest_eigenvalue",
    "relaxation_time",
    "log_relaxation_time",
)


@pytest.mark.parametrize(("zero", "name", "status"), NO_STEADY_STATE)
def test_no_steady_state_is_an_error_on_the_host_and_a_status_under_jit(zero, name, status):
    model = qb.StarBattery(**({"N": 2, "F": 0.5} | zero))
    with pytest.raises(qb.SolveError, match=f"`{name}` must be .* for a steady state.*evolve"):
        qb.steady_state(model)
    for result in (jax.jit(qb.steady_state)(model), qb.steady_state(model, throw=False)):
        assert result.status == status
        for number in NUMBERS:
            assert np.all(np.isnan(getattr(result, number))), number
        # The blocks between |g> and |e> vanish in every steady state, and may stay zero.
        assert np.all(np.isnan(result.rho[[0, 1], :, [0, 1]]))


def test_one_bad_member_leaves_the_batch_alone():
    models = qb.StarBattery(N=2, F=[0.5, 0.0], gamma_C=[1.0, 0.0])
    result = jax.jit(jax.vmap(qb.steady_state))(models)
    with pytest.raises(qb.SolveError, match="`F` must be nonzero"):
        raise_unless_ok(result.status)
    # F = 0 is told rather than gamma_C = 0: it is the more fundamental of the two.
    np.testing.assert_array_equal(result.status, [qb.Status.OK, qb.Status.NO_DRIVE])
    np.testing.assert_allclose(result.energy, [1.0, np.nan])


BAD_STARTS = [
    (np.ones((2, 4)) / 8**0.5, r"`rho0` must be of shape \(3,\), \(2, 3\), \(3, 3\) or .*\(2, 4\)"),
    (np.eye(6) / 6, r"`rho0` must be of shape .*but is of shape \(6, 6\)"),
    (np.array([1.0, 1.0, 0.0]), r"`rho0` must be a state of trace 1, but is of trace 2"),
    (np.eye(6).reshape(2, 3, 2, 3), r"`rho0` must be a state of trace 1, but is of trace 6"),
    (np.triu(np.full((6, 6), 1 / 6)).reshape(2, 3, 2, 3), r"`rho0` must be Hermitian"),
    (
        np.diag([1.2, -0.2, 0, 0, 0, 0]).reshape(2, 3, 2, 3),
        r"`rho0` must be a state without negative eigenvalues.* -0\.2",
    ),
    (np.array([np.nan, 1.0, 0.0]), r"`rho0` must be a state of trace 1, but is of trace nan"),
    ("empty", r"`rho0` must be an array of numbers, but is of type str"),
]


@pytest.mark.parametrize(("rho0", "message"), BAD_STARTS)
def test_bad_starts_are_refused(rho0, message):
    model = qb.StarBattery(N=2, F=0.5)
    for solve in (qb.steady_state, lambda m, rho0: qb.evolve(m, TS, rho0=rho0)):
        with pytest.raises(qb.ArgumentError, match=message):
            solve(model, rho0=rho0)


@pytest.mark.parametrize(
    ("ts", "message"),
    [
        ([1.0, 0.5], "`ts` must be finite, increasing and >= 0"),
        ([1.0, 1.0], "`ts` must be finite, increasing and >= 0"),
        ([-1.0, 1.0], "`ts` must be finite, increasing and >= 0"),
        ([0.0, np.inf], "`ts` must be finite, increasing and >= 0"),
        ([0.0, np.nan], "`ts` must be finite, increasing and >= 0"),
        (1.0, "`ts` must be one-dimensional, but is 0-d"),
        ([[1.0]], "`ts` must be one-dimensional, but is 2-d"),
    ],
)
def test_bad_times_are_refused(ts, message):
    with pytest.raises(qb.ArgumentError, match=message):
        qb.evolve(qb.StarBattery(N=2, F=0.5), ts)


def test_unknown_choices_are_refused():
    model = qb.StarBattery(N=2, F=0.5)
    for solve in (qb.steady_state, lambda m, method: qb.evolve(m, TS, method=method)):
        with pytest.raises(qb.ArgumentError, match=r'`method` must be one of "auto", "exact"'):
            solve(model, method="magic")
    with pytest.raises(qb.ArgumentError, match=r'`save` must be one of "energy", .*"enrgy"'):
        qb.evolve(model, TS, save=("energy", "enrgy"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert qb.evolve(model, TS, method="exact").method == "exact"
        assert qb.steady_state(model, method="exact").method == "exact"
