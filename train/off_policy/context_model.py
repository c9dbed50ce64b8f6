"""MIER's reward model, conditioned on a context that is inferred by gradient steps.

Mendonca et al., "Meta-Reinforcement Learning Robust to Distributional Shift via Model
Identification and Experience Relabeling" (arXiv 2006.07178).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from train.off_policy.episodes import Transitions

Tensor = torch.Tensor
BOUND_WEIGHT = 0.01


class ContextModel(nn.Module):
    """p̂(r | s, a, φ), or p̂(r, s' − s | s, a, φ): a Gaussian with bounded log variances.

    Args:
        observation_dim: Dimension of observations.
        action_dim: Dimension of actions.
        context_dim: Dimension of φ.
        hidden: Widths of the hidden layers (leaky ReLU).
        dynamics: Whether to predict the change of the observation too.
    """

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        context_dim: int,
        hidden: Sequence[int],
        dynamics: bool = False,
    ) -> None:
        super().__init__()
        self.outputs = 1 + (observation_dim if dynamics else 0)
        widths = (observation_dim + action_dim + context_dim, *hidden)
        layers: list[nn.Module] = []
        for inputs, width in pairwise(widths):
            layers += [nn.Linear(inputs, width), nn.LeakyReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 2 * self.outputs))
        self.highest = nn.Parameter(torch.full((self.outputs,), 0.5))
        self.lowest = nn.Parameter(torch.full((self.outputs,), -10.0))

    def forward(self, observations: Tensor, actions: Tensor, context: Tensor) -> tuple[Tensor, ...]:
        """Means and log variances (…, outputs); contexts have the leading shape of the others."""
        columns = torch.cat([observations, actions, context], dim=-1)
        mean, raw = self.net(columns).chunk(2, dim=-1)
        softplus = nn.functional.softplus
        log_variance = self.highest - softplus(self.highest - raw)
        return mean, self.lowest + softplus(log_variance - self.lowest)

    def losses(self, batch: Transitions, contexts: Tensor) -> Tensor:
        """Mean of err² e^{−lv} + lv per task, summed over reward and changes: (tasks,).

        Args:
            batch: Transitions (tasks, n, …).
            contexts: (tasks, context_dim).
        """
        columns = contexts.unsqueeze(1).expand(-1, batch.rewards.shape[1], -1)
        mean, log_variance = self(batch.observations, batch.actions, columns)
        target = batch.rewards.unsqueeze(-1)
        if self.outputs > 1:
            change = batch.next_observations - batch.observations
            target = torch.cat([target, change], dim=-1)
        terms = (mean - target).square() * (-log_variance).exp() + log_variance
        loss = terms[..., 0].mean(dim=1)
        return loss + terms[..., 1:].mean(dim=(1, 2)) if self.outputs > 1 else loss

    def bound_penalty(self) -> Tensor:
        """0.01 (Σ highest − Σ lowest), which keeps the bounds tight."""
        return BOUND_WEIGHT * (self.highest.sum() - self.lowest.sum())

    @torch.no_grad()
    def sample_rewards(
        self, observations: Tensor, actions: Tensor, context: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Rewards r ~ p̂ for one context (context_dim,), (n,)."""
        columns = context.expand(len(observations), -1)
        mean, log_variance = self(observations, actions, columns)
        noise = torch.randn(len(mean), generator=generator, device=mean.device)
        return mean[:, 0] + (0.5 * log_variance[:, 0]).exp() * noise


def adapt_context(
    model: ContextModel,
    batch: Transitions,
    start: Tensor,
    rates: Sequence[float],
    clip: float,
    *,
    differentiable: bool = False,
) -> Tensor:
    """φ ← φ − rate · clip_norm(∇_φ L(φ; batch)), once per rate, for all tasks in parallel.

    A task's loss depends only on its own row of φ, so the gradient of the sum contains the
    gradients of all rows.

    Args:
        model: The model; its weights are constant unless ``differentiable``.
        batch: Transitions (tasks, n, …).
        start: φ_0, (tasks, context_dim).
        rates: Learning rates, one per step.
        clip: Maximum norm of a row's gradient.
        differentiable: Keep the graph, for gradients of the result with respect to the weights.
    """
    contexts = start if differentiable else start.detach()
    with torch.enable_grad():
        for rate in rates:
            if not contexts.requires_grad:
                contexts = contexts.detach().requires_grad_()
            loss = model.losses(batch, contexts).sum()
            (gradient,) = torch.autograd.grad(loss, contexts, create_graph=differentiable)
            norm = gradient.norm(dim=-1, keepdim=True)
            gradient = gradient * (clip / norm.clamp(min=clip))
            contexts = contexts - rate * gradient
            if not differentiable:
                contexts = contexts.detach()
    return contexts
