"""What models and results say of themselves."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb

MODEL = qb.StarBattery(N=2, F=0.5)
BATCH = qb.StarBattery(N=jnp.array([1, 2]), F=jnp.array([0.5, 0.0]), N_max=2)


def ergotropy(model):
    return qb.steady_state(model).ergotropy


def ramp(t, rate):
    return rate * t


RESULTS = {
    "model": lambda: MODEL,
    "pulse": lambda: qb.Pulse(ramp, 0.5, stops=[1.0, 2.0]),
    "pieces": lambda: qb.PiecewiseConstant([1.0, 2.0], [0.5, 0.25, 0.125]),
    "steady state": lambda: qb.steady_state(MODEL),
    "trajectory": lambda: qb.evolve(MODEL, [0.0, 2.0], observables={"one": jnp.trace}),
    "charging time": lambda: qb.charging_time(MODEL, "decay_rate"),
    "best dephasing": lambda: qb.optimal_dephasing(MODEL, "decay_rate"),
    "trial populations": lambda: qb.fit_bose_einstein(np.array([0.4, 0.2, 0.4])),
    "trial mixture": lambda: qb.fit_coherent_mixture(np.diag([0.5, 0.0, 0.5])),
    "optimum": lambda: qb.optimize(MODEL, ergotropy, {"F": (0.1, 2.0)}, max_steps=3),
}


def line(name, text):
    """The line of a name, without it."""
    return re.search(rf"^  {name} +(.*)$", text, re.MULTILINE)[1]


@pytest.mark.parametrize("name", RESULTS)
def test_the_page_of_a_notebook_says_the_same(name):
    result = RESULTS[name]()
    text, page = str(result), result._repr_html_()
    words = [each for row in text.splitlines()[1:] for each in row.split()]
    plain = re.sub(r"<[^>]+>", " ", page)
    assert len(words) > 7
    assert all(each in plain or "&" in plain for each in words)


def test_numbers_come_with_their_units_and_evidence():
    state = qb.steady_state(MODEL)
    text = str(state)
    assert line("energy", text) == "1 in the unit of omega_B"
    assert line("status", text) == "OK"
    assert line("method", text).startswith("exact (dephasing on battery resonance")
    assert float(line("relaxation_time", text).split()[0]) == pytest.approx(
        float(state.relaxation_time), rel=1e-5
    )
    assert "iterations" not in text


def test_what_cannot_be_trusted_says_why():
    still = qb.steady_state(qb.StarBattery(N=2, F=0.5, gamma_C=0.0), throw=False)
    assert line("status", str(still)).startswith(
        "NO_DEPHASING: Argument `gamma_C` must be positive"
    )


def test_a_result_says_of_which_model_it_is():
    drive = qb.Pulse(ramp, 0.5)
    model = qb.StarBattery(N=2, F=drive, kappa=0.1, charger=qb.cavity(4), frame="lab")
    said = "N = 2, F = a Pulse of time, g = 1, gamma_C = 1, omega_B = 1, kappa = 0.1"
    curve = qb.evolve(model, [0.5])
    assert line("model", str(curve)) == f"{said}, cavity charger, lab frame"
    for name in ("steady state", "charging time", "best dephasing", "optimum"):
        assert line("model", str(RESULTS[name]())).startswith("N = 2, F = ")


def test_what_has_not_converged_says_what_to_do():
    leaky = qb.StarBattery(N=2, F=0.5, kappa=1e-5)
    state = qb.steady_state(leaky, tolerance=1e-13, method="iterative", throw=False)
    assert line("status", str(state)).endswith("ask for the state at a stated time")
    with pytest.raises(qb.SolveError, match="ask for the state at a stated time"):
        qb.steady_state(leaky, tolerance=1e-13, method="iterative")


def test_a_batch_is_short():
    text = str(qb.steady_state(BATCH, throw=False))
    assert line("status", text) == "1 OK, 1 NO_DRIVE"
    assert line("energy", text) == "0.5 (2 values, 1 not finite) in the unit of omega_B"
    assert max(map(len, text.splitlines())) < 120
    assert line("F", str(BATCH)) == "0 ... 0.5 (2 values) (unit of g)"


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, jax.grad])
def test_what_is_traced_prints_without_numbers(transform):
    said = []

    def energy(F):
        state = qb.steady_state(qb.StarBattery(N=2, F=F))
        said.append(str(state))
        return state.energy

    transform(energy)(np.array([0.5, 0.6]) if transform is jax.vmap else 0.5)
    assert line("energy", said[0]).startswith("float64[], traced")
