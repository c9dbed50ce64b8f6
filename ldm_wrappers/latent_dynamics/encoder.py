"""Encoder-v: the recurrent posterior q(m | trajectory so far) (paper, section 3.2)."""

from __future__ import annotations

import torch
from torch import nn

from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.gru import GRU
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.posterior import Posterior
from ldm_wrappers.latent_dynamics.reward_scale import RewardScale
from ldm_wrappers.latent_dynamics.trajectory_encoder import TrajectoryEncoder
from ldm_wrappers.latent_dynamics.transition import TransitionSpec


class Encoder(TrajectoryEncoder):
    """Embeds (a, r, s'), runs a GRU over time and reads mean and log-variance from its state.

    The posterior before the first transition is read from the zero state, so it is learned too.
    """

    def __init__(
        self,
        spec: TransitionSpec,
        config: LatentDynamicsConfig,
        reward_scale: RewardScale,
        observation_scale: ObservationScale,
    ) -> None:
        super().__init__(spec, reward_scale, observation_scale)
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
        self.gru = GRU(width, self.hidden_size).orthogonal_()
        self._make_heads(self.hidden_size, config)

    def posterior(self, hidden: torch.Tensor) -> Posterior:
        """Read the posterior from GRU states (…, hidden_size)."""
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

    def _advance(self, hidden: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return self.gru.step(embedded, hidden)

    def _scan(self, start: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return self.gru(embedded, start)[0]
