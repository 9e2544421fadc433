"""The shortest time in which the best parameters, pulses above all, reach a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.charging.best_parameters import Optimum, optimize
from qbjax.charging.ranges import Bounds, leaves
from qbjax.common.checks import SolveError, as_number, is_concrete, require, users_function
from qbjax.common.printing import Line, Printed
from qbjax.model.star_battery import StarBattery, require_model

if TYPE_CHECKING:
    import optax

# A restart goes so far from the values of `build` to the best ones: bounds are no start.
_SHARE = 0.99


class ShortestTime(Printed):
    """The shortest time in which a target was reached, with the evidence.

    Attributes
    ----------
    time
        The shortest time at which an ascent reached the target, in the inverse unit of g: an upper
        bound of the true one, as ascents are local.
    too_short
        The longest time, below that, at which none did.
    target
        What was to be reached.
    optimum
        The `Optimum` at `time`.

    Examples
    --------
    >>> import qbjax as qb
    >>> def battery(T):
    ...     drive = qb.shapes.piecewise_constant(T, [1.0, 0.0])
    ...     return qb.StarBattery(N=1, F=drive, gamma_C=0.0)
    >>> def energy(model, T):
    ...     return qb.evolve(model, [T], save="energy").energy[0]
    >>> switch = {"F.times": (0.0, 3.0)}
    >>> fastest = qb.shortest_time(battery, energy, 0.5, switch, between=(1.0, 3.0))
    >>> print(f"{fastest.time:.3f}", fastest.time - fastest.too_short < 1e-3)
    1.468 True
    """

    time: jax.Array
    too_short: jax.Array
    target: jax.Array
    optimum: Optimum

    def _lines(self) -> list[Line]:
        return [
            ("model", self.optimum.model.one_line, ""),
            ("time", self.time, "in the inverse unit of g"),
            ("too_short", self.too_short, "did not reach the target"),
            ("target", self.target, ""),
            ("value", self.optimum.value, "reached"),
        ]


def shortest_time(
    build: Callable[[float], StarBattery],
    objective: Callable[[StarBattery, Any], Any],
    target: float,
    parameters: Mapping[str, Bounds],
    *,
    between: tuple[float, float],
    time_tolerance: float = 1e-3,
    starts: int = 1,
    seed: int = 0,
    optimizer: optax.GradientTransformation | None = None,
    max_steps: int = 200,
) -> ShortestTime:
    """Return the shortest time T in which a figure of merit can reach a target, by bisection.

    At every time tried, `qbjax.optimize` maximises the figure of merit, from what was best at the
    last time that reached the target, and from random starts if there are to be more. A longer time
    must reach no less, as where a pulse may idle.

    Parameters
    ----------
    build
        A function of T that returns one model, the same for every T but for its numbers, with a
        pulse that lasts for T, for example of `qbjax.shapes`.
    objective
        A function (model, T) that returns what is to reach the target, a real scalar, by JAX
        operations. Define it once.
    target
        What is to be reached.
    parameters, starts, seed, optimizer, max_steps
        As for `qbjax.optimize`.
    between
        Two times, (low, high): the target must be out of reach in the first and within it in the
        second.
    time_tolerance
        The largest distance of `time` from `too_short`, positive.

    Returns
    -------
    A `ShortestTime`.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range.
    SolveError
        Where the target is not reached in the longer time, or is in the shorter one already.

    Examples
    --------
    No drive of at most g charges a qubit from 0 to 0.99 sooner than one that is switched off at the
    right moment; eight pieces come close to it:

    >>> import qbjax as qb
    >>> def battery(T):
    ...     drive = qb.shapes.piecewise_constant(T, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    ...     return qb.StarBattery(N=1, F=drive, gamma_C=0.0)
    >>> def energy(model, T):
    ...     return qb.evolve(model, [T], save="energy").energy[0]
    >>> bounds = {"F": (-1.0, 1.0)}
    >>> fastest = qb.shortest_time(battery, energy, 0.99, bounds, between=(2.0, 3.0))
    >>> print(f"{fastest.time:.2f}")
    2.36
    """
    goal, gap = as_number(target, "target"), as_number(time_tolerance, "time_tolerance")
    require(is_concrete(goal, gap), "target", "known", "one that JAX is tracing")
    require(gap > 0, "time_tolerance", "positive", time_tolerance)
    low, high = _ends(between)
    require(callable(build), "build", "a function of T that returns a model", build)

    def best(time: float, before: Optimum | None) -> Optimum:
        with users_function(build, "build", "a function of T that returns a model"):
            model = build(time)
        require_model(model)
        if before is not None:
            model = _restarted(model, before.model, parameters, time / high)
        ending = _Ending(objective, jnp.asarray(time, float))
        return optimize(
            model,
            ending,
            parameters,
            starts=starts,
            seed=seed,
            optimizer=optimizer,
            max_steps=max_steps,
        )

    reached, last = best(high, None), best(low, None)
    if not reached.value >= goal:
        raise SolveError(
            f"The target {goal:g} is not reached by t = {high:g}, but {reached.value:.6g}: raise "
            "the longer time of `between`, `starts` or `max_steps`, or lower `target`."
        )
    if last.value >= goal:
        raise SolveError(
            f"The target {goal:g} is reached by t = {low:g} already: lower the shorter time of "
            "`between`."
        )
    # Times closer together than that are the same in the precision that is worked in.
    close = max(float(gap), 4 * float(jnp.finfo(float).eps) * high)
    while high - low > close:
        middle = (low + high) / 2
        tried = best(middle, reached)
        if tried.value >= goal:
            high, reached = middle, tried
        else:
            low = middle
    return ShortestTime(jnp.asarray(high), jnp.asarray(low), jnp.asarray(goal), reached)


class _Ending(eqx.Module):
    """The figure of merit at one time: a pytree, so that all times share a program."""

    objective: Callable[[StarBattery, Any], Any]
    time: jax.Array

    def __call__(self, model: StarBattery) -> Any:
        """Return it for a model."""
        return self.objective(model, self.time)


def _ends(between: tuple[float, float]) -> tuple[float, float]:
    """Check the two times."""
    words = "two times, positive and increasing"
    pair = isinstance(between, tuple | list) and len(between) == 2
    require(pair, "between", words, between)
    low, high = (float(as_number(time, "between")) for time in between)
    require(0 < low < high < float("inf"), "between", words, between)
    return low, high


def _restarted(
    model: StarBattery, before: StarBattery, parameters: Mapping[str, Bounds], shorter: float
) -> StarBattery:
    """Return a model with the parameters of another one, times of jumps in a shorter time."""

    def moved(name: str) -> Any:
        scale = shorter if name.endswith(".times") else 1.0
        return jax.tree.map(
            lambda own, best: own + _SHARE * (scale * best - own),
            leaves(model, name),
            leaves(before, name),
        )

    names = [*parameters]
    return eqx.tree_at(lambda m: [leaves(m, name) for name in names], model, [*map(moved, names)])
