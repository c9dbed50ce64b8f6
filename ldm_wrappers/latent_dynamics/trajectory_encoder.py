"""Base class of the trajectory encoders."""

from __future__ import annotations

import torch
from torch import nn

from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.posterior import Posterior, initialize_std
from ldm_wrappers.latent_dynamics.reward_scale import RewardScale
from ldm_wrappers.latent_dynamics.transition import TransitionSpec


class TrajectoryEncoder(nn.Module):
    """Filters transitions into a state, from which q(m | trajectory so far) is read.

    A subclass has ``hidden_size`` and defines how transitions are embedded, how an embedded
    transition changes the state, and how the posterior is read.

    Args:
        spec: Sizes of observations and actions.
        reward_scale: Scale of rewards.
        observation_scale: Scale of observations.
    """

    hidden_size: int
    mean: nn.Linear
    logvar: nn.Linear

    def __init__(
        self, spec: TransitionSpec, reward_scale: RewardScale, observation_scale: ObservationScale
    ) -> None:
        super().__init__()
        self.spec = spec
        # in a tuple, not registered here: the model owns and saves them
        self._scales = (reward_scale, observation_scale)

    def _make_heads(self, width: int, config: LatentDynamicsConfig) -> None:
        """Make ``mean`` and ``logvar``, which read ``width`` columns."""
        self.mean = nn.Linear(width, config.latent_dim)
        self.logvar = nn.Linear(width, config.latent_dim)
        initialize_std(self.logvar, config.initial_posterior_std)

    def initial_hidden(self, batch_size: int) -> torch.Tensor:
        """The state before the first transition, zeros, float32 (batch_size, hidden_size)."""
        return self.mean.weight.new_zeros(batch_size, self.hidden_size)

    def posterior(self, hidden: torch.Tensor) -> Posterior:
        """Read the posterior from states (…, hidden_size)."""
        raise NotImplementedError

    def embed(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> torch.Tensor:
        """Embed transitions: (…, action_columns), (…), (…, observation_size) to (…, width)."""
        raise NotImplementedError

    def _advance(self, hidden: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """The state (batch, hidden_size) after an embedded transition (batch, width)."""
        raise NotImplementedError

    def _scan(self, start: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        """States (T, batch, hidden_size) after each of T, from a state (1, batch, hidden_size)."""
        raise NotImplementedError

    def step(
        self,
        hidden: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Filter one transition per worker: hidden (batch, hidden_size) to the next one."""
        return self._advance(hidden, self.embed(actions, rewards, next_observations))

    def states(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> torch.Tensor:
        """States for every encoded length 0…T of whole trajectories, time first.

        Args:
            actions: float32 (T, batch, action_columns).
            rewards: float32 (T, batch).
            next_observations: float32 (T, batch, observation_size).

        Returns:
            float32 (T + 1, batch, hidden_size); index t has seen the first t transitions.
        """
        start = self.initial_hidden(rewards.shape[1]).unsqueeze(0)
        embedded = self.embed(actions, rewards, next_observations)
        return torch.cat([start, self._scan(start, embedded)])

    def states_at(
        self,
        lengths: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """States for one encoded length per trajectory, float32 (batch, hidden_size).

        Args:
            lengths: int64 (batch,), 0 to T.
            actions: float32 (T, batch, action_columns).
            rewards: float32 (T, batch).
            next_observations: float32 (T, batch, observation_size).
        """
        workers = torch.arange(len(lengths), device=lengths.device)
        return self.states(actions, rewards, next_observations)[lengths, workers]

    def forward(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> Posterior:
        """Posteriors for every encoded length, arrays (T + 1, batch, latent_dim).

        Arguments as in :meth:`states`.
        """
        return self.posterior(self.states(actions, rewards, next_observations))
