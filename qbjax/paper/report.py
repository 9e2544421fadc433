"""The report of a reproduction: claims.json for programs and report.md for people."""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

import qbjax
from qbjax.paper.claims import Claim
from qbjax.paper.store import write_atomic


def write(
    out: Path,
    claims: Sequence[Claim],
    figures: Mapping[str, str],
    notes: Mapping[str, Sequence[str]],
    quick: bool,
) -> None:
    """Write claims.json and report.md.

    Parameters
    ----------
    out
        The directory of the reproduction.
    claims
        The lines of the table.
    figures
        What each figure shows, by the name of its files.
    notes
        What else there is to say of each, in lines of Markdown.
    quick
        Whether the figures stop at small N.
    """
    write_atomic(out / "claims.json", (json.dumps(as_json(claims), indent=2) + "\n").encode())
    write_atomic(out / "report.md", _markdown(claims, figures, notes, quick).encode())


def as_json(claims: Sequence[Claim]) -> list[dict[str, object]]:
    """Return the claims as dictionaries, with None for what is not a finite number."""
    lines = [dataclasses.asdict(claim) for claim in claims]
    for line in lines:
        difference = line["relative_difference"]
        if difference is not None and not math.isfinite(difference):
            line["relative_difference"] = None
    return lines


def _markdown(
    claims: Sequence[Claim],
    figures: Mapping[str, str],
    notes: Mapping[str, Sequence[str]],
    quick: bool,
) -> str:
    verdicts = Counter(claim.agrees for claim in claims)
    tally = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("yes", "within", "no"))
    sizes = ", small N only (--quick)" if quick else ""
    lines = [
        "# Asymptotic freedom of dephased charging, reproduced",
        "",
        f"arXiv:2508.13497 against qbjax {qbjax.__version__} (jax {jax.__version__}){sizes}.",
        "",
        f"Agreement: {tally}. A number agrees (yes) where it rounds to the digits that the paper "
        "prints; within: less than 10 % off.",
        "",
        "| claim | where | paper | qbjax | relative difference | agrees | why |",
        "|---|---|---|---|---|---|---|",
        *map(_row, claims),
        "",
        "## Figures",
        "",
    ]
    for name, title in figures.items():
        lines += [f"### {title}", "", f"![{title}]({name}.png)", "", f"Data: `{name}.csv`.", ""]
        lines += [*notes[name], ""] if notes[name] else []
    return "\n".join(lines)


def _row(claim: Claim) -> str:
    difference = claim.relative_difference
    off_by = "" if difference is None else f"{difference:+.1%}"
    cells = (claim.claim, claim.where, claim.paper, claim.qbjax, off_by, claim.agrees, claim.why)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
