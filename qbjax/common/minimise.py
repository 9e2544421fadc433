"""The one optimisation loop of the library: any optax optimiser, on the host and under tracing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import PyTree
from tqdm.auto import tqdm

from qbjax.common.checks import as_count, as_number, is_concrete, require, require_known
from qbjax.common.printing import is_watched

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


class _Phase(IntEnum):
    """What the next evaluation of the loss is for."""

    START = 0
    DESCENT = 1
    PROBE = 2
    ENDED = 3


class _State(eqx.Module):
    """Everything that the loop carries from evaluation to evaluation."""

    phase: jax.Array
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
        What the first call of the loss gets as aux, of the structure that it returns; later ones
        get what the last iterate returned, for example the warm start of an inner solve. No
        gradient passes through it.
    max_steps
        The most steps to take; the length of the history is one more.
    tolerance
        The relative tolerance of both rules above, not negative.
    progress
        Whether to show a progress bar, in a terminal or a notebook, and not on traced values.
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
    state = _unstarted(loss, optimizer, x0, aux, max_steps)
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
def _unstarted(
    loss: Loss, optimizer: optax.GradientTransformation, x0: PyTree, aux: PyTree, max_steps: int
) -> _State:
    """Return the state before the first evaluation."""
    value, like = jax.eval_shape(loss, x0, aux)
    forms = [jax.tree.map(lambda x: (jnp.shape(x),), tree) for tree in (aux, like)]
    require(forms[0] == forms[1], "aux", "of the form that the loss returns", aux)
    aux = jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), aux, like)
    point = _Point(x0, jnp.zeros((), value.dtype), aux, jax.tree.map(jnp.zeros_like, x0))
    return _State(
        phase=jnp.asarray(_Phase.START),
        now=point,
        best=point,
        optimizer=optimizer.init(x0),
        steps=jnp.asarray(0),
        stalled=jnp.asarray(0),
        converged=jnp.asarray(False),
        history=jnp.full(max_steps + 1, jnp.nan, value.dtype),
    )


@eqx.filter_jit
def _advance(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: _State,
    until: jax.Array,
    tolerance: jax.Array,
) -> _State:
    """Go on until the loop has ended or has taken `until` steps in all.

    There is one evaluation in the loop beside those of a line search, whatever it is for, since
    each takes as long to compile as the loss.
    """

    def goes_on(state: _State) -> jax.Array:
        out_of_steps = (state.phase == _Phase.DESCENT) & (state.steps >= until)
        return (state.phase != _Phase.ENDED) & ~out_of_steps

    def evaluate(state: _State) -> _State:
        x, moved = jax.lax.switch(
            state.phase,
            [
                lambda: (state.now.x, state.optimizer),
                lambda: _descend(loss, optimizer, state),
                lambda: (_probe(state.best, tolerance), state.optimizer),
            ],
        )
        aux = _pick(state.phase == _Phase.PROBE, state.best.aux, state.now.aux)
        new = _evaluate(loss, x, aux)
        after = [_started, _stepped, _probed]
        return jax.lax.switch(
            state.phase, [functools.partial(f, state, new, moved, tolerance) for f in after]
        )

    return jax.lax.while_loop(goes_on, evaluate, state)


def _descend(
    loss: Loss, optimizer: optax.GradientTransformation, state: _State
) -> tuple[PyTree, PyTree]:
    """Return where a step of the optimiser leads, and the optimiser's state."""
    import optax

    now = state.now
    # Under vmap a line search runs for those that do not descend, too: on a plane it ends at once.
    descends = state.phase == _Phase.DESCENT
    gradient = jax.tree.map(lambda x: jnp.where(descends, x, 0.0), now.gradient)

    def value(x: PyTree) -> jax.Array:
        return jnp.where(descends, loss(x, jax.lax.stop_gradient(now.aux))[0], now.value)

    updates, moved = optax.with_extra_args_support(optimizer).update(
        gradient,
        state.optimizer,
        now.x,
        # What the optimisers with a line search ask for; the others ignore it.
        value=now.value,
        grad=gradient,
        value_fn=value,
    )
    return _like(optax.apply_updates(now.x, updates), now.x), _like(moved, state.optimizer)


