"""Gymnasium's Reacher with a hidden target: an adapter around an existing environment.

Train targets lie in an inner disc and an outer ring, test targets between them.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ldm_envs import AnnulusTaskSet, TaskMethodWrapper
from ldm_wrappers.sb3 import SequenceRecurrentPPO, WholeSequenceLstmPolicy, imagine

TARGETS = {  # polar coordinates (r, theta), uniform over the area
    "train": AnnulusTaskSet([(0.0, 0.07), (0.15, 0.2)]),
    "test": AnnulusTaskSet([(0.07, 0.15)]),
    "all": AnnulusTaskSet([(0.0, 0.2)]),
}


class HiddenTarget(gym.ObservationWrapper[Any, Any, Any]):
    """Joint angles, joint velocities and the fingertip, without the target; shape (8,)."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(-np.inf, np.inf, (8,), np.float64)

    def observation(self, observation: Any) -> Any:
        fingertip: Any = self.get_wrapper_attr("get_body_com")("fingertip")[:2]
        return np.concatenate([observation[:4], observation[6:8], fingertip])


def set_target(env: gym.Env[Any, Any], task: Any) -> None:
    reacher: Any = env.unwrapped
    radius, angle = task
    position, velocity = reacher.data.qpos.copy(), reacher.data.qvel.copy()
    position[-2:] = radius * np.cos(angle), radius * np.sin(angle)
    reacher.set_state(position, velocity)


def make(split: str = "train") -> gym.Env[Any, Any]:
    return TaskMethodWrapper(
        HiddenTarget(gym.make("Reacher-v5")),
        TARGETS,
        set_target,
        after_reset=True,  # Reacher's reset draws a target itself
        success=lambda info: info["reward_dist"] > -0.02,
        components=("r (m)", "theta (rad)"),
        split=split,
    )


def main(total_timesteps: int) -> None:
    vec_env, callback = imagine(make, n_episodes=2, n_mixture=2)
    agent = SequenceRecurrentPPO(WholeSequenceLstmPolicy, vec_env, n_steps=100, batch_size=None)
    agent.learn(total_timesteps, callback=callback)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--total-timesteps", type=int, default=200_000)
    main(**vars(parser.parse_args()))
