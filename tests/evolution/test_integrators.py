"""The general engine in time: against the exact solution, QuTiP, differences, and itself."""

import functools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
from helpers import LOWERING, general_model, mean_excitations, random_density, random_ket

import qbjax as qb
from qbjax.evolution import runge_kutta

EVERYTHING = ("energy", "ergotropy", "power", "populations", "battery", "rho")
STEPPING = ("tsit5", "dopri8", "kvaerno5")
METHODS = ("chebyshev", "propagator", *STEPPING)
TS = np.array([0.0, 0.3, 1.0, 4.0, 11.0])


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


# Against the exact solution, in its corners. One padded size, so that each method compiles once.


CORNERS = {
    "weak": (3, 0.3, 1.0, 0.5),
    "equal": (2, 1.0, 1.0, 1.7),
    "one qubit": (1, 0.6, 0.9, 0.2),
    "unitary": (3, 0.7, 1.0, 0.0),
    "strong dephasing": (2, 0.7, 1.0, 100.0),
    "no drive": (3, 0.0, 1.0, 0.5),
}


def start(kind):
    """Starts that live on one qubit, so that every N takes them."""
    if kind == "empty":
        return None
    if kind == "real":
        return np.array([0.6, 0.8, 0.0, 0.0])
    if kind == "complex":
        return np.pad(random_ket(1, seed=3), ((0, 0), (0, 2)))
    return np.pad(random_density(1, seed=4), ((0, 0), (0, 2)) * 2)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("chebyshev", kind) for kind in ("empty", "complex", "mixed")]
    + [
        slow("chebyshev", "real"),
        ("propagator", "mixed"),
        ("tsit5", "mixed"),
        slow("propagator", "real"),
    ]
    + [slow("tsit5", "real"), slow("dopri8", "real"), slow("dopri8", "mixed")]
    + [slow("kvaerno5", "real"), slow("kvaerno5", "mixed")],
)
def test_every_method_against_the_exact_solution(method, kind):
    N, F, g, gamma = (np.array(values) for values in zip(*CORNERS.values(), strict=True))
    models = qb.StarBattery(N=N, F=F, g=g, gamma_C=gamma, N_max=3)
    expected = qb.evolve(models, TS, rho0=start(kind), save=EVERYTHING)
    traj = qb.evolve(models, TS, rho0=start(kind), save=EVERYTHING, method=method)
    assert (expected.method, traj.method) == ("exact", method)
    for name in EVERYTHING:
        ours, theirs = getattr(traj, name), getattr(expected, name)
        atol = 1e-6 if method == "kvaerno5" else 3e-7
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)
    np.testing.assert_array_equal(traj.status, 0)
    assert np.all(traj.trace_drift < 1e-10)
    assert np.all(np.abs(traj.smallest_eigenvalue) < 1.0)
    assert np.all(traj.smallest_eigenvalue > -1e-6)
    # The estimate is above the error, but for rounding.
    error = np.max(np.abs(traj.energy - expected.energy), axis=1)
    assert np.all(error < 10 * traj.error_estimate[:, -1] + 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.1, 1.0, 20.0, 100.0])
@pytest.mark.parametrize("method", ["chebyshev", "tsit5", "dopri8"])
def test_long_runs_keep_the_accuracy(method, gamma):
    ts = np.linspace(0, 200, 41)
    model = qb.StarBattery(N=30, F=0.5, gamma_C=gamma)
    expected = qb.evolve(model, ts, save=("energy",)).energy
    traj = qb.evolve(model, ts, save=("energy",), method=method)
    assert np.max(np.abs(traj.energy - expected)) / 30 < 1e-7
    assert traj.trace_drift < 1e-10
    np.testing.assert_array_equal(traj.status, 0)


