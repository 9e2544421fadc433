"""The one door for states: from every form in which one may come to a density matrix."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbjax.basis.basis import Basis
from qbjax.basis.ladders import Ladders
from qbjax.basis.states import LadderState
from qbjax.common.checks import (
    ArgumentError,
    array_module,
    as_array,
    blank,
    is_concrete,
    refusal,
    require,
)
from qbjax.common.types import Array, ArrayLike, Condition
from qbjax.model.chargers import Charger
from qbjax.states.qobj import from_qobj, is_qobj


class Start(NamedTuple):
    """A start of a charger and its battery.

    Attributes
    ----------
    rho
        The density matrix, shape (d_c, L, d_c, L).
    refused
        Whether JAX is tracing something that is no start: False, or an array of shape ().
    real
        Whether it is a battery without phases beside a charger in its ground state, as its form and
        its type say.
    """

    rho: jax.Array
    refused: Condition
    real: bool


def as_start(rho0: object, basis: Basis, N: ArrayLike, charger: Charger) -> Start:
    """Return a start, in whichever form, as a density matrix of charger (x) battery of trace 1.

    Parameters
    ----------
    rho0
        A ket (d_c, L) or a density matrix (d_c, L, d_c, L) of charger (x) battery; a ket (L,) or a
        density matrix (L, L) of a battery beside a charger in its ground state; or a Qobj of
        these. Where the basis has several ladders, these are states of the ladder j = N/2, and
        besides: a `LadderState` of the battery, or the blocks (K, d_c, L, d_c, L) of both. A
        `Start` has been judged already.
    basis
        The levels that states of the battery are written in.
    N
        Number of qubits, or several: no level above the smallest may be occupied.
    charger
        The charger, of d_c levels.

    Raises
    ------
    ArgumentError
        Where the shape is none of these, an array is valid in two of these forms, it is no state,
        or a level above N is occupied.
    """
    if isinstance(rho0, Start):
        return rho0
    if isinstance(rho0, LadderState) or getattr(rho0, "ndim", 0) == 5:
        return _start_of_blocks(rho0, basis, N, charger)
    levels = basis.levels
    shape = (charger.levels, levels)
    values = rho0
    if is_qobj(rho0):
        values = from_qobj(rho0, "rho0", charger, levels - 1, basis.truncated)
    array, tolerance = _in_working_precision(values, "rho0")
    forms = ((levels,), shape, (levels, levels), 2 * shape)
    listed = f"of shape {', '.join(map(str, forms[:-1]))} or {forms[-1]}"
    if isinstance(basis, Ladders):
        listed = f"a LadderState, or {listed}"
    require(array.shape in forms, "rho0", listed, f"of shape {array.shape}")
    # The dimensions of a Qobj say what it is: kets of both are density matrices by now.
    unclear = array.shape == shape == (levels, levels) and not is_qobj(rho0)
    battery = array.shape in (forms[0], forms[2]) and not unclear
    if unclear:
        rho, refused = _ket_or_battery(array, tolerance)
    elif array.shape == (levels,) or (array.shape == shape and not battery):
        rho, refused = _projector(array), _demand(_ket_checks(array, tolerance), "rho0")
    else:
        rho = array.reshape(2 * (math.isqrt(array.size),))
        rho, refused = _of_trace_one(rho), _demand(_matrix_checks(rho, tolerance), "rho0")
    if battery:
        rho = _beside_ground(rho, charger.levels)
    # Methods look at different halves of it.
    rho = ((rho + _adjoint(rho)) / 2).reshape(2 * shape)
    module = array_module(array, N)
    above = ~module.asarray(basis.live(module.min(module.asarray(N))))[0]
    stray = module.max(module.abs(rho) * above[:, None, None])
    text = _text("{:.6g} there", stray)
    refused |= refusal(stray == 0, "rho0", "empty above the level N", text)
    return Start(jnp.asarray(rho), refused, battery and not jnp.iscomplexobj(array))


def _start_of_blocks(rho0: object, basis: Basis, N: ArrayLike, charger: Charger) -> Start:
    """Return blocks of a battery beside a charger in its ground state, or of both, as a start."""
    several = isinstance(basis, Ladders)
    require(several, "rho0", "a state of one ladder without noise on single qubits", "of several")
    battery = isinstance(rho0, LadderState)
    values = rho0.blocks if isinstance(rho0, LadderState) else rho0
    blocks, tolerance = _in_working_precision(values, "rho0")
    size, levels = charger.levels, basis.levels
    shape = (basis.blocks, levels, levels) if battery else (basis.blocks, *2 * (size, levels))
    require(blocks.shape == shape, "rho0", f"of blocks of the shape {shape}", str(blocks.shape))
    refused = _demand(_block_checks(blocks, tolerance), "rho0")
    if isinstance(rho0, LadderState):
        refused |= _all_alike(rho0.N, N)
    module = array_module(blocks, N)
    if battery:
        rest = (size - 1) * levels
        blocks = array_module(blocks).pad(blocks, ((0, 0), (0, rest), (0, rest)))
    rho = blocks.reshape(basis.blocks, size, levels, size, levels)
    outside = module.logical_not(basis.live(module.min(module.asarray(N))))
    stray = module.max(module.abs(rho) * outside[:, None, :, None, None])
    refused |= refusal(stray == 0, "rho0", "empty outside the ladders of N", _text("{:.6g}", stray))
    return Start(jnp.asarray(rho), refused, battery and not jnp.iscomplexobj(rho))


def _all_alike(own: jax.Array, N: ArrayLike) -> Condition:
    """Refuse a start of another number of qubits than that of the models."""
    module = array_module(own, N)
    same = module.all(module.asarray(own) == module.asarray(N))
    return refusal(same, "rho0", "of as many qubits as the model", _text("of {:g}", own))


def _block_checks(blocks: Array, tolerance: float) -> "_Checks":
    """Return what must hold for the blocks (K, ...) of one state on several ladders."""
    side = math.isqrt(blocks[0].size)
    matrices = blocks.reshape(len(blocks), side, side)
    finite, hermitian, _, positive = _matrix_checks(matrices, tolerance)
    module = array_module(blocks)
    total = module.sum(module.trace(matrices, axis1=-2, axis2=-1)).real
    unit = abs(total - 1) <= tolerance
    trace = (unit, "a state of trace 1", _text("of trace {:.9g}", total))
    return [finite, hermitian, trace, positive]


def _ket_or_battery(array: Array, tolerance: float) -> tuple[Array, Condition]:
    """Read an array that may be a ket of both or a matrix of the battery, by its shape."""
    levels = len(array)
    shape = f"({levels}, {levels})"
    ket, matrix = (_all(checks(array, tolerance)) for checks in (_ket_checks, _matrix_checks))
    readings = f"a ket {shape} of charger and battery", f"a density matrix {shape} of the battery"
    refused = refusal(ket | matrix, "rho0", " or ".join(readings), "neither")
    both = f"both {' and '.join(readings)}: give the density matrix {4 * (levels,)} of both"
    module = array_module(array)
    refused |= refusal(module.logical_not(ket & matrix), "rho0", "of one meaning", both)
    of_battery = _beside_ground(_of_trace_one(array), levels)
    return module.where(matrix, of_battery, _projector(array)), refused


def as_state(rho: object, name: str) -> jax.Array:
    """Return states as density matrices of trace 1 in the precision that is worked in.

    Where JAX is tracing what turns out to be no state, its elements are NaN.

    Parameters
    ----------
    rho
        A density matrix or a batch of them, shape (..., d, d) with d >= 2, a ket (d,), or a Qobj of
        either; of charger and battery, too, where the charger is a qubit.
    name
        The name of the argument in the message.

    Raises
    ------
    ArgumentError
        Where the shape is none of these (traced arrays, too: shapes are known), or the matrix is
        not Hermitian, of a trace other than 1, or has a negative eigenvalue. The tolerance is the
        square root of the machine epsilon, 1.5e-8 in double precision, or 8 epsilon of the type of
        the argument where that is less precise.

    Examples
    --------
    >>> import numpy as np
    >>> from qbjax.states.density_matrix import as_state
    >>> as_state(np.diag([0.75, 0.22]), "rho_B")
    Traceback (most recent call last):
        ...
    qbjax.ArgumentError: Argument `rho_B` must be a state of trace 1, but is of trace 0.97.
    """
    if is_qobj(rho):
        rho = _of_qubit(rho, name)
        rho = rho.reshape(2 * (math.isqrt(rho.size),)) if rho.ndim == 4 else rho
    array, tolerance = _in_working_precision(rho, name)
    if array.ndim == 1:
        require(array.size >= 2, name, "a state of at least two levels", f"of shape {array.shape}")
        refused = _demand(_ket_checks(array, tolerance), name)
        return blank(refused, jnp.asarray(_projector(array)))
    shape = array.shape
    square = len(shape) >= 2 and shape[-1] == shape[-2] >= 2
    require(square, name, "a square matrix of at least two levels", f"of shape {shape}")
    refused = _demand(_matrix_checks(array, tolerance), name) if array.size else False
    return blank(refused, jnp.asarray(_of_trace_one(array)))


def _of_qubit(rho: Any, name: str) -> Array:
    """Return the array of a Qobj, which may have a qubit as its charger."""
    levels = rho.dims[0][0] if len(rho.dims[0]) == 2 else 2
    known = "an array: bring a cavity's or a spin's over by qbjax.from_qutip with its `charger`"
    require(levels == 2, name, known, f"a Qobj with a charger of {levels} levels")
    return from_qobj(rho, name)


def as_battery(rho_B: object) -> jax.Array | LadderState:
    """Return battery states as `as_state` does, also those of a charger and a battery.

    Parameters
    ----------
    rho_B
        Besides what `as_state` takes: with d_c levels of a charger other than the L of the battery,
        a ket (d_c, L) or density matrices (..., d_c, L, d_c, L); or a Qobj of both. The charger is
        traced out.
    """
    if isinstance(rho_B, LadderState):
        return as_ladders(rho_B)
    if is_qobj(rho_B):
        joint = len(rho_B.dims[0]) == 2
        rho_B = from_qobj(rho_B, "rho_B")
        return as_state(_without_charger(rho_B) if joint else rho_B, "rho_B")
    array = as_array(rho_B, "rho_B")
    shape = array.shape
    if array.ndim == 2 and shape[0] != shape[1]:
        both = as_state(array.ravel(), "rho_B").reshape(2 * shape)
        return jnp.asarray(_without_charger(both))
    if array.ndim >= 4 and shape[-4:-2] == shape[-2:] and shape[-1] != shape[-2]:
        array = _without_charger(array)
    return as_state(array, "rho_B")


def as_joint(rho: object, name: str, charger_levels: int | None = None) -> jax.Array:
    """Return states of charger and battery as `as_state` does, shape (..., d_c, L, d_c, L).

    Parameters
    ----------
    rho
        Density matrices of this shape, or a Qobj of a qubit and a battery.
    name
        The name of the argument in the message.
    charger_levels
        What d_c must be; None: whatever it is.
    """
    array = as_array(_of_qubit(rho, name) if is_qobj(rho) else rho, name)
    shape = array.shape
    joint = len(shape) >= 4 and shape[-4:-2] == shape[-2:]
    joint = joint and charger_levels in (None, shape[-2])
    charger = charger_levels or "d_c"
    words = f"of shape (..., {charger}, N + 1, {charger}, N + 1)"
    require(joint, name, words, f"of shape {shape}")
    size = math.prod(shape[-2:])
    return as_state(array.reshape(*shape[:-4], size, size), name).reshape(shape)


def as_one_ladder(rho_B: object) -> jax.Array:
    """Return battery states of the ladder j = N/2 as `as_battery` does, and refuse others."""
    if isinstance(rho_B, LadderState):
        raise ArgumentError("Argument `rho_B` must be a state of one ladder, but is of several.")
    state = as_battery(rho_B)
    assert isinstance(state, jax.Array)
    return state


def as_ladders(state: LadderState) -> LadderState:
    """Return a state on several ladders, or a batch, with NaN where JAX is tracing what is none."""
    blocks, tolerance = _in_working_precision(state.blocks, "rho_B")
    each, sizes = blocks.reshape(-1, *blocks.shape[-3:]), as_array(state.N, "N").ravel()

    def refused(one: Array, N: Array) -> Condition:
        live = Ladders(one.shape[-1]).live(N)
        module = array_module(one, live)
        stray = module.max(module.abs(one) * module.logical_not(live)[:, :, None])
        empty = (stray == 0, "empty outside the ladders of N", _text("{:.6g}", stray))
        # The twin of what the constructor asks of a number that it can see.
        known = ((N >= 1) & (one.shape[-1] > N), "of a number of qubits that it has room for", "")
        return _demand([known, empty, *_block_checks(one, tolerance)], "rho_B")

    if is_concrete(state):
        for one, N in zip(each, sizes, strict=True):
            refused(one, N)
        return state
    flags = jax.vmap(lambda one, N: jnp.any(jnp.asarray(refused(one, N))))(each, sizes)
    return LadderState(blank(flags.reshape(blocks.shape[:-3]), jnp.asarray(blocks)), state.N)


def _without_charger(rho: Array) -> Array:
    """Return the battery's part of states (..., d_c, L, d_c, L)."""
    return array_module(rho).einsum("...ambm->...ab", rho.swapaxes(-1, -2).swapaxes(-3, -4))


