"""Turns the steps of a batch of environments into rows for the latent dynamics model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.reset_guard import ResetGuard, hidden_restart
from ldm_wrappers.vector.infos import (
    BoolArray,
    Infos,
    episode_starts,
    meta_episode_rows,
    true_next_observations,
)

_UNKNOWN = -1


class TransitionReader:
    """The transitions (s, a, s') of all environments of a batch, step by step.

    Args:
        spec: Sizes and encodings of observations and actions.
        num_envs: Number of environments.
        name: Name of the wrapper in messages.

    Attributes:
        states: Current observations, float32 (num_envs, observation_size).
    """

    states: FloatArray

    def __init__(self, spec: TransitionSpec, num_envs: int, name: str) -> None:
        self._spec = spec
        self._name = name
        self._guard = ResetGuard(name)
        self._episodes = np.full(num_envs, _UNKNOWN)  # indices of the inner episodes shown
        self.states = np.zeros((num_envs, spec.observation_size), np.float32)

    def reset(self, observations: Any) -> None:
        """Begin a task in all environments, with these observations."""
        self.states = self._spec.observations(observations)
        self._episodes[:] = 0
        self._guard.begin()

    def actions(self, actions: Any) -> FloatArray:
        """Columns of the next actions, (num_envs, …), as in ``TransitionSpec``.

        Raises:
            gymnasium.error.ResetNeeded: Before the first reset, or after an error.
            ValueError: An action is invalid.
        """
        self._guard.check()
        return self._spec.actions(actions)

    def resetting(self) -> AbstractContextManager[None]:
        """Context for a reset, see :meth:`ResetGuard.resetting`."""
        return self._guard.resetting()

    def stepping(self, batch: VectorEnv[Any, Any, Any]) -> AbstractContextManager[None]:
        """Context for the step of the batch, see :meth:`ResetGuard.stepping`."""
        return self._guard.stepping(batch)

    def recording(self) -> AbstractContextManager[None]:
        """Context for what follows the environments' step; an error in it requires a reset."""
        return self._guard.recording()

    def step(
        self, observations: Any, infos: Infos, ended: BoolArray
    ) -> tuple[FloatArray, FloatArray]:
        """The states before and after a step, float32 (num_envs, observation_size) each.

        Args:
            observations: Observations of the step, which may be those of a restart.
            infos: Its infos, which then contain the true next states.
            ended: Environments whose task ended with it, bool (num_envs,).

        Raises:
            ValueError: A wrapper inside has passed over a restart, or has changed observations.
        """
        self._check_restarts(infos, ended)
        before = self.states
        after = self._spec.observations(true_next_observations(observations, infos, ended))
        self.states = self._spec.observations(observations)
        return before, after

    def _check_restarts(self, infos: Infos, ended: BoolArray) -> None:
        """Raise if a step led from one inner episode into another without showing its start."""
        told = meta_episode_rows(infos, "episode_index", len(ended))
        if not told.any():
            return
        before = self._episodes
        self._episodes = np.where(told, infos["episode_index"], _UNKNOWN)
        followed = before + episode_starts(infos, ended)
        hidden = told & ~ended & (before != _UNKNOWN) & (self._episodes != followed)
        if hidden.any():
            row = int(np.flatnonzero(hidden)[0])
            message = hidden_restart(self._name, int(before[row]), int(self._episodes[row]))
            raise ValueError(f"environment {row}: {message}")

    def get_state(self) -> dict[str, Any]:
        """The last observations, and whether the next step may follow."""
        return {"observations": self.states.copy(), "guard": self._guard.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`get_state`.

        Raises:
            ValueError: The observations have a different shape; nothing is changed then.
        """
        observations = np.array(state["observations"], dtype=np.float32)
        if observations.shape != self.states.shape:
            raise ValueError(
                f"saved observations have shape {observations.shape}, expected {self.states.shape}"
            )
        self.states = observations
        self._episodes[:] = _UNKNOWN
        self._guard.state = state.get("guard", "running")  # missing in old checkpoints
