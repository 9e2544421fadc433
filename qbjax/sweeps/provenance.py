"""What a sweep was made of and with: told in text that is the same in every process."""

import functools
import hashlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np


def model_text(build: Callable[..., Any]) -> str:
    """Return how a model is built: the function by name, and what is fixed beforehand."""
    if isinstance(build, functools.partial):
        fixed = [values_text(value) for value in build.args]
        fixed += [f"{key}={values_text(value)}" for key, value in build.keywords.items()]
        return f"{model_text(build.func)}({', '.join(fixed)})"
    name = f"{build.__module__}.{getattr(build, '__qualname__', type(build).__qualname__)}"
    return name if inspect.isclass(build) else f"{name} {fingerprint(build)}".strip()


def values_text(tree: Any) -> str:
    """Return all values of a pytree."""
    with np.printoptions(precision=17, threshold=sys.maxsize):
        return str(eqx.tree_pformat(tree, short_arrays=False, width=10_000))


def fingerprint(function: Callable[..., Any]) -> str:
    """Return a fingerprint of a function's source and of the numbers that it refers to.

    "" where the source is not known.
    """
    try:
        source = inspect.getsource(function)
        seen = inspect.getclosurevars(function)
    except (OSError, TypeError, ValueError):
        return ""
    plain = (bool, int, float, complex, str, tuple, list, np.ndarray, jax.Array)
    values = {k: v for k, v in {**seen.globals, **seen.nonlocals}.items() if isinstance(v, plain)}
    text = source + values_text([sorted(values.items()), function.__defaults__])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def versions() -> dict[str, str]:
    """Return the versions, the device and the precision."""
    import qbjax

    devices = jax.devices()
    return {
        "qbjax": qbjax.__version__,
        "jax": jax.__version__,
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "precision": "double" if jax.config.read("jax_enable_x64") else "single",
    }


def source_version(build: Callable[..., Any]) -> str:
    """Return what `git describe` says of the file that a model's function is in; "" without."""
    function = build.func if isinstance(build, functools.partial) else build
    try:
        file = Path(inspect.getfile(function))
        # A file that is only somewhere below a repository is not described by it.
        _git(file.parent, "ls-files", "--error-unmatch", file.name)
        return _git(file.parent, "describe", "--always", "--dirty", "--tags")
    except (OSError, TypeError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *command: str) -> str:
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10, "check": True}
    return subprocess.run(["git", "-C", str(folder), *command], **options).stdout.strip()
