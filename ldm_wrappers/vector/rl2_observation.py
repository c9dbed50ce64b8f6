"""Adds previous action, previous reward and start flag to the observation (vector)."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.rl2_observation import rl2_observation_space
from ldm_wrappers.vector.batch import check_batch, reset_all
from ldm_wrappers.vector.infos import (
    BoolArray,
    ended_rows,
    episode_starts,
    final_observations,
    to_object_array,
)
from ldm_wrappers.wrapper_order import refuse_twice


class RL2ObservationWrapper(VectorWrapper):
    """Observation ``[s, encoded previous action, previous reward, episode start]``, float32.

    Discrete actions are one-hot. At the first observation of a meta-episode the action and the
    reward are 0. The flag is 1 at the first observation of every inner episode, where action and
    reward are those that led to the end of the previous episode. Source: RL², paper section 3.1.

    Args:
        env: Vector environment with ``AutoresetMode.SAME_STEP`` and Box observations.

    Raises:
        TypeError: Observations are not a Box, or the action space is not supported.
        ValueError: The environment's autoreset mode is a different one, or the observation already
            has these columns; at a step, an invalid action.
    """

    joins = "the previous action, its reward and the start flag"

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        check_batch(env, AutoresetMode.SAME_STEP, "RL2ObservationWrapper")
        refuse_twice(env, type(self))
        self._spec = TransitionSpec.from_spaces(
            env.single_observation_space, env.single_action_space
        )
        self.single_observation_space = rl2_observation_space(
            env.single_observation_space, self._spec
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Reset all environments; there is no previous action or reward."""
        observations, infos = reset_all(self.env, seed, options, "RL2ObservationWrapper")
        n = self.num_envs
        actions = np.zeros((n, self._spec.action_size), np.float32)
        starts = np.ones(n, bool)
        return self._join(observations, actions, np.zeros(n, np.float32), starts), infos

    def step(self, actions: Any) -> tuple[FloatArray, Any, Any, Any, dict[str, Any]]:
        """Step all environments; actions and rewards are added to the observations."""
        encoded = self._spec.encode_action_arrays(self._spec.actions(actions))
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        previous = np.asarray(rewards, np.float32)
        ended = ended_rows(terminations, truncations)
        starts = episode_starts(infos, ended)
        if ended.any():
            last = np.zeros_like(observations)
            last[ended] = final_observations(infos, ended)
            joined = self._join(last, encoded, previous, np.zeros_like(ended))
            infos = {**infos, "final_obs": to_object_array(joined, ended)}
            encoded = np.where(ended[:, None], np.float32(0.0), encoded)
            previous = np.where(ended, np.float32(0.0), previous)
        joined = self._join(observations, encoded, previous, starts)
        return joined, rewards, terminations, truncations, infos

    def _join(
        self, observations: Any, actions: FloatArray, rewards: FloatArray, starts: BoolArray
    ) -> FloatArray:
        flat = self._spec.observations(observations)
        return np.concatenate(
            [flat, actions, rewards[:, None], starts[:, None].astype(np.float32)], axis=1
        )
