"""What the tests of sweeps share."""

import functools

import jax.numpy as jnp
import numpy as np

import qbjax as qb

GRID = {"N": [1, 2, 5], "F": [0.3, 2.0], "gamma_C": [0.05, 0.4, 3.0, 40.0]}


sweep = functools.partial(qb.sweep, progress=False)


def check_same(found, other, rtol=1e-11):
    assert set(found.data_vars) == set(other.data_vars)
    for name in found.data_vars:
        assert found[name].dims == other[name].dims
        np.testing.assert_allclose(found[name], other[name], rtol=rtol, err_msg=str(name))


ONE = functools.partial(qb.StarBattery, N=2)


def late(model, steady, trajectory):
    """Energy that is still to come, and the populations."""
    return jnp.append(steady.energy - trajectory.energy[-1], steady.populations)


def energy_at_ts(trajectory):
    return trajectory.energy
