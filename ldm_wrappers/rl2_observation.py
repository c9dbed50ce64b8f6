"""Adds previous action, previous reward and episode-start flag to the observation (RL²)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ldm_wrappers.arguments import scalar_reward
from ldm_wrappers.infos import begins_episode
from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.reset_guard import ResetGuard
from ldm_wrappers.wrapper_order import refuse_twice


def rl2_observation_space(observation_space: spaces.Space[Any], spec: TransitionSpec) -> spaces.Box:
    """Bounds of ``[s, encoded action, reward, episode start]``, float32."""
    assert isinstance(observation_space, spaces.Box)
    unbounded = np.full(spec.action_size, np.inf, np.float32)
    one_hot = spec.n_actions or spec.column_sizes
    low_action = np.zeros_like(unbounded) if one_hot else -unbounded
    high_action = np.ones_like(unbounded) if one_hot else unbounded
    low = np.concatenate([observation_space.low.ravel(), low_action, [-np.inf, 0.0]])
    high = np.concatenate([observation_space.high.ravel(), high_action, [np.inf, 1.0]])
    return spaces.Box(low.astype(np.float32), high.astype(np.float32))


class RL2ObservationWrapper(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Observation ``[s, encoded previous action, previous reward, episode start]``, float32.

    Discrete actions are one-hot. At the first observation of a meta-episode the action and the
    reward are 0. The flag is 1 at the first observation of every inner episode (as
    ``MultiEpisodeWrapper`` reports them), where action and reward are those that led to the end
    of the previous episode. Source: RL², paper section 3.1.

    Args:
        env: Environment with Box observations and actions that ``TransitionSpec`` supports.

    Raises:
        TypeError: The spaces are not supported.
        ValueError: The observation already has these columns; at a step, an invalid action.
        gymnasium.error.ResetNeeded: At a step before the first reset, or after the end of a task.
    """

    lasts_a_task = True
    joins = "the previous action, its reward and the start flag"

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        refuse_twice(env, type(self))
        self._spec = TransitionSpec.from_spaces(env.observation_space, env.action_space)
        self.observation_space = rl2_observation_space(env.observation_space, self._spec)
        self._guard = ResetGuard("RL2ObservationWrapper")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Reset; there is no previous action or reward."""
        with self._guard.resetting():
            observation, info = self.env.reset(seed=seed, options=options)
            self._guard.begin()
        action = np.zeros(self._spec.action_size, np.float32)
        return self._join(observation, action, 0.0, True), info

    def step(self, action: Any) -> tuple[FloatArray, Any, bool, bool, dict[str, Any]]:
        """Take a step; the action and its reward are added to the observation."""
        self._guard.check()
        encoded = self._spec.encode_action_arrays(self._spec.action_row(action))[0]
        with self._guard.stepping(self.env):
            observation, reward, terminated, truncated, info = self.env.step(action)
        self._guard.check_restarts(info)
        if terminated or truncated:
            self._guard.end()
        joined = self._join(observation, encoded, scalar_reward(reward), begins_episode(info))
        return joined, reward, terminated, truncated, info

    def _join(self, observation: Any, action: FloatArray, reward: float, start: bool) -> FloatArray:
        flat = self._spec.observation_row(observation)[0]
        return np.concatenate([flat, action, [reward, float(start)]], dtype=np.float32)
