"""Advantages that end at the time limits of inner episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.vec_env import VecEnv

TimeLimits = Callable[[], np.ndarray[Any, Any]]


def inner_time_limits(vec_env: VecEnv) -> np.ndarray[Any, Any]:
    """Which inner episodes reached their time limit at the last step, bool (num_envs,).

    Args:
        vec_env: A :class:`VectorEnvAdapter` around a ``MultiEpisodeWrapper``, or a wrapper of it.

    Raises:
        ValueError: There is no ``MultiEpisodeWrapper`` around the batch.
    """
    try:
        hit: np.ndarray[Any, Any] = vec_env.env_method("inner_time_limits", indices=0)[0]
    except AttributeError:
        base: Any = vec_env.unwrapped
        raise ValueError(
            "advantages that end at the time limits of inner episodes need a VectorEnvAdapter "
            "around a ldm_wrappers.vector.MultiEpisodeWrapper, got "
            f"{getattr(base, 'env', base)}; put both around the environment, or use "
            "SequenceRecurrentPPO without cut_at_time_limits, or PPO"
        ) from None
    return hit


def check_time_limits(vec_env: VecEnv | None) -> None:
    """Raise the ``ValueError`` of :func:`inner_time_limits`, if there is an environment yet."""
    if vec_env is not None:
        inner_time_limits(vec_env)


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
        time_limits: Called after each step; returns what :func:`inner_time_limits` does.
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


class TimeLimitPPO(PPO):
    """``PPO`` with a :class:`TimeLimitRolloutBuffer` that asks the algorithm's own environment.

    That environment must be a :class:`VectorEnvAdapter` around a ``MultiEpisodeWrapper``, with the
    usual wrappers around it.

    Raises:
        ValueError: ``rollout_buffer_class`` or ``rollout_buffer_kwargs`` is given, or the
            environment is another one.
    """

    def _setup_model(self) -> None:
        if self.rollout_buffer_class is not None or self.rollout_buffer_kwargs:
            raise ValueError(
                "TimeLimitPPO has a rollout buffer of its own: expected neither "
                "rollout_buffer_class nor rollout_buffer_kwargs, got "
                f"{self.rollout_buffer_class!r} and {self.rollout_buffer_kwargs!r}; "
                "stable_baselines3.PPO takes them"
            )
        check_time_limits(self.get_env())
        super()._setup_model()
        self.rollout_buffer_class = None  # as it was given, for load
        self.rollout_buffer = TimeLimitRolloutBuffer(
            self.n_steps,
            self.observation_space,
            self.action_space,
            self.device,
            self.gae_lambda,
            self.gamma,
            self.n_envs,
            # a method, not a closure: after set_env, or in a copy, it asks the new environment
            time_limits=self._inner_time_limits,
        )

    def _inner_time_limits(self) -> np.ndarray[Any, Any]:
        vec_env = self.get_env()
        assert vec_env is not None
        return inner_time_limits(vec_env)