@pytest.mark.parametrize(("gamma", "real"), [slow(100.0, True), (25.0, True), (0.0, False)])
def test_chebyshev_where_decay_and_oscillation_compare(gamma, real):
    # At gamma_C = 25 the two semi-axes are about equal and the series is that of Taylor.
    ts = np.array([0.01, 5.0, 300.0])
    rho0 = None if real else np.pad(random_ket(5, seed=1), ((0, 0), (0, 0)))
    model = qb.StarBattery(N=5, F=2.0, gamma_C=gamma)
    expected = qb.evolve(model, ts, rho0=rho0, save=("rho",)).rho
    for rtol, bound in ((1e-5, 1e-5), (1e-8, 1e-8), (1e-12, 1e-11)):
        traj = qb.evolve(model, ts, rho0=rho0, save=("rho",), method="chebyshev", rtol=rtol)
        assert np.max(np.abs(traj.rho - expected)) < bound
        np.testing.assert_array_equal(traj.status, 0)


@pytest.mark.slow
def test_chebyshev_at_dense_and_sparse_times():
    # Steps that serve several times, several steps for one time, and a last group that is not full.
    ts = np.concatenate([np.linspace(0.0, 0.2, 9), [0.21, 7.0, 90.0, 90.001, 200.0]])
    model = qb.StarBattery(N=5, F=1.0, gamma_C=0.5)
    expected = qb.evolve(model, ts, save=EVERYTHING)
    traj = qb.evolve(model, ts, save=EVERYTHING, method="chebyshev")
    less = qb.evolve(model, ts, save=("energy", "power"), method="chebyshev")
    for name in EVERYTHING:
        np.testing.assert_allclose(getattr(traj, name), getattr(expected, name), atol=1e-8)
    np.testing.assert_allclose(less.energy, traj.energy, atol=1e-12)
    np.testing.assert_allclose(less.power, traj.power, atol=1e-12)
    with pytest.warns(UserWarning, match="max_steps"):
        lost = qb.evolve(model, ts, save=("energy",), method="chebyshev", max_steps=3)
    assert np.all(np.isfinite(lost.energy[:7]))
    assert np.isnan(lost.energy[-1])
    assert lost.status[-1] == qb.Status.NOT_CONVERGED


@pytest.mark.slow
def test_chebyshev_where_the_generator_is_far_from_normal():
    N, ts = 8, np.array([0.5, 3.0, 20.0])
    model = qb.StarBattery(N=N, F=0.5, gamma_C=0.3, Gamma_down=3.0, Gamma_up=0.2, kappa=2.0)
    full = np.zeros(N + 1)
    full[N] = 1.0
    traj = qb.evolve(model, ts, rho0=full, save=("battery",))
    expected = qb.evolve(model, ts, rho0=full, save=("battery",), method="dopri8", rtol=1e-11)
    assert traj.method == "chebyshev"
    np.testing.assert_allclose(traj.battery, expected.battery, rtol=0, atol=1e-8)


def test_the_propagator_reaches_very_long_times():
    ts = np.array([1e3, 1e6])
    model = qb.StarBattery(N=3, F=0.5, gamma_C=0.3, omega_d=0.9, omega_C=1.0)
    traj = qb.evolve(model, ts, method="propagator", save=("rho",))
    # With a detuned battery the state forgets everything.
    np.testing.assert_allclose(traj.rho[-1].reshape(8, 8), np.eye(8) / 8, atol=1e-8)
    assert traj.steps is None


# Against QuTiP


def qutip_solve(N, ts, charger="qubit", **given):
    """mesolve from the empty state; shape (T, d_c, N + 1, d_c, N + 1)."""
    H, jumps = general_model(N, charger=charger, **given)
    d_c = LOWERING[charger].shape[0]
    start = qutip.tensor(qutip.basis(d_c, 0), qutip.basis(N + 1, 0)).proj()
    options = {"atol": 1e-12, "rtol": 1e-10, "nsteps": 10**6, "method": "vern9", "max_step": 0.05}
    times = np.concatenate([[0.0], ts]) if ts[0] > 0 else ts
    states = qutip.mesolve(H, start, times, jumps, options=options).states[-len(ts) :]
    return np.stack([s.full() for s in states]).reshape(-1, d_c, N + 1, d_c, N + 1)


