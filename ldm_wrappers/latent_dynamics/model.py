"""The latent dynamics model: encoder and reward decoder behind one door."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from ldm_wrappers.latent_dynamics.config import LatentDynamicsConfig
from ldm_wrappers.latent_dynamics.decoder import RewardDecoder
from ldm_wrappers.latent_dynamics.encoder import Encoder
from ldm_wrappers.latent_dynamics.transition import FloatArray, TransitionSpec


class LatentDynamics(nn.Module):
    """Variational model of the hidden task: q(m | τ) and p(r | m, s, a, s') (section 3.2).

    Args:
        observation_space: Single (not batched) ``Box`` observation space.
        action_space: Single ``Box`` or ``Discrete`` action space.
        config: Sizes and choices; defaults to the MuJoCo sizes.
        seed: Seed of the weights' initialisation.
        device: Where the weights live.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        config: LatentDynamicsConfig | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config = config or LatentDynamicsConfig()
        self.spec = TransitionSpec.from_spaces(observation_space, action_space)
        if self.config.decoder_heads > 1:
            _check_heads(observation_space, self.config)
        # torch's initialisers draw from the global generator: borrow it, then put it back
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed seeds CUDA too
            self.encoder = Encoder(self.spec, self.config)
            self.decoder = RewardDecoder(self.spec, self.config)
        self.to(device)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return self.encoder.mean.weight.device

    def to_tensor(self, array: FloatArray) -> torch.Tensor:
        """A float32 tensor of an array, where the weights live."""
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)

    @torch.no_grad()
    def imagine_reward(
        self,
        latents: torch.Tensor,
        observations: torch.Tensor,
        actions: torch.Tensor,
        next_observations: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reward r̂ of transitions under latents, without gradients (section 3.3).

        Args:
            latents: float32 (…, latent_dim).
            observations: float32 (…, observation_size).
            actions: float32 (…, action_columns), as :class:`TransitionSpec` stores them.
            next_observations: float32 (…, observation_size).
            mask: Masks of the decoder's ``dropout_mask``, float32 (…, embedding_size), broadcast
                against the transitions; ``None`` switches dropout off.

        Returns:
            float32 (…,).
        """
        output = self.decoder(latents, observations, actions, next_observations, mask)
        return self.decoder.expected_reward(output)


def _check_heads(space: spaces.Space[Any], config: LatentDynamicsConfig) -> None:
    """A multi-head decoder needs one head per cell of a square, integer-valued box from 0."""
    assert isinstance(space, spaces.Box)
    side = round(config.decoder_heads ** (1.0 / int(space.low.size)))
    fits = bool((space.low == 0).all() and (space.high == side - 1).all())
    if not fits or side ** int(space.low.size) != config.decoder_heads:
        raise ValueError(
            f"decoder_heads={config.decoder_heads} needs one head per cell of a Box from 0 with "
            f"equal integer sides, got {space}"
        )
    if "next_observation" not in config.decoder_inputs:
        raise ValueError(
            "a multi-head decoder picks its head by s', so decoder_inputs must name "
            f"'next_observation', got {config.decoder_inputs}"
        )
