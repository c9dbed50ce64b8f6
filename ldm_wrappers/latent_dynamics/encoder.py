"""Encoder-v: the recurrent posterior q(m | trajectory so far) (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn

from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.gru import GRU
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.posterior import Posterior, initialize_std
from ldm_wrappers.latent_dynamics.reward_scale import RewardScale
from ldm_wrappers.latent_dynamics.transition import TransitionSpec


class Encoder(nn.Module):
    """Embeds (a, r, s'), runs a GRU over time and reads mean and log-variance off its state.

    The posterior before the first transition is read off the zero state, so it is learned too.
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
        self.hidden_size = config.encoder_hidden_size
        sizes = {
            "next_observation": (spec.observation_size, config.encoder_observation_size),
            "action": (spec.action_size, config.encoder_action_size),
            "reward": (1, config.encoder_reward_size),
        }
        self.embeddings = nn.ModuleDict(
            {name: nn.Linear(size, width) for name, (size, width) in sizes.items() if width}
        )
        width = sum(width for _, width in sizes.values())
        self.gru = GRU(width, self.hidden_size)
        for name, parameter in self.gru.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
            else:
                nn.init.orthogonal_(parameter)
        self.mean = nn.Linear(self.hidden_size, config.latent_dim)
        self.logvar = nn.Linear(self.hidden_size, config.latent_dim)
        initialize_std(self.logvar, config.initial_posterior_std)

    def initial_hidden(self, batch_size: int) -> torch.Tensor:
        """The zero GRU state, float32 (batch_size, hidden_size)."""
        return self.mean.weight.new_zeros(batch_size, self.hidden_size)

    def posterior(self, hidden: torch.Tensor) -> Posterior:
        """Read the posterior off GRU states (…, hidden_size)."""
        return Posterior(self.mean(hidden), self.logvar(hidden))

    def embed(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> torch.Tensor:
        """Embed transitions: (…, action_columns), (…), (…, observation_size) to (…, width)."""
        parts = []
        if "next_observation" in self.embeddings:
            scaled_observations = self._scales[1].normalize(next_observations)
            parts.append(self.embeddings["next_observation"](scaled_observations))
        if "action" in self.embeddings:
            parts.append(self.embeddings["action"](self.spec.encode_actions(actions)))
        if "reward" in self.embeddings:
            scaled = self._scales[0].normalize(rewards)
            parts.append(self.embeddings["reward"](scaled.unsqueeze(-1)))
        return torch.relu(torch.cat(parts, dim=-1))

    def step(
        self,
        hidden: torch.Tensor,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Filter one transition per worker: hidden (batch, hidden_size) to the next one."""
        return self.gru.step(self.embed(actions, rewards, next_observations), hidden)

    def states(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> torch.Tensor:
        """GRU states for every encoded length 0…T of whole trajectories, time first.

        Args:
            actions: float32 (T, batch, action_columns).
            rewards: float32 (T, batch).
            next_observations: float32 (T, batch, observation_size).

        Returns:
            float32 (T + 1, batch, hidden_size); index t has seen the first t transitions.
        """
        hidden = self.initial_hidden(rewards.shape[1]).unsqueeze(0)
        outputs, _ = self.gru(self.embed(actions, rewards, next_observations), hidden)
        return torch.cat([hidden, outputs])

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
            actions: As for :meth:`states`, and so are the other two.
            rewards: float32 (T, batch).
            next_observations: float32 (T, batch, observation_size).
        """
        workers = torch.arange(len(lengths), device=lengths.device)
        return self.states(actions, rewards, next_observations)[lengths, workers]

    def forward(
        self, actions: torch.Tensor, rewards: torch.Tensor, next_observations: torch.Tensor
    ) -> Posterior:
        """Posteriors for every encoded length, arrays (T + 1, batch, latent_dim).

        Arguments as :meth:`states`.
        """
        return self.posterior(self.states(actions, rewards, next_observations))
