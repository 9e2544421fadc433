"""A step that is repeated a traced number of times, with derivatives in reverse.

The way back needs the state before every step, and there may be too many to keep. What is kept is
a stack of states on the way to the step that is next: where the steps between its top and that one
fit on the rest of the stack, all of them are put there, and else the one half-way. So n steps are
taken again log2(n / 100) / 2 times, in the memory of 100 states. The body of the loop is compiled
three times, less often than by loops that plan their checkpoints on the way out.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.packed import Packed

# (given, i, state, total) to the next state, and the total with what is added to it.
Step = Callable[[PyTree, jax.Array, jax.Array, PyTree], tuple[jax.Array, PyTree]]

# States on the stack.
KEPT = 100


def repeat(
    step: Step,
    count: jax.Array,
    given: Packed,
    state: jax.Array,
    total: PyTree,
    *,
    gradient: str,
    reverse: Step | None = None,
) -> tuple[jax.Array, PyTree]:
    """Return the state and the total after steps i = 0 ... count - 1.

    Parameters
    ----------
    step
        A function (given, i, state, total) that returns the next state, and the total with an array
        added to it that does not depend on the total. It closes over nothing that is traced.
    count
        The number of steps, shape ().
    given
        What every step is given.
    state, total
        An array, and a pytree of arrays.
    gradient
        "reverse" or "forward", the direction of derivatives.
    reverse
        The same step where it is differentiated in reverse, by rules of its own; None: no other.
    """
    if gradient == "forward":
        return _loop(step, jnp.zeros_like(count), count, given, state, total)
    return _reversible(step, reverse or step, count, given, state, total)


def _loop(
    step: Step, begin: jax.Array, end: jax.Array, given: Packed, state: jax.Array, total: PyTree
) -> tuple[jax.Array, PyTree]:
    def body(carry: PyTree) -> PyTree:
        i, state, total = carry
        return i + 1, *step(given.tree, i, state, total)

    return jax.lax.while_loop(lambda carry: carry[0] < end, body, (begin, state, total))[1:]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _reversible(
    step: Step, reverse: Step, count: jax.Array, given: Packed, state: jax.Array, total: PyTree
) -> tuple[jax.Array, PyTree]:
    return _loop(step, jnp.zeros_like(count), count, given, state, total)


def _out(step: Step, reverse: Step, *arguments: PyTree) -> tuple[PyTree, PyTree]:
    return _reversible(step, reverse, *arguments), arguments[:-1]


def _back(
    step: Step, reverse: Step, known: PyTree, slopes: tuple[jax.Array, PyTree]
) -> tuple[PyTree, ...]:
    """Return the derivatives by the arguments from those by the results."""
    count, given, start = known
    by_total = slopes[1]
    none = jax.tree.map(jnp.zeros_like, by_total)

    def push(carry: PyTree) -> PyTree:
        last, top, at, states, by = carry
        gap, begin = last - at[top], at[top]
        end = jnp.where(gap < KEPT - top, begin + 1, begin + (gap + 1) // 2)
        state, _ = _loop(step, begin, end, given, states[top], none)
        return last, top + 1, at.at[top + 1].set(end), states.at[top + 1].set(state), by

    def pull(carry: PyTree) -> PyTree:
        last, top, at, states, (by_numbers, by_state) = carry

        def one(numbers: jax.Array, state: jax.Array) -> tuple[jax.Array, PyTree]:
            return reverse(given.at(numbers), last, state, none)

        _, back = jax.vjp(one, given.numbers, states[top])
        more, by_state = back((by_state, by_total))
        return last - 1, top - 1, at, states, (by_numbers + more, by_state)

    def body(carry: PyTree) -> PyTree:
        last, top, at, *_ = carry
        return jax.lax.cond(at[top] == last, pull, push, carry)

    at = jnp.zeros(KEPT, count.dtype)
    states = jnp.zeros((KEPT, *start.shape), start.dtype).at[0].set(start)
    by = jnp.zeros_like(given.numbers), slopes[0]
    *_, (by_numbers, by_state) = jax.lax.while_loop(
        lambda carry: carry[0] >= 0, body, (count - 1, jnp.zeros_like(count), at, states, by)
    )
    return None, given.slopes(by_numbers), by_state, by_total


_reversible.defvjp(_out, _back)
