"""The generator of the general master equation against QuTiP, and its structure."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip
from helpers import effective_hamiltonian, general_model, spin_lowering, superoperator

import qbjax as qb
from qbjax.generator import lindblad, stored_states
from qbjax.generator.bounds import spectral_box
from qbjax.generator.lindblad import generator
from qbjax.generator.stored_states import apply

# Everything is a sum of a few products of numbers of order ten.
ROUND_OFF = 1e-13

EVERYTHING = {
    "omega_B": 1.1,
    "omega_C": 1.4,
    "omega_d": 0.8,
    "kappa": 0.13,
    "nbar": 0.4,
    "Gamma_down": 0.17,
    "Gamma_up": 0.05,
    "Gamma_z": 0.11,
}
CHARGERS = {
    "qubit": qb.qubit(),
    "cavity": qb.cavity(4),
    "spin": qb.spin(1),
    "spin3/2": qb.spin(1.5),
}
LOWER = qb.qubit().lowering
SIGMA_Y = np.array([[0, 1j], [-1j, 0]])
TWISTED = (
    qb.Term(0.3 + 0.2j, LOWER, qb.J_plus),
    qb.Term(0.3 - 0.2j, LOWER.T, qb.J_minus),
    qb.Term(0.25, np.diag([0.0, 1.0]), qb.J_z),
)
COLLECTIVE = qb.Jump(0.3, qb.Term(1.0, LOWER), qb.Term(0.7, battery=qb.J_minus))


def reference(N, **given):
    """The Liouvillian of QuTiP, brought to row-major vec(rho), with H and the jumps."""
    H, jumps = general_model(N, **given)
    d = H.shape[0]
    L = qutip.liouvillian(H, jumps).full().reshape(d, d, d, d)
    return L.transpose(1, 0, 3, 2).reshape(d * d, d * d), H.full(), [j.full() for j in jumps]


def own_twisted(low, c, lower, n):
    part = (0.3 + 0.2j) * low * lower.dag()
    J_z = n - n.full().real.max() / 2
    return part + part.dag() + 0.25 * c * J_z, []


def own_collective(low, c, lower, n):
    return 0, [math.sqrt(0.3) * (low + 0.7 * lower)]


def own_matrices(low, c, lower, n):
    """A charger matrix that is imaginary, a battery matrix that is complex, and sigma_y."""
    sigma_y = 1j * (low - low.dag())
    field = 0.2j * (lower - lower.dag())
    return 0.4 * sigma_y + field, [math.sqrt(0.2) * sigma_y * (0.5j * lower * lower + n)]


def matrices(N):
    lower, n = spin_lowering(N / 2).full(), np.diag(np.arange(N + 1.0))
    return {
        "hamiltonian": (
            qb.Term(0.4, SIGMA_Y),
            qb.Term(0.2, battery=1j * (lower - lower.conj().T)),
        ),
        "jumps": qb.Jump(0.2, qb.Term(1.0, SIGMA_Y, 0.5j * lower @ lower + n)),
    }


# Name: parameters of the model, what own terms it has, and the same for the reference.
CASES = {
    "dephasing": {},
    "nothing": {"gamma_C": 0.0},
    "no drive": {"F": 0.0},
    "no coupling": {"g": 0.0},
    "drive backwards": {"F": -0.7},
    "charger detuned": {"omega_C": 1.4},
    "battery detuned": {"omega_d": 0.8},
    "decay": {"kappa": 0.2},
    "thermal": {"kappa": 0.2, "nbar": 0.7},
    "battery decay": {"Gamma_down": 0.3},
    "battery pumped": {"Gamma_up": 0.3},
    "battery dephased": {"Gamma_z": 0.3},
    "all": EVERYTHING,
    "cavity": {"charger": "cavity"},
    "cavity, all": {"charger": "cavity", **EVERYTHING},
    "spin 1": {"charger": "spin", **EVERYTHING},
    "spin 3/2": {"charger": "spin3/2", **EVERYTHING},
    "own hamiltonian": {"hamiltonian": TWISTED, "own": own_twisted},
    "own jump": {"jumps": COLLECTIVE, "own": own_collective},
    "own matrices": {"own": own_matrices},
}


@functools.cache
def case(name, N=2, N_max=None):
    """The model of a case and its reference."""
    given = {"F": 0.5, "g": 1.3, "gamma_C": 0.6} | CASES[name]
    own = {k: given.pop(k) for k in ("hamiltonian", "jumps") if k in given}
    if given.get("own") is own_matrices:
        own = matrices(N)
    expected = reference(N, **given)
    given.pop("own", None)
    charger = CHARGERS[given.pop("charger", "qubit")]
    return qb.StarBattery(N=N, N_max=N_max, charger=charger, **given, **own), expected


def close(actual, expected, tolerance=ROUND_OFF):
    scale = max(1.0, np.max(np.abs(expected)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def random_matrix(model, seed=0):
    rng = np.random.default_rng(seed)
    shape = (model.charger.levels, model.levels) * 2
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


def random_hermitian(model, seed=0):
    a = random_matrix(model, seed)
    return a + a.conj().transpose(2, 3, 0, 1)


def flat(matrix):
    return np.asarray(matrix).reshape(2 * (round(math.sqrt(matrix.size)),))


SIZES = [(name, 2) for name in CASES] + [
    (name, N) for name in ("all", "own matrices") for N in (1, 4)
]


@pytest.mark.parametrize(("name", "N"), SIZES)
def test_the_superoperator_is_that_of_qutip(name, N):
    model, (expected, H, jumps) = case(name, N)
    L = generator(model)
    actual = superoperator(L)
    close(actual, expected)
    # The adjoint: Tr(A L rho) = Tr((L^+ A) rho).
    if N != 2:
        return
    # Applied to a matrix that is not Hermitian, it is the same linear map.
    rho = random_matrix(model)
    close(apply(L, rho).ravel(), actual @ rho.ravel())
    # The dephasing jump |e><e| and sigma_z / 2 differ in the effective Hamiltonian by a multiple
    # of |e><e| that the jump makes up for; it is compared in the form that the module uses.
    middle = (model.charger.levels - 1) / 2 * np.eye(len(H))
    jumps[0] = jumps[0] - math.sqrt(model.gamma_C) * middle
    damping = sum(jump.conj().T @ jump for jump in jumps)
    close(effective_hamiltonian(L), H - 0.5j * damping)


@pytest.mark.parametrize("name", ["all", "cavity, all", "own jump"])
def test_padding_stays_empty_and_changes_nothing(name):
    N, levels = 2, 4
    model, (expected, *_) = case(name, N, levels - 1)
    d_c = model.charger.levels
    live = (np.arange(levels) <= N)[None].repeat(d_c, 0).ravel()
    both = np.outer(live, live).ravel()
    actual = np.asarray(superoperator(generator(model)))
    close(actual[np.ix_(both, both)], expected)
    assert not np.any(actual[np.ix_(~both, both)])


@pytest.mark.parametrize("name", CASES)
def test_the_trace_is_kept_and_the_mixed_state_where_it_is_stationary(name):
    model, (_, _, jumps) = case(name)
    L = generator(model)
    d = model.charger.levels * model.levels
    one = jnp.eye(d).reshape((model.charger.levels, model.levels) * 2)
    close(one.ravel() @ superoperator(L), np.zeros(one.size))
    drift = sum(jump @ jump.conj().T - jump.conj().T @ jump for jump in jumps)
    close(flat(apply(L, one)), drift)
    if name in ("dephasing", "battery dephased", "charger detuned", "own hamiltonian"):
        assert np.max(np.abs(drift)) < ROUND_OFF


@pytest.mark.parametrize("name", ["all", "cavity, all", "spin 1"])
def test_stored_states_come_back(name):
    model, _ = case(name)
    L = generator(model)
    rho = random_hermitian(model)
    stored = stored_states.store(L, rho, 2)
    close(stored_states.restore(L, stored), rho)
    np.testing.assert_array_equal(stored_states.store(L, rho, 1), stored[:1])
    close(stored_states.battery(L, stored), np.einsum("cncm->nm", rho))
    close(stored_states.charger_populations(L, stored), np.einsum("cncn->c", rho).real)
    # In the gauge the state differs by a unitary of the charger alone.
    phases = 1j ** np.arange(model.charger.levels)
    turned = phases[:, None, None, None] * rho * phases.conj()[:, None]
    close(stored_states.in_gauge(L, stored)[0], turned)
    # A state without imaginary part in the gauge is whole in one part.
    real = stored_states.restore(L, stored[:1])
    close(real, real.conj().transpose(2, 3, 0, 1))
    close(stored_states.store(L, real, 2)[1], np.zeros(stored[1].shape))
    assert stored_states.battery(L, stored[:1]).dtype == float
    close(stored_states.battery(L, stored[:1]), np.einsum("cncm->nm", real))


REAL = [
    {},
    {"kappa": 0.2},
    {"kappa": 0.2, "nbar": 0.4},
    {"Gamma_down": 0.2, "Gamma_up": 0.1, "Gamma_z": 0.3},
    {"charger": qb.cavity(4), "kappa": 0.2, "nbar": 0.3},
    {"charger": qb.spin(1), "kappa": 0.2},
    {"F": qb.PiecewiseConstant([1.0], [0.2, 0.4])},
    {"jumps": qb.Jump(0.2, qb.Term(1.0, battery=qb.J_minus), qb.Term(1.0, battery=qb.J_plus))},
    {"jumps": qb.Jump(0.2, qb.Term(1.0, LOWER, qb.J_plus))},
    {"jumps": qb.Jump(0.2, qb.Term(1.0, SIGMA_Y))},
    {"jumps": qb.Jump(0.2, qb.Term(1.0, LOWER), qb.Term(0.5, LOWER.T))},
    {"jumps": qb.Jump(0.2, qb.Term(1.0, np.zeros((2, 2))))},
    {"hamiltonian": (qb.Term(0.2, LOWER, qb.J_plus), qb.Term(0.2, LOWER.T, qb.J_minus))},
]
COMPLEX = [
    {"omega_C": 1.2},
    {"omega_d": 1.2},
    {"omega_C": 1.0},
    {"omega_C": qb.PiecewiseConstant([1.0], [1.0, 1.4])},
    {"frame": "lab"},
    {"jumps": COLLECTIVE},
    {"hamiltonian": TWISTED},
    {"hamiltonian": qb.Term(0.2, battery=qb.excitations)},
]


@pytest.mark.parametrize("given", REAL, ids=lambda given: str(list(given)))
def test_a_real_state_stays_real_and_is_right(given):
    model = qb.StarBattery(**({"N": 2, "F": 0.5} | given))
    L = generator(model, 0.3)
    assert L.is_real
    stored = stored_states.store(L, random_hermitian(model), 2).at[1].set(0.0)
    two, one = L(stored), L(stored[:1])
    assert (two.shape, one.shape) == (stored.shape, (1, *stored.shape[1:]))
    close(two[:1], one)
    np.testing.assert_array_equal(two[1], 0.0)
    rho = stored_states.restore(L, stored[:1])
    expected = superoperator(L) @ rho.ravel()
    close(stored_states.restore(L, one).ravel(), expected)


@pytest.mark.parametrize("given", COMPLEX, ids=lambda given: str(list(given)))
def test_a_detuning_or_a_mixed_jump_needs_the_imaginary_part(given):
    L = generator(qb.StarBattery(**({"N": 2, "F": 0.5} | given)))
    assert not L.is_real
    with pytest.raises(ValueError, match="not real"):
        L(jnp.zeros((1, 3, 1, 3, 3)))


def test_own_matrices_have_the_same_structure_under_jit():
    def build(rate):
        jump = qb.Jump(rate, qb.Term(1.0, SIGMA_Y, np.diag([1.0, 2.0, 0.0])))
        return generator(qb.StarBattery(N=2, F=0.5, jumps=(jump,)))

    eager, compiled = build(0.2), jax.jit(build)(0.2)
    assert jax.tree.structure(eager) == jax.tree.structure(compiled)
    assert compiled.is_real


def test_the_work_is_a_fixed_number_of_products_of_blocks():
    def program(N, **given):
        model = qb.StarBattery(N=N, F=0.5, kappa=0.1, Gamma_down=0.1, omega_C=1.2, **given)
        d_c = model.charger.levels
        stored = jnp.zeros((2, d_c * (d_c + 1) // 2, 1, N + 1, N + 1))
        return jax.make_jaxpr(lambda model, x: generator(model)(x))(model, stored)

    for charger in (qb.qubit(), qb.cavity(5)):
        small, large = program(4, charger=charger), program(40, charger=charger)
        names = [str(equation.primitive) for equation in large.jaxpr.eqns]
        assert names == [str(equation.primitive) for equation in small.jaxpr.eqns]
        assert "dot_general" not in str(large)
        blocks = charger.levels * (charger.levels + 1) // 2
        sizes = [v.aval.size for equation in large.jaxpr.eqns for v in equation.outvars]
        # Frames of zeros and the two parts: no array is much larger than the state.
        assert max(sizes) < 8 * blocks * 41**2


@pytest.mark.parametrize("levels", [2, 4])
def test_both_ways_of_running_over_the_blocks_agree(levels, monkeypatch):
    model = qb.StarBattery(N=2, F=0.5, charger=qb.cavity(levels), **EVERYTHING)
    L = generator(model)
    real = generator(qb.StarBattery(N=2, F=0.5, charger=model.charger))
    for parts, maker in ((2, L), (1, real)):
        stored = stored_states.store(L, random_hermitian(model), parts)
        monkeypatch.setattr(lindblad, "_WRITTEN_OUT", 0)
        together = maker(stored)
        monkeypatch.setattr(lindblad, "_WRITTEN_OUT", 9)
        close(together, maker(stored))


# The box of the spectrum

CYCLE = [qb.Jump(1.0, qb.Term(1.0, np.eye(3)[:, [a]] * np.eye(3)[(a + 1) % 3])) for a in range(3)]


def random_model(seed):
    rng = np.random.default_rng(seed)
    rates = {name: 10 ** rng.uniform(-2, 1) for name in ("kappa", "nbar", "Gamma_z", "Gamma_up")}
    drop = rng.choice(list(rates), rng.integers(0, 5), replace=False)
    rates = {k: v for k, v in rates.items() if k not in drop}
    if "kappa" not in rates:
        rates.pop("nbar", None)
    charger = [qb.qubit(), qb.cavity(3), qb.spin(1)][seed % 3]
    F, g, gamma_C = 10 ** rng.uniform(-2, 1, 3)
    jumps = []
    if seed % 2:
        mixed = rng.normal(size=(charger.levels,) * 2) + 1j * rng.normal(size=(charger.levels,) * 2)
        battery = [qb.J_minus, qb.J_z, qb.identity][seed % 5 % 3]
        jumps = [qb.Jump(rng.uniform(0, 2), qb.Term(1.0, mixed, battery))]
    frequencies = {"omega_C": 1 + rng.normal(), "omega_d": 1 + rng.normal()} if seed % 4 else {}
    return qb.StarBattery(
        N=2, F=F, g=g, gamma_C=gamma_C, charger=charger, jumps=jumps, **rates, **frequencies
    )


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(k, marks=pytest.mark.slow) for k in range(6, 24))]
)
def test_every_eigenvalue_lies_in_the_box(seed):
    check_box(random_model(seed))


@pytest.mark.parametrize(
    "model",
    [
        # Three levels that jump round and round turn without any Hamiltonian.
        qb.StarBattery(N=2, F=0.0, g=0.0, gamma_C=0.0, charger=qb.spin(1), jumps=CYCLE),
        # A diagonal jump that is complex shifts levels as a Hamiltonian does.
        qb.StarBattery(N=2, F=0, g=0, gamma_C=0, jumps=qb.Jump(1.0, qb.Term(1, np.diag([1, 1j])))),
        qb.StarBattery(N=2, F=0.5, N_max=3, Gamma_down=1.0),
        qb.StarBattery(N=2, F=0.0, g=0.0, omega_d=0.3, gamma_C=0.1),
    ],
)
def test_the_box_holds_in_special_cases(model):
    check_box(model)


def check_box(model):
    L = generator(model)
    eigenvalues = np.linalg.eigvals(superoperator(L))
    decay, width = spectral_box(L)
    scale = np.max(np.abs(eigenvalues))
    # Eigenvalues that coincide come out of a matrix that is not normal with root eps.
    slack = 1e-6 * scale
    assert np.all(eigenvalues.real <= slack)
    assert np.all(eigenvalues.real >= -decay - slack)
    assert np.all(np.abs(eigenvalues.imag) <= width + slack)
    assert math.hypot(decay, width) <= 4 * scale


# Time


def turned(model, t):
    """The superoperator of conjugation by exp(i omega_d t (c + n)), and that of c + n."""
    number = np.add.outer(np.arange(model.charger.levels), np.arange(model.levels)).ravel()
    difference = np.subtract.outer(number, number).ravel()
    drive = model.omega_B if model.omega_d is None else model.omega_d
    return np.exp(1j * drive * t * difference), 1j * drive * difference


@pytest.mark.parametrize("given", [{}, {"charger": qb.cavity(3), **EVERYTHING}])
def test_the_lab_frame_is_the_rotating_one_turned(given):
    given = {"N": 2, "F": 0.5, "g": 1.3, "omega_B": 1.1} | given
    rotating = superoperator(generator(qb.StarBattery(**given)))
    lab = qb.StarBattery(**given, frame="lab")
    assert lab.depends_on_time
    for t in (0.7, 12.3):
        phases, frame = turned(lab, t)
        there = phases[:, None] * np.asarray(superoperator(generator(lab, t))) * phases.conj()
        close(there + np.diag(frame), rotating)


def wave(t, height, rate):
    return height * jnp.cos(rate * t) ** 2


def test_pulses_are_the_constants_of_the_moment():
    names = ("F", "g", "gamma_C", "omega_C", "omega_d", "kappa", "nbar", "Gamma_z", "Gamma_up")
    pulses = {name: qb.Pulse(wave, 0.3 + 0.1 * i, 1.0 + i) for i, name in enumerate(names)}
    pulses["kappa"] = qb.PiecewiseConstant([0.5, 1.0], [0.1, 0.2, 0.3])
    pulses["Gamma_down"] = qb.PiecewiseConstant([0.7], [0.3, 0.0])
    moving = qb.StarBattery(N=2, **pulses)
    assert moving.depends_on_time
    own_moving = qb.StarBattery(
        N=2,
        F=0.5,
        hamiltonian=qb.Term(pulses["F"], battery=qb.J_z),
        jumps=qb.Jump(pulses["kappa"], qb.Term(pulses["g"], battery=qb.J_minus)),
    )
    build = jax.jit(jax.vmap(lambda model, t: superoperator(generator(model, t)), (None, 0)))
    ts = np.array([0.6, 1.0, 2.3])
    found, own_found = (np.asarray(build(m, ts)) for m in (moving, own_moving))
    for i, t in enumerate(ts):
        values = {name: pulse(t) for name, pulse in pulses.items()}
        close(found[i], superoperator(generator(qb.StarBattery(N=2, **values))))
        own = qb.StarBattery(
            N=2,
            F=0.5,
            hamiltonian=qb.Term(values["F"], battery=qb.J_z),
            jumps=qb.Jump(values["kappa"] * values["g"] ** 2, qb.Term(1.0, battery=qb.J_minus)),
        )
        close(own_found[i], superoperator(generator(own)))


# Batches and derivatives


def test_a_batch_is_its_members():
    def build(F, weight, rate, N):
        return qb.StarBattery(
            N=N,
            F=F,
            kappa=0.2,
            N_max=3,
            hamiltonian=(qb.Term(weight, battery=qb.J_z), qb.Term(0.1, np.diag([0.0, 1.0]))),
            jumps=(
                qb.Jump(rate, qb.Term(1.0, battery=qb.J_minus), qb.Term(weight, LOWER)),
                qb.Jump(qb.PiecewiseConstant([1.0], [0.2, 0.1]), qb.Term(1.0, LOWER)),
            ),
        )

    F, weight, rate = jnp.array([0.2, 0.5]), jnp.array([0.3, 0.4]), jnp.array([0.1, 0.7])
    N = jnp.array([2, 3])
    batch = build(F, weight, rate, N)
    assert batch.batch_shape == (2,)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(batch)} == {2}
    mapped = jax.jit(jax.vmap(build))(F, weight, rate, N)
    assert jax.tree.structure(mapped) == jax.tree.structure(batch)
    dense = jax.jit(jax.vmap(lambda model: superoperator(generator(model))))
    expected = [superoperator(generator(build(F[i], weight[i], rate[i], N[i]))) for i in (0, 1)]
    close(dense(batch), np.stack(expected))
    close(dense(mapped), np.stack(expected))
    # A factor alone may be what makes the batch, and batches have any number of axes.
    own = qb.Jump(0.1, qb.Term(jnp.ones((3, 1)), LOWER))
    model = qb.StarBattery(N=2, F=[0.5, 0.6], jumps=own)
    assert model.batch_shape == (3, 2)
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(model)} == {(3, 2)}


VALUES = {"F": 0.5, "g": 1.3, "gamma_C": 0.6} | EVERYTHING


@pytest.mark.parametrize(
    "charger", [qb.qubit(), pytest.param(qb.cavity(4), marks=pytest.mark.slow)]
)
def test_derivatives_are_those_of_differences(charger):
    probe = random_matrix(qb.StarBattery(N=2, F=1.0, charger=charger, N_max=3), 1)
    rho = random_hermitian(qb.StarBattery(N=2, F=1.0, charger=charger, N_max=3), 2)

    @jax.jit
    def number(values):
        own = qb.Term(values["own"], battery=qb.J_z)
        jump = qb.Jump(values["rate"], qb.Term(values["factor"], battery=qb.J_plus))
        named = {name: values[name] for name in VALUES}
        model = qb.StarBattery(N=2, N_max=3, charger=charger, hamiltonian=own, jumps=jump, **named)
        return jnp.sum(probe * apply(generator(model), rho)).real

    values = {k: jnp.asarray(v) for k, v in VALUES.items()}
    values |= {"own": jnp.asarray(0.2), "rate": jnp.asarray(0.3), "factor": jnp.asarray(0.8)}
    slopes = jax.jit(jax.grad(number))(values)
    step = 1e-4
    for name in values:
        assert abs(slopes[name]) > 1e-3, name
        up, down = (number(values | {name: values[name] + h}) for h in (step, -step))
        np.testing.assert_allclose(slopes[name], (up - down) / (2 * step), rtol=1e-7, atol=1e-8)


def test_derivatives_are_finite_where_rates_and_couplings_vanish():
    def number(values):
        F, g, gamma_C, kappa = values
        model = qb.StarBattery(N=2, N_max=3, F=F, g=g, gamma_C=gamma_C, kappa=kappa)
        return jnp.sum(jnp.abs(superoperator(generator(model)) + 0.1) ** 2)

    assert np.all(np.isfinite(jax.jit(jax.grad(number))(jnp.zeros(4))))
