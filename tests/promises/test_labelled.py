"""Results as datasets, and through a file."""

import jax
import numpy as np
import pytest
import xarray

import qbjax as qb

BATCH = qb.StarBattery(N=[1, 2], F=[[0.5], [1.0], [2.0]], kappa=0.1, N_max=2)


def excited(rho):
    return rho[1, :, 1, :].trace().real


def there_and_back(data, path):
    data.to_netcdf(path / "data.nc")
    with xarray.open_dataset(path / "data.nc") as found:
        xarray.testing.assert_identical(found.load(), data)


def test_a_batch_of_trajectories(tmp_path):
    save = ("energy", "populations", "rho")
    curve = qb.evolve(BATCH, [0.0, 1.0, 2.5], save=save, observables={"excited": excited})
    data = curve.to_xarray()
    assert data.energy.dims == data.excited.dims == ("batch_0", "batch_1", "t")
    assert data.rho_imag.dims == ("batch_0", "batch_1", "t", "c", "n", "d", "m")
    np.testing.assert_array_equal(data.t, [0.0, 1.0, 2.5])
    np.testing.assert_array_equal(data.F, np.asarray(BATCH.F))
    np.testing.assert_array_equal(data.energy, curve.energy)
    np.testing.assert_array_equal(data.rho_real + 1j * data.rho_imag, curve.rho)
    np.testing.assert_array_equal(data.excited, curve.observables["excited"])
    assert data.energy.attrs["units"] == "in the unit of omega_B"
    assert data.attrs["method"] == "chebyshev"
    assert "ergotropy" not in data
    there_and_back(data, tmp_path)


def test_the_other_results(tmp_path):
    one = qb.StarBattery(N=2, F=0.5, gamma_C=0.1, kappa=0.1)
    state, costs = qb.steady_state(one), qb.energetics(one, [1.0, 2.0])
    data = state.to_xarray()
    assert (data.battery.dims, data.energy.dims, float(data.kappa)) == (("n", "m"), (), 0.1)
    assert float(data.residual) == float(state.residual)
    there_and_back(data, tmp_path)
    data = costs.to_xarray()
    np.testing.assert_array_equal(data.heat_kappa, costs.heat["kappa"])
    assert (data.heat_kappa.dims, data.heat_kappa.attrs["units"]) == (
        ("t",),
        "in the unit of omega_B",
    )
    there_and_back(data, tmp_path)
    time = qb.charging_time(qb.StarBattery(N=2, F=0.5, gamma_C=0.1), "decay_rate")
    data = time.to_xarray()
    assert (float(data.tau), data.attrs["definition"]) == (float(time.tau), "decay_rate")
    there_and_back(data, tmp_path)


def test_axes_of_several_ladders_are_numbered():
    curve = qb.evolve(
        qb.StarBattery(N=2, F=0.5, gamma_down=0.1), [1.0, 2.0], save=("rho", "battery")
    )
    data = curve.to_xarray()
    assert data.rho_real.dims == ("t", "rho_1", "rho_2", "rho_3", "rho_4", "rho_5")
    assert "battery" not in data


def test_nothing_traced_becomes_a_dataset():
    with pytest.raises(jax.errors.TracerArrayConversionError):
        jax.jit(lambda F: qb.evolve(qb.StarBattery(N=1, F=F), [1.0]).to_xarray().energy.values)(0.5)
