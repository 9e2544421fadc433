"""Where the parameters of time change: looked at on a fine grid before anything is integrated.

An adaptive integrator knows a pulse at the times of its stages alone. While nothing moves its steps
grow, and a pulse that falls between two stages shows in no error estimate. So the span of time is
divided beforehand, by halves of halves, until samples at sixteenths of each interval tell what
every pulse does in it; steps then end where intervals end. A feature costs a few intervals around
it, however long the time before.
"""

import itertools
import math

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from qbjax.common.types import Scalar
from qbjax.generator import lindblad
from qbjax.generator.bounds import spectral_box
from qbjax.model.parameters import PARAMETERS
from qbjax.model.pulses import Pulse, is_pulse
from qbjax.model.star_battery import StarBattery
from qbjax.model.terms import LocalJump, Term, total

# The grid has 4^8 cells. An interval is divided into quarters, and judged by 4^2 samples.
_QUARTERINGS, _SAMPLED = 8, 2
CELLS = 4**_QUARTERINGS
# The sixth difference, and the share of it that interpolation between six samples misses half-way.
_DIFFERENCE, _MISSED = (1, -6, 15, -20, 15, -6, 1), 225 / (720 * 64)
# How much more may be missed of the derivatives of a pulse by its parameters than of the pulse.
_OF_SLOPES = 100.0
# The next term of a Taylor series of this order may exceed the tolerance by so much where a
# derivative is taken: integrators are better than that, and bounds of rates too large.
_EASE = 2500.0
# So far apart must times be for the earlier ones to have a grid of their own, and the most grids.
_APART, _GRIDS = 64, 4
# At so many times the rates of motion are looked at for that.
_LOOKS = 17
# Around a number that a pulse is made of, times are looked at up to one cell away, and ever closer.
_CLOSER = 4.0 ** -np.arange(12)
# Offsets of the grid's points between which a time lies in the middle.
_BESIDE = np.arange(-2, 4)


