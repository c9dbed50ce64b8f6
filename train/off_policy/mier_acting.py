"""How MIER acts in training, and in meta-episodes of a test task."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from train.config.off_policy import MierSettings
from train.off_policy.collection import Sizes
from train.off_policy.episodes import Episode
from train.off_policy.evaluation import EpisodeActor
from train.off_policy.networks import SquashedGaussian
from train.off_policy.sac import TwinSAC
from train.off_policy.streams import EVALUATION, stream_seed

Array = NDArray[Any]


class MierParts(Protocol):
    """The parts of the learner needed to act."""

    config: MierSettings
    sizes: Sizes
    device: str
    generator: torch.Generator
    initial_context: torch.nn.Parameter
    sac: TwinSAC

    @property
    def relabels(self) -> bool:
        """Whether to relabel experience for a test task."""

    def identify(self, episodes: list[Episode]) -> torch.Tensor:
        """φ for the task of some episodes."""

    def relabel(
        self, episodes: list[Episode], row: int = 0
    ) -> tuple[SquashedGaussian, torch.Tensor]:
        """A policy and φ for the task of some episodes."""


class MierExploration:
    """Stochastic behaviour of training episodes."""

    def __init__(self, learner: MierParts, n_prior: int) -> None:
        self.learner, self.n_prior = learner, n_prior
        n = learner.config.n_workers
        self.episodes: list[list[Episode]] = [[] for _ in range(n)]
        self.contexts = np.zeros((n, learner.config.context_dim), np.float32)

    def begin_episode(self, row: int, episode: int) -> None:
        learner = self.learner
        if episode == 0:
            self.contexts[row] = learner.initial_context.detach().cpu().numpy()
        elif episode == self.n_prior:
            self.contexts[row] = learner.identify(self.episodes[row]).cpu().numpy()

    @torch.no_grad()
    def act(self, observations: NDArray[np.float32]) -> Array:
        inputs = torch.from_numpy(np.concatenate([observations, self.contexts], axis=1))
        policy: SquashedGaussian = self.learner.sac.policy
        actions, _ = policy.sample(inputs.to(self.learner.device), self.learner.generator)
        return np.asarray(actions.cpu().numpy())

    def observe(self, actions: Array, rewards: Array, observations: Array) -> None:
        return


class MierActor(EpisodeActor):
    """Stochastic with φ_0, then deterministic with φ, and possibly a policy, for the task.

    Args:
        learner: The learner whose networks act; they are never changed.

    Attributes:
        contexts: φ of each row, float32 (n, context_dim).
        policies: Policy of each row trained on relabelled experience, or ``None``.
    """

    def __init__(self, learner: MierParts) -> None:
        super().__init__(learner.sizes)
        self.learner = learner
        self.contexts = np.zeros((0, learner.config.context_dim), np.float32)
        self.policies: list[SquashedGaussian | None] = []

    def begin(self, n: int) -> None:
        """Start ``n`` meta-episodes, with the same random numbers every time."""
        super().begin(n)
        self.contexts = np.zeros((n, self.learner.config.context_dim), np.float32)
        self.policies = [None] * n
        self._last = np.zeros(n, bool)
        seed = self.learner.config.seed
        self._rngs = [
            np.random.default_rng(stream_seed(seed, EVALUATION, 0, row)) for row in range(n)
        ]

    def begin_episode(self, row: int, episode: int) -> None:
        """Before the last episode, identify the task and relabel experience for it."""
        learner, episodes = self.learner, self.episodes[row]
        self.policies[row] = None
        self._last[row] = episode == learner.config.n_episodes - 1
        context = learner.initial_context.detach()
        if self._last[row] and learner.relabels:
            self.policies[row], context = learner.relabel(episodes, row)
        elif self._last[row]:
            context = learner.identify(episodes)
        self.contexts[row] = context.cpu().numpy()

    @torch.no_grad()
    def actions(self, observations: NDArray[np.float32]) -> Array:
        """Sampled actions before the last episode, tanh of the mean in the last one."""
        inputs = np.concatenate([observations, self.contexts], axis=1)
        rows = torch.from_numpy(inputs).to(self.learner.device)
        mean, log_std = self.learner.sac.policy(rows)
        for row, policy in enumerate(self.policies):
            if policy is not None:
                mean[row] = policy(rows[row])[0]
        pre_tanh, std = mean.cpu().numpy(), log_std.exp().cpu().numpy()
        for row in np.flatnonzero(~self._last).tolist():
            noise = self._rngs[row].standard_normal(pre_tanh.shape[1], np.float32)
            pre_tanh[row] += std[row] * noise
        return np.asarray(np.tanh(pre_tanh))