def _started(state: _State, new: _Point, moved: PyTree, tolerance: jax.Array) -> _State:
    """Return the state after the evaluation at the start."""
    return _noted(state, new, new, moved, jnp.zeros_like(state.stalled), state.steps, tolerance)


def _stepped(state: _State, new: _Point, moved: PyTree, tolerance: jax.Array) -> _State:
    """Return the state after a step."""
    old = state.now
    change = _norm(jax.tree.map(jnp.subtract, new.x, old.x)) > tolerance * (1 + _norm(new.x))
    stalled = jnp.where(change, 0, state.stalled + 1)
    # A stationary point replaces a best one that is lower by rounding only, so that `converged`
    # and the gradient speak of the same point.
    stationary = _is_stationary(new, tolerance)
    stationary &= new.value <= state.best.value + tolerance * (1 + jnp.abs(new.value))
    best = _pick(stationary | (new.value < state.best.value), new, state.best)
    return _noted(state, new, best, moved, stalled, state.steps + 1, tolerance)


def _noted(
    state: _State,
    new: _Point,
    best: _Point,
    moved: PyTree,
    stalled: jax.Array,
    steps: jax.Array,
    tolerance: jax.Array,
) -> _State:
    """Return the state at a new point, and what comes next."""
    converged = _is_stationary(new, tolerance)
    converged &= new.value <= best.value + tolerance * (1 + jnp.abs(new.value))
    ended = converged | jnp.isnan(new.value)
    phase = jnp.where(stalled >= _STALL_STEPS, _Phase.PROBE, _Phase.DESCENT)
    return _State(
        phase=jnp.where(ended, _Phase.ENDED, phase),
        now=new,
        best=best,
        optimizer=moved,
        steps=steps,
        stalled=stalled,
        converged=converged,
        history=state.history.at[steps].set(new.value),
    )


def _probe(point: _Point, tolerance: jax.Array) -> PyTree:
    """Return where a step down the gradient leads that is worth the tolerance."""
    rate = _worth(point, tolerance) / _norm(point.gradient) ** 2
    down = jax.tree.map(lambda x, gradient: x - rate * gradient, point.x, point.gradient)
    return _like(down, point.x)


def _probed(state: _State, new: _Point, moved: PyTree, tolerance: jax.Array) -> _State:
    """Return the state at its end: converged unless the probe brought half of its worth."""
    lower = new.value < state.best.value - _worth(state.best, tolerance) / 2
    ended = jnp.full_like(state.phase, _Phase.ENDED)
    return eqx.tree_at(lambda s: (s.phase, s.converged), state, (ended, ~lower))


def _worth(point: _Point, tolerance: jax.Array) -> jax.Array:
    return tolerance * (1 + jnp.abs(point.value))


def _like(values: PyTree, others: PyTree) -> PyTree:
    """Return values in the types of others, which a loop keeps."""
    return jax.tree.map(lambda x, y: jnp.asarray(x, jnp.result_type(y)), values, others)


def _pick(condition: jax.Array, chosen: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), chosen, other)


def _advance_with_bar(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: _State,
    max_steps: int,
    tolerance: jax.Array,
    label: str,
) -> _State:
    with tqdm(total=max_steps, desc=label, disable=not is_watched()) as bar:
        for until in range(_CHUNK, max_steps + _CHUNK, _CHUNK):
            end = jnp.asarray(min(until, max_steps))
            state = _advance(loss, optimizer, state, end, tolerance)
            bar.update(int(state.steps) - bar.n)
            bar.set_postfix(loss=f"{float(state.best.value):.6g}")
            if state.phase == _Phase.ENDED:
                break
    return state
