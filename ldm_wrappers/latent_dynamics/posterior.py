"""Diagonal Gaussians over the latent, as all encoders return them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn


class Posterior(NamedTuple):
    """Diagonal Gaussians over the latent.

    Attributes:
        mean: float32 (…, latent_dim).
        logvar: float32 (…, latent_dim), logarithm of the variance.
    """

    mean: torch.Tensor
    logvar: torch.Tensor


def initialize_std(logvar: nn.Linear, std: float | None) -> None:
    """Initialise the log-variance layer near a standard deviation; ``None`` leaves it as it is."""
    if std is None:
        return
    with torch.no_grad():
        logvar.weight.mul_(0.1)
        logvar.bias.fill_(2.0 * math.log(std))


def kl_divergence(posterior: Posterior, prior: Posterior) -> torch.Tensor:
    """KL(posterior || prior) of diagonal Gaussians, summed over the latent: (…,)."""
    difference = posterior.mean - prior.mean
    log_ratio = posterior.logvar - prior.logvar
    terms = log_ratio.exp() + difference.square() * torch.exp(-prior.logvar) - 1.0 - log_ratio
    return 0.5 * terms.sum(dim=-1)


def sample(posterior: Posterior, generator: torch.Generator | None) -> torch.Tensor:
    """One reparametrised sample per posterior, shaped like its mean."""
    noise = torch.randn(
        posterior.mean.shape, generator=generator, device=posterior.mean.device, dtype=torch.float32
    )
    return posterior.mean + noise * torch.exp(0.5 * posterior.logvar)
