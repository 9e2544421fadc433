"""The reproduction of the paper: its numbers, its files, and what happens when it is interrupted.

The expected numbers stand in the literature or were computed independently (QuTiP, 80-digit
arithmetic), not by this code.
"""

import json

import numpy as np
import pytest

import qbjax as qb
from qbjax.common.checks import ArgumentError
from qbjax.model.batching import enable_x64
from qbjax.paper import (
    FIGURES,
    costs,
    extended_ratio,
    extended_time,
    fig3,
    fig4,
    fig5,
    fig7,
    late,
    laws,
    read_table,
    reproduce,
    reproduction,
    store,
)
from qbjax.paper import claims as claims_room
from qbjax.paper.grids import over_grid, select


@pytest.fixture(scope="module")
def columns():
    return {"3": fig3.data(True), "4": fig4.data(True), "5": fig5.data(True)}


@pytest.fixture(scope="module")
def table(columns):
    return {claim.claim: claim for claim in claims_room.claims(columns)}


@pytest.mark.parametrize(("F_over_g", "a"), [(10.0, 1.379), (0.5, 1.102), (0.2, 1.020)])
def test_deficit(columns, F_over_g, a):
    assert fig3.fit(columns["3"], F_over_g) == pytest.approx(a, abs=5e-4)


def test_trial_states(table):
    assert float(table["mu at N = 8, F/g = 10"].qbjax) == pytest.approx(-0.637, abs=5e-4)
    assert float(table["alpha/beta"].qbjax) == pytest.approx(0.1, abs=0.005)
    zeta, alpha = float(table["zeta"].qbjax), float(table["alpha"].qbjax)
    assert zeta - alpha == pytest.approx(0.0335, abs=2e-4)
    fidelities = [float(c.qbjax) for name, c in table.items() if name.startswith("fidelity")]
    assert fidelities == pytest.approx([0.9248, 0.9185], abs=1e-4)
    assert 2 * float(table["|xi_1|"].qbjax) == pytest.approx(5.319, abs=2e-3)


def test_verdicts(table):
    assert table["a of 1 - a/N at F/g = 10"].agrees == "yes"
    assert table["alpha"].agrees == "no"
    assert table["alpha/beta"].agrees == "within"
    assert table["delta <= a <= 2"].agrees == "yes"
    assert table["The ratio grows with N, and is largest for the weak drive"].agrees == "yes"


def fit_table(tau_strong, tau_middle, tau_lowest, tau_weak):
    rows = [(10.0, 0, tau_strong), (0.5, 0, tau_middle), (0.5, 1, tau_lowest), (0.2, 0, tau_weak)]
    parts = [
        {"F_over_g": F, "branch": b, "N": i + 1, "tau": t, "gamma_C": 1 / t, "status": 0}
        for F, b, taus in rows
        for i, t in enumerate(taus)
    ]
    return {name: np.array([part[name] for part in parts], dtype=float) for name in parts[0]}


def test_charging_claims():
    """The laws of the fits, from charging times that were found independently."""
    N = np.arange(1, 5)
    columns = fit_table(
        2.19 * np.sqrt(N), [2.96, 6.1, 21.9, 60.3], [2.96, 5.08, 20.5, 39.8], 0.629 * N**6.477
    )
    assert fig7.fit(columns, 0.5, fig7.CONTINUOUS) == pytest.approx((0.52, 3.43), abs=0.01)
    assert fig7.fit(columns, 0.5, fig7.LOWEST) == pytest.approx((1.22, 2.52), abs=0.01)
    verdicts = {c.claim: c.agrees for c in claims_room.claims({"7": columns})}
    assert verdicts["exponent of tau* ~ N^b at F/g = 10"] == "no"
    assert verdicts["c of tau* = c N^b at F/g = 0.2"] == "yes"
    assert verdicts["b of tau* = c N^b at F/g = 0.2"] == "within"


