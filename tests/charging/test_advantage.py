"""Collective beside parallel charging, against numbers of a program that shares no code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qbjax as qb
from qbjax.charging.advantage import RESOURCES

# Largest average power over that of the pairs: F of a pair, N, one for each resource.
POWER = [
    (0.2, 4, (0.256158, 0.933172, 0.134232, 0.524414)),
    (2.0, 4, (0.481443, 0.477127, 0.914465, 0.994317)),
    (10.0, 4, (0.475528, 0.475300, 0.985106, 0.983207)),
]
# Ergotropy of the steady state per qubit, over that of N = 1: F, then N = 4 and 16.
STEADY = [
    (0.2, 2.1624, 2.7151),
    (0.5, 1.4802, 1.8587),
    (2.0, 2.8296, 3.8102),
    (10.0, 13.759, 18.02),
]


def collective(F, N, resource, **others):
    """The battery whose pairs have the drive F and the coupling 1."""
    root = np.sqrt(N)
    F = root * F if "drive" in resource else F
    g = root if "bonds" in resource else 1.0
    return qb.StarBattery(N=N, F=F, g=g, gamma_C=0.1, **others)


@pytest.mark.parametrize(
    ("F", "N", "values"),
    [POWER[0], *(pytest.param(*row, marks=pytest.mark.slow) for row in POWER[1:])],
)
def test_average_power(F, N, values):
    for resource, expected in zip(RESOURCES, values, strict=True):
        model = collective(F, N, resource)
        gain = qb.advantage(model, of="average_power", resource=resource, t_end=40.0)
        assert gain.value == pytest.approx(expected, abs=6e-7)
        assert gain.status == qb.Status.OK
        assert gain.pair.N == 1
        np.testing.assert_allclose(gain.pair.F, F, rtol=1e-15)


def test_the_one_advantage_in_power():
    model = collective(2.0, 2, "drive and bonds")
    gain = qb.advantage(model, of="average_power", resource="drive and bonds", t_end=20.0)
    assert gain.value == pytest.approx(1.0203, abs=6e-5)


@pytest.mark.parametrize(("F", "four", "sixteen"), STEADY)
def test_ergotropy_of_the_steady_state(F, four, sixteen):
    models = qb.StarBattery(N=jnp.array([1, 4, 16]), N_max=16, F=F)
    gain = qb.advantage(models, of="ergotropy", resource="charger")
    np.testing.assert_allclose(gain.value, [1.0, four, sixteen], rtol=3e-5)
    assert jax.jit(lambda m: qb.advantage(m, of="ergotropy", resource="charger").value)(
        models
    ) == pytest.approx(np.asarray(gain.value), rel=1e-10)


@pytest.mark.parametrize("resource", RESOURCES)
def test_the_pair_has_its_share_of_the_resource(resource):
    # With the ergotropy of one pair in closed form: of F/g alone.
    gain = qb.advantage(qb.StarBattery(N=4, F=0.7), of="ergotropy", resource=resource)
    F, g = 0.7 / (2.0 if "drive" in resource else 1.0), 0.5 if "bonds" in resource else 1.0
    single = qb.steady_state(qb.StarBattery(N=1, F=F / g)).ergotropy
    assert gain.parallel == pytest.approx(4 * float(single), rel=1e-12)
    assert gain.value == pytest.approx(float(gain.collective) / (4 * float(single)), rel=1e-12)


def test_nothing_is_no_measure():
    still = qb.StarBattery(N=2, F=0.0, kappa=0.1)
    gain = qb.advantage(still, of="power", resource="charger", t_end=2.0)
    assert np.isnan(gain.value)
    assert gain.status == qb.Status.UNDEFINED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"of": "work", "resource": "drive"}, "`of` must be"),
        ({"of": "energy", "resource": "time"}, "`resource` must be"),
        ({"of": "energy", "resource": "drive", "t_end": 1.0}, "`t_end` must be left out"),
        ({"of": "power", "resource": "drive"}, "`t_end` must be given"),
    ],
)
def test_wrong_input_gets_one_line(arguments, words):
    with pytest.raises(qb.ArgumentError, match=words):
        qb.advantage(qb.StarBattery(N=2, F=0.5), **arguments)


@pytest.mark.slow
def test_a_shared_drive_is_constant():
    model = qb.StarBattery(N=2, F=qb.PiecewiseConstant([1.0], [0.5, 0.1]))
    with pytest.raises(qb.ArgumentError, match="`F` must be constant in time for the resource"):
        qb.advantage(model, of="power", resource="drive", t_end=3.0)
    # The pairs may have it as it is.
    gain = qb.advantage(model, of="power", resource="charger", t_end=3.0)
    assert 0 < gain.value < 1
