"""The parameters of a model at which a figure of merit is largest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.charging.ranges import Bounds, Jumps, Range, leaves, ranges_of
from qbjax.common.checks import (
    SolveError,
    Status,
    as_count,
    as_seed,
    is_concrete,
    require,
    users_function,
)
from qbjax.common.minimise import Minimum, minimise
from qbjax.common.printing import Line, Printed, status_text
from qbjax.model.pulses import is_pulse
from qbjax.model.star_battery import StarBattery, over_batch, require_model

if TYPE_CHECKING:
    import optax

Objective = Callable[[StarBattery], Any]


class Optimum(Printed):
    """The best parameters that `optimize` saw, with the evidence; a batch puts its axes in front.

    Attributes
    ----------
    model
        The model with these parameters.
    value
        The figure of merit there, shape ().
    values
        What every start led to, shape (starts,).
    parameters
        The parameters by name; a pulse where the model has one.
    at_bound
        -1 where a parameter is on its lower bound, 1 on its upper one, else 0, by name; for a pulse
        with one entry for each of its parameters. Times of jumps have no bounds but each other:
        where two of them meet, a piece has vanished.
    gradient_norm
        Norm of the gradient there in the variables x of the search, shape (). It vanishes on
        a bound that the figure of merit is pressed against, too.
    history
        The figure of merit at every iterate, NaN after the last one, shape (max_steps + 1,).
    steps
        Number of steps taken, shape ().
    converged, status
        Whether the ascent converged, shape (), and the same as a `Status`, `OK` or `NOT_CONVERGED`.

    Examples
    --------
    The drive under which a single qubit keeps the most ergotropy; more would be better still:

    >>> import qbjax as qb
    >>> def kept(model):
    ...     return qb.steady_state(model).ergotropy
    >>> best = qb.optimize(qb.StarBattery(N=1, F=0.3), kept, {"F": (0.1, 0.4)})
    >>> print(best.parameters["F"].round(4), best.at_bound["F"], best.converged)
    0.4 1 True
    """

    model: StarBattery
    value: jax.Array
    values: jax.Array
    parameters: dict[str, PyTree]
    at_bound: dict[str, PyTree]
    gradient_norm: jax.Array
    history: jax.Array
    steps: jax.Array
    converged: jax.Array
    status: jax.Array

    def _lines(self) -> list[Line]:
        sides = {-1: "on its lower bound", 0: "", 1: "on its upper bound"}
        plain = [name for name, value in self.parameters.items() if not is_pulse(value)]
        lines: list[Line] = [
            ("model", self.model.one_line, ""),
            ("value", self.value, "of the figure of merit"),
            ("values", self.values if self.values.shape[-1] > 1 else None, "from all starts"),
        ]
        for name in plain:
            side = self.at_bound[name]
            remark = sides[int(side)] if is_concrete(side) and jnp.ndim(side) == 0 else ""
            lines.append((name, self.parameters[name], remark))
        return [
            *lines,
            ("status", status_text(self.status), ""),
            ("steps", self.steps, ""),
            ("gradient_norm", self.gradient_norm, ""),
        ]


def optimize(
    model: StarBattery,
    objective: Objective,
    parameters: Mapping[str, Bounds],
    *,
    starts: int = 1,
    seed: int = 0,
    optimizer: optax.GradientTransformation | None = None,
    max_steps: int = 200,
    tolerance: float = 1e-8,
    progress: bool = False,
) -> Optimum:
    """Maximise a figure of merit over parameters of a model, from the model's own values.

    The ascent is local: it finds a maximum near the start, not always the nearest, since its first
    steps may cross a valley; `starts` tries several. Its stopping rules are those of
    `qbjax.common.minimise.minimise`.

    Parameters
    ----------
    model
        One model, or a batch of them with an optimum each.
    objective
        A function of one model that returns what to maximise, a real scalar, by JAX operations, for
        example the ergotropy of `qbjax.steady_state(model)`. It is traced, so nothing is raised
        within it: return NaN where a status says that a number cannot be trusted. Functions are
        told apart by identity: define it once, or every call compiles anew.
    parameters
        For each parameter by its name (low, high), the bounds, None or infinite where there is
        none. A parameter starts strictly between them. Of a `qbjax.PiecewiseConstant` the values
        are optimised, of a `qbjax.Pulse` all its parameters; their bounds may be tuples with one
        entry for each parameter of the pulse. "F.times" are the times at which the
        `PiecewiseConstant` F jumps, which stay in their order.
    starts
        How many ascents to make: one from the model's own values, the others from random
        ones, smooth or of random signs where they are the values of a pulse.
    seed
        Of the random starts, an integer.
    optimizer
        Any optax optimiser; None means `optax.lbfgs()`. It works on the variables x of
        `qbjax.charging.ranges`, which are of order one.
    max_steps, tolerance
        Where the ascent ends: see `qbjax.common.minimise.minimise`.
    progress
        Whether to show a progress bar (for one model and one start, on the host).

    Returns
    -------
    The best point seen and the evidence; look at `.status` and `.at_bound`.

    Raises
    ------
    ArgumentError
        Where a parameter is unknown or absent, starts outside its bounds, or the objective returns
        no real scalar.
    SolveError
        Where the objective is NaN at the start (in all of a batch).

    Examples
    --------
    The drive and the dephasing that leave most ergotropy in two qubits after a time of 10:

    >>> import qbjax as qb
    >>> def stored(model):
    ...     return qb.evolve(model, [10.0]).ergotropy[0]
    >>> model = qb.StarBattery(N=2, F=0.5, gamma_C=0.1)
    >>> best = qb.optimize(model, stored, {"F": (0.1, 5.0), "gamma_C": (1e-3, 10.0)})
    >>> print(f"{best.value:.4f} at F = {best.parameters['F']:.3f}, {best.at_bound['gamma_C']}")
    1.7481 at F = 0.573, -1
    """
    require_model(model)
    require(isinstance(parameters, Mapping), "parameters", "a dictionary of bounds", parameters)
    require(len(parameters) > 0, "parameters", "at least one name with its bounds", "empty")
    max_steps = as_count(max_steps, "max_steps")
    ranges = {name: ranges_of(model, name, bounds) for name, bounds in parameters.items()}
    _check_objective(objective, model)
    others = _other_starts(model, ranges, as_count(starts, "starts"), as_seed(seed, "seed"))
    settings = (ranges, objective, optimizer, max_steps, tolerance, others)
    if model.batch_shape:
        best = _optimum_batch(model, *settings)
    else:
        best = _optimum(model, *settings, progress=progress)
    first = best.history[..., 0]
    if is_concrete(first) and np.all(np.isnan(first)):
        raise SolveError(
            "The objective is NaN at the model's own parameters: nowhere to start from."
        )
    return best


class _Merit(eqx.Module):
    """The loss to minimise: a pytree, so that calls with other numbers share a program."""

    model: StarBattery
    ranges: dict[str, PyTree]
    objective: Objective

    def __call__(self, x: dict[str, PyTree], aux: None) -> tuple[jax.Array, None]:
        """Return minus the figure of merit for the variables x."""
        return -jnp.asarray(self.objective(self.at(x)), dtype=float), aux

    def over_leaves(
        self, function: Callable[..., PyTree], *trees: dict[str, PyTree]
    ) -> dict[str, PyTree]:
        """Return function(range, *leaves) for every leaf of every parameter, by name."""
        return {
            name: jax.tree.map(function, ranges, *(tree[name] for tree in trees))
            for name, ranges in self.ranges.items()
        }

    def start(self) -> dict[str, PyTree]:
        """Return what is optimised of every parameter, as the model has it."""
        return {name: leaves(self.model, name) for name in self.ranges}

    def at(self, x: dict[str, PyTree]) -> StarBattery:
        """Return the model for the variables x."""
        moved = self.over_leaves(lambda one, x, p: one.parameter(x, p), x, self.start())
        names = [*moved]
        return eqx.tree_at(
            lambda model: [leaves(model, name) for name in names], self.model, [*moved.values()]
        )


@eqx.filter_jit
def _optimum_batch(model: StarBattery, *settings: PyTree) -> Optimum:
    return over_batch(lambda one: _optimum(one, *settings, progress=False), model)


def _optimum(
    model: StarBattery,
    ranges: dict[str, PyTree],
    objective: Objective,
    optimizer: optax.GradientTransformation | None,
    max_steps: int,
    tolerance: float,
    others: dict[str, PyTree] | None,
    *,
    progress: bool,
) -> Optimum:
    merit = _Merit(model, ranges, objective)
    start = merit.start()
    first = merit.over_leaves(lambda one, p: one.variable(p), start)
    rules: dict[str, Any] = {"optimizer": optimizer, "max_steps": max_steps, "tolerance": tolerance}
    if others is None:
        minimum = minimise(merit, first, progress=progress, label="optimize", **rules)
        values = minimum.value[None]
    else:
        every = jax.tree.map(lambda x, more: jnp.concatenate([x[None], more]), first, others)
        ends = _ascents(merit, every, rules)
        values = ends.value
        lowest = jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))
        minimum = jax.tree.map(lambda x: x[lowest], ends)
    best = merit.at(minimum.x)
    at_best = {name: leaves(best, name) for name in ranges}
    return Optimum(
        model=best,
        value=-minimum.value,
        values=-values,
        parameters={name: _shown(best, name) for name in ranges},
        at_bound=merit.over_leaves(lambda one, *p: one.side(*p), at_best, start),
        gradient_norm=minimum.gradient_norm,
        history=-minimum.history,
        steps=minimum.steps,
        converged=minimum.converged,
        status=jnp.where(minimum.converged, Status.OK, Status.NOT_CONVERGED),
    )


@eqx.filter_jit
def _ascents(merit: _Merit, every: dict[str, PyTree], rules: dict[str, Any]) -> Minimum:
    """Return where each of many starts leads."""

    def ascend(first: dict[str, PyTree]) -> Minimum:
        return minimise(merit, first, **rules)

    # Side by side all of them would wait for the slowest line search, which costs a CPU more than
    # one after the other. Nor on threads: see `map_batch` on batched linear algebra.
    on_cpu = jax.default_backend() == "cpu"
    return jax.lax.map(ascend, every) if on_cpu else jax.vmap(ascend)(every)


def _shown(model: StarBattery, name: str) -> PyTree:
    """Return a parameter by name, a pulse as a whole but for its times."""
    return leaves(model, name) if name.endswith(".times") else getattr(model, name)


def _other_starts(
    model: StarBattery, ranges: dict[str, PyTree], starts: int, seed: int
) -> dict[str, PyTree] | None:
    """Return random variables x beside the model's own, (starts - 1, ...) each; None for one."""
    if starts == 1:
        return None
    draw = np.random.default_rng(seed)
    one = jax.tree.map(lambda leaf: leaf[(0,) * len(model.batch_shape)], model)

    def several(range: Range | Jumps, leaf: jax.Array) -> np.ndarray:
        return np.stack([range.random(leaf.shape, draw) for _ in np.arange(1, starts)])

    return {name: jax.tree.map(several, ranges[name], leaves(one, name)) for name in ranges}


def _check_objective(objective: Objective, model: StarBattery) -> None:
    """Trace the objective once, to see what it returns."""
    require(callable(objective), "objective", "a function of a model", objective)
    one = jax.tree.map(lambda leaf: leaf[(0,) * len(model.batch_shape)], model)
    with users_function(objective, "objective", "a function of a model by JAX operations"):
        returned = eqx.filter_eval_shape(objective, one)
    is_array = isinstance(returned, jax.ShapeDtypeStruct)
    real = is_array and returned.shape == () and jnp.issubdtype(returned.dtype, jnp.floating)
    kind = f"{returned.dtype} of shape {returned.shape}" if is_array else type(returned).__name__
    require(real, "objective", "a function that returns a real scalar", f"one that returns {kind}")
