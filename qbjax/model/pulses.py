"""Parameters that depend on time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.common.checks import array_module, as_real, require, require_known, users_function
from qbjax.common.printing import Line, Printed
from qbjax.common.types import ArrayLike, Scalar


class Pulse(Printed):
    """A real parameter given as a function of time, with parameters of its own.

    Before it integrates, `qbjax.evolve` looks at a pulse at 65536 times, evenly spaced up to the
    last one that is asked for, so that no step passes over what happens at them; where that is 64
    times an earlier one, up to that, too. It also looks around every number that the function is
    made of, where most pulses are centred, begin or end. What is shorter than the spacing and
    happens at other times needs `stops`. Whether a rate turns negative is not looked at: what is
    solved with it may be no state.

    Parameters
    ----------
    function
        A function (t, *parameters) of JAX operations, real and of shape (). Functions are told
        apart by identity: define it once, at module level, or every call compiles anew.
    parameters
        Arrays, or pytrees of them. They may be traced and are differentiated; a batch of models
        shares them (to map over them, make the model inside `jax.vmap`).
    stops
        Times at which integrators stop and start, in any order, shape (K,): where the function
        jumps or has a kink, and where something begins and ends that is over in a moment.

    Raises
    ------
    ArgumentError
        Where the function is none, or is not real and of shape (), where a parameter is no number,
        or where stops are no finite times in one row.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> def ramp(t, height, width):
    ...     return height * jnp.tanh(t / width)
    >>> drive = qb.Pulse(ramp, 0.5, 2.0)
    >>> print(drive(0.0), drive(2.0).round(4))
    0.0 0.3808

    A flash that lasts for a millionth of the time:

    >>> def flash(t, begin, end):
    ...     return jnp.where((begin <= t) & (t < end), 100.0, 0.0)
    >>> drive = qb.Pulse(flash, 400.0, 400.001, stops=[400.0, 400.001])
    >>> curve = qb.evolve(qb.StarBattery(N=1, F=drive, gamma_C=0.0), [400.0, 401.5])
    >>> print(curve.energy.round(4), curve.status)
    [0.     0.0099] [0 0]
    """

    function: Callable[..., PyTree] = eqx.field(static=True)
    parameters: tuple[PyTree, ...]
    stops: jax.Array | None

    def __init__(
        self, function: Callable[..., PyTree], *parameters: PyTree, stops: ArrayLike | None = None
    ):
        """Take the function, its parameters, and where integrators stop."""
        require(callable(function), "function", "a function of time", function)
        self.function = function
        self.stops = None
        if stops is not None:
            times = as_real(stops, "stops")
            require(times.ndim == 1, "stops", "one-dimensional", stops)
            require_known(array_module(times).isfinite(times), "stops", "finite", stops)
            self.stops = jnp.asarray(times)
        self.parameters = jax.tree.map(_parameter, parameters)
        words = "real and of shape (), of (t, *parameters) by JAX operations, without `if`"
        with users_function(function, "function", words):
            value = jax.eval_shape(self, jax.ShapeDtypeStruct((), float))
        is_real = value.shape == () and jnp.issubdtype(value.dtype, jnp.floating)
        kind = f"of shape {value.shape} and type {value.dtype}"
        require(is_real, "function", "real and of shape ()", kind)

    def __call__(self, t: Scalar) -> jax.Array:
        """Return the value at a time."""
        return jnp.asarray(self.function(t, *self.parameters))

    def _lines(self) -> list[Line]:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        numbers = [
            (f"parameter {i}", x, "") for i, x in enumerate(jax.tree.leaves(self.parameters))
        ]
        return [("function", name, "of time"), *numbers, ("stops", self.stops, "")]

    def numbers(self) -> list[jax.Array]:
        """Return its parameters, and the other numbers that stand in its function, in rows."""
        traced = jax.make_jaxpr(self.function)(jnp.zeros(()), *self.parameters)
        numbers = [*jax.tree.leaves(self.parameters), *traced.consts, *_literals(traced.jaxpr)]
        return [jnp.ravel(x).astype(float) for x in numbers if jnp.isrealobj(x)]


class PiecewiseConstant(Printed):
    """A real parameter that takes one constant value after the other.

    Parameters
    ----------
    times
        Where the value changes, increasing, shape (K - 1,). Integrators stop and start there.
    values
        The K values: before times[0], between, and after times[-1]. Shape (K,).

    Raises
    ------
    ArgumentError
        Where times do not increase, or there is not one value more than times.

    Examples
    --------
    >>> import qbjax as qb
    >>> drive = qb.PiecewiseConstant([1.0, 3.0], [0.5, 0.0, 0.2])
    >>> print(drive(0.0), drive(1.0), drive(5.0))
    0.5 0.0 0.2
    """

    times: jax.Array
    values: jax.Array

    def __init__(self, times: ArrayLike, values: ArrayLike):
        """Check that there is one value more than times."""
        self.times = jnp.asarray(as_real(times, "times"))
        self.values = jnp.asarray(as_real(values, "values"))
        require(self.times.ndim == 1, "times", "one-dimensional", times)
        fits = self.values.shape == (self.times.size + 1,)
        shape = f"of shape ({self.times.size + 1},), one more than times"
        require(fits, "values", shape, f"of shape {self.values.shape}")
        require_known(jnp.diff(self.times) > 0, "times", "increasing", times)
        require_known(jnp.isfinite(self.times), "times", "finite", times)
        require_known(jnp.isfinite(self.values), "values", "finite", values)

    def _lines(self) -> list[Line]:
        return [("times", self.times, ""), ("values", self.values, "")]

    @property
    def stops(self) -> jax.Array:
        """The times at which integrators stop and start."""
        return self.times

    def __call__(self, t: Scalar) -> jax.Array:
        """Return the value at a time; at a change, the later one."""
        # Of a few times, all are compared at once.
        where = jnp.searchsorted(self.times, t, side="right", method="compare_all")
        return self.values[where]


def _parameter(value: ArrayLike) -> jax.Array:
    """Check a parameter of a pulse; infinity may stand for an end that never comes."""
    array = as_real(value, "parameters")
    require_known(~array_module(array).isnan(array), "parameters", "numbers", value)
    return jnp.asarray(array)


def _literals(program: PyTree) -> list[ArrayLike]:
    """Return the numbers that stand in a program of JAX, and in those within it."""
    numbers = []
    for step in program.eqns:
        numbers += [entry.val for entry in step.invars if hasattr(entry, "val")]
        for inner in jax.tree.leaves([*step.params.values()], is_leaf=_is_program):
            if _is_program(inner):
                numbers += [
                    *getattr(inner, "consts", ()),
                    *_literals(getattr(inner, "jaxpr", inner)),
                ]
    return numbers


def _is_program(value: object) -> bool:
    return hasattr(value, "eqns")


# What a parameter may be: an array, or something that depends on time.
Value = Any


def is_pulse(parameter: object) -> bool:
    """Tell whether a parameter depends on time."""
    return isinstance(parameter, Pulse | PiecewiseConstant)


def pulses_of(model: PyTree) -> list[Pulse | PiecewiseConstant]:
    """Return everything in a model, or another pytree, that depends on time."""
    return [leaf for leaf in jax.tree.leaves(model, is_leaf=is_pulse) if is_pulse(leaf)]


def at_time(parameter: Any, t: ArrayLike) -> Any:
    """Return the value of a parameter at a time, whether or not it depends on it."""
    return parameter(t) if is_pulse(parameter) else parameter


def in_words(parameter: Any) -> Any:
    """Return a parameter, and what depends on time in a few words."""
    return f"a {type(parameter).__name__} of time" if is_pulse(parameter) else parameter
