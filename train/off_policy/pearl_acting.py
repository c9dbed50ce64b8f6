"""How PEARL acts in training, and in meta-episodes of a test task."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from train.config.off_policy import PearlSettings
from train.off_policy.collection import Sizes
from train.off_policy.episodes import Transitions, whole_episodes
from train.off_policy.evaluation import EpisodeActor
from train.off_policy.networks import SquashedGaussian
from train.off_policy.replay import TaskReplay
from train.off_policy.sac import ValueSAC
from train.off_policy.streams import EVALUATION, stream_seed

Array = NDArray[Any]


class PearlParts(Protocol):
    """The parts of the learner needed to act."""

    config: PearlSettings
    sizes: Sizes
    device: str
    rng: np.random.Generator
    generator: torch.Generator
    context: TaskReplay
    sac: ValueSAC

    def posterior(self, context: Transitions) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance given context (…, n)."""


class PearlExploration:
    """Stochastic behaviour of training episodes."""

    def __init__(self, learner: PearlParts, tasks: NDArray[np.int64], n_prior: int) -> None:
        self.learner, self.tasks, self.n_prior = learner, tasks, n_prior
        self.z = np.zeros((len(tasks), learner.config.latent_dim), np.float32)

    def begin_episode(self, row: int, episode: int) -> None:
        learner = self.learner
        noise = learner.rng.standard_normal(self.z.shape[1], np.float32)
        if episode < self.n_prior:
            self.z[row] = noise
            return
        size = learner.config.context_size
        places = learner.context.draw(self.tasks[[row]], size, learner.rng)
        mean, variance = learner.posterior(learner.context.take(places, learner.device))
        self.z[row] = mean[0].cpu().numpy() + variance[0].sqrt().cpu().numpy() * noise

    @torch.no_grad()
    def act(self, observations: NDArray[np.float32]) -> Array:
        inputs = torch.from_numpy(np.concatenate([observations, self.z], axis=1))
        policy: SquashedGaussian = self.learner.sac.policy
        actions, _ = policy.sample(inputs.to(self.learner.device), self.learner.generator)
        return actions.cpu().numpy()

    def observe(self, actions: Array, rewards: Array, observations: Array) -> None:
        return


class PearlActor(EpisodeActor):
    """The deterministic policy, with a new z for each episode.

    Args:
        learner: The learner whose networks act; its replay is never read.

    Attributes:
        z: Latent of each row, float32 (n, latent_dim).
        seed: Seed of the latents, that of the run.
    """

    def __init__(self, learner: PearlParts) -> None:
        super().__init__(learner.sizes)
        self.learner = learner
        self.seed = learner.config.seed
        self.z = np.zeros((0, learner.config.latent_dim), np.float32)

    def begin(self, n: int) -> None:
        """Start ``n`` meta-episodes, with the same random numbers every time."""
        super().begin(n)
        self.z = np.zeros((n, self.learner.config.latent_dim), np.float32)
        self._rngs = [
            np.random.default_rng(stream_seed(self.seed, EVALUATION, row)) for row in range(n)
        ]

    def begin_episode(self, row: int, episode: int) -> None:
        """Draw z from the prior, or for the last episode from the posterior given the others."""
        noise = self._rngs[row].standard_normal(self.z.shape[1], np.float32)
        if episode < self.learner.config.n_episodes - 1:
            self.z[row] = noise
            return
        context = whole_episodes(self.episodes[row], self.learner.device)
        mean, variance = self.learner.posterior(context)
        self.z[row] = mean.cpu().numpy() + variance.sqrt().cpu().numpy() * noise

    @torch.no_grad()
    def actions(self, observations: NDArray[np.float32]) -> Array:
        """tanh of the policy's mean."""
        inputs = torch.from_numpy(np.concatenate([observations, self.z], axis=1))
        return self.learner.sac.policy.mode(inputs.to(self.learner.device)).cpu().numpy()
