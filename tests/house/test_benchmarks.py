"""The benchmarks' own rules: what a contest notes, and that the tables are those of the files."""

import json
import math
import sys
import time
from pathlib import Path

import pytest

import qbjax as qb

# They are no part of what is installed. Last, so that qbjax is what is installed.
sys.path.append(str(Path(__file__).parents[2]))

from benchmarks import compare, correctness, measure, report
from benchmarks.cases import CASES


def test_the_readmes_table_is_that_of_the_results():
    text = report.SHORT.read_text()
    between = text.partition(report.MARKS[0])[2].partition(report.MARKS[1])[0]
    results = report.load(report.RESULTS / "cpu")
    assert set(results) == set(CASES)
    assert between.strip() == report.short_table(results)
    page = (report.RESULTS / "README.md").read_text()
    for found in results.values():
        assert report.table(found) in page
        assert not found["made"]["smoke"]
        assert found["made"]["versions"]["qbjax"]
        assert found["made"]["commit"]
        assert "dirty" not in found["made"]["commit"]


def test_a_contest_takes_turns_and_notes_who_fails(monkeypatch):
    calls = []

    def good():
        calls.append("good")
        return 2.0

    def bad():
        raise ValueError("no answer\nat all")

    def silent():
        raise MemoryError

    def slow():
        calls.append("slow")
        return 3.0

    ticks = iter(range(0, 1000))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: float(next(ticks)))
    contest = measure.Contest(3)
    rows = contest.rows(
        {"N": 1}, {"good": good, "bad": bad, "slow": slow, "silent": silent}, lambda x: x - 2
    )
    assert calls == ["good", "slow"] * 4
    assert [row.error for row in rows] == [0.0, None, 1.0, None]
    assert (rows[0].seconds, rows[0].low, rows[0].high, rows[0].runs) == (1.0, 1.0, 1.0, 3)
    assert [rows[i].note for i in (1, 3)] == ["ValueError: no answer", "MemoryError: no message"]
    assert [row.who for row in contest.rows({"N": 2}, {"bad": bad}, abs)] == []


def test_what_takes_too_long_is_run_once(monkeypatch):
    monkeypatch.setattr(measure, "LIMIT", 0.0)
    monkeypatch.setattr(measure, "LAST", 0.0)
    contest = measure.Contest(3)
    (row,) = contest.rows({"N": 1}, {"any": time.monotonic}, lambda x: 0.0)
    assert row.runs == 1
    assert contest.out == {"any"}


def test_only_what_is_right_is_compared():
    def row(who, seconds, error):
        return {"who": who, "at": {"N": 8}, "seconds": seconds, "error": error}

    def compared(*rows):
        last = report.short_table({"optimum": {"rows": list(rows)}}).splitlines()[-1]
        return last.partition("| 0.0001 | ")[2]

    ours, wrong, right = row("qbjax a", 1.0, 1e-9), row("quick", 0.1, 1e-3), row("right", 5.0, 1e-8)
    assert compared(ours, wrong, right) == "a: 1 s | right: 5 s | 5 |"
    assert compared(ours, wrong) == "a: 1 s | none |  |"
    assert compared(ours, row("unmeasured", 0.1, None)) == "a: 1 s | none |  |"
    assert compared(row("qbjax b", 0.1, 1e-2), right) == "none | right: 5 s |  |"
    assert compared(row("qbjax b", 0.1, 1e-2), ours, right) == "a: 1 s | right: 5 s | 5 |"
    assert compared(ours, row("quick", 0.5, 1e-9)) == "a: 1 s | quick: 500 ms | **1/2** |"
    assert compared(row("qbjax a", None, None), right) == "none | right: 5 s |  |"


def test_the_change_between_two_results(tmp_path):
    row = {"who": "qbjax", "at": {"N": 8}, "seconds": 1.0, "error": 1e-9}
    for name, seconds in (("old", 1.0), ("new", 2.0), ("none", None)):
        (tmp_path / name).write_text(json.dumps({"rows": [row | {"seconds": seconds}]}))
    (line,) = compare.changes(tmp_path / "old", tmp_path / "new")
    assert line == "qbjax {'N': 8}: 1 s -> 2 s, 2.00 times, error 1.0e-09 -> 1.0e-09"
    assert compare.changes(tmp_path / "old", tmp_path / "none") == [
        "qbjax {'N': 8}: 1 s -> no time"
    ]


def test_what_is_slower_on_a_gpu():
    def found(*times):
        rows = [
            {"who": "a", "at": {"N": N}, "seconds": t}
            for N, t in zip((1, 2, 4), times, strict=True)
        ]
        return {"scaling": {"rows": rows}}

    table = report.crossovers(found(1.0, 2.0, 8.0), found(3.0, 4.0, 5.0))
    assert table.splitlines()[2:] == ["| scaling | a | N = 2 | 2 s | 4 s |"]
    everywhere = report.crossovers(found(1.0, 2.0, 4.0), found(3.0, 4.0, 5.0))
    assert everywhere.splitlines()[2:] == ["| scaling | a | N = 4 (the largest) | 4 s | 5 s |"]
    assert report.crossovers(found(1.0, 2.0, 8.0), found(0.5, None, 5.0)).count("\n") == 1


def test_the_short_table_has_all_sizes_at_which_a_peer_wins():
    def rows(N, ours, theirs):
        return [
            {"who": who, "at": {"N": N}, "seconds": seconds, "error": error}
            for who, seconds, error in (("qbjax a", ours, 1e-9), ("b", theirs, 1e-9))
        ]

    sizes = [rows(1, 1, 2), rows(2, 1, 3), rows(4, 2, 1), rows(8, 1, 2), rows(16, 1, None)]
    results = {"steady_unique": {"rows": [row for pair in sizes for row in pair]}}
    lines = report.short_table(results).splitlines()[2:]
    assert [line.split("|")[1].split("= ")[1].strip() for line in lines] == ["1", "4", "8", "16"]


@pytest.mark.parametrize(("N", "F"), [(1, 0.5), (2, 2.0), (5, 0.3)])
def test_the_reference_of_the_correctness_table(N, F):
    ratio = float(qb.steady_state(qb.StarBattery(N=N, F=F)).ratio)
    assert math.isclose(correctness.exact_ratio(N, F), ratio, rel_tol=1e-12)
