r"""The parameters of a model at which a figure of merit is largest.

Bounds are kept by a change of variables p(x) after MINUIT: between a and b, in the middle at x = 0,

    p = a + (b - a) (1 + sin x) / 2,      one-sided:  p = a + s (sqrt(1 + x^2) - 1),

with s the distance of the start from the bound; without bounds p = p_0 + s x. A bound is reached at
a finite x, where dp/dx = 0, so that an optimum on the boundary is a smooth one in x. Where the
lower bound is positive, ln p takes the place of p: rates are searched decade by decade.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from qbjax.checks import ArgumentError, SolveError, Status, is_concrete, require
from qbjax.minimise import Minimum, minimise
from qbjax.models import StarBattery, over_batch
from qbjax.pulses import PiecewiseConstant, Pulse, is_pulse

Objective = Callable[[StarBattery], Any]
Bounds = tuple[Any, Any]

_SIGNED = ("F", "g", "omega_C", "omega_d")
_NOT_NEGATIVE = ("gamma_C", "omega_B", "kappa", "nbar", "Gamma_down", "Gamma_up", "Gamma_z")
# A parameter this close to a bound, as a share of the range in p or ln p, is on it. In x the
# distance is the square root: far more than the descent leaves.
_ON_BOUND = 1e-8


class Optimum(eqx.Module):
    """The best parameters that `optimize` saw, with the evidence; a batch puts its axes in front.

    Attributes
    ----------
    model
        The model with these parameters.
    value
        The figure of merit there, shape ().
    parameters
        The parameters by name; a pulse where the model has one.
    at_bound
        -1 where a parameter is on its lower bound, 1 on its upper one, else 0, by name; for a pulse
        with one entry for each of its parameters.
    gradient_norm
        Norm of the gradient there in the variables x of `qbjax.optimize`, shape (). It vanishes on
        a bound that the figure of merit is pressed against, too.
    history
        The figure of merit at every iterate, NaN after the last one, shape (max_steps + 1,).
    steps
        Number of steps taken, shape ().
    converged, status
        Whether the ascent converged, shape (), and the same as a `Status`, `OK` or `NOT_CONVERGED`.
    """

    model: StarBattery
    value: jax.Array
    parameters: dict[str, Any]
    at_bound: dict[str, Any]
    gradient_norm: jax.Array
    history: jax.Array
    steps: jax.Array
    converged: jax.Array
    status: jax.Array


def optimize(
    model: StarBattery,
    objective: Objective,
    parameters: Mapping[str, Bounds],
    *,
    optimizer: optax.GradientTransformation | None = None,
    max_steps: int = 200,
    tolerance: float = 1e-8,
    progress: bool = False,
) -> Optimum:
    """Maximise a figure of merit over parameters of a model, from the model's own values.

    The ascent is local: it finds the maximum uphill of the start. Its stopping rules are those of
    `qbjax.minimise.minimise`.

    Parameters
    ----------
    model
        One model, or a batch of them with an optimum each.
    objective
        A function of one model that returns what to maximise, a real scalar, by JAX operations, for
        example the ergotropy of `qbjax.steady_state(model)`. It is traced, so nothing is raised
        within it: return NaN where a status says that a number cannot be trusted. Functions are
        told apart by identity: define it once, or every call compiles anew.
    parameters
        For each parameter by its name (low, high), the bounds, None or infinite where there is
        none. A parameter starts strictly between them. Of a `qbjax.PiecewiseConstant` the values
        are optimised, of a `qbjax.Pulse` all its parameters; their bounds may be tuples with one
        entry for each parameter of the pulse.
    optimizer
        Any optax optimiser; None means `optax.lbfgs()`. It works on the variables x of the module
        `qbjax.optimize`, which are of order one.
    max_steps, tolerance
        Where the ascent ends: see `qbjax.minimise.minimise`.
    progress
        Whether to show a progress bar (for one model, on the host).

    Returns
    -------
    The best point seen and the evidence; look at `.status` and `.at_bound`.

    Raises
    ------
    ArgumentError
        Where a parameter is unknown or absent, starts outside its bounds, or the objective returns
        no real scalar.
    SolveError
        Where the objective is NaN at the start (in all of a batch).

    Examples
    --------
    The drive that leaves most ergotropy in two qubits beside a leaking charger after a time of 10:

    >>> import qbjax as qb
    >>> def stored(model):
    ...     return qb.evolve(model, [10.0]).ergotropy[0]
    >>> model = qb.StarBattery(N=2, F=0.5, gamma_C=0.1, kappa=0.05)
    >>> best = qb.optimize(model, stored, {"F": (0.1, 5.0)})
    >>> print(f"{best.parameters['F']:.3f} {best.value:.4f} {best.status.item()}")
    """
    require(len(parameters) > 0, "parameters", "at least one name with its bounds", "empty")
    domains = {name: _domain(model, name, bounds) for name, bounds in parameters.items()}
    merit = _Merit(model, domains, objective)
    _check_objective(merit)
    settings = (optimizer, max_steps, tolerance)
    if model.batch_shape:
        best = _optimum_batch(merit, *settings)
    else:
        best = _optimum(merit, *settings, progress=progress)
    first = best.history[..., 0]
    if is_concrete(first) and np.all(np.isnan(first)):
        raise SolveError("the objective is NaN at the model's own parameters: nothing to start from")
    return best


class _Domain(eqx.Module):
    """The leaves of one parameter where they start, and their bounds, each in the same structure.

    Attributes
    ----------
    start
        The leaves, with the batch axes in front.
    low, high
        The bounds, infinite where there is none; shared by the batch.
    """

    start: Any
    low: Any
    high: Any

    def at(self, x: Any) -> Any:
        """Return the leaves of one model for the variables x."""
        return jax.tree.map(_inside, x, self.start, self.low, self.high)

    def origin(self) -> Any:
        """Return the variables x of the start of one model."""
        return jax.tree.map(_origin, self.start, self.low, self.high)


class _Merit(eqx.Module):
    """The loss for `minimise`: a pytree, so that calls with other numbers share a program."""

    model: StarBattery
    domains: dict[str, _Domain]
    objective: Objective = eqx.field(static=True)

    def at(self, x: dict[str, Any]) -> StarBattery:
        """Return the model for the variables x."""
        leaves = {name: domain.at(x[name]) for name, domain in self.domains.items()}
        return eqx.tree_at(lambda m: [_leaves(m, name) for name in leaves], self.model, [*leaves.values()])

    def __call__(self, x: dict[str, Any], aux: None) -> tuple[jax.Array, None]:
        return -jnp.asarray(self.objective(self.at(x))), aux


def _leaves(model: StarBattery, name: str) -> Any:
    """Return what is optimised of a parameter: an array, or the pytree of a pulse's."""
    parameter = getattr(model, name)
    if isinstance(parameter, PiecewiseConstant):
        return parameter.values
    return parameter.parameters if isinstance(parameter, Pulse) else parameter


