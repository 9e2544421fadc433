"""Run benchmarks and keep their results: `python -m benchmarks --help`."""

import argparse
import dataclasses
import importlib
import json
import math
import os
from pathlib import Path

CASES = (
    "correctness",
    "steady_paper",
    "steady_unique",
    "evolution",
    "paper_sweep",
    "many_points",
    "optimum",
    "gradients",
    "scaling",
)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the cases that are asked for, and write one JSON file for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"out of {', '.join(CASES)}")
    parser.add_argument("--smoke", action="store_true", help="smallest sizes: do the scripts run?")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of JAX")
    parser.add_argument("--out", type=Path, help="folder of the results")
    given = parser.parse_args()
    unknown = set(given.cases) - set(CASES)
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda,cpu"}[given.device]
    out = given.out or (RESULTS / given.device)
    if given.smoke and given.out is None:
        parser.error("--smoke needs --out: its times say nothing")
    for case in given.cases or CASES:
        run(case, given.smoke, out)


def run(case: str, smoke: bool, out: Path) -> None:
    """Run one case and write its file."""
    # After the choice of the device.
    measure = importlib.import_module("benchmarks.measure")
    module = importlib.import_module(f"benchmarks.{case}")
    print(f"== {module.TITLE}", flush=True)
    rows = []
    for row in module.rows(smoke):
        said = f"{row.seconds:.3g} s" if row.seconds is not None else "no time"
        error = "" if row.error is None else f", error {row.error:.1e}"
        if row.error is not None and not math.isfinite(row.error):
            # JSON has no such number.
            row.error, row.note = None, row.note or "its error is no number"
        print(f"  {row.at} {row.who}: {said}{error} {row.note}", flush=True)
        rows.append(dataclasses.asdict(row))
    made = {"script": f"benchmarks/{case}.py", "smoke": smoke, **measure.made_with()}
    found = {"title": module.TITLE, "error": module.ERROR, "made": made, "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{case}.json").write_text(
        json.dumps(found, indent=1, default=lambda value: value.item()) + "\n"
    )


if __name__ == "__main__":
    main()
