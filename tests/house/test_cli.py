"""The command line, in-process: right input, wrong input, and what --json promises."""

import contextlib
import json
import subprocess
import sys

import pytest

import qbjax as qb
from qbjax.__main__ import main

MODEL = ["--N", "2", "--F", "0.5"]


def run_json(capsys, *argv):
    assert main([*argv, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_steady_state(capsys):
    found = run_json(capsys, "steady-state", "--N", "8", "--F", "0.5")
    expected = qb.steady_state(qb.StarBattery(N=8, F=0.5))
    assert found["energy"] == pytest.approx(4.0, rel=1e-12)
    assert found["ergotropy"] == pytest.approx(float(expected.ergotropy), rel=1e-12)
    assert found["populations"] == pytest.approx(expected.populations.tolist(), abs=1e-12)
    assert (found["nullity"], found["status"], found["method"]) == (9, "OK", "exact")
    # What does not fit a line, and what a unique state would have, are left out.
    assert {"rho", "battery", "error_estimate"}.isdisjoint(found)


def test_every_parameter_reaches_the_model(capsys):
    options = ["--g", "2", "--omega-B", "3", "--omega-C", "3.5", "--omega-d", "3"]
    options += ["--gamma-C", "0.4", "--method", "exact"]
    found = run_json(capsys, "steady-state", "--N", "2", "--F", "-1e-1", *options)
    model = qb.StarBattery(N=2, F=-0.1, g=2.0, gamma_C=0.4, omega_B=3.0, omega_C=3.5, omega_d=3.0)
    expected = qb.steady_state(model, method="exact")
    assert found["energy"] == pytest.approx(float(expected.energy), rel=1e-12)
    assert found["relaxation_time"] == pytest.approx(float(expected.relaxation_time), rel=1e-10)


LOSSES = {"kappa": 0.1, "nbar": 0.2, "Gamma_down": 0.02, "Gamma_up": 0.01, "Gamma_z": 0.03}
LOSSES |= {"gamma_down": 0.04, "gamma_up": 0.05, "gamma_z": 0.06}


@pytest.fixture
def calls(monkeypatch):
    """Models and keywords that reach the solvers, which solve nothing."""
    seen = []

    def record(model, *times, **keywords):
        seen.append((model, keywords))
        raise qb.SolveError("seen")

    monkeypatch.setattr(qb, "steady_state", record)
    monkeypatch.setattr(qb, "evolve", record)
    return seen


def test_losses_and_detuning_reach_the_model(calls):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in LOSSES.items()]
    main(["steady-state", *MODEL, *options, "--omega-d", "0.9", "--method", "direct"])
    [(model, keywords)] = calls
    assert {name: float(getattr(model, name)) for name in LOSSES} == LOSSES
    assert float(model.omega_d) == 0.9
    assert keywords == {"method": "direct", "state": False}


def test_what_is_not_given_is_left_out(calls):
    main(["steady-state", *MODEL])
    main(["evolve", *MODEL, "--t-end", "1"])
    for model, _ in calls:
        assert all(getattr(model, name) is None for name in (*LOSSES, "omega_C", "omega_d"))
        assert model.charger == qb.qubit()
    # The state itself is not shown.
    assert [keywords for _, keywords in calls] == [{"state": False}, {}]


CHARGERS = {"qubit": qb.qubit(), "cavity:3": qb.cavity(3), "spin:1.5": qb.spin(1.5)}


@pytest.mark.parametrize(("text", "charger"), CHARGERS.items())
def test_chargers(calls, text, charger):
    main(["steady-state", *MODEL, "--charger", text])
    assert calls[0][0].charger == charger


def test_options_reach_the_solvers(calls):
    main(["evolve", *MODEL, "--t-end", "1", "--rtol", "1e-5", "--method", "tsit5"])
    main(["steady-state", *MODEL, "--time", "7"])
    assert [keywords for _, keywords in calls] == [
        {"rtol": 1e-5, "method": "tsit5"},
        {"time": 7.0, "state": False},
    ]


def test_cut_that_is_too_low(capsys):
    options = ["--kappa", "1", "--charger", "cavity:3", "--times", "1,2", "--method", "dopri8"]
    found = run_json(capsys, "evolve", "--N", "1", "--F", "0.2", *options)
    assert (found["status"], found["method"]) == ("CUT_TOO_LOW", "dopri8")
    assert found["top_population"] > 1e-6
    assert len(found["energy"]) == 2
    assert "observables" not in found
    assert "rho" not in found


def test_state_at_a_time(capsys):
    found = run_json(capsys, "steady-state", *MODEL, "--time", "3")
    expected = qb.evolve(qb.StarBattery(N=2, F=0.5), [3.0])
    assert found["energy"] == pytest.approx(float(expected.energy[0]), rel=1e-10)
    assert (found["method"], found["relaxation_time"]) == ("time", None)


def test_infinity_is_null(capsys):
    found = run_json(capsys, "steady-state", "--N", "400", "--F", "0.2")
    assert found["relaxation_time"] is None
    assert found["log_relaxation_time"] > 700


def test_evolve(capsys):
    found = run_json(capsys, "evolve", "--N", "4", "--F", "0.5", "--times", "0,2,200")
    assert found["ts"] == [0.0, 2.0, 200.0]
    assert found["energy"] == pytest.approx([0.0, 0.300896, 1.116498], abs=1e-6)
    found = run_json(capsys, "evolve", "--N", "4", "--F", "0.5", "--t-end", "9", "--samples", "3")
    assert found["ts"] == [0.0, 4.5, 9.0]


def test_energetics(capsys):
    argv = ["energetics", "--N", "2", "--F", "0.5", "--gamma-C", "0.1", "--times", "20"]
    found = run_json(capsys, *argv)
    assert found["drive_work"] == pytest.approx([2.0767367432], abs=1e-8)
    assert found["heat"]["gamma_C"] == pytest.approx([0.0], abs=1e-9)


def test_storage(capsys):
    argv = ["storage", "--N", "4", "--F", "2", "--gamma-C", "0.1", "--Gamma-down", "0.05"]
    found = run_json(capsys, *argv, "--charge", "6", "--t-end", "20")
    expected = qb.storage(
        qb.StarBattery(N=4, F=2.0, gamma_C=0.1, Gamma_down=0.05), 6.0, [0.0, 10.0, 20.0]
    )
    assert found["ergotropy_half_life"] == pytest.approx(
        float(expected.ergotropy_half_life), rel=1e-6
    )
    assert len(found["ts"]) == 101
    coupled = run_json(capsys, *argv, "--charge", "6", "--t-end", "20", "--hold-g", "1")
    # What the battery gives to the charger comes back.
    assert coupled["energy"][5] != pytest.approx(found["energy"][5], rel=1e-2)


def test_the_best_moment(capsys):
    argv = ["charging-time", *MODEL, "--gamma-C", "0.1", "--definition", "maximum"]
    found = run_json(capsys, *argv, "--of", "ergotropy", "--t-end", "20")
    assert found["tau"] == pytest.approx(19.356992178, abs=1e-6)
    assert found["value"] == pytest.approx(1.28515362048, abs=1e-8)
    first = run_json(capsys, *argv, "--of", "energy", "--which", "first", "--t-end", "20")
    assert first["tau"] == pytest.approx(3.742287367, abs=1e-6)


def test_an_oscillator(capsys):
    argv = ["steady-state", "--N", "1", "--F", "0.5", "--kappa", "0.1", "--battery"]
    found = run_json(capsys, *argv, "oscillator:12")
    # Pure, in the state that the charger is blind to.
    assert found["energy"] == pytest.approx(0.25, abs=1e-7)


def test_advantage(capsys):
    argv = ["advantage", "--N", "4", "--F", "0.5", "--of", "ergotropy", "--resource", "charger"]
    assert run_json(capsys, *argv)["value"] == pytest.approx(1.4802, abs=5e-5)
    assert main([*argv[:-1], "time"]) == 2
    assert "`resource` must be" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--min-weight", "0.1"]])
def test_charging_time_by_decay_rate(capsys, options):
    argv = ["charging-time", "--N", "8", "--F", "10", "--definition", "decay_rate", *options]
    found = run_json(capsys, *argv)
    assert found["tau"] == pytest.approx(4.0, rel=1e-6)
    assert found["definition"] == "decay_rate"
    assert found["omega"] > 0
    assert "evidence" not in found


def test_optimal_dephasing(capsys):
    argv = ["optimal-dephasing", "--N", "1", "--F", "0.5", "--definition", "decay_rate"]
    found = run_json(capsys, *argv)
    assert found["gamma_C"] * found["tau"] == pytest.approx(4.0, rel=1e-12)
    assert found["converged"] is True


def test_the_steps_of_a_descent_are_those_between_its_iterates(capsys):
    argv = ["optimal-dephasing", "--N", "1", "--F", "0.5", "--definition", "integral"]
    iterates = [x for x in run_json(capsys, *argv)["history"] if x is not None]
    assert len(iterates) > 1
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = next(line.split()[1] for line in lines if line.startswith("  steps"))
    assert int(steps) == len(iterates) - 1


def test_info(capsys):
    found = run_json(capsys, "info")
    assert found["qbjax"] == qb.__version__
    assert found["precision"] == "double"
    assert found["devices"]
    assert found == qb.about()
    assert f"qbjax       {qb.__version__}" in repr(qb.about()).splitlines()


def test_human_output_is_aligned(capsys):
    assert main(["steady-state", "--N", "2", "--F", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # What the result itself prints, and the populations below it.
    assert "\n".join(lines).startswith(str(qb.steady_state(qb.StarBattery(N=2, F=0.5))))
    assert lines[-4].split() == ["populations"]
    assert main(["evolve", "--N", "2", "--F", "0.5", "--times", "0,1"]) == 0
    assert capsys.readouterr().out.splitlines()[-3].split() == [
        "ts",
        "energy",
        "ergotropy",
        "status",
    ]
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) - len(line.split(maxsplit=1)[1]) for line in lines}) == 1


