"""One sweep of 38,400 points beside loops over a sample of them with QuTiP.

The sweep is timed as a user meets it: in a process of its own, with imports, compilation and
writing. Both loops are given less to do, at 30 points drawn at random whose time is extrapolated:

- "evolved": `qutip.mesolve` of the energy, from which a charging time could be read, up to
  t = 100 / g, which is too short for most of the points.
- "solved": energy and ergotropy of the steady state without a charging time. `qutip.steadystate`
  cannot be used, since the steady state is not unique. What the charging ends in from the empty
  battery is s (s - L)^-1 rho(0) for small s, one sparse solve with the Liouvillian that QuTiP
  builds. Where a rate is smaller than s, it is wrong.

    python benchmarks/sweep.py
"""

import subprocess
import sys
import tempfile
import time

import numpy as np
import qutip
import scipy.sparse
import scipy.sparse.linalg
import xarray

GRID = {"N": range(1, 65), "F": [0.2, 0.5, 10.0], "gamma_C": np.geomspace(1e-3, 1e2, 200)}
SAMPLE = 30
# Small beside the rates of most points, large beside the rounding errors of the solve.
SMALL = 1e-8
CALL = """
import numpy as np
import qbjax as qb
qb.sweep(
    qb.StarBattery,
    grid={{
        "N": range(1, 65),
        "F": [0.2, 0.5, 10.0],
        "gamma_C": np.geomspace(1e-3, 1e2, 200)[::{every}],
    }},
    observables=("energy", "ergotropy", "tau_decay_rate"),
    store={store!r},
    progress=False,
)
"""


def swept(every: int, store: str) -> float:
    """Return the time of the sweep in a fresh process, over one dephasing rate of so many."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", CALL.format(every=every, store=store)], check=True)
    return time.perf_counter() - began


class Charging:
    """The model at one point, with its operators by QuTiP."""

    def __init__(self, N: int, F: float, gamma_C: float):
        lower = qutip.tensor(qutip.sigmam(), qutip.qeye(N + 1))
        J_minus = qutip.tensor(qutip.qeye(2), qutip.jmat(N / 2, "-"))
        coupling = lower.dag() * J_minus / np.sqrt(N)
        self.H = F * (lower + lower.dag()) + coupling + coupling.dag()
        self.jump = np.sqrt(gamma_C) * lower.dag() * lower
        self.n = qutip.tensor(qutip.qeye(2), qutip.jmat(N / 2, "z") + N / 2)
        # Both spins down: the last state of either factor.
        self.start = qutip.tensor(qutip.fock_dm(2, 1), qutip.fock_dm(N + 1, N))

    def evolve(self) -> None:
        """Follow the energy of the battery."""
        ts, options = np.linspace(0, 100, 101), {"nsteps": 1_000_000}
        qutip.mesolve(self.H, self.start, ts, [self.jump], e_ops=[self.n], options=options)

    def solve(self) -> tuple[float, float]:
        """Return the energy and the ergotropy of the battery that the charging ends in."""
        L = qutip.liouvillian(self.H, [self.jump]).data.as_scipy().tocsc()
        one = scipy.sparse.identity(L.shape[0], format="csc")
        start = self.start.full().ravel(order="F")
        rho = SMALL * scipy.sparse.linalg.splu(SMALL * one - L).solve(start)
        rho = rho.reshape(self.H.shape, order="F")
        energy = np.trace(self.n.full() @ rho).real
        battery = qutip.Qobj(rho, dims=self.H.dims).ptrace(1).full()
        # On 2^N states there is one level at 0, and N are at 1.
        return energy, energy - (1 - np.linalg.eigvalsh(battery)[-1])


def main() -> None:
    """Print the times, and how far the numbers of the loop are from those of the sweep."""
    points = np.prod([len(values) for values in GRID.values()])
    with tempfile.TemporaryDirectory() as folder:
        for run, every in enumerate((10, 1, 1, 1)):
            seconds = swept(every, f"{folder}/{run}.zarr")
            print(f"qbjax, {points // every} points: {seconds:.2f} s", flush=True)
        found = xarray.open_zarr(f"{folder}/{run}.zarr", consolidated=False).load()
    draw = np.random.default_rng(0)
    evolved, solved, errors = [], [], []
    for _ in range(SAMPLE):
        N, F, gamma_C = (draw.choice(list(values)) for values in GRID.values())
        began = time.perf_counter()
        by_hand = Charging(int(N), F, gamma_C).solve()
        solved.append(time.perf_counter() - began)
        began = time.perf_counter()
        Charging(int(N), F, gamma_C).evolve()
        evolved.append(time.perf_counter() - began)
        point = found.sel(N=N, F=F, gamma_C=gamma_C)
        errors.append(np.abs(np.subtract(by_hand, (point.energy, point.ergotropy))).max())
    for name, times in (("evolved", evolved), ("solved", solved)):
        whole = np.mean(times) * points
        print(f"QuTiP, {name}: {whole:.0f} s for {points} points, {whole / seconds:.0f} times")
    right = np.sum(np.array(errors) < 1e-6)
    print(f"the loop of solves is right to 1e-6 at {right} of {SAMPLE} points")


if __name__ == "__main__":
    main()
