"""How a grid is cut into chunks and padded."""

import numpy as np
import pytest
from sweeping import GRID

import qbjax as qb
from qbjax.sweeps import points
from qbjax.sweeps import run as runs
from qbjax.sweeps.grid import Chunks, Grid
from qbjax.sweeps.job import Job


@pytest.mark.parametrize("most", [1, 2, 3, 5, 24, 1000])
def test_chunks_cover_every_point_once(most):
    for together in (False, True):
        values = {"N": range(1, 13), "F": np.arange(12), "gamma_C": np.linspace(1, 2, 12)}
        grid = Grid(values, together)
        shape = grid.chunk_shape(most)
        assert np.prod(shape) <= most
        seen = np.zeros(tuple(grid.axes.values()), int)
        chunks = Chunks(seen.shape, shape)
        for part in chunks:
            seen[part] += 1
        np.testing.assert_array_equal(seen, 1)
        assert len(chunks) <= 2.1 * max(seen.size / most, 1) + 3


def test_few_padded_sizes():
    for largest, smallest in ((64, 8), (1000, 64), (5, 8), (10**6, 1)):
        N = np.unique(np.geomspace(1, largest, 200).astype(int))
        grid = Grid({"N": N}, False)
        sizes = {grid.padded_size(each, smallest) for each in N}
        # Few below 4096, and from there on one for every factor of 2.
        assert sum(size < 4096 for size in sizes) <= 6
        assert len(sizes) <= 6 + max(0, np.log2(largest / 4096) + 1)
        assert all(each <= grid.padded_size(each, smallest) <= largest for each in N)
        assert largest in sizes
    assert {Grid({"N": [64, 20, 3]}, False).padded_size(N, 8) for N in (64, 20, 3)} == {64, 32, 8}


def test_chunks_go_by_the_memory_that_they_need(monkeypatch):
    job = Job(qb.StarBattery, Grid(GRID, False), (qb.grad_of("energy", "F"),), "auto", None)
    run = runs.Run.of(job, None)
    assert run.fitting() is run
    needed = points.program(run._question(0), run._points(0))[1]
    assert needed > 0
    monkeypatch.setattr(runs, "_WORK", needed / 4)
    smaller = run.fitting()
    assert np.prod(smaller.shape) <= 6
    assert points.program(smaller._question(0), smaller._points(0))[1] < needed / 2