WRONG = {
    "N = 0": (["steady-state", "--N", "0", "--F", "1"], "`N`"),
    "N = 2.5": (["steady-state", "--N", "2.5", "--F", "1"], "`N`"),
    "N in words": (["steady-state", "--N", "two", "--F", "1"], "--N"),
    "no F": (["steady-state", "--N", "2"], "--F"),
    "gamma_C < 0": (["steady-state", *MODEL, "--gamma-C", "-1"], "`gamma_C`"),
    "gamma_C tiny": (["steady-state", *MODEL, "--gamma-C", "-1e-9"], "`gamma_C`"),
    "gamma_C = 0": (["steady-state", *MODEL, "--gamma-C", "0"], "`gamma_C`"),
    "F = nan": (["steady-state", "--N", "2", "--F", "nan"], "`F`"),
    "F = -inf": (["evolve", "--N", "2", "--F", "-inf", "--t-end", "1"], "`F`"),
    "F = 0": (["steady-state", "--N", "2", "--F", "0"], "`F`"),
    "g = 0": (["steady-state", *MODEL, "--g", "0"], "`g`"),
    "detuned": (["steady-state", *MODEL, "--omega-d", "1.5", "--method", "exact"], "`model`"),
    "fit with losses": (["charging-time", *MODEL, "--kappa", "1"], "`definition`"),
    "kappa < 0": (["steady-state", *MODEL, "--kappa", "-1"], "`kappa`"),
    "Gamma_up < 0": (["evolve", *MODEL, "--Gamma-up", "-1", "--t-end", "1"], "`Gamma_up`"),
    "gamma_up < 0": (["evolve", *MODEL, "--gamma-up", "-1", "--t-end", "1"], "`gamma_up`"),
    "Gamma_z in words": (["steady-state", *MODEL, "--Gamma-z", "x"], "--Gamma-z"),
    "nbar alone": (["steady-state", *MODEL, "--nbar", "1"], "`nbar`"),
    "cavity in words": (["steady-state", *MODEL, "--charger", "cavity:x"], "`charger`"),
    "cavity without levels": (["steady-state", *MODEL, "--charger", "cavity"], "`charger`"),
    "cavity of one level": (["steady-state", *MODEL, "--charger", "cavity:1"], "`levels`"),
    "cavity of 2.5 levels": (["steady-state", *MODEL, "--charger", "cavity:2.5"], "`levels`"),
    "spin 0.3": (["steady-state", *MODEL, "--charger", "spin:0.3"], "`S`"),
    "spin nan": (["steady-state", *MODEL, "--charger", "spin:nan"], "`S`"),
    "qubit with a size": (["steady-state", *MODEL, "--charger", "qubit:2"], "`charger`"),
    "unknown battery": (["steady-state", *MODEL, "--battery", "spring:8"], "`battery`"),
    "oscillators": (["steady-state", *MODEL, "--battery", "oscillator:8"], "`N`"),
    "unknown charger": (["steady-state", *MODEL, "--charger", "boson"], "`charger`"),
    "method": (["steady-state", *MODEL, "--method", "guess"], "`method`"),
    "method of evolve": (["evolve", *MODEL, "--t-end", "1", "--method", "direct"], "`method`"),
    "exact with losses": (
        ["evolve", *MODEL, "--kappa", "1", "--t-end", "1", "--method", "exact"],
        "`model`",
    ),
    "time and method": (
        ["steady-state", *MODEL, "--time", "1", "--method", "exact"],
        "`method`",
    ),
    "time < 0": (["steady-state", *MODEL, "--time", "-1"], "`time`"),
    "time = nan": (["steady-state", *MODEL, "--time", "nan"], "`time`"),
    "rtol": (
        ["evolve", *MODEL, "--kappa", "1", "--t-end", "1", "--rtol", "0"],
        "`rtol`",
    ),
    "definition": (["charging-time", *MODEL, "--definition", "half"], "`definition`"),
    "branch": (["charging-time", *MODEL, "--branch", "upper"], "`branch`"),
    "band": (["charging-time", *MODEL, "--definition", "settling", "--band", "2"], "`band`"),
    "of": (["charging-time", *MODEL, "--definition", "maximum", "--of", "heat"], "`of`"),
    "charge < 0": (["storage", *MODEL, "--charge", "-1", "--t-end", "3"], "`t_charge`"),
    "t_end": (["evolve", *MODEL, "--t-end", "-3"], "`t_end`"),
    "samples": (["evolve", *MODEL, "--t-end", "3", "--samples", "1"], "`samples`"),
    "times": (["evolve", *MODEL, "--times", "2,1"], "`ts`"),
    "times and samples": (["evolve", *MODEL, "--times", "1,2", "--samples", "3"], "`samples`"),
    "N too large": (["steady-state", "--N", "100000000000000000000", "--F", "1"], "N"),
    "gamma_C of no use": (["optimal-dephasing", *MODEL, "--gamma-C", "1"], "--gamma-C"),
    "times in words": (["evolve", *MODEL, "--times", "a,b"], "--times"),
    "no times": (["evolve", *MODEL], "--t-end"),
    "figure": (["reproduce", "--figure", "9"], "`figure`"),
    "directory": (["reproduce", "--out", "/dev/null/x"], "`out`"),
    "unknown option": (["steady-state", *MODEL, "--gama", "1"], "--gama"),
    "abbreviated option": (["steady-state", *MODEL, "--gamma", "1"], "--gamma"),
    "unknown verb": (["charge"], "charge"),
    "no verb": ([], "VERB"),
}


