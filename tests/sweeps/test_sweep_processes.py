"""Sweeps in other processes: killed, on two devices, shared by two, and without room."""

import functools
import json
import os
import random
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray

import qbjax as qb

pytestmark = pytest.mark.slow

GRID = {"N": [1, 2, 5], "F": [0.3, 2.0], "gamma_C": [0.05, 0.4, 3.0, 7.0, 40.0]}
NAMES = ("energy", "ergotropy", "tau_decay_rate", "tau_star_decay_rate", "tau_settling")
DETUNED = {"N": [3], "F": [0.8, 1.0], "gamma_C": [0.4, 3.0, 9.0, 20.0]}
LEAKY = {"N": [1, 2], "gamma_C": [0.4, 3.0, 9.0], "kappa": [0.1]}

SCRIPT = """
import functools, json, os, sys
import jax
import qbjax as qb
given = json.loads(sys.argv[1])
if "process" in given:
    jax.distributed.initialize(given["address"], 2, given["process"])
if "limit" in given:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (given["limit"], given["limit"]))
from qbjax.sweeps.run import Run
numbers, solve = [], Run.solve
def counted(run, number):
    if len(numbers) == given.get("stop"):
        sys.exit(3)
    if given.get("fails") == given.get("process", ""):
        raise OSError("the disk is gone")
    numbers.append(number)
    if "log" in given:
        with open(given["log"], "a") as log:
            log.write(f"{number}\\n")
    return solve(run, number)
Run.solve = counted
for store, fixed, grid, names in given["sweeps"]:
    model = functools.partial(qb.StarBattery, **fixed)
    chunk = given.get("chunk_size")
    qb.sweep(model, grid, names, store=store, chunk_size=chunk, progress=False)
print(len(jax.devices()), jax.process_count(), len(numbers))
"""