def _beside_ground(battery: Array, charger_levels: int) -> Array:
    """Return a battery's matrix (L, L) as one of both, (d_c L, d_c L), the charger empty."""
    return array_module(battery).pad(battery, (0, (charger_levels - 1) * len(battery)))


def _projector(ket: Array) -> Array:
    """Return the density matrix (d, d) of a ket of d numbers, of trace 1."""
    ket = ket.ravel()
    return _of_trace_one(ket[:, None] * ket.conj())


def _of_trace_one(rho: Array) -> Array:
    """Return matrices over their traces; derivatives do not see the division."""
    module = array_module(rho)
    trace = module.trace(rho, axis1=-2, axis2=-1).real
    trace = jax.lax.stop_gradient(trace) if module is jnp else trace
    return rho / module.where(trace == 0, 1.0, trace)[..., None, None]


def _in_working_precision(values: object, name: str) -> tuple[Array, float]:
    """Return an array in the precision that is worked in, and the tolerance of its checks."""
    array = as_array(values, name)
    working, kind = jnp.result_type(float), complex if jnp.iscomplexobj(array) else float
    coarse = array.dtype if jnp.issubdtype(array.dtype, jnp.inexact) else working
    tolerance = max(float(jnp.finfo(working).eps) ** 0.5, 8 * float(jnp.finfo(coarse).eps))
    return array.astype(jnp.result_type(kind)), tolerance


