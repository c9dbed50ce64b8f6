"""Task sets of thousands, such as the seeds of generated levels."""

from __future__ import annotations

import tracemalloc

import numpy as np

from ldm_envs import FiniteTaskSet


def test_many_tasks_are_looked_up_in_a_large_set_in_little_memory() -> None:
    """All pairs were compared in one array: 3 GB for a thousand tasks and 100,000 seeds."""
    seeds = FiniteTaskSet(np.arange(20_000)[:, None], tolerance=0.0)
    asked = np.arange(19_500, 20_500, dtype=np.float32)
    tracemalloc.start()
    inside = seeds.contains(asked[:, None])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(inside, asked < 20_000)
    assert peak < 100e6
    assert seeds.contains(asked.reshape(50, 20, 1)).shape == (50, 20)
    assert seeds.contains(np.zeros((0, 1))).shape == (0,)