def start(given, **environment):
    command = [sys.executable, "-c", SCRIPT, json.dumps(given)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # As a user does it: what the tests' own flags are does not matter here.
    flags = {"XLA_FLAGS": "", **environment}
    return subprocess.Popen(command, env=os.environ | flags, **pipes)


def finish(process):
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    return [int(word) for word in out.split()[-3:]]


def opened(path):
    return xarray.open_zarr(path, chunks=None, consolidated=False)


def check_same(path, grid, names, fixed, rtol):
    model = functools.partial(qb.StarBattery, **fixed)
    whole = qb.sweep(model, grid, names, progress=False)
    found = opened(path)
    np.testing.assert_array_equal(found.done, 1)
    for name in whole.data_vars:
        np.testing.assert_allclose(found[name], whole[name], rtol=rtol, err_msg=str(name))


def test_two_devices_give_the_numbers_of_one(tmp_path):
    sweeps = [
        (str(tmp_path / "exact.zarr"), {}, GRID, NAMES),
        (str(tmp_path / "long.zarr"), {"N": 3, "F": 0.5}, {"gamma_C": GRID["gamma_C"]}, NAMES[:4]),
        (str(tmp_path / "leaky.zarr"), {"F": 0.5}, LEAKY, NAMES[:2]),
        (str(tmp_path / "detuned.zarr"), {"omega_C": 1.3}, DETUNED, ("tau_settling", "energy")),
    ]
    devices = "--xla_force_host_platform_device_count=2"
    assert finish(start({"sweeps": sweeps}, XLA_FLAGS=devices))[:2] == [2, 1]
    for path, fixed, grid, names in sweeps:
        check_same(path, grid, names, fixed, 1e-12)


def start_both(sweeps, **more):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    shared = {"sweeps": sweeps, "address": address, "chunk_size": 4, **more}
    return [start(shared | {"process": number}) for number in (0, 1)]


def test_two_processes_share_a_sweep(tmp_path):
    sweeps = [(str(tmp_path / "s.zarr"), {}, GRID, NAMES[:3])]
    both = start_both(sweeps)
    # 2 devices and 2 processes in all, and each of 12 chunks is computed once.
    one, other = (finish(process) for process in both)
    assert one[:2] == other[:2] == [2, 2]
    assert one[2] + other[2] == 12
    assert min(one[2], other[2]) > 0
    check_same(*(sweeps[0][i] for i in (0, 2, 3, 1)), 1e-12)


def test_a_process_that_fails_does_not_leave_the_other_waiting(tmp_path):
    sweeps = [(str(tmp_path / "s.zarr"), {}, GRID, NAMES[:3])]
    both = start_both(sweeps, fails=1)
    # Well below the five minutes after which JAX gives up.
    said = [process.communicate(timeout=120)[1] for process in both]
    assert all(process.returncode != 0 for process in both)
    assert "RuntimeError: Processes [1] of the sweep failed; what is done is kept" in said[0]
    assert "OSError: the disk is gone" in said[1]
    # The other one has done what was left to do.
    assert done_in(tmp_path / "s.zarr") == 12
    for process in start_both(sweeps):
        finish(process)
    check_same(*(sweeps[0][i] for i in (0, 2, 3, 1)), 1e-12)


def done_in(path):
    """The number of chunks that are done."""
    return len([name for name in os.listdir(os.path.join(path, "done", "c")) if name.isdigit()])


@pytest.mark.parametrize("apart", [0.0, 0.3, 2.0])
def test_processes_that_know_nothing_of_each_other_share_fresh_stores(tmp_path, apart):
    sweeps = [(str(tmp_path / f"{i}.zarr"), {}, GRID, NAMES[:1]) for i in range(7)]
    four = []
    for _ in range(4):
        four.append(start({"sweeps": sweeps, "chunk_size": 4}))
        time.sleep(apart)
    found = [finish(process) for process in four]
    assert all(each[:2] == [1, 1] for each in found)
    # Every chunk was computed by one of them.
    assert sum(each[2] for each in found) == 7 * 12
    assert sum(each[2] > 0 for each in found) >= 2
    for path, fixed, grid, names in sweeps:
        check_same(path, grid, names, fixed, 1e-12)
    assert sorted(os.listdir(tmp_path)) == [f"{i}.zarr" for i in range(7)]


def test_others_do_what_those_that_are_killed_leave(tmp_path):
    path, grid = tmp_path / "s.zarr", GRID | {"gamma_C": list(np.geomspace(0.01, 10, 80))}
    log = tmp_path / "log"
    given = {"sweeps": [(str(path), {}, grid, NAMES[:3])], "chunk_size": 1, "log": str(log)}
    draw, kills = random.Random(3), 20
    working = [start(given) for _ in range(3)]
    for _ in range(kills):
        time.sleep(draw.uniform(0.0, 1.5))
        victim = working.pop(draw.randrange(3))
        victim.kill()
        victim.communicate()
        working.append(start(given))
    for process in working:
        finish(process)
    computed = [int(line) for line in log.read_text().split()]
    assert set(computed) == set(range(480))
    # Once each, but for what a killed process was at work on.
    assert len(computed) <= 480 + kills
    check_same(path, grid, NAMES[:3], {}, 1e-12)
    assert sorted(os.listdir(tmp_path)) == ["log", "s.zarr"]


def test_killed_at_any_time_it_goes_on_and_ends_the_same(tmp_path):
    path, grid = tmp_path / "s.zarr", GRID | {"gamma_C": list(np.geomspace(0.01, 10, 80))}
    given = {"sweeps": [(str(path), {}, grid, NAMES[:3])], "chunk_size": 1}
    draw, before = random.Random(7), 0
    for kill in range(20):
        process = start(given)
        if kill % 4 == 0:
            # While it imports, compiles or makes the store.
            time.sleep(draw.uniform(0.0, 6.0))
        else:
            # While it writes.
            until = time.monotonic() + 60
            while not (path / "done" / "c").exists() or done_in(path) == before:
                assert time.monotonic() < until
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        done = done_in(path) if (path / "done" / "c").exists() else 0
        assert done >= before
        before = done
    assert 0 < before < 480
    finish(start(given))
    check_same(path, grid, NAMES[:3], {}, 1e-12)


def test_a_full_disk_loses_nothing(tmp_path):
    # A limit on the size of files stands for the disk: 20 kB of the second chunk do not fit.
    grid = {"F": list(np.linspace(1.0, 0.1, 90)), "gamma_C": list(np.geomspace(0.01, 10, 100))}
    given = {"sweeps": [(str(tmp_path / "s.zarr"), {"N": 2}, grid, ["relaxation_time"])]}
    # One chunk of two is there already.
    stopped = start(given | {"stop": 1})
    stopped.communicate(timeout=200)
    assert stopped.returncode == 3
    assert done_in(tmp_path / "s.zarr") == 1
    process = start(given | {"limit": 16_000})
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("OSError")
    assert done_in(tmp_path / "s.zarr") == 1
    assert "make room and call again with the same store" in last
    finish(start(given))
    check_same(given["sweeps"][0][0], grid, ("relaxation_time",), {"N": 2}, 1e-12)
