"""Tables and pictures of results that are there: `python -m benchmarks.report`.

Writes `results/README.md` with its pictures, and the short table of `docs/benchmarks.md` between
its two marks.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import CASES, RESULTS
from qbjax import plotting

SHORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MARKS = "<!-- benchmarks: made by python -m benchmarks.report -->", "<!-- end -->"

# Cases that are drawn as time against size, with the largest error that counts, if there is one.
DRAWN = {"steady_paper": 1e-6, "steady_unique": 1e-8, "scaling": None}

Found = dict[str, Any]


def load(folder: Path) -> dict[str, Found]:
    """Return the results of a folder by case."""
    return {
        case: json.loads((folder / f"{case}.json").read_text())
        for case in CASES
        if (folder / f"{case}.json").exists()
    }


def table(found: Found) -> str:
    """Return all rows of a case as a Markdown table."""
    extra = list(dict.fromkeys(name for row in found["rows"] for name in row["more"]))
    head = ["contender", "at", "time", "spread", "first", "error", *extra, "note"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in found["rows"]:
        at = ", ".join(f"{name} = {value}" for name, value in row["at"].items())
        spread = f"{seconds(row['low'])} ... {seconds(row['high'])}" if row["runs"] > 1 else ""
        error = "" if row["error"] is None else f"{row['error']:.1e}"
        more = [_shown(row["more"].get(name, "")) for name in extra]
        times = [seconds(row["seconds"]), spread, seconds(row["first"])]
        lines.append("| " + " | ".join([row["who"], at, *times, error, *more, row["note"]]) + " |")
    return "\n".join(lines)


def seconds(value: float | None) -> str:
    """Return a time in three digits."""
    if value is None:
        return ""
    scale, unit = (1, "s") if value >= 1 else (1e3, "ms") if value >= 1e-3 else (1e6, "us")
    return f"{value * scale:.3g} {unit}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def made(found: Found) -> str:
    """Return the line that says where results come from."""
    of = found["made"]
    versions = ", ".join(f"{name} {version}" for name, version in of["versions"].items())
    where = f"{of['processor']}, {of['cores']} cores, {of['device']}"
    return f"`{of['script']}`, {of['date']}, commit {of['commit']}; {where}; {versions}."


def draw(found: Found, path: Path, most: float | None) -> None:
    """Draw time against size, a panel for every setting; open markers for wrong answers."""
    lines: dict[tuple[tuple[str, str], str], list[tuple[float, float, bool]]] = {}
    for row in found["rows"]:
        name, size = next(iter(row["at"].items()))
        rest = ", ".join(f"{k} = {v}" for k, v in list(row["at"].items())[1:])
        panel, who = (name, rest), row["who"]
        if row["seconds"] is not None:
            right = most is None or (row["error"] is not None and row["error"] <= most)
            lines.setdefault((panel, who), []).append((size, row["seconds"], right))
    panels = list(dict.fromkeys(panel for panel, _ in lines))
    height = 5 + 0.45 * len(lines)
    with plotting.figure(plotting.TWO_COLUMNS, height, columns=len(panels)) as (figure, axes):
        for ax, panel in zip(axes[0], panels, strict=True):
            for i, (who, points) in enumerate((w, p) for (n, w), p in lines.items() if n == panel):
                sizes, times, right = np.transpose(points)
                style = ("o-", "s--", "^:", "v-.")[i // 10 % 4]
                (line,) = ax.plot(sizes, times, style, label=who)
                wrong = right == 0
                ax.plot(sizes[wrong], times[wrong], style[0], mfc="w", color=line.get_color())
            ax.set(xscale="log", yscale="log", xlabel=panel[0], ylabel="time (s)")
            columns = 2 // len(panels)
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns, title=panel[1])
        figure.savefig(path, dpi=150)


def draw_precision(found: Found, path: Path) -> None:
    """Draw time against error, a panel for the largest size that QuTiP reached."""
    with plotting.figure(plotting.TWO_COLUMNS, 11, columns=2) as (figure, axes):
        for ax, count in zip(
            axes[0], sorted({r["at"]["rates"] for r in found["rows"]}), strict=False
        ):
            rows = [r for r in found["rows"] if r["at"]["rates"] == count and r["seconds"]]
            N = max((r["at"]["N"] for r in rows if "QuTiP" in r["who"]), default=0)
            lines: dict[str, list[tuple[float, float]]] = {}
            for row in (r for r in rows if r["at"]["N"] == N):
                who = row["who"].partition(", rtol")[0]
                lines.setdefault(who, []).append((row["error"], row["seconds"]))
            for who, points in lines.items():
                ax.plot(*np.transpose(points), "o-", label=who)
            ax.set(xscale="log", yscale="log", xlabel="error", ylabel="time (s)")
            title = f"N = {N}, {count} rate" + "s" * (count > 1)
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, title=title)
        figure.savefig(path, dpi=150)


def page(results: dict[str, Found], folder: Path) -> str:
    """Return the page of all results of a device, its pictures written beside it."""
    parts = []
    for case, found in results.items():
        parts += [f"## {found['title']}", made(found), f"Error: {found['error']}."]
        if case in DRAWN:
            most = DRAWN[case]
            draw(found, folder / f"{case}.png", most)
            parts.append(f"![{case}]({folder.name}/{case}.png)")
            if most is not None:
                parts.append(f"Open markers: the error is larger than {most:g}, or not known.")
        if case == "evolution":
            draw_precision(found, folder / "precision.png")
            parts.append(f"![work and precision]({folder.name}/precision.png)")
        parts.append(table(found))
    return "\n\n".join(parts)


def crossovers(cpu: dict[str, Found], gpu: dict[str, Found]) -> str:
    """Return what is slower on the GPU than on the CPU, with the largest size where it is.

    Of contenders that run on a device: not QuTiP's.
    """
    lines = ["| case | contender | slower on the GPU up to | CPU | GPU |", "|" + " --- |" * 5]
    for case in gpu:
        there = {
            (row["who"], str(row["at"])): row["seconds"]
            for row in cpu.get(case, {"rows": []})["rows"]
            if row["seconds"]
        }
        slower, largest = {}, {}
        for row in gpu[case]["rows"]:
            here = there.get((row["who"], str(row["at"])))
            if "QuTiP" in row["who"] or not here or not row["seconds"]:
                continue
            key = row["who"], str(list(row["at"].items())[1:])
            largest[key] = row["at"]
            if row["seconds"] > here:
                # Sizes grow, so that the last one stays.
                slower[key] = row, here
        for (who, rest), (row, here) in slower.items():
            at = ", ".join(f"{name} = {value}" for name, value in row["at"].items())
            at += " (the largest)" * (largest[who, rest] == row["at"])
            times = f"{seconds(here)} | {seconds(row['seconds'])}"
            lines.append(f"| {case} | {who} | {at} | {times} |")
    return "\n".join(lines)


# What the short table compares: the case, the task, and the largest error that counts.
TASKS = (
    ("steady_paper", "paper's steady state, F/g = {F}, N = {N}", 1e-6),
    ("steady_unique", "unique steady state, N = {N}", 1e-8),
    ("warm_small", "{task}, N = {N}", 1e-6),
    ("local_noise", "noise on single qubits, {task}, N = {N}", 1e-6),
    ("evolution", "charging curves, N = {N}, dephasing rates: {rates}", 1e-6),
    ("optimum", "best dephasing rate, N = {N}", 1e-4),
)


def short_table(results: dict[str, Found]) -> str:
    """Return the table for `docs/benchmarks.md`: the fastest that is right, of either side.

    Of the sizes of a task whose errors are known it has the smallest, the largest at which a peer
    is right, the largest, and all at which a peer wins.
    """
    lines = [
        "| task | error at most | qbjax | best peer | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case, task, most in TASKS:
        rows = results[case]["rows"] if case in results else []
        rows = [row for row in rows if row["error"] is not None]
        tasks: dict[str, list[tuple[dict[str, Any], list[Found | None]]]] = {}
        for at in {str(row["at"]): row["at"] for row in rows}.values():
            rest = str(list(at.items())[1:])
            tasks.setdefault(rest, []).append((at, _fastest(rows, at, most)))
        for sizes in tasks.values():
            both = [i for i, (_, sides) in enumerate(sizes) if None not in sides]
            lost = [i for i in both if _ratio(*sizes[i][1]) < 1]
            for i in sorted({0, *lost, *both[-1:], len(sizes) - 1}):
                at, sides = sizes[i]
                lines.append(f"| {task.format(**at)} | {most:g} | {_compared(*sides)} |")
    return "\n".join(lines)


def _fastest(rows: list[Found], at: dict[str, Any], most: float) -> list[Found | None]:
    """Return the fastest of qbjax and of the others whose error is at most that; None without."""
    good = [
        row
        for row in rows
        if row["at"] == at and row["seconds"] is not None and row["error"] <= most
    ]
    return [
        min(
            (row for row in good if row["who"].startswith("qbjax") == ours),
            key=lambda row: row["seconds"],
            default=None,
        )
        for ours in (True, False)
    ]


def _compared(ours: Found | None, theirs: Found | None) -> str:
    """Return the cells of the two sides and the ratio of their times."""
    cells = [
        "none" if row is None else f"{row['who'].removeprefix('qbjax ')}: {seconds(row['seconds'])}"
        for row in (ours, theirs)
    ]
    if ours is None or theirs is None:
        return f"{cells[0]} | {cells[1]} | "
    ratio = _ratio(ours, theirs)
    won = f"{ratio:.3g}" if ratio >= 1 else f"**1/{1 / ratio:.3g}**"
    return f"{cells[0]} | {cells[1]} | {won}"


def _ratio(ours: Found | None, theirs: Found | None) -> float:
    assert ours is not None
    assert theirs is not None
    return theirs["seconds"] / ours["seconds"]


def main() -> None:
    """Write the page and the short table."""
    pages = ["# Results\n\nMade by `python -m benchmarks.report` from the JSON files beside it."]
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir()):
        pages += [f"# {folder.name.upper()}", page(load(folder), folder)]
    if gpu := load(RESULTS / "gpu"):
        pages += ["# Slower on the GPU", crossovers(load(RESULTS / "cpu"), gpu)]
    (RESULTS / "README.md").write_text("\n\n".join(pages) + "\n")
    before, _, rest = SHORT.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    short = short_table(load(RESULTS / "cpu"))
    SHORT.write_text(f"{before}{MARKS[0]}\n{short}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
