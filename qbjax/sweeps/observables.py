"""What a sweep returns of a point, by name or as a function: values and their statuses."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.charging.dephasing import OptimalDephasing, optimal_dephasing
from qbjax.charging.maximum import FIGURES
from qbjax.charging.times import DEFINITIONS, ChargingTime, charging_time
from qbjax.common.checks import ArgumentError, Status, require, users_function
from qbjax.evolution.evolve import evolve
from qbjax.evolution.result import Trajectory
from qbjax.exact.applies import is_exact
from qbjax.model.parameters import PARAMETERS
from qbjax.model.star_battery import StarBattery, out_of_range
from qbjax.steady.exact import MANY
from qbjax.steady.result import SteadyState
from qbjax.steady.steady_state import steady_state
from qbjax.sweeps.provenance import fingerprint

# A value and the status of the solve that it comes from.
Measured = tuple[jax.Array, jax.Array]


class Solved:
    """The solves of a model, or of a batch: each is made when first asked for, and then shared."""

    def __init__(self, model: StarBattery, method: str, ts: jax.Array | None):
        """Take the model, the method of its steady state, and the times of its trajectory."""
        self.model, self.method, self.ts = model, method, ts
        self._made: dict[object, PyTree] = {}

    def steady(self, state: bool = True) -> SteadyState:
        """Return the steady state, or of many qubits its figures of merit alone."""
        state = state or self.model.levels <= MANY
        # The default, or what single precision can reach.
        tolerance = max(1e-8, 100 * float(jnp.finfo(self.model.omega_B.dtype).eps))
        settings: dict[str, PyTree] = {
            "method": self.method,
            "tolerance": tolerance,
            "throw": False,
            "state": state,
        }
        return self._once(("steady", state), lambda: steady_state(self.model, **settings))

    def trajectory(self) -> Trajectory:
        """Return the trajectory."""
        assert self.ts is not None
        ts = self.ts
        return self._once("trajectory", lambda: evolve(self.model, ts))

    def charging(self, definition: str) -> ChargingTime:
        """Return the charging time by a definition."""
        key = "charging", definition
        return self._once(key, lambda: charging_time(self.model, definition, throw=False))

    def maximum(self, of: str) -> ChargingTime:
        """Return when a figure of merit is largest up to the last time of the trajectory."""
        require(
            self.ts is not None, "ts", f"given for the largest {of}: the last is looked up to", None
        )
        assert self.ts is not None
        end = self.ts[-1]
        return self._once(
            ("maximum", of),
            lambda: charging_time(self.model, "maximum", of=of, t_end=end, throw=False),
        )

    def optimum(self, definition: str) -> OptimalDephasing:
        """Return the best dephasing rate by a definition."""
        key = "optimum", definition
        return self._once(key, lambda: optimal_dephasing(self.model, definition, throw=False))

    def slopes(self, source: Observable) -> tuple[dict[str, jax.Array], jax.Array]:
        """Return the derivatives of an observable with respect to all numbers of the model."""

        def solve() -> tuple[dict[str, jax.Array], jax.Array]:
            names = [f.name for f in fields(self.model) if _is_number(getattr(self.model, f.name))]

            def pick(model: StarBattery) -> list[jax.Array]:
                return [getattr(model, name) for name in names]

            def summed(numbers: list[jax.Array]) -> Measured:
                moved = eqx.tree_at(pick, self.model, numbers)
                value, status = source.measure(Solved(moved, self.method, self.ts))
                # The points of a batch do not depend on each other.
                return jnp.sum(value), status

            slopes, status = jax.grad(summed, has_aux=True)(pick(self.model))
            return dict(zip(names, slopes, strict=True)), status

        return self._once(("slopes", source.name), solve)

    def _once(self, key: object, solve: Callable[[], PyTree]) -> PyTree:
        if key not in self._made:
            self._made[key] = solve()
        return self._made[key]


def _is_number(value: object) -> bool:
    return isinstance(value, jax.Array) and bool(jnp.issubdtype(value.dtype, jnp.floating))


class Observable(eqx.Module):
    """What a sweep returns under one name.

    Attributes
    ----------
    name, units, long_name
        As they stand in the dataset.
    measure
        From the solves of a model to a value and its status.
    of_optimum
        Whether it belongs to the best dephasing rate, and has no dimension gamma_C.
    until
        Whether it hangs on the last of the times.
    iterated
        Whether it is found step by step: side by side, all points would wait for the slowest.
    source
        What tells it apart from others of its name: a function's fingerprint; "" for qbjax's own.
    """

    name: str
    units: str
    long_name: str
    measure: Callable[[Solved], Measured]
    of_optimum: bool = False
    iterated: bool = False
    source: str = ""
    until: bool = False


def _figure(field: str) -> Callable[[Solved], Measured]:
    return lambda solved: (getattr(solved.steady(False), field), solved.steady(False).status)


def _charging(definition: str) -> Callable[[Solved], Measured]:
    return lambda s: (s.charging(definition).tau, s.charging(definition).status)


def _largest(of: str, field: str) -> Callable[[Solved], Measured]:
    return lambda s: (getattr(s.maximum(of), field), s.maximum(of).status)


def _optimal(definition: str, field: str) -> Callable[[Solved], Measured]:
    return lambda s: (getattr(s.optimum(definition), field), s.optimum(definition).status)


ENERGY, RATE, TIME = "unit of omega_B", "unit of g", "1 / unit of g"
PARAMETER_UNITS = {name: row.units for name, row in PARAMETERS.items()} | {"N": "1"}
_FIGURES = {
    "energy": (ENERGY, "energy of the battery"),
    "ergotropy": (ENERGY, "ergotropy of the battery"),
    "ratio": ("1", "ergotropy over energy"),
    "relaxation_time": (TIME, "relaxation time"),
    "log_relaxation_time": ("1", "logarithm of the relaxation time"),
}


def _named() -> dict[str, Observable]:
    named = [Observable(name, *words, _figure(name)) for name, words in _FIGURES.items()]
    for definition in DEFINITIONS:
        by = f'by "{definition}"'
        name, measure = f"tau_{definition}", _charging(definition)
        slow = definition in ("fit", "settling")
        named.append(Observable(name, TIME, f"charging time {by}", measure, iterated=slow))
        for field, units, words in (
            ("gamma_C", RATE, "best dephasing rate"),
            ("tau", TIME, "shortest charging time"),
        ):
            name, measure = f"{field}_star_{definition}", _optimal(definition, field)
            slow = definition != "decay_rate"
            named.append(Observable(name, units, f"{words} {by}", measure, True, slow))
    for of in FIGURES:
        words, units = of.replace("_", " "), f"({ENERGY}) / ({TIME})" if "power" in of else ENERGY
        for name, unit, what, field in (
            (f"tau_maximum_{of}", TIME, "time of the largest", "tau"),
            (f"max_{of}", units, "largest", "value"),
        ):
            measure = _largest(of, field)
            named.append(Observable(name, unit, f"{what} {words}", measure, until=True))
    return {observable.name: observable for observable in named}


NAMED = _named()


def observable(value: object) -> Observable:
    """Return an observable from its name, itself, or a function of (model, steady, trajectory)."""
    if isinstance(value, Observable):
        return value
    if callable(value):
        return _from_function(value)
    forms = f"functions, qbjax.grad_of(...), or names out of {', '.join(NAMED)}"
    if isinstance(value, str) and value in NAMED:
        return NAMED[value]
    close = difflib.get_close_matches(str(value), NAMED, 1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    raise ArgumentError(f"Argument `observables` must be {forms}, but is {value!r}.{meant}")


# What a function of the user's own may ask for, by the names of its arguments.
_ARGUMENTS = ("model", "steady", "trajectory")


def _from_function(function: Callable[..., PyTree]) -> Observable:
    name = getattr(function, "__name__", "")
    require(name.isidentifier(), "observables", "functions with a name (def, not lambda)", function)
    require(name not in NAMED, "observables", "functions of other names than qbjax's own", name)
    asked = _asked(function, name)
    # A compiled function takes no more than arrays: a sweep compiles it itself.
    inner = inspect.unwrap(function, stop=lambda f: not isinstance(f, jax.stages.Wrapped))

    def measure(solved: Solved) -> Measured:
        solutions = _solutions(solved, asked)
        value = _value(inner, solved.model, asked, solutions)
        parts = jax.tree.leaves(value)
        one = len(parts) == 1 and eqx.is_array_like(parts[0])
        returned = f"one that returns {type(value).__name__}"
        require(one, "observables", f"functions that return one array ({name})", returned)
        status = jnp.zeros(solved.model.batch_shape, int)
        if "steady" in solutions:
            status = solutions["steady"].status
        if "trajectory" in solutions:
            late = jnp.max(solutions["trajectory"].status, -1)
            status = jnp.where(status == Status.OK, late, status)
        return jnp.asarray(parts[0]), status

    long_name = (function.__doc__ or name).strip().splitlines()[0]
    return Observable(name, "", long_name, measure, source=fingerprint(function))


def _asked(function: Callable[..., PyTree], name: str) -> tuple[str, ...]:
    """Return which of model, steady state and trajectory a function takes, by their names."""
    known = inspect.signature(function).parameters.values()
    open_ = [each.name for each in known if each.default is each.empty]
    listed = ", ".join(f"`{each}`" for each in _ARGUMENTS)
    strange = [each for each in open_ if each not in _ARGUMENTS]
    requirement = f"functions of {listed}, or some of them, by these names"
    require(not strange, "observables", requirement, f"{name}({', '.join(open_)})")
    return tuple(open_)


def _solutions(solved: Solved, asked: tuple[str, ...]) -> dict[str, PyTree]:
    """Return the solutions that a function takes, of those that there are."""
    solutions: dict[str, PyTree] = {}
    if "steady" in asked and not solved.model.depends_on_time:
        solutions["steady"] = solved.steady()
    if "trajectory" in asked and solved.ts is not None:
        solutions["trajectory"] = solved.trajectory()
    return solutions


class _Missing:
    """What a function gets for a solution that there is not: it may not look at it."""

    def __init__(self, what: str):
        self._what = what

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._what == "trajectory":
            requirement = "given for a function that uses the trajectory"
            raise ArgumentError(f"Argument `ts` must be {requirement}, but is None.")
        requirement = "functions of the trajectory for a model that depends on time"
        raise ArgumentError(
            f"Argument `observables` must be {requirement}, but is one of the steady state."
        )


def _value(
    function: Callable[..., PyTree],
    model: StarBattery,
    asked: tuple[str, ...],
    solutions: dict[str, PyTree],
) -> PyTree:
    """Return what a function gives for a model, or for each of a batch."""

    def each(model: StarBattery, solutions: dict[str, PyTree]) -> PyTree:
        there = {"model": model} | solutions
        return function(**{name: there.get(name, _Missing(name)) for name in asked})

    for _ in model.batch_shape:
        each = eqx.filter_vmap(each)
    words = "functions of (model, steady, trajectory) by JAX operations, without `if`"
    with users_function(function, "observables", words):
        return each(model, solutions)


def grad_of(name: str, parameter: str) -> Observable:
    """Return the derivative of an observable with respect to a parameter, for `qbjax.sweep`.

    Parameters
    ----------
    name
        An observable of the steady state or a charging time, by name.
    parameter
        A parameter of the model that is a number there.

    Returns
    -------
    The observable "d_<name>_d_<parameter>", a number at every point.

    Raises
    ------
    ArgumentError
        Where there is no such observable, or it belongs to the best dephasing rate.

    Examples
    --------
    >>> import qbjax as qb
    >>> qb.grad_of("ergotropy", "F").name
    'd_ergotropy_d_F'
    """
    possible = [each for each in NAMED if not NAMED[each].of_optimum]
    require(name in possible, "name", f"one of {', '.join(possible)}", f'"{name}"')
    source = NAMED[name]
    units = _over(source.units, PARAMETER_UNITS.get(parameter, RATE))
    words = f"derivative of {source.long_name} with respect to {parameter}"
    called = f"d_{name}_d_{parameter}"
    return Observable(called, units, words, _Slope(name, parameter), iterated=source.iterated)


@dataclass(frozen=True)
class _Slope:
    """The derivative of a named observable by a parameter: an object, which pickle takes."""

    name: str
    parameter: str

    def __call__(self, solved: Solved) -> Measured:
        """Return it at a point."""
        requirement = "a number that is given to the model or in the grid"
        there = _is_number(getattr(solved.model, str(self.parameter), None))
        require(there, "parameter", requirement, f'"{self.parameter}"')
        exact = is_exact(solved.model) and solved.method in ("auto", "exact")
        known = exact or self.name not in ("relaxation_time", "log_relaxation_time")
        require(known, "name", "another than that of a bound, which has no derivative", self.name)
        slopes, status = solved.slopes(NAMED[self.name])
        return slopes[self.parameter], status


def _over(units: str, of: str) -> str:
    """Return the units of a quotient."""
    if of == "1":
        return units
    return f"{units if units == '1' else f'({units})'} / ({of})"


def measure(solved: Solved, observables: tuple[Observable, ...]) -> dict[str, Measured]:
    """Return all observables of a model or of a batch; what cannot be trusted is NaN.

    A value that is `AMBIGUOUS` stands.
    """
    measured = {}
    for each in observables:
        value, status = each.measure(solved)
        status = jnp.where(out_of_range(solved.model), Status.OUT_OF_RANGE, status)
        own_axes = tuple(range(status.ndim, value.ndim))
        stands = (status == Status.OK) | (status == Status.AMBIGUOUS)
        value = jnp.where(jnp.expand_dims(stands, own_axes), value, jnp.nan)
        # An infinite relaxation time says something; what a function makes of zero does not.
        absent = ~jnp.isfinite(value) if each.source else jnp.isnan(value)
        lost = (status == Status.OK) & jnp.any(absent, axis=own_axes)
        measured[each.name] = value, jnp.where(lost, Status.UNDEFINED, status).astype(jnp.int8)
    return measured
