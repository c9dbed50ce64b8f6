"""PEARL's posterior over a task: a product of Gaussian factors, one per transition."""

from __future__ import annotations

import torch

Tensor = torch.Tensor
SMALLEST_VARIANCE = 1e-7


def product_of_gaussians(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised product of the densities N(μ_i, σ_i²): σ² = 1 / Σ σ_i⁻², μ = σ² Σ μ_i σ_i⁻².

    The prior is not among the factors. Source: PEARL (arXiv 1903.08254), section 4.

    Args:
        means: float (..., n, latent_dim), n >= 1.
        variances: Same shape, positive; clamped at 1e-7.

    Returns:
        Mean and variance, each (..., latent_dim).

    Raises:
        ValueError: If the shapes differ, or there are no factors.
    """
    if means.shape != variances.shape or means.ndim < 2 or means.shape[-2] < 1:
        raise ValueError(
            "expected means and variances of equal shape (..., n >= 1, latent_dim), got "
            f"{tuple(means.shape)} and {tuple(variances.shape)}; without context use the prior "
            "N(0, 1)"
        )
    precisions = 1.0 / variances.clamp(min=SMALLEST_VARIANCE)
    variance = 1.0 / precisions.sum(dim=-2)
    return variance * (means * precisions).sum(dim=-2), variance


def kl_to_standard_normal(mean: Tensor, variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, I)), summed over the last axis: (..., d) to (...)."""
    return 0.5 * (mean.square() + variance - variance.log() - 1.0).sum(dim=-1)
