"""A custom family of hidden tasks: a point on a plane that looks for a hidden goal."""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ldm_envs import FiniteTaskSet, TaskDistribution, check_family
from ldm_wrappers.sb3 import SequenceRecurrentPPO, WholeSequenceLstmPolicy, imagine

CORNERS = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
SIDES = [[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]]


class PointGoal(gym.Env[Any, Any]):
    """Walk to a hidden goal; the reward is the negative distance to it."""

    task_distribution = TaskDistribution(
        {
            "train": FiniteTaskSet(CORNERS),
            "test": FiniteTaskSet(SIDES),
            "all": FiniteTaskSet(CORNERS + SIDES),
        },
        ("x (m)", "y (m)"),
    )

    def __init__(self, split: str = "train") -> None:
        self.split = split
        self.observation_space = spaces.Box(-5, 5, (2,), np.float32)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)
        self.task: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)  # seed first, then draw the task
        options = options or {}
        if "task" in options:
            self.task = self.task_distribution.validate(options["task"])
        elif self.task is None or not options.get("keep_task"):
            self.task = self.task_distribution[self.split].sample(self.np_random, 1)[0]
        self.position = np.zeros(2, np.float32)
        return self.position.copy(), {"task": self.task.copy()}

    def step(self, action: Any) -> Any:
        moved = self.position + 0.2 * np.clip(action, -1, 1)
        self.position = np.clip(moved, -5, 5).astype(np.float32)
        distance = float(np.linalg.norm(self.position - self.task))
        info = {"task": self.task.copy(), "is_success": distance < 0.2}
        return self.position.copy(), -distance, False, False, info


def make(split: str = "train") -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(PointGoal(split), 20)


def main(total_timesteps: int) -> None:
    check_family(make)  # raises an error with the fix if the protocol is violated
    vec_env, callback = imagine(make, n_episodes=2, n_mixture=2)
    agent = SequenceRecurrentPPO(WholeSequenceLstmPolicy, vec_env, n_steps=40, batch_size=None)
    agent.learn(total_timesteps, callback=callback)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=100_000)
    main(**vars(parser.parse_args()))
