"""Advantages that end at the time limits of inner episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv

TimeLimits = Callable[[], np.ndarray[Any, Any]]


def inner_time_limits(vec_env: VecEnv) -> TimeLimits:
    """A function that says which inner episodes reached their time limit at the last step.

    Args:
        vec_env: A :class:`VectorEnvAdapter` around a ``MultiEpisodeWrapper``, or a wrapper of it.

    Returns:
        A function that returns bool (num_envs,), from the ``MultiEpisodeWrapper``.
    """

    def ask() -> np.ndarray[Any, Any]:
        hit: np.ndarray[Any, Any] = vec_env.env_method("inner_time_limits", indices=0)[0]
        return hit

    return ask


def cut_advantages(buffer: RolloutBuffer, limits: np.ndarray[Any, Any]) -> None:
    """Stop the advantages of a full rollout from flowing back across the steps in ``limits``.

    The return of such a step is its own value estimate; earlier steps see that value and nothing
    after it. This is how GAE treats time limits in the authors' MuJoCo runs.

    Args:
        buffer: A rollout whose advantages are those of plain GAE.
        limits: bool (buffer_size, n_envs).
    """
    if not limits.any():
        return
    decay = buffer.gamma * buffer.gae_lambda
    excess = np.zeros(buffer.n_envs, np.float32)
    for step in reversed(range(buffer.buffer_size)):
        if step + 1 < buffer.buffer_size:
            excess = decay * (1.0 - buffer.episode_starts[step + 1]) * excess
        excess = np.where(limits[step], buffer.advantages[step], excess)
        buffer.advantages[step] -= excess
    buffer.returns = buffer.advantages + buffer.values


class TimeLimitRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer, with advantages that end at inner time limits.

    Args:
        args: See ``RolloutBuffer``.
        time_limits: Called after each step, see :func:`inner_time_limits`.
        kwargs: See ``RolloutBuffer``.
    """

    def __init__(self, *args: Any, time_limits: TimeLimits, **kwargs: Any) -> None:
        self.time_limits = time_limits
        super().__init__(*args, **kwargs)

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        self._limits = np.zeros((self.buffer_size, self.n_envs), bool)

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add one step of all workers."""
        self._limits[self.pos] = self.time_limits()
        super().add(*args, **kwargs)

    def compute_returns_and_advantage(self, last_values: Any, dones: Any) -> None:
        """GAE as in SB3, then :func:`cut_advantages`."""
        super().compute_returns_and_advantage(last_values, dones)
        cut_advantages(self, self._limits)
