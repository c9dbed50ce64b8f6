"""The meta-gradient, a few tasks at a time.

A graph over all tasks needs more memory and is slower, because its activations do not fit into the
processor's caches. Chunks of about 4,000 steps are fastest on a CPU.
"""

from __future__ import annotations

import torch

from train.meta_gradient.episodes import TaskBatch
from train.meta_gradient.objectives import Objective, OuterLoss, adapt, outer_loss
from train.meta_gradient.policy import MetaPolicy, Parameters

STEPS_PER_CHUNK = 4_000


def chunk_size(batch: TaskBatch) -> int:
    """Number of tasks that together have about ``STEPS_PER_CHUNK`` steps, at least 1."""
    return max(1, round(STEPS_PER_CHUNK / batch.weights.shape[1]))


def adapt_in_chunks(
    policy: MetaPolicy, parameters: Parameters, batch: TaskBatch, objective: Objective
) -> Parameters:
    """Parameters of each task after one inner step, (n_tasks, …)."""
    size = max(chunk_size(batch), 2)  # at least two, so that there is a task axis
    parts = [
        adapt(policy, parameters, chunk, objective.inner_form, objective.inner_lr)
        for chunk in batch.chunks(size)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parameters}


@torch.no_grad()
def mean_kl(
    policy: MetaPolicy, parameters: Parameters, others: Parameters, batch: TaskBatch
) -> float:
    """KL(π of ``parameters`` ‖ π of ``others``), averaged over the steps of a task and over tasks.

    Args:
        policy: The policy.
        parameters: Parameters of all tasks.
        others: Parameters of all tasks, or one set per task.
        batch: Steps whose states are used.
    """
    own = any(value.dim() > parameters[name].dim() for name, value in others.items())
    total, start = 0.0, 0
    for chunk in batch.chunks(max(chunk_size(batch), 2)):
        rows = slice(start, start + len(chunk))
        compared = {name: value[rows] for name, value in others.items()} if own else others
        first = policy.distribution(parameters, chunk.observations)
        second = policy.distribution(compared, chunk.observations)
        total += float(chunk.mean(first.kl_to(second)).sum())  # type: ignore[arg-type]
        start += len(chunk)
    return total / len(batch)


def meta_gradient(
    policy: MetaPolicy,
    parameters: Parameters,
    before: TaskBatch,
    after: TaskBatch,
    old: Parameters,
    credit: torch.Tensor,
    objective: Objective,
    tasks_per_chunk: int | None = None,
) -> tuple[Parameters, dict[str, float]]:
    """Gradient of the outer loss, averaged over tasks, with respect to the meta-parameters.

    Args:
        policy: The policy.
        parameters: θ.
        before: Episodes before adaptation, sampled with ``old``.
        after: Episodes of the same tasks after adaptation from ``old``.
        old: The parameters at the start of the iteration.
        credit: z of each task, (n_tasks,).
        objective: The objective to minimise.
        tasks_per_chunk: Tasks to differentiate at once; None for about 4,000 steps.

    Returns:
        The gradient, structured like ``parameters``, and the means of the loss and its parts.
    """
    size = tasks_per_chunk or chunk_size(before)
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    total = {name: torch.zeros_like(value) for name, value in leaves.items()}
    sums = torch.zeros(4, dtype=policy.dtype, device=policy.device)
    pairs = zip(before.chunks(size), after.chunks(size), credit.split(size), strict=True)
    for chunk_before, chunk_after, chunk_credit in pairs:
        own, z = leaves, chunk_credit.squeeze(0)
        if size > 1:  # one view per task, so that gradients of the expanded parameters are per task
            shape = (len(chunk_before),)
            own = {name: value.expand(*shape, *value.shape) for name, value in leaves.items()}
            z = chunk_credit
        loss = outer_loss(policy, own, chunk_before, chunk_after, old, z, objective)
        gradients = torch.autograd.grad(loss.total.sum() / len(before), list(leaves.values()))
        for name, gradient in zip(leaves, gradients, strict=True):
            total[name] += gradient
        sums += _sums(loss)
    names = ("loss", "surrogate", "inner_kl", "clip_fraction")
    return total, dict(zip(names, (sums / len(before)).tolist(), strict=True))


def _sums(loss: OuterLoss) -> torch.Tensor:
    parts = (loss.total.detach(), loss.surrogate, loss.inner_kl, loss.clip_fraction)
    return torch.stack([part.sum() for part in parts])
