"""Action distributions of batches of states, for one policy or one per task."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions, one per action dimension.

    Attributes:
        mean: Float (…, action_dim).
        log_std: Logarithm of the standard deviation, broadcast against ``mean``.
    """

    mean: torch.Tensor
    log_std: torch.Tensor

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Log density (…) of actions (…, action_dim), summed over the action dimensions."""
        standardised = (actions - self.mean) * torch.exp(-self.log_std)
        constant = 0.5 * LOG_2PI * actions.shape[-1]
        return -0.5 * standardised.square().sum(-1) - self.log_std.sum(-1) - constant

    def kl_to(self, other: Gaussian) -> torch.Tensor:
        """KL(self ‖ other) of each state, (…)."""
        variance_ratio = torch.exp(2 * (self.log_std - other.log_std))
        distance = ((self.mean - other.mean) * torch.exp(-other.log_std)).square()
        terms = other.log_std - self.log_std + 0.5 * (variance_ratio + distance - 1)
        return terms.sum(-1)

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """One action per state, (…, action_dim), drawn from ``generator``."""
        noise = torch.randn(
            self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device
        )
        return self.mean + noise * torch.exp(self.log_std)

    def mode(self) -> torch.Tensor:
        """The mean."""
        return self.mean


@dataclass(frozen=True)
class Categorical:
    """Distributions over finitely many actions.

    Attributes:
        log_probs: Normalised log probabilities, float (…, n_actions).
    """

    log_probs: torch.Tensor

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Log probability (…) of actions, int64 (…)."""
        return self.log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)

    def kl_to(self, other: Categorical) -> torch.Tensor:
        """KL(self ‖ other) of each state, (…)."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(-1)

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """One action per state, int64 (…), from one uniform number per state."""
        uniform = torch.rand(
            self.log_probs.shape[:-1],
            generator=generator,
            dtype=self.log_probs.dtype,
            device=self.log_probs.device,
        )
        below = self.log_probs.exp().cumsum(-1)[..., :-1]  # the last edge is 1, despite rounding
        return (uniform.unsqueeze(-1) >= below).sum(-1)

    def mode(self) -> torch.Tensor:
        """The most probable action, int64 (…)."""
        return self.log_probs.argmax(-1)


Distribution = Gaussian | Categorical
