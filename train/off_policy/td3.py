"""TD3 whose actor and critics each read a short history through a GRU.

Fujimoto et al. (arXiv 1802.09477); the history is MQL's context (arXiv 1910.00125).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ldm_wrappers.latent_dynamics.gru import GRU
from train.off_policy.episodes import Transitions
from train.off_policy.networks import TwinCritics, adam, descend, frozen, mlp, polyak, target_of

Tensor = torch.Tensor
TARGET_NOISE_CLIP = 0.5


class HistoryEncoder(nn.Module):
    """The last state of a GRU over the preceding steps.

    Args:
        columns: Number of columns of a step: action, reward and observation.
        units: Dimension of the context.
    """

    def __init__(self, columns: int, units: int) -> None:
        super().__init__()
        self.gru = GRU(columns, units)

    def forward(self, windows: Tensor) -> Tensor:
        """Contexts (n, units) of windows (length, n, columns), zero before an episode's start."""
        start = windows.new_zeros(1, windows.shape[1], self.gru.hidden_size)
        return self.gru(windows, start)[1][0]


class HistoryActor(nn.Module):
    """Deterministic actions π(s, c) in [-1, 1], with a context c from its own encoder."""

    def __init__(
        self, observation_dim: int, action_dim: int, units: int, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.encoder = HistoryEncoder(action_dim + 1 + observation_dim, units)
        self.net = mlp((observation_dim + units, *hidden, action_dim))

    def forward(self, observations: Tensor, windows: Tensor) -> Tensor:
        """Actions (n, action_dim)."""
        columns = torch.cat([observations, self.encoder(windows)], dim=-1)
        return torch.tanh(self.net(columns))


class HistoryCritics(nn.Module):
    """Two values Q_j(s, a, c), with a context c from their own encoder."""

    def __init__(
        self, observation_dim: int, action_dim: int, units: int, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        self.encoder = HistoryEncoder(action_dim + 1 + observation_dim, units)
        self.values = TwinCritics(observation_dim + units, hidden, action_dim)

    def inputs(self, observations: Tensor, windows: Tensor) -> Tensor:
        """Observation and context, (n, …)."""
        return torch.cat([observations, self.encoder(windows)], dim=-1)


@dataclasses.dataclass(frozen=True)
class HistoryBatch:
    """Transitions (n, …) with the windows before them and before their next observations.

    Attributes:
        steps: The transitions.
        windows: (length, n, columns).
        next_windows: (length, n, columns).
    """

    steps: Transitions
    windows: Tensor
    next_windows: Tensor


class TD3(nn.Module):
    """Actor, twin critics and their targets.

    Args:
        observation_dim: Columns of an observation.
        action_dim: Columns of an action.
        units: Dimension of the contexts.
        hidden: Widths of the hidden layers.
        gamma: Discount factor.
        tau: Soft update coefficient of the targets.
        target_noise: Standard deviation of the noise on target actions, clipped at 0.5.
    """

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        units: int,
        hidden: Sequence[int],
        *,
        gamma: float,
        tau: float,
        target_noise: float,
    ) -> None:
        super().__init__()
        self.actor = HistoryActor(observation_dim, action_dim, units, hidden)
        self.critics = HistoryCritics(observation_dim, action_dim, units, hidden)
        self.target_actor = target_of(self.actor)
        self.target_critics = target_of(self.critics)
        self.gamma, self.tau, self.target_noise = gamma, tau, target_noise

    def optimizers(self, rate: float) -> dict[str, torch.optim.Optimizer]:
        """New optimizers, without state."""
        return {
            "actor": adam(self.actor.parameters(), rate),
            "critics": adam(self.critics.parameters(), rate),
        }

    def critic_loss(
        self, batch: HistoryBatch, generator: torch.Generator, weights: Tensor | None = None
    ) -> Tensor:
        """Weighted mean of Σ_j (Q_j − y)², y = r + γ (1 − d) min_j Q̄_j(s', π̄(s') + noise)."""
        steps = batch.steps
        with torch.no_grad():
            actions = self.target_actor(steps.next_observations, batch.next_windows)
            noise = torch.randn(actions.shape, generator=generator, device=actions.device)
            noise = (self.target_noise * noise).clamp(-TARGET_NOISE_CLIP, TARGET_NOISE_CLIP)
            inputs = self.target_critics.inputs(steps.next_observations, batch.next_windows)
            following = self.target_critics.values.smallest(inputs, (actions + noise).clamp(-1, 1))
            target = steps.rewards + self.gamma * (1.0 - steps.terminations) * following
        inputs = self.critics.inputs(steps.observations, batch.windows)
        first, second = self.critics.values(inputs, steps.actions)
        errors = (first - target).square() + (second - target).square()
        return errors.mean() if weights is None else (weights * errors).mean()

    def actor_loss(self, batch: HistoryBatch, weights: Tensor | None = None) -> Tensor:
        """Weighted mean of −Q_1(s, π(s)), without gradients for the critics."""
        observations = batch.steps.observations
        actions = self.actor(observations, batch.windows)
        with torch.no_grad():
            inputs = self.critics.inputs(observations, batch.windows)
        with frozen(self.critics.values):
            q = self.critics.values.first(torch.cat([inputs, actions], dim=-1)).squeeze(-1)
        return -(q if weights is None else weights * q).mean()

    def move_targets(self) -> None:
        """target ← (1 − τ) target + τ weights, for actor and critics."""
        polyak(self.target_actor.parameters(), self.actor.parameters(), self.tau)
        polyak(self.target_critics.parameters(), self.critics.parameters(), self.tau)


def squared_distance(module: nn.Module, anchor: nn.Module) -> Tensor:
    """‖θ − θ̂‖² over all parameters; the anchor θ̂ is constant."""
    pairs = zip(module.parameters(), anchor.parameters(), strict=True)
    return torch.stack([(p - a.detach()).square().sum() for p, a in pairs]).sum()


def td3_step(
    td3: TD3,
    optimizers: Mapping[str, torch.optim.Optimizer],
    batch: HistoryBatch,
    generator: torch.Generator,
    moves_actor: bool,
    weights: Tensor | None = None,
    prox: tuple[float, TD3] | None = None,
) -> dict[str, Tensor]:
    """Take one step of the critics, and optionally of actor and targets.

    Args:
        td3: The networks to train.
        optimizers: Their optimizers.
        batch: Transitions with histories.
        generator: Generator of the target noise.
        moves_actor: Whether to update actor and targets too.
        weights: Weights of the transitions, (n,).
        prox: λ and θ̂ of the penalty λ ‖θ − θ̂‖².
    """
    losses = {"critic_loss": td3.critic_loss(batch, generator, weights)}
    descend(optimizers["critics"], losses["critic_loss"] + _penalty(td3, prox, "critics"))
    if moves_actor:
        losses["actor_loss"] = td3.actor_loss(batch, weights)
        descend(optimizers["actor"], losses["actor_loss"] + _penalty(td3, prox, "actor"))
        td3.move_targets()
    return {name: loss.detach() for name, loss in losses.items()}


def _penalty(td3: TD3, prox: tuple[float, TD3] | None, part: str) -> Tensor | float:
    """λ ‖θ − θ̂‖² of the ``actor`` or the ``critics``."""
    if prox is None:
        return 0.0
    weight, anchor = prox
    return weight * squared_distance(getattr(td3, part), getattr(anchor, part))
