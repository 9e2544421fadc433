"""Terms, jumps, chargers and pulses by themselves, and what they refuse."""

import re
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip

import qbjax as qb
from qbjax.basis.ladder import Ladder
from qbjax.basis.operators import Operator
from qbjax.model.terms import total

RNG = np.random.default_rng(3)


L3 = Ladder(3)


def dense(*terms, d_c=2, N=2, levels=3, t=0.0):
    basis = Ladder(levels)
    return np.asarray(total(terms, t, d_c, N, basis).dense(d_c, basis))[0]


def random_complex(size):
    return RNG.normal(size=(size, size)) + 1j * RNG.normal(size=(size, size))


@pytest.mark.parametrize("N", [1, 4])
def test_battery_operators_are_those_of_qutip(N):
    levels = N + 3
    references = {
        qb.J_minus: qutip.jmat(N / 2, "-").full()[::-1, ::-1],
        qb.J_plus: qutip.jmat(N / 2, "+").full()[::-1, ::-1],
        qb.J_z: qutip.jmat(N / 2, "z").full()[::-1, ::-1],
        qb.excitations: np.diag(np.arange(N + 1)),
        qb.identity: np.eye(N + 1),
    }
    for battery, expected in references.items():
        padded = np.pad(expected, (0, 2))
        actual = dense(qb.Term(1.0, battery=battery), d_c=1, N=N, levels=levels)
        np.testing.assert_allclose(actual, padded, atol=1e-15)


def test_chargers():
    for charger, expected in (
        (qb.qubit(), [[0, 1], [0, 0]]),
        (qb.cavity(5), qutip.destroy(5).full()),
        (qb.spin(2), qutip.jmat(2, "-").full()[::-1, ::-1]),
    ):
        np.testing.assert_allclose(charger.lowering, expected, atol=1e-15)
        np.testing.assert_array_equal(np.diag(charger.excitations), np.arange(charger.levels))
        assert np.trace(charger.inversion) == 0
    assert qb.cavity(3).truncated
    assert not qb.spin(1).truncated
    assert qb.spin(np.float64(1.5)).levels == 4
    assert hash(qb.cavity(3)) == hash(qb.cavity(3))


def test_a_term_is_the_product_of_its_matrices():
    A, B = random_complex(2), random_complex(3)
    term = qb.Term(0.3 - 0.7j, A, B)
    expected = (0.3 - 0.7j) * np.kron(A, B)
    np.testing.assert_allclose(dense(term), expected, atol=1e-15)
    traced = jax.jit(lambda A, B: total((qb.Term(0.3 - 0.7j, A, B),), 0.0, 2, 2, L3).dense(2, L3))
    np.testing.assert_allclose(traced(A, B)[0], expected, atol=1e-14)

    def two_up(N, levels):
        return {2: jnp.arange(levels) * (1 + 2j)}

    expected = np.kron(np.eye(2), np.diag(np.arange(2, 5) * (1 + 2j), -2))
    np.testing.assert_allclose(dense(qb.Term(1, battery=two_up), N=4, levels=5), expected)


def test_operators_are_an_algebra():
    A, B = random_complex(4), random_complex(4)

    def operator(matrix):
        blocks = matrix.reshape(2, 2, 2, 2)
        parts = Operator({})
        for a, b in np.ndindex(2, 2):
            element = np.zeros((2, 2))
            element[a, b] = 1
            term = qb.Term(1.0, element, blocks[a, :, b])
            parts = parts + term.operator(0.0, 2, 1, Ladder(2))
        return parts

    a, b = operator(A), operator(B)
    for found, expected in (
        (a, A),
        (a.adjoint, A.conj().T),
        (a + b, A + B),
        (a @ b, A @ B),
        (a.scaled(0.3, power=3), -0.3j * A),
    ):
        np.testing.assert_allclose(found.dense(2, Ladder(2))[0], expected, atol=1e-13)
    turn = np.kron(np.diag([1, 1j]), np.eye(2))
    for sign, U in ((1, turn), (-1, turn.conj())):
        turned = a.gauged(sign).dense(2, Ladder(2))[0]
        np.testing.assert_allclose(turned, U @ A @ U.conj().T, atol=1e-14)
    assert all(weights.dtype == float for weights in a.entries.values())


