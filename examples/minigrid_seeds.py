"""Tasks that are seeds: MiniGrid's four rooms, with goals that the agent has never seen.

Needs ``pip install minigrid``.
"""

import argparse
from typing import Any

import gymnasium as gym

try:
    from minigrid.wrappers import ImgObsWrapper
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}: pip install minigrid") from None

from ldm_envs import TaskSeedWrapper
from ldm_wrappers.sb3 import SequenceRecurrentPPO, WholeSequenceLstmPolicy, imagine


def make(split: str = "train") -> gym.Env[Any, Any]:
    env = ImgObsWrapper(gym.make("MiniGrid-FourRooms-v0", max_steps=100))
    tasks = {"train": range(100), "test": range(100, 200)}
    return gym.wrappers.TimeLimit(TaskSeedWrapper(env, tasks, split=split), 100)


def main(total_timesteps: int) -> None:
    vec_env, callback = imagine(make, n_episodes=2, n_mixture=2)
    agent = SequenceRecurrentPPO(WholeSequenceLstmPolicy, vec_env, n_steps=200, batch_size=None)
    agent.learn(total_timesteps, callback=callback)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=200_000)
    main(**vars(parser.parse_args()))
