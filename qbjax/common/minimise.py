"""The one optimisation loop of the library: any optax optimiser, on the host and under tracing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import PyTree
from tqdm import tqdm

from qbjax.common.checks import as_count, as_number, is_concrete, require, require_known

if TYPE_CHECKING:
    import optax

Loss = Callable[[Any, Any], tuple[jax.Array, PyTree]]

# Successive steps that must leave loss and parameters in place before the loop calls itself
# stalled: more than momentum spends at a turning point.
_STALL_STEPS = 10
# Steps between two updates of the progress bar.
_CHUNK = 10


class Minimum(eqx.Module):
    """What `minimise` found, with the evidence.

    Attributes
    ----------
    x
        The best parameters seen, in the structure of `x0`.
    value
        The loss there, shape ().
    aux
        The loss's second output there.
    gradient_norm
        Euclidean norm of the gradient there, shape (); it may be large at a kink.
    steps
        Number of steps taken, shape ().
    history
        The loss at every iterate, NaN after the last one, shape (max_steps + 1,).
    converged
        Whether the loop stopped because it had converged, shape ().
    """

    x: PyTree
    value: jax.Array
    aux: PyTree
    gradient_norm: jax.Array
    steps: jax.Array
    history: jax.Array
    converged: jax.Array


class _Point(eqx.Module):
    """The loss and its gradient at one set of parameters."""

    x: PyTree
    value: jax.Array
    aux: PyTree
    gradient: PyTree


class _State(eqx.Module):
    """Everything that the loop carries from step to step."""

    now: _Point
    best: _Point
    optimizer: PyTree
    steps: jax.Array
    stalled: jax.Array
    converged: jax.Array
    history: jax.Array


def minimise(
    loss: Loss,
    x0: PyTree,
    *,
    optimizer: optax.GradientTransformation | None = None,
    aux: PyTree = None,
    max_steps: int = 500,
    tolerance: float = 1e-8,
    progress: bool = False,
    label: str = "minimise",
) -> Minimum:
    """Minimise a real function of real parameters with an optax optimiser.

    The loop has converged when the gradient's norm is at most tolerance * (1 + |loss|). It ends,
    too, when ten successive steps each changed the parameters by at most tolerance * (1 + |x|).
    That has converged only where descent is over: a step down the gradient, long enough to lower a
    smooth loss by tolerance * (1 + |loss|), does not bring half of it. So a kink, where no gradient
    vanishes, counts as converged, and an optimiser that merely crawls does not. A NaN loss and
    `max_steps` end the loop unconverged.

    Works under `jax.jit` and `jax.vmap`, and is compiled on the host, too: once for each `loss`
    object, so give data to the loss as a `jax.tree_util.Partial` where many fits share a program.
    No reverse-mode derivative passes through the loop.

    Parameters
    ----------
    loss
        Function of (x, aux) that returns the loss, a real scalar, and the next aux.
    x0
        Real parameters to start from: an array, or any pytree of arrays.
    optimizer
        Any optax optimiser; None means `optax.lbfgs()`, whose line search sets its own steps.
    aux
        What the first call of the loss gets as aux; later ones get what the last iterate returned,
        for example the warm start of an inner solve. No gradient passes through it.
    max_steps
        The most steps to take; the length of the history is one more.
    tolerance
        The relative tolerance of both rules above, not negative.
    progress
        Whether to show a progress bar; without a terminal, or on traced values, none is shown.
    label
        The name of the progress bar.

    Returns
    -------
    The best point seen, and the evidence for it.

    Raises
    ------
    ArgumentError
        Where `max_steps` or `tolerance` is out of its range, the optimiser is none of optax, or a
        parameter is complex.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.common.minimise import minimise
    >>> lowest = minimise(lambda x, aux: (jnp.sum((x - 2.0) ** 2), aux), jnp.zeros(3))
    >>> print(lowest.x, lowest.converged)
    [2. 2. 2.] True
    """
    max_steps = as_count(max_steps, "max_steps")
    relative = as_number(tolerance, "tolerance")
    # Where it is traced, the descent does not converge.
    require_known(relative >= 0, "tolerance", "not negative", tolerance)
    x0 = jax.tree.map(_real, x0)
    require_optimizer(optimizer)
    optimizer = _default_optimizer() if optimizer is None else optimizer
    # As an array, the tolerance is an argument of the compiled step and no constant of it.
    limit = jnp.asarray(relative)
    state = _start(loss, optimizer, x0, aux, max_steps, limit)
    # The state, unlike x0, is traced also where only the loss closes over traced values.
    if progress and is_concrete(state):
        state = _advance_with_bar(loss, optimizer, state, max_steps, limit, label)
    else:
        state = _advance(loss, optimizer, state, jnp.asarray(max_steps), limit)
    best = state.best
    norm = _norm(best.gradient)
    return Minimum(best.x, best.value, best.aux, norm, state.steps, state.history, state.converged)


def require_optimizer(optimizer: object) -> None:
    """Refuse what is neither None nor an optimiser of optax."""
    if optimizer is not None:
        # Imported when it is used, which most of qbjax does without.
        import optax

        of_optax = isinstance(optimizer, optax.GradientTransformation)
        require(of_optax, "optimizer", "an optimiser of optax", type(optimizer).__name__)


@functools.cache
def _default_optimizer() -> optax.GradientTransformation:
    # Cached, because a fresh optimiser would be compiled afresh.
    import optax

    return optax.lbfgs()


def _real(leaf: ArrayLike) -> jax.Array:
    array = jnp.asarray(leaf)
    require(not jnp.iscomplexobj(array), "x0", "real", leaf)
    return array.astype(jnp.result_type(array.dtype, float))


def _norm(tree: PyTree) -> jax.Array:
    return jnp.linalg.norm(ravel_pytree(tree)[0])


def _evaluate(loss: Loss, x: PyTree, aux: PyTree) -> _Point:
    aux = jax.lax.stop_gradient(aux)
    (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(x, aux)
    return _Point(x, value, aux, gradient)


def _is_stationary(point: _Point, tolerance: jax.Array) -> jax.Array:
    return _norm(point.gradient) <= tolerance * (1 + jnp.abs(point.value))


@eqx.filter_jit
def _start(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    x0: PyTree,
    aux: PyTree,
    max_steps: int,
    tolerance: jax.Array,
) -> _State:
    first = _evaluate(loss, x0, aux)
    return _State(
        now=first,
        best=first,
        optimizer=optimizer.init(x0),
        steps=jnp.asarray(0),
        stalled=jnp.asarray(0),
        converged=_is_stationary(first, tolerance),
        history=jnp.full(max_steps + 1, jnp.nan, first.value.dtype).at[0].set(first.value),
    )


@eqx.filter_jit
def _advance(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: _State,
    until: jax.Array,
    tolerance: jax.Array,
) -> _State:
    """Step until the loop has ended or has taken `until` steps in all."""

    def goes_on(state: _State) -> jax.Array:
        return (state.steps < until) & ~_has_ended(state)

    state = jax.lax.while_loop(goes_on, lambda s: _step(loss, optimizer, s, tolerance), state)
    at_rest = _has_stalled(state) & ~_can_descend(loss, state.best, tolerance)
    return eqx.tree_at(lambda s: s.converged, state, state.converged | at_rest)


def _has_stalled(state: _State) -> jax.Array:
    return state.stalled >= _STALL_STEPS


def _has_ended(state: _State) -> jax.Array:
    return state.converged | _has_stalled(state) | jnp.isnan(state.now.value)


def _can_descend(loss: Loss, point: _Point, tolerance: jax.Array) -> jax.Array:
    """Tell whether a gradient step that is worth `tolerance` brings half of what it promises."""
    worth = tolerance * (1 + jnp.abs(point.value))
    rate = worth / _norm(point.gradient) ** 2
    probe = jax.tree.map(lambda x, gradient: x - rate * gradient, point.x, point.gradient)
    return loss(probe, point.aux)[0] < point.value - worth / 2


def _step(
    loss: Loss, optimizer: optax.GradientTransformation, state: _State, tolerance: jax.Array
) -> _State:
    import optax

    old = state.now
    updates, optimizer_state = optax.with_extra_args_support(optimizer).update(
        old.gradient,
        state.optimizer,
        old.x,
        # What the optimisers with a line search ask for; the others ignore it.
        value=old.value,
        grad=old.gradient,
        value_fn=lambda x: loss(x, jax.lax.stop_gradient(old.aux))[0],
    )
    new = _evaluate(loss, optax.apply_updates(old.x, updates), old.aux)
    scale = 1 + jnp.abs(new.value)
    moved = _norm(jax.tree.map(jnp.subtract, new.x, old.x)) > tolerance * (1 + _norm(new.x))
    stalled = jnp.where(moved, 0, state.stalled + 1)
    # A stationary point replaces a best one that is lower by rounding only, so that `converged`
    # and the gradient speak of the same point.
    stationary = _is_stationary(new, tolerance)
    stationary &= new.value <= state.best.value + tolerance * scale
    better = stationary | (new.value < state.best.value)
    steps = state.steps + 1
    return _State(
        now=new,
        best=jax.tree.map(lambda a, b: jnp.where(better, a, b), new, state.best),
        optimizer=optimizer_state,
        steps=steps,
        stalled=stalled,
        converged=stationary,
        history=state.history.at[steps].set(new.value),
    )


def _advance_with_bar(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: _State,
    max_steps: int,
    tolerance: jax.Array,
    label: str,
) -> _State:
    # disable=None asks tqdm to show nothing where standard error is no terminal.
    with tqdm(total=max_steps, desc=label, disable=None) as bar:
        for until in range(_CHUNK, max_steps + _CHUNK, _CHUNK):
            end = jnp.asarray(min(until, max_steps))
            state = _advance(loss, optimizer, state, end, tolerance)
            bar.update(int(state.steps) - bar.n)
            bar.set_postfix(loss=f"{float(state.best.value):.6g}")
            if _has_ended(state):
                break
    return state
