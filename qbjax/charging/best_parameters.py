r"""The parameters of a model at which a figure of merit is largest.

Bounds are kept by a change of variables p(x) after MINUIT: between a and b, in the middle at x = 0,

    p = a + (b - a) (1 + sin x) / 2,      one-sided:  p = a + s (sqrt(1 + x^2) - 1),

with s the distance of the start from the bound; without bounds p = p_0 + s x. A bound is reached at
a finite x, where dp/dx = 0, so that an optimum on the boundary is a smooth one in x. Where the
lower bound is positive, ln p takes the place of p: rates are searched decade by decade.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import (
    ArgumentError,
    SolveError,
    Status,
    as_count,
    is_concrete,
    require,
    require_known,
    users_function,
)
from qbjax.common.minimise import minimise
from qbjax.common.printing import Line, Printed, status_text
from qbjax.model.parameters import PARAMETERS
from qbjax.model.pulses import PiecewiseConstant, Pulse, is_pulse
from qbjax.model.star_battery import StarBattery, over_batch, require_model

if TYPE_CHECKING:
    import optax

Objective = Callable[[StarBattery], Any]
Bounds = tuple[PyTree, PyTree]

# A parameter this close to a bound, as a share of the range in p or ln p, is on it. In x the
# distance is the square root: far more than the descent leaves.
_ON_BOUND = 1e-8


class Optimum(Printed):
    """The best parameters that `optimize` saw, with the evidence; a batch puts its axes in front.

    Attributes
    ----------
    model
        The model with these parameters.
    value
        The figure of merit there, shape ().
    parameters
        The parameters by name; a pulse where the model has one.
    at_bound
        -1 where a parameter is on its lower bound, 1 on its upper one, else 0, by name; for a pulse
        with one entry for each of its parameters.
    gradient_norm
        Norm of the gradient there in the variables x of `qbjax.optimize`, shape (). It vanishes on
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
    optimizer: optax.GradientTransformation | None = None,
    max_steps: int = 200,
    tolerance: float = 1e-8,
    progress: bool = False,
) -> Optimum:
    """Maximise a figure of merit over parameters of a model, from the model's own values.

    The ascent is local: it finds a maximum near the start, not always the nearest, since its first
    steps may cross a valley; start from several points. Its stopping rules are those of
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
        entry for each parameter of the pulse.
    optimizer
        Any optax optimiser; None means `optax.lbfgs()`. It works on the variables x of the module
        `qbjax.optimize`, which are of order one.
    max_steps, tolerance
        Where the ascent ends: see `qbjax.common.minimise.minimise`.
    progress
        Whether to show a progress bar (for one model, on the host).

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
    ranges = {name: _ranges(model, name, bounds) for name, bounds in parameters.items()}
    _check_objective(objective, model)
    settings = (ranges, objective, optimizer, max_steps, tolerance)
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


@dataclasses.dataclass(frozen=True)
class _Range:
    """The bounds of one leaf, infinite where there is none, and its change of variables."""

    low: float
    high: float

    def _scaled(self, p: jax.Array) -> jax.Array:
        return jnp.log(p) if self.low > 0 else p

    def _ends(self) -> tuple[float, float]:
        return (math.log(self.low), math.log(self.high)) if self.low > 0 else (self.low, self.high)

    def variable(self, start: jax.Array) -> jax.Array:
        """Return x at the start; NaN where that is out of bounds."""
        (a, b), u = self._ends(), self._scaled(start)
        if math.isfinite(a) and math.isfinite(b):
            return jnp.arcsin(2 * (u - a) / (b - a) - 1)
        bounded = math.isfinite(a) or math.isfinite(b)
        inside = (a < u) & (u < b)
        return jnp.where(inside, math.sqrt(3) if bounded else 0.0, jnp.nan)

    def parameter(self, x: jax.Array, start: jax.Array) -> jax.Array:
        """Return p at x."""
        (a, b), u = self._ends(), self._scaled(start)
        if math.isfinite(a) and math.isfinite(b):
            moved = a + (b - a) * (1 + jnp.sin(x)) / 2
        elif math.isfinite(a):
            moved = a + (u - a) * (jnp.sqrt(1 + x**2) - 1)
        elif math.isfinite(b):
            moved = b - (b - u) * (jnp.sqrt(1 + x**2) - 1)
        else:
            moved = u + jnp.maximum(jnp.abs(u), 1.0) * x
        return jnp.exp(moved) if self.low > 0 else moved

    def side(self, p: jax.Array, start: jax.Array) -> jax.Array:
        """Return -1 on the lower bound, 1 on the upper one, else 0."""
        (a, b), u, u_0 = self._ends(), self._scaled(p), self._scaled(start)
        below, above = u - a, b - u
        if not (math.isfinite(a) and math.isfinite(b)):
            # Where one bound is infinite, the start is the length to compare with.
            return jnp.where(below < _ON_BOUND * (u_0 - a), -1, 0) + (above < _ON_BOUND * (b - u_0))
        return jnp.where(below < _ON_BOUND * (b - a), -1, 0) + (above < _ON_BOUND * (b - a))


class _Merit(eqx.Module):
    """The loss to minimise: a pytree, so that calls with other numbers share a program."""

    model: StarBattery
    ranges: dict[str, PyTree]
    objective: Objective = eqx.field(static=True)

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
        return {name: _leaves(self.model, name) for name in self.ranges}

    def at(self, x: dict[str, PyTree]) -> StarBattery:
        """Return the model for the variables x."""
        moved = self.over_leaves(_Range.parameter, x, self.start())
        names = [*moved]
        return eqx.tree_at(
            lambda model: [_leaves(model, name) for name in names], self.model, [*moved.values()]
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
    *,
    progress: bool,
) -> Optimum:
    merit = _Merit(model, ranges, objective)
    start = merit.start()
    minimum = minimise(
        merit,
        merit.over_leaves(_Range.variable, start),
        optimizer=optimizer,
        max_steps=max_steps,
        tolerance=tolerance,
        progress=progress,
        label="optimize",
    )
    best = merit.at(minimum.x)
    reached = {name: _leaves(best, name) for name in ranges}
    return Optimum(
        model=best,
        value=-minimum.value,
        parameters={name: getattr(best, name) for name in ranges},
        at_bound=merit.over_leaves(_Range.side, reached, start),
        gradient_norm=minimum.gradient_norm,
        history=-minimum.history,
        steps=minimum.steps,
        converged=minimum.converged,
        status=jnp.where(minimum.converged, Status.OK, Status.NOT_CONVERGED),
    )


def _leaves(model: StarBattery, name: str) -> PyTree:
    """Return what is optimised of a parameter: an array, or the parameters of a pulse."""
    parameter = getattr(model, name)
    if isinstance(parameter, PiecewiseConstant):
        return parameter.values
    return parameter.parameters if isinstance(parameter, Pulse) else parameter


def _ranges(model: StarBattery, name: str, bounds: Bounds) -> PyTree:
    """Check one entry of `parameters`; return a range for each leaf."""
    require(
        name in PARAMETERS, "parameters", f"by name out of {', '.join(PARAMETERS)}", f'"{name}"'
    )
    words = "without what is absent from the model"
    require(getattr(model, name) is not None, "parameters", words, f'given with "{name}"')
    pair = isinstance(bounds, tuple | list) and len(bounds) == 2
    require(pair, "parameters", f"given with a pair (low, high) for `{name}`", bounds)
    start = _leaves(model, name)
    low, high = (_spread(name, bound, start) for bound in bounds)
    ranges = jax.tree.map(lambda a, b: _range(name, a, b), low, high, is_leaf=_is_none)
    signed = PARAMETERS[name].range == "real"
    if not signed and not isinstance(getattr(model, name), Pulse):
        words = f"given with bounds of at least 0 for `{name}`"
        require(ranges.low >= 0, "parameters", words, bounds)

    def check(one: _Range, leaf: jax.Array) -> None:
        inside = one.side(leaf, leaf) == 0
        inside &= (one.low < leaf) & (leaf < one.high)
        words = (
            f"strictly between its bounds, {one.low:g} and {one.high:g}, where the ascent starts"
        )
        # Where it is traced, the ascent starts from NaN.
        require_known(inside, name, words, leaf)

    jax.tree.map(check, ranges, start)
    return ranges


def _is_none(value: object) -> bool:
    return value is None


def _spread(name: str, bound: PyTree, leaves: PyTree) -> PyTree:
    """Return one bound for every leaf: one for all of them, or a tuple with one for each."""
    try:
        return jax.tree.broadcast(bound, leaves, is_leaf=_is_none)
    except ValueError:
        words = f"given with one bound for all parameters of the pulse `{name}` or one for each"
        raise ArgumentError(f"Argument `parameters` must be {words}, but is {bound}.") from None


def _range(name: str, low: Any, high: Any) -> _Range:
    try:
        bounds = _Range(
            -math.inf if low is None else float(low), math.inf if high is None else float(high)
        )
    except (TypeError, ValueError):
        bounds = _Range(math.nan, math.nan)
    words = f"given with numbers low < high, or None, for `{name}`"
    require(bounds.low < bounds.high, "parameters", words, f"{low}, {high}")
    return bounds


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
