"""The learner interface that checkpoints, artifacts, evaluation, sweeps and plots rely on.

A learner script has a function ``build(config)`` that makes a subclass of :class:`Learner`, and
``train/config/methods.py`` names the script. Nothing else of a learner is used.
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

    :meth:`end` restores bit for bit whatever adaptation has changed.
    """

    def begin(self, n: int) -> None:
        """Start ``n`` meta-episodes."""

    def act(self, observations: NDArray[Any], episode_starts: NDArray[np.bool_]) -> NDArray[Any]:
        """Actions (n, …).

        Args:
            observations: Observations of :meth:`Learner.evaluation_env`, (n, …).
            episode_starts: True at the first step of a meta-episode, (n,).
        """

    def observe(self, step: Step) -> None:
        """Process the outcome of the last actions."""

    def end(self) -> None:
        """Finish the meta-episodes."""


class Learner(abc.ABC):
    """A method in training, from ``build`` to the finished run.

    Attributes:
        config: Settings of the run.
        latent_dynamics: The VAE, for figures of beliefs; ``None`` for methods without one.
    """

    config: RunSettings
    latent_dynamics: LatentDynamics | None = None

    @property
    @abc.abstractmethod
    def num_timesteps(self) -> int:
        """Environment steps of training so far, summed over workers."""

    @abc.abstractmethod
    def set_logger(self, logger: Logger) -> None:
        """Record metrics (``rollout/…`` and ``train/…``) to ``logger`` from now on."""

    @abc.abstractmethod
    def learn(self, total_timesteps: int, after_iteration: AfterIterationHook) -> None:
        """Train until ``num_timesteps`` reaches ``total_timesteps``.

        Args:
            total_timesteps: Environment steps of the whole run, including those before a resume.
            after_iteration: Called with the number of iterations so far after each whole iteration,
                when the state is consistent; it may raise an exception to stop.
        """

    @abc.abstractmethod
    def evaluation_env(self, env: AnyVectorEnv) -> AnyVectorEnv:
        """Wrap meta-episodes with true rewards to show the observations of the policy."""

    @abc.abstractmethod
    def actor(self) -> Actor:
        """The actor for evaluation, videos and figures, with the current weights."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that determines the rest of the run, between two iterations.

        Nested dicts and lists of arrays, tensors, numbers and strings. Arrays may be views, since
        they are saved before the training continues.
        """

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Inverse of :meth:`state_dict`, with NumPy arrays for tensors.

        Returns:
            Whether the environments could be restored too; if not, current meta-episodes start
            over.

        Raises:
            ValueError: If the state does not fit; the learner is then unchanged.
        """

    @abc.abstractmethod
    def artifacts(self) -> dict[str, Any]:
        """Files of a finished run: stem → nested state; one stem is ``"policy"``."""

    @abc.abstractmethod
    def load_artifacts(self, contents: Mapping[str, Any]) -> None:
        """Inverse of :meth:`artifacts`; enough for :meth:`actor`, not for training.

        Args:
            contents: The content of each file by its stem.

        Raises:
            ValueError: If a file is missing or does not fit.
        """

    def log_statistics(self) -> None:
        """Record statistics gathered since the last row of metrics.csv; called before each row."""
        return

    def check_finite(self) -> None:
        """Raise a ``FloatingPointError`` that names any weights that are not finite."""
        return

    def too_short(self) -> tuple[str, int] | None:
        """Why a run of ``total_timesteps`` trained nothing, and a total that trains.

        ``None`` if something was trained.
        """
        return None

    def position(self) -> str:
        """How far the training has come, for messages."""
        return f"step {self.num_timesteps:,}"

    def close(self) -> None:
        """Close the environments."""
        return


class PolicyActor:
    """The greedy actions of a Stable-Baselines3 policy, recurrent or not.

    Args:
        policy: Any object with SB3's ``predict``.
        normalizer: Statistics to normalise observations with; they are not updated.
        action_space: Single action space of the environment, which may differ from the policy's;
            see :func:`ldm_wrappers.sb3.environment_actions`.
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
        """Greedy actions; a recurrent state is reset at the start of each meta-episode."""
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
        """Do nothing, since observations contain all that the policy sees."""

    def end(self) -> None:
        """Forget the recurrent state."""
        self._state = None


def chosen_device(name: str) -> str:
    """The device called ``name`` if it is available; ``auto`` uses a GPU if there is one.

    Raises:
        ValueError: If there is no such device; Stable-Baselines3 would silently use the CPU.
    """
    try:
        device = torch.device(get_device("auto") if name == "auto" else name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used: {reason}") from None
    return str(device)
