"""General steady states against QuTiP, the exact solution, dense spectra and differences."""

import functools
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
from helpers import ergotropy_2N, general_model, pad_state, random_density, random_ket

import qbjax as qb

METHODS = ("direct", "iterative")
LOWER = qb.qubit().lowering
CHARGERS = {"qubit": qb.qubit(), "cavity": qb.cavity(4), "spin": qb.spin(1)}


def qutip_steady(N, **given):
    """QuTiP's steady state, shape (d_c, N + 1, d_c, N + 1), by sparse elimination."""
    H, jumps = general_model(N, **given)
    jumps = [jump for jump in jumps if jump.norm() > 0]
    L = qutip.liouvillian(H, jumps).to("CSR")
    rho = qutip.steadystate(L, method="direct", solver="spsolve")
    d_c = H.dims[0][0]
    return rho.full().reshape(d_c, N + 1, d_c, N + 1)


def figures(rho, N):
    """Energy and ergotropy of a state over charger and ladder, in the unit of omega_B."""
    battery = np.einsum("cncm->nm", rho)
    energy = np.diagonal(battery).real @ np.arange(N + 1)
    return energy, energy - 1 + np.linalg.eigvalsh(battery)[-1]


def slowest_rate(N, **given):
    """The smallest rate above the null space's, from the dense spectrum."""
    rates = -np.linalg.eigvals(qutip.liouvillian(*general_model(N, **given)).full()).real
    return np.min(rates[rates > 1e-10])


# Every check of one method shares a program: N, the start and the tolerance are traced, and all
# parameters are there, zero or not. Each point gives a steady state and, in the same program, the
# derivatives of four numbers.

NOTHING = dict.fromkeys(("kappa", "nbar", "Gamma_down", "Gamma_up", "Gamma_z"), 0.0)
ON = {"omega_C": 1.0, "omega_d": 1.0}
ALL = {"kappa": 0.13, "nbar": 0.4, "Gamma_down": 0.17, "Gamma_up": 0.05, "Gamma_z": 0.11}
UNIQUE = [
    NOTHING | {"omega_C": 1.0, "omega_d": 0.7},
    NOTHING | {"omega_C": 1.6, "omega_d": 1.2},
    NOTHING | ON | {"kappa": 0.3},
    NOTHING | {"omega_C": 1.3, "omega_d": 1.0, "kappa": 0.3, "nbar": 0.5},
    NOTHING | ON | {"Gamma_down": 0.1},
    NOTHING | ON | {"Gamma_down": 0.1, "Gamma_up": 0.03},
    NOTHING | ON | {"Gamma_down": 0.02, "Gamma_z": 0.3},
    NOTHING | {"omega_C": 1.3, "omega_d": 0.9, "Gamma_up": 0.2, "kappa": 0.1},
    ALL | ON,
    ALL | {"omega_C": 1.4, "omega_d": 0.8},
]
MIXED = [
    NOTHING | {"omega_C": 1.3, "omega_d": 0.6},
    NOTHING | {"omega_C": 1.0, "omega_d": 1.0, "Gamma_z": 0.2},
    NOTHING | {"omega_C": 1.2, "omega_d": 1.0, "Gamma_down": 0.1, "Gamma_up": 0.1},
]


def grid(sizes, drives=(0.5, 2.0), cases=UNIQUE):
    """Vary all the rest with the size and the drive, so that no two points are alike."""
    return [
        {"N": N, "F": F, "g": 1.0 + 0.1 * i, "gamma_C": 0.6 + 0.2 * k, **case}
        for i, N in enumerate(sizes)
        for k, F in enumerate(drives)
        for case in cases
    ]


def differences(point, names, step=1e-5):
    """The point moved up and down along each of its parameters in turn."""
    return [point | {name: point[name] + h} for name in names for h in (step, -step)]


def start(N, levels, random):
    rho = np.zeros((2, levels, 2, levels), complex)
    rho[0, 0, 0, 0] = 1
    return pad_state(random_density(N, seed=N), levels) if random else rho


def summary(p, N, rho0, tolerance, method, N_max):
    model = qb.StarBattery(N=N, N_max=N_max, **p)
    ss = qb.steady_state(model, rho0=rho0, method=method, tolerance=tolerance)
    return jnp.stack([ss.energy, ss.ergotropy, ss.ratio, ss.populations[1]]), ss