class Intervals(eqx.Module):
    """The intervals of some [0, end] that no step leaves.

    Attributes
    ----------
    quarterings
        For each cell of a grid, how often [0, end] was quartered to make its interval, shape
        (grids, CELLS).
    ends
        The ends of the grids, the last time first, shape (grids,); 0 where there is none.
    sharp
        Further boundaries, ascending, where the grids are too coarse; infinite where there is none.
    """

    quarterings: jax.Array
    ends: jax.Array
    sharp: jax.Array

    def boundary(self, t: Scalar) -> jax.Array:
        """Return the end of the interval that a time lies in; at a boundary, of the later one."""
        # Rounding alone may tell a time from the boundary it was meant to be.
        rounding = max(1e-6, 8 * CELLS * float(jnp.finfo(self.ends.dtype).eps))
        ends = jnp.where(self.ends > 0, self.ends, 1.0)
        cell = jnp.floor(t / ends * CELLS + rounding).astype(int)
        grids = jnp.arange(len(ends))
        cells = CELLS >> 2 * self.quarterings[grids, jnp.clip(cell, 0, CELLS - 1)].astype(int)
        boundaries = ends * ((cell // cells + 1) * (cells / CELLS))
        # A shorter grid says nothing of what is beyond its end.
        inside = (grids == 0) | ((self.ends > 0) & (cell < CELLS))
        sharp = jnp.append(self.sharp, jnp.inf)[jnp.searchsorted(self.sharp, t, side="right")]
        return jnp.minimum(jnp.min(jnp.where(inside, boundaries, jnp.inf)), sharp)


def intervals(
    model: StarBattery,
    start: jax.Array,
    ts: jax.Array,
    tolerance: jax.Array,
    integrator: diffrax.AbstractAdaptiveSolver,
) -> Intervals:
    """Return the intervals in which samples tell what the pulses of one model do.

    What samples miss of a pulse is measured by its integral over time: an angle, or a number of
    decays. Nothing that lasts for 1/65536 of the time is passed over, nor for 1/1024 of any of the
    times that are asked for: where one is 64 times another, the earlier ones have a grid of their
    own.

    Derivatives move where the state itself does not, and no error estimate of a step sees them.
    Where one is taken, the slopes of pulses are looked at, too, since a pulse of height zero has
    one that is not zero, and intervals are no longer than the fastest motion allows.

    Parameters
    ----------
    model, start
        The model and the stored state it starts from; what is differentiated of them counts.
    ts
        The times that are asked for, shape (T,).
    tolerance
        How much samples may miss in one interval, shape ().
    integrator
        What is going to take the steps.
    """
    ts, tolerance = jax.lax.stop_gradient((ts, tolerance))
    ends = [jnp.maximum(ts[-1], jnp.finfo(ts.dtype).tiny)]
    for k in range(1, min(_GRIDS, len(ts))):
        early = jnp.max(jnp.where(ts <= ts[-1] / _APART**k, ts, 0.0))
        ends.append(jnp.where(early < ends[-1], early, 0.0))

    def look(end: jax.Array) -> jax.Array:
        return _quarterings(model, start, end, tolerance, integrator)

    def on_one(end: jax.Array) -> jax.Array:
        return jax.lax.cond(end > 0, look, lambda _: jnp.zeros(CELLS, jnp.int8), end)

    quarterings = look(ends[0])[None] if len(ends) == 1 else jax.lax.map(on_one, jnp.stack(ends))
    return Intervals(quarterings, jnp.stack(ends), _sharp_times(model, ends[0], tolerance))


@eqx.filter_custom_jvp
def _quarterings(
    model: StarBattery,
    start: jax.Array,
    end: jax.Array,
    tolerance: jax.Array,
    integrator: diffrax.AbstractAdaptiveSolver,
) -> jax.Array:
    return _one_by_one(model, None, end, tolerance)


@_quarterings.def_jvp
def _quarterings_jvp(primals: PyTree, tangents: PyTree) -> tuple[jax.Array, None]:
    # Second derivatives look no further.
    arrays, rest = eqx.partition(primals, eqx.is_array)
    primals = eqx.combine(jax.lax.stop_gradient(arrays), rest)
    model, _, end, tolerance, integrator = primals
    count = itertools.count()

    # One direction in which all parameters move that are differentiated, by an amount of its own
    # each: they may enter as a difference.
    def step(tangent: PyTree, parameter: jax.Array) -> jax.Array | None:
        if tangent is None:
            return None
        places = np.array([next(count) for _ in range(parameter.size)])
        return jnp.asarray(np.cos(places).reshape(parameter.shape), parameter.dtype)

    direction = jax.tree.map(step, tangents[0], model, is_leaf=lambda leaf: leaf is None)
    quarterings = _one_by_one(model, direction, end, tolerance)
    order = integrator.order(None)
    angle = (_EASE * tolerance * math.factorial(order)) ** (1 / order)
    # An implicit method takes what decays fast in its stride, and the derivatives of that.
    longest = angle / _fastest(model, end, isinstance(integrator, diffrax.AbstractImplicitSolver))
    least = jnp.ceil(jnp.log(end / longest) / math.log(4))
    return jnp.maximum(quarterings, jnp.clip(least, 0, _QUARTERINGS).astype(jnp.int8)), None


def _sharp_times(model: StarBattery, end: jax.Array, tolerance: jax.Array) -> jax.Array:
    """Return times at which pulses do what the grid over [0, end] tells nothing of, ascending.

    A pulse that is over between two points of the grid is known, if at all, by the numbers in its
    function: most are centred, begin or end at one of them. So the pulse is looked at there and
    around, closer and closer. A time counts where the pulse differs from what six points of the
    grid make of it by more than the tolerance would allow for a cell. The others are infinite.
    """
    model, spacing = jax.lax.stop_gradient(model), end / CELLS
    offsets = np.concatenate([-_CLOSER, [0.0], _CLOSER[::-1]])
    times = [jnp.zeros(0, end.dtype)]
    for pulse, size in _sizes(model):
        if not isinstance(pulse, Pulse):
            continue
        centres = jnp.concatenate([jnp.zeros(0), *pulse.numbers()]).astype(end.dtype)
        cell = jnp.clip(jnp.floor(centres / spacing), 2, CELLS - 3)[:, None]
        around = centres[:, None] + spacing * offsets
        inside = (around > 0) & (around < end)
        points = jnp.concatenate([spacing * (cell + _BESIDE), jnp.where(inside, around, 0.0)], 1)
        values = jax.vmap(jax.vmap(pulse))(points)
        beside, there = values[:, : _BESIDE.size], values[:, _BESIDE.size :]
        expected = jnp.einsum("ckb,cb->ck", _weights(around / spacing - cell), beside)
        unforeseen = size * spacing * jnp.abs(there - expected)
        times.append(jnp.where(inside & (unforeseen > tolerance), around, jnp.inf).ravel())
    return jnp.sort(jnp.concatenate(times))


def _weights(x: jax.Array) -> jax.Array:
    """Return what each of the points beside weighs in the polynomial through them at x."""
    others = np.stack([np.delete(_BESIDE, i) for i in range(_BESIDE.size)])
    return jnp.prod((x[..., None, None] - others) / (_BESIDE[:, None] - others), axis=-1)


def _fastest(model: StarBattery, end: jax.Array, undamped: bool) -> jax.Array:
    """Return a bound of the rates of motion, or of what is not damped of it, at some times."""

    def rate(t: jax.Array) -> jax.Array:
        decay, width = spectral_box(lindblad.generator(model, t))
        return width / 2 if undamped else decay + width / 2

    rates = jax.lax.map(rate, jnp.linspace(0.0, 1.0, _LOOKS) * end)
    return jnp.maximum(jnp.max(rates), jnp.finfo(end.dtype).tiny)


# The grids of a whole batch would not fit into memory.
@jax.custom_batching.sequential_vmap
def _one_by_one(
    model: StarBattery, direction: StarBattery | None, end: jax.Array, tolerance: jax.Array
) -> jax.Array:
    """Return how often [0, end] is quartered at each cell, looking at slopes along a direction."""
    samples = _on_grid(model, end)
    if direction is not None:

        def along(step: jax.Array) -> jax.Array:
            moves = jax.tree.map(lambda amount: step * amount, direction)
            return _on_grid(eqx.apply_updates(model, moves), end)

        slopes = jax.jvp(along, (jnp.zeros_like(end),), (jnp.ones_like(end),))[1]
        samples = jnp.concatenate([samples, slopes / _OF_SLOPES])
    return _divide(samples, end, tolerance)


def _on_grid(model: StarBattery, end: jax.Array) -> jax.Array:
    """Return all that depends on time in a model, at the ends of the cells, (..., CELLS + 1)."""
    weighed = [(pulse, size) for pulse, size in _sizes(model) if is_pulse(pulse)]

    def values(t: jax.Array) -> jax.Array:
        drive = model.omega_B if model.omega_d is None else model.omega_d
        turning = [jnp.cos(drive * t), jnp.sin(drive * t)] if model.frame == "lab" else []
        return jnp.stack([*(size * pulse(t) for pulse, size in weighed), *turning])

    return jax.vmap(values, out_axes=1)(end * jnp.arange(CELLS + 1) / CELLS)


def _sizes(model: StarBattery) -> list[tuple[PyTree, PyTree]]:
    """Return everything that may be a pulse, with the size of the operator that it multiplies."""
    shape = model.charger.levels, model.N, model.basis

    def size(terms: tuple[Term, ...]) -> jax.Array:
        plain = [
            eqx.tree_at(lambda x: x.coefficient, term, jnp.ones(()))
            if is_pulse(term.coefficient)
            else term
            for term in terms
        ]
        weights = total(tuple(plain), 0.0, *shape).entries.values()
        # Those of a unit are no larger than one, as for the parameters that have a name.
        return jnp.maximum(1.0, sum((jnp.max(jnp.abs(w)) for w in weights), jnp.zeros(())))

    named = [(getattr(model, name), 1.0) for name in PARAMETERS]
    of_terms = [(term.coefficient, size((term,))) for term in model.hamiltonian]
    for jump in model.jumps:
        if isinstance(jump, LocalJump):
            largest = [jnp.max(jnp.abs(band)) for band in jump.matrix.values()]
            of_terms.append((jump.rate, jnp.maximum(1.0, sum(largest, jnp.zeros(()))) ** 2))
            continue
        of_terms.append((jump.rate, size(jump.terms) ** 2))
        of_terms += [(term.coefficient, size((term,)) ** 2) for term in jump.terms]
    return named + of_terms


def _divide(samples: jax.Array, end: jax.Array, tolerance: jax.Array) -> jax.Array:
    """Return how often [0, end] is quartered at each cell."""
    divided, levels = jnp.zeros(CELLS, bool), []
    for level in range(1, _QUARTERINGS + 1):
        spacing = 4 ** max(level - _SAMPLED, 0)
        missed = _missed(samples[:, ::spacing]) * (end * spacing / CELLS)
        too_much = missed.reshape(CELLS // 4**level, -1).sum(1) > tolerance
        divided = divided.reshape(-1, 4).any(1) | too_much
        levels.append(divided)
    quarterings = jnp.zeros(1, jnp.int8)
    for divided in reversed(levels):
        quarterings = jnp.repeat(quarterings + divided, 4)
    return quarterings


def _missed(samples: jax.Array) -> jax.Array:
    """Return how far all samples, at each, may be from what interpolation makes of the others."""
    windows = samples.shape[1] - len(_DIFFERENCE) + 1
    terms = [weight * samples[:, i : i + windows] for i, weight in enumerate(_DIFFERENCE)]
    differences = _MISSED * jnp.abs(sum(terms, start=jnp.zeros(())))
    differences = jnp.where(jnp.isfinite(differences), differences, 0.0).sum(0)
    return jnp.pad(differences, (3, 2), mode="edge")
