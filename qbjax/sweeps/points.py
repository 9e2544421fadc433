"""The observables of many points at once, on every device of this process.

Where the exact solution applies, one program holds all points of a chunk, and what does not depend
on gamma_C is done once for all of its values. Elsewhere points share nothing, and the solvers
spread a batch of models over the cores themselves. Several devices share the points of a chunk.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from qbjax.exact.applies import is_exact
from qbjax.model.star_battery import StarBattery
from qbjax.sweeps.observables import Measured, Observable, Solved, measure

Answer = dict[str, Measured]


class Points(eqx.Module):
    """Points of one shape: every outer one with every value of gamma_C.

    Attributes
    ----------
    numbers
        0 ... P - 1: what is mapped over where there are no outer parameters.
    outer
        The parameters of the outer points by name, shape (P,).
    gamma_C
        Shape (G,); None where it is among the outer parameters, or not varied.
    """

    numbers: jax.Array
    outer: dict[str, jax.Array]
    gamma_C: jax.Array | None


Solve = Callable[[Points], Answer]


# Told apart by identity: arrays have no hash, and jit looks solvers up.
@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of points.

    Attributes
    ----------
    build
        The function from parameters to a model.
    observables, method, ts
        The observables, the method of the steady states, and the times of the trajectories.
    exact
        Whether the exact solution applies.
    """

    build: Callable[..., StarBattery]
    observables: tuple[Observable, ...]
    method: str
    ts: jax.Array | None
    exact: bool

    @property
    def is_plain(self) -> bool:
        """Whether it is all told by `str`: no functions, and numbers for what is fixed."""
        build: Any = self.build
        partial = isinstance(build, functools.partial)
        function = build.func if partial else build
        fixed = [*build.args, *build.keywords.values()] if partial else []
        numbers = all(isinstance(x, int | float | np.number) for x in fixed)
        named = not any(each.source for each in self.observables)
        return function is StarBattery and numbers and named and self.ts is None

    def __str__(self) -> str:
        """Say what is asked."""
        names = [each.name for each in self.observables]
        return f"{self.build} {names} {self.method} {self.exact}"

    def only(self, those: Callable[[Observable], bool]) -> "Question":
        """Return the question for some of the observables."""
        return replace(self, observables=tuple(filter(those, self.observables)))

    @property
    def optima(self) -> "Question":
        """The question for the observables of the best dephasing rate."""
        return self.only(lambda each: each.of_optimum)

    @property
    def others(self) -> "Question":
        """The question for the other observables."""
        return self.only(lambda each: not each.of_optimum)

    def answer(self, model: StarBattery) -> Answer:
        """Return the observables of a model, or of a batch."""
        return measure(Solved(model, self.method, self.ts), self.observables)

    def solve(self, points: Points) -> Answer:
        """Return the observables of points, shapes (P, G, ...) or (P, ...).

        The latter are those of an optimum, and all where `Points.gamma_C` is None.
        """
        if not self.exact:
            return _solve_batch(self, points)
        in_turn = jax.default_backend() == "cpu"
        steps = self.only(lambda each: each.iterated)
        rest = self.only(lambda each: not each.iterated)
        answer = _solve_nested(steps, points, _in_turn if in_turn else jax.vmap)
        return answer | _solve_nested(rest, points, jax.vmap)


def applies(model: StarBattery, method: str) -> bool:
    """Tell whether the exact solution is that of a model, by structure and by the method asked."""
    return method in ("auto", "exact") and is_exact(model)


def _solve_nested(
    question: Question,
    points: Points,
    many: Callable[[Callable[..., Answer]], Callable[..., Answer]],
) -> Answer:
    """Map over gamma_C inside: what does not depend on it is done once for all of its values."""
    build, gammas = question.build, points.gamma_C

    def at(_: jax.Array, point: dict[str, jax.Array]) -> Answer:
        if gammas is None:
            return question.answer(build(**point))
        inside = many(lambda gamma_C: question.others.answer(build(**point, gamma_C=gamma_C)))
        return inside(gammas) | question.optima.answer(build(**point, gamma_C=gammas[0]))

    return many(at)(points.numbers, points.outer) if question.observables else {}