@functools.partial(jax.jit, static_argnames=("method", "N_max", "derivative"))
def program(p, N, rho0, tolerance, method, N_max, derivative):
    f = functools.partial(summary, method=method, N_max=N_max)
    f = (
        derivative(f, has_aux=True)
        if derivative
        else lambda *x: (0.0, summary(*x, method, N_max)[1])
    )
    return jax.lax.map(lambda x: f(*x), (p, N, rho0, tolerance))


def solve(points, method, derivative=None):
    """Return the derivatives and the steady states of points in one program."""
    options = [(q.get("random", False), q.get("tolerance", 1e-8)) for q in points]
    plain = [{k: v for k, v in q.items() if k not in ("random", "tolerance")} for q in points]
    N_max = max(q["N"] for q in points)
    N = np.array([q.pop("N") for q in plain])
    p = {name: np.array([q[name] for q in plain]) for name in plain[0]}
    rho0 = np.stack(
        [start(n, N_max + 1, random) for n, (random, _) in zip(N, options, strict=True)]
    )
    tolerance = np.array([tolerance for _, tolerance in options])
    return program(p, N, rho0, tolerance, method, N_max, derivative)


def part(tree, i):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[i], tree)


def check(ss, point, tolerance=1e-8):
    """Compare one steady state with QuTiP, and look at the evidence."""
    assert ss.status == qb.Status.OK, point
    expected = qutip_steady(**point)
    N = point["N"]
    padded = pad_state(expected, ss.rho.shape[-1])
    np.testing.assert_allclose(ss.rho, padded, rtol=0, atol=tolerance, err_msg=str(point))
    energy, ergotropy = figures(expected, N)
    np.testing.assert_allclose(ss.energy, energy, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ss.ergotropy, ergotropy, rtol=tolerance, atol=tolerance)
    check_evidence(ss)


