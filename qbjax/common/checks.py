"""Arguments checked at the door, and the status that a solve reports.

Values that JAX is tracing cannot be looked at. Under `jax.jit`, `jax.vmap` and `jax.grad` a solve
reports a `Status` instead of raising, with NaN in place of numbers.
"""

import contextlib
import enum
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.types import Array, Condition

T = TypeVar("T")


class HasStatus(Protocol):
    """A result, for one model or for a batch."""

    status: jax.Array
    model: PyTree


Result = TypeVar("Result", bound=HasStatus)


class ArgumentError(ValueError):
    """An argument is not what it must be; the message names it in one line.

    Examples
    --------
    >>> import qbjax as qb
    >>> qb.StarBattery(N=0, F=0.5)
    Traceback (most recent call last):
        ...
    qbjax.ArgumentError: Argument `N` must be an integer of at least 1, but is 0.
    """


class SolveError(RuntimeError):
    """A solve has no answer that can be trusted; the message says why and what to do.

    Examples
    --------
    >>> import qbjax as qb
    >>> try:
    ...     qb.steady_state(qb.StarBattery(N=2, F=0.5, gamma_C=0.0))
    ... except qb.SolveError as error:
    ...     print(str(error).partition(":")[0])
    Argument `gamma_C` must be positive for a steady state
    """


# Users know them by these names.
ArgumentError.__module__ = SolveError.__module__ = "qbjax"


class Status(enum.IntEnum):
    """How a solve ended; `OK` is 0, so that a batch of statuses is all good when none is true.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> models = qb.StarBattery(N=2, F=jnp.array([0.5, 0.0]))
    >>> states = qb.steady_state(models, throw=False)
    >>> [qb.Status(int(status)).name for status in states.status]
    ['OK', 'NO_DRIVE']
    """

    OK = 0
    NO_DEPHASING = 1
    NO_DRIVE = 2
    NO_COUPLING = 3
    SPLITTINGS_LOST = 4
    NOT_CONVERGED = 5
    AMBIGUOUS = 6
    TRUNCATED = 7
    CUT_TOO_LOW = 8
    NOT_UNIQUE = 9
    UNDEFINED = 10
    OUT_OF_RANGE = 11

    @property
    def reason(self) -> str:
        """Say in one sentence what the status means."""
        return _REASONS[self]

    def explained(self, advice: str) -> str:
        """Return the reason, with the advice where the answer is `NOT_CONVERGED`."""
        return (
            f"{self.reason}; {advice}" if advice and self is Status.NOT_CONVERGED else self.reason
        )


_REASONS = {
    Status.OK: "the answer can be trusted",
    Status.NO_DEPHASING: (
        "Argument `gamma_C` must be positive for a steady state: without dephasing the charging "
        "is unitary and never settles; use qbjax.evolve"
    ),
    Status.NO_DRIVE: (
        "Argument `F` must be nonzero for a steady state: without drive the charger and the "
        "battery exchange a conserved number of excitations and the null space grows beyond N + 1; "
        "use qbjax.evolve"
    ),
    Status.NO_COUPLING: (
        "Argument `g` must be nonzero for a steady state: without coupling the battery never "
        "changes and the null space grows to (N + 1)^2; use qbjax.evolve"
    ),
    Status.SPLITTINGS_LOST: (
        "nearly equal singular values of K cannot be told apart in floating point at these late "
        "times; error_estimate says how much of the energy is uncertain"
    ),
    Status.NOT_CONVERGED: (
        "the answer does not meet its tolerance: the iteration stopped before, or the relaxation "
        "is too slow for this precision"
    ),
    Status.AMBIGUOUS: (
        "another answer is as good: a second minimum of the fit lies within 20 % in cost, its "
        "branch ended, or another maximum is as high"
    ),
    Status.TRUNCATED: (
        "the energy has more weighty modes than are sampled: those left out exceed 1e-4 of it"
    ),
    Status.CUT_TOO_LOW: (
        "the topmost level of what is cut, charger or battery, holds more than 1e-6: too low for "
        "this drive; give it more levels"
    ),
    Status.NOT_UNIQUE: (
        "the values leave several stationary states, or may do so, and the iteration cannot tell "
        'which one the start reaches: leave out (None) what is zero, or take method="direct"'
    ),
    Status.UNDEFINED: (
        "the solve can be trusted, but the observable is no number there: a ratio of nothing, or a "
        "derivative that does not exist"
    ),
    Status.OUT_OF_RANGE: (
        "an argument is out of its range there: a negative rate or occupation, omega_B that is "
        "not positive, a start that is no state, times that do not increase, or no finite number"
    ),
}


def is_concrete(*values: PyTree) -> bool:
    """Tell whether none of the values is being traced by JAX."""
    if len(values) == 1 and isinstance(values[0], np.ndarray | np.generic | bool):
        return True
    return not any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(values))


def require(condition: Condition, name: str, requirement: str, value: object) -> None:
    """Raise `ArgumentError` unless a condition holds that is known where JAX is tracing, too."""
    if condition is True:
        return
    assert is_concrete(condition), f"a check of numbers has a twin: {name} {requirement}"
    require_known(condition, name, requirement, value)


def require_known(condition: Condition, name: str, requirement: str, value: object) -> None:
    """Raise `ArgumentError` where a condition is known to fail somewhere.

    Traced conditions pass: their twin is elsewhere, for models `out_of_range`.
    """
    # Most are one word of Python or numpy, which takes no time to look at.
    if isinstance(condition, bool | np.bool_) and condition:
        return
    if is_concrete(condition) and not np.all(condition):
        text = np.asarray(value) if is_concrete(value) else "a traced value"
        one_line = " ".join(str(text).split())
        raise ArgumentError(f"Argument `{name}` must be {requirement}, but is {one_line}.")


