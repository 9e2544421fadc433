"""Every check of the host has a twin where JAX is tracing: `OUT_OF_RANGE`, and NaN for numbers.

`TWINS` is the table of the checks that look at numbers, with a value that passes and some that do
not.
"""

import ast
import collections
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import qutip

import qbjax as qb
from qbjax.common import checks
from qbjax.states import trial_states

PACKAGE = pathlib.Path(qb.__file__).parent
NOT_FINITE = (np.nan, np.inf)
NEGATIVE = (-1e-9, *NOT_FINITE)
EMPTY = np.diag([1.0, 0.0, 0.0, 0.0])


def battery(*populations):
    return np.diag(np.pad(np.array(populations, float), (0, 4 - len(populations))))


def exact(N, F, g, gamma_C, omega_B, omega_C, ts, rho0, tolerance):
    model = qb.StarBattery(N, F, g, gamma_C, omega_B, omega_C, N_max=3)
    return qb.evolve(model, ts, rho0=rho0, tolerance=tolerance)


STARTS = (
    battery(2.0),
    battery(1.5, -0.5),
    battery(np.nan),
    battery(0.5, 0.0, 0.0, 0.5),
    battery(1.0) + np.diag([0.1, 0.0, 0.0], 1),
)
EXACT = {
    "N": (2, (0, 4)),
    "F": (0.5, NOT_FINITE),
    "g": (1.0, NOT_FINITE),
    "gamma_C": (1.0, NEGATIVE),
    "omega_B": (1.0, (0.0, *NEGATIVE)),
    "omega_C": (1.1, NOT_FINITE),
    "ts": ([1.0, 2.0], ([2.0, 1.0], [1.0, 1.0], [-1.0, 2.0], [0.0, np.inf], [np.nan, 1.0])),
    "rho0": (EMPTY, STARTS),
    "tolerance": (1e-6, (0.0, -1.0, np.nan)),
}


def rotating(t, width):
    return jnp.cos(t / width)


def general(
    kappa,
    nbar,
    Gamma_down,
    Gamma_up,
    Gamma_z,
    gamma_down,
    gamma_up,
    gamma_z,
    rate,
    single,
    coefficient,
    conjugate,
    times,
    values,
    piece,
    width,
    stops,
    rtol,
    atol,
    max_step,
):
    model = qb.StarBattery(
        N=1,
        F=qb.PiecewiseConstant(times, values),
        g=qb.Pulse(rotating, width, stops=stops),
        gamma_C=qb.PiecewiseConstant([0.5], piece),
        kappa=kappa,
        nbar=nbar,
        Gamma_down=Gamma_down,
        Gamma_up=Gamma_up,
        Gamma_z=Gamma_z,
        gamma_down=gamma_down,
        gamma_up=gamma_up,
        gamma_z=gamma_z,
        hamiltonian=(
            qb.Term(coefficient, battery=qb.J_minus),
            qb.Term(conjugate, battery=qb.J_plus),
        ),
        jumps=(
            qb.Jump(rate, qb.Term(1.0, battery=qb.J_z)),
            qb.LocalJump(single, [[0.0, 1.0], [1.0, 0.0]]),
        ),
    )
    limits = {"rtol": rtol, "atol": atol, "max_step": max_step}
    return qb.evolve(model, [0.3, 1.0], method="tsit5", **limits)


GENERAL = {
    "kappa": (0.1, NEGATIVE),
    "nbar": (0.1, NEGATIVE),
    "Gamma_down": (0.1, NEGATIVE),
    "Gamma_up": (0.1, NEGATIVE),
    "Gamma_z": (0.1, NEGATIVE),
    "gamma_down": (0.1, NEGATIVE),
    "gamma_up": (0.1, NEGATIVE),
    "gamma_z": (0.1, NEGATIVE),
    "rate": (0.1, NEGATIVE),
    "local rate": (0.1, NEGATIVE),
    "coefficient": (0.2, NOT_FINITE),
    # Rounding is no more than 1e-12 of it.
    "hamiltonian": (0.2, (0.3, 0.2 * (1 + 1e-10))),
    "times": ([1.0, 2.0], ([2.0, 1.0], [1.0, 1.0], [1.0, np.inf])),
    "values": ([0.5, 0.4, 0.3], ([0.5, np.nan, 0.3],)),
    "piecewise rate": ([0.1, 0.2], ([0.1, -0.2],)),
    "parameters": (1.0, (np.nan,)),
    "stops": ([0.2], ([np.nan],)),
    "rtol": (1e-7, (1e-20, -1.0, np.nan)),
    "atol": (1e-9, (-1.0, np.nan)),
    "max_step": (0.5, (0.0, -1.0, np.nan)),
}