def check_evidence(ss):
    battery = np.einsum("cncm->nm", ss.rho)
    np.testing.assert_allclose(ss.battery, battery, atol=1e-14)
    np.testing.assert_allclose(ss.populations, np.diagonal(battery).real, atol=1e-14)
    np.testing.assert_allclose(ss.ratio, ss.ergotropy / ss.energy, rtol=1e-12)
    np.testing.assert_allclose(ss.populations.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(ss.smallest_eigenvalue, np.linalg.eigvalsh(battery)[0], atol=1e-12)
    assert ss.residual < 1e-9
    assert ss.smallest_eigenvalue > -1e-9
    assert ss.relaxation_time > 0
    assert ss.error_estimate < 1e-8
    np.testing.assert_allclose(ss.log_relaxation_time, np.log(ss.relaxation_time))


SLOPES = {"N": 4, "F": 0.7, "g": 1.1, "gamma_C": 0.8, **ALL, "omega_C": 1.4, "omega_d": 0.8}
RESONANT = NOTHING | ON | {"g": 1.0, "gamma_C": 0.7}
GROUPS = {
    "unique": grid((1, 4)),
    "mixed": grid((1, 3, 4), (0.8,), MIXED),
    "mixed, random": [q | {"random": True} for q in grid((3, 4), (0.8,), MIXED)],
    "slopes": [SLOPES, *differences(SLOPES, [name for name in SLOPES if name != "N"])],
    # Dephasing alone, with all the rest there and zero.
    "zeros": [RESONANT | {"N": N, "F": F} for N in (1, 2, 4) for F in (0.5, 2.0, 10.0)],
    "zeros, random": [RESONANT | {"N": N, "F": 2.0, "random": True} for N in (2, 4)],
    # The plateau of dephasing decays a million times more slowly than double precision can tell.
    "slow": [RESONANT | {"N": 4, "F": 2.0, "kappa": 1e-13}],
    "strict": [SLOPES | {"tolerance": 1e-30}],
    # Slower than any shift resolves: with several stationary states, and with one.
    "hidden": [
        RESONANT | {"N": 4, "F": 0.01, "tolerance": 1e-6},
        RESONANT | {"N": 4, "F": 0.15},
        RESONANT | {"N": 2, "F": 0.001},
    ],
    "hidden, unique": [RESONANT | {"N": 2, "F": 1e-10, "omega_d": 0.7}],
    "nothing": [RESONANT | {"N": 2, "F": 0.5, "gamma_C": 0.0}],
}
POINTS = [point for group in GROUPS.values() for point in group]
PLACES = {}
for _name, _group in GROUPS.items():
    _first = sum(len(GROUPS[name]) for name in PLACES)
    PLACES[_name] = range(_first, _first + len(_group))


@functools.cache
def solved(method):
    # Derivatives of the iterative solver take half a minute to compile: see the slow tests.
    return solve(POINTS, method, jax.jacrev if method == "direct" else None)


def group(name, method):
    """The pairs of points and steady states of a group."""
    return [(POINTS[i], part(solved(method)[1], i)) for i in PLACES[name]]


@pytest.mark.parametrize("method", METHODS)
def test_losses_and_detunings_against_qutip(method):
    for point, ss in group("unique", method):
        check(ss, point)
        assert ss.nullity == 1
        above = slice(point["N"] + 1, None)
        np.testing.assert_array_equal(ss.rho[:, above], 0)
        np.testing.assert_array_equal(ss.rho[:, :, :, above], 0)
    battery = group("unique", method)[-1][1].battery
    np.testing.assert_allclose(
        group("unique", method)[-1][1].ergotropy, ergotropy_2N(battery), atol=1e-12
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_relaxation_time_against_the_dense_spectrum(method):
    for point, ss in group("unique", method):
        product = ss.relaxation_time * slowest_rate(**point)
        # L is not normal, so that the size of its inverse may exceed 1 / (slowest rate).
        assert (0.5 if method == "direct" else 0.05) <= product <= 2, point
        assert method == "direct" or 0 < ss.iterations < 200


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", ["mixed", "mixed, random"])
def test_the_maximally_mixed_state(method, start):
    for point, ss in group(start, method):
        assert ss.status == qb.Status.OK
        N = point["N"]
        live = np.diag(np.arange(ss.rho.shape[-1]) <= N) / (2 * N + 2)
        expected = np.einsum("ab,nm->anbm", np.eye(2), live)
        np.testing.assert_allclose(ss.rho, expected, atol=1e-9)
        np.testing.assert_allclose(ss.energy, N / 2, rtol=1e-9)
        np.testing.assert_allclose(ss.ergotropy, N / 2 - N / (N + 1), atol=1e-8)
        assert ss.nullity == 1


@pytest.mark.parametrize("kind", ["zeros", "zeros, random"])
def test_what_is_there_but_zero_changes_nothing(kind):
    for (point, ss), (_, other) in zip(
        group(kind, "direct"), group(kind, "iterative"), strict=True
    ):
        N = point["N"]
        rho0 = start(N, N + 1, point.get("random", False))
        exact = qb.steady_state(qb.StarBattery(N, point["F"]), rho0=rho0)
        assert ss.status == qb.Status.OK
        np.testing.assert_allclose(ss.rho, pad_state(exact.rho, 5), atol=1e-8)
        assert ss.nullity == other.nullity == N + 1
        assert other.status == qb.Status.NOT_UNIQUE


@pytest.mark.parametrize("name", ["slow", "hidden", "hidden, unique"])
@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_trusted_is_flagged(method, name):
    several = name == "hidden" and method == "iterative"
    for _, ss in group(name, method):
        assert ss.status == (qb.Status.NOT_UNIQUE if several else qb.Status.NOT_CONVERGED)


@pytest.mark.parametrize("method", METHODS)
def test_a_traced_tolerance_below_rounding_is_out_of_range(method):
    (_, ss), *_ = group("strict", method)
    assert ss.status == qb.Status.OUT_OF_RANGE
    assert np.isnan(ss.energy)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_relaxes_without_losses(method):
    (_, ss), *_ = group("nothing", method)
    assert ss.status == qb.Status.NO_DEPHASING


def check_slopes(slopes, states, point, names, tolerance=1e-6):
    """Compare derivatives at the first state with the differences of the others."""
    numbers = np.stack(
        [states.energy, states.ergotropy, states.ratio, states.populations[:, 1]], -1
    )
    assert np.all(states.status == qb.Status.OK)
    for i, name in enumerate(names):
        expected = (numbers[2 * i + 1] - numbers[2 * i + 2]) / 2e-5
        found = np.asarray(slopes[name])[0]
        scale = tolerance * np.maximum(1, np.abs(expected))
        assert np.all(np.abs(found - expected) < scale), (name, point, found, expected)
        assert np.max(np.abs(found)) > 1e-4, name


def test_derivatives_are_those_of_differences():
    slopes, states = (part(tree, np.array(PLACES["slopes"])) for tree in solved("direct"))
    check_slopes(slopes, states, SLOPES, [name for name in SLOPES if name != "N"])


# Dephasing alone: the exact solution is the reference

ALONE = {"N": 4, "F": 2.0, "g": 1.0, "gamma_C": 0.7}


def alone(sizes, drives, **given):
    cases = [{"g": 1.0, "gamma_C": 0.7, **given, "random": r} for r in (False, True)]
    return [case | {"N": N, "F": F} for N in sizes for F in drives for case in cases]


def check_exact(points, states):
    for i, point in enumerate(points):
        N, F = point["N"], point["F"]
        rho0 = start(N, N + 1, point.get("random", False))
        exact = qb.steady_state(qb.StarBattery(N, F, point["g"]), rho0=rho0)
        ss = part(states, i)
        assert ss.status == qb.Status.OK, point
        padded = pad_state(np.asarray(exact.rho), ss.rho.shape[-1])
        np.testing.assert_allclose(ss.rho, padded, atol=1e-8, err_msg=str(point))
        np.testing.assert_allclose(ss.energy, N / 2, rtol=1e-8)
        np.testing.assert_allclose(ss.ergotropy, exact.ergotropy, atol=1e-8 * N)
        assert ss.nullity == N + 1
        check_evidence(ss)


@pytest.mark.slow
def test_direct_keeps_what_dephasing_conserves_and_its_derivatives():
    names = ("F", "g", "gamma_C")
    moved = [ALONE, *differences(ALONE, names)]
    points = [*moved, *alone((1, 4), (0.5, 2.0, 10.0))]
    slopes, states = part(solve(points, "direct", jax.jacrev), slice(None))
    check_exact(points, states)
    # Nothing depends on gamma_C, and on F and g by their ratio alone.
    np.testing.assert_allclose(slopes["gamma_C"][0], 0, atol=1e-6)
    np.testing.assert_allclose(slopes["g"][0], -2 * slopes["F"][0], atol=1e-6)
    first = part((slopes, states), slice(0, 7))
    check_slopes(*first, ALONE, ("F", "g"))
    # Through an eigenproblem alone.
    exact = jax.grad(lambda F: qb.steady_state(qb.StarBattery(4, F), method="exact").ergotropy)(2.0)
    np.testing.assert_allclose(slopes["F"][0][1], exact, atol=1e-7)


# Terms of one's own, other chargers, and the arguments


def own(low, c, lower, n):
    field = 0.1 * (lower + lower.dag()) + 0.2j * (low * lower.dag() - low.dag() * lower)
    return field, [math.sqrt(0.3) * (low + 0.7 * lower)]


def own_model(N, charger, **given):
    low = CHARGERS[charger].lowering
    field = (
        qb.Term(0.1, battery=qb.J_minus),
        qb.Term(0.1, battery=qb.J_plus),
        qb.Term(0.2j, low, qb.J_plus),
        qb.Term(-0.2j, low.T, qb.J_minus),
    )
    jump = qb.Jump(0.3, qb.Term(1.0, low), qb.Term(0.7, battery=qb.J_minus))
    return qb.StarBattery(N, charger=CHARGERS[charger], hamiltonian=field, jumps=(jump,), **given)


def check_own(N, charger, method, F=0.3):
    given = {"F": F, "g": 0.9, "gamma_C": 0.4, "kappa": 0.2}
    model = own_model(N, charger, **given)
    ss = qb.steady_state(model, method=method, throw=False)
    expected = qutip_steady(N, charger=charger, own=own, **given)
    np.testing.assert_allclose(ss.rho, expected, atol=1e-8)
    np.testing.assert_allclose(ss.energy, figures(expected, N)[0], atol=1e-8)
    assert ss.nullity == 0
    top = np.einsum("cncn->c", expected).real[-1]
    if charger != "cavity":
        assert ss.status == qb.Status.OK
        assert ss.top_population is None
    else:
        np.testing.assert_allclose(ss.top_population, top, atol=1e-9)
        # Four levels are not enough for this drive.
        assert top > 1e-6
        assert ss.status == qb.Status.CUT_TOO_LOW
    return model


@pytest.mark.slow
def test_a_cavity_and_terms_of_its_own_and_a_cut_that_is_too_low():
    model = check_own(2, "cavity", "direct")
    with pytest.raises(qb.SolveError, match="give it more levels"):
        qb.steady_state(model, method="direct")


def test_what_does_not_apply_is_refused():
    model = qb.StarBattery(N=3, F=0.5, kappa=0.1)
    refused = functools.partial(pytest.raises, qb.ArgumentError)
    with refused(match='`method` must be one of "auto", "exact", "direct", "iterative", but is'):
        qb.steady_state(model, method="power")
    with refused(match=r"`tolerance` must be one real number, but is of shape \(2,\)"):
        qb.steady_state(model, tolerance=[1e-8, 1e-6])
    for tolerance in (0.0, -1e-8, np.nan):
        with refused(match="`tolerance` must be one positive number"):
            qb.steady_state(model, tolerance=tolerance)
    with refused(match="`model` must be dephasing on battery resonance alone .*`kappa` is given"):
        qb.steady_state(model, method="exact")
    with refused(match="`time` must be one time, finite and not negative, but is inf"):
        qb.steady_state(model, time=np.inf)
    with refused(match="`method` must be .*auto.* where a time is stated"):
        qb.steady_state(model, method="direct", time=3.0)
    with refused(match="`model` must not depend on time"):
        qb.steady_state(qb.StarBattery(N=3, F=qb.PiecewiseConstant([1.0], [0.5, 0.7])))
    with refused(match="`model` must not depend on time"):
        qb.steady_state(qb.StarBattery(N=3, F=0.5, frame="lab"), method="iterative")
    two = np.zeros((4, 4))
    two[0, 2] = 1.0
    twisting = (qb.Term(0.1, battery=two), qb.Term(0.1, battery=two.T))
    far = qb.StarBattery(N=3, F=0.5, kappa=0.1, hamiltonian=twisting)
    with refused(match="`method` must be another one where a term moves the battery by two levels"):
        qb.steady_state(far, method="direct")


# Longer checks


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_larger_batteries_against_qutip(method):
    points = grid((16,), (0.5, 2.0))
    states = part(solve(points, method)[1], slice(None))
    for i, point in enumerate(points):
        check(part(states, i), point)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_64_qubits_against_qutip(method):
    points = [grid((64,), (0.5,))[i] for i in (1, 4, 9)] + grid((64,), (2.0,))[-1:]
    states = part(solve(points, method)[1], slice(None))
    for i, point in enumerate(points):
        check(part(states, i), point)


@pytest.mark.slow
@pytest.mark.parametrize("N", [1, 16])
@pytest.mark.parametrize("method", METHODS)
def test_the_charger_alone_damped_and_its_derivatives(N, method):
    """Where populations of eigenstates relax slowly; dE/dF is easily wrong here."""
    base = {"N": N, "g": 1.0, "gamma_C": 0.7, "kappa": 0.2, "nbar": 0.1}
    names = ("F", "g", "gamma_C", "kappa", "nbar")
    drives = (0.5, 1.0, 2.0)
    points = [q for F in drives for q in (base | {"F": F}, *differences(base | {"F": F}, names))]
    slopes, states = part(solve(points, method, jax.jacrev), slice(None))
    for k, F in enumerate(drives):
        places = slice(11 * k, 11 * (k + 1))
        check(part(states, 11 * k), base | {"F": F})
        check_slopes(*part((slopes, states), places), base | {"F": F}, names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "derivative"),
    # The count of iterations cannot be an output beside a forward derivative of "iterative".
    [("direct", jax.jacrev), ("direct", jax.jacfwd), ("iterative", jax.jacrev)],
)
def test_derivatives_of_everything(method, derivative):
    names = [name for name in SLOPES if name != "N"]
    points = [SLOPES, *differences(SLOPES, names)]
    slopes, states = part(solve(points, method, derivative), slice(None))
    check_slopes(slopes, states, SLOPES, names)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_strong_drives_against_the_exact_solution(method):
    points = alone((2, 8, 24), (2.0, 10.0))
    states = part(solve(points, method)[1], slice(None))
    right = np.flatnonzero(np.asarray(states.status) == qb.Status.OK)
    # Eight steps of pseudo-time are too few for GMRES at N = 24, F/g = 2: it says so.
    assert len(right) >= (len(points) if method == "direct" else len(points) - 1)
    check_exact([points[i] for i in right], part(states, right))
    assert set(states.status) <= {qb.Status.OK, qb.Status.NOT_CONVERGED}
    detuned = alone((2, 8), (2.0, 10.0), omega_C=1.6)
    check_exact(detuned, part(solve(detuned, method)[1], slice(None)))


@pytest.mark.slow
def test_weak_drives_against_the_exact_solution():
    points = alone((1, 2, 3, 4, 5, 6), (0.5,))
    check_exact(points, part(solve(points, "direct")[1], slice(None)))
    points = alone((1, 2, 4, 6, 8, 12), (0.5,))
    states = part(solve(points, "iterative")[1], slice(None))
    right = [i for i in range(len(points)) if states.status[i] == qb.Status.OK]
    assert {points[i]["N"] for i in right} >= {1, 2, 4}
    check_exact([points[i] for i in right], part(states, np.array(right)))
    assert set(states.status) <= {qb.Status.OK, qb.Status.NOT_CONVERGED}


@pytest.mark.slow
@pytest.mark.parametrize("charger", ["spin", "cavity", "qubit"])
@pytest.mark.parametrize("method", METHODS)
def test_chargers_and_own_terms(method, charger):
    check_own(3, charger, method)


@pytest.mark.slow
def test_jumps_of_ones_own_need_not_leave_one_state():
    dephasing = qb.Jump(1.0, qb.Term(1.0, np.diag([0.0, 1.0])))
    model = qb.StarBattery(N=4, F=1.0, gamma_C=0.0, jumps=dephasing)
    rho0 = random_density(4, seed=2)
    exact = qb.steady_state(qb.StarBattery(N=4, F=1.0), rho0=rho0)
    found = qb.steady_state(model, rho0=rho0, method="direct")
    np.testing.assert_allclose(found.rho, exact.rho, atol=1e-9)
    iterated = qb.steady_state(model, rho0=rho0, method="iterative", throw=False)
    assert (found.nullity, iterated.status) == (0, qb.Status.NOT_UNIQUE)


@pytest.mark.slow
def test_what_moves_on_in_later_pseudo_time_is_flagged():
    # Its null space is not known, and its slowest rate far below the shift.
    spin = qb.StarBattery(N=2, F=0.003, charger=qb.spin(1))
    found = qb.steady_state(spin, throw=False)
    assert (found.method, found.nullity, found.status) == ("direct", 0, qb.Status.NOT_CONVERGED)
    assert qb.steady_state(eqx.tree_at(lambda m: m.F, spin, jnp.asarray(0.5))).status == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "status"),
    [
        # A jump that never happens; a driven charger that nothing damps, apart from the battery.
        ({"jumps": qb.Jump(0.0, qb.Term(1.0, LOWER))}, qb.Status.NO_DEPHASING),
        ({"g": 0.0, "Gamma_down": 0.1}, qb.Status.NO_COUPLING),
    ],
)
def test_what_oscillates_for_good_is_no_steady_state(given, status):
    model = qb.StarBattery(N=2, F=0.5, gamma_C=0.0, **given)
    assert qb.steady_state(model, throw=False).status == status


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_batches_are_loops_and_jit_is_eager(method):
    kappas = np.array([0.1, 0.3, 0.7])
    models = qb.StarBattery(N=np.array([2, 3, 4]), F=0.6, kappa=kappas, omega_d=1.2, N_max=4)
    one = functools.partial(qb.steady_state, method=method)
    eager = one(models)
    for i, N in enumerate((2, 3, 4)):
        alone = one(qb.StarBattery(N, F=0.6, kappa=kappas[i], omega_d=1.2, N_max=4))
        np.testing.assert_allclose(eager.rho[i], alone.rho, atol=1e-11)
        np.testing.assert_allclose(eager.relaxation_time[i], alone.relaxation_time, rtol=0.02)
    for other in (jax.jit(one)(models), jax.vmap(one)(models)):
        np.testing.assert_allclose(other.rho, eager.rho, atol=1e-11)
        np.testing.assert_array_equal(other.status, qb.Status.OK)


