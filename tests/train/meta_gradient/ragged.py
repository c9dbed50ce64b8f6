"""A family whose episodes end at different steps, and which writes down what happened in them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from train.meta_gradient.policy import MetaPolicy, Parameters

LENGTH = 6


class Ragged(gym.Env[Any, Any]):
    """Reward -(action - task)²; 2 to 6 steps; ``episodes`` holds the rows of each episode."""

    observation_space = gym.spaces.Box(-3, 3, (2,), np.float32)
    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)

    def __init__(self) -> None:
        self.task = np.zeros(1, np.float32)
        self.episodes: list[dict[str, Any]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        options = options or {}
        if "task" in options:
            self.task = np.asarray(options["task"], np.float32)
        elif not options.get("keep_task"):
            self.task = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        self.left = int(self.np_random.integers(2, LENGTH + 1))
        self.episodes.append({"task": self.task, "length": self.left, "steps": []})
        self.seen = self._look()
        return self.seen, {"task": self.task}

    def step(self, action: Any) -> Any:
        reward = -float((action[0] - self.task[0]) ** 2)
        self.episodes[-1]["steps"].append((self.seen, action[0], reward))
        self.left -= 1
        self.seen = self._look()
        return self.seen, reward, self.left == 0, False, {"task": self.task}

    def _look(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


def ragged(n: int) -> Any:
    return SyncVectorEnv([Ragged] * n, autoreset_mode=AutoresetMode.DISABLED)


def ragged_policy(seed: int = 0) -> tuple[MetaPolicy, Parameters]:
    """A policy that leaves the action bounds now and then."""
    spaces = Ragged.observation_space, Ragged.action_space
    policy = MetaPolicy(*spaces, (4,), log_std_init=0.5, action_scale=2.0, dtype=torch.float64)
    return policy, policy.initial_parameters(torch.Generator().manual_seed(seed))
