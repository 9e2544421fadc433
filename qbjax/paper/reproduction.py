"""`qbjax reproduce`: every figure and number of the paper, from nothing or from what is there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from qbjax.common.checks import require_choice
from qbjax.paper import (
    costs,
    extended_ratio,
    extended_time,
    fig2,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    late,
    local_noise,
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
    "costs": ("costs", "What charging costs, and what sharing a charger gains", costs),
    "late": ("late", "Dephased late, a battery settles sooner", late),
    "noise": ("local_noise", "Does asymptotic freedom survive local noise?", local_noise),
}
FIGURES = tuple(_FIGURES)
# The longest first; Fig. 7, which shares its optima with Fig. 6, when they are there.
_ORDER = ("noise", "costs", "6", "4", "5", "2", "3", "time", "ratio", "late", "7")
# Those that reach N = 1000 and more, unless quick.
_LARGE = ("ratio", "time")
# What the report says of a figure's data, in lines of Markdown.
_NOTES = {"7": fig7.notes, "costs": costs.notes, "late": late.notes, "noise": local_noise.notes}


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
        Which figures: 2 to 7, "ratio", "time", "costs", "late" and "noise"; None means all.
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
    new = _compute_all(directory, names, quick, force, progress)
    # Drawn at the end, from the tables: an interruption costs a picture and no data.
    for name in names:
        _draw(directory, name)
    rows = _write_report(directory, quick)
    computed = [name for name in names if new[name]]
    return Reproduction(directory, computed, [name for name in names if not new[name]], rows)


def _compute_all(
    directory: Path, names: list[str], quick: bool, force: bool, progress: bool
) -> dict[str, bool]:
    """Bring the tables up to date and tell which were computed.

    Small tables two at a time, since most of their time is compilation on one core; large ones
    alone, since their eigensolver takes both cores and two at once would fight over them.
    """
    done: dict[str, bool] = {}
    small = [n for n in sorted(names, key=_ORDER.index) if quick or n not in _LARGE]
    # disable=None asks tqdm to show nothing where standard error is no terminal.
    hidden = None if progress else True
    with (
        ThreadPoolExecutor(max_workers=2) as pool,
        tqdm(total=len(names), desc="reproduce", unit="figure", disable=hidden) as bar,
    ):
        futures = {pool.submit(_compute, directory, n, quick, force): n for n in small}
        try:
            for future in as_completed(futures):
                done[futures[future]] = future.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        for name in names:
            if name not in small:
                done[name] = _compute(directory, name, quick, force)
                bar.update()
    return done


def _compute(directory: Path, name: str, quick: bool, force: bool) -> bool:
    """Bring the table of one figure up to date; tell whether it had to be computed."""
    file, _, module = _FIGURES[name]
    table, made_by = directory / f"{file}.csv", store.header(name, quick)
    if store.is_current(table, made_by) and not force:
        return False
    store.write_table(table, module.data(quick), made_by)
    return True


def _draw(directory: Path, name: str) -> None:
    """Draw the pictures of one figure from its table, unless they are there."""
    file, _, module = _FIGURES[name]
    table = directory / f"{file}.csv"
    if not all(picture.is_file() for picture in store.pictures(table)):
        store.write_pictures(table, module.plot(store.read_table(table)))


def _write_report(directory: Path, quick: bool) -> list[Claim]:
    """Write the report on every figure that is up to date, from earlier runs, too."""
    tables, titles, notes = {}, {}, {}
    for name, (file, title, _) in _FIGURES.items():
        table = directory / f"{file}.csv"
        if store.is_current(table, store.header(name, quick)):
            tables[name], titles[file] = store.read_table(table), title
            notes[file] = _NOTES[name](tables[name]) if name in _NOTES else []
    rows = claims(tables)
    report.write(directory, rows, titles, notes, quick)
    return rows