CHARGERS = {"qubit": qb.qubit(), "cavity": qb.cavity(4), "spin": qb.spin(1)}
GENERAL = {
    "losses": {"kappa": 0.3, "nbar": 0.4, "Gamma_down": 0.1, "Gamma_up": 0.05, "Gamma_z": 0.07},
    "detuned": {"omega_C": 1.3, "omega_d": 0.8, "kappa": 0.2},
}


@pytest.mark.parametrize(
    ("charger", "case"),
    [
        ("qubit", "losses"),
        ("cavity", "detuned"),
        slow("qubit", "detuned"),
        slow("cavity", "losses"),
        slow("spin", "losses"),
        slow("spin", "detuned"),
    ],
)
def test_losses_detunings_and_chargers_against_qutip(case, charger):
    N, ts = 3, np.array([0.4, 2.0, 7.0])
    parameters = GENERAL[case]
    given = {"F": 0.3, "g": 1.1, "gamma_C": 0.4, **parameters}
    found = CHARGERS[charger]
    model = qb.StarBattery(N=N, charger=found, **given)
    expected = qutip_solve(N, ts, charger, **given)
    with warnings.catch_warnings():
        # The cavity is cut as low in both.
        warnings.simplefilter("ignore")
        traj = qb.evolve(model, ts, save=EVERYTHING)
    assert traj.method == "chebyshev"
    battery = np.einsum("tcncm->tnm", expected)
    np.testing.assert_allclose(traj.rho, expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(traj.battery, battery, rtol=0, atol=1e-7)
    np.testing.assert_allclose(traj.energy, mean_excitations(battery), rtol=0, atol=1e-7)
    eta = np.linalg.eigvalsh(battery)[:, -1]
    np.testing.assert_allclose(traj.ergotropy, traj.energy - 1 + eta, rtol=0, atol=1e-7)
    lowest = np.linalg.eigvalsh(expected[-1].reshape(2 * (found.levels * (N + 1),)))[0]
    np.testing.assert_allclose(traj.smallest_eigenvalue, lowest, rtol=0, atol=1e-7)
    if charger != "qubit":
        return
    # The power is Tr(n L rho): the slope of the energy.
    h = 1e-3
    near = qb.evolve(model, 2.0 + h * np.arange(-2, 3), save=("energy",), rtol=1e-12).energy
    slope = near @ np.array([1, -8, 0, 8, -1]) / (12 * h)
    np.testing.assert_allclose(traj.power[1], slope, rtol=0, atol=1e-8)


def swinging(t, height):
    return height * jnp.cos(t)


def envelope(t, height, rate):
    return height * jnp.sin(rate * t) ** 2


def envelope_numpy(t):
    return 0.8 * math.sin(0.9 * t) ** 2


@pytest.mark.parametrize("method", ["dopri8", slow("tsit5"), slow("kvaerno5")])
def test_pulses_against_qutip(method):
    N, ts = 3, np.array([0.0, 0.7, 2.0, 6.0])
    expected = qutip_solve(N, ts, F=envelope_numpy, gamma_C=0.4, kappa=0.2)
    model = qb.StarBattery(N=N, F=qb.Pulse(envelope, 0.8, 0.9), gamma_C=0.4, kappa=0.2)
    traj = qb.evolve(model, ts, save=("rho", "power"), method=method)
    np.testing.assert_allclose(traj.rho, expected, rtol=0, atol=1e-7)
    if method == "dopri8":
        auto = qb.evolve(model, ts, save=("rho",))
        assert auto.method == "dopri8"
        assert "depends on time" in auto.why
        np.testing.assert_array_equal(auto.rho, traj.rho)


PIECES = ((0.0, 1.0, 0.7), (1.0, 2.5, 0.0), (2.5, 4.0, 1.2))
PIECE_TIMES = np.array([0.5, 1.0, 2.0, 2.5, 4.0])


@functools.cache
def pieces_exactly():
    """The states at PIECE_TIMES: constant between the jumps, exact from one to the next."""
    rho, states = None, []
    for begin, end, F in PIECES:
        model = qb.StarBattery(N=2, F=F, gamma_C=0.4)
        inside = PIECE_TIMES[(begin < PIECE_TIMES) & (end >= PIECE_TIMES)]
        states.extend(qb.evolve(model, inside - begin, rho0=rho, save=("rho",)).rho)
        rho = states[-1]
    return np.stack(states)


@pytest.mark.parametrize(
    ("method", "step"),
    [
        slow("tsit5", 0.01),
        slow("tsit5", None),
        slow("dopri8", None),
        slow("dopri8", 0.01),
        slow("kvaerno5", None),
    ],
)
def test_piecewise_pulses_are_stepped_from_jump_to_jump(method, step):
    drive = qb.PiecewiseConstant([end for _, end, _ in PIECES[:-1]], [F for *_, F in PIECES])
    model = qb.StarBattery(N=2, F=drive, gamma_C=0.4)
    traj = qb.evolve(model, PIECE_TIMES, method=method, max_step=step, save=("rho",))
    np.testing.assert_allclose(traj.rho, pieces_exactly(), rtol=0, atol=1e-7)
    # The last jump may be the last time, too.
    ts = np.array([0.5, 1.0, 1.5, 2.0, 2.5])
    last = qb.evolve(model, ts, method=method, max_step=step, save=("rho",))
    np.testing.assert_allclose(last.rho[-1], pieces_exactly()[3], rtol=0, atol=1e-7)
    if step is None and method == "dopri8":
        assert traj.rejected_steps <= 4


def test_the_lab_frame_agrees_with_the_rotating_frame():
    ts = np.array([0.5, 3.0, 9.0])
    parameters = {"N": 3, "F": 0.4, "omega_B": 2.0, "omega_d": 1.8, "omega_C": 2.1, "kappa": 0.1}
    names = ("energy", "ergotropy", "populations")
    rotating = qb.evolve(qb.StarBattery(**parameters), ts, save=names)
    lab = qb.evolve(qb.StarBattery(**parameters, frame="lab"), ts, save=names)
    assert (rotating.method, lab.method) == ("chebyshev", "dopri8")
    for name in names:
        ours, theirs = getattr(lab, name), getattr(rotating, name)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)


