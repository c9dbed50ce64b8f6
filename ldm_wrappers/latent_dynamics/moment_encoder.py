"""A posterior q(m | trajectory so far) from moments of its transitions, whatever their order."""

from __future__ import annotations

import math

import torch
from torch import nn

from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.posterior import Posterior, initialize_std
from ldm_wrappers.latent_dynamics.reward_scale import RewardScale
from ldm_wrappers.latent_dynamics.transition import TransitionSpec

_RIDGE = 0.03  # of the slopes, in squared units of projections
_COUNT_UNIT = math.log(400.0)


class MomentEncoder(nn.Module):
    """Regresses rewards on what was seen, and reads the posterior off the coefficients.

    A task is a reward function of (s, a, s'), so what identifies it is how rewards vary with
    states and actions, not in which order they came (Rakelly et al., 2019, "PEARL", section 4.1).
    From the transitions so far it keeps sums of

    * ReLU features of (s', a, r),
    * linear projections g(s', a), their squares and their products with r,
    * r and r².

    The network that reads the posterior sees means of all of them, the covariances of each
    projection with the reward, and slopes, covariance / (variance + 0.03): the coefficients of
    one-variable ridge regressions. A network on plain features has to discover products of
    reward and position before it can tell in which direction a reward grows, and spends most of
    its training on that.

    Sums and their count are the recurrent state, so that beliefs are filtered as with the GRU.

    Args:
        spec: Sizes of observations and actions.
        config: Sizes: ``encoder_features``, ``encoder_projections`` and ``encoder_hidden_size``.
        reward_scale: Unit of rewards.
        observation_scale: Unit of observations.
    """

    def __init__(
        self,
        spec: TransitionSpec,
        config: LatentDynamicsConfig,
        reward_scale: RewardScale,
        observation_scale: ObservationScale,
    ) -> None:
        super().__init__()
        self.spec = spec
        # in a tuple: modules of the model's own, and saved once
        self._scales = (reward_scale, observation_scale)
        seen = spec.observation_size + spec.action_size
        n_features, n_projections = config.encoder_features, config.encoder_projections
        self._parts = [n_features, n_projections, n_projections, n_projections, 1, 1]
        self.hidden_size = sum(self._parts) + 1
        width = config.encoder_hidden_size
        self.features = nn.Linear(seen + 1, n_features)
        self.projections = nn.Linear(seen, n_projections)
        self.body = nn.Sequential(
            nn.Linear(n_features + 4 * n_projections + 3, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.mean = nn.Linear(width, config.latent_dim)
        self.logvar = nn.Linear(width, config.latent_dim)
        initialize_std(self.logvar, config.initial_posterior_std)

    def initial_hidden(self, batch_size: int) -> torch.Tensor:
        """No sums and a count of 0, float32 (batch_size, hidden_size)."""
        return self.mean.weight.new_zeros(batch_size, self.hidden_size)

    def posterior(self, hidden: torch.Tensor) -> Posterior:
        """Read the posterior off sums and counts (…, hidden_size)."""
        count = hidden[..., -1:]
        means = hidden[..., :-1] / count.clamp(min=1.0)
        features, g, g_reward, g_square, reward, reward_square = means.split(self._parts, dim=-1)
        covariance = g_reward - g * reward
        variance = (g_square - g.square()).clamp(min=0.0)
        slopes = covariance / (variance + _RIDGE)
        spread = reward_square - reward.square()
        read = (features, g, covariance, variance, slopes, reward, spread)
        known = torch.cat([*read, torch.log1p(count) / _COUNT_UNIT], dim=-1)
        hidden = self.body(known)
        return Posterior(self.mean(hidden), self.logvar(hidden))

    def embed(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> torch.Tensor:
        """What a transition adds to the state, (…, hidden_size); the last column counts it.

        Args:
            actions: float32 (…, action_columns).
            rewards: float32 (…).
            next_observations: float32 (…, observation_size).
        """
        reward_scale, observation_scale = self._scales
        seen = torch.cat(
            [observation_scale.normalize(next_observations), self.spec.encode_actions(actions)],
            dim=-1,
        )
        reward = reward_scale.normalize(rewards).unsqueeze(-1)
        features = torch.relu(self.features(torch.cat([seen, reward], dim=-1)))
        g = self.projections(seen)
        parts = (features, g, g * reward, g.square(), reward, reward.square())
        return torch.cat([*parts, torch.ones_like(reward)], dim=-1)

    def step(
        self,
        hidden: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Filter one transition per worker: hidden (batch, hidden_size) to the next one."""
        return hidden + self.embed(actions, rewards, next_observations)

    def states(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> torch.Tensor:
        """Sums and counts for every encoded length 0…T, as :meth:`Encoder.states`."""
        rows = self.embed(actions, rewards, next_observations)
        start = self.initial_hidden(rewards.shape[1]).unsqueeze(0)
        return torch.cat([start, rows.cumsum(0)])

    def forward(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> Posterior:
        """Posteriors for every encoded length 0…T, as :meth:`Encoder.forward`."""
        return self.posterior(self.states(actions, rewards, next_observations))

    def at(
        self,
        lengths: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> Posterior:
        """Posteriors for some encoded lengths, int64 (k, batch): arrays (k, batch, latent_dim)."""
        rows = self.embed(actions, rewards, next_observations)
        times = torch.arange(len(rows), device=rows.device).unsqueeze(-1)
        inside = (times < lengths.unsqueeze(1)).to(rows.dtype)
        return self.posterior(torch.einsum("ktb,tbf->kbf", inside, rows))
