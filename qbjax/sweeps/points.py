"""The observables of many points at once, on every device of this process.

Where the exact solution applies, one program holds all points of a chunk, and what does not depend
on gamma_C is done once for all of its values. Elsewhere points share nothing, and the solvers
spread a batch of models over the cores themselves. Several devices share the points of a chunk.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from qbjax import sectors
from qbjax.models import StarBattery
from qbjax.sweeps.observables import Measured, Observable, Solved, measure

Found = dict[str, Measured]


class Points(eqx.Module):
    """Points of one shape: every outer one with every value of gamma_C.

    Attributes
    ----------
    count
        The numbers of the outer points, shape (P,).
    outer
        Their parameters by name, shape (P,).
    gamma_C
        Shape (G,); None where it is among the outer parameters, or not varied.
    """

    count: jax.Array
    outer: dict[str, jax.Array]
    gamma_C: jax.Array | None


Solve = Callable[[Points], Found]


class Question(eqx.Module):
    """What is asked of points.

    Attributes
    ----------
    build
        The function from parameters to a model.
    wanted, method, ts
        The observables, the method of the steady states, and the times of the trajectories.
    """

    build: Callable[..., StarBattery]
    wanted: tuple[Observable, ...]
    method: str
    ts: jax.Array | None

    def only(self, **kind: bool) -> "Question":
        """Return the question for observables of one kind, such as of_optimum=True."""
        ((name, value),) = kind.items()
        those = tuple(each for each in self.wanted if getattr(each, name) == value)
        return Question(self.build, those, self.method, self.ts)

    def answer(self, model: StarBattery) -> Found:
        """Return the observables of a model, or of a batch."""
        return measure(Solved(model, self.method, self.ts), self.wanted)


def applies(model: StarBattery, method: str) -> bool:
    """Tell whether the exact solution is that of a model, by structure and by the method asked."""
    return method in ("auto", "exact") and sectors.obstacle(model) is None


def solve_exactly(question: Question, points: Points) -> Found:
    """Return the observables by the exact solution, shapes (P, G, ...) or (P, ...).

    The latter are those of an optimum, and all where `Points.gamma_C` is None.
    """
    in_turn = jax.default_backend() == "cpu"
    steps = _solve_nested(question.only(iterated=True), points, _in_turn if in_turn else jax.vmap)
    return steps | _solve_nested(question.only(iterated=False), points, jax.vmap)


def _solve_nested(
    question: Question, points: Points, many: Callable[[Callable[..., Found]], Callable[..., Found]]
) -> Found:
    """Map over gamma_C inside: what does not depend on it is done once for all of its values."""
    build, gammas = question.build, points.gamma_C
    optima, others = question.only(of_optimum=True), question.only(of_optimum=False)

    def at(_: jax.Array, point: dict[str, jax.Array]) -> Found:
        if gammas is None:
            return question.answer(build(**point))
        inside = many(lambda gamma_C: others.answer(build(**point, gamma_C=gamma_C)))
        return inside(gammas) | optima.answer(build(**point, gamma_C=gammas[0]))

    return many(at)(points.count, points.outer) if question.wanted else {}


def _in_turn(function: Callable[..., Found]) -> Callable[..., Found]:
    return lambda *xs: jax.lax.map(lambda each: function(*each), xs)


def solve_generally(question: Question, points: Points) -> Found:
    """Return the same by the solvers for any model, from a batch of models."""
    build, gammas = question.build, points.gamma_C

    def at(_: jax.Array, point: dict[str, jax.Array]) -> StarBattery:
        if gammas is None:
            return build(**point)
        return jax.vmap(lambda gamma_C: build(**point, gamma_C=gamma_C))(gammas)

    models = jax.vmap(at)(points.count, points.outer)
    if gammas is None:
        return question.answer(models)
    best = jax.tree.map(lambda leaf: leaf[:, 0], models)
    return question.only(of_optimum=False).answer(models) | question.only(of_optimum=True).answer(
        best
    )


def program(solve: Solve, example: Points, optima: set[str], exact: bool) -> tuple[Solve, int]:
    """Return a solver of points of one shape on the local devices, and the bytes it works in.

    Parameters
    ----------
    solve, exact
        A function from points to observables, and whether it is the exact solution's.
    example
        Points of the shape.
    optima
        Names of the observables of an optimum.
    """
    devices = jax.local_devices()
    if len(devices) > 1:
        solve = _over(devices, solve, example, optima)
    elif not exact:
        return _quiet(solve), 0
    compiled = jax.jit(solve).lower(example).compile()
    needed = compiled.memory_analysis()
    return compiled, 0 if needed is None else needed.temp_size_in_bytes


def _quiet(solve: Solve) -> Solve:
    @functools.wraps(solve)
    def quiet(points: Points) -> Found:
        with warnings.catch_warnings():
            # What a solve warns of stands in the status.
            warnings.simplefilter("ignore", UserWarning)
            return solve(points)

    return quiet


def _over(devices: list[jax.Device], solve: Solve, example: Points, optima: set[str]) -> Solve:
    """Return a solver that cuts the longer axis of points into equal parts, one for each device."""
    mesh = Mesh(np.array(devices), ("points",))
    outers, gammas = example.count.size, example.gamma_C
    along = gammas is not None and gammas.size > outers
    size = gammas.size if gammas is not None and along else outers
    # Filled up with the last point.
    filled = jnp.minimum(jnp.arange(-(-size // len(devices)) * len(devices)), size - 1)
    first, second, none = P("points"), P(None, "points"), P()

    def spec(name: str) -> P:
        if not along:
            return first
        return none if name in optima else second

    def pick(points: Points) -> Any:
        return points.gamma_C if along else (points.count, points.outer)

    def spread(points: Points) -> Points:
        return eqx.tree_at(pick, points, jax.tree.map(lambda x: x[filled], pick(points)))

    specs = jax.tree.map(lambda _: none, example)
    specs = eqx.tree_at(pick, specs, jax.tree.map(lambda _: first, pick(example)))
    outs = {name: spec(name) for name in jax.eval_shape(solve, example)}
    cut = {none: np.s_[:], first: np.s_[:size], second: np.s_[:, :size]}
    shared = jax.shard_map(solve, mesh=mesh, in_specs=(specs,), out_specs=outs, check_vma=False)

    def solve_all(points: Points) -> Found:
        found = shared(spread(points))
        return {name: jax.tree.map(lambda x, s=cut[outs[name]]: x[s], found[name]) for name in outs}

    return solve_all