# Steps


@pytest.mark.parametrize(
    ("method", "order", "step"),
    [("tsit5", 5, 0.025), ("dopri8", 8, 0.1), slow("kvaerno5", 5, 0.05)],
)
def test_the_error_of_the_longest_steps_falls_with_the_order(method, order, step):
    # On a constant generator dopri8 converges at order 9: a pulse shows the order it has.
    F = qb.Pulse(envelope, 2.0, 3.0) if method == "dopri8" else 0.7
    model = qb.StarBattery(N=3, F=F, gamma_C=0.4)
    ts = np.array([1.0, 2.0])
    fine = {"method": "dopri8", "max_step": 0.01} if method == "dopri8" else {}
    expected = qb.evolve(model, ts, save=("rho",), **fine).rho
    errors = []
    for h in (step, step / 2):
        # A tolerance that no step misses: all but the first have the longest one.
        loose = {"rtol": 1.0, "tolerance": 1.0}
        traj = qb.evolve(model, ts, save=("rho",), method=method, max_step=h, **loose)
        assert 0 <= traj.steps - round(2.0 / h) <= 3
        assert traj.rejected_steps == 0
        errors.append(np.linalg.norm(traj.rho[-1] - expected[-1]))
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.4


@pytest.mark.slow
def test_steps_are_those_that_max_steps_counts():
    """With those that were thrown away: with so many the integrator arrives, with fewer not."""
    model, given = qb.StarBattery(1, 0.5, kappa=20.0), {"save": ("energy",), "method": "tsit5"}
    traj = qb.evolve(model, [4.0], **given)
    assert traj.rejected_steps > 0
    enough = qb.evolve(model, [4.0], **given, max_steps=int(traj.steps))
    np.testing.assert_array_equal(enough.energy, traj.energy)
    with pytest.warns(UserWarning, match="max_steps"):
        lost = qb.evolve(model, [4.0], **given, max_steps=int(traj.steps) - 1)
    assert np.isnan(lost.energy[0])


