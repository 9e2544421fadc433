"""Numbers whose first derivatives are right, and whose higher ones are not known.

A last step of Newton's, or a quotient that is stationary, gives a solution the derivative of the
implicit function although it does not see how the rest moves. To first order that is exact; a
second derivative of it would be finite and wrong.
"""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def first_order(x: jax.Array) -> jax.Array:
    """Return a number with its first derivatives; higher ones are NaN."""
    return x


@first_order.defjvp
def _jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x,), (tangent,) = primals, tangents
    return first_order(x), tangent * _one(x)


@jax.custom_jvp
def _one(x: jax.Array) -> jax.Array:
    """Return 1, of which the derivative is NaN."""
    return jnp.ones_like(x)


_one.defjvps(lambda tangent, one, _: tangent * jnp.nan)
