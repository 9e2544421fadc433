"""How models and results print: a title, and lines of a name, a value and what it means."""

import html
import math
import sys
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import Status, is_concrete

# The name of a line, its value (None: there is no line), and a unit or a remark.
Line = tuple[str, Any, str]


class Printed(eqx.Module):
    """What prints itself in a terminal, and as a table in a notebook."""

    def _title(self) -> str:
        return type(self).__name__

    @abstractmethod
    def _lines(self) -> Iterable[Line]:
        """Return what there is to say."""

    def _texts(self) -> list[tuple[str, str, str]]:
        return [
            (name, text_of(value), unit) for name, value, unit in self._lines() if value is not None
        ]

    def __repr__(self) -> str:
        """Return the title and the lines, the names in one column."""
        lines = self._texts()
        width = max((len(name) for name, *_ in lines), default=0)
        texts = [f"  {name:<{width}}  {text} {unit}".rstrip() for name, text, unit in lines]
        return "\n".join([self._title(), *texts])

    def _repr_html_(self) -> str:
        """Return the same as HTML."""
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td><td>{html.escape(unit)}</td></tr>"
            for name, text, unit in self._texts()
        )
        return f"<b>{html.escape(self._title())}</b><table>{cells}</table>"


def text_of(value: PyTree) -> str:
    """Return a value in a few words: a number, the span of an array, or that it is traced."""
    if isinstance(value, str):
        return value
    if isinstance(value, Printed):
        return value._title()
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if not is_concrete(value):
        return f"{dtype.name}{list(shape)}, traced"
    numbers = np.asarray(value)
    if numbers.ndim == 0:
        is_float = jnp.issubdtype(numbers.dtype, jnp.floating)
        return f"{numbers.item():.6g}" if is_float else str(numbers)
    if numbers.dtype == bool:
        return f"True in {numbers.sum()} of {numbers.size}"
    lost = numbers.size - np.isfinite(numbers).sum()
    missing = f", {lost} not finite" if lost else ""
    span = "" if np.iscomplexobj(numbers) else span_of(numbers)
    size = "x".join(map(str, numbers.shape))
    values = "value" if size == "1" else "values"
    return f"{span} ({size} {values}{missing})".strip()


def span_of(numbers: np.ndarray) -> str:
    """Return from where to where the finite ones of some numbers lie, or the one that they are."""
    finite = numbers[np.isfinite(numbers)]
    ends = [text_of(end) for end in (finite.min(), finite.max())] if finite.size else []
    return " ... ".join(dict.fromkeys(ends))


def status_text(status: jax.Array, advice: str = "") -> str:
    """Return the name of a status with its reason, or how often each one is there.

    `advice` says what to do where the answer is `NOT_CONVERGED`.
    """
    if not is_concrete(status):
        return text_of(status)
    values, counts = np.unique(np.asarray(status), return_counts=True)
    if len(values) == 1:
        one = Status(int(values[0]))
        return one.name if one is Status.OK else f"{one.name}: {one.explained(advice)}"
    each = zip(values, counts, strict=True)
    return ", ".join(f"{count} {Status(int(value)).name}" for value, count in each)


def is_watched() -> bool:
    """Tell whether somebody sees what goes to standard error: in a terminal, or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def plain(value: Any) -> Any:
    """Return what JSON can hold."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return plain(np.asarray(value).tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value if math.isfinite(value) else None