def test_what_is_zero_in_a_matrix_is_absent():
    assert not qb.Term(1.0, np.zeros((2, 2))).operator(0.0, 2, 2, L3).entries
    sigma_y = np.array([[0, 1j], [-1j, 0]])
    keys = set(qb.Term(1.0, sigma_y, np.diag([1.0, 2.0], 1)).operator(0.0, 2, 1, L3).entries)
    assert keys == {(1, -1, 1), (-1, -1, 1)}


# Pulses


def ramp(t, height, shape):
    return height * jnp.tanh(t / shape["width"])


def test_a_pulse_is_its_function_under_every_transform():
    ts = np.linspace(0, 3, 4)

    def make(height, width):
        return qb.Pulse(ramp, height, {"width": width})

    expected = 0.5 * np.tanh(ts / 2)
    np.testing.assert_allclose(jax.vmap(make(0.5, 2))(ts), expected, rtol=1e-15)
    value = jax.jit(lambda pulse, t: pulse(t))
    np.testing.assert_allclose([value(make(0.5, 2.0), t) for t in ts], expected, rtol=1e-15)
    many = jax.vmap(lambda height: make(height, 2.0)(1.0))(jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(many, np.tanh(0.5) * np.array([0.5, 1.0]), rtol=1e-15)
    slopes = jax.grad(lambda pulse: pulse(1.0))(make(0.5, 2.0))
    height, shape = slopes.parameters
    np.testing.assert_allclose(height, np.tanh(0.5), rtol=1e-15)
    np.testing.assert_allclose(shape["width"], -0.5 / 4 / np.cosh(0.5) ** 2, rtol=1e-14)


def test_pieces():
    pulse = qb.PiecewiseConstant([1.0, 3.0], [0.5, 0.0, 0.2])
    ts = [-1.0, 0.0, 0.999, 1.0, 2.9, 3.0, 9.0]
    expected = [0.5, 0.5, 0.5, 0.0, 0.0, 0.2, 0.2]
    np.testing.assert_array_equal(jax.jit(jax.vmap(pulse))(jnp.array(ts)), expected)
    assert qb.PiecewiseConstant([], [0.3])(5.0) == 0.3
    slopes = jax.grad(lambda pulse: pulse(2.0))(pulse)
    np.testing.assert_array_equal(slopes.values, [0, 1, 0])
    np.testing.assert_array_equal(slopes.times, [0, 0])
    built = jax.jit(lambda times: qb.PiecewiseConstant(times, [1.0, 2.0])(1.5))
    assert built(jnp.array([1.0])) == 2.0


def test_a_pulse_is_a_leaf_of_the_model_with_batch_axes():
    model = qb.StarBattery(N=2, F=qb.Pulse(ramp, 0.5, {"width": 1.0}), g=[1.0, 2.0])
    assert model.batch_shape == (2,)
    assert {leaf.shape for leaf in jax.tree.leaves(model)} == {(2,)}
    values = jax.vmap(lambda one: one.F(1.0))(model)
    np.testing.assert_allclose(values, 0.5 * np.tanh([1.0, 1.0]))
    np.testing.assert_allclose(
        eqx.filter_grad(lambda m: jnp.sum(jax.vmap(lambda one: one.F(1.0))(m)))(model).F.parameters[
            0
        ],
        np.tanh([1.0, 1.0]),
    )


# Refusals

SQUARE = "must be a square matrix, but is of shape"
HALVES = "`S` must be a positive multiple of 1/2, but is"
LEVELS = "`levels` must be an integer of at least 2, but is"
REFUSED = {
    "charger not square": (lambda: qb.Term(1.0, np.ones((2, 3))), f"`charger` {SQUARE} (2, 3)."),
    "charger a vector": (lambda: qb.Term(1.0, np.ones(4)), f"`charger` {SQUARE} (4,)."),
    "battery not square": (
        lambda: qb.Term(1.0, battery=np.ones((2, 3))),
        f"`battery` {SQUARE} (2, 3).",
    ),
    "battery empty": (lambda: qb.Term(1.0, battery=np.ones((0, 0))), f"`battery` {SQUARE} (0, 0)."),
    "rate negative": (
        lambda: qb.Jump(-0.1, qb.Term(1.0)),
        "`rate` must be finite, not negative, but is -0.1.",
    ),
    "rate nan": (
        lambda: qb.Jump(np.nan, qb.Term(1.0)),
        "`rate` must be finite, not negative, but is nan.",
    ),
    "rate complex": (
        lambda: qb.Jump(1j, qb.Term(1.0)),
        "`rate` must be a real number, but is 1j.",
    ),
    "no terms": (lambda: qb.Jump(0.1), "`terms` must be at least one qbjax.Term, but is none."),
    "terms as a list": (
        lambda: qb.Jump(0.1, [qb.Term(1.0)]),
        "`terms` must be at least one qbjax.Term, but is list.",
    ),
    "cavity of one": (lambda: qb.cavity(1), f"{LEVELS} 1."),
    "cavity of 2.5": (lambda: qb.cavity(2.5), f"{LEVELS} 2.5."),
    "spin 0.3": (lambda: qb.spin(0.3), f"{HALVES} 0.3."),
    "spin 0": (lambda: qb.spin(0), f"{HALVES} 0."),
    "spin -1": (lambda: qb.spin(-1), f"{HALVES} -1."),
    "spin nan": (lambda: qb.spin(np.nan), f"{HALVES} nan."),
    "spin inf": (lambda: qb.spin(np.inf), f"{HALVES} inf."),
    "no function": (lambda: qb.Pulse(0.3), "`function` must be a function of time, but is 0.3."),
    "a complex pulse": (
        lambda: qb.Pulse(lambda t: jnp.exp(1j * t)),
        "`function` must be real and of shape (), but is of shape () and type complex128.",
    ),
    "a pulse of two": (
        lambda: qb.Pulse(lambda t, a: a * t, np.ones(2)),
        "`function` must be real and of shape (), but is of shape (2,) and type float64.",
    ),
    "times a number": (
        lambda: qb.PiecewiseConstant(1.0, [0.1, 0.2]),
        "`times` must be one-dimensional, but is 1.0.",
    ),
    "values too few": (
        lambda: qb.PiecewiseConstant([1.0, 2.0], [0.1, 0.2]),
        "`values` must be of shape (3,), one more than times, but is of shape (2,).",
    ),
    "times unsorted": (
        lambda: qb.PiecewiseConstant([2.0, 1.0], [0.1, 0.2, 0.3]),
        "`times` must be increasing, but is [2. 1.].",
    ),
    "times twice": (
        lambda: qb.PiecewiseConstant([1.0, 1.0], [0.1, 0.2, 0.3]),
        "`times` must be increasing, but is [1. 1.].",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    build, message = REFUSED[name]
    with pytest.raises(qb.ArgumentError, match=re.escape(message)) as refusal:
        build()
    assert "\n" not in str(refusal.value)


def test_importing_starts_no_backend():
    """Else jax.distributed.initialize fails after it."""
    program = (
        "import qbjax; from jax._src import xla_bridge; "
        "assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_matrices_of_ones_own_leave_the_padding_empty():
    raising = np.diag(np.sqrt(np.arange(1.0, 5.0)), -1)
    for battery in (raising, lambda N, levels: {1: jnp.sqrt(jnp.arange(levels) + 0.0)}):
        operator = qb.Term(1.0, battery=battery).operator(0.0, 2, 2, Ladder(5))
        (weights,) = operator.entries.values()
        np.testing.assert_allclose(weights[0, 0], [0.0, 1.0, np.sqrt(2.0), 0.0, 0.0])


def test_a_field_of_ones_own_ends_at_the_level_N_of_a_padded_model():
    """The matrix leads out of the level N, which its adjoint, cut there, does not undo."""
    spin = qutip.jmat(2, "x").full().real[::-1, ::-1]
    padded = qb.StarBattery(
        jnp.array(2), 0.5, kappa=0.1, hamiltonian=qb.Term(0.2, battery=spin), N_max=4
    )
    alone = qb.StarBattery(2, 0.5, kappa=0.1, hamiltonian=qb.Term(0.2, battery=spin[:3, :3]))
    found, expected = (qb.evolve(model, [1.0, 3.0]).energy for model in (padded, alone))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_a_hamiltonian_is_hermitian_in_every_piece():
    flash = qb.PiecewiseConstant([1.0, 2.0], [0.0, 0.5, 0.0])
    with pytest.raises(qb.ArgumentError, match="Hermitian"):
        qb.StarBattery(N=2, F=0.5, hamiltonian=qb.Term(flash, battery=qb.J_minus))
