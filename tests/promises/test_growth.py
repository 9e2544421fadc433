"""Programs stay small, and do not grow with levels or pieces: what compiles takes a user's time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

import qbjax as qb
from qbjax.common.minimise import minimise

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


def driven(values):
    drive = qb.shapes.piecewise_constant(6.0, values)
    return qb.evolve(qb.StarBattery(N=2, F=drive, gamma_C=0.1), [6.0], save="energy").energy[0]


def operations(function, *arguments):
    return count(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_programs_do_not_grow_with_pieces():
    few, many = (operations(jax.grad(driven), np.ones(K)) for K in (20, 30))
    assert few == many


def test_a_descent_holds_its_loss_three_times():
    """In both parts of the line search, and once for the start, the steps and the last look."""

    def loss(x, aux):
        return jnp.sum(jnp.cos(x)), aux

    program = str(jax.make_jaxpr(lambda x: minimise(loss, x).value)(np.ones(2)))
    assert program.count(" cos ") == 3


def leaky(kappa, N=4):
    return qb.StarBattery(N=N, F=0.5, kappa=kappa)


# Operations of first answers, some tenth above what they are. A program that grows is seen here.
BUDGET = {
    "exact": (lambda F: qb.steady_state(qb.StarBattery(N=4, F=F)).energy, 1350),
    "direct": (lambda kappa: qb.steady_state(leaky(kappa)).energy, 4050),
    "iterative": (lambda kappa: qb.steady_state(leaky(kappa, 40)).energy, 4350),
    "curve": (lambda kappa: evolved(leaky(kappa)), 1200),
    "slope of a curve": (jax.grad(lambda kappa: evolved(leaky(kappa))), 3150),
    "pieces": (lambda F: driven(F * np.ones(24)), 1600),
    "slope of pieces": (jax.grad(lambda F: driven(F * np.ones(24))), 3150),
    "fit": (lambda F: qb.charging_time(qb.StarBattery(N=3, F=F)).tau, 4200),
}


@pytest.mark.parametrize("name", BUDGET)
def test_first_answers_keep_their_budget(name):
    function, budget = BUDGET[name]
    assert budget / 2 < operations(function, 0.3) <= budget
