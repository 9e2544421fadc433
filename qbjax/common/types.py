"""Types that rooms share. A pytree of arrays, of whatever structure, is a `jaxtyping.PyTree`."""

from collections.abc import Sequence

import jax
import jax.typing
import numpy as np

# An array on the host, or one of JAX, perhaps traced.
Array = np.ndarray | jax.Array
# A real number, as diffrax takes them.
Scalar = int | float | np.ndarray | jax.Array
# Whether something holds, everywhere or by elements; of numbers that are traced, a traced array.
Condition = bool | np.bool_ | np.ndarray | jax.Array
# What users may give for numbers: JAX's own type leaves lists out.
ArrayLike = jax.typing.ArrayLike | Sequence["ArrayLike"]
