"""How times and errors are taken, and what a row of a result says."""

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

import qbjax

# Seconds: what takes longer is not run again; only once; and not at the next size, where it would
# take about a minute.
LIMIT, LONG, LAST = 60.0, 10.0, 3.0


@dataclasses.dataclass
class Row:
    """One contender at one size.

    Attributes
    ----------
    who, at
        The contender, with its settings, and the size.
    seconds, low, high, runs
        Median, least and largest time of so many runs, after the first one. Of one run where that
        took longer than `LIMIT`.
    first
        The time of the first run, with compilation.
    error
        The measured error, in the units that the case says.
    more
        Other numbers of the case.
    note
        Why there is no time, or what is wrong with the answer.
    """

    who: str
    at: dict[str, Any]
    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    runs: int = 0
    first: float | None = None
    error: float | None = None
    more: dict[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""


Contender = Callable[[], Any]


class Contest:
    """Contenders for the same task at growing sizes, in turn, so that all see the same machine.

    `fetched` tells whether a result counts when it is on the host, or when it is computed.
    """

    def __init__(self, rounds: int, fetched: bool = True):
        """Take the number of runs."""
        self.rounds, self.fetched, self.out = rounds, fetched, set[str]()

    def rows(
        self,
        at: dict[str, Any],
        contenders: Mapping[str, Contender],
        error: Callable[[Any], float | None],
        more: Callable[[Any], dict[str, Any]] = lambda value: {},
    ) -> list[Row]:
        """Run all that are not out yet, and return a row for each."""
        values, rows = {}, {}
        for who, call in contenders.items():
            if who in self.out:
                continue
            rows[who] = row = Row(who, at)
            try:
                value, row.first = clocked(call, self.fetched)
                row.error, row.more = error(value), more(value)
            except Exception as failure:
                said = str(failure).strip() or "no message"
                row.note = f"{type(failure).__name__}: {said.splitlines()[0][:120]}"
                self.out.add(who)
                continue
            values[who] = value
            if row.first > LIMIT:
                row.seconds = row.low = row.high = row.first
                row.runs = 1
        fast = [who for who in values if rows[who].runs == 0]
        times: dict[str, list[float]] = {who: [] for who in fast}
        for turn in range(self.rounds):
            for who in fast:
                if turn == 0 or times[who][0] < LONG:
                    times[who].append(clocked(contenders[who], self.fetched)[1])
        for who in fast:
            found = rows[who]
            found.seconds, found.runs = statistics.median(times[who]), len(times[who])
            found.low, found.high = min(times[who]), max(times[who])
        self.out |= {who for who in values if (rows[who].seconds or 0.0) > LAST}
        return list(rows.values())


def clocked(call: Contender, fetched: bool = True) -> tuple[Any, float]:
    """Return what a call gives, awaited and by default on the host, and the seconds it took."""
    await_result = jax.device_get if fetched else jax.block_until_ready
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        value = await_result(call())
        return value, time.perf_counter() - began


def made_with() -> dict[str, Any]:
    """Return the versions, the machine and the date."""
    # Importing qbjax is also what sets the precision.
    names = ("jax", "jaxlib", "diffrax", "numpy", "scipy", "qutip", "dynamiqs")
    found = {"qbjax": qbjax.__version__, **{name: _version(name) for name in names}}
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version for name, version in found.items() if version},
        "precision": "double" if jax.config.read("jax_enable_x64") else "single",
        "device": f"{device.platform}: {device.device_kind}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "environment": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
    }


_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "XLA_FLAGS",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "JAX_PLATFORMS",
    "JAX_COMPILATION_CACHE_DIR",
)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return getattr(sys.modules.get(name), "__version__", "")


def _commit() -> str:
    def git(*command: str) -> str:
        here = ["git", "-C", str(Path(__file__).parents[1])]
        return subprocess.run(
            [*here, *command], capture_output=True, text=True, check=False
        ).stdout.strip()

    # Results that were just written change nothing.
    changed = git("status", "--porcelain", "benchmarks", "qbjax", ":!benchmarks/results")
    return git("describe", "--always") + "-dirty" * bool(changed)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
