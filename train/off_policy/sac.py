"""Soft actor-critic on inputs that contain a task variable in addition to the observation.

There are two forms: PEARL's has a state value and its target (Haarnoja et al., arXiv 1801.01290), a
fixed entropy coefficient and scaled rewards; MIER's has two target critics and a learned entropy
coefficient (arXiv 1812.05905).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from train.off_policy.episodes import Transitions
from train.off_policy.networks import (
    SquashedGaussian,
    TwinCritics,
    adam,
    descend,
    frozen,
    mlp,
    polyak,
    target_of,
)

Tensor = torch.Tensor


class ValueSAC(nn.Module):
    """Policy, two critics, a state value and its target.

    Args:
        input_dim: Columns of observation and task variable together.
        action_dim: Columns of an action.
        hidden: Widths of the hidden layers.
        rate: Learning rate.
        gamma: Discount factor.
        tau: Soft update coefficient of the target.
        ent_coef: Entropy coefficient α.
        reward_scale: Factor on the rewards.
        regularization: Weight of the squared pre-tanh means and log standard deviations.
    """

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        hidden: Sequence[int],
        *,
        rate: float,
        gamma: float,
        tau: float,
        ent_coef: float,
        reward_scale: float = 1.0,
        regularization: float = 0.0,
    ) -> None:
        super().__init__()
        self.policy = SquashedGaussian(input_dim, hidden, action_dim)
        self.critics = TwinCritics(input_dim, hidden, action_dim)
        self.value = mlp((input_dim, *hidden, 1))
        self.target_value = target_of(self.value)
        self.gamma, self.tau, self.ent_coef = gamma, tau, ent_coef
        self.reward_scale, self.regularization = reward_scale, regularization
        self.optimizers = {
            "policy": adam(self.policy.parameters(), rate),
            "value": adam(self.value.parameters(), rate),
        }

    def critic_loss(self, batch: Transitions, inputs: Tensor, next_inputs: Tensor) -> Tensor:
        """Σ_j mean (Q_j(s, a) − [r + γ (1 − d) V̄(s')])²; the target has no gradient."""
        with torch.no_grad():
            following = self.target_value(next_inputs).squeeze(-1)
            going_on = self.gamma * (1.0 - batch.terminations)
            target = self.reward_scale * batch.rewards + going_on * following
        first, second = self.critics(inputs, batch.actions)
        return (first - target).square().mean() + (second - target).square().mean()

    def update_policy(self, inputs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Update the value, its target and the policy on constant inputs; return the losses."""
        mean, log_std = self.policy(inputs)
        actions, log_prob = self.policy.draw(mean, log_std, generator)
        with frozen(self.critics):
            q = self.critics.smallest(inputs, actions)
        soft = (q - self.ent_coef * log_prob).detach()
        value_loss = (self.value(inputs).squeeze(-1) - soft).square().mean()
        descend(self.optimizers["value"], value_loss)
        polyak(self.target_value.parameters(), self.value.parameters(), self.tau)
        loss = (self.ent_coef * log_prob - q).mean()
        size = mean.square().mean() + log_std.square().mean()
        descend(self.optimizers["policy"], loss + self.regularization * size)
        return {"value_loss": value_loss, "policy_loss": loss, "entropy": -log_prob.mean()}


class TwinSAC(nn.Module):
    """Policy, two critics with targets, and a learned entropy coefficient.

    Args:
        input_dim: Columns of observation and task variable together.
        action_dim: Columns of an action.
        hidden: Widths of the hidden layers.
        rate: Learning rate.
        gamma: Discount factor.
        tau: Soft update coefficient of the targets.
        target_entropy: Target entropy for learning the coefficient.
        reward_scale: Factor on the rewards.
    """

    def __init__(
        self,
        input_dim: int,
        action_dim: int,
        hidden: Sequence[int],
        *,
        rate: float,
        gamma: float,
        tau: float,
        target_entropy: float,
        reward_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.policy = SquashedGaussian(input_dim, hidden, action_dim)
        self.critics = TwinCritics(input_dim, hidden, action_dim)
        self.target_critics = target_of(self.critics)
        self.log_ent_coef = nn.Parameter(torch.zeros(()))
        self.gamma, self.tau, self.target_entropy = gamma, tau, target_entropy
        self.reward_scale, self.rate = reward_scale, rate
        self.optimizers = self.fresh_optimizers()

    def fresh_optimizers(self) -> dict[str, torch.optim.Adam]:
        """New optimizers, without state."""
        return {
            "policy": adam(self.policy.parameters(), self.rate),
            "critics": adam(self.critics.parameters(), self.rate),
            "ent_coef": adam([self.log_ent_coef], self.rate),
        }

    def critic_loss(
        self, batch: Transitions, inputs: Tensor, next_inputs: Tensor, generator: torch.Generator
    ) -> Tensor:
        """½ Σ_j mean (Q_j(s, a) − [r + γ (1 − d) (min_j Q̄_j(s', a') − α log π(a'))])²."""
        with torch.no_grad():
            actions, log_prob = self.policy.sample(next_inputs, generator)
            following = self.target_critics.smallest(next_inputs, actions)
            following = following - self.log_ent_coef.exp() * log_prob
            going_on = self.gamma * (1.0 - batch.terminations)
            target = self.reward_scale * batch.rewards + going_on * following
        first, second = self.critics(inputs, batch.actions)
        return 0.5 * ((first - target).square().mean() + (second - target).square().mean())

    def update(
        self, batch: Transitions, inputs: Tensor, next_inputs: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Take one gradient step with all networks; return the losses."""
        critic_loss = self.critic_loss(batch, inputs, next_inputs, generator)
        descend(self.optimizers["critics"], critic_loss)
        actions, log_prob = self.policy.sample(inputs, generator)
        with frozen(self.critics):
            q = self.critics.smallest(inputs, actions)
        ent_coef = self.log_ent_coef.exp().detach()
        loss = (ent_coef * log_prob - q).mean()
        descend(self.optimizers["policy"], loss)
        surplus = (log_prob.detach() + self.target_entropy).mean()
        descend(self.optimizers["ent_coef"], -self.log_ent_coef * surplus)
        polyak(self.target_critics.parameters(), self.critics.parameters(), self.tau)
        return {
            "critic_loss": critic_loss,
            "policy_loss": loss,
            "ent_coef": ent_coef,
            "entropy": -log_prob.mean(),
        }
