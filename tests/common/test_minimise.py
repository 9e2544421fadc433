"""The optimisation loop: optimisers, stopping, carried state, transforms."""

import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qbjax.common.checks import ArgumentError
from qbjax.common.minimise import minimise

MINIMUM = jnp.array([1.0, -2.0])
START = jnp.array([-1.2, 1.0])


def quadratic(x, aux):
    return jnp.sum(jnp.array([1.0, 10.0]) * (x - MINIMUM) ** 2) - 3.0, aux


def rosenbrock(x, aux):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2, aux


def kink(x, aux):
    return jnp.abs(x - 0.3) + 0.1 * x**2, aux


@pytest.mark.parametrize(
    ("optimizer", "steps"),
    [(None, 20), (optax.adam(0.05), 2000), (optax.sgd(0.02, momentum=0.8), 1000)],
    ids=["lbfgs", "adam", "sgd"],
)
def test_every_optimizer_finds_the_minimum_of_a_quadratic(optimizer, steps):
    found = minimise(quadratic, START, optimizer=optimizer, max_steps=steps)
    # First-order steps may end at rest: a loss right to rounding leaves its square root in x.
    np.testing.assert_allclose(found.x, MINIMUM, atol=1e-6)
    assert found.converged
    assert found.gradient_norm < 1e-5
    assert found.steps < steps


@pytest.mark.parametrize(
    ("optimizer", "steps", "atol"),
    [
        (None, 100, 1e-8),
        (optax.adam(0.05), 5000, 1e-5),
        (optax.sgd(1e-3, momentum=0.9), 5000, 1e-5),
    ],
    ids=["lbfgs", "adam", "sgd"],
)
def test_every_optimizer_follows_a_badly_conditioned_valley(optimizer, steps, atol):
    found = minimise(rosenbrock, START, optimizer=optimizer, max_steps=steps)
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=atol)


def test_the_evidence_is_about_the_best_point():
    # Momentum overshoots, so the last iterate is not the best one.
    found = minimise(quadratic, START, optimizer=optax.sgd(0.05, momentum=0.95), max_steps=25)
    history = np.asarray(found.history)
    assert history.shape == (26,)
    assert found.steps == 25
    assert np.nanargmin(history) < 25
    assert found.value == np.nanmin(history) == quadratic(found.x, None)[0]
    gradient = jax.grad(lambda x: quadratic(x, None)[0])(found.x)
    np.testing.assert_allclose(found.gradient_norm, np.linalg.norm(gradient), rtol=1e-12)
    assert not found.converged


def test_history_ends_in_nan_after_the_last_step():
    found = minimise(quadratic, START, max_steps=50)
    steps = int(found.steps)
    assert found.history[0] == quadratic(START, None)[0]
    assert np.all(np.isfinite(found.history[: steps + 1]))
    assert np.all(np.isnan(found.history[steps + 1 :]))


@pytest.mark.parametrize(
    "optimizer", [None, optax.adam(optax.exponential_decay(0.1, 100, 0.2))], ids=["lbfgs", "adam"]
)
def test_a_kink_counts_as_converged(optimizer):
    found = minimise(kink, 2.0, optimizer=optimizer, max_steps=2000)
    assert found.converged
    assert found.gradient_norm > 0.5
    np.testing.assert_allclose(found.x, 0.3, atol=1e-7)


@pytest.mark.parametrize(
    "rate", [optax.exponential_decay(0.1, 100, 0.2), optax.cosine_decay_schedule(0.1, 100)]
)
def test_an_optimizer_that_comes_to_rest_on_a_slope_has_not_converged(rate):
    found = minimise(rosenbrock, START, optimizer=optax.adam(rate), max_steps=2000)
    assert found.steps < 2000
    assert found.gradient_norm > 0.1
    assert not found.converged


def test_a_stationary_start_takes_no_step():
    found = minimise(quadratic, MINIMUM)
    assert found.converged
    assert found.steps == 0


@pytest.mark.parametrize("start", [1.0, -1.0])
def test_a_nan_loss_ends_the_loop_unconverged(start):
    found = minimise(
        lambda x, aux: (jnp.sqrt(x) + x, aux), start, optimizer=optax.sgd(0.3), max_steps=100
    )
    assert not found.converged
    assert found.steps < 10
    assert np.isnan(found.history[found.steps])
    assert np.isfinite(found.value) == (start > 0)