@pytest.mark.slow
def test_the_plateau_at_a_stated_time():
    N, F = 2, 2.0
    rho0 = random_ket(N, seed=1)
    plateau = qb.steady_state(qb.StarBattery(N, F), rho0=rho0)
    leaking = qb.StarBattery(N, F, kappa=1e-8)
    at = qb.steady_state(leaking, rho0=rho0, time=1e3)
    evolved = qb.evolve(leaking, [1e3], rho0=rho0, save=("rho", "energy", "ergotropy"))
    np.testing.assert_allclose(at.rho, evolved.rho[0], atol=1e-14)
    np.testing.assert_allclose(at.energy, evolved.energy[0], atol=1e-12)
    np.testing.assert_allclose(at.ergotropy, evolved.ergotropy[0], atol=1e-12)
    np.testing.assert_allclose(at.rho, plateau.rho, atol=1e-4)
    assert (at.method, at.status, at.nullity) == ("time", qb.Status.OK, 1)
    # Its error is estimated at rounding times the relaxation time, 3e9.
    late = qb.steady_state(leaking, rho0=rho0, tolerance=1e-5)
    np.testing.assert_allclose(late.rho, qutip_steady(N, F=F, kappa=1e-8), atol=1e-7)
    assert np.max(np.abs(late.rho - at.rho)) > 0.05
    assert late.relaxation_time > 1e8


