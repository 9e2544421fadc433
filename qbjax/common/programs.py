"""Functions as compiled programs, and how XLA is asked to compile them."""

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from qbjax.common.checks import is_concrete

# The older of two ways in which XLA writes the code of a fusion for a CPU: code that is as fast
# comes out in half the time.
_QUICKLY: dict[str, str | bool] = {"xla_cpu_use_fusion_emitters": False}

Function = TypeVar("Function", bound=Callable[..., Any])


@functools.cache
def compiler_options() -> dict[str, str | bool]:
    """Return the options that programs are compiled with: those that this version of XLA knows."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=_QUICKLY)
    except jax.errors.JaxRuntimeError:
        return {}
    return _QUICKLY


def program(function: Function) -> Function:
    """Return a function that is compiled when it is called (`equinox.filter_jit`)."""
    part, lock = eqx.filter_jit(function), threading.Lock()

    @functools.cache
    def made() -> Callable[..., Any]:
        # Its types know nothing of what it hands on to `jax.jit`.
        jit: Any = eqx.filter_jit
        return jit(function, compiler_options=compiler_options())

    def whole() -> Callable[..., Any]:
        # Of two threads that call it first, one makes it.
        with lock:
            return made()

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        # Of options JAX wants to hear where a program begins, and not within another one.
        return (part if _is_tracing(arguments, named) else whole())(*arguments, **named)

    return call  # type: ignore[return-value]


def _is_tracing(*arguments: Any) -> bool:
    """Tell whether JAX is tracing, be it only the function around a call of known numbers."""
    return not is_concrete(arguments) or not is_concrete(jnp.zeros(()))
