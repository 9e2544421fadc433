"""First answers: what a whole process takes that imports a package, asks once, and ends.

Seconds of the processor, those of every thread together, so that a busy machine counts less; JAX
alone, which is imported and adds once, is what nothing on JAX can be below. With a cache, compiled
programs are on disk from a process before it. Nothing is said of errors: other cases do.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import LIMIT, Row

TITLE = "First answers: a fresh process for one question"
ERROR = "none here"
ALONE = "JAX alone"
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
LEAKY = "qb.StarBattery(N={N}, F=0.5, kappa=0.1, omega_C=1.2)"
CONTROL = """
import numpy as np
times = np.linspace(0.0, 6.0, 25)[1:-1]
drive = qb.PiecewiseConstant(times, 0.3 + 0.2 * np.cos(np.arange(24)))
model = qb.StarBattery(N=2, F=drive, gamma_C=0.1)
def energy(model):
    return qb.evolve(model, [0.0, 6.0]).energy[-1]
print(qb.optimize(model, energy, {"F": (-1.0, 1.0)}).value)"""
# What is asked, after `import qbjax as qb`.
QUESTIONS = {
    "import": "",
    "README's example": README.partition("```python")[2].partition("```")[0],
    "general steady state, N = 8": f"print(qb.steady_state({LEAKY.format(N=8)}).energy)",
    "general steady state, N = 40": f"print(qb.steady_state({LEAKY.format(N=40)}).energy)",
    "general evolution, N = 8": f"print(qb.evolve({LEAKY.format(N=8)}, [0.0, 50.0]).energy)",
    "charging time by fit, N = 3": "print(qb.charging_time(qb.StarBattery(N=3, F=0.5)).tau)",
    "the best drive of 24 pieces, N = 2": CONTROL,
}
# The same with QuTiP: N = 8, a steady state and a curve.
QUTIP = """
import numpy as np, qutip as qt
N = 8
lower, J = qt.tensor(qt.sigmam(), qt.qeye(N + 1)), qt.tensor(qt.qeye(2), qt.jmat(N / 2, "-"))
n = qt.tensor(qt.qeye(2), qt.jmat(N / 2, "z") + N / 2)
H = 0.2 * lower.dag() * lower + 0.5 * (lower + lower.dag())
H = H + (lower.dag() * J + lower * J.dag()) / np.sqrt(N)
jumps = [np.sqrt(0.1) * lower, lower.dag() * lower]
"""
PEERS = {
    "general steady state, N = 8": "print(qt.expect(n, qt.steadystate(H, jumps)))",
    "general evolution, N = 8": "start = qt.tensor(qt.fock_dm(2, 1), qt.fock_dm(N + 1, N))\n"
    "print(qt.mesolve(H, start, [0.0, 50.0], jumps, e_ops=[n]).expect[0])",
}


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = {(ALONE, "import"): ("import jax.numpy as jnp; jnp.zeros(3) + 1", "0")}
        for question, code in QUESTIONS.items():
            scripts["qbjax", question] = f"import qbjax as qb\n{code}", "0"
            # The best drive takes minutes, few of which are compilation.
            if code is not CONTROL:
                cached = f"import qbjax as qb\nqb.use_cache()\n{code}"
                scripts["qbjax, with a cache", question] = cached, folder
            if question in PEERS:
                scripts["QuTiP", question] = QUTIP + PEERS[question], "0"
        if smoke:
            scripts = {key: script for key, script in scripts.items() if key[1] == "import"}
        firsts = {key: _clocked(*script) for key, script in scripts.items()}
        times = {key: [first] for key, first in firsts.items() if first > LIMIT}
        # The first process fills the cache.
        for _ in range(1 if smoke else 2):
            for key, script in scripts.items():
                if firsts[key] <= LIMIT:
                    times.setdefault(key, []).append(_clocked(*script))
    alone = statistics.median(times[ALONE, "import"])
    for (who, question), first in firsts.items():
        taken = times[who, question]
        middle = statistics.median(taken)
        yield Row(
            who,
            {"question": question},
            *(middle, min(taken), max(taken), len(taken), first),
            more={"times JAX alone": middle / alone},
        )


def _clocked(code: str, cache: str) -> float:
    """Return the seconds of the processor that a process takes to run this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"QBJAX_CACHE": cache}
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
