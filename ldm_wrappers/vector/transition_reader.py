"""Reads what a batch of environments goes through as rows that the latent dynamics model takes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.reset_guard import ResetGuard
from ldm_wrappers.vector.infos import BoolArray, Infos, true_next_observations


class TransitionReader:
    """The transitions (s, a, s') of all environments of a batch, step by step.

    Args:
        spec: What observations and actions are.
        num_envs: Number of environments.
        name: What messages call the wrapper that reads.

    Attributes:
        states: Observations of now, float32 (num_envs, observation_size).
    """

    states: FloatArray

    def __init__(self, spec: TransitionSpec, num_envs: int, name: str) -> None:
        self._spec = spec
        self._guard = ResetGuard(name)
        self.states = np.zeros((num_envs, spec.observation_size), np.float32)

    def reset(self, observations: Any) -> None:
        """A task begins everywhere, with these observations."""
        self.states = self._spec.observations(observations)
        self._guard.begin()

    def actions(self, actions: Any) -> FloatArray:
        """Columns of actions that are about to be taken, (num_envs, …) as the spec has them.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset, or after an error.
            ValueError: One of them is not of the action space.
        """
        self._guard.check()
        return self._spec.actions(actions)

    def stepping(self, batch: VectorEnv[Any, Any, Any]) -> AbstractContextManager[None]:
        """Around the step of the batch, see :meth:`ResetGuard.stepping`."""
        return self._guard.stepping(batch)

    def recording(self) -> AbstractContextManager[None]:
        """Around all that follows the environments' step: an error in it asks for a reset."""
        return self._guard.recording()

    def step(
        self, observations: Any, infos: Infos, ended: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """The states before and after a step, float32 (num_envs, observation_size) each.

        Args:
            observations: What the step has shown, where a restart may be seen.
            infos: Its infos, which then tell the true next states.
            ended: Environments whose task ended with it, bool (num_envs,).
        """
        before = self.states
        after = self._spec.observations(true_next_observations(observations, infos, ended))
        self.states = self._spec.observations(observations)
        return before, after

    def get_state(self) -> dict[str, Any]:
        """The last observations, and whether the next step may follow."""
        return {"observations": self.states.copy(), "guard": self._guard.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`get_state`.

        Raises:
            ValueError: The observations have another shape; nothing has changed then.
        """
        observations = np.array(state["observations"], dtype=np.float32)
        if observations.shape != self.states.shape:
            raise ValueError(
                f"saved observations have shape {observations.shape}, expected {self.states.shape}"
            )
        self.states = observations
        self._guard.state = state.get("guard", "running")  # newer than some checkpoints