def refusal(condition: Condition, name: str, requirement: str, value: object) -> Condition:
    """Raise like `require_known`, and return where a traced condition does not hold, for `refuse`.

    That is the twin of the check. False where nothing is traced.
    """
    require_known(condition, name, requirement, value)
    return False if is_concrete(condition) else ~jnp.asarray(condition)


@contextlib.contextmanager
def users_function(function: Callable[..., Any], name: str, requirement: str) -> Iterator[None]:
    """Say in one line, with the name of the argument, what a function of the user's own raises."""
    try:
        yield
    except ArgumentError:
        raise
    except Exception as error:
        called = getattr(function, "__name__", type(function).__name__)
        first = str(error).strip().partition("\n")[0]
        value = f"{called}, which raises {type(error).__name__}: {first}"
        raise ArgumentError(f"Argument `{name}` must be {requirement}, but is {value}") from error


def array_module(*values: PyTree) -> Any:
    """Return numpy for values that are known, and jax.numpy for those that JAX is tracing."""
    return np if is_concrete(values) else jnp


def as_array(values: PyTree, name: str) -> Array:
    """Return what is an array of numbers, on the host where it is known, or refuse it."""
    module, kind = array_module(values), f"of type {type(values).__name__}"
    if isinstance(values, int) and abs(values) >= 2**63:
        raise ArgumentError(f"Argument `{name}` must be below 2^63 in size, but is {values}.")
    try:
        array = module.asarray(values)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"Argument `{name}` must be an array of numbers, but is {kind}."
        ) from None
    numbers = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool
    require(numbers, name, "an array of numbers", kind)
    return array


def as_argument(value: PyTree) -> jax.Array:
    """Return a checked value as what is an array in a program that it is given to.

    It stays on the host where it is known: there each of JAX's operations is a program of its own.
    """
    argument: jax.Array = array_module(value).asarray(value)
    return argument


def as_real(values: PyTree, name: str) -> Array:
    """Return an array of real numbers in the precision that is worked in, or refuse it."""
    array = as_array(values, name)
    real = "real numbers" if array.ndim else "a real number"
    require(not jnp.iscomplexobj(array), name, real, values)
    return array.astype(jnp.result_type(float))


def as_number(value: PyTree, name: str) -> Array:
    """Return one real number as an array of shape () in the precision that is worked in."""
    array = as_array(value, name)
    real = array.shape == () and not jnp.iscomplexobj(array)
    require(real, name, "one real number", f"of shape {array.shape} and type {array.dtype}")
    return array.astype(jnp.result_type(float))


def as_count(value: object, name: str) -> int:
    """Return a positive integer, or refuse it."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 1:
        return int(value)
    raise ArgumentError(f"Argument `{name}` must be a positive integer, but is {value}.")


def as_seed(value: object, name: str) -> int:
    """Return an integer that is not negative, or refuse it."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0:
        return int(value)
    raise ArgumentError(f"Argument `{name}` must be an integer of at least 0, but is {value!r}.")


def number_where(condition: Condition, value: jax.Array) -> jax.Array:
    """Return a value, and NaN where a condition does not hold; its derivatives are NaN there, too.

    Those of `jnp.where` would be zero.
    """
    return value * jnp.where(condition, 1.0, jnp.nan).astype(value.real.dtype)


def blank(refused: Condition, values: T) -> T:
    """Return arrays with NaN in place of the numbers of what was refused, and False for True.

    The axes of `refused` are the first ones of the arrays. Integers stay.
    """
    if refused is False:
        return values

    def blanked(leaf: jax.Array) -> jax.Array:
        ahead = jnp.asarray(refused)
        ahead = ahead.reshape(ahead.shape + (1,) * (leaf.ndim - ahead.ndim))
        if leaf.dtype == bool:
            return leaf & ~ahead
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        return number_where(~ahead, leaf)

    return jax.tree.map(blanked, values)


def refuse(refused: Condition, result: Result) -> Result:
    """Return a result with `OUT_OF_RANGE` and NaN where its arguments were refused.

    For one model: `refused` has the shape ().
    """
    if refused is False:
        return result
    status = jnp.where(refused, Status.OUT_OF_RANGE, result.status)
    # The model stays as it was asked for.
    stays = status, result.model
    return eqx.tree_at(lambda x: (x.status, x.model), blank(refused, result), stays)


def warn_unless_ok(status: jax.Array, verb: str, advice: str) -> None:
    """Warn on the host, where the verb was called, of each status of its result but `OK`."""
    if is_concrete(status):
        for each in np.unique(np.asarray(status)):
            if each != Status.OK:
                text = f"qbjax.{verb}: {Status(each).explained(advice)}"
                warnings.warn(text, stacklevel=3)


def goes_with(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Tell whether arrays of two shapes broadcast together."""
    ends = zip(shape[::-1], other[::-1], strict=False)
    return all(1 in pair or pair[0] == pair[1] for pair in ends)


def require_choice(value: str, name: str, choices: tuple[str, ...]) -> None:
    """Raise `ArgumentError` unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(f'"{c}"' for c in choices)
        raise ArgumentError(f'Argument `{name}` must be one of {listed}, but is "{value}".')


def raise_unless_ok(status: jax.Array, advice: str = "") -> None:
    """Raise `SolveError` with the reason of the worst status; traced statuses pass.

    `advice` says what to do where it is `NOT_CONVERGED`.
    """
    if is_concrete(status):
        worst = Status(int(np.max(np.asarray(status))))
        if worst is not Status.OK:
            raise SolveError(worst.explained(advice))