def test_evidence_of_steps():
    model = qb.StarBattery(N=3, F=0.7, gamma_C=100.0, kappa=0.1)
    traj = qb.evolve(model, TS, method="tsit5")
    assert traj.steps > traj.rejected_steps > 0
    finer = qb.evolve(model, TS, method="tsit5", rtol=1e-10)
    assert finer.steps > traj.steps
    assert finer.error_estimate[-1] < traj.error_estimate[-1]


def test_a_solve_that_does_not_arrive_is_flagged():
    model = qb.StarBattery(N=3, F=0.7, kappa=0.1)
    with pytest.warns(UserWarning, match=r"Raise max_steps"):
        traj = qb.evolve(model, TS, method="tsit5", max_steps=10)
    lost = np.isnan(traj.energy)
    assert lost[-1]
    assert not lost[0]
    np.testing.assert_array_equal(traj.status[lost], qb.Status.NOT_CONVERGED)
    np.testing.assert_array_equal(lost, np.isnan(traj.ergotropy))
    assert np.isnan(traj.smallest_eigenvalue)


def test_a_tolerance_that_is_too_wide_is_flagged():
    model = qb.StarBattery(N=3, F=0.7, kappa=0.1)
    with pytest.warns(UserWarning, match=r"lower rtol or max_step"):
        traj = qb.evolve(model, TS, method="tsit5", rtol=1e-3)
    assert traj.status[-1] == qb.Status.NOT_CONVERGED
    assert np.all(np.isfinite(traj.energy))


def test_what_is_no_state_is_flagged():
    # Whether a pulse is a rate at all times is not known before.
    model = qb.StarBattery(N=2, F=0.5, gamma_C=qb.Pulse(swinging, 0.5))
    with pytest.warns(UserWarning, match="does not meet its tolerance"):
        traj = qb.evolve(model, TS)
    assert traj.smallest_eigenvalue < -0.01
    np.testing.assert_array_equal(traj.status, qb.Status.NOT_CONVERGED)


@pytest.mark.slow
def test_a_cut_that_is_too_low_is_flagged():
    def solve(levels, F):
        model = qb.StarBattery(N=2, F=F, kappa=0.5, charger=qb.cavity(levels))
        return qb.evolve(model, TS, save=("energy",))

    with pytest.warns(UserWarning, match=r"more levels"):
        low = solve(3, 0.5)
    assert low.top_population > 1e-2
    np.testing.assert_array_equal(np.asarray(low.status)[[0, -1]], [0, qb.Status.CUT_TOO_LOW])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert solve(8, 0.01).top_population < 1e-6
    assert qb.evolve(qb.StarBattery(N=2, F=0.5, kappa=0.5), TS).top_population is None


# Observables


def excited(rho):
    return rho[1, :, 1, :].trace().real


def diagonal(rho):
    return jnp.einsum("cncn->cn", rho).real