def test_aux_is_carried_from_step_to_step():
    def loss(x, aux):
        # Counts the iterates, and would pull x to zero if the gradient passed through it.
        return (x - 1.0) ** 2 + 0 * aux["x"], {"calls": aux["calls"] + 1, "x": x}

    found = minimise(loss, 0.0, aux={"calls": 0, "x": 0.0}, optimizer=optax.sgd(0.4))
    assert found.aux["calls"] == found.steps + 1
    assert found.aux["x"] == found.x


def test_a_warm_start_gives_the_answer_of_a_cold_one():
    def loss(x, root):
        # One Newton step a call towards sqrt(x): right only if it is carried on.
        root = 0.5 * (root + jax.lax.stop_gradient(x) / root)
        return (x - 4.0) ** 2 + (root - 2.0) ** 2, root

    found = minimise(loss, 9.0, aux=1.0, optimizer=optax.sgd(0.1), max_steps=300)
    np.testing.assert_allclose(found.aux, 2.0, atol=1e-8)


def test_parameters_may_be_a_pytree():
    def loss(x, aux):
        return (x["a"] - 1) ** 2 + jnp.sum((x["b"] - 2) ** 2), aux

    found = minimise(loss, {"a": 0, "b": jnp.zeros((2, 2))})
    np.testing.assert_allclose(found.x["a"], 1.0, atol=1e-8)
    np.testing.assert_allclose(found.x["b"], np.full((2, 2), 2.0), atol=1e-8)


def test_jit_and_vmap_do_what_the_eager_loop_does():
    starts = jnp.array([[-1.2, 1.0], [2.0, 2.0], [1.0, 1.0]])

    def fit(start):
        return minimise(rosenbrock, start, max_steps=60)

    together = jax.jit(jax.vmap(fit))(starts)
    for k, start in enumerate(starts):
        alone = fit(start)
        assert alone.steps == together.steps[k]
        np.testing.assert_allclose(alone.x, together.x[k], atol=1e-10)
        np.testing.assert_allclose(alone.history, together.history[k], rtol=1e-6, atol=1e-14)
        assert alone.converged
        assert together.converged[k]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_the_bar_changes_nothing_and_needs_a_terminal(monkeypatch, stream):
    plain = minimise(quadratic, START, optimizer=optax.sgd(0.02, momentum=0.8), max_steps=95)
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    barred = minimise(
        quadratic,
        START,
        optimizer=optax.sgd(0.02, momentum=0.8),
        max_steps=95,
        progress=True,
        label="charging",
    )
    jax.tree.map(np.testing.assert_array_equal, plain, barred)
    assert ("charging" in shown.getvalue()) == (stream is Terminal)


def test_no_bar_under_tracing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())

    def fit(target):
        # Only the loss is traced, not x0.
        return minimise(lambda x, aux: ((x - target) ** 2, aux), 0.0, progress=True).x

    np.testing.assert_allclose(jax.jit(fit)(2.0), 2.0, atol=1e-8)
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize("bad", [{"max_steps": 0}, {"tolerance": -1.0}, {"x0": 1j}])
def test_bad_arguments_are_refused(bad):
    (name,) = bad
    with pytest.raises(ArgumentError, match=f"`{name}`"):
        minimise(**({"loss": quadratic, "x0": START} | bad))


def test_a_batch_takes_no_line_search_before_its_first_step():
    count = []

    def loss(x, aux):
        jax.debug.callback(lambda _: count.append(1), x)
        return jnp.sum((x - 2.0) ** 2), aux

    starts = jnp.array([[0.0, 1.0], [3.0, 5.0]])
    alone = [minimise(loss, start).steps for start in starts]
    jax.effects_barrier()
    one_by_one = len(count)
    count.clear()
    both = jax.vmap(lambda x: minimise(loss, x))(starts)
    jax.effects_barrier()
    np.testing.assert_array_equal(both.steps, alone)
    # Side by side both run until the last has ended; the start itself costs two more each.
    assert len(count) <= 2 * one_by_one + 4


def test_single_precision_stays_so():
    found = minimise(lambda x, aux: (jnp.sum((x - 2) ** 2), aux), jnp.zeros(3, jnp.float32))
    assert found.x.dtype == jnp.float32
    np.testing.assert_allclose(found.x, 2.0, rtol=1e-6)


def test_aux_is_of_the_form_that_the_loss_returns():
    with pytest.raises(ArgumentError, match="`aux` must be of the form"):
        minimise(lambda x, aux: (jnp.sum(x**2), x), jnp.ones(3))
