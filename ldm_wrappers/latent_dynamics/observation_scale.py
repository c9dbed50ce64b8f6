"""In which unit the VAE sees observations."""

from __future__ import annotations

import torch
from torch import nn

CLIP = 5.0
"""Scaled observations are cut off here, so that one wild number cannot outweigh a batch."""


class ObservationScale(nn.Module):
    """Shifts and scales the columns of observations for encoder and decoder.

    Positions of centimetres and joint velocities of ten radians a second stand side by side in a
    MuJoCo state. In their own units the large ones drown the small ones, which the reward often
    depends on. The moments are those of the next observations of all batches that the trainer
    has drawn, each batch counting alike; they are buffers of the module and saved with the model.

    Args:
        size: Number of columns.
        active: False passes observations through untouched and saves nothing.
    """

    mean: torch.Tensor
    square: torch.Tensor
    n_batches: torch.Tensor

    def __init__(self, size: int, active: bool) -> None:
        super().__init__()
        self.active = active
        if active:
            self.register_buffer("mean", torch.zeros(size))
            self.register_buffer("square", torch.ones(size))
            self.register_buffer("n_batches", torch.zeros(()))

    def normalize(self, observations: torch.Tensor) -> torch.Tensor:
        """Observations (…, size) in the model's unit, same shape."""
        if not self.active:
            return observations
        variance = (self.square - self.mean.square()).clamp(min=1e-8)
        return ((observations - self.mean) * variance.rsqrt()).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def observe(self, next_observations: torch.Tensor, lengths: torch.Tensor) -> None:
        """Take in a batch of trajectories: (T, batch, size), int64 (batch,)."""
        if not self.active:
            return
        times = torch.arange(len(next_observations), device=lengths.device).unsqueeze(-1)
        inside = (times < lengths).unsqueeze(-1)
        count = lengths.sum()
        values = torch.where(inside, next_observations, 0.0)
        self.n_batches += 1
        self.mean += (values.sum((0, 1)) / count - self.mean) / self.n_batches
        self.square += (values.square().sum((0, 1)) / count - self.square) / self.n_batches
