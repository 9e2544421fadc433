r"""Collective against parallel charging: what N qubits gain by sharing one charger.

The battery of N qubits around one charger stands beside N pairs of a charger and one qubit, which
are charged side by side. Either side may be made as strong as one likes, so what both have the same
of is named:

- "charger": the same F, and the same g, which is g / sqrt(N) a bond in the star;
- "drive": the pairs share the drive's strength, sum F^2 (after Campaioli et al., Phys. Rev. Lett.
  118, 150601 (2017), who fix the energy of the driving Hamiltonian): F / sqrt(N) a pair;
- "bonds": the same coupling of every bond, g / sqrt(N) (after Ferraro et al., Phys. Rev. Lett. 120,
  117702 (2018), whose bonds do not depend on N);
- "drive and bonds": both of these.

All else is the same.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from qbjax.charging.times import charging_time
from qbjax.common.checks import Status, number_where, require, require_choice
from qbjax.common.printing import Line, Printed, status_text
from qbjax.model.pulses import is_pulse
from qbjax.model.star_battery import StarBattery, require_model
from qbjax.steady.steady_state import steady_state

FIGURES = ("energy", "ergotropy", "average_power", "power")
# The parameters that a pair has divided by sqrt(N), by what both sides have the same of.
DIVIDED = {"charger": (), "drive": ("F",), "bonds": ("g",), "drive and bonds": ("F", "g")}
RESOURCES = tuple(DIVIDED)
_STEADY = ("energy", "ergotropy")
# Of a full battery, or of a full one in a unit of time.
_NOTHING = 1e-12


class Advantage(Printed):
    """What a battery of N qubits around one charger has over N pairs charged side by side.

    Attributes
    ----------
    value
        The collective figure of merit over that of all pairs, shape () or that of a batch.
    collective, parallel
        Both of them: in the unit of omega_B, of a power times g.
    status
        A `Status`: the worse one of the two; `UNDEFINED`, with NaN, where the pairs have nothing.
    of, resource
        The figure of merit, and what both sides have the same of.
    model, pair
        The battery, and one pair.

    Examples
    --------
    >>> import qbjax as qb
    >>> gain = qb.advantage(qb.StarBattery(N=4, F=0.5), of="ergotropy", resource="charger")
    >>> print(f"{gain.value:.4f}")
    1.4802
    """

    value: jax.Array
    collective: jax.Array
    parallel: jax.Array
    status: jax.Array
    of: str = eqx.field(static=True)
    resource: str = eqx.field(static=True)
    model: StarBattery
    pair: StarBattery

    def _lines(self) -> list[Line]:
        unit = "in the unit of omega_B" + " times g" * (self.of not in _STEADY)
        return [
            ("model", self.model.one_line, ""),
            ("pair", self.pair.one_line, f"(the same {self.resource})"),
            ("value", self.value, f"{self.of}, collective over parallel"),
            ("collective", self.collective, unit),
            ("parallel", self.parallel, unit),
            ("status", status_text(self.status), ""),
        ]


def advantage(
    model: StarBattery, *, of: str, resource: str, t_end: ArrayLike | None = None
) -> Advantage:
    """Return what one charger of N qubits has over N chargers of one qubit each.

    Parameters
    ----------
    model
        The battery of N qubits, or a batch; F and g constant in time where the resource divides
        them among the pairs.
    of
        "energy" or "ergotropy" of the steady state, or the largest "average_power", E_B(t) / t, or
        "power" up to t_end.
    resource
        What both sides have the same of: "charger" (F and g as they are), "drive" (the sum of F^2),
        "bonds" (the coupling of each bond) or "drive and bonds"; see `qbjax.charging.advantage`.
    t_end
        The last time to look at, for a power.

    Returns
    -------
    An `Advantage`; a value above 1 is one. It can be differentiated.

    Raises
    ------
    ArgumentError
        Where an argument is out of range, for a pulse of F or g where the resource would change it,
        and where t_end is missing, or given for a steady state.
    SolveError
        Where there is no steady state to charge to.

    Examples
    --------
    Four qubits are charged more slowly through one charger than through four, but the ergotropy
    that is left is larger:

    >>> import qbjax as qb
    >>> model = qb.StarBattery(N=4, F=2.0, gamma_C=0.1)
    >>> fast = qb.advantage(model, of="average_power", resource="charger", t_end=20.0)
    >>> print(f"{fast.value:.4f}")
    0.4814
    >>> print(f"{qb.advantage(model, of='ergotropy', resource='charger').value:.4f}")
    2.8296
    """
    require_model(model)
    require(model.battery is None, "model", "a battery of qubits", f"one that is {model.battery}")
    require_choice(of, "of", FIGURES)
    require_choice(resource, "resource", RESOURCES)
    is_steady = of in _STEADY
    words = f'left out for "{of}" of the steady state' if is_steady else f'given for "{of}"'
    require((t_end is None) == is_steady, "t_end", words, t_end)
    pair = _pair(model, resource)
    (collective, first), (single, second) = (_figure(each, of, t_end) for each in (model, pair))
    parallel = model.N * single
    status = jnp.maximum(first, second)
    # What rounding leaves of nothing is nothing.
    is_measure = parallel > _NOTHING * model.N * model.omega_B
    value = number_where(is_measure, collective / jnp.where(is_measure, parallel, 1.0))
    status = jnp.where((status == Status.OK) & ~is_measure, Status.UNDEFINED, status)
    return Advantage(value, collective, parallel, status, of, resource, model, pair)


def _pair(model: StarBattery, resource: str) -> StarBattery:
    """Return the charger with one qubit that has its share of the resource."""
    names = DIVIDED[resource]
    for name in names:
        constant = not is_pulse(getattr(model, name))
        require(constant, name, f'constant in time for the resource "{resource}"', "a pulse")
    root = jnp.sqrt(model.N)
    numbers = [getattr(model, name) / root for name in names]
    pair = eqx.tree_at(lambda m: [getattr(m, name) for name in names], model, numbers)
    return eqx.tree_at(lambda m: m.N, pair, jnp.ones_like(model.N))


def _figure(model: StarBattery, of: str, t_end: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
    """Return a figure of merit and its status."""
    if of in _STEADY:
        state = steady_state(model, state=False)
        return getattr(state, of), state.status
    best = charging_time(model, "maximum", of=of, t_end=t_end)
    # Which of two equal maxima comes first changes the time, and not the value.
    status = jnp.where(best.status == Status.AMBIGUOUS, Status.OK, best.status)
    return jnp.asarray(best.value), status
