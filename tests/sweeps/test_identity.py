"""What tells one sweep from another."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from sweeping import ONE, check_same, energy_at_ts, sweep

import qbjax as qb
from qbjax.sweeps.observables import observable


def of_two(a, b):
    return qb.StarBattery(N=2, F=a, g=b)


def test_the_order_of_the_axes_belongs_to_a_sweep(tmp_path):
    grid = {"a": [0.5, 1.0], "b": [1.0, 2.0]}
    sweep(of_two, grid, store=tmp_path / "s.zarr", chunk_size=1)
    with pytest.raises(qb.ArgumentError, match=r"axes is \['a', 'b'\], not \['b', 'a'\]"):
        sweep(of_two, dict(reversed(grid.items())), store=tmp_path / "s.zarr")


OTHERS = [
    ({"grid": {"N": [1, 2], "F": [0.6]}}, "grid F is [0.5], not [0.6]"),
    ({"grid": {"N": [1, 2], "F": [0.5], "g": [1.0]}}, "axes is ['N', 'F'], not ['N', 'F', 'g']"),
    ({"model": functools.partial(qb.StarBattery, omega_C=2.0)}, "model is"),
    ({"observables": "ergotropy"}, "observables is ['energy'], not ['ergotropy']"),
    ({"method": "direct"}, "method is auto, not direct"),
]


@pytest.mark.parametrize(("change", "difference"), OTHERS)
def test_the_store_of_another_sweep_is_refused(tmp_path, change, difference):
    store = tmp_path / "s.zarr"
    given = {"model": qb.StarBattery, "grid": {"N": [1, 2], "F": [0.5]}}
    given |= {"observables": "energy", "store": store}
    whole = sweep(**given)
    with pytest.raises(qb.ArgumentError, match="must be that of the same sweep") as refused:
        sweep(**given | change)
    assert difference in str(refused.value)
    assert "overwrite this one" in str(refused.value)
    check_same(sweep(**given), whole)


def test_a_function_of_the_same_name_is_another(tmp_path):
    def times(factor):
        def scaled(model, steady, trajectory):
            return factor * steady.energy

        return scaled

    def driven(power):
        # The same at both ends of the grid.
        return lambda x: qb.StarBattery(N=1, F=x**power)

    store, grid = tmp_path / "s.zarr", {"x": [0.0001, 0.5, 1.0]}
    sweep(driven(1), grid, times(2.0), store=store)
    sweep(driven(1), grid, times(2.0), store=store)
    with pytest.raises(qb.ArgumentError, match="function scaled is"):
        sweep(driven(1), grid, times(3.0), store=store)
    with pytest.raises(qb.ArgumentError, match="model is"):
        sweep(driven(2), grid, times(2.0), store=store)


class Scaled:
    """Observables that depend on the instance."""

    def __init__(self, factor):
        self.factor = factor

    def scaled(self, model, steady, trajectory):
        return self.factor * steady.energy


def by_default(factor):
    def scaled(model, steady, trajectory, *, factor=factor):
        return factor * steady.energy

    return scaled


def by_helper(factor):
    def helper(x):
        return factor * x

    def scaled(model, steady, trajectory):
        return sum(helper(steady.energy) for _ in range(2))

    return scaled


def by_table(factor):
    table = {"factor": [factor]}

    def scaled(model, steady, trajectory):
        return table["factor"][0] * steady.energy

    return scaled


def without_source(factor):
    made = {}
    exec(f"def scaled(steady): return {factor} * steady.energy", made)
    return made["scaled"]


def by_wrapper(factor):
    @functools.wraps(energy_at_ts)
    def scaled(model, steady, trajectory):
        return factor * energy_at_ts(model, steady, trajectory)

    return scaled


def by_mapping(factor):
    scaled = jax.vmap(energy_at_ts, in_axes=(None, None, int(factor)))
    scaled.__name__ = "scaled"
    return scaled


def by_compiling(factor):
    return jax.jit(by_default(factor))


class Constants:
    """What a function refers to, without a dictionary."""

    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


def by_slots(factor):
    constants = Constants(factor)

    def scaled(model, steady, trajectory):
        return constants.factor * steady.energy

    return scaled


MAKERS = {
    "default": by_default,
    "helper": by_helper,
    "table": by_table,
    "no source": without_source,
    "method": lambda factor: Scaled(factor).scaled,
    "wrapper": by_wrapper,
    "mapping": by_mapping,
    "compiled": by_compiling,
    "slots": by_slots,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_functions_are_told_apart_by_all_that_they_refer_to(make):
    one, same, other = (observable(make(factor)).source for factor in (2.0, 2.0, 3.0))
    assert one == same != other


def test_fingerprints_are_the_same_in_every_process():
    code = "from qbjax.sweeps.provenance import text; print(text(set('hedgcbaf')))"
    said = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        said.add(subprocess.run(command, env=environment, capture_output=True, text=True).stdout)
    assert said == {"{a, b, c, d, e, f, g, h}\n"}


def test_names_of_attributes_are_no_globals(monkeypatch):
    before = observable(energy_at_ts).source
    monkeypatch.setitem(globals(), "energy", 3.0)
    assert observable(energy_at_ts).source == before


@jax.jit
def compiled(model, steady, trajectory):
    return 2 * steady.energy


def test_a_compiled_function_is_a_function():
    found = sweep(ONE, {"F": [0.5]}, (compiled, "energy"))
    assert found.compiled[0] == 2 * found.energy[0]


def test_models_are_told_apart_by_the_functions_in_them(tmp_path):
    def pulsed(w):
        pulse = qb.Pulse(lambda t: jnp.cos(w * t))
        return functools.partial(qb.StarBattery, N=1, F=pulse)

    given = {"gamma_C": [0.5]}, energy_at_ts
    sweep(pulsed(1.0), *given, ts=[1.0], store=tmp_path / "s.zarr")
    sweep(pulsed(1.0), *given, ts=[1.0], store=tmp_path / "s.zarr")
    with pytest.raises(qb.ArgumentError, match="model is"):
        sweep(pulsed(5.0), *given, ts=[1.0], store=tmp_path / "s.zarr")
    with pytest.raises(qb.ArgumentError, match=r"ts is \[1.0\], not \[2.0\]"):
        sweep(pulsed(1.0), *given, ts=[2.0], store=tmp_path / "s.zarr")