@pytest.mark.parametrize("method", ["exact", "propagator", "chebyshev", "dopri8"])
def test_observables(method):
    model = qb.StarBattery(N=2, F=0.5, gamma_C=0.3)
    functions = {"excited": excited, "diagonal": diagonal}
    traj = qb.evolve(model, TS, save=("rho",), observables=functions, method=method)
    assert set(traj.observables) == set(functions)
    for name, function in functions.items():
        expected = jax.vmap(function)(traj.rho)
        np.testing.assert_allclose(traj.observables[name], expected, atol=1e-14)
    if method == "chebyshev":
        assert qb.evolve(model, TS, save=(), method=method).observables == {}


# Transforms


def loss(p, method, gradient):
    """Depends on every parameter, by way of pulses where the method allows them."""
    pulsed = method in STEPPING
    F = qb.Pulse(envelope, p[0], p[1]) if pulsed else p[0] * p[1]
    gamma_C = qb.PiecewiseConstant(jnp.array([0.4]), jnp.stack([p[3], p[8]])) if pulsed else p[3]
    model = qb.StarBattery(
        N=2, F=F, g=p[2], gamma_C=gamma_C, omega_B=p[4], omega_C=p[5], omega_d=p[6], kappa=p[7],
        nbar=p[8], Gamma_down=p[9], Gamma_z=p[10],
    )  # fmt: skip
    ts = np.array([0.5, 1.3])
    traj = qb.evolve(
        model, ts, method=method, gradient=gradient, rtol=1e-10, save=("energy", "ergotropy")
    )
    return jnp.sum(traj.energy * jnp.array([1.0, 2.0])) + traj.ergotropy[-1]


POINT = jnp.array([0.9, 1.1, 1.0, 0.4, 1.2, 1.4, 0.9, 0.3, 0.2, 0.15, 0.1])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chebyshev", "propagator", "dopri8", "kvaerno5"])
def test_gradients_in_both_directions_and_by_differences(method):
    reverse = jax.jit(jax.grad(functools.partial(loss, method=method, gradient="reverse")))(POINT)
    forward = jax.jit(jax.jacfwd(functools.partial(loss, method=method, gradient="forward")))(POINT)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-9)
    h = 1e-4
    rows = POINT + h * jnp.concatenate([jnp.eye(len(POINT)), -jnp.eye(len(POINT))])
    value = functools.partial(loss, method=method, gradient="reverse")
    plus, minus = jax.jit(lambda rows: jax.lax.map(value, rows))(rows).reshape(2, -1)
    np.testing.assert_allclose(reverse, (plus - minus) / (2 * h), rtol=0, atol=1e-6)
    assert np.all(np.abs(reverse) > 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chebyshev", "dopri8"])
def test_the_derivative_with_respect_to_a_time_is_the_power(method):
    model = qb.StarBattery(N=2, F=0.5, kappa=0.1)

    def energy(t):
        return qb.evolve(model, jnp.stack([0.5 * t, t]), save=("energy",), method=method).energy[1]

    power = qb.evolve(model, [2.0], save=("power",)).power[0]
    np.testing.assert_allclose(jax.grad(energy)(2.0), power, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["chebyshev", "propagator", "dopri8"])
def test_batch_is_loop_is_jit_is_vmap(method):
    models = qb.StarBattery(
        N=np.array([[1], [3], [2]]), F=[0.2, 1.0, 0.5], kappa=0.1, gamma_C=0.4, N_max=3
    )

    def summary(model):
        traj = qb.evolve(model, TS, method=method)
        return traj.energy, traj.ergotropy, traj.status, traj.trace_drift

    flat = jax.tree.map(lambda leaf: leaf.reshape(-1), models)
    each = [summary(jax.tree.map(lambda leaf, k=k: leaf[k], flat)) for k in range(9)]
    looped = [jnp.stack(x).reshape(3, 3, *x[0].shape) for x in zip(*each, strict=True)]
    vmapped = jax.jit(jax.vmap(jax.vmap(summary)))
    for solve in (summary, jax.jit(summary), vmapped):
        for ours, theirs in zip(solve(models), looped, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-11)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "euler"}, "`method` must be one of"),
        ({"method": "exact"}, "`model` must be dephasing on battery resonance"),
        ({"gradient": "backward"}, '`gradient` must be one of "reverse", "forward"'),
        ({"rtol": 1e-15}, "`rtol` must be at least"),
        ({"rtol": -1.0}, "`rtol` must be at least"),
        ({"atol": -1.0}, "`atol` must be not negative"),
        ({"max_step": 0.1}, "`max_step` must be None"),
        ({"max_step": 0.0, "method": "tsit5"}, "`max_step` must be a positive number"),
        ({"max_step": [0.1, 0.2], "method": "tsit5"}, "`max_step` must be one real number"),
        ({"observables": {"x": 3.0}}, "`observables` must be functions"),
        ({"save": ("energy", "x")}, "`save` must be one of"),
        ({"rho0": np.eye(5) / 5}, "`rho0` must be of shape"),
        ({"max_steps": 0}, "`max_steps` must be"),
        ({"ts": [0.0, 1.0, 1.0]}, "`ts` must be finite, increasing"),
        ({"ts": []}, "`ts` must be"),
    ],
)
def test_refusals(change, message):
    arguments = {"ts": TS} | change
    with pytest.raises(qb.ArgumentError, match=message):
        qb.evolve(qb.StarBattery(N=2, F=0.5, kappa=0.1), **arguments)


