"""Models, states and operators in QuTiP's form and back; QuTiP is imported when it is asked for.

QuTiP counts the levels of a spin from the top, `qutip.jmat`, and so of a qubit, whose
`qutip.basis(2, 0)` is |e>; qbjax counts excitations. So the battery's axes are turned round, and
the charger's, too, unless it is a cavity, whose levels `qutip.destroy` counts as qbjax does. The
charger comes first in both.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.chargers import Charger, qubit
from qbjax.checks import is_concrete, require
from qbjax.models import StarBattery, terms
from qbjax.terms import total


def to_qutip(given: StarBattery | ArrayLike, charger: Charger | None = None) -> Any:
    """Return a model, a state or an operator in QuTiP's form.

    A model gives the pair (H, c_ops) that `qutip.mesolve` takes, in its frame; each jump has the
    square root of its rate. What depends on time is a `qutip.QobjEvo`. `qutip.steadystate` takes
    them, too, and goes wrong where the steady state is not unique: look at `SteadyState.nullity`.

    Parameters
    ----------
    given
        One model; or an array in the form of qbjax: a ket of the battery, shape (N + 1,), or a
        matrix of the battery (N + 1, N + 1) or of both (d_c, N + 1, d_c, N + 1).
    charger
        The charger of an array that has one; None is the qubit. A model brings its own.

    Returns
    -------
    (H, [c_op, ...]) for a model, of the dimensions [[d_c, N + 1], [d_c, N + 1]]; or one Qobj.

    Raises
    ------
    ArgumentError
        Where a model is a batch or traced, or the shape of an array is none of these.
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
    if isinstance(given, StarBattery):
        return _model(given)
    import qutip

    charger = qubit() if charger is None else charger
    array = np.asarray(given)
    half = array.ndim // 2
    rows, columns = array.shape[: half or 1], array.shape[half or 1 :]
    good = array.ndim in (1, 2, 4) and columns in ((), rows)
    good = good and (half < 2 or rows[0] == charger.levels)
    wanted = f"a model, or of shape (n,), (n, n) or ({charger.levels}, n, {charger.levels}, n)"
    require(good, "given", wanted, f"of shape {array.shape}")
    size = math.prod(rows)
    dims = [list(rows), list(columns or (1,))]
    return qutip.Qobj(_turned(array, charger, len(rows)).reshape(size, -1), dims=dims)


def from_qutip(given: Any, charger: Charger | None = None) -> jax.Array:
    """Return a state or an operator of QuTiP as an array in the form of qbjax.

    Parameters
    ----------
    given
        A Qobj of the battery, of the dimension N + 1, or of charger and battery in this order: a
        ket or a matrix.
    charger
        The charger, where it has one; None is the qubit.

    Returns
    -------
    What `rho0` of `evolve` and `steady_state`, the figures of merit, or `battery` of a `Term` take:
    complex, shape (N + 1,), (d_c, N + 1), (N + 1, N + 1) or (d_c, N + 1, d_c, N + 1).

    Raises
    ------
    ArgumentError
        Where the dimensions are none of these.

    Examples
    --------
    >>> import qutip
    >>> import qbjax as qb
    >>> full = qb.from_qutip(qutip.basis(4, 0))  # all three qubits of a battery are excited
    >>> print(full.real)
    [0. 0. 0. 1.]
    """
    charger = qubit() if charger is None else charger
    rows, columns = (tuple(part) for part in given.dims)
    if given.isket:
        columns = ()
    good = columns in ((), rows) and len(rows) in (1, 2)
    wanted = "a ket or a matrix of the battery, or of charger and battery"
    require(good, "given", wanted, f"of the dimensions {given.dims}")
    fits = len(rows) == 1 or rows[0] == charger.levels
    require(fits, "charger", f"one of {rows[0]} levels", f"one of {charger.levels}")
    array = given.full().reshape(rows + columns)
    return jnp.asarray(_turned(array, charger, len(rows)))


def _turned(array: np.ndarray, charger: Charger, parts: int) -> np.ndarray:
    """Return an array with the levels of one part or two counted as the other side does."""
    kept = {0, 2} if parts == 2 and charger.name == "cavity" else set()
    return np.flip(array, tuple(axis for axis in range(array.ndim) if axis not in kept))


def _model(model: StarBattery) -> tuple[Any, list[Any]]:
    """Return the Hamiltonian and the jumps of one model."""
    require(is_concrete(model), "given", "a model of known numbers", "one that is traced")
    require(model.batch_shape == (), "given", "one model", f"a batch of {model.batch_shape}")
    N, charger = int(model.N), model.charger
    shape = (charger.levels, model.N, model.levels)

    @jax.jit
    def matrices(t: ArrayLike) -> list[jax.Array]:
        hamiltonian, jumps = terms(model, t)
        found = [total(hamiltonian, t, *shape)]
        found += [total(jump.terms, t, *shape).scaled(jnp.sqrt(jump.rate)) for jump in jumps]
        sizes = 2 * (charger.levels, model.levels)
        dense = (x.dense(charger.levels, model.levels).reshape(sizes) for x in found)
        return [x[:, : N + 1, :, : N + 1] for x in dense]

    # Every operator asks for the same times.
    @functools.lru_cache(maxsize=1)
    def operators(t: float) -> list[Any]:
        return [to_qutip(matrix, charger).to("csr") for matrix in matrices(t)]

    found = operators(0.0)
    if model.depends_on_time:
        import qutip

        found = [
            qutip.QobjEvo(lambda t, number: operators(t)[number], args={"number": number})
            for number in range(len(found))
        ]
    return found[0], found[1:]
