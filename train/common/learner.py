"""The learner seam: all that checkpoints, artifacts, evaluation, sweeps and plots know of a method.

A learner script defines a subclass of :class:`Learner` and a function ``build(config)`` that makes
one; ``train/config/methods.py`` names the script. Nothing else of a learner is looked at.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import get_device
from stable_baselines3.common.vec_env import VecNormalize

from ldm_wrappers.latent_dynamics import LatentDynamics
from ldm_wrappers.sb3 import environment_actions
from train.common.rollout import Step
from train.config.settings import RunSettings

AnyVectorEnv = VectorEnv[Any, Any, Any]
AfterIterationHook = Callable[[int], None]


class Actor(Protocol):
    """Acts in a batch of meta-episodes, one row per task.

    What adaptation changes in between, :meth:`end` restores bit for bit.
    """

    def begin(self, n: int) -> None:
        """Begin ``n`` meta-episodes."""

    def act(self, observations: NDArray[Any], episode_starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Actions (n, …).

        Args:
            observations: What :meth:`Learner.evaluation_env` shows, (n, …).
            episode_starts: True at the first step of a meta-episode, (n,).
        """

    def observe(self, step: Step) -> None:
        """Take in what the last actions led to."""

    def end(self) -> None:
        """The meta-episodes are over."""


class Learner(abc.ABC):
    """One training: what learns, from build to the finished run.

    Attributes:
        config: Settings of the run.
        latent_dynamics: The VAE, for pictures of beliefs; ``None`` for methods without one.
    """

    config: RunSettings
    latent_dynamics: LatentDynamics | None = None

    @property
    @abc.abstractmethod
    def num_timesteps(self) -> int:
        """Environment steps of training so far, all workers together."""

    @abc.abstractmethod
    def set_logger(self, logger: Logger) -> None:
        """Record metrics into ``logger`` from now on, ``rollout/…`` and ``train/…``."""

    @abc.abstractmethod
    def learn(self, total_timesteps: int, after_iteration: AfterIterationHook) -> None:
        """Train until ``num_timesteps`` has reached ``total_timesteps``.

        Args:
            total_timesteps: Environment steps of the whole run, earlier sittings included.
            after_iteration: Called after each whole iteration, when nothing is half-done, with the
                number of iterations so far; it may raise to stop.
        """

    @abc.abstractmethod
    def evaluation_env(self, env: AnyVectorEnv) -> AnyVectorEnv:
        """What the policy is shown, around meta-episodes of true rewards."""

    @abc.abstractmethod
    def actor(self) -> Actor:
        """Acts for evaluation, videos and pictures with the weights of now."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that decides about the rest of the run, between two iterations.

        Nested dicts and lists of arrays, tensors, numbers and strings. Arrays may be views: they
        are saved before the training continues.
        """

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Inverse of :meth:`state_dict`, with NumPy arrays for tensors.

        Returns:
            Whether the environments could be restored too; if not, running meta-episodes begin
            again.

        Raises:
            ValueError: What does not fit; nothing has been changed then.
        """

    @abc.abstractmethod
    def artifacts(self) -> dict[str, Any]:
        """What a finished run leaves: file stem → nested state, ``"policy"`` among them."""

    @abc.abstractmethod
    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`; enough for :meth:`actor`, not for training.

        Args:
            contents: Gives the content of a file by its stem.

        Raises:
            ValueError: A file is missing or does not fit.
        """

    def log_statistics(self) -> None:
        """Record what has gathered since the last row of metrics.csv, right before one."""
        return

    def check_finite(self) -> None:
        """Raise a ``FloatingPointError`` that names what is no longer finite."""
        return

    def position(self) -> str:
        """Where the training is, for messages."""
        return f"step {self.num_timesteps:,}"

    def close(self) -> None:
        """Close the environments."""
        return


class PolicyActor:
    """The greedy actions of a stable-baselines3 policy, recurrent or not.

    Args:
        policy: Whatever has SB3's ``predict``.
        normalizer: Statistics to normalise observations with, left as they are.
        action_space: Single action space of the environment, where the policy's may be another
            one; see :func:`ldm_wrappers.sb3.environment_actions`.
    """

    def __init__(
        self,
        policy: Any,
        normalizer: VecNormalize | None = None,
        action_space: spaces.Space[Any] | None = None,
    ) -> None:
        self.policy = policy
        self.action_space = action_space
        self.normalizer = normalizer
        self._state: Any = None

    def begin(self, n: int) -> None:
        """Forget the recurrent state."""
        self._state = None

    def act(self, observations: NDArray[Any], episode_starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Greedy actions; a recurrent state restarts where a meta-episode does."""
        shown: Any = observations
        if self.normalizer is not None:
            shown = self.normalizer.normalize_obs(observations)
        actions, self._state = self.policy.predict(
            shown, self._state, episode_starts, deterministic=True
        )
        if self.action_space is not None:
            actions = environment_actions(self.action_space, actions)
        return np.asarray(actions)

    def observe(self, step: Step) -> None:
        """Nothing to do: observations hold all that the policy is shown."""

    def end(self) -> None:
        """Forget the recurrent state."""
        self._state = None


def chosen_device(name: str) -> str:
    """The device called ``name`` if it is there; ``auto`` takes a GPU where there is one.

    Raises:
        ValueError: There is no such device; stable-baselines3 would silently take the CPU.
    """
    try:
        device = torch.device(get_device("auto") if name == "auto" else name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {reason}") from None
    return str(device)
