"""Gymnasium's batches take the reset mask out of the options that they are given."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import ldm_envs  # noqa: F401  registers the ids
from ldm_wrappers.vector import MultiEpisodeWrapper
from train.common.guard import FiniteCheckWrapper
from train.plots.video import _Camera

LIMIT = 5


class Declared(gym.Env[Any, Any]):
    """Declares a limit of five steps, and may go on for ever."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(self, ends: bool) -> None:
        self.ends, self.t = ends, 0

    def _shown(self) -> Any:
        return np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._shown(), {"task": self._shown()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        over = self.ends and self.t >= LIMIT
        return self._shown(), 0.0, False, over, {"task": self._shown()}


@pytest.mark.parametrize("kind", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("endless", range(3))
def test_a_worker_without_an_end_is_noticed_beside_others_that_restart(
    kind: Any, endless: int
) -> None:
    batch = kind(
        [lambda index=index: Declared(index != endless) for index in range(3)],
        autoreset_mode=AutoresetMode.DISABLED,
    )
    batch.max_episode_steps = LIMIT
    env = MultiEpisodeWrapper(FiniteCheckWrapper(batch), 2, check_tasks=False)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"workers \[{endless}\] continue after {LIMIT}"):
        for _ in range(3 * LIMIT):
            env.step(np.zeros(3, np.int64))
    env.close()


def test_the_last_frame_of_a_film_is_of_the_task_that_was_filmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not of the one that is drawn as the meta-episode after it begins."""
    filmed = gym.make("LDM-GridNavi-v0", render_mode="ansi")
    batch = SyncVectorEnv([lambda: filmed], autoreset_mode=AutoresetMode.DISABLED)
    camera = _Camera(FiniteCheckWrapper(batch), filmed)
    monkeypatch.setattr(camera, "_frame", filmed.render)  # text instead of pixels
    env = MultiEpisodeWrapper(camera, 2)
    env.reset(seed=1, options={"task": np.array([[4, 5]], np.float32)})
    first, right, over = str(camera.frames[0]), 2, False
    assert first.count("G") == 1
    while not over:
        _, _, terminated, truncated, _ = env.step(np.full(1, right))
        over = bool((terminated | truncated)[0])
    last = str(camera.frames[-1])
    assert last.index("G") == first.index("G")
    assert last.splitlines()[-1].split() == [*"......A"]
