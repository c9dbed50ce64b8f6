"""PEARL: a posterior over a task latent, and SAC conditioned on its samples.

Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables" (arXiv 1903.08254).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from train.config.off_policy import PearlSettings
from train.off_policy.collection import Sizes
from train.off_policy.episodes import Episode, Transitions
from train.off_policy.learner import OffPolicyLearner
from train.off_policy.networks import adam, descend, mlp, seeded_weights
from train.off_policy.pearl_acting import PearlActor, PearlExploration
from train.off_policy.posterior import kl_to_standard_normal, product_of_gaussians
from train.off_policy.replay import TaskReplay
from train.off_policy.sac import ValueSAC
from train.off_policy.streams import WEIGHTS, stream_seed

Tensor = torch.Tensor
Array = NDArray[Any]


class ContextEncoder(nn.Module):
    """q(z | c), a product of one Gaussian factor per transition, in any order.

    Args:
        sizes: Sizes of observations and actions.
        latent_dim: Dimension of z.
        hidden: Widths of the hidden layers.
        next_observation: Whether the next observation of a transition is an input.
    """

    def __init__(
        self, sizes: Sizes, latent_dim: int, hidden: tuple[int, ...], next_observation: bool
    ) -> None:
        super().__init__()
        observations = sizes.observation_dim * (2 if next_observation else 1)
        columns = observations + sizes.action_dim + 1
        self.net = mlp((columns, *hidden, 2 * latent_dim))
        self.next_observation = next_observation

    def forward(self, context: Transitions) -> tuple[Tensor, Tensor]:
        """Mean and variance of the posterior, (…, latent_dim), given context (…, n)."""
        columns = [context.observations, context.actions, context.rewards.unsqueeze(-1)]
        if self.next_observation:
            columns.append(context.next_observations)
        means, raw = self.net(torch.cat(columns, dim=-1)).chunk(2, dim=-1)
        return product_of_gaussians(means, nn.functional.softplus(raw))


class PearlLearner(OffPolicyLearner):
    """Alternates visits to train tasks with gradient steps of encoder, critics, value and policy.

    Args:
        config: Settings of the run.
    """

    config: PearlSettings

    def __init__(self, config: PearlSettings) -> None:
        super().__init__(config)
        first = max(config.initial_episodes, config.prior_episodes * config.n_workers)
        self.context = self.new_replay(first)  # episodes collected with z from the prior
        with seeded_weights(stream_seed(config.seed, WEIGHTS)):
            self.encoder = ContextEncoder(
                self.sizes,
                config.latent_dim,
                config.encoder_hidden_sizes,
                config.next_observation_in_context,
            ).to(self.device)
            self.sac = ValueSAC(
                self.sizes.observation_dim + config.latent_dim,
                self.sizes.action_dim,
                config.net_arch,
                rate=config.learning_rate,
                gamma=config.gamma,
                tau=config.tau,
                ent_coef=config.ent_coef,
                reward_scale=config.reward_scale,
                regularization=config.policy_regularization,
            ).to(self.device)
        self.networks = {"encoder": self.encoder, "sac": self.sac}
        parameters = [*self.sac.critics.parameters(), *self.encoder.parameters()]
        critics = adam(parameters, config.learning_rate)
        self.optimizers = {"critics": critics, **self.sac.optimizers}

    def replays(self) -> dict[str, TaskReplay]:
        """All episodes, and those with z from the prior since a task's last visit."""
        return {"replay": self.replay, "context": self.context}

    def visit(self, tasks: NDArray[np.int64], initial: bool) -> int:
        """Collect episodes with z ~ prior, then with z ~ posterior given those of this visit."""
        config = self.config
        n_prior = config.initial_episodes if initial else config.prior_episodes
        n_episodes = n_prior if initial else n_prior + config.posterior_episodes
        for task in tasks:
            self.context.clear(task)

        def finished(row: int, number: int, episode: Episode) -> None:
            self.replay.add(tasks[row], episode)
            if number < n_prior:
                self.context.add(tasks[row], episode)
            self.note_return("prior" if number < n_prior else "posterior", episode)

        behaviour = PearlExploration(self, tasks, n_prior)
        return self.collect(behaviour, tasks, n_episodes, finished)

    def update(self) -> Mapping[str, Tensor]:
        """Take one step of encoder and critics, value and target, and policy."""
        config, n_tasks = self.config, len(self.tasks)
        tasks = self.rng.integers(n_tasks, size=config.meta_batch)
        context = self.context.draw(tasks, config.context_size, self.rng)
        places = self.replay.draw(tasks, config.batch_size, self.rng)
        batch = self.replay.take(places, self.device)
        return self.learn_from(self.context.take(context, self.device), batch)

    def learn_from(self, context: Transitions, batch: Transitions) -> Mapping[str, Tensor]:
        """Like :meth:`update`, with the given context (tasks, c) and batch (tasks, n)."""
        mean, variance = self.encoder(context)
        z = mean + variance.sqrt() * self._noise(mean.shape)
        columns = z.unsqueeze(1).expand(-1, batch.rewards.shape[1], -1)
        inputs = torch.cat([batch.observations, columns], dim=-1)
        following = torch.cat([batch.next_observations, columns], dim=-1)
        critic_loss = self.sac.critic_loss(batch, inputs, following)
        kl = kl_to_standard_normal(mean, variance).sum()
        descend(self.optimizers["critics"], critic_loss + self.config.kl_weight * kl)
        losses = self.sac.update_policy(inputs.detach(), self.generator)
        latent = {"kl": kl / len(mean), "z_std": variance.sqrt().mean()}
        found = {"critic_loss": critic_loss, **latent, **losses}
        return {name: value.detach() for name, value in found.items()}

    @torch.no_grad()
    def posterior(self, context: Transitions) -> tuple[Tensor, Tensor]:
        """Mean and variance given context (…, n), without gradient."""
        mean, variance = self.encoder(context)
        return mean, variance

    def _noise(self, shape: Any) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def actor(self) -> PearlActor:
        """Explores with z ~ prior for N − 1 episodes, and plays the last with z ~ posterior."""
        return PearlActor(self)
