"""Terms of the user's own: what is accepted, and whether their sum is Hermitian."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.basis.basis import Basis
from qbjax.common.checks import require, users_function
from qbjax.model.pulses import PiecewiseConstant, is_pulse
from qbjax.model.terms import Jump, LocalJump, Term, bands_of, total

# How far a Hamiltonian may be from Hermitian, as a share of its size: rounding.
LARGEST_SKEWNESS = 1e-12

Kind = TypeVar("Kind", Term, Jump, LocalJump)
Tree = TypeVar("Tree")


def as_terms(terms: object, name: str, *kinds_allowed: type) -> tuple[PyTree, ...]:
    """Return terms as a tuple; a single one stands for itself, and None for none."""
    terms = () if terms is None else terms
    several = tuple(terms) if isinstance(terms, tuple | list) else (terms,)
    kinds = ", ".join(dict.fromkeys(type(term).__name__ for term in several))
    of_kind = all(isinstance(term, kinds_allowed) for term in several)
    allowed = " or ".join(f"qbjax.{kind.__name__}" for kind in kinds_allowed)
    require(of_kind, name, f"a {allowed} or a sequence of them", f"of type {kinds}")
    return several


def factors(term: Term | Jump | LocalJump) -> list[jax.Array]:
    """Return what multiplies a term or jump and may have the batch axes already."""
    if isinstance(term, Term):
        return [] if is_pulse(term.coefficient) else [term.coefficient]
    rate = [] if is_pulse(term.rate) else [term.rate]
    parts = term.terms if isinstance(term, Jump) else ()
    return rate + [factor for part in parts for factor in factors(part)]


def with_batch_axes(term: Kind, shape: tuple[int, ...]) -> Kind:
    """Return a term or jump with the axes of a batch in front."""
    broadcast = [jnp.broadcast_to(factor, shape) for factor in factors(term)]
    return eqx.tree_at(factors, repeated(term, shape), broadcast)


def repeated(value: Tree, shape: tuple[int, ...]) -> Tree:
    """Return a pytree whose leaves have the axes of a batch in front, the same for every member."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, shape + jnp.shape(leaf)), value)


def require_sizes(terms: tuple[Term, ...], name: str, charger_levels: int, levels: int) -> None:
    """Refuse terms whose matrices have another size than charger or ladder."""
    expected = {
        "charger": (charger_levels, f"a charger matrix of {charger_levels} levels"),
        "matrix": (levels, f"a battery matrix of {levels} levels"),
    }
    for term in terms:
        _require_bands(term, name, levels)
        for part, (size, words) in expected.items():
            sizes = [band.shape[-1] for band in (getattr(term, part) or {}).values()]
            value = f"with one of {sizes[0]}" if sizes else "empty"
            require(set(sizes) <= {size}, name, f"terms with {words}", value)


def require_functions(terms: tuple[Term, ...], name: str) -> None:
    """Refuse matrices of the battery, which say nothing of the ladders that noise leads to."""
    matrices = [term for term in terms if term.matrix is not None]
    words = "terms with functions (N, levels) of the battery beside noise on single qubits"
    require(not matrices, name, words, "with a matrix of one ladder")


def _require_bands(term: Term, name: str, levels: int) -> None:
    """Refuse an operator of the battery that is a function of the user's own and makes no bands."""
    function = term.battery
    if function is None:
        return
    words = "terms with functions (N, levels), by JAX operations, of bands {k: (levels,)}"
    with users_function(function, name, words):
        one = jax.ShapeDtypeStruct((), int)
        bands = jax.eval_shape(lambda N: bands_of(function, N, levels), one)
        fits = all(isinstance(k, int) and band.shape == (levels,) for k, band in bands.items())
    require(fits, name, words, f"with {function.__name__}, which returns {bands}")


def probing_times(terms: tuple[Term, ...]) -> list[ArrayLike]:
    """Return times that tell what terms are: some for pulses, and one in each of their pieces."""
    if not terms:
        return []
    pulses = [term.coefficient for term in terms if is_pulse(term.coefficient)]
    pieces = [pulse.times for pulse in pulses if isinstance(pulse, PiecewiseConstant)]
    # Times of no meaning, at which no pulse vanishes but by accident.
    return [0.0, *((0.7317, 5.213) if pulses else ()), *(t for p in pieces for t in p.ravel())]


def skewness(
    terms: tuple[Term, ...], N: jax.Array, charger_levels: int, basis: Basis, t: ArrayLike
) -> jax.Array:
    """Return how far a sum of terms is from Hermitian, as a share of it; of the shape of N."""

    def of_one(terms: tuple[Term, ...], N: jax.Array) -> jax.Array:
        adjoint = total(terms, t, charger_levels, N, basis).adjoint
        # The adjoint of the adjoint has nothing left beyond the ladder's ends.
        skew = adjoint + adjoint.adjoint.scaled(-1.0)
        sizes = []
        for operator in (adjoint, skew):
            sizes.append(sum(jnp.sum(jnp.abs(weights)) for weights in operator.entries.values()))
        size, off = jnp.asarray(sizes)
        return off / jnp.where(size > 0, size, 1.0)

    for _ in N.shape:
        of_one = jax.vmap(of_one)
    return of_one(terms, N)
