"""Programs for CUDA can be made of every solver, without a GPU: no operation goes by the host."""

import re

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb

TS = np.array([0.0, 1.0, 5.0])


def alone(F):
    return qb.StarBattery(N=2, F=F, gamma_C=0.3)


def leaky(F):
    return qb.StarBattery(N=2, F=F, gamma_C=0.3, kappa=0.1)


def pulsed(F):
    return qb.StarBattery(N=2, F=qb.Pulse(wave, F), gamma_C=0.3)


def wave(t, height):
    return height * jnp.cos(t)


def settled(model, **how):
    return lambda F: qb.steady_state(model(F), throw=False, **how).ergotropy


def curve(model, method):
    return lambda F: qb.evolve(model(F), TS, method=method).ergotropy[-1]


def time(model, *how, **options):
    return lambda F: qb.charging_time(model(F), *how, **options).tau


SOLVERS = {
    "steady, exact": settled(alone),
    "steady, direct": settled(leaky, method="direct"),
    "steady, iterative": settled(leaky, method="iterative"),
    "evolve, exact": curve(alone, "exact"),
    "evolve, chebyshev": curve(leaky, "chebyshev"),
    "evolve, propagator": curve(leaky, "propagator"),
    "evolve, dopri8": curve(pulsed, "dopri8"),
    "evolve, kvaerno5": curve(leaky, "kvaerno5"),
    "rate": lambda F: qb.decay_rate(alone(F)),
    "time, settling": time(alone, "settling"),
    "time, maximum": time(leaky, "maximum", t_end=10.0),
    "best dephasing": lambda F: qb.optimal_dephasing(alone(F), "decay_rate", throw=False).tau,
}


# The eigenvectors of its preconditioner go by the host on a GPU, one matrix after the other.
BY_THE_HOST = {"steady, iterative": {"cuhybrid_eig"}}


@pytest.mark.parametrize("kind", ["forward", "reverse", "batched"])
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_lowers_for_cuda(name, kind, monkeypatch):
    # diffrax looks at the times that it gets once more, and calls the host where they are wrong.
    monkeypatch.setattr(equinox._errors, "EQX_ON_ERROR", "nan")
    solve = SOLVERS[name]
    function = {"forward": solve, "reverse": jax.grad(solve), "batched": jax.vmap(solve)}[kind]
    given = jnp.array([0.3, 0.5]) if kind == "batched" else jnp.asarray(0.5)
    traced = jax.jit(function).trace(given)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    called = set(re.findall("callback|lapack|cuhybrid_eig", program))
    assert called == BY_THE_HOST.get(name, set())
