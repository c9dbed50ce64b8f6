"""Evaluations of environments as strangers write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from train.common.evaluation import Evaluator
from train.config.presets import resolve


class Still:
    """An actor and its learner that never move."""

    latent_dynamics = None

    def __init__(self, config: Any) -> None:
        self.config = config

    def evaluation_env(self, env: Any) -> Any:
        self.env = env
        return env

    def act(self, observations: Any, starts: Any) -> Any:
        return np.zeros((self.env.num_envs, *self.env.single_action_space.shape), np.float32)

    def begin(self, n: int) -> None: ...

    def observe(self, step: Any) -> None: ...

    def end(self) -> None: ...


def evaluated(env_id: str, **settings: Any) -> dict[str, Any]:
    learner: Any = Still(resolve(env_id, "rl2", n_episodes=3, **settings))
    evaluator = Evaluator(learner)
    try:
        return {result.split: result for result in evaluator.evaluate(learner)}
    finally:
        evaluator.close()


def test_success_at_the_last_step_of_an_inner_episode_counts() -> None:
    """The restart tells its own ``is_success``, which must not hide the last step's."""
    found = evaluated("foreign_envs:ends")["train"]
    assert found.returns.tolist() == [[2.0] * 3, [4.0] * 3]
    assert found.reached.tolist() == [[True] * 3, [False] * 3]