def test_methods_that_do_not_apply_are_refused():
    pulsed = qb.StarBattery(N=2, F=qb.Pulse(envelope, 0.8, 0.9))
    for method in ("chebyshev", "propagator"):
        with pytest.raises(
            qb.ArgumentError, match="another one where the equation of motion depends on time"
        ):
            qb.evolve(pulsed, TS, method=method)
    with pytest.raises(qb.ArgumentError, match="more than 1024"):
        qb.evolve(qb.StarBattery(N=30, F=0.5), TS, method="propagator")


def test_single_precision_refuses_what_it_cannot_reach():
    jax.config.update("jax_enable_x64", False)
    try:
        model = qb.StarBattery(N=2, F=0.5, kappa=0.1)
        with pytest.raises(qb.ArgumentError, match=r"`rtol` must be at least 1.2e-05 in float32"):
            qb.evolve(model, TS)
        wanted = r"`tolerance` must be at least 1.2e-05 in float32"
        with pytest.raises(qb.ArgumentError, match=wanted):
            qb.steady_state(model)
        single = [
            qb.evolve(model, TS, rtol=2e-5, tolerance=1e-3, method=method).energy
            for method in ("chebyshev", "tsit5")
        ]
        assert single[0].dtype == jnp.float32
        np.testing.assert_allclose(single[0], single[1], atol=1e-3)
    finally:
        jax.config.update("jax_enable_x64", True)


def test_no_bar_unless_the_output_is_a_terminal(capfd, monkeypatch):
    model = qb.StarBattery(N=2, F=0.5, kappa=0.1)
    qb.evolve(model, TS, progress=True, save=("energy",))
    assert capfd.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    qb.evolve(model, TS, progress=True, save=("energy",)).energy.block_until_ready()
    jax.effects_barrier()
    assert "100" in capfd.readouterr().err


def test_auto_says_why():
    why = qb.evolve(qb.StarBattery(N=2, F=0.5, kappa=0.1), TS).why
    assert "`kappa` is given" in why
    assert sorted(each.name for each in runge_kutta.METHODS) == sorted(STEPPING)


def test_the_rounding_of_the_propagator_grows_with_time():
    """A product of t steps rounds t times; so late, the drift of the trace tells nothing of it."""
    model = qb.StarBattery(N=1, F=0.5, kappa=0.1)
    times = [1.0, 1e3, 1e6]
    error = qb.evolve(model, times, method="propagator").error_estimate
    np.testing.assert_allclose(error[1:] / error[:-1], 1e3, rtol=0.1)
