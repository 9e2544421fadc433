"""Run benchmarks and keep their results: `python -m benchmarks --help`."""

import argparse
import os
from pathlib import Path

from benchmarks.cases import CASES, RESULTS, run, smoke


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
    if given.smoke and given.out is None:
        parser.error("--smoke needs --out: its times say nothing")
    os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda,cpu"}[given.device]
    # Cases start processes of their own, which need the GPU, too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    out, cases = given.out or (RESULTS / given.device), given.cases or CASES
    if given.smoke:
        smoke(cases, out)
        return
    for case in cases:
        run(case, False, out)


if __name__ == "__main__":
    main()
