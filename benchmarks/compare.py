"""Show the change between two results: `python -m benchmarks.compare OLD.json NEW.json`."""

import argparse
import json
from pathlib import Path
from typing import Any


def rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a file by contender and size."""
    found = json.loads(path.read_text())["rows"]
    return {f"{row['who']} {row['at']}": row for row in found}


def changes(old: Path, new: Path) -> list[str]:
    """Return a line for every row that is in one of the files."""
    before, after = rows(old), rows(new)
    lines = []
    for key in {**before, **after}:
        times = [each.get(key, {}).get("seconds") for each in (before, after)]
        errors = [each.get(key, {}).get("error") for each in (before, after)]
        if None in times:
            said = ["no time" if time is None else f"{time:.3g} s" for time in times]
            lines.append(f"{key}: {said[0]} -> {said[1]}")
            continue
        said = f"{times[0]:.3g} s -> {times[1]:.3g} s, {times[1] / max(times[0], 1e-12):.2f} times"
        if None not in errors:
            said += f", error {errors[0]:.1e} -> {errors[1]:.1e}"
        lines.append(f"{key}: {said}")
    return lines


def main() -> None:
    """Print the changes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    given = parser.parse_args()
    for path in (given.old, given.new):
        made = json.loads(path.read_text())["made"]
        print(f"{path}: {made['date']}, commit {made['commit']}, {made['processor']}")
    print("\n".join(changes(given.old, given.new)))


if __name__ == "__main__":
    main()
