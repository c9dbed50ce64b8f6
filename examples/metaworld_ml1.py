"""Tasks that are objects: Meta-World's ML1, with its 50 train and 50 test goals.

Needs ``pip install metaworld``.
"""

import argparse
import functools
from typing import Any

import gymnasium as gym

try:
    import metaworld
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}: pip install metaworld") from None

from ldm_envs import TaskMethodWrapper
from ldm_wrappers.sb3 import SequenceRecurrentPPO, WholeSequenceLstmPolicy, imagine

NAME = "reach-v3"
benchmark = functools.cache(lambda: metaworld.ML1(NAME, seed=0))


def make(split: str = "train") -> gym.Env[Any, Any]:
    ml1 = benchmark()
    tasks = {"train": ml1.train_tasks, "test": ml1.test_tasks}
    env = gym.wrappers.TimeLimit(ml1.train_classes[NAME](), 150)
    return TaskMethodWrapper(env, tasks, "set_task", split=split)


def main(total_timesteps: int) -> None:
    vec_env, callback = imagine(make, n_episodes=2, n_mixture=2)
    agent = SequenceRecurrentPPO(WholeSequenceLstmPolicy, vec_env, n_steps=300, batch_size=None)
    agent.learn(total_timesteps, callback=callback)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=500_000)
    main(**vars(parser.parse_args()))
