"""Multilayer perceptrons, the tanh-Gaussian policy, critics, and target networks."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor
LOG_STD_RANGE = (-20.0, 2.0)


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given widths, inputs first, with ReLU between them.

    Raises:
        ValueError: If there are fewer than two widths, or one is not positive.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"expected at least two positive widths, got {tuple(sizes)}")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def squashed_log_prob(pre_tanh: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of tanh(u), u ~ N(mean, exp(log_std)²), summed over the last axis.

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
        return self.draw(mean, log_std, generator)

    @staticmethod
    def draw(mean: Tensor, log_std: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Like :meth:`sample`, from the output of :meth:`forward`."""
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
    torch._foreach_lerp_(list(targets), list(sources), rate)


class TwinCritics(nn.Module):
    """Two action values Q_j(inputs, action).

    Args:
        input_dim: Columns of the input.
        hidden: Widths of the hidden layers.
        action_dim: Columns of an action.
    """

    def __init__(self, input_dim: int, hidden: Sequence[int], action_dim: int) -> None:
        super().__init__()
        sizes = (input_dim + action_dim, *hidden, 1)
        self.first, self.second = mlp(sizes), mlp(sizes)

    def forward(self, inputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Both values, each (...)."""
        columns = torch.cat([inputs, actions], dim=-1)
        return self.first(columns).squeeze(-1), self.second(columns).squeeze(-1)

    def smallest(self, inputs: Tensor, actions: Tensor) -> Tensor:
        """The smaller of the two values, (...)."""
        return torch.minimum(*self(inputs, actions))


def target_of(module: nn.Module) -> Any:
    """A copy that is not trained by gradients."""
    return copy.deepcopy(module).requires_grad_(False)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Compute no gradients for a module's weights inside the block, only through the module."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def adam(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Adam:
    """Adam with its fused kernel, which is much faster than the default one on CPUs."""
    return torch.optim.Adam(parameters, lr=rate, fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One gradient step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@contextlib.contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw initial weights from a seed, without changing PyTorch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