def settled(kappa, rho0, tolerance):
    model = qb.StarBattery(N=2, F=0.5, kappa=kappa)
    return qb.steady_state(model, rho0=rho0, tolerance=tolerance, method="direct", throw=False)


def settled_exactly(gamma_C, rho0):
    return qb.steady_state(qb.StarBattery(N=3, F=0.5, gamma_C=gamma_C), rho0=rho0, throw=False)


def at_time(time):
    return qb.steady_state(qb.StarBattery(N=1, F=0.5, g=0.9), time=time, throw=False)


def charging(definition, option):
    def solve(F, value):
        return qb.charging_time(
            qb.StarBattery(N=1, F=F), definition, throw=False, **{option: value}
        )

    return solve, {"F": (0.5, NOT_FINITE), option: (0.1, (0.0, -0.1, np.nan))}


def best(F, min_weight):
    model = qb.StarBattery(N=1, F=F)
    return qb.optimal_dephasing(model, "decay_rate", min_weight=min_weight, throw=False)


TWINS = {
    "evolve, exact": (exact, EXACT),
    "evolve, general": (general, GENERAL),
    "steady_state, direct": (
        settled,
        {
            "kappa": (0.1, NEGATIVE),
            "rho0": (np.diag([1.0, 0.0, 0.0]), (np.eye(3), np.diag([1.5, -0.5, 0.0]))),
            "tolerance": (1e-8, (1e-20, 0.0, np.nan)),
        },
    ),
    "steady_state, exact": (
        settled_exactly,
        {"gamma_C": (1.0, NEGATIVE), "rho0": (EMPTY, STARTS[:3])},
    ),
    "steady_state, time": (at_time, {"time": (1.0, NEGATIVE)}),
    "charging_time, settling": charging("settling", "band"),
    "charging_time, decay_rate": charging("decay_rate", "min_weight"),
    "charging_time, fit": charging("fit", "window"),
    "optimal_dephasing": (
        best,
        {"F": (0.5, NOT_FINITE), "min_weight": (0.1, (0.0, -0.1, np.nan))},
    ),
}


def rows(table):
    """One row of arguments that pass, and one for each value that does not."""
    passing = [value for value, _ in table.values()]
    cases = [("passing", passing)]
    for i, (name, (_, refused)) in enumerate(table.items()):
        cases += [(name, [*passing[:i], bad, *passing[i + 1 :]]) for bad in refused]
    return cases


