"""Parameters that depend on time."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.checks import is_concrete, require


class Pulse(eqx.Module):
    """A real parameter given as a function of time, with parameters of its own.

    Its values are not looked at beforehand: a rate that turns negative shows in the status of what
    is solved with it.

    Parameters
    ----------
    function
        A function (t, *parameters) of JAX operations, real and of shape (). Functions are told
        apart by identity: define it once, at module level, or every call compiles anew.
    parameters
        Arrays, or pytrees of them. They may be traced and are differentiated; a batch of models
        shares them (to map over them, make the model inside `jax.vmap`).

    Raises
    ------
    ArgumentError
        Where the function is none, or is not real and of shape ().

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> def ramp(t, height, width):
    ...     return height * jnp.tanh(t / width)
    >>> drive = qb.Pulse(ramp, 0.5, 2.0)
    >>> print(drive(0.0), drive(2.0).round(4))
    0.0 0.3808
    """

    function: Callable[..., Any] = eqx.field(static=True)
    parameters: tuple[Any, ...]

    def __init__(self, function: Callable[..., Any], *parameters: Any):
        """Take the function and its parameters."""
        require(callable(function), "function", "a function of time", function)
        self.function = function
        self.parameters = jax.tree.map(lambda x: jnp.asarray(x, dtype=float), parameters)
        value = jax.eval_shape(self, jax.ShapeDtypeStruct((), float))
        good = value.shape == () and jnp.issubdtype(value.dtype, jnp.floating)
        found = f"of shape {value.shape} and type {value.dtype}"
        require(good, "function", "real and of shape ()", found)

    def __call__(self, t: ArrayLike) -> jax.Array:
        """Return the value at a time."""
        return jnp.asarray(self.function(t, *self.parameters))


class PiecewiseConstant(eqx.Module):
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
        self.times = jnp.asarray(times, dtype=float)
        self.values = jnp.asarray(values, dtype=float)
        require(self.times.ndim == 1, "times", "one-dimensional", times)
        fits = self.values.shape == (self.times.size + 1,)
        shape = f"of shape ({self.times.size + 1},), one more than times"
        require(fits, "values", shape, f"of shape {self.values.shape}")
        if is_concrete(self.times):
            increasing = np.all(np.diff(np.asarray(self.times)) > 0)
            require(increasing and np.all(np.isfinite(times)), "times", "increasing", times)
        if is_concrete(self.values):
            require(np.isfinite(np.asarray(self.values)), "values", "finite", values)

    def __call__(self, t: ArrayLike) -> jax.Array:
        """Return the value at a time; at a change, the later one."""
        return self.values[jnp.searchsorted(self.times, t, side="right")]


def is_pulse(parameter: Any) -> bool:
    """Tell whether a parameter depends on time."""
    return isinstance(parameter, Pulse | PiecewiseConstant)


def at_time(parameter: Any, t: ArrayLike) -> Any:
    """Return the value of a parameter at a time, whether or not it depends on it."""
    return parameter(t) if is_pulse(parameter) else parameter
