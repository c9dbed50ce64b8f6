"""The inner step, and the outer objectives of ProMP and E-MAML, as functions of parameters.

Per task, with r(ϑ) = π_ϑ(a|s) / π_sampler(a|s) and means over the steps of the task's episodes:

* inner step θ' = θ − α ∇ L_in. ``"ratio"`` (ProMP's low-variance curvature): L_in = −mean(A r(θ));
  ``"log"`` (MAML, E-MAML): L_in = −mean(A log π_θ). Both have the same gradient at the parameters
  that sampled, and different derivatives of that gradient, through which the outer loss flows.
* outer loss: −mean over the episodes after adaptation of min(r(θ') A, clip(r(θ'), 1 ± ε) A), plus
  η KL(π_sampler ‖ π_θ) on the episodes before it (ProMP), minus z mean(r(θ)) on these (E-MAML),
  where z is the task's mean reward after adaptation, standardised over all tasks.

Sources: Rothfuss et al. (2019), "ProMP: Proximal meta-policy search", equations 10 to 14;
Stadie et al. (2018), "Some considerations on learning to explore via meta-reinforcement
learning". E-MAML's term uses mean(r(θ)) in place of mean(log π_θ): it has the same gradient at the
parameters that sampled, and is still a valid estimate after several updates on the same episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from train.meta_gradient.distributions import Distribution
from train.meta_gradient.episodes import Episodes, TaskBatch
from train.meta_gradient.policy import MetaPolicy, Parameters

InnerForm = Literal["ratio", "log"]


@dataclass(frozen=True)
class Objective:
    """The objective to minimise over the meta-parameters.

    Attributes:
        inner_form: Form of the inner loss.
        inner_lr: α, the step size of the inner update.
        clip_range: ε of the clipped ratio after adaptation.
        inner_kl_coef: η, weight of the KL divergence before adaptation.
        exploration_coef: Weight of E-MAML's term.
    """

    inner_form: InnerForm = "ratio"
    inner_lr: float = 0.1
    clip_range: float = 0.3
    inner_kl_coef: float = 0.0
    exploration_coef: float = 0.0


@dataclass(frozen=True)
class OuterLoss:
    """The outer loss of each task, (n_tasks,) or () for one, and its parts."""

    total: torch.Tensor
    surrogate: torch.Tensor
    inner_kl: torch.Tensor
    clip_fraction: torch.Tensor


def inner_loss(form: InnerForm, distribution: Distribution, batch: TaskBatch) -> torch.Tensor:
    """L_in of each task: (n_tasks,), or () for one task without a task axis."""
    log_probs = distribution.log_prob(batch.actions)
    if form == "ratio":
        return -batch.mean(batch.advantages * torch.exp(log_probs - batch.log_probs))
    return -batch.mean(batch.advantages * log_probs)


def inner_step(
    parameters: Parameters, loss: torch.Tensor, inner_lr: float, create_graph: bool
) -> Parameters:
    """θ' = θ − α ∇ L_in for each task; ``loss`` is L_in of the tasks.

    Tasks do not share parameters (``parameters`` has one set per task, or there is one task), so
    the gradient of the sum contains the gradient of each task.
    """
    gradients = torch.autograd.grad(
        loss.sum(), list(parameters.values()), create_graph=create_graph
    )
    return {
        name: value - inner_lr * gradient
        for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
    }


def adapt(
    policy: MetaPolicy, parameters: Parameters, batch: TaskBatch, form: InnerForm, inner_lr: float
) -> Parameters:
    """Parameters after one inner step on each task of ``batch``, (n_tasks, …), without a graph."""
    own = {
        name: value.detach().expand(len(batch), *value.shape).requires_grad_()
        for name, value in parameters.items()
    }
    loss = inner_loss(form, policy.distribution(own, batch.observations), batch)
    adapted = inner_step(own, loss, inner_lr, create_graph=False)
    return {name: value.detach() for name, value in adapted.items()}


def outer_loss(
    policy: MetaPolicy,
    parameters: Parameters,
    before: TaskBatch,
    after: TaskBatch,
    old: Parameters,
    credit: torch.Tensor,
    objective: Objective,
) -> OuterLoss:
    """The outer loss of each task, differentiable through the inner step.

    Args:
        policy: The policy.
        parameters: θ, with one (expanded) set per task, or of one task without a task axis.
        before: Episodes sampled with ``old``.
        after: Episodes sampled after one inner step from ``old``.
        old: The parameters at the start of the iteration, shared by all tasks.
        credit: z of each task, (n_tasks,) or ().
        objective: The objective to minimise.
    """
    distribution = policy.distribution(parameters, before.observations)
    loss = inner_loss(objective.inner_form, distribution, before)
    adapted = inner_step(parameters, loss, objective.inner_lr, create_graph=True)

    log_probs = policy.distribution(adapted, after.observations).log_prob(after.actions)
    ratios = torch.exp(log_probs - after.log_probs)
    clipped = ratios.clamp(1 - objective.clip_range, 1 + objective.clip_range)
    gains = torch.minimum(ratios * after.advantages, clipped * after.advantages)
    surrogate = -after.mean(gains)

    total, kl = surrogate, torch.zeros_like(surrogate)
    if objective.inner_kl_coef:
        with torch.no_grad():
            sampler = policy.distribution(old, before.observations)
        kl = before.mean(sampler.kl_to(distribution))  # type: ignore[arg-type]  # of one kind
        total = total + objective.inner_kl_coef * kl
    if objective.exploration_coef:
        likelihood = torch.exp(distribution.log_prob(before.actions) - before.log_probs)
        total = total - objective.exploration_coef * credit * before.mean(likelihood)
    outside = after.mean((ratios != clipped).to(ratios.dtype))
    return OuterLoss(total, surrogate.detach(), kl.detach(), outside.detach())


def exploration_credit(after: Episodes) -> NDArray[np.float64]:
    """z of each task, (n_tasks,): its mean reward, standardised over the steps of all tasks."""
    rewards = after.rewards[after.mask]
    mean = after.rewards.sum(axis=(1, 2)) / after.mask.sum(axis=(1, 2))
    return (mean - rewards.mean()) / (rewards.std() + 1e-8)
