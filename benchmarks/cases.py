"""The cases, and how one is run: its rows printed, and kept as a JSON file."""

import dataclasses
import importlib
import json
import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

CASES = (
    "correctness",
    "cold_start",
    "warm_small",
    "steady_paper",
    "steady_unique",
    "local_noise",
    "evolution",
    "paper_sweep",
    "many_points",
    "optimum",
    "gradients",
    "scaling",
)
# What may raise at the smallest size: ARPACK starts from a random vector.
REFUSING = ("QuTiP steadystate power", "QuTiP steadystate eigen")
RESULTS = Path(__file__).parent / "results"


def run(case: str, smoke: bool, out: Path) -> None:
    """Run one case and write its file."""
    # After the choice of the device.
    measure = importlib.import_module("benchmarks.measure")
    module = importlib.import_module(f"benchmarks.{case}")
    made_with = measure.made_with()
    if made_with["precision"] != "double":
        raise RuntimeError("benchmarks are in double precision: leave QBJAX_ENABLE_X64 alone")
    print(f"== {module.TITLE}", flush=True)
    rows = []
    for row in module.rows(smoke):
        said = f"{row.seconds:.3g} s" if row.seconds is not None else "no time"
        error = "" if row.error is None else f", error {row.error:.1e}"
        if row.error is not None and not math.isfinite(row.error):
            # JSON has no such number.
            row.error, row.note = None, row.note or "its error is no number"
        print(f"  {row.at} {row.who}: {said}{error} {row.note}", flush=True)
        if smoke and row.seconds is None and row.who not in REFUSING:
            raise RuntimeError(f"{case}: {row.who} has no time: {row.note}")
        rows.append(dataclasses.asdict(row))
    made = {"script": f"benchmarks/{case}.py", "smoke": smoke, **made_with}
    found = {"title": module.TITLE, "error": module.ERROR, "made": made, "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1, default=lambda value: value.item())
    (out / f"{case}.json").write_text(text + "\n")


def smoke(cases: Sequence[str], out: Path) -> None:
    """Run cases at their smallest, two side by side, compiled quickly rather than well."""
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick}".strip()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(run, cases, [True] * len(cases), [out] * len(cases)))
