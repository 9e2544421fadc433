"""How mixed a state is, and how close two states are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from qbjax.basis.states import LadderState, on_all_ladders
from qbjax.common import linalg
from qbjax.common.checks import blank, refusal, require
from qbjax.common.types import ArrayLike
from qbjax.states.density_matrix import as_ladders, as_state


def purity(rho: ArrayLike | LadderState) -> jax.Array:
    """Return the purity Tr rho^2.

    Parameters
    ----------
    rho
        Any density matrix, shape (..., d, d), or a battery on all its ladders.

    Returns
    -------
    Number between 1/d and 1, shape (...).

    Raises
    ------
    ArgumentError
        Where rho is no state (NaN where JAX is tracing it).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.fidelity import purity
    >>> print(purity(jnp.eye(4) / 4))
    0.25
    """
    if isinstance(rho, LadderState):
        state = as_ladders(rho)
        squares = jnp.sum(state.blocks * state.blocks.conj(), axis=(-2, -1)).real
        there = state.copies > 0
        return jnp.sum(
            jnp.where(there, squares / jnp.where(there, state.copies, 1.0), 0.0), axis=-1
        )
    rho = as_state(rho, "rho")
    return jnp.sum(rho * rho.conj(), axis=(-2, -1)).real


def entropy(rho: ArrayLike | LadderState) -> jax.Array:
    """Return the von Neumann entropy -Tr rho ln rho, in nats.

    Parameters
    ----------
    rho
        Any density matrix, shape (..., d, d), or a battery on all its ladders, whose entropy is
        that of the 2^N states of its qubits.

    Returns
    -------
    Number, shape (...). An eigenvalue of zero brings nothing, and no derivative.

    Raises
    ------
    ArgumentError
        Where rho is no state (NaN where JAX is tracing it).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.fidelity import entropy
    >>> print(entropy(jnp.eye(2) / 2).round(4))
    0.6931
    """
    if isinstance(rho, LadderState):
        shares, copies = as_ladders(rho).spectrum
    else:
        shares = linalg.eigvalsh(as_state(rho, "rho"))
        copies = jnp.ones(shares.shape)
    # What rounding leaves of zero counts as zero.
    occupied = ~(shares <= shares.shape[-1] * jnp.finfo(shares.dtype).eps * copies)
    heights = jnp.where(occupied, shares / jnp.where(occupied, copies, 1.0), 1.0)
    terms = -shares * jnp.log(heights)
    return jnp.sum(jnp.where(occupied & (copies > 0), terms, 0.0), axis=-1)


def fidelity(
    rho: ArrayLike | LadderState, sigma: ArrayLike | LadderState, squared: bool = False
) -> jax.Array:
    r"""Return the Uhlmann fidelity of two states, Tr sqrt(sqrt(rho) sigma sqrt(rho)).

    The root convention is that of the paper's 0.923 (Fig. 5(a)). Eigenvalues below d eps times the
    largest one (d the dimension, eps the machine epsilon) count as zero: they carry neither
    fidelity nor derivative, which keeps the first derivative finite for states of lower rank. It is
    the derivative within the states of that rank; leaving it, the fidelity grows like a square
    root. Second derivatives are not supported.

    Parameters
    ----------
    rho, sigma
        Density matrices, shape (..., d, d) each, or batteries on all their ladders; the batches
        broadcast. Beside one on all ladders a matrix is a battery of the ladder j = N/2.
    squared
        Return the square, the other convention in use.

    Returns
    -------
    Number between 0 and 1, shape (...).

    Raises
    ------
    ArgumentError
        Where rho or sigma is no state (NaN where JAX is tracing it), or where their sizes
        differ.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from qbjax.states.fidelity import fidelity
    >>> ground = jnp.diag(jnp.array([1.0, 0.0, 0.0, 0.0]))
    >>> print(fidelity(ground, jnp.eye(4) / 4), fidelity(ground, jnp.eye(4) / 4, squared=True))
    0.5 0.25
    """
    if isinstance(rho, LadderState) or isinstance(sigma, LadderState):
        root = jnp.sum(_root_fidelity(*_same_ladders(rho, sigma)), axis=-1)
        return root**2 if squared else root
    rho, sigma = as_state(rho, "rho"), as_state(sigma, "sigma")
    d = rho.shape[-1]
    same = sigma.shape[-1] == d
    require(same, "sigma", f"as large as rho, {d} levels", f"of shape {sigma.shape}")
    dtype = jnp.promote_types(rho.dtype, sigma.dtype)
    shape = jnp.broadcast_shapes(rho.shape, sigma.shape)
    rho, sigma = (jnp.broadcast_to(x.astype(dtype), shape) for x in (rho, sigma))
    root = _root_fidelity(rho, sigma)
    return root**2 if squared else root


def _same_ladders(rho: object, sigma: object) -> tuple[jax.Array, jax.Array]:
    """Return the blocks of two states on the same ladders, whose copies have the same fidelity."""
    states = []
    for name, state in (("rho", rho), ("sigma", sigma)):
        if not isinstance(state, LadderState):
            state = on_all_ladders(as_state(state, name))
        states.append(as_ladders(state))
    blocks = [state.blocks for state in states]
    first, second = blocks
    same = first.shape[-3:] == second.shape[-3:]
    require(same, "sigma", f"of blocks as those of rho, {first.shape[-3:]}", str(second.shape))
    dtype = jnp.promote_types(first.dtype, second.dtype)
    shape = jnp.broadcast_shapes(first.shape, second.shape)
    first, second = (jnp.broadcast_to(x.astype(dtype), shape) for x in blocks)
    one, other = (state.N for state in states)
    refused = refusal(one == other, "sigma", "of as many qubits as rho", other)
    return blank(jnp.broadcast_to(jnp.asarray(refused), shape[:-3]), first), second


@jax.custom_jvp
def _root_fidelity(rho: jax.Array, sigma: jax.Array) -> jax.Array:
    product = _matrix_root(rho) @ _matrix_root(sigma)
    return jnp.linalg.svd(product, compute_uv=False).sum(-1)


@_root_fidelity.defjvp
def _root_fidelity_jvp(primals: PyTree, tangents: PyTree) -> tuple[jax.Array, jax.Array]:
    # F = min over A > 0 of Tr(rho A + sigma A^-1) / 2 (Alberti), so at the minimum F' = Tr(rho' A +
    # sigma' A^-1) / 2: no derivative of an eigenvector, hence finite at degenerate eigenvalues.
    root_rho, root_sigma = (_matrix_root(x) for x in primals)
    w, s, vh = jnp.linalg.svd(root_rho @ root_sigma)
    # Relative to the factors, not to s: between orthogonal states all of s is round-off.
    scale = jnp.linalg.norm(root_rho, axis=(-2, -1)) * jnp.linalg.norm(root_sigma, axis=(-2, -1))
    is_nonzero = s > s.shape[-1] * jnp.finfo(s.dtype).eps * scale[..., None]
    inverse = jnp.where(is_nonzero, 1 / jnp.where(is_nonzero, s, 1.0), 0.0)[..., None, :]
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
