"""Linear algebra: as JAX's own, in turn on a CPU, with derivatives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb
from qbjax import linalg


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


@pytest.mark.parametrize("real", [True, False])
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
        slopes = [jax.vmap(transform(number))(batch[0]) for number in (ours, theirs)]
        np.testing.assert_allclose(*slopes, atol=1e-13)
    if real:
        np.testing.assert_allclose(
            *(jax.hessian(f)(batch[0, 0]) for f in (ours, theirs)), atol=1e-12
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


def curve(x):
    found = qb.evolve(qb.StarBattery(N=3, F=x), jnp.linspace(0, 9, 4))
    return found.energy, found.ergotropy


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a GPU takes batches at once")
@pytest.mark.parametrize(
    "values",
    [steady("exact", "F"), steady("direct", "kappa"), steady("iterative", "kappa"), best, curve],
    ids=["exact", "direct", "iterative", "times", "curve"],
)
def test_no_solver_hands_a_batch_to_lapack(values):
    # Several batched calls side by side wait for each other for good: see `qbjax.linalg`.
    slopes = jax.grad(lambda x: sum(map(jnp.sum, values(x)[:2])))
    for function in (values, slopes) if values is not best else (values,):
        text = jax.jit(jax.vmap(function)).lower(jnp.linspace(0.3, 0.7, 5)).as_text()
        calls = re.findall(
            r"@lapack_\w+(?:getrf|geev|syevd|heevd|gesdd)_ffi\(.*?tensor<(.*?)>", text
        )
        assert len(calls) > 0
        assert not [shape for shape in calls if shape.startswith("5x")]