def _domain(model: StarBattery, name: str, bounds: Bounds) -> _Domain:
    """Check one entry of `parameters`."""
    known = (*_SIGNED, *_NOT_NEGATIVE)
    wanted = f"names of real parameters, out of {', '.join(known)}"
    require(name in known, "parameters", wanted, f'"{name}"')
    absent = f"without `{name}`, which is absent from the model"
    require(getattr(model, name) is not None, "parameters", absent, "given with it")
    pair = isinstance(bounds, tuple | list) and len(bounds) == 2
    require(pair, "parameters", f"a pair of bounds (low, high) for `{name}`", bounds)
    start = _leaves(model, name)
    low, high = (_bound(name, b, end, start) for b, end in zip(bounds, (-np.inf, np.inf), strict=True))
    ordered = _everywhere(jnp.less, low, high)
    require(ordered, "parameters", f"with low below high for `{name}`", bounds)
    if name in _NOT_NEGATIVE and not isinstance(getattr(model, name), Pulse):
        allowed = _everywhere(lambda b: b >= 0, low)
        require(allowed, "parameters", f"with a low bound of at least 0 for `{name}`", bounds)
    inside = _everywhere(lambda x, a, b: (a < x) & (x < b), start, low, high)
    words = f"strictly between its bounds {bounds} in the model, where the ascent starts"
    require(inside, name, words, getattr(model, name))
    return _Domain(start, low, high)
