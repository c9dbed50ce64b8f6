"""The evidence lower bound that trains encoder and decoder (paper, section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from ldm_wrappers.latent_dynamics.model import LatentDynamics
from ldm_wrappers.latent_dynamics.moment_encoder import MomentEncoder
from ldm_wrappers.latent_dynamics.posterior import Posterior, kl_divergence, sample


class TrajectoryBatch(NamedTuple):
    """Trajectories, time first and zero-padded after the end.

    Attributes:
        observations: float32 (T, batch, observation_size), s.
        actions: float32 (T, batch, action_columns), a.
        rewards: float32 (T, batch), r.
        next_observations: float32 (T, batch, observation_size), the true s'.
        lengths: int64 (batch,), number of transitions, between 1 and T.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    next_observations: torch.Tensor
    lengths: torch.Tensor


class ElboTerms(NamedTuple):
    """The bound per trajectory and its parts, each (batch,), in nats.

    Attributes:
        elbo: ``reconstruction − kl_weight · kl``.
        reconstruction: Log likelihood of all rewards of the trajectory, future included, summed
            over the encoded lengths 0…T.
        kl: KL of each posterior to the previous one (the first one to N(0, I)), summed over the
            encoded lengths.
    """

    elbo: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor


def elbo(
    model: LatentDynamics,
    batch: TrajectoryBatch,
    *,
    n_encoded_lengths: int | None = None,
    n_decoded_steps: int | None = None,
    dropout: bool = True,
    generator: torch.Generator | None = None,
) -> ElboTerms:
    """ELBO of a batch of trajectories, batched over trajectories, lengths and steps.

    For every encoded length t = 0…T, one latent is drawn from the posterior after t transitions
    and decodes the rewards of the whole trajectory. Subsets make the estimate cheaper and keep it
    unbiased: each trajectory draws its own encoded lengths and decoded steps without replacement,
    and the sums are scaled up to make up for the rest. With the GRU, the KL terms cost little and
    are always summed in full; with the moment encoder, whose posteriors need not be computed one
    after another, only those of the drawn encoded lengths are used.

    Args:
        model: Encoder and decoder.
        batch: Trajectories on the model's device.
        n_encoded_lengths: Encoded lengths per trajectory; ``None`` takes all T + 1.
        n_decoded_steps: Decoded transitions per trajectory; ``None`` takes all T.
        dropout: Drop the decoder's inputs at the model's p_drop.
        generator: Source of latents, subsets and dropout masks, on the model's device.
    """
    n_steps = batch.rewards.shape[0]
    posterior, length_weight, kl_sum = _posteriors(model, batch, n_encoded_lengths, generator)
    latents = sample(posterior, generator)

    steps_index, step_weight = _subset(n_steps, batch.lengths, n_decoded_steps, generator)
    decoded = (batch.observations, batch.actions, batch.next_observations)
    rewards = batch.rewards
    if steps_index is not None:
        decoded = (
            _take(decoded[0], steps_index),
            _take(decoded[1], steps_index),
            _take(decoded[2], steps_index),
        )
        rewards = rewards.gather(0, steps_index)
    mask = None
    if dropout and model.config.p_drop:
        mask = model.decoder.dropout_mask(*rewards.shape, generator=generator)
    part = model.decoder.transition_part(*decoded, mask)
    output = model.decoder.head(latents.unsqueeze(1), part, decoded[2])
    log_likelihood = model.decoder.log_likelihood(output, rewards)  # (lengths, steps, batch)
    reconstruction = torch.einsum("ktb,kb,tb->b", log_likelihood, length_weight, step_weight)

    return ElboTerms(reconstruction - model.config.kl_weight * kl_sum, reconstruction, kl_sum)


def _posteriors(
    model: LatentDynamics,
    batch: TrajectoryBatch,
    n_encoded_lengths: int | None,
    generator: torch.Generator | None,
) -> tuple[Posterior, torch.Tensor, torch.Tensor]:
    """Posteriors of the encoded lengths (k, batch), their weights, and the sum of the KL terms."""
    n_steps, encoder = batch.rewards.shape[0], model.encoder
    transitions = (batch.actions, batch.rewards, batch.next_observations)
    if isinstance(encoder, MomentEncoder):
        index, weight = _subset(n_steps + 1, batch.lengths + 1, n_encoded_lengths, generator)
        if index is not None:
            return _posteriors_at(encoder, index, weight, transitions)
    posterior = encoder(*transitions)
    times = torch.arange(n_steps + 1, device=batch.rewards.device).unsqueeze(-1)
    kl = (_kl_to_previous(posterior) * (times <= batch.lengths)).sum(0)
    index, weight = _subset(n_steps + 1, batch.lengths + 1, n_encoded_lengths, generator)
    if index is not None:
        posterior = Posterior(_take(posterior.mean, index), _take(posterior.logvar, index))
    return posterior, weight, kl


def _posteriors_at(
    encoder: MomentEncoder,
    index: torch.Tensor,
    weight: torch.Tensor,
    transitions: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> tuple[Posterior, torch.Tensor, torch.Tensor]:
    """Like :func:`_posteriors`, but computes only the drawn lengths and the ones before them."""
    posterior, before = encoder.at(index, *transitions)
    first = (index == 0).unsqueeze(-1)  # the one before it is N(0, I)
    before = Posterior(*(part.masked_fill(first, 0.0) for part in before))
    return posterior, weight, (kl_divergence(posterior, before) * weight).sum(0)


def _kl_to_previous(posterior: Posterior) -> torch.Tensor:
    """KL(q_t || q_{t−1}) for t = 0…T, with q_{−1} = N(0, I): (T + 1, batch)."""
    zeros = torch.zeros_like(posterior.mean[:1])
    previous = Posterior(
        torch.cat([zeros, posterior.mean[:-1]]), torch.cat([zeros, posterior.logvar[:-1]])
    )
    return kl_divergence(posterior, previous)


def _subset(
    n: int, valid: torch.Tensor, size: int | None, generator: torch.Generator | None
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Indices (k, batch) of ``size`` of the first ``valid`` entries, and their weights.

    Entries past a trajectory's end have weight 0; the others share the weight of those left out.
    Without a subset, the index is ``None`` and each valid entry has weight 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"a subset needs at least one entry, got {size}")
    device = valid.device
    if size is None or size >= n:
        return None, (torch.arange(n, device=device).unsqueeze(-1) < valid).float()
    keys = torch.rand(n, valid.shape[0], generator=generator, device=device)
    keys = torch.where(torch.arange(n, device=device).unsqueeze(-1) < valid, keys, -1.0)
    top, index = keys.topk(size, dim=0)
    chosen = (top >= 0.0).float()
    return index, chosen * valid / chosen.sum(0)


def _take(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Gather (time, batch, columns) at (k, batch) to (k, batch, columns)."""
    return values.gather(0, index.unsqueeze(-1).expand(*index.shape, values.shape[-1]))
