"""What the constructor of a model makes of its arguments, and refuses."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.checks import (
    array_module,
    as_array,
    as_count,
    goes_with,
    is_concrete,
    require,
    require_known,
)
from qbjax.common.types import Array, ArrayLike
from qbjax.model.parameters import PARAMETERS
from qbjax.model.pulses import PiecewiseConstant, Value, is_pulse


def common_shape(named: dict[str, PyTree], factors: list[jax.Array]) -> tuple[int, ...]:
    """Return the shape of the batch, or refuse the parameter that does not fit those before it."""
    shape: tuple[int, ...] = ()
    for name, value in [*named.items(), *(("hamiltonian or jumps", factor) for factor in factors)]:
        own = value.shape
        fits = goes_with(shape, own)
        require(fits, name, f"of a shape that goes with {shape}", f"of shape {own}")
        require(0 not in own, name, "at least one number", f"of shape {own}")
        shape = np.broadcast_shapes(shape, own)
    return shape


def padded_size(N: Array, N_max: int | None) -> int:
    """Return the size of all ladders of a batch: N_max, or N where that is one known number."""
    requirement = "an integer of at least 1"
    whole = jnp.issubdtype(N.dtype, jnp.integer) and N.size > 0
    require(whole, "N", requirement, N)
    require_known(N >= 1, "N", requirement, N)
    if N_max is None:
        scalar = is_concrete(N) and N.ndim == 0
        require(scalar, "N_max", "given where N is an array or traced", "None")
        return int(N)
    size = as_count(N_max, "N_max")
    require_known(size >= N, "N", f"at most N_max = {size}", N)
    return size


def real(name: str, value: ArrayLike) -> Array:
    """Return a parameter in working precision, on the host where its numbers are known."""
    array = as_array(value, name)
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    require(real, name, "a real number", value)
    require_known(array_module(array).isfinite(array), name, "finite", value)
    return array.astype(jnp.result_type(float))


def check_range(name: str, value: Value) -> None:
    """Refuse what is out of range, of the values of a piecewise constant pulse, too."""
    values = value.values if isinstance(value, PiecewiseConstant) else value
    allowed = PARAMETERS[name].range
    if values is None or is_pulse(values) or allowed == "real":
        return
    require_known(values > 0 if allowed == "positive" else values >= 0, name, allowed, values)
