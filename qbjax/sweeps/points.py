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


def applies(model: StarBattery, method: str) -> bool:
    """Tell whether the exact solution is that of a model, by structure and by the method asked."""
    return method in ("auto", "exact") and sectors.obstacle(model) is None


def solver(
    build: Callable[..., StarBattery],
    wanted: tuple[Observable, ...],
    method: str,
    ts: jax.Array | None,
    exact: bool,
) -> Solve:
    """Return the function from points to observables, shapes (P, G, ...) or (P, ...).

    The latter are those of an optimum, and all where `Points.gamma_C` is None.

    Parameters
    ----------
    build
        From parameters to a model.
    wanted, method, ts
        What to observe, the method of the steady state, and the times of the trajectory.
    exact
        Whether the exact solution applies.
    """
    optima = tuple(each for each in wanted if each.of_optimum)
    others = tuple(each for each in wanted if not each.of_optimum)

    def observe(model: StarBattery, those: tuple[Observable, ...]) -> Found:
        return measure(Solved(model, method, ts), those)

    def nested(points: Points) -> Found:
        gammas = points.gamma_C

        def at(_: jax.Array, point: dict[str, jax.Array]) -> Found:
            if gammas is None:
                return observe(build(**point), wanted)

            def at_gamma(gamma_C: jax.Array) -> Found:
                return observe(build(**point, gamma_C=gamma_C), others)

            best = observe(build(**point, gamma_C=gammas[0]), optima) if optima else {}
            return (jax.vmap(at_gamma)(gammas) if others else {}) | best

        return jax.vmap(at)(points.count, points.outer)

    def flat(points: Points) -> Found:
        gammas = points.gamma_C

        def at(_: jax.Array, point: dict[str, jax.Array]) -> StarBattery:
            if gammas is None:
                return build(**point)
            return jax.vmap(lambda gamma_C: build(**point, gamma_C=gamma_C))(gammas)

        models = jax.vmap(at)(points.count, points.outer)
        if gammas is None:
            return observe(models, wanted)
        best = jax.tree.map(lambda leaf: leaf[:, 0], models)
        return observe(models, others) | observe(best, optima)

    return nested if exact else flat


def program(solve: Solve, example: Points, optima: set[str], exact: bool) -> tuple[Solve, int]:
    """Return a solver of points of one shape on the local devices, and the bytes it works in.

    Parameters
    ----------
    solve, exact
        That of `solver`, and whether it is the exact solution's.
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
