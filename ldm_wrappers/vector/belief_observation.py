"""Adds the VAE posterior to the observation (variBAD), for vector environments."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from ldm_wrappers.belief_observation import belief_observation_space, join_belief
from ldm_wrappers.fixed_attribute import FixedAttribute
from ldm_wrappers.latent_dynamics import BeliefTracker, LatentDynamics, TrajectoryBuffer
from ldm_wrappers.latent_dynamics.model import check_latent_dynamics
from ldm_wrappers.latent_dynamics.transition import FloatArray
from ldm_wrappers.vector.batch import check_batch, reset_all
from ldm_wrappers.vector.infos import ended_rows, to_object_array
from ldm_wrappers.vector.saved_state import load_all_or_nothing
from ldm_wrappers.vector.transition_reader import TransitionReader
from ldm_wrappers.wrapper_order import refuse_around_vae, refuse_twice


class BeliefObservationWrapper(VectorWrapper):
    """Observation ``[s, posterior mean, posterior log-variance]``, float32.

    The belief includes the transition that led to s; at the start of a task it is the prior. All
    workers are normal workers, whose finished trajectories go into ``buffer``. Source: variBAD,
    paper section 2.

    Args:
        env: Vector environment with ``AutoresetMode.SAME_STEP`` and Box observations.
        latent_dynamics: The model; training it between steps takes effect immediately.
        buffer: Where finished trajectories are stored; ``None`` stores none.

    Raises:
        ValueError: The spaces do not fit the model, the autoreset mode is a different one, another
            wrapper has added columns to the observation (a previous reward, a belief or the task)
            or scales by running statistics, or ``buffer`` would store trajectories twice or
            imaginary ones.
        TypeError: An argument has the wrong type.
        gymnasium.error.ResetNeeded: At a step before the first reset, or after an error.
    """

    joins = "the VAE's belief"
    latent_dynamics = FixedAttribute[LatentDynamics]()

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        latent_dynamics: LatentDynamics,
        *,
        buffer: TrajectoryBuffer | None = None,
    ) -> None:
        super().__init__(env)
        check_batch(env, AutoresetMode.SAME_STEP, "BeliefObservationWrapper")
        refuse_twice(env, type(self))
        refuse_around_vae(env, "BeliefObservationWrapper", buffer)
        spaces = env.single_observation_space, env.single_action_space
        check_latent_dynamics(latent_dynamics, *spaces)
        self.latent_dynamics = latent_dynamics
        self.tracker = BeliefTracker(latent_dynamics, self.num_envs, buffer)
        self.single_observation_space = belief_observation_space(
            env.single_observation_space, latent_dynamics
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._reader = TransitionReader(
            latent_dynamics.spec, self.num_envs, "BeliefObservationWrapper"
        )

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Reset all environments; every belief returns to the prior."""
        with self._reader.resetting():
            observations, infos = reset_all(self.env, seed, options, "BeliefObservationWrapper")
            self.tracker.reset()
            self._reader.reset(observations)
            return self.current_observations(), infos

    def step(self, actions: Any) -> tuple[FloatArray, Any, Any, Any, dict[str, Any]]:
        """Step all environments and show the new beliefs."""
        columns = self._reader.actions(actions)
        with self._reader.stepping(self.env):
            observations, rewards, terminations, truncations, infos = self.env.step(actions)
        with self._reader.recording():
            ended = ended_rows(terminations, truncations)
            states, next_states = self._reader.step(observations, infos, ended)
            self.tracker.update(states, columns, rewards, next_states)
            if ended.any():
                joined = join_belief(next_states, self.tracker)
                infos = {**infos, "final_obs": to_object_array(joined, ended)}
                self.tracker.end(ended)
            shown = self.current_observations()
        return shown, rewards, terminations, truncations, infos

    def current_observations(self) -> FloatArray:
        """The latest observations, with beliefs under the newest weights."""
        return join_belief(self._reader.states, self.tracker)

    def get_state(self) -> dict[str, Any]:
        """Beliefs, running trajectories and last observations, for an exact resume."""
        return {**self._reader.get_state(), "tracker": self.tracker.state_dict()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`get_state`; an error leaves everything unchanged.

        Raises:
            ValueError: The state has other sizes or belongs to another model.
            KeyError: A part of the state is missing.
        """
        load_all_or_nothing(self._load, state, self.get_state())

    def _load(self, state: dict[str, Any]) -> None:
        self.tracker.load_state_dict(state["tracker"])
        self._reader.set_state(state)
