"""Wrong input gets one line that names the argument, and no error of another library."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip

import qbjax as qb

MODEL = qb.StarBattery(N=2, F=0.5)
LEAKY = qb.StarBattery(N=2, F=0.5, kappa=0.1)


def energy(F):
    return qb.evolve(qb.StarBattery(N=2, F=F, kappa=0.1), [1.0]).energy[0]


def looked_at(function):
    return qb.evolve(LEAKY, [1.0], observables={"x": function})


def with_term(battery):
    return qb.StarBattery(N=2, F=0.5, hamiltonian=qb.Term(0.1, battery=battery))


def drawn(draw):
    with qb.plot.figure(8.6, 6.0) as (_, axes):
        draw(axes[0, 0])


def dataset():
    return qb.sweep(qb.StarBattery, {"N": [1], "F": [0.5]}, "energy")


WRONG = {
    "t: negative": ("t", lambda: qb.average_power([1.0], [-1.0])),
    "t: shape": ("t", lambda: qb.average_power([1.0, 2.0, 3.0], [1.0, 2.0])),
    "optimizer": ("optimizer", lambda: qb.optimal_dephasing(MODEL, "decay_rate", optimizer=3)),
    "hessian": ("gradient", lambda: jax.hessian(energy)(0.5)),
    "reverse of reverse": ("gradient", lambda: jax.jacrev(jax.jacrev(energy))(0.5)),
    "empty batch": ("F", lambda: qb.StarBattery(N=2, F=[])),
    "pulse of math": ("function", lambda: qb.Pulse(lambda t: math.sin(t))),
    "pulse with if": ("function", lambda: qb.Pulse(lambda t: 1.0 if t > 0 else 0.0)),
    "pulse of nothing": ("function", lambda: qb.Pulse(lambda t: None)),
    "pulse of a matrix": ("function", lambda: qb.Pulse(lambda t: t * jnp.ones(2))),
    "observable with if": ("observables", lambda: looked_at(lambda rho: 1.0 if rho.any() else 0.0)),
    "observable of numpy": ("observables", lambda: looked_at(np.linalg.eigvalsh)),
    "observable of text": ("observables", lambda: looked_at(lambda rho: "a")),
    "objective with if": (
        "objective",
        lambda: qb.optimize(MODEL, lambda model: 1.0 if model.F > 0 else 0.0, {"F": (0.1, 1.0)}),
    ),
    "term of N alone": ("hamiltonian", lambda: with_term(lambda N: {})),
    "term of no bands": ("hamiltonian", lambda: with_term(lambda N, levels: 3)),
    "term too long": ("hamiltonian", lambda: with_term(lambda N, levels: {0: jnp.ones(7)})),
    "term of NaN": ("battery", lambda: with_term(np.full((3, 3), np.nan))),
    "no term": ("hamiltonian", lambda: qb.StarBattery(N=1, F=0.5, hamiltonian=3)),
    "nothing for qutip": ("value", lambda: qb.to_qutip([])),
    "padding by text": ("N_max", lambda: qb.from_qutip(qutip.basis(2, 0), N_max="a")),
    "padding by True": ("N_max", lambda: qb.StarBattery(N=1, F=0.5, N_max=True)),
    "cache": ("directory", lambda: qb.use_cache(3)),
    "lines of a dataset": ("data", lambda: drawn(lambda ax: qb.plot.lines(ax, dataset(), "N"))),
    "sweep of an array": ("dataset", lambda: qb.plot.draw_sweep(dataset().energy, "x")),
    "tomogram of text": ("rho", lambda: drawn(lambda ax: qb.plot.tomogram(ax, "a", "b"))),
    "tomogram of a row": ("rho", lambda: drawn(lambda ax: qb.plot.tomogram(ax, [1.0, 0.0], "b"))),
    "N beyond integers": ("N", lambda: qb.StarBattery(N=10**30, F=0.5)),
    "no room for a state": ("N", lambda: qb.steady_state(qb.StarBattery(N=10**7, F=0.5))),
    "no room for a path": ("N", lambda: qb.evolve(qb.StarBattery(N=10**7, F=0.5), [1.0])),
    "state of NaN": ("rho_B", lambda: qb.ergotropy(np.full((2, 2), np.nan))),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_argument_is_named_in_one_line(name):
    argument, call = WRONG[name]
    with pytest.raises(qb.ArgumentError) as raised:
        call()
    said = str(raised.value)
    assert said.startswith(f"Argument `{argument}` ")
    assert "\n" not in said


def test_a_state_of_no_numbers_is_called_that():
    with pytest.raises(qb.ArgumentError, match="finite numbers"):
        qb.ergotropy(np.full((2, 2), np.nan))


def test_average_power_is_nan_where_a_traced_time_is_negative():
    power = jax.jit(qb.average_power)(jnp.ones(3), jnp.array([2.0, -1.0, jnp.inf]))
    assert power[0] == pytest.approx(0.5)
    assert np.all(np.isnan(power[1:]))


def test_one_name_to_save_and_no_terms_are_what_they_say():
    curve = qb.evolve(MODEL, [1.0], save="energy")
    assert curve.ergotropy is None
    assert float(curve.energy[0]) == pytest.approx(float(qb.evolve(MODEL, [1.0]).energy[0]))
    assert qb.StarBattery(N=1, F=0.5, hamiltonian=None, jumps=None).hamiltonian == ()