def numbers(result):
    """The numbers of a result that are not evidence of something else, by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(result)
    return [
        (str(path), leaf)
        for path, leaf in leaves
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and path[0].name != "model"
    ]


@pytest.mark.parametrize("name", TWINS)
def test_what_the_host_refuses_is_flagged_where_it_is_traced(name):
    solve, table = TWINS[name]
    cases = rows(table)
    stacked = [np.stack(column) for column in zip(*(row for _, row in cases), strict=True)]
    result = jax.jit(jax.vmap(solve))(*stacked)
    for k, (argument, row) in enumerate(cases):
        status = np.unique(result.status[k])
        if argument == "passing":
            assert status == qb.Status.OK
            value = result.tau if hasattr(result, "tau") else result.energy
            assert np.all(np.isfinite(value[k]))
            continue
        assert status == qb.Status.OUT_OF_RANGE, (argument, row)
        for path, leaf in numbers(result):
            assert np.all(np.isnan(leaf[k])), (argument, path)


def test_what_is_refused_where_it_is_traced_has_not_converged():
    def best(omega_B):
        return qb.optimal_dephasing(qb.StarBattery(2, 0.5, omega_B=omega_B), "decay_rate")

    for solve, passing, refused in (
        (best, 1.0, -1.0),
        (trial_states.fit_bose_einstein, np.array([0.4, 0.2, 0.4]), np.array([0.4, 0.3, 0.4])),
    ):
        compiled = jax.jit(solve)
        assert compiled(passing).converged
        assert not compiled(refused).converged


def test_jit_alone_flags_too():
    for name in ("evolve, exact", "steady_state, exact"):
        solve, table = TWINS[name]
        solve = jax.jit(solve)
        for argument, row in rows(table):
            expected = qb.Status.OK if argument == "passing" else qb.Status.OUT_OF_RANGE
            np.testing.assert_array_equal(solve(*row).status, expected, err_msg=argument)


def test_the_host_refuses_by_name():
    for solve, table in TWINS.values():
        for argument, row in rows(table)[1:]:
            named = {"hamiltonian": "hamiltonian", "piecewise rate": "gamma_C"}.get(
                argument, argument.removeprefix("local ")
            )
            with pytest.raises(qb.ArgumentError, match=f"Argument `{named}` must be"):
                solve(*row)


MATRIX = np.diag([0.5, 0.0, 0.5])
STATELESS = (2 * MATRIX, np.diag([1.5, 0.0, -0.5]), MATRIX + np.diag([0.1, 0.1], 1))
FIGURES = {
    "rho_B": (qb.ergotropy, (MATRIX,), STATELESS),
    "omega_B": (lambda w: qb.energy(MATRIX, w), (1.0,), (0.0, -1.0, np.nan)),
    "N": (lambda N: qb.capacity(MATRIX, N=N), (2,), (0, 3)),
    "rho": (qb.purity, (MATRIX,), STATELESS),
    "sigma": (lambda sigma: qb.fidelity(MATRIX, sigma), (MATRIX,), STATELESS),
    "beta": (
        lambda b: trial_states.bose_einstein_populations(0.1, b, -0.5, 0.2, 2),
        (1.0,),
        (0.0, -1.0),
    ),
    "mu": (
        lambda m: trial_states.bose_einstein_populations(0.1, 1.0, m, 0.2, 2),
        (-0.5,),
        (0.0, 1.0),
    ),
    "end": (
        lambda end: qb.shapes.fluence(qb.shapes.piecewise_constant(1.0, [1.0, 2.0]), end),
        (2.0,),
        (0.0, -1.0, np.inf),
    ),
    "populations": (
        lambda p: trial_states.fit_bose_einstein(p).beta,
        (np.array([0.4, 0.2, 0.4]),),
        (np.array([0.4, 0.4, 0.4]), np.array([0.7, -0.1, 0.4])),
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_what_is_out_of_range_are_nan_where_it_is_traced(name):
    figure, passing, refused = FIGURES[name]
    values = jax.jit(jax.vmap(figure))(np.stack([*passing, *refused]))
    assert np.all(np.isfinite(values[0]))
    assert np.all(np.isnan(values[1:]))
    for bad in refused:
        with pytest.raises(qb.ArgumentError, match=f"Argument `{name}` must be"):
            figure(bad)


def test_no_check_of_numbers_is_without_a_twin():
    """`refusal` returns one, which is not to be dropped; the twins of models are `out_of_range`."""
    dropped, passing = [], collections.Counter()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = getattr(getattr(node, "func", None), "id", "")
            if called == "require_known" and path.stem != "checks":
                passing[path.stem] += 1
            statement = node.value if isinstance(node, ast.Expr) else None
            if getattr(getattr(statement, "func", None), "id", "") == "refusal":
                dropped.append(f"{path.name}:{node.lineno}")
    assert not dropped
    # A new check has a twin in `out_of_range`, a row in the tables above, and one more here.
    assert passing == {
        "definition": 2,
        "minimise": 1,
        "power": 1,
        "pulses": 5,
        "ranges": 2,
        "shapes": 1,
        "arguments": 4,
        "star_battery": 1,
        "states": 1,
        "steady_state": 1,
        "terms": 3,
    }
    with pytest.raises(AssertionError, match="a check of numbers has a twin"):
        jax.jit(lambda x: checks.require(x > 0, "x", "positive", x))(1.0)


@pytest.mark.parametrize("direction", [jax.grad, jax.jacfwd])
def test_derivatives_of_what_is_refused_are_no_numbers(direction):
    def leaking(kappa):
        model = qb.StarBattery(2, 0.5, gamma_C=0.1, kappa=kappa)
        return qb.steady_state(model, throw=False).energy

    def dephased(gamma_C):
        return qb.charging_time(
            qb.StarBattery(2, 0.5, gamma_C=gamma_C), "decay_rate", throw=False
        ).tau

    for number in (leaking, dephased):
        assert np.isnan(jax.jit(direction(number))(-0.5))
        assert np.isfinite(jax.jit(direction(number))(0.5))


def ergotropy(model):
    return qb.steady_state(model).ergotropy


IDENTITY, MODEL = np.eye(2) / 2, qb.StarBattery(2, 0.5)
FOREIGN = {
    "`rho_B` must be a ket or a matrix": lambda: qb.ergotropy(qutip.to_super(qutip.qeye(2))),
    "`battery` must be an array: bring it over": lambda: qb.Term(1.0, battery=qutip.jmat(1, "x")),
    "`charger` must be an array: bring it over": lambda: qb.Term(1.0, qutip.destroy(2)),
    "`rate` must be an array of numbers": lambda: qb.Jump(None, qb.Term(1.0)),
    "`rate` must be a real number": lambda: qb.Jump(1j, qb.Term(1.0)),
    "`parameters` must be an array of numbers": lambda: qb.Pulse(jnp.sin, "a"),
    "`parameters` must be a real number": lambda: qb.Pulse(lambda t, a: a * t, 1j),
    "`stops` must be real numbers": lambda: qb.Pulse(jnp.sin, stops=[1 + 1j]),
    "`times` must be real numbers": lambda: qb.PiecewiseConstant([1 + 3j], [1.0, 2.0]),
    "`values` must be real numbers": lambda: qb.PiecewiseConstant([1.0], [1j, 2.0]),
    "`omega_B` must be a real number": lambda: qb.energy(IDENTITY, 1 + 1j),
    "`energy` must be an array of numbers": lambda: qb.average_power(None, [1.0]),
    "`t` must be real numbers": lambda: qb.average_power([1.0], [1j]),
    "`g` must be an array of numbers": lambda: qb.instantaneous_power(
        np.eye(4).reshape(2, 2, 2, 2) / 4, g="a"
    ),
    "`rho` must be an array: bring a cavity's": lambda: qb.purity(
        qutip.tensor(qutip.fock_dm(3, 0), qutip.fock_dm(3, 0))
    ),
    "`F` must be a number or a qbjax.Pulse, but is of type Qobj": lambda: qb.StarBattery(
        2, qutip.basis(2, 0)
    ),
    "`max_steps` must be a positive integer, but is a": lambda: qb.optimal_dephasing(
        MODEL, max_steps="a"
    ),
    "`max_steps` must be a positive integer, but is 2.5": lambda: qb.optimize(
        MODEL, ergotropy, {"F": (0.1, 1.0)}, max_steps=2.5
    ),
    "`max_steps` must be a positive integer, but is True": lambda: qb.evolve(
        MODEL, [1.0], max_steps=True
    ),
    "`tolerance` must be an array of numbers": lambda: qb.optimal_dephasing(MODEL, tolerance=None),
    "`optimizer` must be an optimiser of optax": lambda: qb.optimal_dephasing(MODEL, optimizer=3),
    "`parameters` must be a dictionary": lambda: qb.optimize(MODEL, ergotropy, ["F"]),
    "`observables` must be functions of rho, by name": lambda: qb.evolve(
        MODEL, [1.0], observables={1: np.sum, "a": np.sum}
    ),
    '`gradient` of qbjax.evolve must be "forward"': lambda: jax.jacfwd(
        lambda F: qb.charging_time(qb.StarBattery(1, F, kappa=0.1), "settling").tau
    )(0.5),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_errors_of_other_libraries_do_not_come_through(message):
    with pytest.raises(qb.ArgumentError) as refused:
        FOREIGN[message]()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_traced_matrix_of_no_numbers_is_flagged():
    def status(matrix):
        model = qb.StarBattery(N=1, F=0.5, hamiltonian=qb.Term(0.1, battery=matrix))
        return qb.steady_state(model, throw=False).status

    statuses = jax.jit(jax.vmap(status))(jnp.stack([jnp.eye(2), jnp.full((2, 2), jnp.nan)]))
    assert statuses[0] != qb.Status.OUT_OF_RANGE
    assert statuses[1] == qb.Status.OUT_OF_RANGE
