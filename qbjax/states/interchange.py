"""Models, states and operators in QuTiP's form and back; QuTiP is imported when it is asked for.

How QuTiP counts levels is said in `qbjax.states.qobj`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbjax.basis.states import LadderState, of_qubits
from qbjax.common.checks import is_concrete, require
from qbjax.common.types import ArrayLike
from qbjax.model.batteries import Oscillator
from qbjax.model.chargers import Charger, qubit
from qbjax.model.equation import local_jumps, terms
from qbjax.model.star_battery import StarBattery
from qbjax.model.terms import total
from qbjax.states.qobj import Qobj, from_qobj, turned


def to_qutip(
    value: StarBattery | ArrayLike | LadderState,
    charger: Charger | None = None,
    N: int | None = None,
    battery: Oscillator | None = None,
) -> Any:
    """Return a model, a state or an operator in QuTiP's form.

    A model gives the pair (H, c_ops) that `qutip.mesolve` takes, in the model's frame and its unit
    of frequency, with hbar = 1; each jump has the square root of its rate. What depends on time is
    a `qutip.QobjEvo` (QuTiP does not see where a `PiecewiseConstant` changes: give it `max_step`).
    `qutip.steadystate` takes them, too, and goes wrong where the steady state is not unique: look
    at `SteadyState.nullity`.

    With noise on single qubits all is written in the space of charger and qubits, of dimension
    d_c 2^N: the charger first, then one qubit after the other, with an excited qubit as
    `qutip.basis(2, 0)`. So is a `LadderState`. Both take at most 10 qubits.

    Parameters
    ----------
    value
        One model; a `LadderState`; or an array in the form of qbjax: a ket of the battery, shape
        (n,), or a matrix of the battery (n, n) or of both (d_c, n, d_c, n).
    charger
        The charger of an array that has one; None is the qubit.
    N
        Number of qubits where the array is padded: n = N + 1 levels are kept. None keeps all.
    battery
        `qbjax.oscillator(levels)` where the array is of one, which QuTiP counts from the bottom.

    Returns
    -------
    (H, [c_op, ...]) for a model, of the dimensions [[d_c, N + 1], [d_c, N + 1]], or with noise on
    single qubits [[d_c, 2, ..., 2], [d_c, 2, ..., 2]]; or one Qobj.

    Raises
    ------
    ArgumentError
        Where a model is a batch or traced, or has noise on more than 10 qubits, the shape of an
        array is none of these, or a model or a `LadderState`, which have their own, comes with a
        charger or N.
    ImportError
        Where QuTiP is not installed.

    Examples
    --------
    >>> import qbjax as qb
    >>> model = qb.StarBattery(N=3, F=0.5)
    >>> H, c_ops = qb.to_qutip(model)
    >>> H.dims, len(c_ops)
    ([[2, 4], [2, 4]], 1)
    >>> qb.to_qutip(qb.steady_state(model).battery).dims
    [[4], [4]]
    """
    if isinstance(value, StarBattery | LadderState):
        kind = type(value).__name__
        for name, given in {"charger": charger, "N": N, "battery": battery}.items():
            require(given is None, name, f"None: a {kind} has its own", given)
    if isinstance(value, StarBattery):
        return _model(value)
    import qutip

    if isinstance(value, LadderState):
        # QuTiP counts the levels of every qubit from the top.
        matrix = value.full()[::-1, ::-1]
        return qutip.Qobj(matrix, dims=[[2] * int(value.N)] * 2)

    charger = qubit() if charger is None else charger
    array = np.asarray(value)
    half = array.ndim // 2 or 1
    rows, columns = array.shape[:half], array.shape[half:]
    has_form = array.size > 0 and array.ndim in (1, 2, 4) and columns in ((), rows)
    has_form = has_form and (half < 2 or rows[0] == charger.levels)
    forms = f"a model, or of shape (n,), (n, n) or ({charger.levels}, n, {charger.levels}, n)"
    require(has_form, "value", forms, f"of shape {array.shape}")
    if N is not None:
        require(1 <= N < rows[-1], "N", f"between 1 and {rows[-1] - 1}", N)
        ladder = {half - 1, array.ndim - 1}
        array = array[tuple(np.s_[: N + 1] if i in ladder else np.s_[:] for i in range(array.ndim))]
        rows, columns = array.shape[:half], array.shape[half:]
    dims = [list(rows), list(columns or (1,))]
    return qutip.Qobj(
        turned(array, charger, battery is not None).reshape(math.prod(rows), -1), dims=dims
    )


def from_qutip(
    qobj: object,
    charger: Charger | None = None,
    N_max: int | None = None,
    battery: Oscillator | None = None,
) -> jax.Array:
    """Return a state or an operator of QuTiP as an array in the form of qbjax.

    Parameters
    ----------
    qobj
        A Qobj of the battery, of the dimension N + 1, or of charger and battery in this order: a
        ket or a matrix.
    charger
        The charger, where it has one; None is the qubit.
    N_max
        Padded size of the result: n = N_max + 1 levels. None: n = N + 1.
    battery
        `qbjax.oscillator(levels)` where it is of one, which QuTiP counts from the bottom.

    Returns
    -------
    What `rho0` of `evolve` and `steady_state`, the figures of merit, or `battery` of a `Term` take:
    complex, shape (n,), (n, n) or (d_c, n, d_c, n). A ket of charger and battery becomes its
    density matrix.

    Raises
    ------
    ArgumentError
        Where the dimensions are none of these, or exceed N_max + 1.

    Examples
    --------
    >>> import qutip
    >>> import qbjax as qb
    >>> full = qb.from_qutip(qutip.basis(4, 0))  # all three qubits of a battery are excited
    >>> print(full.real)
    [0. 0. 0. 1.]
    """
    charger = qubit() if charger is None else charger
    return jnp.asarray(from_qobj(qobj, "qobj", charger, N_max, battery is not None))


def _model(model: StarBattery) -> tuple[Qobj, list[Qobj]]:
    """Return the Hamiltonian and the jumps of one model."""
    require(is_concrete(model), "value", "a model of known numbers", "one that is traced")
    require(model.batch_shape == (), "value", "one model", f"a batch of {model.batch_shape}")
    N, charger, battery = int(model.most_excitations), model.charger, model.battery
    shape = (charger.levels, model.N, model.basis)

    @jax.jit
    def matrices(t: jax.Array) -> list[jax.Array]:
        hamiltonian, jumps = terms(model, t)
        operators_at_t = [total(hamiltonian, t, *shape)]
        operators_at_t += [
            total(jump.terms, t, *shape).scaled(jnp.sqrt(jump.rate)) for jump in jumps
        ]
        sizes = 2 * (charger.levels, model.levels)
        return [x.dense(charger.levels, model.basis).reshape(-1, *sizes) for x in operators_at_t]

    # Every operator asks for the same times.
    @functools.lru_cache(maxsize=1)
    def operators(t: float) -> list[Qobj]:
        if not model.has_local_noise:
            return [to_qutip(blocks[0], charger, N, battery).to("csr") for blocks in matrices(t)]
        collective = [_in_qubits(np.asarray(blocks), charger, N) for blocks in matrices(t)]
        return [*collective, *_on_each_qubit(model, t)]

    operators_of_time = operators(0.0)
    if model.depends_on_time:
        import qutip

        operators_of_time = [
            qutip.QobjEvo(lambda t, number: operators(t)[number], args={"number": number})
            for number in range(len(operators_of_time))
        ]
    return operators_of_time[0], operators_of_time[1:]


def _in_qubits(blocks: np.ndarray, charger: Charger, N: int) -> Qobj:
    """Return an operator (K, d_c, L, d_c, L) on all ladders in the space of charger and qubits."""
    import qutip

    size = charger.levels
    square = np.zeros((size, 2**N, size, 2**N), complex)
    for a, b in np.ndindex(size, size):
        if np.any(blocks[:, a, :, b]):
            square[a, :, b] = of_qubits(blocks[:, a, :, b], N)
    dims = [[size] + [2] * N] * 2
    return qutip.Qobj(turned(square, charger).reshape(size * 2**N, -1), dims=dims).to("csr")


def _on_each_qubit(model: StarBattery, t: float) -> list[Qobj]:
    """Return the jumps of every qubit by itself, with the square roots of their rates."""
    import qutip

    N, one = int(model.N), qutip.qeye(2)
    operators = []
    for jump in local_jumps(model, t):
        matrix = qutip.Qobj(np.sqrt(jump.rate) * np.flip(jump.dense()))
        for i in range(N):
            qubits = [one] * i + [matrix] + [one] * (N - 1 - i)
            operators.append(qutip.tensor(qutip.qeye(model.charger.levels), *qubits).to("csr"))
    return operators