@pytest.mark.parametrize(("argv", "named"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_one_line(capsys, argv, named):
    for flags in [], ["--json"]:
        assert main([*argv, *flags]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert captured.err.startswith("qbjax: ")
        assert named in captured.err


def test_numbers_beyond_the_integers(capsys):
    found = run_json(capsys, "steady-state", "--N", "2", "--F", "100000000000000000000")
    assert found["energy"] == pytest.approx(1.0, rel=1e-9)


@pytest.mark.slow
def test_as_a_module():
    argv = [sys.executable, "-m", "qbjax", "steady-state", "--N", "0", "--F", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_names_and_numbers_are_taken_as_people_write_them(calls):
    main(["steady-state", "--N", "2e0", "--F", "0.5", "--gamma_C", "0.3"])
    model, _ = calls[0]
    assert int(model.N) == 2
    assert float(model.gamma_C) == 0.3


def test_negative_times_are_no_option(capsys):
    assert main(["evolve", *MODEL, "--times", "-1,2"]) == 2
    assert "Argument `ts` must be" in capsys.readouterr().err


def test_a_sweep_that_failed_everywhere_says_so(capsys, tmp_path):
    (tmp_path / "job.toml").write_text(
        f'observables = ["energy"]\nstore = "{tmp_path}/s.zarr"\n[grid]\nN = [1]\nF = [0.0]\n'
    )
    assert main(["sweep", str(tmp_path / "job.toml")]) == 2
    assert "NO_DRIVE" in capsys.readouterr().err


def test_a_disk_that_is_full_is_one_line(capsys, monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["steady-state", *MODEL]) == 2
        monkeypatch.undo()
        # What could not be written is still there, and closing would try again.
        with contextlib.suppress(OSError):
            full.close()
    assert capsys.readouterr().err.count("\n") == 1
