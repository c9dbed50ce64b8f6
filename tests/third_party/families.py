"""Third-party environments as families: what a user writes, five lines each."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from ldm_envs import TaskMethodWrapper, TaskSeedWrapper

SEEDS = {"train": range(20), "test": range(20, 24)}


def point_maze(split: str = "train") -> gym.Env[Any, Any]:
    import gymnasium_robotics  # noqa: F401  registers the ids

    env = gym.make("PointMaze_UMaze-v3", continuing_task=False)
    seen = gym.wrappers.FilterObservation(env, ["observation"])
    return TaskSeedWrapper(gym.wrappers.FlattenObservation(seen), SEEDS, split=split)


def four_rooms(split: str = "train") -> gym.Env[Any, Any]:
    from minigrid.wrappers import ImgObsWrapper

    env = ImgObsWrapper(gym.make("MiniGrid-FourRooms-v0"))
    return gym.wrappers.TimeLimit(TaskSeedWrapper(env, SEEDS, split=split), 100)


def dm_reacher(split: str = "train") -> gym.Env[Any, Any]:
    import shimmy  # noqa: F401  registers the ids

    env = gym.make("dm_control/reacher-easy-v0", max_episode_steps=100)
    seen = gym.wrappers.FilterObservation(env, ["position", "velocity"])
    return TaskSeedWrapper(gym.wrappers.FlattenObservation(seen), SEEDS, split=split)


def parking(split: str = "train") -> gym.Env[Any, Any]:
    import highway_env  # noqa: F401  registers the ids

    env = gym.make("parking-v0", max_episode_steps=50)
    seen = gym.wrappers.FilterObservation(env, ["observation"])
    return TaskSeedWrapper(gym.wrappers.FlattenObservation(seen), SEEDS, split=split)


def hopper_masses(split: str = "train") -> gym.Env[Any, Any]:
    def set_mass(env: Any, factor: float) -> None:
        env.unwrapped.model.body_mass[1] = 3.67 * factor

    tasks = {"train": [0.5, 2.0], "test": [1.0]}
    return TaskMethodWrapper(gym.make("Hopper-v5"), tasks, set_mass, split=split)