@pytest.mark.slow
def test_an_answer_that_is_not_trusted_is_an_error_on_the_host():
    for method, kappa in itertools.product(METHODS, (1e-9, 1e-11, 1e-13, 1e-14)):
        model = qb.StarBattery(N=4, F=2.0, kappa=kappa)
        with pytest.raises(qb.SolveError, match="does not meet its tolerance"):
            qb.steady_state(model, method=method)
        assert qb.steady_state(model, method=method, throw=False).status == qb.Status.NOT_CONVERGED
    with pytest.raises(qb.SolveError, match=r"leave out \(None\) what is zero"):
        qb.steady_state(qb.StarBattery(N=4, F=2.0, kappa=0.0), method="iterative")


def test_a_jump_of_ones_own_that_leaves_several_states_is_told_by_another_start():
    """Dephasing of the charger alone: N + 1 = 2 stationary states, whatever brings it."""
    jump = qb.Jump(1.0, qb.Term(1.0, np.diag([0.0, 1.0])))
    model = qb.StarBattery(N=1, F=1.0, gamma_C=0.0, jumps=jump)
    found = qb.steady_state(model, method="iterative", throw=False)
    assert found.status == qb.Status.NOT_UNIQUE


def test_an_estimate_bounds_the_error_of_few_steps(monkeypatch):
    """With a large shift two steps are far from the end, which the last one tells."""
    from qbjax.steady import direct

    model = qb.StarBattery(N=3, F=0.5, kappa=0.1)
    right = qb.steady_state(model, method="direct").rho
    monkeypatch.setattr(direct, "ONE_STATE", direct.PseudoTime(1e-4, 2))
    # The same numbers in another structure, so that the program is a new one.
    same = qb.StarBattery(N=3, F=0.5, kappa=0.1, nbar=0.0)
    rough = qb.steady_state(same, method="direct", throw=False)
    distance = float(jnp.linalg.norm(rough.rho - right))
    assert 1e-6 < distance <= float(rough.error_estimate)


@pytest.mark.parametrize(("levels", "status"), [(3, "CUT_TOO_LOW"), (12, "OK")])
def test_a_cavity_that_is_cut_too_low_is_flagged(levels, status):
    model = qb.StarBattery(N=1, F=0.3, kappa=0.5, charger=qb.cavity(levels))
    settled = qb.steady_state(model, throw=False)
    assert qb.Status(int(settled.status)).name == status
    assert (settled.top_population > 1e-6) == (status != "OK")
