"""Programs do not grow with the charger's levels: more levels are more numbers, not more code."""

import functools

import jax
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import qbjax as qb

TS = np.array([0.0, 1.0])


def count(jaxpr):
    """The operations of a program, with those of the programs in it."""
    total = 0
    for equation in jaxpr.eqns:
        total += 1
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)
        ):
            inner = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            total += count(inner) if isinstance(inner, Jaxpr) else 0
    return total


def energy(kappa, levels, solve):
    model = qb.StarBattery(2, 0.2, kappa=kappa, charger=qb.cavity(levels))
    return solve(model)


def evolved(model):
    return qb.evolve(model, TS, save=("energy",)).energy[-1]


def stationary(method):
    return lambda model: qb.steady_state(model, method=method).energy


CASES = {
    "direct, packed": (stationary("direct"), (4, 8, 12)),
    "direct, by blocks": (stationary("direct"), (20, 26, 32)),
    "iterative": (stationary("iterative"), (6, 12, 24)),
    "evolve": (evolved, (6, 12, 24)),
}


@pytest.mark.parametrize("slope", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_programs_do_not_grow(name, slope):
    solve, charger_levels = CASES[name]

    def size(levels):
        function = functools.partial(energy, levels=levels, solve=solve)
        return count(jax.make_jaxpr(jax.grad(function) if slope else function)(0.3).jaxpr)

    first, *others = (size(levels) for levels in charger_levels)
    assert first > 100
    assert others == [first, first]
