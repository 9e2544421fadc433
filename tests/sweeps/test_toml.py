"""Sweeps from a file, by the command line."""

import functools
import json

import numpy as np
import pytest
import xarray
from sweeping import sweep

import qbjax as qb
from qbjax.sweeps.config import from_toml


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys, monkeypatch):
    from qbjax.__main__ import main

    monkeypatch.chdir(tmp_path)
    text = """
        observables = ["ergotropy", {gradient = "energy", of = "F"}, "tau_star_decay_rate"]
        [model]
        g = 1.5
        [grid]
        N = {from = 1, to = 5, step = 2}
        F = [0.3, 2.0]
        gamma_C = {from = 0.01, to = 10.0, points = 4, spacing = "log"}
    """
    (tmp_path / "grid.toml").write_text(text)
    assert main(["sweep", "grid.toml", "--plot", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["store"], said["points"], said["method"]) == ("grid.zarr", 24, "exact")
    for path in said["pictures"]:
        assert (tmp_path / path).stat().st_size > 2000
    assert len(said["pictures"]) == 6
    found = xarray.open_zarr("grid.zarr", chunks=None, consolidated=False)
    grid = {"N": [1, 3, 5], "F": [0.3, 2.0], "gamma_C": np.geomspace(0.01, 10, 4)}
    wanted = ("ergotropy", qb.grad_of("energy", "F"), "tau_star_decay_rate")
    again = sweep(functools.partial(qb.StarBattery, g=1.5), grid, wanted, store="grid.zarr")
    np.testing.assert_array_equal(found.d_energy_d_F, again.d_energy_d_F)
    for change, message in (
        (("[grid]", "[grids]"), "`file` must be of entries out of"),
        (("points = 4", "points = 0"), "`points of gamma_C` must be an integer of at least 1"),
        (("from = 0.01", "from = 0.0"), "`grid` must be between positive ends"),
        (("step = 2", "stop = 2"), "`grid` must be a list, {from, to, step}"),
        (("to = 5, step", "to = 0, step"), "`grid` must be {from, to, points} of numbers, or"),
        (("from = 0.01", 'from = "a"'), "`grid` must be between numbers"),
        (("g = 1.5", "omega = 1.5"), "`model` must be of parameters out of"),
        (("g = 1.5", 'g = "1"'), "`g` must be an array of numbers"),
        (("g = 1.5", 'charger = "cave"'), '`charger` must be "qubit", "cavity:LEVELS"'),
        (("g = 1.5", "g = "), "`file` must be TOML"),
        (("F = [0.3, 2.0]", "F = [0.3, 2.1]"), "grid F is [0.3, 2.0], not [0.3, 2.1]"),
    ):
        (tmp_path / "grid.toml").write_text(text.replace(*change))
        assert main(["sweep", "grid.toml"]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert main(["sweep", "none.toml"]) == 2
    assert (
        "Argument `file` must be a file that is there, but is none.toml" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{from = 3, to = 3}", [3]),
        ("{from = 1, to = 6, step = 2}", [1, 3, 5]),
        ("{from = 1, to = 5, step = 2}", [1, 3, 5]),
    ],
)
def test_ranges_of_integers_in_a_file_have_both_ends(tmp_path, text, values):
    (tmp_path / "grid.toml").write_text(f"[grid]\nN = {text}\n")
    assert from_toml(tmp_path / "grid.toml")["grid"]["N"].tolist() == values
