"""The scale in which the Gaussian VAE sees rewards."""

from __future__ import annotations

import torch
from torch import nn

from ldm_wrappers.latent_dynamics.config import Scale


class RewardScale(nn.Module):
    """Shifts and scales rewards for encoder and decoder, and imagined rewards back.

    The squared error of the Gaussian likelihood is added to a KL term whose weight does not depend
    on units, so with rewards in the thousands nothing would keep the posterior near the prior.

    Args:
        scale: A number that rewards are divided by, or ``"running"``: mean and standard deviation
            of the rewards in the trainer's buffer, computed before each training. They are buffers
            of the module and saved with the model.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, scale: Scale = 1.0) -> None:
        super().__init__()
        self.scale = scale
        if scale == "running":
            self.register_buffer("mean", torch.zeros(()))
            self.register_buffer("std", torch.ones(()))

    def normalize(self, rewards: torch.Tensor) -> torch.Tensor:
        """Rewards of the environment in the model's scale, same shape."""
        if self.scale == "running":
            return (rewards - self.mean) / self.std
        return rewards if self.scale == 1.0 else rewards / self.scale

    def denormalize(self, values: torch.Tensor) -> torch.Tensor:
        """Inverse of :meth:`normalize`."""
        if self.scale == "running":
            return values * self.std + self.mean
        return values if self.scale == 1.0 else values * self.scale

    def fit(self, mean: float, std: float) -> None:
        """Set the moments of the rewards seen so far, if the scale is running."""
        if self.scale != "running":
            return
        # constant rewards have no scale: only rounding would be left
        self.mean.fill_(mean)
        self.std.fill_(std if std > 1e-6 * abs(mean) else 1.0)