# What must hold, what that is called, and what is there instead.
_Checks = list[tuple[Array, str, str]]


def _ket_checks(ket: Array, tolerance: float) -> _Checks:
    """Return what must hold for a ket of d numbers."""
    module = array_module(ket)
    norm = module.sum(module.abs(ket) ** 2)
    unit = module.abs(norm - 1) <= tolerance
    return [(unit, "a state of trace 1", _text("of trace {:.9g}", norm))]


def _matrix_checks(rho: Array, tolerance: float) -> _Checks:
    """Return what must hold for density matrices (..., d, d); conditions of shape (...)."""
    module = array_module(rho)
    if module is jnp:
        rho = jax.lax.stop_gradient(rho)
    skew = module.max(module.abs(rho - _adjoint(rho)), axis=(-2, -1))
    trace = module.trace(rho, axis1=-2, axis2=-1).real
    lowest = _negative_eigenvalue(rho, tolerance)
    signed = "a state without negative eigenvalues"
    finite = module.all(module.isfinite(rho), axis=(-2, -1))
    return [
        (finite, "of finite numbers", "one with NaN or infinity"),
        (skew <= tolerance, "Hermitian", _text("off by {:.6g}", skew)),
        (abs(trace - 1) <= tolerance, "a state of trace 1", _text("of trace {:.9g}", trace, 1.0)),
        (lowest >= 0, signed, _text("one with the eigenvalue {:.6g}", lowest)),
    ]


