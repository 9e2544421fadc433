"""What a sweep was made of and with: told in text that is the same in every process."""

import dis
import functools
import hashlib
import inspect
import pickle
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import jax
import numpy as np
from jaxtyping import PyTree

from qbjax._version import __version__


def model_text(build: Callable[..., PyTree]) -> str:
    """Return how a model is built: the function by name, and what is fixed beforehand."""
    if isinstance(build, functools.partial):
        fixed = [text(value) for value in build.args]
        fixed += [f"{key}={text(value)}" for key, value in build.keywords.items()]
        return f"{model_text(build.func)}({', '.join(fixed)})"
    # What is qbjax's own goes by its public name, wherever its file may be.
    module = "qbjax" if build.__module__.startswith("qbjax.") else build.__module__
    name = f"{module}.{getattr(build, '__qualname__', type(build).__qualname__)}"
    return name if inspect.isclass(build) else f"{name} {fingerprint(build)}"


def fingerprint(function: Callable[..., PyTree]) -> str:
    """Return a fingerprint of a function's source and of all that it refers to."""
    return _digest(text(function).encode())


def text(value: object, above: tuple[object, ...] = ()) -> str:
    """Return a value in full: of functions the source, the defaults, and what they refer to.

    What belongs to an installed library goes by name, but for what its functions carry along.
    `above` are the values that this one is part of, which it may refer to in turn.
    """
    if any(value is each for each in above):
        return "..."
    part = functools.partial(text, above=(*above, value))
    if isinstance(value, bool | int | float | complex | str | None | np.generic):
        return str(value)
    if isinstance(value, np.ndarray | jax.Array):
        numbers = np.asarray(value)
        short = numbers.size <= 20
        return str(numbers.tolist() if short else (numbers.shape, _digest(numbers.tobytes())))
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{key}={part(each)}" for key, each in value.items())) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(part, value))) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(part, value)) + "]"
    if inspect.ismodule(value):
        return _module(value)
    if inspect.isroutine(value) or inspect.isclass(value) or callable(value):
        return part(_contents(value))
    return part(_held(value))


def _module(module: ModuleType) -> str:
    """Return the name of a module, and what is in its file if it belongs to no library."""
    file = getattr(module, "__file__", None)
    if file is None or file.startswith(_LIBRARIES):
        return module.__name__
    return f"{module.__name__} {_digest(Path(file).read_bytes())}"


def _contents(value: object) -> list[object]:
    """Return what makes something that can be called."""
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if inspect.ismethod(value):
        return [value.__func__, value.__self__]
    if inspect.isfunction(value):
        code = value.__qualname__ if _is_installed(value) else _source(value)
        carried = {} if _is_installed(value) else _globals(value)
        return [code, value.__defaults__, value.__kwdefaults__, carried, _closure(value)]
    if inspect.isclass(value):
        if _is_installed(value):
            return [value.__qualname__]
        return [_source(value), {k: x for k, x in vars(value).items() if inspect.isfunction(x)}]
    # What jax.jit and functools.cache make.
    if hasattr(value, "__wrapped__"):
        return [type(value).__qualname__, value.__wrapped__]
    return [value.__qualname__] if inspect.isroutine(value) else _held(value)


def _held(value: object) -> list[object]:
    """Return the class of an object, and what it holds."""
    simple = _is_installed(type(value)) and not hasattr(value, "__dataclass_fields__")
    if simple or not hasattr(value, "__dict__"):
        return [type(value).__qualname__, _pickled(value)]
    return [type(value), vars(value)]


def _pickled(value: object) -> str:
    try:
        return _digest(pickle.dumps(value))
    except Exception:
        # There is no end to what objects of libraries raise here.
        return ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


_LIBRARIES = (
    str(Path(__file__).parents[1]),
    *(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
)


def _is_installed(value: object) -> bool:
    """Tell whether a function or a class is that of qbjax, Python or a library."""
    if inspect.isfunction(value):
        return value.__code__.co_filename.startswith(_LIBRARIES)
    if not inspect.isclass(value):
        return True
    module = sys.modules.get(value.__module__)
    if module is None or value.__module__ == "__main__":
        return False
    return (getattr(module, "__file__", None) or _LIBRARIES[0]).startswith(_LIBRARIES)


def _source(value: Callable[..., object] | type) -> str:
    """Return the source of a function or a class; without one, what it compiled to."""
    try:
        return inspect.getsource(value)
    except (OSError, TypeError):
        return " ".join(map(str, _compiled(value.__code__))) if inspect.isfunction(value) else ""


def _compiled(code: CodeType) -> Iterator[object]:
    yield code.co_code.hex()
    for each in code.co_consts:
        yield from _compiled(each) if inspect.iscode(each) else [text(each)]
    yield code.co_names


def _closure(function: FunctionType) -> dict[str, object]:
    """Return the variables of outer functions that a function uses."""
    referred = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            referred[name] = cell.cell_contents
        except ValueError:
            # Not assigned yet.
            continue
    return referred


def _globals(function: FunctionType) -> dict[str, object]:
    """Return the globals that a function uses, with those of functions inside it."""
    known = function.__globals__
    return {name: known[name] for name in sorted(set(_names(function.__code__)) & known.keys())}


def _names(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for each in filter(inspect.iscode, code.co_consts):
        yield from _names(each)


def versions() -> dict[str, str]:
    """Return the versions, the device and the precision."""
    devices = jax.devices()
    return {
        "qbjax": __version__,
        "jax": jax.__version__,
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "precision": "double" if jax.config.read("jax_enable_x64") else "single",
    }


def source_version(build: Callable[..., PyTree]) -> str:
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
    done = subprocess.run(
        ["git", "-C", str(folder), *command],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
