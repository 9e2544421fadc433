"""The charger-battery models: named physical parameters, checked once, as JAX pytrees."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from qbjax.checks import is_concrete, require
from qbjax.dicke import lowering_elements


class StarBattery(eqx.Module):
    r"""N battery qubits around one driven, dephased charger qubit: Eqs. (1)-(2) of the paper.

    In the frame rotating at omega_d, with the charger basis (|g>, |e>) and the Dicke ladder |n>,

        H = Delta_C |e><e| + Delta_B n + sigma^+ (x) K + sigma^- (x) K^T,
        K = F + (g / sqrt(N)) J_-,

    and pure dephasing of the charger at rate gamma_C (jump operator |e><e|, as in Eq. (2): the
    coherences between |g> and |e> decay at gamma_C / 2). All parameters are frequencies in the
    same unit; with hbar = 1, times come in its inverse and energies in the unit of omega_B.

    Parameters
    ----------
    N
        Number of battery qubits. An int fixes the shape of every array; an array of integers
        (traced, too) needs `N_max`.
    F
        Drive strength.
    g
        Charger-battery coupling, divided by sqrt(N) in H.
    gamma_C
        Dephasing rate of the charger, not negative.
    omega_B
        Frequency of the battery qubits, positive.
    omega_C, omega_d
        Frequencies of the charger and of the drive. None, the default, means equal to omega_B
        and leaves the detuning out of the model altogether.
    N_max
        Padded size: arrays have N_max + 1 ladder levels, and one compiled program serves every
        N <= N_max. Defaults to N where N is an int.

    Parameters that are arrays are broadcast together into a batch of models, which the functions of
    qbjax take as it stands and `jax.vmap` maps over.

    Raises
    ------
    ArgumentError
        Where a parameter is out of its range (values that are traced are not looked at).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import qbjax as qb
    >>> qb.StarBattery(N=8, F=0.5).batch_shape
    ()
    >>> qb.StarBattery(N=jnp.arange(1, 5), F=0.5, N_max=4).batch_shape
    (4,)
    """

    N: jax.Array
    F: jax.Array
    g: jax.Array
    gamma_C: jax.Array
    omega_B: jax.Array
    omega_C: jax.Array | None
    omega_d: jax.Array | None
    N_max: int = eqx.field(static=True)

    def __init__(
        self,
        N: ArrayLike,
        F: ArrayLike,
        g: ArrayLike = 1.0,
        gamma_C: ArrayLike = 1.0,
        omega_B: ArrayLike = 1.0,
        omega_C: ArrayLike | None = None,
        omega_d: ArrayLike | None = None,
        *,
        N_max: int | None = None,
    ):
        """Check the parameters and broadcast them together."""
        self.N_max = _padded_size(N, N_max)
        named: dict[str, ArrayLike | None] = {
            "F": F,
            "g": g,
            "gamma_C": gamma_C,
            "omega_B": omega_B,
        }
        named |= {"omega_C": omega_C, "omega_d": omega_d}
        arrays = {k: _real(k, v) for k, v in named.items() if v is not None}
        for name in ("gamma_C", "omega_B"):
            _check_range(name, arrays[name], strict=name == "omega_B")
        shape = jnp.broadcast_shapes(jnp.shape(N), *(a.shape for a in arrays.values()))
        self.N = jnp.broadcast_to(jnp.asarray(N), shape)
        for name in named:
            value = arrays.get(name)
            setattr(self, name, None if value is None else jnp.broadcast_to(value, shape))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the batch; () for one model."""
        return self.F.shape

    @property
    def levels(self) -> int:
        """The number of ladder levels of every array, N_max + 1."""
        return self.N_max + 1

    @property
    def Delta_C(self) -> jax.Array | None:
        """Charger detuning omega_C - omega_d; None where the model leaves it out."""
        if self.omega_C is None and self.omega_d is None:
            return None
        charger = self.omega_B if self.omega_C is None else self.omega_C
        return charger - (self.omega_B if self.omega_d is None else self.omega_d)

    @property
    def Delta_B(self) -> jax.Array | None:
        """Battery detuning omega_B - omega_d; None where the model leaves it out."""
        return None if self.omega_d is None else self.omega_B - self.omega_d

    @property
    def couplings(self) -> jax.Array:
        """Superdiagonal of K: <n-1|K|n> = g sqrt(n (N - n + 1) / N), shape (levels,)."""
        return self.g / jnp.sqrt(self.N) * lowering_elements(self.N, self.levels)


def over_batch(solve: Callable[..., Any], model: StarBattery, *shared: Any) -> Any:
    """Apply a solver of one model to a batch of them; what is shared is common to the batch."""
    for _ in model.batch_shape:
        solve = jax.vmap(solve, in_axes=(0,) + (None,) * len(shared))
    return solve(model, *shared)


def _padded_size(N: ArrayLike, N_max: int | None) -> int:
    requirement = "an integer of at least 1"
    if is_concrete(N):
        values = np.asarray(N)
        whole = np.issubdtype(values.dtype, np.integer)
        require(whole and values.size > 0 and np.all(values >= 1), "N", requirement, N)
    if N_max is None:
        scalar = is_concrete(N) and np.ndim(N) == 0
        require(scalar, "N_max", "given where N is an array or traced", "None")
        return int(np.asarray(N))
    require(isinstance(N_max, int | np.integer) and N_max >= 1, "N_max", requirement, N_max)
    if is_concrete(N):
        require(np.all(np.asarray(N) <= N_max), "N", f"at most N_max = {N_max}", N)
    return int(N_max)


def _real(name: str, value: ArrayLike) -> jax.Array:
    array = jnp.asarray(value)
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    require(real, name, "a real number", value)
    array = array.astype(jnp.result_type(array.dtype, float))
    if is_concrete(array):
        require(np.isfinite(np.asarray(array)), name, "finite", value)
    return array


def _check_range(name: str, array: jax.Array, *, strict: bool) -> None:
    if is_concrete(array):
        values = np.asarray(array)
        ok = values > 0 if strict else values >= 0
        require(ok, name, "positive" if strict else "not negative", array)
