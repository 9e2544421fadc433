"""Files of a reproduction: written whole or not at all, and recognised when they are up to date.

A figure is a table of columns in a CSV file, under one comment line of JSON that says what made it,
and its pictures. The old pictures go before a new table comes, so that a picture beside a table was
drawn from it: where the table has the right header and the pictures are there, all is up to date.
"""

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

import qbjax
from qbjax.common.checks import ArgumentError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Columns = dict[str, np.ndarray]

PICTURE_FORMATS = ("png", "pdf")
_DPI = 200


def writable_directory(path: str | os.PathLike[str]) -> Path:
    """Return a directory that files can be written to, made where it is not there.

    Raises
    ------
    ArgumentError
        Where it cannot be made or written to.
    """
    directory = Path(path)
    probe = directory / f".{os.getpid()}.probe"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ArgumentError(
            f'Argument `out` must be a directory that can be written to, but is "{path}" '
            f"({error.strerror})."
        ) from error
    return directory


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that at every moment the old one or the new one stands, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def header(name: str, quick: bool) -> dict[str, object]:
    """Return what a figure's table depends on: the versions and the settings."""
    versions: dict[str, object] = {"qbjax": qbjax.__version__, "jax": jax.__version__}
    precision = "double" if jax.config.read("jax_enable_x64") else "single"
    return versions | {"precision": precision, "figure": name, "quick": quick}


def write_table(path: Path, columns: Columns, made_by: dict[str, object]) -> None:
    """Write columns of numbers as CSV, under a comment line that says what made them.

    Pictures of the table that stood there before are removed first.
    """
    for picture in pictures(path):
        picture.unlink(missing_ok=True)
    lines = [f"# {json.dumps(made_by)}", ",".join(columns)]
    rows = np.stack([np.asarray(c, dtype=float) for c in columns.values()], axis=1)
    # repr is the shortest text that reads back as the same number.
    lines += [",".join(repr(float(value)) for value in row) for row in rows]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def read_table(path: str | os.PathLike[str]) -> Columns:
    """Return the columns of a figure's CSV file."""
    names = Path(path).read_text().splitlines()[1].split(",")
    values = np.loadtxt(path, delimiter=",", skiprows=2, ndmin=2)
    return dict(zip(names, values.T, strict=True))


def is_current(path: Path, made_by: dict[str, object]) -> bool:
    """Tell whether a table is there and was made by the same versions with the same settings."""
    if not path.is_file():
        return False
    with open(path) as file:
        return file.readline() == f"# {json.dumps(made_by)}\n"


def pictures(path: Path) -> list[Path]:
    """Return the paths of the pictures that belong to a table."""
    return [path.with_suffix(f".{extension}") for extension in PICTURE_FORMATS]


def write_pictures(path: Path, figure: "Figure") -> None:
    """Write the pictures that belong to a table."""
    for picture in pictures(path):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=picture.suffix[1:], dpi=_DPI)
        write_atomic(picture, buffer.getvalue())