@pytest.mark.parametrize(
    ("F_over_g", "limit"),
    [(0.2, 1.0200), (0.5, 1.1238), (1, 1.4482), (2, 1.8046), (5, 1.9205), (10, 1.9601)],
)
def test_limit_of_large_n(F_over_g, limit):
    assert laws.deficit_limit(F_over_g) == pytest.approx(limit, abs=5e-5)


@pytest.mark.slow
def test_extended_range_in_groups_is_one_by_one():
    sizes = [1, 2, 15, 20, 70, 80]
    columns = over_grid(extended_ratio._solve, [0.5, 10.0], sizes)
    alone = [over_grid(extended_ratio._solve, [10.0], [N])["ratio"][0] for N in sizes]
    assert select(columns, F_over_g=10.0)["ratio"] == pytest.approx(alone, rel=1e-11)


def test_growth_of_the_charging_time():
    columns = over_grid(extended_time._solve, [0.5, 2.0, 3.0, 10.0], [4, 8, 16, 32, 60, 64])
    found = {c.claim: c for c in claims_room.claims({"time": _with_weak(columns)})}
    assert found["tau* follows a power law at F/g = 0.5"].agrees == "no"
    exponent = float(found["exponent of tau* ~ N^b at F/g = 10, N = 1...64, by decay rate"].qbjax)
    assert exponent == pytest.approx(0.5, abs=0.03)


def _with_weak(columns):
    middle = select(columns, F_over_g=0.5)
    weak = middle | {"F_over_g": np.full(middle["N"].size, 0.2)}
    return {name: np.concatenate([columns[name], weak[name]]) for name in columns}


def test_csv_round_trip_redraws(columns, tmp_path):
    path = tmp_path / "fig4.csv"
    store.write_table(path, columns["4"], store.header("4", True))
    read = read_table(path)
    for name, values in columns["4"].items():
        np.testing.assert_array_equal(read[name], np.asarray(values))
    store.write_pictures(path, fig4.plot(read))
    assert (tmp_path / "fig4.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "fig4.pdf").read_bytes().startswith(b"%PDF")


def test_a_table_of_another_precision_is_not_up_to_date(tmp_path):
    path = tmp_path / "t.csv"
    with enable_x64(False):
        store.write_table(path, {"x": np.ones(2)}, store.header("3", True))
        assert store.is_current(path, store.header("3", True))
    assert not store.is_current(path, store.header("3", True))


def test_nan_survives_the_table(tmp_path):
    store.write_table(tmp_path / "t.csv", {"x": np.array([1.0, np.nan, np.inf])}, {})
    np.testing.assert_array_equal(read_table(tmp_path / "t.csv")["x"], [1.0, np.nan, np.inf])


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "claims.json"
    store.write_atomic(path, b"old")

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.os, failing, fail)
    with pytest.raises(KeyboardInterrupt):
        store.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["claims.json"]


class Counted:
    """A cheap figure that counts how often it is computed and drawn."""

    def __init__(self):
        self.computed = self.drawn = 0
        self.fails = False

    def data(self, quick):
        self.computed += 1
        return fig3.data(quick)

    def plot(self, columns):
        self.drawn += 1
        if self.fails:
            raise RuntimeError
        return fig3.plot(columns)


@pytest.fixture
def counted(monkeypatch):
    figure = Counted()
    monkeypatch.setitem(reproduction._FIGURES, "3", ("fig3", "Fig. 3", figure))
    return figure


