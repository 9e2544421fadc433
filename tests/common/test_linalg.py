"""Linear algebra: as JAX's own, in turn on a CPU, with derivatives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb
from qbjax.common import linalg
from qbjax.common.gmres import gmres
from qbjax.model.batching import enable_x64


def hermitian(*shape):
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return matrix + matrix.conj().swapaxes(-1, -2)


def of_pairs(eigh):
    """A number that knows of eigenvalues and vectors, and not of their signs."""

    def number(matrix):
        eigenvalues, vectors = eigh(matrix)
        return jnp.sum(jnp.sin(eigenvalues) * jnp.abs(vectors[0]) ** 2)

    return number


@pytest.mark.parametrize("real", [pytest.param(True, marks=pytest.mark.slow), False])
def test_eigenvalues_are_those_of_jax_with_their_derivatives(real):
    batch = hermitian(2, 3, 4, 4)
    batch = jnp.asarray(batch.real if real else batch)
    found, expected = linalg.eigh(batch), jnp.linalg.eigh(batch)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-14)
    np.testing.assert_allclose(
        (found[1] * found[0][..., None, :]) @ found[1].conj().swapaxes(-1, -2), batch, atol=1e-13
    )
    np.testing.assert_array_equal(linalg.eigvalsh(batch), found[0])
    ours, theirs = (of_pairs(eigh) for eigh in (linalg.eigh, jnp.linalg.eigh))
    for transform in (jax.grad, jax.jacfwd) if real else (jax.grad,):
        slopes = [jax.jit(jax.vmap(transform(number)))(batch[0]) for number in (ours, theirs)]
        np.testing.assert_allclose(*slopes, atol=1e-13)
    if real:
        np.testing.assert_allclose(
            *(jax.jit(jax.hessian(f))(batch[0, 0]) for f in (ours, theirs)), atol=1e-12
        )


def test_other_algebra_in_turn():
    batch = jnp.asarray(hermitian(3, 4, 4))
    np.testing.assert_allclose(jax.vmap(linalg.inv)(batch), jnp.linalg.inv(batch), atol=1e-13)
    eigenvalues = jax.vmap(linalg.eig)(batch)[0]
    expected = jnp.linalg.eigvalsh(batch)
    np.testing.assert_allclose(jnp.sort(eigenvalues.real), expected, atol=1e-13)


def steady(method, name):
    def values(x):
        model = qb.StarBattery(N=3, **{"F": 0.5, name: x})
        found = qb.steady_state(model, method=method, throw=False)
        return found.energy, found.ergotropy, found.relaxation_time

    return values


def best(x):
    model = qb.StarBattery(N=3, F=x)
    found = qb.optimal_dephasing(model, "integral", throw=False)
    return found.tau, qb.charging_time(model, "fit", throw=False).tau


def curve(**given):
    def values(x):
        found = qb.evolve(qb.StarBattery(N=3, F=x, **given), jnp.linspace(0, 9, 4))
        return found.energy, found.ergotropy

    return values


CASES = {
    "exact": steady("exact", "F"),
    "direct": steady("direct", "kappa"),
    "iterative": steady("iterative", "kappa"),
    "times": best,
    "curve": curve(),
    "detuned curve": curve(omega_C=1.3),
}


# They take long to trace.
LONG = ("direct", "iterative", "times")


def batched_calls(function, many):
    """The calls of LAPACK in a program over many, with more than one matrix each."""
    text = jax.jit(jax.vmap(function)).lower(many).as_text()
    calls = re.findall(r"@lapack_(\w+)\(.*?\) .*?: \(tensor<(.*?)>", text)
    assert len(calls) > 0
    return [(name, shape) for name, shape in calls if len(re.findall(r"\d+x", shape)) > 2]


def test_batched_calls_are_seen():
    many = jnp.ones((5, 4, 4))
    assert batched_calls(jnp.linalg.inv, many) != []
    assert batched_calls(linalg.inv, many) == []


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a GPU takes batches at once")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in CASES],
)
def test_no_solver_hands_a_batch_to_lapack(name):
    # Several batched calls side by side wait for each other for good: see `common.linalg`. The
    # triangular solves of GMRES are one chain, which waits for nothing.
    values = CASES[name]
    slopes = jax.grad(lambda x: sum(map(jnp.sum, values(x)[:2])))
    for function in (values, slopes) if values is not best else (values,):
        found = batched_calls(function, jnp.linspace(0.3, 0.7, 5))
        assert {call for call, _ in found} <= ({"dtrsm_ffi"} if name == "iterative" else set())


def test_single_precision_has_derivatives():
    matrix = jnp.asarray(hermitian(4, 4).real, jnp.float32)
    slopes = [jax.grad(of_pairs(eigh))(matrix) for eigh in (linalg.eigh, jnp.linalg.eigh)]
    np.testing.assert_allclose(*slopes, atol=1e-5)


def test_gmres_goes_on_while_cycles_gain():
    """Where four steps gain less than a factor of ten, cycle after cycle."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    matrix, b = basis * np.linspace(1, 30, 30) @ basis.T, rng.normal(size=30)
    limits = {"target": 1e-8, "cycle": 4, "most_cycles": 200}
    found = gmres(lambda x: jnp.asarray(matrix) @ x, lambda x: x, jnp.asarray(b), **limits)
    assert found.residual <= 1e-8
    assert found.steps > 40
    # The smallest eigenvalue is 1.
    np.testing.assert_allclose(found.x, np.linalg.solve(matrix, b), rtol=0, atol=1e-8)


def test_gmres_keeps_what_it_has_where_a_cycle_makes_it_worse():
    """A preconditioner that is not linear, as rounding makes one, spoils the sum of its steps."""
    matrix, b = jnp.diag(jnp.arange(1.0, 7.0)), jnp.arange(1.0, 7.0)
    limits = {"target": 1e-8, "cycle": 3, "most_cycles": 5}
    found = gmres(lambda x: matrix @ x, lambda x: x * jnp.abs(x), b, **limits)
    assert found.steps > 0
    assert found.residual <= np.linalg.norm(b)
    np.testing.assert_allclose(found.residual, np.linalg.norm(b - matrix @ found.x), rtol=1e-12)


def test_threads_work_in_the_precision_that_is_set():
    model = qb.StarBattery([1, 2], 0.5, kappa=0.2, N_max=2)
    expected = qb.evolve(model, [3.0]).energy
    with enable_x64(False):
        single = qb.StarBattery([1, 2], 0.5, kappa=0.2, N_max=2)
        found = qb.evolve(single, [3.0], rtol=2e-5, tolerance=1e-3)
    assert found.energy.dtype == np.float32
    assert np.all(found.status == qb.Status.OK)
    np.testing.assert_allclose(found.energy, expected, rtol=0, atol=1e-4)
