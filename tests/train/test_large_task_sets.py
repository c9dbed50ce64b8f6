"""Task sets of thousands, such as the seeds of generated levels."""

from __future__ import annotations

import tracemalloc

import listed_tasks
import numpy as np
import pytest

from ldm_envs import FiniteTaskSet
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.common.notices import settings_without_use
from train.config.presets import resolve


@pytest.mark.parametrize(("n", "evaluated"), [(1000, 1000), (1001, 5)])
def test_a_sample_of_a_large_set_is_evaluated(
    monkeypatch: pytest.MonkeyPatch, n: int, evaluated: int
) -> None:
    """Each task is an environment: 100,000 seeds were as many environments."""
    lengths = (2.0 + np.arange(n) / 1000).tolist()
    monkeypatch.setitem(listed_tasks.TASKS, "train", lengths)
    EnvSource.facts.cache_clear()
    config = resolve("listed_tasks:pendulum", "rl2", eval_tasks=5)
    tasks = evaluation_tasks(config)
    train, test = tasks["train"], tasks["test"]
    assert train is not None and test is not None
    assert len(np.unique(train)) == len(train) == evaluated
    assert set(train.ravel()) <= set(np.float32(lengths)) and len(test) == 2
    assert np.ptp(train) > 0.2 * np.ptp(lengths)  # not the first ones
    again = evaluation_tasks(config)["train"]
    np.testing.assert_array_equal(train, again)  # type: ignore[arg-type]
    assert ("eval_tasks" in settings_without_use(config)) == (evaluated == n)
    EnvSource.facts.cache_clear()


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
