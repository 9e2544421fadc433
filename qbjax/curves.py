"""The charging curve as one function of time, 1 - E_B(t)/E_B(inf) from the empty battery."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax import rates, sectors
from qbjax.models import StarBattery
from qbjax.sectors import Sectors

Curve = Callable[[ArrayLike], jax.Array]

# Modes of E_B(t) that are kept: all of them up to N = 30; beyond, `truncation` is what they leave
# out (3e-9 at N = 64, F/g = 2 and 10).
MODES = 512


class Modes(eqx.Module):
    """The energy on charger resonance: 1 - E/E_inf = sum_j weights_j f(t; omega_j).

    Attributes
    ----------
    omega, weights
        Frequencies omega_+ and weights a_kl of the pairs k <= l, heaviest first, shape (modes,).
    truncation
        The sum of |weights| that are left out, shape ().
    """

    omega: jax.Array
    weights: jax.Array
    truncation: jax.Array


def energy_modes(model: StarBattery, spectrum: Sectors, count: int | None = MODES) -> Modes:
    """Return the `count` heaviest modes of the energy of one model; None means all of them."""
    rows, columns = np.triu_indices(model.levels)
    weights = rates.energy_weights(model, spectrum)[rows, columns]
    omega = jnp.abs(sectors.frequencies(spectrum)[1])[rows, columns]
    heaviest = jnp.argsort(-jnp.abs(weights))
    kept, left = heaviest[:count], heaviest[weights.size if count is None else count :]
    return Modes(omega[kept], weights[kept], jnp.sum(jnp.abs(weights[left])))


def deficit(model: StarBattery, spectrum: Sectors) -> Curve:
    """Return the function t -> 1 - E_B(t)/E_B(inf) of one model, for t of any shape."""
    if model.Delta_C is None:
        modes = energy_modes(model, spectrum)
        return lambda t: (
            modes.weights
            @ sectors.damped(modes.omega.reshape(-1, *[1] * jnp.ndim(t)), model.gamma_C, t)[0]
            .reshape(modes.omega.size, -1)
            .reshape(modes.omega.size, *jnp.shape(t))
        )
    return _detuned_deficit(model, spectrum)


def _detuned_deficit(model: StarBattery, spectrum: Sectors) -> Curve:
    minus, plus = sectors.frequencies(spectrum)
    start = sectors.project(spectrum, None)
    inversion = sectors.inversion(spectrum, model.N)

    def at_time(t: jax.Array) -> jax.Array:
        matrix = sectors.propagator(minus, plus, model.gamma_C, model.Delta_C, t)
        d = jnp.einsum("bkl,bkl->kl", matrix[2], start).imag
        return 2 / model.N * jnp.sum(inversion * d)

    return lambda t: jax.lax.map(at_time, jnp.ravel(t)).reshape(jnp.shape(t))
