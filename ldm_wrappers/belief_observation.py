"""Adds the VAE posterior to the observation (variBAD)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ldm_wrappers.arguments import scalar_reward
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.latent_dynamics import BeliefTracker, LatentDynamics, TrajectoryBuffer
from ldm_wrappers.latent_dynamics.model import check_latent_dynamics
from ldm_wrappers.latent_dynamics.transition import FloatArray
from ldm_wrappers.live_arguments import RecordLiveArguments
from ldm_wrappers.transition_reader import TransitionReader
from ldm_wrappers.wrapper_order import refuse_around_vae, refuse_twice


def with_unbounded_columns(observation_space: spaces.Space[Any], columns: int) -> spaces.Box:
    """Bounds of a flattened observation followed by ``columns`` unbounded numbers, float32."""
    assert isinstance(observation_space, spaces.Box)
    unbounded = np.full(columns, np.inf)
    return spaces.Box(
        np.concatenate([observation_space.low.ravel(), -unbounded]).astype(np.float32),
        np.concatenate([observation_space.high.ravel(), unbounded]).astype(np.float32),
    )


def belief_observation_space(
    observation_space: spaces.Space[Any], latent_dynamics: LatentDynamics
) -> spaces.Box:
    """Bounds of ``[s, posterior mean, posterior log-variance]``, float32."""
    return with_unbounded_columns(observation_space, 2 * latent_dynamics.config.latent_dim)


def join_belief(states: FloatArray, tracker: BeliefTracker) -> FloatArray:
    """``[s, posterior mean, posterior log-variance]`` of the workers of a tracker, (n, …)."""
    posterior = tracker.posterior()
    parts = [states, posterior.mean.cpu().numpy(), posterior.logvar.cpu().numpy()]
    return np.concatenate(parts, axis=1)


class BeliefObservationWrapper(gym.Wrapper[Any, Any, Any, Any], RecordLiveArguments):
    """Observation ``[s, posterior mean, posterior log-variance]``, float32.

    The belief includes the transition that led to s; at a reset it is the prior. Source: variBAD,
    paper section 2.

    Args:
        env: Environment with Box observations and actions that ``TransitionSpec`` supports, usually
            a ``MultiEpisodeWrapper``.
        latent_dynamics: The model; training it between steps takes effect immediately.
        buffer: Where finished trajectories are stored; ``None`` stores none.

    Raises:
        ValueError: The environment's spaces do not fit the model, another wrapper has added
            columns to its observation (a previous reward, a belief or the task) or scales by
            running statistics, or ``buffer`` would store trajectories twice or imaginary ones.
        TypeError: An argument has the wrong type.
        gymnasium.error.ResetNeeded: At a step before the first reset, or after the end of a task.
    """

    lasts_a_task = True
    joins = "the VAE's belief"
    latent_dynamics = FixedAttribute[LatentDynamics]()

    def __init__(
        self,
        env: gym.Env[Any, Any],
        latent_dynamics: LatentDynamics,
        *,
        buffer: TrajectoryBuffer | None = None,
    ) -> None:
        RecordLiveArguments.__init__(self, latent_dynamics=latent_dynamics, buffer=buffer)
        super().__init__(env)
        refuse_twice(env, type(self))
        refuse_around_vae(env, "BeliefObservationWrapper", buffer)
        check_latent_dynamics(latent_dynamics, env.observation_space, env.action_space)
        self.latent_dynamics = latent_dynamics
        self.tracker = BeliefTracker(latent_dynamics, 1, buffer)
        self.observation_space = belief_observation_space(env.observation_space, latent_dynamics)
        self._reader = TransitionReader(latent_dynamics.spec, "BeliefObservationWrapper")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Reset; the belief returns to the prior."""
        with self._reader.resetting():
            observation, info = self.env.reset(seed=seed, options=options)
            self.tracker.reset()
            self._reader.reset(observation)
            return self.observe(), info

    def step(self, action: Any) -> tuple[FloatArray, Any, bool, bool, dict[str, Any]]:
        """Take a step and show the new belief."""
        actions = self._reader.action(action)
        with self._reader.stepping(self.env):
            observation, reward, terminated, truncated, info = self.env.step(action)
        with self._reader.recording():
            ended = bool(terminated or truncated)
            state, next_state = self._reader.step(observation, info, ended=ended)
            self.tracker.update(state, actions, np.array([scalar_reward(reward)]), next_state)
            joined = self.observe()
            if ended:
                self.tracker.end(np.ones(1, bool))
        return joined, reward, terminated, truncated, info

    def observe(self) -> FloatArray:
        """The current observation, float32: last state, and belief under the newest weights."""
        return join_belief(self._reader.state, self.tracker)[0]