def test_what_is_there_is_kept(counted, tmp_path):
    first = reproduce(tmp_path, ["3"], quick=True)
    again = reproduce(tmp_path, [3, "3"], quick=True)
    assert (first.computed, first.kept, again.computed, again.kept) == (["3"], [], [], ["3"])
    assert (counted.computed, counted.drawn) == (1, 1)
    assert again.claims == first.claims

    reproduce(tmp_path, ["3"], quick=True, force=True)
    assert counted.computed == 2
    reproduce(tmp_path, ["3"], quick=False)
    assert counted.computed == 3

    (tmp_path / "fig3.pdf").unlink()
    reproduce(tmp_path, ["3"], quick=False)
    assert (counted.computed, counted.drawn) == (3, 4)
    names = {"claims.json", "fig3.csv", "fig3.pdf", "fig3.png", "report.md"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_interrupted_drawing_keeps_the_data(counted, tmp_path):
    counted.fails = True
    with pytest.raises(RuntimeError):
        reproduce(tmp_path, ["3"], quick=True)
    assert [p.name for p in tmp_path.iterdir()] == ["fig3.csv"]
    counted.fails = False
    assert reproduce(tmp_path, ["3"], quick=True).kept == ["3"]
    assert (tmp_path / "fig3.pdf").is_file()


@pytest.mark.parametrize("failing", ["write_table", "write_pictures"])
def test_no_picture_of_one_run_beside_the_table_of_another(counted, tmp_path, monkeypatch, failing):
    """A full run that is interrupted over a quick one, and then a quick one."""
    reproduce(tmp_path, ["3"], quick=True)
    (tmp_path / "fig3.png").write_bytes(b"quick")
    with monkeypatch.context() as patch:
        name, done = failing, getattr(store, failing)

        def interrupted(path, *arguments):
            done(path, *arguments)
            raise KeyboardInterrupt

        patch.setattr(store, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            reproduce(tmp_path, ["3"], quick=False)
    header = (tmp_path / "fig3.csv").read_text().splitlines()[0]
    assert '"quick": false' in header
    assert not (tmp_path / "fig3.png").is_file() or (
        (tmp_path / "fig3.png").read_bytes() != b"quick"
    )
    drawn = counted.drawn
    assert reproduce(tmp_path, ["3"], quick=True).computed == ["3"]
    assert counted.drawn == drawn + 1


def test_refuses_wrong_arguments(tmp_path):
    with pytest.raises(ArgumentError, match="`figure`"):
        reproduce(tmp_path, ["8"])
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="`out`"):
        reproduce(tmp_path / "file")


def test_report(tmp_path):
    done = reproduce(tmp_path, [3], quick=True)
    lines = (tmp_path / "report.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == len(done.claims) + 1
    assert "1.379" in "".join(rows)
    loaded = json.loads((tmp_path / "claims.json").read_text())
    assert [line["claim"] for line in loaded] == [c.claim for c in done.claims]


@pytest.mark.slow
def test_whole_quick_reproduction(tmp_path):
    done = reproduce(tmp_path, quick=True, progress=False)
    assert tuple(done.computed) == FIGURES
    assert len(list(tmp_path.glob("*.png"))) == len(list(tmp_path.glob("*.pdf"))) == len(FIGURES)
    number = {c.claim: float(c.qbjax) for c in done.claims if c.relative_difference is not None}
    assert number["exponent of tau* ~ N^b at F/g = 10"] == pytest.approx(0.5, abs=0.01)
    assert number["b of tau* = c N^b at F/g = 0.2"] == pytest.approx(6.477, abs=0.005)
    assert number["c of tau* = c N^b at F/g = 0.2"] == pytest.approx(0.629, abs=0.005)
    label = "of tau* = c N^b at F/g = 0.5, continuous branch"
    assert number[f"b {label}"] == pytest.approx(3.43, abs=0.05)
    assert number[f"c {label}"] == pytest.approx(0.52, abs=0.03)


def test_slow_modes_take_over_where_their_share_last_rises():
    N, share = np.arange(1.0, 6.0), np.array([0.0, 0.6, 0.4, 0.4, 0.8])
    assert extended_time.takeover({"N": N, "slow_share": share}) == pytest.approx(4.25)


def test_dephased_late():
    modes = late.energy_modes(3, 0.5)
    begins, ts = np.array([3.0, 8.0]), np.linspace(0.1, 30.0, 40)
    found, later = late.deficits(modes, 0.9, ts, begins)
    for i, begin in enumerate(begins):
        # By the series of exp(h L), which knows of no modes.
        drive = qb.StarBattery(N=3, F=0.5, gamma_C=qb.PiecewiseConstant([begin], [0.0, 0.9]))
        curve = qb.evolve(drive, begin + ts, method="chebyshev", rtol=1e-11)
        np.testing.assert_allclose(found[:, i], 1 - curve.energy / 1.5, atol=1e-9)
        beyond = qb.evolve(drive, begin + 30.0 + ts, save="energy").energy
        assert np.max(np.abs(1 - beyond / 1.5)) < later[i] < 1


def test_when_a_curve_settles():
    ts = np.arange(1.0, 5.0)
    columns = np.array([[9, 0, 0, 9], [0, 9, 0, np.nan], [9, 0, 0, 0], [0, 0, 0, 9]]).T
    found = late.settling_times(ts, columns, np.zeros(4))
    np.testing.assert_array_equal(found, [np.inf, np.inf, 2.0, np.inf])
    # Only with a bound of what comes later.
    found = late.settling_times(ts, np.zeros((4, 2)), np.array([0.009, 0.02]))
    np.testing.assert_array_equal(found, [1.0, np.inf])


@pytest.mark.slow
def test_late_dephasing_settles_sooner():
    columns = late.data(quick=True)
    row = int(np.flatnonzero(columns["N"] == 4)[0])
    omega, ts = columns["omega"][row], np.arange(1.0, 900.0, 0.1)
    # The slowest frequency, from the rate s^2 - (gamma_C/2) s + omega^2 = 0 of strong dephasing.
    s = float(qb.decay_rate(qb.StarBattery(N=4, F=0.5, gamma_C=1e3)))
    np.testing.assert_allclose(omega**2, s * (500 - s), rtol=1e-6)
    for name in ("constant", "late"):
        gamma_C = columns[f"{name}_gamma_C"][row]
        if name == "late":
            gamma_C = qb.PiecewiseConstant([columns["late_begin"][row]], [0.0, gamma_C])
        energy = qb.evolve(qb.StarBattery(N=4, F=0.5, gamma_C=gamma_C), ts, save="energy").energy
        settled = late.settling_times(ts, 1 - np.asarray(energy)[:, None] / 2, 0.0)[0]
        np.testing.assert_allclose(columns[name][row], settled, atol=0.2)
    # No constant rate on a finer grid does better, to the step of the times.
    modes, quarter = late.energy_modes(1, 0.5), np.pi / (2 * columns["omega"][0])
    ts = quarter * np.arange(1, 6401) / 800
    found = [
        late.settling_times(ts, *late.deficits(modes, rate * columns["omega"][0], ts, np.zeros(1)))
        for rate in np.linspace(1.0, 8.0, 1001)
    ]
    assert columns["constant"][0] <= np.min(found) + quarter / 800
    assert np.all(columns["late"] < columns["constant"] / 1.4)
    assert "1.49 to 2.22 times sooner" in late.notes(columns)[0]


@pytest.mark.slow
def test_costs_and_advantages():
    columns = costs.data(quick=True)
    N = columns["N"]
    np.testing.assert_allclose(columns["energy"] / columns["drive_work"], N / (N + 1), rtol=1e-12)
    row = int(np.flatnonzero((N == 4) & (columns["F_over_g"] == 2.0))[0])
    # The work as it is done, up to a late time.
    energetics = qb.energetics(qb.StarBattery(N=4, F=2.0), [300.0])
    assert columns["drive_work"][row] == pytest.approx(float(energetics.drive_work[0]), abs=1e-6)
    # By a program that shares no code with this one.
    expected = {"charger": 0.481443, "drive": 0.477127, "bonds": 0.914465}
    for resource, value in expected.items():
        assert columns[f"power_same_{resource}"][row] == pytest.approx(value, abs=1e-6)
    assert "the largest advantage in power here is 1.020" in costs.notes(columns)[0]
