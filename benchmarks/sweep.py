"""One sweep of 38,400 points beside a loop of QuTiP over a sample of them.

The sweep is timed as a user meets it: in a process of its own, with imports, compilation and
writing. QuTiP is given less to do, one sparse solve of L rho = 0 with Tr rho = 1 and the ergotropy
of what comes out, without a charging time; where dephasing is the only dissipation that solve is
singular, so that its numbers are no answers, but it costs as much as one that is not. The time of
30 points drawn at random is extrapolated to all.

    python benchmarks/sweep.py
"""

import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import qutip

GRID = {"N": range(1, 65), "F": [0.2, 0.5, 10.0], "gamma_C": np.geomspace(1e-3, 1e2, 200)}
SAMPLE = 30
CALL = """
import numpy as np
import qbjax as qb
qb.sweep(
    qb.StarBattery,
    grid={{
        "N": range(1, 65),
        "F": [0.2, 0.5, 10.0],
        "gamma_C": np.geomspace(1e-3, 1e2, 200)[:{rates}],
    }},
    observables=("energy", "ergotropy", "tau_decay_rate"),
    store={store!r},
    progress=False,
)
"""


def qbjax_seconds(rates: int) -> float:
    """Return the time of the sweep over so many dephasing rates, in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        call = CALL.format(rates=rates, store=f"{folder}/sweep.zarr")
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", call], check=True)
        return time.perf_counter() - began


def qutip_seconds(N: int, F: float, gamma_C: float) -> float:
    """Return the time of one point."""
    began = time.perf_counter()
    lower = qutip.tensor(qutip.sigmap(), qutip.qeye(N + 1))
    J_minus = qutip.tensor(qutip.qeye(2), qutip.jmat(N / 2, "-"))
    coupling = lower.dag() * J_minus / np.sqrt(N)
    H = F * (lower + lower.dag()) + coupling + coupling.dag()
    jump = np.sqrt(gamma_C) * lower.dag() * lower
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rho = qutip.steadystate(H, [jump], method="direct", solver="spsolve").ptrace(1)
    levels = np.arange(N + 1)
    energy = levels @ rho.full().diagonal().real[::-1]
    np.sum(levels[::-1] * np.linalg.eigvalsh(rho.full())) - energy
    return time.perf_counter() - began


def main() -> None:
    """Print the times."""
    points = np.prod([len(values) for values in GRID.values()])
    for rates in (20, 200, 200, 200):
        seconds = qbjax_seconds(rates)
        print(f"qbjax {points * rates // 200:6d} points {seconds:8.2f} s")
    draw = np.random.default_rng(0)
    sample = [[draw.choice(list(values)) for values in GRID.values()] for _ in range(SAMPLE)]
    each = np.mean([qutip_seconds(int(N), F, gamma_C) for N, F, gamma_C in sample])
    print(f"QuTiP {SAMPLE} points, {each:.3f} s each: {each * points:.3g} s for all")
    print(f"ratio {each * points / seconds:.0f}")


if __name__ == "__main__":
    main()
