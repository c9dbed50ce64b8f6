"""The reward decoder p(r | m, s, a, s') and its two likelihoods (paper, sections 3.2 and 3.3)."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.observation_scale import ObservationScale
from ldm_wrappers.latent_dynamics.reward_scale import RewardScale
from ldm_wrappers.latent_dynamics.transition import TransitionSpec


class RewardDecoder(nn.Module):
    """A small network whose first layer is split into a latent part and a transition part.

    The first layer of a network on ``[m, e(s, a, s')]`` is linear, so its value is the sum of a
    part that depends only on m and a part that depends only on the transition. Both are computed
    once, for K latents and T transitions, and the K · T sums start at the second layer. With many
    encoded lengths per trajectory this saves the widest matrix product of the ELBO.

    Dropout acts on the embedded transition (never on the latent). All latents that decode a
    transition share its mask, which does not change the dropout rate.

    Attributes:
        embedding_size: Width of the embedded transition, which dropout acts on; 0 if the decoder
            sees nothing of a transition (or only selects a head by it).
    """

    def __init__(
        self,
        spec: TransitionSpec,
        config: LatentDynamicsConfig,
        reward_scale: RewardScale,
        observation_scale: ObservationScale,
    ) -> None:
        super().__init__()
        # in a tuple, not registered here: the model owns and saves them
        self._scales = (reward_scale, observation_scale)
        self.spec = spec
        self.config = config
        sizes = {
            "observation": (spec.observation_size, config.decoder_observation_size),
            "action": (spec.action_size, config.decoder_action_size),
            "next_observation": (spec.observation_size, config.decoder_observation_size),
        }
        used = [
            name
            for name in config.decoder_inputs
            if not (name == "next_observation" and config.decoder_heads > 1)
        ]
        self.embeddings = nn.ModuleDict({name: nn.Linear(*sizes[name]) for name in used})
        first = config.decoder_hidden_sizes[0]
        self.latent_layer = nn.Linear(config.latent_dim, first)
        width = sum(sizes[name][1] for name in used)
        self.embedding_size = width
        self.transition_layer = nn.Linear(width, first, bias=False) if width else None
        widths = (*config.decoder_hidden_sizes, config.decoder_heads)
        self.layers = nn.ModuleList([nn.Linear(i, o) for i, o in itertools.pairwise(widths)])

    def dropout_mask(self, *shape: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Masks of embedded transitions, float32 (*shape, embedding_size): 0 or 1 / (1 − p_drop).

        torch's own dropout can only use the global generator.
        """
        keep = 1.0 - self.config.p_drop
        device = self.latent_layer.weight.device
        return (
            torch.rand(*shape, self.embedding_size, generator=generator, device=device) < keep
        ) / keep

    def transition_part(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """First-layer contribution of transitions (…, columns) as (…, first hidden width)."""
        if self.transition_layer is None:
            return None
        values = {
            "observation": observations,
            "action": actions,
            "next_observation": next_observations,
        }
        parts = []
        for name, embedding in self.embeddings.items():
            value = values[name]
            if name == "action":
                parts.append(embedding(self.spec.encode_actions(value)))
            else:
                parts.append(embedding(self._scales[1].normalize(value)))
        embedded = torch.relu(torch.cat(parts, dim=-1))
        return self.transition_layer(embedded if mask is None else embedded * mask)

    def head(
        self,
        latents: torch.Tensor,
        transition_part: torch.Tensor | None,
        next_observations: torch.Tensor,
    ) -> torch.Tensor:
        """Raw decoder output for broadcastable latents and transitions: (…,)."""
        hidden = self.latent_layer(latents)
        if transition_part is not None:
            hidden = hidden + transition_part
        for layer in self.layers:
            hidden = layer(torch.relu(hidden))
        if self.config.decoder_heads == 1:
            return hidden.squeeze(-1)
        index = self.head_index(next_observations).unsqueeze(-1)
        shape = torch.broadcast_shapes(hidden.shape[:-1], index.shape[:-1])
        return torch.gather(
            hidden.expand(*shape, hidden.shape[-1]), -1, index.expand(*shape, 1)
        ).squeeze(-1)

    def head_index(self, next_observations: torch.Tensor) -> torch.Tensor:
        """Head of integer-valued s' (…, observation_size): its mixed-radix number, (…,)."""
        side = round(self.config.decoder_heads ** (1.0 / self.spec.observation_size))
        index = torch.zeros_like(next_observations[..., 0], dtype=torch.long)
        for column in range(self.spec.observation_size):
            index = index * side + next_observations[..., column].round().long().clamp(0, side - 1)
        return index

    def forward(
        self,
        latents: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Raw output: a logit (Bernoulli) or a scaled reward (Gaussian), shape (…,).

        Arguments as in :meth:`LatentDynamics.imagine_reward`.
        """
        part = self.transition_part(observations, actions, next_observations, mask)
        return self.head(latents, part, next_observations)

    def expected_reward(self, output: torch.Tensor) -> torch.Tensor:
        """Expected reward of a raw output; Bernoulli: low + (high − low) · p."""
        if self.config.likelihood == "gaussian":
            return self._scales[0].denormalize(output)
        low, high = self.config.reward_low, self.config.reward_high
        return low + (high - low) * torch.sigmoid(output)

    def log_likelihood(self, output: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
        """log p(r | output), broadcast; the Gaussian one is −(r̂ − r)² without its constant.

        Rewards are the environment's; the Gaussian error is in units of ``reward_scale``.
        """
        if self.config.likelihood == "gaussian":
            return -(output - self._scales[0].normalize(rewards)).square()
        middle = 0.5 * (self.config.reward_low + self.config.reward_high)
        target = (rewards > middle).to(output.dtype).expand_as(output)
        return -F.binary_cross_entropy_with_logits(output, target, reduction="none")
