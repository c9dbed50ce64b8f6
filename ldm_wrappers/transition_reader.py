"""Turns the steps of one environment into rows for the latent dynamics model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import gymnasium as gym
import numpy as np

from ldm_wrappers.infos import true_next_observation
from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec
from ldm_wrappers.reset_guard import ResetGuard


class TransitionReader:
    """The transitions (s, a, s') of one environment, step by step.

    Args:
        spec: Sizes and encodings of observations and actions.
        name: Name of the wrapper in messages.

    Attributes:
        state: Current observation, float32 (1, observation_size).
    """

    state: FloatArray

    def __init__(self, spec: TransitionSpec, name: str) -> None:
        self._spec = spec
        self._guard = ResetGuard(name)
        self.state = np.zeros((1, spec.observation_size), np.float32)

    @property
    def ended(self) -> bool:
        """Whether the latest step ended a task and no other has begun."""
        return self._guard.state == "ended"

    def reset(self, observation: Any) -> None:
        """Begin a task with this observation."""
        self.state = self._spec.observation_row(observation)
        self._guard.begin()

    def action(self, action: Any) -> FloatArray:
        """Columns of the next action, (1, …), as in ``TransitionSpec``.

        Raises:
            gymnasium.error.ResetNeeded: No task is running.
            ValueError: The action is invalid.
        """
        self._guard.check()
        return self._spec.action_row(action)

    def resetting(self) -> AbstractContextManager[None]:
        """Context for a reset, see :meth:`ResetGuard.resetting`."""
        return self._guard.resetting()

    def stepping(self, env: gym.Env[Any, Any]) -> AbstractContextManager[None]:
        """Context for the environment's step, see :meth:`ResetGuard.stepping`."""
        return self._guard.stepping(env)

    def recording(self) -> AbstractContextManager[None]:
        """Context for what follows the environment's step; an error in it requires a reset."""
        return self._guard.recording()

    def step(
        self, observation: Any, info: dict[str, Any], *, ended: bool
    ) -> tuple[FloatArray, FloatArray]:
        """The states before and after a step, float32 (1, observation_size) each.

        Args:
            observation: Observation of the step, which may be that of a restart.
            info: Its info, which then contains the true next state.
            ended: Whether the task ended with it.

        Raises:
            ValueError: A wrapper inside hides a restart, see :meth:`ResetGuard.check_restarts`.
        """
        self._guard.check_restarts(info)
        before = self.state
        after = self._spec.observation_row(true_next_observation(info, observation))
        self.state = self._spec.observation_row(observation)
        if ended:
            self._guard.end()
        return before, after
