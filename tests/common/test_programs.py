"""Programs with options of the compiler: alone, within others, and without an option not known."""

import jax
import jax.numpy as jnp
import pytest

from qbjax.common import programs
from qbjax.common.programs import compiler_options, program


@pytest.fixture
def told(monkeypatch):
    """What options JAX is told of, in their order."""
    options, jit = [], programs.eqx.filter_jit

    def noted(function, **given):
        options.append(given)
        return jit(function, **given)

    monkeypatch.setattr(programs.eqx, "filter_jit", noted)
    return options


def test_a_program_may_be_a_part_of_another_one(told):
    known = jnp.asarray(3.0)

    @program
    def cube(x, name="named"):
        assert name == "named"
        return x**3

    assert cube(2.0) == 8.0
    assert told == [{}, {"compiler_options": compiler_options()}]
    assert jax.jit(cube)(2.0) == 8.0
    assert jax.grad(cube)(2.0) == 12.0
    assert jax.jit(lambda x: x * cube(known))(2.0) == 54.0
    assert jax.vmap(cube)(jnp.arange(3.0)).tolist() == [0.0, 1.0, 8.0]
    assert cube(2.0, name="named") == 8.0
    assert len(told) == 2


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(programs, "_QUICKLY", {"xla_cpu_no_such_option": False})
    compiler_options.cache_clear()
    try:
        assert compiler_options() == {}
        assert program(jnp.sin)(0.0) == 0.0
    finally:
        compiler_options.cache_clear()
