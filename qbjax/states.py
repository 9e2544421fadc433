"""States: what is accepted as one, the start of a charging run, purity and fidelity."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax import linalg
from qbjax.checks import ArgumentError, is_concrete, require


def require_state(rho: ArrayLike, name: str) -> None:
    """Refuse a matrix that is no density matrix; values that JAX is tracing pass.

    The tolerance is the square root of the machine epsilon: 1.5e-8 in double precision.

    Parameters
    ----------
    rho
        The matrix or a batch of them, shape (..., d, d) with d >= 2.
    name
        The name of the argument in the message.

    Raises
    ------
    ArgumentError
        Where the matrix is not square (traced ones, too: shapes are known), not Hermitian, of a
        trace other than 1, or has a negative eigenvalue.

    Examples
    --------
    >>> import numpy as np
    >>> from qbjax.states import require_state
    >>> require_state(np.diag([0.75, 0.22]), "rho_B")
    Traceback (most recent call last):
        ...
    qbjax.checks.ArgumentError: Argument `rho_B` must be a state of trace 1, but is of trace 0.97.
    """
    shape = np.shape(rho)
    square = len(shape) >= 2 and shape[-1] == shape[-2] >= 2
    require(square, name, "a square matrix of at least two levels", f"of shape {shape}")
    if not is_concrete(rho) or 0 in shape:
        return
    values = np.asarray(rho)
    values = values.astype(np.result_type(values, np.float32))
    tolerance = np.sqrt(np.finfo(values.dtype).eps)
    skew = np.max(np.abs(values - values.conj().swapaxes(-1, -2)))
    require(skew <= tolerance, name, "Hermitian", f"off by {skew:.6g}")
    trace = np.trace(values, axis1=-2, axis2=-1).real.ravel()
    worst = trace[np.argmax(np.abs(trace - 1))]
    require(abs(worst - 1) <= tolerance, name, "a state of trace 1", f"of trace {worst:.9g}")
    lowest = _negative_eigenvalue(values, tolerance)
    shown = f"one with the eigenvalue {lowest:.6g}"
    require(lowest == 0, name, "a state without negative eigenvalues", shown)


def as_state(rho: ArrayLike, name: str = "rho_B") -> jax.Array:
    """Return a checked density matrix as an inexact array."""
    require_state(rho, name)
    array = jnp.asarray(rho)
    return array.astype(jnp.result_type(array.dtype, float))


def full_state(rho0: ArrayLike, levels: int, N: ArrayLike, charger_levels: int = 2) -> jax.Array:
    """Return a start as a density matrix of charger (x) battery, shape (d_c, L, d_c, L).

    Parameters
    ----------
    rho0
        A ket (d_c, L), a density matrix (d_c, L, d_c, L), or the ket (L,) of a battery beside a
        charger in its ground state.
    levels
        Number L of ladder levels of the model, N_max + 1.
    N
        Number of qubits, or several: no level above the smallest may be occupied.
    charger_levels
        Number d_c of levels of the charger.

    Raises
    ------
    ArgumentError
        Where the shape is none of these, the matrix is no state, or a level above N is occupied.
    """
    state = jnp.asarray(rho0)
    ket = (charger_levels, levels)
    if state.shape == (levels,):
        state = jnp.zeros(ket, state.dtype).at[0].set(state)
    if state.shape == ket:
        state = state[:, :, None, None] * state.conj()
    if state.shape != 2 * ket:
        raise ArgumentError(
            f"Argument `rho0` must be of shape ({levels},), {ket} or {2 * ket}, "
            f"but is of shape {jnp.shape(rho0)}."
        )
    size = charger_levels * levels
    require_state(state.reshape(size, size), "rho0")
    if is_concrete(state, N):
        top = int(np.min(np.asarray(N)))
        above = np.abs(np.asarray(state)[:, top + 1 :]).max(initial=0.0)
        require(above == 0, "rho0", f"empty above the level N = {top}", f"{above:.6g} there")
    return state


def purity(rho: ArrayLike) -> jax.Array:
    """Return the purity Tr rho^2.

    Parameters
    ----------
    rho
        Any density matrix, shape (..., d, d).

    Returns
    -------
    Number between 1/d and 1, shape (...).

    Raises
    ------
    ArgumentError
        Where rho is no state (traced values are not looked at).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states import purity
    >>> print(purity(jnp.eye(4) / 4))
    0.25
    """
    rho = as_state(rho, "rho")
    return jnp.sum(rho * rho.conj(), axis=(-2, -1)).real


def fidelity(rho: ArrayLike, sigma: ArrayLike, squared: bool = False) -> jax.Array:
    r"""Return the Uhlmann fidelity of two states, Tr sqrt(sqrt(rho) sigma sqrt(rho)).

    The root convention is that of the paper's 0.923 (Fig. 5(a)). Eigenvalues below d eps times the
    largest one (d the dimension, eps the machine epsilon) count as zero: they carry neither
    fidelity nor derivative, which keeps the first derivative finite for states of lower rank. It is
    the derivative within the states of that rank; leaving it, the fidelity grows like a square
    root. Second derivatives are not supported.

    Parameters
    ----------
    rho, sigma
        Density matrices, shape (..., d, d) each; the batches broadcast.
    squared
        Return the square, the other convention in use.

    Returns
    -------
    Number between 0 and 1, shape (...).

    Raises
    ------
    ArgumentError
        Where rho or sigma is no state (traced values are not looked at), or where their sizes
        differ.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states import fidelity
    >>> ground = jnp.diag(jnp.array([1.0, 0.0, 0.0, 0.0]))
    >>> print(fidelity(ground, jnp.eye(4) / 4), fidelity(ground, jnp.eye(4) / 4, squared=True))
    0.5 0.25
    """
    rho, sigma = as_state(rho, "rho"), as_state(sigma, "sigma")
    d = rho.shape[-1]
    same = sigma.shape[-1] == d
    require(same, "sigma", f"as large as rho, {d} levels", f"of shape {sigma.shape}")
    dtype = jnp.promote_types(rho.dtype, sigma.dtype)
    shape = jnp.broadcast_shapes(rho.shape, sigma.shape)
    rho, sigma = (jnp.broadcast_to(x.astype(dtype), shape) for x in (rho, sigma))
    root = _root_fidelity(rho, sigma)
    return root**2 if squared else root


def _negative_eigenvalue(values: np.ndarray, tolerance: Any) -> float:
    """Return the lowest eigenvalue of a batch where it is below -tolerance, else 0."""
    try:
        # Several times cheaper than the eigenvalues, which only the message needs.
        np.linalg.cholesky(values + tolerance * np.eye(values.shape[-1]))
    except np.linalg.LinAlgError:
        return float(np.min(np.linalg.eigvalsh(values)))
    return 0.0


@jax.custom_jvp
def _root_fidelity(rho: jax.Array, sigma: jax.Array) -> jax.Array:
    product = _matrix_root(rho) @ _matrix_root(sigma)
    return jnp.linalg.svd(product, compute_uv=False).sum(-1)


@_root_fidelity.defjvp
def _root_fidelity_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    # F = min over A > 0 of Tr(rho A + sigma A^-1) / 2 (Alberti), so at the minimum F' = Tr(rho' A +
    # sigma' A^-1) / 2: no derivative of an eigenvector, hence finite at degenerate eigenvalues.
    root_rho, root_sigma = (_matrix_root(x) for x in primals)
    w, s, vh = jnp.linalg.svd(root_rho @ root_sigma)
    # Relative to the factors, not to s: between orthogonal states all of s is round-off.
    scale = jnp.linalg.norm(root_rho, axis=(-2, -1)) * jnp.linalg.norm(root_sigma, axis=(-2, -1))
    kept = s > s.shape[-1] * jnp.finfo(s.dtype).eps * scale[..., None]
    inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1.0), 0.0)[..., None, :]
    left, right = root_rho @ w, root_sigma @ _adjoint(vh)
    slope = _inner((right * inverse) @ _adjoint(right), tangents[0])
    slope += _inner((left * inverse) @ _adjoint(left), tangents[1])
    return s.sum(-1), slope / 2


def _inner(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a.conj() * b, axis=(-2, -1)).real


def _matrix_root(rho: jax.Array) -> jax.Array:
    eigenvalues, vectors = linalg.eigh(rho)
    floor = eigenvalues.shape[-1] * jnp.finfo(eigenvalues.dtype).eps * eigenvalues[..., -1:]
    roots = jnp.sqrt(jnp.where(eigenvalues > floor, eigenvalues, 0.0))
    return (vectors * roots[..., None, :]) @ _adjoint(vectors)


def _adjoint(matrix: jax.Array) -> jax.Array:
    return matrix.conj().swapaxes(-1, -2)
