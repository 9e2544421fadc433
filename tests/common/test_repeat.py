"""A loop of a traced number of steps, against the same steps written out by `jax.lax.scan`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qbjax.common.packed import Packed
from qbjax.common.repeat import KEPT, repeat


def step(given, i, state, total):
    matrix, weights, shift = given
    seen = weights @ state * (1.0 + i)
    return matrix @ state + shift, jax.tree.map(lambda x: x + seen, total)


def by_repeat(count, given, state, gradient="reverse"):
    return repeat(step, count, Packed(given), state, {"sum": jnp.ones(())}, gradient=gradient)


def by_scan(count, given, state):
    def body(carry, i):
        return step(given, i, *carry), None

    return jax.lax.scan(body, (state, {"sum": jnp.ones(())}), jnp.arange(count))[0]


def arguments():
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    # The integer is given, too, and has no derivative.
    return (jnp.asarray(0.999 * rotation), jnp.asarray(rng.normal(size=3)), 1), jnp.ones(3)


def merit(run, count, numbers, rest, state):
    state, total = run(count, (*numbers, rest), state)
    return jnp.sum(jnp.sin(state)) + total["sum"] ** 2 / (1 + count) ** 3


# None, one, as many as are kept, one more, and far more: several levels of bisection.
@pytest.mark.parametrize("count", [0, 1, 2, KEPT - 1, KEPT, KEPT + 1, 2 * KEPT + 3, 3000])
def test_derivatives_in_reverse(count):
    (matrix, weights, shift), state = arguments()

    def slopes(run, count):
        return jax.grad(lambda x, y: merit(run, count, x, shift, y), (0, 1))(
            (matrix, weights), state
        )

    found = jax.jit(lambda count: slopes(by_repeat, count))(count)
    expected = jax.jit(lambda: slopes(by_scan, count))()
    for ours, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_values_and_forward_derivatives():
    (matrix, weights, shift), state = arguments()
    for run in (by_repeat, lambda *x: by_repeat(*x, gradient="forward")):
        found = run(jnp.asarray(7), (matrix, weights, shift), state)
        expected = by_scan(7, (matrix, weights, shift), state)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-14)
        np.testing.assert_allclose(found[1]["sum"], expected[1]["sum"], rtol=1e-14)
    forward = jax.jacfwd(lambda m: by_repeat(7, (m, weights, shift), state, "forward")[0])(matrix)
    expected = jax.jacfwd(lambda m: by_scan(7, (m, weights, shift), state)[0])(matrix)
    np.testing.assert_allclose(forward, expected, rtol=1e-12, atol=1e-14)
