"""One sweep of 38,400 points beside loops of QuTiP over a sample of them.

The sweep is timed as a user meets it: in a process of its own, with imports, compilation and
writing. Both loops are given less to do, at 30 points drawn at random whose time is extrapolated:

- "evolved": `qutip.mesolve` of the energy, from which a charging time could be read, up to
  t = 100 / g, which is too short for most of the points.
- "solved": energy and ergotropy of the steady state without a charging time. `qutip.steadystate`
  cannot be used, since the steady state is not unique. What the charging ends in from the empty
  battery is s (s - L)^-1 rho(0) for small s, one sparse solve with the Liouvillian that QuTiP
  builds. Where a rate is smaller than s, it is wrong.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray

from benchmarks.measure import Row, clocked
from benchmarks.peers import Charging, qutip_energies

TITLE = "A sweep of 38,400 points: N = 1 ... 64, three drives, 200 dephasing rates"
ERROR = "median difference from qbjax, of energy and ergotropy"
SAMPLE = 30
SMALL = 1e-8
CALL = """
import numpy as np
import qbjax as qb
qb.sweep(
    qb.StarBattery,
    grid={{
        "N": range(1, {largest} + 1),
        "F": [0.2, 0.5, 10.0],
        "gamma_C": np.geomspace(1e-3, 1e2, 200)[::{every}],
    }},
    observables=("energy", "ergotropy", "tau_decay_rate"),
    store={store!r},
    progress=False,
)
"""


def swept(largest: int, every: int, store: str) -> float:
    """Return the time of the sweep in a fresh process, over one dephasing rate of so many."""
    call = CALL.format(largest=largest, every=every, store=store)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", call], check=True)
    return time.perf_counter() - began


def solved(N: int, F: float, gamma_C: float) -> tuple[float, float]:
    """Return energy and ergotropy of what the charging ends in."""
    charging = Charging(N, F, gamma_C)
    found = charging.battery(charging.resolvent(SMALL))
    return found["energy"], found["energy"] * found["ratio"]


def evolved(N: int, F: float, gamma_C: float) -> Any:
    """Return the energies of a charging curve."""
    ts = np.linspace(0.0, 100.0, 101)
    return qutip_energies(Charging(N, F, 1.0), np.array([gamma_C]), ts, "tsit5", 1e-6)


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    largest, every, sample = (4, 100, 2) if smoke else (64, 1, SAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        runs = range(1 if smoke else 3)
        times = [swept(largest, every, f"{folder}/{run}.zarr") for run in runs]
        found = xarray.open_zarr(f"{folder}/0.zarr", consolidated=False).load()
        points = found.energy.size
        at = {"points": points}
        yield Row(
            "qbjax sweep",
            at,
            statistics.median(times),
            min(times),
            max(times),
            len(times),
            times[0],
        )
        if not smoke:
            tenth = swept(largest, 10, f"{folder}/tenth.zarr")
            yield Row("qbjax sweep", {"points": points // 10}, tenth, tenth, tenth, 1, tenth)
    draw = np.random.default_rng(0)
    spent: dict[str, list[float]] = {"evolved": [], "solved": []}
    errors = []
    for _ in range(sample):
        N, F, gamma_C = (draw.choice(found[name].values) for name in ("N", "F", "gamma_C"))
        by_loop, seconds = clocked(lambda p=(int(N), F, gamma_C): solved(*p))
        spent["solved"].append(seconds)
        spent["evolved"].append(clocked(lambda p=(int(N), F, gamma_C): evolved(*p))[1])
        point = found.sel(N=N, F=F, gamma_C=gamma_C)
        errors.append(np.abs(np.subtract(by_loop, (point.energy, point.ergotropy))).max())
    right = int(np.sum(np.array(errors) < 1e-6))
    for name, seconds_each in spent.items():
        whole = points * float(np.mean(seconds_each))
        # The standard error of the mean; points differ by orders of magnitude.
        off = points * float(np.std(seconds_each, ddof=1) / np.sqrt(sample))
        who = f"QuTiP, {name}, extrapolated"
        row = Row(who, at, whole, whole - off, whole + off, runs=sample)
        if name == "solved":
            row.error = float(np.median(errors))
            row.note = f"right to 1e-6 at {right} of {sample} points"
        yield row
