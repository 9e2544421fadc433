"""How finely a curve must be looked at: by the fastest that its generator can do."""

import jax
import jax.numpy as jnp
import numpy as np

from qbjax.common.checks import is_concrete
from qbjax.generator.bounds import spectral_box
from qbjax.generator.lindblad import generator
from qbjax.model.batching import map_batch
from qbjax.model.star_battery import StarBattery

# Times at which the bounds are looked at.
_LOOKS = 65


def pieces(
    model: StarBattery,
    end: jax.Array,
    per_period: float,
    per_decay: float,
    fewest: int,
    most: int,
    traced: int,
) -> int:
    """Return into how many pieces to divide [0, end]: a power of two, of a whole batch.

    Parameters
    ----------
    model, end
        One model or a batch, and the last time.
    per_period, per_decay
        Pieces for each period of the fastest frequency, and for each 1/e of the fastest decay.
    fewest, most, traced
        How many at least and at most, and where JAX is tracing what they hang on.
    """
    if not is_concrete(model, end):
        return traced
    needed = float(jnp.max(map_batch(needed_pieces, model, end, per_period, per_decay)))
    if not np.isfinite(needed):
        return fewest
    return int(np.clip(2 ** np.ceil(np.log2(max(needed, 1.0))), fewest, most))


def needed_pieces(
    model: StarBattery, end: jax.Array, per_period: float, per_decay: float
) -> jax.Array:
    """Return how many pieces of [0, end] resolve what one model may do; NaN where it is NaN."""

    def fastest(t: jax.Array) -> jax.Array:
        decay, width = spectral_box(generator(model, t))
        return jnp.maximum(per_period * width / (2 * jnp.pi), per_decay * decay)

    looks = end * jnp.linspace(0.0, 1.0, _LOOKS if model.depends_on_time else 1)
    return jax.lax.stop_gradient(jnp.max(jax.lax.map(fastest, looks)) * end)
