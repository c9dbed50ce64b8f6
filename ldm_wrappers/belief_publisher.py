"""Publishes the belief about an environment's task, for imaginary tasks of other environments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from ldm_wrappers.arguments import check_type, scalar_reward
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.imagination import BeliefPool
from ldm_wrappers.latent_dynamics import BeliefTracker, LatentDynamics, TrajectoryBuffer
from ldm_wrappers.latent_dynamics.model import check_latent_dynamics
from ldm_wrappers.live_arguments import RecordLiveArguments
from ldm_wrappers.transition_reader import TransitionReader
from ldm_wrappers.wrapper_order import refuse_around_vae, refuse_imaginary_rewards


class BeliefPublisherWrapper(gym.Wrapper[Any, Any, Any, Any], RecordLiveArguments):
    """A normal worker: publishes its belief to a pool, and stores its trajectories in a buffer.

    Args:
        env: Environment with Box observations and actions that ``TransitionSpec`` supports, usually
            a ``MultiEpisodeWrapper``.
        latent_dynamics: The model that filters the beliefs.
        pool: Pool to publish to, at every reset and step.
        index: This environment's row of the pool.
        buffer: Where finished trajectories are stored; ``None`` stores none.

    Raises:
        ValueError: ``index`` is not a row of the pool, the spaces do not fit the model, the
            environment's rewards are imaginary, the observation has columns that are not part of
            the state or is scaled by running statistics, or a wrapper inside stores its
            trajectories in this buffer; at a reset or step, a newer publisher has the same row.
        TypeError: An argument has the wrong type.
        gymnasium.error.ResetNeeded: At a step before the first reset, or after the end of a task.
    """

    lasts_a_task = True
    latent_dynamics = FixedAttribute[LatentDynamics]()
    pool = FixedAttribute[BeliefPool]()
    index = FixedAttribute[int]()

    def __init__(
        self,
        env: gym.Env[Any, Any],
        latent_dynamics: LatentDynamics,
        pool: BeliefPool,
        index: int,
        *,
        buffer: TrajectoryBuffer | None = None,
    ) -> None:
        RecordLiveArguments.__init__(
            self, latent_dynamics=latent_dynamics, pool=pool, index=index, buffer=buffer
        )
        super().__init__(env)
        refuse_imaginary_rewards(env, "BeliefPublisherWrapper")
        refuse_around_vae(env, "BeliefPublisherWrapper", buffer)
        check_type("pool", pool, BeliefPool)
        check_latent_dynamics(latent_dynamics, env.observation_space, env.action_space)
        self.latent_dynamics = latent_dynamics
        self.pool = pool
        self.index = index
        self.tracker = BeliefTracker(latent_dynamics, 1, buffer)
        self._reader = TransitionReader(latent_dynamics.spec, "BeliefPublisherWrapper")
        self._number = pool.new_member()
        if pool.belongs_here:  # the prior; publishers are told apart from the first reset on
            pool.publish_first(index, self.tracker.posterior().mean[0].cpu().numpy())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; the belief returns to the prior."""
        with self._reader.resetting():
            observation, info = self.env.reset(seed=seed, options=options)
            self.tracker.reset()
            self.pool.begin_reset(self._number, ended=self._reader.ended)
            self._reader.reset(observation)
            self.publish()
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step, update the belief and publish it."""
        actions = self._reader.action(action)
        self.pool.begin_step(self._number)
        with self._reader.stepping(self.env):
            observation, reward, terminated, truncated, info = self.env.step(action)
        with self._reader.recording():
            self.pool.end_step()
            ended = bool(terminated or truncated)
            state, next_state = self._reader.step(observation, info, ended=ended)
            self.tracker.update(state, actions, np.array([scalar_reward(reward)]), next_state)
            self.publish()
            if ended:
                self.tracker.end(np.ones(1, bool))
                final = self.tracker.final_means()[0].cpu().numpy()
                self.pool.publish_final(self.index, final, publisher=self._number)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Close, and release the row of the pool for another publisher."""
        self.pool.release(self.index, self._number)
        super().close()

    def publish(self) -> None:
        """Publish the current belief under the newest weights; called at every reset and step."""
        mean = self.tracker.posterior().mean[0].cpu().numpy()
        self.pool.publish(self.index, mean, publisher=self._number)
