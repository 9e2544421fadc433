"""Arguments checked at the door, and the status that a solve reports.

Values that JAX is tracing cannot be looked at, so every check here passes on traced values: under
`jax.jit`, `jax.vmap` and `jax.grad` a solve reports a `Status` instead of raising.
"""

import enum
from typing import Any

import jax
import numpy as np


class ArgumentError(ValueError):
    """An argument is not what it must be; the message names it in one line.

    Examples
    --------
    >>> import qbjax as qb
    >>> qb.StarBattery(N=0, F=0.5)
    Traceback (most recent call last):
        ...
    qbjax.checks.ArgumentError: Argument `N` must be an integer of at least 1, but is 0.
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


class Status(enum.IntEnum):
    """How a solve ended; `OK` is 0, so that a batch of statuses is all good when none is true.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> models = qb.StarBattery(N=2, F=jnp.array([0.5, 0.0]))
    >>> found = qb.steady_state(models, throw=False)
    >>> [qb.Status(int(status)).name for status in found.status]
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
        "the fit is not unique: a second minimum lies within 20 % in cost, or the branch ended"
    ),
    Status.TRUNCATED: (
        "the energy has more weighty modes than are sampled: those left out exceed 1e-4 of it"
    ),
    Status.CUT_TOO_LOW: (
        "the topmost level of the charger holds more than 1e-6: the cut is too low for this drive; "
        "give the charger more levels"
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
        "a parameter is out of its range there: a negative rate or occupation, omega_B that is "
        "not positive, or no finite number"
    ),
}


def is_concrete(*values: Any) -> bool:
    """Tell whether none of the values is being traced by JAX."""
    return not any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(values))


def require(condition: Any, name: str, requirement: str, value: Any) -> None:
    """Raise `ArgumentError` unless the condition holds everywhere; traced conditions pass."""
    if condition is True:
        return
    if is_concrete(condition) and not np.all(condition):
        shown = np.asarray(value) if is_concrete(value) else "a traced value"
        one_line = " ".join(str(shown).split())
        raise ArgumentError(f"Argument `{name}` must be {requirement}, but is {one_line}.")


def require_choice(value: str, name: str, choices: tuple[str, ...]) -> None:
    """Raise `ArgumentError` unless the value is one of the choices."""
    if value not in choices:
        listed = ", ".join(f'"{c}"' for c in choices)
        raise ArgumentError(f'Argument `{name}` must be one of {listed}, but is "{value}".')


def raise_unless_ok(status: Any, advice: str = "") -> None:
    """Raise `SolveError` with the reason of the worst status; traced statuses pass.

    `advice` says what to do where it is `NOT_CONVERGED`.
    """
    if is_concrete(status):
        worst = Status(int(np.max(np.asarray(status))))
        if worst is not Status.OK:
            raise SolveError(worst.reason + advice * (worst is Status.NOT_CONVERGED))