def _in_turn(function: Callable[..., Answer]) -> Callable[..., Answer]:
    return lambda *xs: jax.lax.map(lambda each: function(*each), xs)


def _solve_batch(question: Question, points: Points) -> Answer:
    """Solve a batch of models by the solvers for any model."""
    build, gammas = question.build, points.gamma_C

    def at(_: jax.Array, point: dict[str, jax.Array]) -> StarBattery:
        if gammas is None:
            return build(**point)
        return jax.vmap(lambda gamma_C: build(**point, gamma_C=gamma_C))(gammas)

    models = jax.vmap(at)(points.numbers, points.outer)
    if gammas is None:
        return question.answer(models)
    best = jax.tree.map(lambda leaf: leaf[:, 0], models)
    return question.others.answer(models) | question.optima.answer(best)


def program(question: Question, example: Points) -> tuple[Solve, int]:
    """Return a solver of points of one shape on the local devices, and the bytes it works in.

    These are 0 where the solvers see to a batch themselves. A question without functions of one's
    own is compiled once in the life of the process.
    """
    if not question.is_plain:
        return _program(question, example)
    shapes = jax.tree.map(lambda x: (x.shape, str(x.dtype)), example)
    return _kept(_Asked(f"{question} {shapes} {jax.local_devices()}", question, example))


@dataclass(frozen=True)
class _Asked:
    """A question about points of one shape, told apart by its text."""

    text: str
    question: Question = field(compare=False)
    example: Points = field(compare=False)


@functools.lru_cache(maxsize=64)
def _kept(asked: _Asked) -> tuple[Solve, int]:
    return _program(asked.question, asked.example)


def _program(question: Question, example: Points) -> tuple[Solve, int]:
    devices = jax.local_devices()
    if len(devices) > 1:
        solve = _over(devices, question, example)
    elif question.exact:
        solve = question.solve
    else:
        return _quiet(question.solve), 0
    compiled = jax.jit(solve).lower(example).compile()
    needed = compiled.memory_analysis()
    return compiled, 0 if needed is None else needed.temp_size_in_bytes


def _quiet(solve: Solve) -> Solve:
    @functools.wraps(solve)
    def quiet(points: Points) -> Answer:
        with warnings.catch_warnings():
            # What a solve warns of stands in the status.
            warnings.simplefilter("ignore", UserWarning)
            return solve(points)

    return quiet


def _over(devices: list[jax.Device], question: Question, example: Points) -> Solve:
    """Return a solver that cuts the longer axis of points into equal parts, one for each device."""
    mesh = Mesh(np.array(devices), ("points",))
    outers, gammas = example.numbers.size, example.gamma_C
    along = gammas is not None and gammas.size > outers
    size = gammas.size if gammas is not None and along else outers
    # Filled up with the last point.
    filled = jnp.minimum(jnp.arange(-(-size // len(devices)) * len(devices)), size - 1)
    first, second, none = P("points"), P(None, "points"), P()

    def spec(each: Observable) -> P:
        if not along:
            return first
        return none if each.of_optimum else second

    def pick(points: Points) -> PyTree:
        return points.gamma_C if along else (points.numbers, points.outer)

    def spread(points: Points) -> Points:
        return eqx.tree_at(pick, points, jax.tree.map(lambda x: x[filled], pick(points)))

    specs = jax.tree.map(lambda _: none, example)
    specs = eqx.tree_at(pick, specs, jax.tree.map(lambda _: first, pick(example)))
    outs = {each.name: spec(each) for each in question.observables}
    cut = {none: np.s_[:], first: np.s_[:size], second: np.s_[:, :size]}
    shared = jax.shard_map(
        question.solve, mesh=mesh, in_specs=(specs,), out_specs=outs, check_vma=False
    )

    def solve_all(points: Points) -> Answer:
        answer = shared(spread(points))
        return {
            name: jax.tree.map(lambda x, s=cut[outs[name]]: x[s], answer[name]) for name in outs
        }

    return solve_all
