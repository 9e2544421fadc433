"""Claims on the chunks of a store: one owner each, and none that outlives its owner for long."""

import os
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from sweeping import GRID, ONE, sweep

import qbjax as qb
from qbjax.sweeps import claims
from qbjax.sweeps.claims import LEASE, Claims
from qbjax.sweeps.run import Run

SMALL = {"F": [0.3, 2.0], "gamma_C": GRID["gamma_C"]}


def test_one_owner_at_a_time(tmp_path):
    one, other = Claims(tmp_path / "s.zarr"), Claims(tmp_path / "s.zarr")
    assert other.held() == set()
    with one.claimed("3") as ours:
        assert ours
        assert other.held() == {"3"}
        with other.claimed("3") as again, other.claimed("4") as free:
            assert not again
            assert free
            assert one.held() == {"3", "4"}
        # What was not got is not given back.
        assert other.held() == {"3"}
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_given_back_where_its_owner_fails(tmp_path):
    mine = Claims(tmp_path / "s.zarr")
    with pytest.raises(ZeroDivisionError), mine.claimed("0"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("owner", "age", "holds"),
    [
        ("elsewhere 1 x", 0.5 * LEASE, True),
        ("elsewhere 1 x", 1.5 * LEASE, False),
        ("here", 0.5 * LEASE, True),
        ("here", 1.5 * LEASE, False),
        ("half", 0.5 * LEASE, True),
        ("ended", 0.0, False),
        ("", 0.0, True),
    ],
)
def test_a_claim_holds_while_its_owner_lives(tmp_path, owner, age, holds):
    mine = Claims(tmp_path / "s.zarr")
    mine.path.mkdir()
    pid = {"here": os.getpid(), "ended": ended_process()}.get(owner)
    claim = mine.path / "7"
    claim.write_text(owner if pid is None else f"{claims._this_machine()} {pid} x")
    os.utime(claim, (time.time() - age,) * 2)
    assert mine.held() == ({"7"} if holds else set())
    with mine.claimed("7") as ours:
        assert ours != holds


def test_an_owner_gives_back_no_claim_but_its_own(tmp_path):
    mine = Claims(tmp_path / "s.zarr")
    with mine.claimed("7"):
        (mine.path / "7").write_text("another one's")
    assert (mine.path / "7").read_text() == "another one's"


def test_what_is_no_claim_is_left_alone_or_cleared_up(tmp_path):
    mine = Claims(tmp_path / "s.zarr")
    with mine.claimed("7"):
        for name, age in ((".DS_Store", 1.0), ("old.clock", 2 * LEASE)):
            (mine.path / name).write_bytes(b"\xff")
            os.utime(mine.path / name, (time.time() - age,) * 2)
        assert mine.held() == {"7"}
        assert not (mine.path / "old.clock").exists()
        assert (mine.path / ".DS_Store").exists()


def test_owners_touch_their_claims(tmp_path):
    claim = tmp_path / "7"
    claim.touch()
    os.utime(claim, (1.0, 1.0))
    waited = []

    class Twice:
        def wait(self, seconds):
            waited.append(seconds)
            return len(waited) > 1

    claims._touch(claim, Twice())
    assert claim.stat().st_mtime > 1.0
    assert max(waited) < LEASE / 2


def test_a_new_claim_is_not_taken_for_the_old_one(tmp_path, monkeypatch):
    """Between the look at a dead claim and its removal another process has done both."""
    mine = Claims(tmp_path / "s.zarr")
    mine.path.mkdir()
    claim = mine.path / "7"
    claim.write_text("the dead one")

    def meanwhile(owner):
        claim.write_text("a new one")
        return True

    monkeypatch.setattr(claims, "_is_gone", meanwhile)
    assert mine.held() == {"7"}
    assert [(each.name, each.read_text()) for each in mine.path.iterdir()] == [("7", "a new one")]


def test_what_another_process_is_at_work_on_is_waited_for(tmp_path, monkeypatch):
    store, computed, solve = tmp_path / "s.zarr", [], Run.solve
    whole = sweep(ONE, SMALL)
    # A first call makes the store and is stopped.
    monkeypatch.setattr(Run, "solve", lambda run, number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep(ONE, SMALL, store=store, chunk_size=2)

    def counted(run, number):
        computed.append(number)
        return solve(run, number)

    monkeypatch.setattr(Run, "solve", counted)
    other = Claims(store).claimed("1")
    other.__enter__()
    waits = []

    def wait(seconds):
        waits.append(list(computed))
        other.__exit__(None, None, None)

    clock = types.SimpleNamespace(sleep=wait, perf_counter=time.perf_counter)
    monkeypatch.setattr("qbjax.sweeps.sweep.time", clock)
    found = sweep(ONE, SMALL, store=store, chunk_size=2)
    assert waits == [[0, 2, 3]]
    assert computed == [0, 2, 3, 1]
    np.testing.assert_allclose(found.energy, whole.energy, rtol=1e-12)


def test_a_store_that_is_worked_on_is_not_replaced(tmp_path):
    store = tmp_path / "s.zarr"
    sweep(ONE, SMALL, store=store)
    with Claims(store).claimed("0"):
        with pytest.raises(qb.ArgumentError, match="`overwrite` must be False while a process is"):
            sweep(ONE, SMALL, store=store, overwrite=True)
        # What is done is there to be read.
        sweep(ONE, SMALL, store=store)
    sweep(ONE, SMALL, store=store, overwrite=True)
