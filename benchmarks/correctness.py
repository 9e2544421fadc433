"""The steady state of the paper's model, by everything that promises one.

The exact energy is N/2, and the exact state comes from its closed form in 50 digits. The error is
the larger one of |E - N/2| / N and of the difference in ergotropy over energy. A matrix with an
eigenvalue well below zero is no state, whatever its residual. Times include the figures of the
states; this case is not about them.
"""

from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import qutip

import qbjax as qb
from benchmarks.measure import Contest, Row
from benchmarks.peers import Charging

TITLE = "Steady states of the paper's model"
ERROR = "largest of the errors of E/N and of ergotropy/energy"


def exact_ratio(N: int, F: float) -> float:
    """Return ergotropy over energy from the singular vectors of K, in 50 digits."""
    with mpmath.workdps(50):
        KP = mpmath.matrix(N + 1)
        for n in range(N + 1):
            KP[n, N - n] = F
            if n < N:
                KP[n, N - n - 1] = mpmath.sqrt(mpmath.mpf((n + 1) * (N - n)) / N)
        _, q = mpmath.eigsy(KP)
        battery = mpmath.matrix(N + 1)
        for k in range(N + 1):
            weight = q[N, k] ** 2 / 2
            for i in range(N + 1):
                for j in range(N + 1):
                    kept = q[i, k] * q[j, k] + q[N - i, k] * q[N - j, k]
                    battery[i, j] += weight * kept
        largest = max(mpmath.eigsy(battery, eigvals_only=True))
        return float(1 - 2 * (1 - largest) / N)


def contenders(N: int, F: float) -> dict[str, Any]:
    """Return everything that may find the steady state, each a function to its figures."""
    charging = Charging(N, F, 1.0)

    def by_qutip(**how: Any) -> Any:
        return lambda: charging.figures(qutip.steadystate(charging.H, charging.jumps, **how))

    def evolved(until: float) -> dict[str, float]:
        options = {"method": "tsit5", "nsteps": 10_000_000, "rtol": 1e-8, "atol": 1e-10}
        H, jumps = charging.H.to("dia"), [jump.to("dia") for jump in charging.jumps]
        done = qutip.mesolve(H, charging.start, [0, until], jumps, options=options)
        return charging.figures(done.states[-1])

    def diagonalised(until: float) -> Any:
        done = qutip.mesolve(
            charging.H, charging.start, [0, until], charging.jumps, options={"method": "diag"}
        )
        return done.states[-1]

    def by_dynamiqs(until: float) -> dict[str, float]:
        import dynamiqs as dq

        dq.set_precision("double")
        dims = (2, N + 1)
        operators = [
            dq.asqarray(x.full(), dims=dims, layout=dq.dia) for x in (charging.H, *charging.jumps)
        ]
        start = dq.asqarray(charging.start.full(), dims=dims)
        method = dq.method.Tsit5(rtol=1e-8, atol=1e-10)
        done = dq.mesolve(
            operators[0], operators[1:], start, [0.0, until], method=method, progress_meter=False
        )
        rho = qutip.Qobj(np.asarray(done.final_state.to_jax()), dims=charging.H.dims)
        return charging.figures(rho)

    def by_qbjax(method: str) -> dict[str, float]:
        found = qb.steady_state(qb.StarBattery(N=N, F=F), method=method, throw=False)
        # From (g, 0 ... N) to QuTiP's order, (e, N ... 0).
        rho = np.asarray(found.rho)[::-1, ::-1, ::-1, ::-1].reshape(2 * (N + 1), -1)
        figures = charging.figures(qutip.Qobj(rho, dims=charging.H.dims))
        return figures | {"status": qb.Status(int(found.status)).name}

    return {
        "QuTiP steadystate direct": by_qutip(method="direct"),
        "QuTiP steadystate direct, dense": by_qutip(method="direct", sparse=False),
        "QuTiP steadystate direct, gmres": by_qutip(method="direct", solver="gmres"),
        "QuTiP steadystate direct, lstsq": by_qutip(
            method="direct", sparse=False, solver="lstsq", use_rcm=False
        ),
        "QuTiP steadystate eigen": by_qutip(method="eigen"),
        "QuTiP steadystate svd": by_qutip(method="svd"),
        "QuTiP steadystate power": by_qutip(method="power"),
        "QuTiP steadystate propagator": by_qutip(method="propagator", rho=charging.start),
        "QuTiP mesolve, diagonalised, to t = 1e12": lambda: charging.figures(diagonalised(1e12)),
        "QuTiP mesolve to t = 1000": lambda: evolved(1000.0),
        "dynamiqs mesolve to t = 1000": lambda: by_dynamiqs(1000.0),
        "QuTiP's Liouvillian, resolvent": lambda: charging.figures(charging.resolvent(1e-9)),
        'qbjax "exact"': lambda: by_qbjax("exact"),
        'qbjax "direct"': lambda: by_qbjax("direct"),
        'qbjax "iterative"': lambda: by_qbjax("iterative"),
    }


def rows(smoke: bool) -> Iterator[Row]:
    """Return the rows of this case."""
    for F in (0.5,) if smoke else (0.5, 2.0):
        for N in (2,) if smoke else (4, 8, 16):
            ratio = exact_ratio(N, F)

            def error(found: dict[str, Any], N: int = N, ratio: float = ratio) -> float:
                parts = abs(found["energy"] - N / 2) / N, abs(found["ratio"] - ratio)
                return float(np.max(parts))

            found = contenders(N, F)
            if smoke:
                # It compiles for long, and is part of `scaling`.
                del found['qbjax "iterative"']
            judged = Contest(1).rows({"N": N, "F": F}, found, error, dict)
            time = float(qb.steady_state(qb.StarBattery(N=N, F=F)).relaxation_time)
            for row in judged:
                row.note = row.note or verdict(row, time)
                yield row


def verdict(row: Row, relaxation_time: float) -> str:
    """Say what is wrong with an answer."""
    if row.more.get("status", "OK") != "OK":
        return f"says {row.more['status']}"
    if row.more["smallest eigenvalue"] < -1e-6:
        return "no state: an eigenvalue below zero"
    if row.error is not None and row.error <= 1e-6:
        return ""
    waits = any(way in row.who for way in ("mesolve", "propagator", "resolvent"))
    if waits and not ("to t = 1e12" in row.who and relaxation_time < 1e10):
        return f"not settled: the relaxation time is {relaxation_time:.2g}"
    if abs(row.more["energy"] / row.at["N"] - 0.5) > 1e-6:
        # All stationary states have this energy.
        return "not stationary"
    near = row.error is not None and row.error < 1e-3
    return "not accurate" if near else "a state, but another one"
