"""What a derivative costs: the time of value and gradient over that of the value, by solver.

The error is the relative difference from central differences.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import qbjax as qb
from benchmarks.measure import Contest, Row

TITLE = "Value and gradient with respect to F and gamma_C, over the value alone"
ERROR = "relative difference from central differences"
TS = jnp.linspace(0.0, 10.0, 5)
METHODS = ("exact", "chebyshev", "dopri8", "tsit5", "kvaerno5")
AT = jnp.array([0.6, 0.8])


def steady(N: int, method: str, **more: Any) -> Callable[[jax.Array], jax.Array]:
    """Return the ergotropy of the steady state as a function of F and gamma_C."""

    def value(x: jax.Array) -> jax.Array:
        model = qb.StarBattery(N=N, F=x[0], gamma_C=x[1], **more)
        return qb.steady_state(model, method=method).ergotropy

    return value


def curve(N: int, method: str) -> Callable[[jax.Array], jax.Array]:
    """Return the energy at the last time."""

    def value(x: jax.Array) -> jax.Array:
        model = qb.StarBattery(N=N, F=x[0], gamma_C=x[1])
        return qb.evolve(model, TS, method=method, save=("energy",)).energy[-1]

    return value


def duration(N: int, definition: str) -> Callable[[jax.Array], jax.Array]:
    """Return a charging time."""

    def value(x: jax.Array) -> jax.Array:
        return qb.charging_time(qb.StarBattery(N=N, F=x[0], gamma_C=x[1]), definition).tau

    return value


def best(N: int, definition: str) -> Callable[[jax.Array], jax.Array]:
    """Return the charging time at the best dephasing rate, which gamma_C does not move."""

    def value(x: jax.Array) -> jax.Array:
        model = qb.StarBattery(N=N, F=x[0], gamma_C=x[1])
        return qb.optimal_dephasing(model, definition).tau

    return value


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    leaky = {"kappa": 0.1, "Gamma_down": 0.02}
    N = 2 if smoke else 16
    cases = {
        ('steady_state "exact"', N): steady(N, "exact"),
        ('steady_state "direct"', N): steady(N, "direct", **leaky),
        ('steady_state "iterative"', N): steady(N, "iterative", **leaky),
        **{(f'evolve "{method}"', N): curve(N, method) for method in METHODS},
        ('evolve "propagator"', 2): curve(2, "propagator"),
        ('charging_time "decay_rate"', N): duration(N, "decay_rate"),
        ('charging_time "integral"', N): duration(N, "integral"),
        ('charging_time "fit"', 2): duration(2, "fit"),
        ('optimal_dephasing "decay_rate"', N): best(N, "decay_rate"),
        ('optimal_dephasing "integral"', N): best(N, "integral"),
    }
    for (name, size), value in list(cases.items())[:2] if smoke else cases.items():
        alone, both = jax.jit(value), jax.jit(jax.value_and_grad(value))

        def error(found: Any, alone: Any = alone) -> float | None:
            if not isinstance(found, tuple):
                return None
            slope = [(alone(AT + e) - alone(AT - e)) / 2e-5 for e in 1e-5 * jnp.eye(2)]
            return float(np.abs(found[1] - np.array(slope)).max() / np.abs(slope).max())

        contenders = {
            f"{name}: value": lambda alone=alone: alone(AT),
            f"{name}: value and gradient": lambda both=both: both(AT),
        }
        one, other = Contest(3 if smoke else 7).rows({"N": size}, contenders, error)
        if one.seconds and other.seconds:
            other.more["over the value"] = other.seconds / one.seconds
        yield from (one, other)
