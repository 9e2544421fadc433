"""The charging time of Eq. (6), by a fit: see `qbjax.charging.local_fits` for all its choices."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import PyTree

from qbjax.charging import local_fits
from qbjax.charging.definition import Climb, Definition, Measured, Modes, positive
from qbjax.charging.local_fits import LocalFit
from qbjax.common.checks import Status, require_choice
from qbjax.common.types import Condition

BRANCHES = ("continuous", "lowest", "local")


class Fit(Definition):
    """tau of E_B(t) ~ E_inf [1 - e^{-t/tau} cos(omega t + phi)].

    Attributes
    ----------
    window
        Width in time of the coarse graining; None is none.
    branch
        "continuous" follows one minimum from small gamma_C, "lowest" takes the least cost; "local"
        takes the minimum that tau = 1/r, omega of the slowest mode and phi = 0 lead to, whichever
        it is, and looks for no other.
    """

    window: jax.Array | None
    branch: str = eqx.field(static=True)
    name: ClassVar[str] = "fit"
    is_smooth: ClassVar[bool] = True
    needs_all_modes: ClassVar[bool] = True

    def __init__(self, window: ArrayLike | None = None, branch: str = BRANCHES[0]):
        """Check the options."""
        require_choice(branch, "branch", BRANCHES)
        self.branch = branch
        width = "positive, a width in time"
        self.window = None if window is None else positive(window, "window", width)

    @property
    def is_followed(self) -> bool:
        """Whether a branch is followed."""
        return self.branch == "continuous"

    def out_of_range(self) -> Condition:
        """Tell whether the window is what the constructor refuses where it can see it."""
        return False if self.window is None else ~(self.window > 0)

    def by_modes(self, curve: Modes, log_gamma: jax.Array) -> Measured:
        """Return the charging time, and how it compares with its rivals."""
        if self.branch == "local":
            best, log_rate = self._best(curve, log_gamma)
            status = jnp.where(best.converged, Status.OK, Status.NOT_CONVERGED)
            return best.p[0] - log_rate, status, _evidence(best, log_rate)
        if self.is_followed:
            first = jnp.minimum(_branch_start(curve), log_gamma)
            # On fewer samples it would be faster, and fast modes would alias onto the branch, so
            # that it seems to end.
            ladder = jnp.linspace(first, log_gamma, local_fits.LADDER)
            values, log_rates, minima = self._surveyed(curve, ladder[jnp.array([0, -1])])
            start = local_fits.lowest(values[0], _at(minima, 0))
            path = local_fits.follow(lambda x: self._values(curve, x), ladder, start, log_rates[0])
            best, ended = _at((path.fit, path.ended), -1)
        else:
            values, log_rates, minima = self._surveyed(curve, log_gamma[None])
            best, ended = local_fits.lowest(values[0], _at(minima, 0)), jnp.asarray(False)
        log_rate, others = log_rates[-1], local_fits.rivals(_at(minima, -1), best)
        ambiguous = ended | (others.second_cost < 1.2 * best.cost)
        status = jnp.where(ambiguous, Status.AMBIGUOUS, Status.OK)
        status = jnp.where(best.converged, status, Status.NOT_CONVERGED)
        compared = {
            "minima": others.minima,
            "second_tau": jnp.exp(others.second_log_tau - log_rate),
        }
        return best.p[0] - log_rate, status, _evidence(best, log_rate) | compared

    def lowest_rung(self, curve: Any, lowest: jax.Array) -> jax.Array:
        """Return where the branch starts."""
        return _branch_start(curve) if self.is_followed else lowest

    def climb(self, curve: Any, ladder: jax.Array) -> Climb:
        """Follow the branch up the ladder, or fit anew on every rung."""
        if self.is_followed:
            path = self._branch(curve, ladder)
            return path.log_tau, (path.fit.p, path.log_rate), path.ended

        def rung(log_gamma: jax.Array) -> tuple[jax.Array, PyTree]:
            best, log_rate = self._best(curve, log_gamma)
            log_tau = jnp.where(best.converged, best.p[0] - log_rate, jnp.nan)
            return log_tau, (best.p, log_rate)

        return *jax.lax.map(rung, ladder), jnp.zeros(ladder.size, dtype=bool)

    def valley(self, log_taus: jax.Array, allowed: jax.Array) -> jax.Array:
        """Return the first minimum of a branch, else the lowest rung.

        The window leaves a spurious one just beyond gamma_C = 4 omega.
        """
        if not self.is_followed:
            return super().valley(log_taus, allowed)
        taus = jnp.where(allowed, log_taus, jnp.inf)
        return jnp.argmax(allowed & jnp.append(taus[1:] > taus[:-1], True))

    def near(self, curve: Any, log_gamma: jax.Array, warm: PyTree) -> tuple[jax.Array, PyTree]:
        """Return ln tau by the minimum that the parameters of a neighbour lead to."""
        values, log_rate = self._values(curve, log_gamma)
        best = local_fits.minimum(values, local_fits.rescale(warm[0], warm[1], log_rate))
        return best.p[0] - log_rate, (best.p, log_rate)

    def _values(self, curve: Modes, log_gamma: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the samples of a fit, and ln r of its time unit."""
        log_rate = curve.slowest(log_gamma).log_rate
        return local_fits.sample(curve.curve, jnp.exp(log_gamma), log_rate, self.window), log_rate

    def _branch(self, curve: Modes, ladder: jax.Array) -> local_fits.Branch:
        """Follow the best minimum on the first rung of a ladder of ln gamma_C up to its last."""
        start, log_rate = self._best(curve, ladder[0])
        return local_fits.follow(lambda x: self._values(curve, x), ladder, start, log_rate)

    def _surveyed(
        self, curve: Modes, log_gammas: jax.Array
    ) -> tuple[jax.Array, jax.Array, LocalFit]:
        """Return the samples, ln r of their time unit, and the minima at dephasing rates."""

        def at(log_gamma: jax.Array) -> tuple[jax.Array, jax.Array, LocalFit]:
            values, log_rate = self._values(curve, log_gamma)
            frequencies = curve.frequencies() * jnp.exp(-log_rate)
            return values, log_rate, local_fits.survey(values, frequencies)

        # One after the other, by one program.
        return jax.lax.map(at, log_gammas)

    def _best(self, curve: Modes, log_gamma: jax.Array) -> tuple[LocalFit, jax.Array]:
        """Return the fit of least cost, or the one that is near, and ln r of its time unit."""
        if self.branch == "local":
            values, log_rate = self._values(curve, log_gamma)
            start = jnp.stack([0.0, curve.frequencies()[0] * jnp.exp(-log_rate), 0.0])
            return local_fits.minimum(values, start), log_rate
        values, log_rates, minima = self._surveyed(curve, log_gamma[None])
        return local_fits.lowest(values[0], _at(minima, 0)), log_rates[0]


def _evidence(fit: LocalFit, log_rate: jax.Array) -> dict[str, jax.Array]:
    return {
        "omega": jnp.abs(fit.p[1]) * jnp.exp(log_rate),
        "phi": fit.p[2] * jnp.where(fit.p[1] < 0, -1, 1),
        "cost": fit.cost,
    }


def _at(tree: PyTree, i: int) -> PyTree:
    """Return an element along the first axes of a pytree."""
    return jax.tree.map(lambda x: x[i], tree)


def _branch_start(curve: Modes) -> jax.Array:
    """Return ln of the dephasing rate where a continuous branch starts."""
    return jnp.log(0.1 * curve.frequencies()[0])
