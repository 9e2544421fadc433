"""The charging curve as a function of time and dephasing rate: 1 - E_B(t)/E_B(inf)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.exact import rates, sectors
from qbjax.exact.sectors import Sectors
from qbjax.model.star_battery import StarBattery

# Modes of E_B(t) that are sampled: all of them up to N = 30. `left_out` says what the others weigh.
_MODES = 512


class ResonantCurve(eqx.Module):
    """The deficit 1 - E_B(t)/E_B(inf) = sum_j weights_j f(t; omega_j) on charger resonance.

    Attributes
    ----------
    omega, weights
        Frequencies omega_+ and weights a_kl of the pairs k <= l, heaviest first, shape (modes,).
    left_out
        The sum of the |weights| of the modes that are left out, shape ().
    """

    omega: jax.Array
    weights: jax.Array
    left_out: jax.Array

    def __call__(self, gamma: ArrayLike, ts: jax.Array) -> jax.Array:
        """Return the deficit at the times `ts`, shape (T,)."""
        return self.weights @ sectors.damped(self.omega[:, None], gamma, ts)[0]

    def bound(self, gamma: ArrayLike, t: ArrayLike) -> jax.Array:
        """Return what bounds the size of every mode from time t on: it never grows, (modes,)."""
        f, k = sectors.damped(self.omega, gamma, t)
        return jnp.abs(self.weights) * jnp.sqrt(f**2 + (self.omega * k) ** 2)


class DetunedCurve(eqx.Module):
    """The deficit with a charger detuning, from the 4 x 4 propagators of the sectors.

    Attributes
    ----------
    minus, omega
        omega_- and omega_+, shape (levels^2,).
    start
        Sector coordinates (s, iX, -id, Y) at t = 0, times the weight of the sector's d in the
        deficit, shape (4, levels^2).
    delta
        Charger detuning, shape ().
    left_out
        Zero: no sector is left out.
    """

    minus: jax.Array
    omega: jax.Array
    start: jax.Array
    delta: jax.Array
    left_out: jax.Array

    def _row(self, gamma: ArrayLike, t: ArrayLike) -> jax.Array:
        return sectors.propagator(self.minus, self.omega, gamma, self.delta, t)[2]

    def __call__(self, gamma: ArrayLike, ts: jax.Array) -> jax.Array:
        """Return the deficit at the times `ts`, shape (T,)."""
        return jax.lax.map(lambda t: jnp.sum((self._row(gamma, t) * self.start).imag), ts)

    def bound(self, gamma: ArrayLike, t: ArrayLike) -> jax.Array:
        """Return what bounds the size of every sector from time t on: it never grows."""
        row = jnp.sqrt(jnp.sum(self._row(gamma, t) ** 2, axis=0))
        return row * jnp.sqrt(jnp.sum(jnp.abs(self.start) ** 2, axis=0))


Curve = ResonantCurve | DetunedCurve


def charging_curve(model: StarBattery, spectrum: Sectors) -> Curve:
    """Return the charging curve of one model from the empty battery, whatever its gamma_C."""
    if model.Delta_C is None:
        omega, weights = energy_modes(model, spectrum)
        order = jnp.argsort(-jnp.abs(weights))
        heaviest, left_out = order[:_MODES], jnp.sum(jnp.abs(weights[order[_MODES:]]))
        return ResonantCurve(omega[heaviest], weights[heaviest], left_out)
    minus, plus = sectors.frequencies(spectrum)
    weights = 2 / model.N * sectors.inversion(spectrum, model.N)
    start = weights * sectors.project(spectrum, None)
    none = jnp.zeros_like(model.F)
    return DetunedCurve(minus.ravel(), plus.ravel(), start.reshape(4, -1), model.Delta_C, none)


def energy_modes(model: StarBattery, spectrum: Sectors) -> tuple[jax.Array, jax.Array]:
    """Return frequencies and weights of all modes k <= l of the energy on charger resonance."""
    pairs = np.triu_indices(model.levels)
    omega = jnp.abs(sectors.frequencies(spectrum)[1])[pairs]
    return omega, rates.energy_weights(model, spectrum)[pairs]