def _demand(checks: _Checks, name: str) -> Condition:
    """Raise where a check is known to fail; return whether one does where JAX is tracing."""
    refused: Condition = False
    for condition, requirement, text in checks:
        refused |= refusal(condition, name, requirement, text)
    return refused


def _all(checks: _Checks) -> Condition:
    """Return whether all checks of one state hold."""
    return math.prod((condition for condition, *_ in checks), start=True)


def _text(form: str, numbers: Array, expected: float = 0.0) -> str:
    """Return a text with the number that is furthest from what is expected, unless it is traced."""
    if not is_concrete(numbers):
        return "a traced value"
    flat = np.ravel(numbers)
    return form.format(flat[np.argmax(np.abs(flat - expected))])


def _negative_eigenvalue(rho: Array, tolerance: float) -> Array:
    """Return the lowest eigenvalue of a batch where one is below -tolerance, else 0.

    Where JAX is tracing: -1 for each matrix that has one.
    """
    shifted = rho + tolerance * np.eye(rho.shape[-1])
    if not is_concrete(rho):
        return -1.0 * ~jnp.isfinite(jnp.linalg.cholesky(shifted)).all((-2, -1))
    try:
        # Several times cheaper than the eigenvalues, which only the message needs.
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        finite = np.where(np.isfinite(rho), rho, 0.0)
        return np.minimum(np.min(np.linalg.eigvalsh(finite)), -tolerance)
    return np.zeros(())


def _adjoint(matrix: Array) -> Array:
    return matrix.conj().swapaxes(-1, -2)
