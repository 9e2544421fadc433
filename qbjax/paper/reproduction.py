"""`qbjax reproduce`: every figure and number of the paper, from nothing or from what is there."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from qbjax.checks import require_choice
from qbjax.paper import (
    extended_ratio,
    extended_time,
    fig2,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    report,
    store,
)
from qbjax.paper.claims import Claim, claims

# By name: the name of the files, what is shown, and the module with `data` and `plot`.
_FIGURES: dict[str, tuple[str, str, ModuleType]] = {
    "2": ("fig2", "Fig. 2: energy and ergotropy", fig2),
    "3": ("fig3", "Fig. 3: ergotropy over energy", fig3),
    "4": ("fig4", "Fig. 4: the state under strong drive", fig4),
    "5": ("fig5", "Fig. 5: the state under intermediate drive", fig5),
    "6": ("fig6", "Fig. 6: charging time against dephasing rate", fig6),
    "7": ("fig7", "Fig. 7: optimal charging time", fig7),
    "ratio": ("extended_ratio", "Beyond Fig. 3: the limit of large N", extended_ratio),
    "time": ("extended_time", "Beyond Fig. 7: the crossovers", extended_time),
}
FIGURES = tuple(_FIGURES)


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` did.

    Attributes
    ----------
    out
        The directory.
    computed, kept
        Figures that were computed, and those that were up to date.
    claims
        The table of claims, from every figure in the directory that is up to date.
    """

    out: Path
    computed: list[str]
    kept: list[str]
    claims: list[Claim]


def reproduce(
    out: str | os.PathLike[str] = "results/paper",
    figures: Iterable[str | int] | None = None,
    quick: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Reproduction:
    """Reproduce the paper: figures as PNG, PDF and CSV, claims.json and report.md.

    Parameters
    ----------
    out
        Directory for the files; it is made where it is not there.
    figures
        Which figures: 2 to 7, "ratio" and "time"; None means all.
    quick
        Stop at small N.
    force
        Compute anew what is there already with the same versions and settings.
    progress
        Whether to show a progress bar where standard error is a terminal.

    Raises
    ------
    ArgumentError
        Where there is no such figure, or the directory cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from qbjax.paper import reproduce
    >>> with tempfile.TemporaryDirectory() as out:
    ...     done = reproduce(out, figures=[3])
    >>> print(done.computed, done.claims[0].qbjax)
    ['3'] 1.379
    """
    names = list(dict.fromkeys(FIGURES if figures is None else map(str, figures)))
    for name in names:
        require_choice(name, "figure", FIGURES)
    directory = store.writable_directory(out)
    computed: list[str] = []
    kept: list[str] = []
    # disable=None asks tqdm to show nothing where standard error is no terminal.
    with tqdm(names, desc="reproduce", unit="figure", disable=None if progress else True) as bar:
        for name in bar:
            bar.set_postfix_str(_FIGURES[name][1])
            (computed if _update(directory, name, quick, force) else kept).append(name)
    found = _write_report(directory, quick)
    return Reproduction(directory, computed, kept, found)


def _update(directory: Path, name: str, quick: bool, force: bool) -> bool:
    """Bring one figure up to date; tell whether its data had to be computed."""
    file, _, module = _FIGURES[name]
    table, made_by = directory / f"{file}.csv", store.header(name, quick)
    current = store.is_current(table, made_by) and not force
    if current and all(picture.is_file() for picture in store.pictures(table)):
        return False
    columns = store.read_table(table) if current else module.data(quick)
    store.write_pictures(table, module.plot(columns))
    if not current:
        store.write_table(table, columns, made_by)
    return not current


def _write_report(directory: Path, quick: bool) -> list[Claim]:
    """Write the report on every figure that is up to date, from earlier runs, too."""
    tables, titles = {}, {}
    for name, (file, title, _) in _FIGURES.items():
        table = directory / f"{file}.csv"
        if store.is_current(table, store.header(name, quick)):
            tables[name], titles[file] = store.read_table(table), title
    found = claims(tables)
    report.write(directory, found, titles, quick)
    return found
