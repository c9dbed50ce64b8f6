"""Multilayer perceptrons, the tanh-Gaussian policy head, and slowly moving targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import nn

Tensor = torch.Tensor
LOG_STD_RANGE = (-20.0, 2.0)


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given widths, inputs first, with ReLU between them.

    Raises:
        ValueError: There are fewer than two widths, or one is not positive.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"expected at least two positive widths, got {tuple(sizes)}")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def squashed_log_prob(pre_tanh: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log density of tanh(u), u ~ N(mean, exp(log_std)²), summed over the last axis.

    log(1 - tanh²u) = 2 (log 2 - u - softplus(-2u)) is exact where tanh rounds to ±1.
    """
    normal = -0.5 * ((pre_tanh - mean) / log_std.exp()).square() - log_std
    normal = normal - 0.5 * math.log(2.0 * math.pi)
    slope = 2.0 * (math.log(2.0) - pre_tanh - nn.functional.softplus(-2.0 * pre_tanh))
    return (normal - slope).sum(dim=-1)


class SquashedGaussian(nn.Module):
    """A policy whose actions are tanh of a diagonal Gaussian, so that they lie in (-1, 1).

    Args:
        input_dim: Columns of the input.
        hidden: Widths of the hidden layers.
        action_dim: Columns of an action.
    """

    def __init__(self, input_dim: int, hidden: Sequence[int], action_dim: int) -> None:
        super().__init__()
        self.net = mlp((input_dim, *hidden, 2 * action_dim))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean before tanh and log standard deviation, clamped to [-20, 2]: (..., action_dim)."""
        mean, log_std = self.net(inputs).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def sample(self, inputs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Reparametrised actions (..., action_dim) and their log-probabilities (...)."""
        mean, log_std = self(inputs)
        noise = torch.randn(
            mean.shape, generator=generator, dtype=mean.dtype, device=generator.device
        )
        pre_tanh = mean + log_std.exp() * noise
        return pre_tanh.tanh(), squashed_log_prob(pre_tanh, mean, log_std)

    def mode(self, inputs: Tensor) -> Tensor:
        """tanh of the mean: the deterministic action."""
        return torch.tanh(self(inputs)[0])


@torch.no_grad()
def polyak(targets: Iterable[Tensor], sources: Iterable[Tensor], rate: float) -> None:
    """target ← (1 - rate) target + rate source, for each pair, in place."""
    for target, source in zip(targets, sources, strict=True):
        target.lerp_(source, rate)
